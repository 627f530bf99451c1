# SPDX-License-Identifier: Apache-2.0
"""What the rows of figures draw: each function gives the bytes of the files of its row.

Importing this module is quick: what needs NumPy is imported when a function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_brainmask.analyses.rows import Findings
    from bids_brainmask.voxels.image import Source


def brain(source: Source, findings: Findings, name: str) -> tuple[bytes]:
    """Draw slices with the outline of the brain mask."""
    from bids_brainmask.drawing import figures

    return (figures.mosaic(source.volume, findings["brain"].mask, title=name),)


def uncertainty(source: Source, findings: Findings, name: str) -> tuple[bytes]:
    """Draw slices with the uncertain regions."""
    from bids_brainmask.drawing import figures

    brain = findings["brain"]
    return (figures.uncertainty(source.volume, brain.mask, brain.probability, title=name),)


def thumbnail(source: Source, findings: Findings, name: str) -> tuple[bytes]:  # noqa: ARG001
    """Draw the thumbnail of the group report."""
    from bids_brainmask.drawing import figures

    return (figures.thumbnail(source.volume, findings["brain"].mask),)


def meningiomas(source: Source, findings: Findings, name: str) -> tuple[bytes]:
    """Draw slices through the meningiomas."""
    from bids_brainmask.drawing import figures

    lesions, brain = findings["meningioma"].lesions, findings.get("brain")
    places = [
        (lesion.centroid_mm, f"{lesion.index}: {lesion.volume_ml:.2f} mL")
        for lesion in lesions.counted
    ]
    outlines = (lesions.mask, brain and brain.mask)
    return (figures.tumors(source.volume, *outlines, places, title=name),)


def viewer(source: Source, findings: Findings, name: str) -> tuple[bytes, ...]:  # noqa: ARG001
    """Make the volumes of the viewer: the image, and the labels of both masks."""
    import numpy as np

    from bids_brainmask.drawing import figures
    from bids_brainmask.voxels import image

    brain, tumors = findings.get("brain"), findings.get("meningioma")
    mask = brain.mask if brain else np.zeros(source.volume.data.shape, bool)
    parts = figures.viewer(source.volume, mask, tumors and tumors.lesions.mask)
    return tuple(image.to_bytes(image.of_volume(part), compress=True) for part in parts)
