# SPDX-License-Identifier: Apache-2.0
"""How to cite the software."""

from bids_brainmask import CODE_URL, __version__

TITLE = "bids_brainmask: brain extraction and meningioma segmentation as a BIDS App"

BIBTEX = f"""\
@software{{bids_brainmask,
  author  = {{{{The bids\\_brainmask developers}}}},
  title   = {{{TITLE.replace("_", chr(92) + "_")}}},
  version = {{{__version__}}},
  url     = {{{CODE_URL}}},
  license = {{Apache-2.0}}
}}"""
"""Entry of BibTeX; the models have their own, in the sidecars."""
