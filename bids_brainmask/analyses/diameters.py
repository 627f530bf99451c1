# SPDX-License-Identifier: Apache-2.0
"""Diameters of a lesion, as radiologists measure them, with their end points, and its surface."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

SMOOTHING = 1.2
"""Standard deviation, voxels, of the Gaussian for the surface's normals. A larger value is more
accurate for a sphere, and less accurate for a box."""

TIE = 1e-3
"""Diameters that differ by less than this, mm, are equally long."""

Ends = tuple[tuple[float, ...], tuple[float, ...]]
"""Two end points, mm, RAS+; the leftmost first."""


@dataclass(frozen=True)
class Diameters:
    """The longest axial diameter of a lesion and the longest chord across it."""

    longest_mm: float
    perpendicular_mm: float
    longest_ends: Ends
    perpendicular_ends: Ends
    slice: int  # from 0, along `slice_axis`, in the box that was measured


def slice_axis(affine: np.ndarray) -> int:
    """Find the image axis closest to head-foot, which axial slices are perpendicular to.

    Of two that are equally steep, as in a volume tilted by 45 degrees, it is the one with the
    larger voxels, along which it will have been acquired slice by slice; then the later one.
    """
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    steepness = abs(affine[2, :3]) / spacing
    return max(range(3), key=lambda axis: (round(steepness[axis], 3), spacing[axis], axis))


def axial(component: np.ndarray, affine: np.ndarray) -> Diameters:
    """Longest diameter in any axial slice and the longest chord across it.

    Of equally long diameters, the one with the longest chord counts; of those that are equal in
    this too, the leftmost. As the greatest of many, each to the nearest voxel, a sphere's is too
    long, by 0.4 to 0.9 voxels; its chord is not.

    Parameters
    ----------
    component : (I, J, K) bool array
        One lesion; not empty.
    affine : (4, 4) array
        Of the array: voxel indices to mm, RAS+.
    """
    across = slice_axis(affine)
    # The same lengths and angles in two coordinates: the slice's own plane.
    plane = np.linalg.qr(np.delete(affine[:3, :3], across, axis=1)).R
    parts = [(n, part) for n, part in enumerate(np.moveaxis(component, across, 0)) if part.any()]
    outlines = [_outline(part) @ plane.T for _, part in parts]
    corners = [_corners(outline.reshape(-1, 2)) for outline in outlines]
    distances = [np.linalg.norm(points[:, None] - points, axis=2) for points in corners]
    longest = max(between.max() for between in distances)
    found = []
    for (place, _), outline, points, between in zip(
        parts, outlines, corners, distances, strict=True
    ):
        for start, end in np.argwhere(np.triu(between) > longest - TIE):
            chord, ends = _chord(outline, points[end] - points[start])
            where = (plane, across, place, affine)
            long, wide = _in_world(points[[start, end]], *where), _in_world(ends, *where)
            found.append(Diameters(float(longest), chord, long, wide, place))
    return min(found, key=lambda each: (-round(each.perpendicular_mm, 3), _rounded(each)))


def _rounded(found: Diameters) -> list[float]:
    ends = (*found.longest_ends, *found.perpendicular_ends)
    return [round(value, 3) for end in ends for value in end]


def _in_world(
    line: np.ndarray, plane: np.ndarray, across: int, place: int, affine: np.ndarray
) -> Ends:
    """Turn two points of a slice's plane into world coordinates."""
    voxels = np.insert(line @ np.linalg.inv(plane).T, across, place, axis=1)
    first, last = sorted(
        (voxels @ affine[:3, :3].T + affine[:3, 3]).tolist(),
        key=lambda end: np.round(end, 3).tolist(),
    )
    return tuple(first), tuple(last)


def longest_3d(component: np.ndarray, affine: np.ndarray) -> float:
    """Largest distance between the centers of two boundary faces, mm.

    Parameters
    ----------
    component : (I, J, K) bool array
        One lesion; not empty.
    affine : (4, 4) array
    """
    padded = np.pad(component, 1)
    faces = []
    for axis in range(3):
        where = np.argwhere(np.diff(padded, axis=axis)).astype(float) - 1
        where[:, axis] += 0.5
        faces.append(where)
    points = _corners(np.concatenate(faces) @ affine[:3, :3].T)
    squares = (points**2).sum(1)
    between = squares[:, None] + squares - 2 * points @ points.T
    return float(np.sqrt(max(between.max(), 0.0)))


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


def _corners(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of points, of which any two farthest points are two."""
    from scipy.spatial import ConvexHull  # slow to import, and not needed for brains

    return points[ConvexHull(points).vertices]


def _chord(outline: np.ndarray, direction: np.ndarray) -> tuple[float, np.ndarray]:
    """Longest distance between where lines at right angles to a direction enter and leave, mm.

    Between the ends of the outline's lines it has no maximum, so the longest is at one of them.

    Parameters
    ----------
    outline : (N, 2, 2) array
        mm.
    direction : (2,) array

    Returns
    -------
    float
    (2, 2) array
        The two points.
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
    best = int(np.argmax(np.round(top - bottom, 6)))
    sides = np.array([top[best], bottom[best]])
    beside = np.array([-direction[1], direction[0]])
    return float(sides[0] - sides[1]), places[best] * direction + sides[:, None] * beside


def surface(
    component: np.ndarray, affine: np.ndarray, within: np.ndarray | None = None
) -> tuple[float, float]:
    """Area of the surface, mm^2: that of the voxels' faces, as seen along the surface's normal.

    Summed as they are, the faces of a sphere come to half again too much. The normal is the
    gradient of the mask smoothed by `SMOOTHING` voxels. A sphere comes out 3 to 4 % too large
    whatever its size, from a radius of 3 voxels on (of voxels five times as long as wide, up to
    10 %), and a box too small by 0.4 voxels times the length of its edges: 5 % for a cube of 16
    voxels, 9 % for one of 8. A single voxel is right.

    Parameters
    ----------
    component : (I, J, K) bool array
    affine : (4, 4) array
    within : (I, J, K) bool array or None
        Where the faces that border on another voxel are not counted in the second area. It has
        the component's shape, and one more voxel at each side; None: that area is 0.

    Returns
    -------
    area, free : float
        Of all faces, and of those whose other voxel is not `within`.
    """
    beyond = None if within is None else np.pad(within, 1, constant_values=True)
    component = np.pad(component, 2)
    smooth = scipy.ndimage.gaussian_filter(
        component.astype(np.float64), SMOOTHING, mode="constant"
    )
    gradients = np.stack(np.gradient(smooth))
    to_world = np.linalg.inv(affine[:3, :3]).T
    total = free = 0.0
    for axis in range(3):
        ahead = (slice(None),) * axis
        before, after = (*ahead, slice(None, -1)), (*ahead, slice(1, None))
        faces = component[before] != component[after]
        normals = (gradients[:, *before][:, faces] + gradients[:, *after][:, faces]) / 2
        normals[axis] = (smooth[after] - smooth[before])[faces]
        normals = to_world @ normals
        lengths = np.maximum(np.linalg.norm(normals, axis=0), np.finfo(float).tiny)
        areas = abs(to_world[:, axis] @ normals) / lengths
        total += areas.sum()
        if beyond is not None:
            outer = np.where(component[before], beyond[after], beyond[before])[faces]
            free += areas[~outer].sum()
    size = abs(np.linalg.det(affine[:3, :3]))
    return float(total * size), float(free * size)
