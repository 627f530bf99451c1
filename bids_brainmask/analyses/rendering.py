# SPDX-License-Identifier: Apache-2.0
"""What was found in a scan, as the bytes of its files: images, tables and figures."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from bids_brainmask.analyses import lesions
from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.analyses.meningioma import Tumors
from bids_brainmask.analyses.outputs import Kind
from bids_brainmask.dataset.readback import Figure
from bids_brainmask.drawing import figures
from bids_brainmask.voxels import image


def render(
    kind: Kind, source: image.Source, brain: Extraction | None, tumours: Tumors | None
) -> bytes:
    """Give one file of a scan's as bytes: an image like its source, gzipped, or a table."""
    if kind == "lesions":
        return lesions.table(tumours.lesions).encode()
    return image.to_bytes(picture(kind, source, brain, tumours), compress=True)


def picture(kind: Kind, source: image.Source, brain: Extraction | None, tumours: Tumors | None):
    """Put what was found into an image file like its source's."""
    if kind == "brain":
        return image.brain_like(source, brain.mask)
    if kind in ("probseg", "tumor_probseg"):
        found = brain if kind == "probseg" else tumours
        return image.probability_like(source, found.probability)
    masks = {
        "mask": lambda: brain.mask,
        "tumor": lambda: tumours.lesions.mask,
        "brainandtumor": lambda: brain.mask | tumours.lesions.mask,
    }
    return image.mask_like(source, masks[kind]())


def draw(
    kinds: Collection[Figure],
    title: str,
    source: image.Source,
    brain: Extraction | None,
    tumours: Tumors | None,
) -> dict[Figure, bytes]:
    """Draw the figures of a scan's report: those of `kinds`, under the scan's name as `title`."""
    volume = source.volume
    mask = brain.mask if brain else np.zeros(volume.data.shape, bool)
    found: dict[Figure, bytes] = {}
    if "brain" in kinds:
        found["brain"] = figures.mosaic(volume, mask, title=title)
        found["uncertainty"] = figures.uncertainty(volume, mask, brain.probability, title=title)
        found["thumbnail"] = figures.thumbnail(volume, mask)
    if "meningioma" in kinds:
        places = [
            (lesion.centroid_mm, f"{lesion.index}: {lesion.volume_ml:.2f} mL")
            for lesion in tumours.lesions.found
        ]
        outlines = (tumours.lesions.mask, brain and mask)
        found["meningioma"] = figures.tumours(volume, *outlines, places, title=title)
    if "viewer_image" in kinds:
        parts = figures.viewer(volume, mask, tumours and tumours.lesions.mask)
        for kind, part in zip(("viewer_image", "viewer_labels"), parts, strict=True):
            found[kind] = image.to_bytes(image.of_volume(part), compress=True)
    return found
