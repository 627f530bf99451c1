# SPDX-License-Identifier: Apache-2.0
"""Lesions of a mask: labels and measures of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import ndimage

from bids_brainmask.tables import tsv
from bids_brainmask.voxels.masks import bounds

SMALLEST_ML = 0.05
"""Components with less than this volume, mL, are treated as noise and removed."""

SMOOTHING = 1.2
"""Standard deviation, voxels, of the Gaussian for the surface's normals. A larger value is more
accurate for a sphere, and less accurate for a box."""

TIE = 1e-3
"""Diameters that differ by less than this, mm, are equally long."""

Location = Literal["inside", "edge", "outside", "n/a"]


@dataclass(frozen=True)
class Lesion:
    """One lesion; `COLUMNS` defines its measures."""

    index: int  # from 1, the largest first
    volume_ml: float
    longest_mm: float
    perpendicular_mm: float
    centroid_mm: tuple[float, float, float]  # RAS+
    surface_mm2: float
    mean_probability: float
    location: Location


@dataclass(frozen=True)
class Lesions:
    """All lesions of one image."""

    mask: np.ndarray  # (I, J, K) bool, without the removed components
    labels: np.ndarray  # (I, J, K) int32, each lesion's index, 0 elsewhere
    found: tuple[Lesion, ...]

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.found)

    @property
    def volume_ml(self) -> float:
        """Volume of all lesions, mL."""
        return sum((lesion.volume_ml for lesion in self.found), 0.0)


def measure(
    mask: np.ndarray,
    probability: np.ndarray,
    affine: np.ndarray,
    brain: np.ndarray | None,
    smallest_ml: float = SMALLEST_ML,
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
        Mask of the brain; without it, every location is n/a.
    smallest_ml : float
        Pieces of less, mL, are dropped. None left is no error.

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
    found = tuple(
        _lesion(index, labels, box, probability, affine, brain)
        for index, box in enumerate(ndimage.find_objects(labels), 1)
    )
    return Lesions(labels > 0, labels, found)


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
    pieces, _ = ndimage.label(mask[box], np.ones((3, 3, 3)))
    where = np.nonzero(pieces)
    sizes = np.bincount(pieces[where])
    sums = [np.bincount(pieces[where], weights=axis) for axis in where]
    sizes[0] = 1  # the background, which `large` leaves out
    middles = (np.stack(sums, 1) / sizes[:, None]) @ affine[:3, :3].T
    large = np.round(sizes * _voxel_ml(affine), 6) >= smallest_ml
    large[0] = False
    # Equal volumes are sorted by world position, independent of the order of the axes.
    order = np.lexsort((*middles.T[::-1].round(3), -sizes))
    order = order[large[order]]
    index = np.zeros(len(sizes), np.int32)
    index[order] = np.arange(1, len(order) + 1)
    labels[box] = index[pieces]
    return labels


def _lesion(
    index: int,
    labels: np.ndarray,
    box: tuple[slice, ...],
    probability: np.ndarray,
    affine: np.ndarray,
    brain: np.ndarray | None,
) -> Lesion:
    """Measure one lesion in the box that holds it."""
    piece = labels[box] == index
    where = np.argwhere(piece) + [side.start for side in box]
    centroid = affine[:3, :3] @ where.mean(0) + affine[:3, 3]
    longest, perpendicular = _diameters(piece, affine)
    return Lesion(
        index=index,
        volume_ml=len(where) * _voxel_ml(affine),
        longest_mm=longest,
        perpendicular_mm=perpendicular,
        centroid_mm=tuple(centroid.tolist()),
        surface_mm2=_surface(piece, affine),
        mean_probability=float(probability[box][piece].mean(dtype=np.float64)),
        location="n/a" if brain is None else _location(piece, box, brain),
    )


def _voxel_ml(affine: np.ndarray) -> float:
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000


def _slice_axis(affine: np.ndarray) -> int:
    """Find the image axis closest to head-foot, which axial slices are perpendicular to.

    Of two that are equally steep, as in a volume tilted by 45 degrees, it is the one with the
    larger voxels, along which it will have been acquired slice by slice; then the later one.
    """
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    steepness = abs(affine[2, :3]) / spacing
    return max(range(3), key=lambda axis: (round(steepness[axis], 3), spacing[axis], axis))


def _diameters(piece: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """Longest diameter in any axial slice and the longest chord across it, mm.

    Of equally long diameters, the one with the longest chord counts. As the greatest of many, each
    to the nearest voxel, a ball's is too long, by 0.4 to 0.9 voxels; its chord is not.

    Parameters
    ----------
    piece : (I, J, K) bool array
        One lesion; not empty.
    affine : (4, 4) array
    """
    across = _slice_axis(affine)
    # The same lengths and angles in two coordinates: the slice's own plane.
    plane = np.linalg.qr(np.delete(affine[:3, :3], across, axis=1)).R
    outlines = [_outline(part) @ plane.T for part in np.moveaxis(piece, across, 0) if part.any()]
    corners = [_corners(outline) for outline in outlines]
    distances = [np.linalg.norm(points[:, None] - points, axis=2) for points in corners]
    longest = max(between.max() for between in distances)
    chords = []
    for outline, points, between in zip(outlines, corners, distances, strict=True):
        for start, end in np.argwhere(np.triu(between) > longest - TIE):
            chords.append(_chord(outline, points[end] - points[start]))
    return float(longest), max(chords)


def _outline(part: np.ndarray) -> np.ndarray:
    """Outline of a slice: lines between the centers of neighboring faces, as a contour at 0.5.

    Parameters
    ----------
    part : (I, J) bool array

    Returns
    -------
    (N, 2, 2) float array
        Two ends of each line, in voxels.
    """
    part = np.pad(part, 1)
    # Each four voxels in a square have four faces between them.
    faces = {
        (0.5, 0): part[:-1, :-1] != part[1:, :-1],
        (0.5, 1): part[:-1, 1:] != part[1:, 1:],
        (0, 0.5): part[:-1, :-1] != part[:-1, 1:],
        (1, 0.5): part[1:, :-1] != part[1:, 1:],
    }
    lines = [
        np.argwhere(faces[one] & faces[other])[:, None] - 1 + np.array([one, other])
        for one, other in combinations(faces, 2)
    ]
    return np.concatenate(lines)


def _corners(outline: np.ndarray) -> np.ndarray:
    """Corners of the outline's convex hull, (M, 2), of which any two farthest points are two."""
    from scipy.spatial import ConvexHull  # slow to import, and not needed for brains

    points = outline.reshape(-1, 2)
    return points[ConvexHull(points).vertices]


