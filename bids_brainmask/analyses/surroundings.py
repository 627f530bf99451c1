# SPDX-License-Identifier: Apache-2.0
"""Where a lesion lies relative to the brain, the skull and the dura."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy

from bids_brainmask.analyses import head_frame, lesion_place

ON_SURFACE_MM = 2.0
"""A lesion outside of the brain mask lies on its surface up to this distance. Meningiomas grow
from the dura, on the brain; the mask's outline is one or two voxels uncertain."""

UNSURE_MM = 5.0
"""Distance from the middle of the brain mask within which a side is not told: heads are tilted."""

SIDE_SHARE = 0.9
"""Share of a lesion's voxels that must lie beyond that distance for it to be on a side."""

CUT_MM2 = 2000.0
"""Area of the brain mask in an outermost slice from which the field of view ends within the brain,
mm2. The brainstem has less."""

Side = Literal["left", "right", "midline"]

Box = tuple[slice, ...]

RELATIVE = (
    "skull_distance_mm",
    "dura_distance_mm",
    "brain_distance_mm",
    "share_in_brain",
    "side",
    "place",
    "place_certainty",
)
"""What is measured relative to the brain mask."""


class Surroundings:
    """The brain and its outline around lesions.

    The inner surface of the skull is taken to be the outline of the brain mask and the lesions
    together, without holes: there is no mask of the skull.

    Parameters
    ----------
    brain, lesions : (I, J, K) bool array
    affine : (4, 4) array
    """

    def __init__(self, brain: np.ndarray, lesions: np.ndarray, affine: np.ndarray) -> None:
        self.brain, self.affine, self.spacing = brain, affine, spacing_of(affine)
        sums = [brain.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
        middle = [np.arange(len(each)) @ each / max(each.sum(), 1) for each in sums]
        self.middle_x = float(affine[0] @ [*middle, 1])
        self.within = scipy.ndimage.binary_fill_holes(brain | lesions)
        self.frame = None if _is_cut(brain, self.spacing) else head_frame.find(brain, affine)

    def measure(self, component: np.ndarray, box: Box) -> dict:
        """Measure where a lesion lies; a lesion away from the brain has no distance to the skull.

        Returns
        -------
        dict
            What `RELATIVE` names; ``touches``, whether it is in the brain mask or shares a face
            with it; ``within``, for `diameters.surface`: the part of `within`, or, if it does not
            touch the brain, what is up to `ON_SURFACE_MM` from the brain.
        """
        brain = self.brain[box][component]
        within = self._around(self.within, box, beyond=True)
        near = scipy.ndimage.binary_dilation(np.pad(component, 1))
        touches = bool(brain.any() or (near & self._around(self.brain, box, beyond=False)).any())
        away: float | None = 0.0
        skull: float | None = None
        if not touches:
            away = _gap(~self.brain, component, box, self.spacing)
            within = self._near_brain(box)
        elif (near & ~within).any():
            skull = 0.0
        else:
            skull = _gap(self.within, component, box, self.spacing)
        return {
            "skull_distance_mm": skull,
            "dura_distance_mm": self._dura(component, box, skull),
            "brain_distance_mm": away,
            "share_in_brain": float(brain.mean()),
            "side": self._side(component, box),
            **self._place(component, box, touches=touches),
            "touches": touches,
            "within": within,
        }

    def _near_brain(self, box: Box) -> np.ndarray:
        """Voxels up to `ON_SURFACE_MM` from the brain, in a box with one more at each side."""
        reach = tuple(int(np.ceil(ON_SURFACE_MM / step)) + 1 for step in self.spacing)
        brain = self._around(self.brain, box, beyond=False, reach=reach)
        if not brain.any():
            away = np.full(brain.shape, np.inf)
        else:
            away = scipy.ndimage.distance_transform_edt(~brain, self.spacing)
        inner = tuple(
            slice(more - 1, size - more + 1) for more, size in zip(reach, brain.shape, strict=True)
        )
        return away[inner] <= ON_SURFACE_MM

    def _dura(self, component: np.ndarray, box: Box, skull: float | None) -> float | None:
        """Measure the distance to the nearest dura: at the skull, the falx, or the tentorium."""
        if skull is None:
            return None
        own = affine_of(self.affine, box)
        sheets = lesion_place.sheet_distance(component, own, self.frame)
        return None if sheets is None else min(skull, sheets)

    def _side(self, component: np.ndarray, box: Box) -> Side | None:
        """Tell on which side of the middle of the brain mask a lesion lies, if it is clear."""
        voxels = np.argwhere(component) + [side.start for side in box]
        x = voxels @ self.affine[0, :3] + self.affine[0, 3] - self.middle_x
        left, right = float((x < -UNSURE_MM).mean()), float((x > UNSURE_MM).mean())
        if max(left, right) >= SIDE_SHARE:
            return "left" if left > right else "right"
        return "midline" if min(left, right) >= 1 - SIDE_SHARE else None

    def _place(self, component: np.ndarray, box: Box, *, touches: bool) -> dict:
        """Tell on which part of the dura a lesion lies; one away from the brain is on none."""
        if not touches:
            return {"place": None, "place_certainty": None}
        reach = [int(np.ceil(max(lesion_place.NEARS_MM) / step)) + 1 for step in self.spacing]
        wide = tuple(
            slice(max(side.start - more, 0), side.stop + more)
            for side, more in zip(box, reach, strict=True)
        )
        own, inside = affine_of(self.affine, wide), np.zeros_like(self.within[wide])
        inside[
            tuple(
                slice(side.start - other.start, side.stop - other.start)
                for side, other in zip(box, wide, strict=True)
            )
        ] = component
        place, certainty = lesion_place.find(inside, self.within[wide], own, self.frame)
        return {"place": place, "place_certainty": certainty}

    @staticmethod
    def _around(
        whole: np.ndarray, box: Box, *, beyond: bool, reach: Sequence[int] = (1, 1, 1)
    ) -> np.ndarray:
        """Part of an array with more voxels at each side; `beyond` the array's own edge."""
        sides = list(zip(box, reach, whole.shape, strict=True))
        wide = tuple(slice(max(side.start - more, 0), side.stop + more) for side, more, _ in sides)
        missing = [
            (max(more - side.start, 0), max(side.stop + more - length, 0))
            for side, more, length in sides
        ]
        return np.pad(whole[wide], missing, constant_values=beyond)


def _is_cut(brain: np.ndarray, spacing: np.ndarray) -> bool:
    """Whether the field of view ends within the brain: an outermost slice holds much of it."""
    for axis in range(3):
        area = float(np.prod(np.delete(spacing, axis)))
        ends = np.moveaxis(brain, axis, 0)[[0, -1]]
        if ends.sum((1, 2)).max() * area > CUT_MM2:
            return True
    return False


def _gap(inside: np.ndarray, component: np.ndarray, box: Box, spacing: np.ndarray) -> float | None:
    """Smallest distance between a lesion and what is not `inside`, mm; None if all is inside.

    The distance is between faces: exact along the axes, else within a voxel.
    """
    if inside.all():
        return None
    places = scipy.ndimage.distance_transform_edt(
        inside, sampling=spacing, return_distances=False, return_indices=True
    )
    own = np.argwhere(component) + [side.start for side in box]
    steps = abs(places[:, *own.T].T - own)
    lengths = np.sqrt(((steps * spacing) ** 2).sum(1))
    return float((lengths * (1 - 1 / steps.max(1))).min())


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Sizes of the voxels, (3,) mm."""
    return np.sqrt((affine[:3, :3] ** 2).sum(0))


def affine_of(affine: np.ndarray, box: Box) -> np.ndarray:
    """Affine of the part of an array in a box."""
    own = affine.copy()
    own[:3, 3] += own[:3, :3] @ [side.start for side in box]
    return own
