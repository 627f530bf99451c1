# SPDX-License-Identifier: Apache-2.0
"""Brain extraction and meningioma segmentation in T1-weighted MRI, as a BIDS App."""

__version__ = "0.2.0"

CODE_URL = "https://github.com/bids-brainmask/bids_brainmask"