def _chord(outline: np.ndarray, direction: np.ndarray) -> float:
    """Longest distance between where lines at right angles to a direction enter and leave, mm.

    Between the ends of the outline's lines it has no maximum, so the longest is at one of them.

    Parameters
    ----------
    outline : (N, 2, 2) array
        mm.
    direction : (2,) array
    """
    direction = direction / np.linalg.norm(direction)
    along = outline @ direction
    aside = outline @ [-direction[1], direction[0]]
    leads = abs(along[:, 1] - along[:, 0]) > 1e-6  # the others' ends are ends of these too
    (start, end), (low, high) = along[leads].T, aside[leads].T
    places = np.unique(along[leads])
    first = np.searchsorted(places, np.minimum(start, end) - 1e-9)
    count = np.searchsorted(places, np.maximum(start, end) + 1e-9) - first
    line = np.repeat(np.arange(len(count)), count)  # each once for every place it passes
    place = np.arange(len(line)) - (np.cumsum(count) - count - first)[line]
    slope = (high - low) / (end - start)
    height = low[line] + slope[line] * (places[place] - start[line])
    top, bottom = np.full((2, len(places)), np.array([[-np.inf], [np.inf]]))
    np.maximum.at(top, place, height)
    np.minimum.at(bottom, place, height)
    return float((top - bottom).max())


def _surface(piece: np.ndarray, affine: np.ndarray) -> float:
    """Area of the surface, mm^2: that of the voxels' faces, as seen along the surface's normal.

    Summed as they are, the faces of a ball come to half again too much. The normal is the gradient
    of the mask smoothed by `SMOOTHING` voxels. A ball comes out 3 to 4 % too large whatever its
    size, from a radius of 3 voxels on (of voxels five times as long as wide, up to 10 %), and a
    box too small by 0.4 voxels times the length of its edges: 5 % for a cube of 16 voxels, 9 % for
    one of 8. A single voxel is right.

    Parameters
    ----------
    piece : (I, J, K) bool array
    affine : (4, 4) array
    """
    piece = np.pad(piece, 2)
    smooth = ndimage.gaussian_filter(piece.astype(np.float64), SMOOTHING, mode="constant")
    gradients = np.stack(np.gradient(smooth))
    to_world = np.linalg.inv(affine[:3, :3]).T
    total = 0.0
    for axis in range(3):
        ahead = (slice(None),) * axis
        before, after = (*ahead, slice(None, -1)), (*ahead, slice(1, None))
        faces = piece[before] != piece[after]
        normals = (gradients[:, *before][:, faces] + gradients[:, *after][:, faces]) / 2
        normals[axis] = (smooth[after] - smooth[before])[faces]
        normals = to_world @ normals
        lengths = np.maximum(np.linalg.norm(normals, axis=0), np.finfo(float).tiny)
        total += (abs(to_world[:, axis] @ normals) / lengths).sum()
    return float(total * abs(np.linalg.det(affine[:3, :3])))


