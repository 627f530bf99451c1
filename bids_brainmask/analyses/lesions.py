# SPDX-License-Identifier: Apache-2.0
"""Lesions of a mask: labels and measures of each. `lesion_table` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import scipy

from bids_brainmask.analyses import diameters
from bids_brainmask.analyses.diameters import Ends
from bids_brainmask.analyses.lesion_place import Place
from bids_brainmask.analyses.surroundings import (
    RELATIVE,
    Box,
    Side,
    Surroundings,
    affine_of,
    spacing_of,
)
from bids_brainmask.voxels.masks import bounds

SMALLEST_ML = 0.05
"""Components with less than this volume, mL, are treated as noise and removed."""

Decision = Literal["accepted", "rejected", ""]


@dataclass(frozen=True)
class Lesion:
    """One candidate lesion; `lesion_table.COLUMNS` defines its measures."""

    index: int  # from 1, the largest first
    volume_ml: float
    longest_3d_mm: float
    longest_mm: float
    perpendicular_mm: float
    slice_index: int
    longest_ends_mm: Ends
    perpendicular_ends_mm: Ends
    centroid_mm: tuple[float, float, float]  # RAS+
    thickness_mm: float
    surface_mm2: float
    skull_distance_mm: float | None
    skull_contact_mm2: float | None
    dura_distance_mm: float | None
    brain_distance_mm: float | None
    share_in_brain: float | None  # in [0, 1]
    share_facing_brain: float | None  # of the surface, in [0, 1]
    mean_probability: float
    peak_probability: float
    at_edge: bool
    reasons: tuple[str, ...] = ()  # why it is unlikely to be a lesion; empty: it is likely
    side: Side | None = None
    place: Place | None = None
    place_certainty: float | None = None  # in [0, 1]
    decision: Decision = ""  # of a person
    volume_sd_ml: float | None = None  # over moved copies of the image

    @property
    def product_mm2(self) -> float:
        """Product of the axial diameters."""
        return self.longest_mm * self.perpendicular_mm

    @property
    def is_likely(self) -> bool:
        """Whether no rule speaks against it."""
        return not self.reasons

    @property
    def is_counted(self) -> bool:
        """Whether it is in the mask and in totals: as a person decided, else if it is likely."""
        return self.decision == "accepted" or (self.is_likely and self.decision != "rejected")


@dataclass(frozen=True)
class Lesions:
    """All candidate lesions of one image."""

    labels: np.ndarray  # (I, J, K) int32, each candidate's index, 0 elsewhere
    candidates: tuple[Lesion, ...]

    @cached_property
    def mask(self) -> np.ndarray:
        """Voxels of the lesions that count, (I, J, K) bool."""
        counted = np.zeros(len(self.candidates) + 1, bool)
        counted[[lesion.index for lesion in self.counted]] = True
        return counted[self.labels]

    @property
    def counted(self) -> tuple[Lesion, ...]:
        """Candidates that are likely or accepted, and not rejected."""
        return tuple(lesion for lesion in self.candidates if lesion.is_counted)

    @property
    def count(self) -> int:
        """Number of lesions that count."""
        return len(self.counted)

    @property
    def volume_ml(self) -> float:
        """Volume of the lesions that count, mL."""
        return sum((lesion.volume_ml for lesion in self.counted), 0.0)

    def varying(self, sds: Sequence[float]) -> Lesions:
        """Add the standard deviations of the volumes, mL."""
        pairs = zip(self.candidates, sds, strict=True)
        found = (replace(each, volume_sd_ml=sd) for each, sd in pairs)
        return replace(self, candidates=tuple(found))

    def decided(self, decisions: dict[int, Decision]) -> Lesions:
        """Put a person's decisions, by index, in the place of those of before."""
        found = (replace(each, decision=decisions.get(each.index, "")) for each in self.candidates)
        return replace(self, candidates=tuple(found))


