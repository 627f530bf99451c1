# SPDX-License-Identifier: Apache-2.0
"""Resample between the grid of a scan and that of a network, in world coordinates.

There are two grids: FreeSurfer's conformed one, on which the published networks were trained, and
one of 1 mm voxels over the head, along the scan's own axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.masks import air_level, block_means

LARGEST_EXTENT = 320
"""Largest extent of a head with its neck along an axis, mm."""

MARGIN = 8.0
"""mm of air kept around the head."""


LIA = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""World directions of the axes of the conformed grid, as columns."""


@dataclass(frozen=True)
class Grid:
    """Shape and affine of a grid: ``xyz_mm = affine @ (i, j, k, 1)``, RAS+."""

    shape: tuple[int, int, int]
    affine: np.ndarray  # (4, 4)


def fsconform(volume: Volume) -> Grid:
    """FreeSurfer's conformed grid: 256^3 voxels of 1 mm, LIA, about the middle of the image.

    The middle is that of FreeSurfer's ``c_ras``: index ``shape / 2``, not ``(shape - 1) / 2``
    (https://surfer.nmr.mgh.harvard.edu/fswiki/CoordinateSystems).
    """
    middle = volume.affine[:3, :3] @ (np.array(volume.data.shape) / 2) + volume.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = LIA
    affine[:3, 3] = middle - affine[:3, :3] @ np.full(3, 128.0)
    return Grid((256, 256, 256), affine)


def head(volume: Volume, divisor: int) -> Grid:
    """Voxels of 1 mm over the head, along the scan's own axes, taken in the order R, A, S.

    Parameters
    ----------
    volume : Volume
        Its axes may be oblique or sheared; the grid's are the nearest orthonormal ones.
    divisor : int
        Every axis of the grid is a multiple of it.
    """
    volume = canonical(volume)
    left, _, right = np.linalg.svd(volume.affine[:3, :3] / volume.spacing)
    axes = left @ right  # of its polar decomposition
    corners = np.array(np.meshgrid(*foreground(volume), indexing="ij")).reshape(3, -1)
    along = axes.T @ (volume.affine[:3, :3] @ corners + volume.affine[:3, 3:])
    low, high = along.min(1) - MARGIN, along.max(1) + MARGIN
    size = np.minimum(high - low, LARGEST_EXTENT)
    shape = divisor * np.ceil(size / divisor).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = axes @ ((low + high) / 2 - (shape - 1) / 2)
    i, j, k = shape.tolist()
    return Grid((i, j, k), affine)


def canonical(volume: Volume) -> Volume:
    """Reorder and flip the axes to those nearest to R, A and S; a view, not a copy."""
    order = io_orientation(volume.affine)
    affine = volume.affine @ inv_ornt_aff(order, volume.data.shape)
    return Volume(apply_orientation(volume.data, order), affine)


def foreground(volume: Volume) -> list[tuple[float, float]]:
    """First and last index along each axis of the head.

    A slice of blocks counts if more than two in a thousand are brighter than air.
    """
    means, bright, steps = blocks(volume)
    counts = means.shape
    bounds = []
    for axis, size in enumerate(volume.data.shape):
        found = np.flatnonzero(bright.mean(tuple({0, 1, 2} - {axis})) > 0.002)
        last = size - 1 if found[-1] == counts[axis] - 1 else (found[-1] + 1) * steps[axis] - 1
        bounds.append((float(found[0] * steps[axis]), float(last)))
    return bounds


def air(volume: Volume) -> float:
    """Median intensity of the air around a head; noise in a magnitude image raises it above 0.

    In a constant image, its value.
    """
    means, bright, _ = blocks(volume)
    return float(np.median(means[~bright])) if not bright.all() else float(means.min())


