# SPDX-License-Identifier: Apache-2.0
"""What was found in a scan, as the bytes of its files: images, tables and figures."""

from __future__ import annotations

from collections.abc import Collection

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import Findings, Output
from bids_brainmask.voxels import image

IMAGES = {
    "mask": image.mask_like,
    "labels": image.labels_like,
    "probability": image.probability_like,
    "brain": image.brain_like,
}
"""How each form of output is put into an image file like the source's."""


def render(output: Output, source: image.Source, findings: Findings) -> bytes:
    """Give one file of a scan as bytes: an image like its source, gzipped, or a table."""
    if output.form == "table":
        return output.value(findings).encode()
    return image.to_bytes(picture(output, source, findings), compress=True)


def picture(output: Output, source: image.Source, findings: Findings) -> image.nb.Nifti1Image:
    """Put what was found into an image file like its source's."""
    return IMAGES[output.form](source, output.value(findings))


def draw(
    wanted: Collection[str], source: image.Source, findings: Findings, name: str
) -> dict[str, bytes]:
    """Draw the figures of a scan's report.

    Parameters
    ----------
    wanted : collection of str
        Names of files, as in `catalog.figure_files`.
    source : image.Source
    findings : mapping of str to Finding
    name : str
        Of the scan, for the figures' titles.
    """
    found: dict[str, bytes] = {}
    for row in catalog.FIGURES:
        if set(row.files) <= set(wanted):
            found |= zip(row.files, row.draw(source, findings, name), strict=True)
    return found