def measure(
    mask: np.ndarray,
    probability: np.ndarray,
    affine: np.ndarray,
    brain: np.ndarray | None,
    smallest_ml: float = SMALLEST_ML,
    field: Box | None = None,
) -> Lesions:
    """Label the lesions of a mask and measure each.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Lesion; voxels that touch at a face, an edge or a corner are of one.
    probability : (I, J, K) float32 array
        Of lesion, in [0, 1].
    affine : (4, 4) array
        Voxel indices to mm, RAS+. Axes in any order and direction, oblique ones too.
    brain : (I, J, K) bool array or None
        Mask of the brain; without it, what is measured relative to it is None.
    smallest_ml : float
        Pieces of less, mL, are dropped. None left is no error.
    field : tuple of 3 slice, optional
        Field of view, if it is less than the array.

    Returns
    -------
    Lesions
        The largest first; of equal ones, the leftmost.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    _check_shapes(mask, probability, brain)
    labels = _labels(mask, affine, smallest_ml)
    boxes = scipy.ndimage.find_objects(labels)
    around = Surroundings(brain, labels > 0, affine) if brain is not None and boxes else None
    field = field or tuple(slice(0, length) for length in mask.shape)
    found = (
        _lesion(index, labels, box, probability, affine, around, field)
        for index, box in enumerate(boxes, 1)
    )
    return Lesions(labels, tuple(found))


def _check_shapes(mask: np.ndarray, probability: np.ndarray, brain: np.ndarray | None) -> None:
    for name, other in (("probability", probability), ("brain mask", brain)):
        if other is not None and mask.shape != other.shape:
            shapes = f"{mask.shape} and {other.shape}"
            raise ValueError(f"lesion mask and {name}: expected one shape, found {shapes}")


def _labels(mask: np.ndarray, affine: np.ndarray, smallest_ml: float) -> np.ndarray:
    """Label the components that are large enough, (I, J, K) int32; the largest is 1."""
    labels = np.zeros(mask.shape, np.int32)
    if not (box := bounds(mask)):
        return labels
    components, _ = scipy.ndimage.label(mask[box], np.ones((3, 3, 3)))
    where = np.nonzero(components)
    sizes = np.bincount(components[where])
    sums = [np.bincount(components[where], weights=axis) for axis in where]
    sizes[0] = 1  # the background, which `large` leaves out
    middles = (np.stack(sums, 1) / sizes[:, None]) @ affine[:3, :3].T
    large = np.round(sizes * _voxel_ml(affine), 6) >= smallest_ml
    large[0] = False
    # Equal volumes are sorted by world position, independent of the order of the axes.
    order = np.lexsort((*middles.T[::-1].round(3), -sizes))
    order = order[large[order]]
    index = np.zeros(len(sizes), np.int32)
    index[order] = np.arange(1, len(order) + 1)
    labels[box] = index[components]
    return labels


def _lesion(
    index: int,
    labels: np.ndarray,
    box: Box,
    probability: np.ndarray,
    affine: np.ndarray,
    around: Surroundings | None,
    field: Box,
) -> Lesion:
    """Measure one lesion in the box that holds it."""
    component, inside = labels[box] == index, probability[box]
    start = np.array([side.start for side in box])
    where = np.argwhere(component) + start
    own = affine_of(affine, box)
    axial = diameters.axial(component, own)
    chances = inside[component].astype(np.float64)
    beside = around.measure(component, box) if around else {}
    surface, free = diameters.surface(component, own, beside.pop("within", None))
    touches = beside.pop("touches", False)
    return Lesion(
        index=index,
        volume_ml=len(where) * _voxel_ml(affine),
        longest_3d_mm=diameters.longest_3d(component, own),
        longest_mm=axial.longest_mm,
        perpendicular_mm=axial.perpendicular_mm,
        slice_index=axial.slice + int(start[diameters.slice_axis(affine)]),
        longest_ends_mm=axial.longest_ends,
        perpendicular_ends_mm=axial.perpendicular_ends,
        centroid_mm=tuple((affine[:3, :3] @ where.mean(0) + affine[:3, 3]).tolist()),
        thickness_mm=_thickness(component, affine),
        surface_mm2=surface,
        skull_contact_mm2=free if touches else None,
        share_facing_brain=max(1 - free / surface, 0.0) if around else None,
        mean_probability=float(chances.mean()),
        peak_probability=float(chances.max()),
        at_edge=any(
            side.start <= whole.start or side.stop >= whole.stop
            for side, whole in zip(box, field, strict=True)
        ),
        **(beside or dict.fromkeys(RELATIVE)),
    )


def _voxel_ml(affine: np.ndarray) -> float:
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000


def _thickness(component: np.ndarray, affine: np.ndarray) -> float:
    """Diameter of the largest sphere in a lesion, mm; exact for slabs of an odd number of voxels.

    From the deepest voxel's center to that of the nearest voxel outside; the surface lies half a
    voxel before it, along the axis that leads there.
    """
    padded, spacing = np.pad(component, 1), spacing_of(affine)
    away = scipy.ndimage.distance_transform_edt(padded, sampling=spacing)
    depth = float(away.max())
    deep = np.argwhere(away > depth - 1e-6)
    middle = np.argwhere(padded).mean(0)
    deepest = deep[(((deep - middle) * spacing) ** 2).sum(1).argmin()]
    steps = abs(np.argwhere(~padded) - deepest) * spacing
    nearest = steps[np.linalg.norm(steps, axis=1) < depth + 1e-6]
    return float(2 * depth - spacing[nearest.argmax(1)].max())