def _location(piece: np.ndarray, box: tuple[slice, ...], brain: np.ndarray) -> Location:
    """Locate a lesion by its voxels and their neighbors; outside of the grid is no brain."""
    reached = ndimage.binary_dilation(np.pad(piece, 1))
    wide = [slice(max(side.start - 1, 0), side.stop + 1) for side in box]
    missing = [
        (int(side.start == 0), int(side.stop == length))
        for side, length in zip(box, brain.shape, strict=True)
    ]
    in_brain = np.pad(brain[tuple(wide)], missing)[reached]
    if in_brain.all():
        return "inside"
    return "edge" if in_brain.any() else "outside"


COLUMNS: dict[str, dict] = {
    "index": {
        "LongName": "Index",
        "Description": (
            "Number of the lesion; the largest is 1. Voxels that share a face, an edge or a "
            "corner belong to one lesion. Lesions of less than the smallest volume, "
            f"{SMALLEST_ML:g} mL by default, are removed"
        ),
    },
    "volume_ml": {
        "LongName": "Volume",
        "Description": "Number of voxels times the voxel volume",
        "Units": "mL",
    },
    "longest_mm": {
        "LongName": "Longest diameter",
        "Description": (
            "Largest distance between two points of the lesion's outline in one slice, over all "
            "slices across the image axis nearest to inferior-superior. The outline joins the "
            "centers of the voxels' boundary faces; the diameter may cross gaps in the lesion"
        ),
        "Units": "mm",
    },
    "perpendicular_mm": {
        "LongName": "Perpendicular diameter",
        "Description": (
            "In the slice of the longest diameter, the largest distance between the first and the "
            "last crossing of the outline with a line perpendicular to that diameter. If "
            f"several longest diameters are equal within {TIE:g} mm, the largest value of this"
        ),
        "Units": "mm",
    },
    **{
        f"centroid_{axis}_mm": {
            "LongName": f"Centroid, {axis}",
            "Description": (
                f"Mean {axis} of the voxel centers in world coordinates (the image's affine times "
                f"the voxel indices), which increase towards the subject's {towards}"
            ),
            "Units": "mm",
        }
        for axis, towards in (("x", "right"), ("y", "front"), ("z", "top"))
    },
    "surface_mm2": {
        "LongName": "Surface area",
        "Description": (
            "Sum over the voxels' boundary faces of the area times the absolute cosine of the "
            "angle between the normals of the face and of the surface. The latter is the "
            "gradient, at the face's center, of the lesion mask smoothed with a Gaussian of "
            f"standard deviation {SMOOTHING:g} voxels along each axis: along the axis across the "
            "face, the difference of its two voxels; along the others, the mean of their central "
            "differences"
        ),
        "Units": "mm^2",
    },
    "mean_probability": {
        "LongName": "Mean probability",
        "Description": "Mean probability of lesion over the lesion's voxels, in [0, 1]",
    },
    "location": {
        "LongName": "Location",
        "Description": "Position relative to the brain mask in the image; n/a without a mask",
        "Levels": {
            "inside": "All its voxels, and all that share a face with them, are in the mask",
            "edge": "Neither inside nor outside",
            "outside": "None of its voxels, and none that shares a face with them, is in the mask",
        },
    },
}
"""Data dictionary of `table`, in BIDS form."""


def table(lesions: Lesions) -> str:
    """Write the lesions as tab-separated values, one a line under the names of `COLUMNS`."""
    return tsv([COLUMNS, *(_row(lesion) for lesion in lesions.found)])


def _row(lesion: Lesion) -> list[str]:
    """Write one lesion's measures, in the order of `COLUMNS`; z: no negative zero."""
    return [
        str(lesion.index),
        f"{lesion.volume_ml:.3f}",
        f"{lesion.longest_mm:.1f}",
        f"{lesion.perpendicular_mm:.1f}",
        *(f"{middle:z.1f}" for middle in lesion.centroid_mm),
        f"{lesion.surface_mm2:.0f}",
        f"{lesion.mean_probability:.3f}",
        lesion.location,
    ]
