# SPDX-License-Identifier: Apache-2.0
"""Which lesions are unlikely, and why: rules about where they lie and what shape they have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bids_brainmask.analyses.lesions import Lesion, Lesions
from bids_brainmask.analyses.surroundings import ON_SURFACE_MM, Box
from bids_brainmask.voxels.masks import bounds

IN_BRAIN = 0.05
"""Share of a lesion in the brain mask under which it counts as outside of it."""

FACING = 0.25
"""Share of the surface of a lesion outside of the brain mask that must face the brain. It is two
thirds of a half ball whose base is on the dura, and a half of a thin slab on it."""

FROM_DURA_MM = 5.0
"""Distance from the dura over which a lesion is unlikely: meningiomas grow from it. Brain masks
are one or two voxels uncertain, and falx and tentorium are approximated."""

LOW_PEAK = 0.6
"""Peak probability under which a lesion is unlikely."""

SHEET = 0.275
"""Thickness of a sheet, relative to the diameter of a sphere of the same volume: that of a square
slab that is five times as wide as thick (its sphere has 3.63 times its thickness)."""

RULES = {
    "away from the brain": "It lies outside of the brain mask, and is more than "
    f"{ON_SURFACE_MM:g} mm from it",
    "barely on the brain": f"Less than {IN_BRAIN:.0%} of it is in the brain mask, and less than "
    f"{FACING:.0%} of its surface faces it: it lies beyond the skull's inner surface, as fat "
    "behind an eye and muscle below the skull do",
    "away from the dura": f"It is more than {FROM_DURA_MM:g} mm from the skull's inner surface, "
    "the falx and the tentorium, as metastases and gliomas within the brain are; meningiomas in "
    "ventricles are rare",
    "low probability": f"Its peak probability is under {LOW_PEAK:g}",
    "at the edge of the field of view": "It has voxels in the outermost slices of the image, "
    "without slices of a constant value, along any axis",
    "shape of a sheet": f"Its thickness is under {SHEET:g} times the diameter of a sphere of its "
    "volume: it is flatter than a square slab that is five times as wide as thick",
}
"""Meaning of each reason."""


def judge(found: Lesions) -> Lesions:
    """Say of each lesion why it is unlikely."""
    judged = (replace(each, reasons=reasons(each)) for each in found.candidates)
    return replace(found, candidates=tuple(judged))


def reasons(lesion: Lesion) -> tuple[str, ...]:
    """Name the `RULES` that speak against a lesion."""
    sphere = 2 * (lesion.volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    speaks = (
        not lesion.share_in_brain and (lesion.brain_distance_mm or 0.0) > ON_SURFACE_MM,
        _is_barely_on_brain(lesion),
        (lesion.dura_distance_mm or 0.0) > FROM_DURA_MM,
        lesion.peak_probability < LOW_PEAK,
        lesion.at_edge,
        lesion.thickness_mm < SHEET * sphere,
    )
    return tuple(name for name, holds in zip(RULES, speaks, strict=True) if holds)


def _is_barely_on_brain(lesion: Lesion) -> bool:
    """Whether a lesion outside of the brain mask lies on it with a small part alone."""
    if lesion.share_in_brain is None or lesion.share_facing_brain is None:
        return False
    on_brain = (lesion.brain_distance_mm or 0.0) <= ON_SURFACE_MM
    barely = lesion.share_in_brain < IN_BRAIN and lesion.share_facing_brain < FACING
    return on_brain and barely


def field_of_view(data: np.ndarray) -> Box | None:
    """Box of an image without its outer slices of a constant value; None if it is constant.

    Parameters
    ----------
    data : (I, J, K) array
        Intensities.
    """
    return bounds(data != data.flat[0])