def blocks(volume: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Separate head and air by means over blocks of about 4 mm, which reduces noise.

    Returns
    -------
    means : (A, B, C) float32 array
    bright : (A, B, C) bool array
        At or above `air_level`.
    steps : (3,) int array
        Voxels of a block along each axis.
    """
    steps = np.clip(np.round(4 / volume.spacing), 1, volume.data.shape).astype(int)
    means = block_means(volume.data, steps)
    return means, means >= air_level(means), steps


def resample(volume: Volume, grid: Grid, outside: float = 0.0) -> np.ndarray:
    """Interpolate linearly onto a grid.

    Parameters
    ----------
    volume : Volume
    grid : Grid
    outside : float
        Value beyond the volume.

    Returns
    -------
    (I, J, K) float32 array
        Of ``grid.shape``.
    """
    to_voxel = np.linalg.inv(volume.affine) @ grid.affine
    matrix, offset = to_voxel[:3, :3], to_voxel[:3, 3]
    source = np.abs(matrix).argmax(0)  # the volume's axis along each grid axis
    straight = matrix[source, range(3)]
    stray = np.abs(matrix).sum() - np.abs(straight).sum()
    # NIfTI arrays are in Fortran order; in C order each voxel would be a cache miss.
    if len(set(source)) < 3 or stray > 1e-4:
        data = np.ascontiguousarray(volume.data)
        options = {"output": np.float32, "order": 1, "prefilter": False, "cval": outside}
        return scipy.ndimage.affine_transform(data, matrix, offset, grid.shape, **options)
    data = np.ascontiguousarray(volume.data.transpose(source))
    places = [
        start + step * np.arange(size)
        for start, step, size in zip(offset[source], straight, grid.shape, strict=True)
    ]
    return interpolate(data, places, outside)


def interpolate(data: np.ndarray, places: list[np.ndarray], outside: float) -> np.ndarray:
    """Interpolate linearly between parallel axes, one axis after the other.

    It works plane by plane, so that intermediate arrays stay in the processor's cache.

    Parameters
    ----------
    data : (I, J, K) array
        C-contiguous, for speed.
    places : list of three arrays, (A,), (B,) and (C,)
        Fractional indices into each axis, ascending or descending.
    outside : float
        Value beyond the data.

    Returns
    -------
    (A, B, C) float32 array
    """
    inside, lower, upper, part = [], [], [], []
    for at, size in zip(places, data.shape, strict=True):
        # Positions that rounding puts just outside the last voxel's center count as on it.
        within = np.flatnonzero((at >= -1e-6) & (at <= size - 1 + 1e-6))
        low = np.clip(np.floor(at[within]), 0, max(size - 2, 0)).astype(int)
        inside.append(slice(within[0], within[-1] + 1) if within.size else slice(0, 0))
        lower.append(low)
        upper.append(np.minimum(low + 1, size - 1))
        part.append(np.clip(at[within] - low, 0, 1).astype(np.float32))
    found = np.full([len(at) for at in places], outside, np.float32)
    rows, columns = part[1][:, None], part[2]
    planes = zip(found[inside[0]], lower[0], upper[0], part[0], strict=True)
    takers = [[_taker(one[axis], axis - 1) for one in (lower, upper)] for axis in (1, 2)]
    for plane, low, high, share in planes:
        along = data[low] * (1 - share) + data[high] * share
        for (before, after), between in zip(takers, (rows, columns), strict=True):
            along = _between(before(along), after(along), between)
        plane[inside[1], inside[2]] = along
    return found


def _taker(indices: np.ndarray, axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """Take some rows (axis 0) or columns (1) of a plane, as a view if none is left out."""
    if indices.size and (np.diff(indices) == 1).all():
        some = slice(int(indices[0]), int(indices[-1]) + 1)
        place = (slice(None),) * axis + (some,)
        return lambda plane: plane[place]
    return lambda plane: plane.take(indices, axis)


def _between(lower: np.ndarray, upper: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Interpolate between two arrays."""
    found = upper - lower
    found *= part
    found += lower
    return found


def restore(data: np.ndarray, grid: Grid, volume: Volume) -> np.ndarray:
    """Resample values on a grid to the voxels of the volume that it was made for.

    Parameters
    ----------
    data : (I, J, K) float32 array
        Of ``grid.shape``.

    Returns
    -------
    (I, J, K) float32 array
        Of the volume's shape; 0 outside the grid.
    """
    return resample(Volume(data, grid.affine), Grid(volume.data.shape, volume.affine))
