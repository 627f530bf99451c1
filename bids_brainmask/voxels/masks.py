# SPDX-License-Identifier: Apache-2.0
"""Measures of arrays that several steps share: boxes, boundaries, roughness, air and head."""

from __future__ import annotations

import hashlib

import numpy as np


def bounds(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Smallest box around a mask, (I, J, K) bool in any memory order; None if it is empty.

    `scipy.ndimage.find_objects` takes ten times as long for an array in Fortran order.
    """
    sides = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not sides[0].size:
        return None
    i, j, k = (slice(int(at[0]), int(at[-1]) + 1) for at in sides)
    return i, j, k


def digest(mask: np.ndarray) -> str:
    """SHA-256 of the shape and the voxels of a mask, (I, J, K) bool.

    It does not depend on how a file stores the mask: data type, scaling, compression, header.
    """
    found = hashlib.sha256(repr(tuple(map(int, mask.shape))).encode())
    found.update(np.packbits(mask).tobytes())
    return found.hexdigest()


def boundary(mask: np.ndarray) -> np.ndarray:
    """Find the voxels of a mask, (I, J, K) bool, with a face on the background or the edge."""
    inner = mask.copy()
    for axis in range(3):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[:1] = target[-1:] = False  # slices: an array may have no voxels
    return mask & ~inner


def roughness(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Surface of a mask over that of a sphere of its volume; 1.5 for a sphere of many voxels.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Not empty. The faces at the edge of the array count.
    spacing : (3,) array
        Voxel sizes, mm.
    """
    padded = np.pad(mask, 1)
    surface = sum(
        float(np.count_nonzero(np.diff(padded, axis=axis)) * np.prod(np.delete(spacing, axis)))
        for axis in range(3)
    )
    volume = float(np.count_nonzero(mask) * np.prod(spacing))
    return surface / float(np.cbrt(36 * np.pi * volume**2))


def block_means(data: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of each block of some voxels along each axis, float32; incomplete blocks are left out.

    Parameters
    ----------
    data : (I, J, K) bool or float32 array
    counts : (3,) int array
        Voxels of a block.

    Returns
    -------
    (I // counts[0], J // counts[1], K // counts[2]) float32 array
    """
    means = data.astype(np.float32) if data.dtype == bool else data
    for axis in np.argsort(np.abs(data.strides))[::-1]:  # largest stride first: whole lines
        count = int(counts[axis])
        lines = np.moveaxis(means, axis, 0)[: data.shape[axis] // count * count]
        sums = sum((lines[k::count] for k in range(1, count)), lines[::count])
        means = np.moveaxis(sums, 0, axis)
    return means / np.float32(np.prod(counts))


def air_level(values: np.ndarray) -> np.floating:
    """Intensity between air and head: a tenth of the way from the 5th to the 99th percentile.

    Parameters
    ----------
    values : array
        Intensities of a volume, or of a part of it.
    """
    dark, light = np.percentile(values, (5, 99))
    return dark + 0.1 * (light - dark)
