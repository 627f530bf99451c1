# SPDX-License-Identifier: Apache-2.0
"""What was found in a scan, as the bytes of its files: images, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_brainmask import figures, image, lesions
from bids_brainmask.derivatives import Job, Kind
from bids_brainmask.results import Figure

if TYPE_CHECKING:
    from bids_brainmask.app import Extraction, Tumours


def render(
    kind: Kind, source: image.Source, brain: Extraction | None, tumours: Tumours | None
) -> bytes:
    """Give one file of a scan's as bytes: an image like its source, gzipped, or a table."""
    if kind == "lesions":
        return lesions.table(tumours.lesions).encode()
    return image.to_bytes(picture(kind, source, brain, tumours), compress=True)


def picture(kind: Kind, source: image.Source, brain: Extraction | None, tumours: Tumours | None):
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
    job: Job, source: image.Source, brain: Extraction | None, tumours: Tumours | None
) -> dict[Figure, bytes]:
    """Draw the figures of a job's report."""
    volume, title = source.volume, job.scan.prefix
    mask = brain.mask if brain else np.zeros(volume.data.shape, bool)
    found: dict[Figure, bytes] = {}
    if "brain" in job.figures:
        found["brain"] = figures.mosaic(volume, mask, title=title)
        found["uncertainty"] = figures.uncertainty(volume, mask, brain.probability, title=title)
        found["thumbnail"] = figures.thumbnail(volume, mask)
    if "meningioma" in job.figures:
        places = [
            (lesion.centroid_mm, f"{lesion.index}: {lesion.volume_ml:.2f} mL")
            for lesion in tumours.lesions.found
        ]
        outlines = (tumours.lesions.mask, brain and mask)
        found["meningioma"] = figures.tumours(volume, *outlines, places, title=title)
    if "viewer_image" in job.figures:
        parts = figures.viewer(volume, mask, tumours and tumours.lesions.mask)
        for kind, part in zip(("viewer_image", "viewer_labels"), parts, strict=True):
            found[kind] = image.to_bytes(image.of_volume(part), compress=True)
    return found
