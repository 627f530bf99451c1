# SPDX-License-Identifier: Apache-2.0
"""Pictures of a lesion in two sessions, side by side on one grid, as bytes of WebP."""

from __future__ import annotations

import io

import numpy as np
from scipy import ndimage

from bids_brainmask.drawing import slices
from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.masks import bounds

SIDE = 96
"""Pixels of each cut's sides, which are mm."""

SCALE = 2
"""Pixels of the picture to a mm."""

GAP = 6
"""Pixels between cuts; twice as many between the sessions."""

OUTLINE = (255, 90, 31)

ACROSS = ((0, 1), (0, 2), (1, 2))
"""World axes along the sides of axial, coronal and sagittal cuts."""


def before_and_after(
    before: Volume, after: Volume, lesion_before: np.ndarray, lesion_after: np.ndarray
) -> bytes:
    """Draw three cuts through a lesion in each of two sessions: before at the left.

    They lie across the world's axes, through the middle of the largest axial section of both
    lesions together. Left is left.

    Parameters
    ----------
    before, after : Volume
        On one grid.
    lesion_before, lesion_after : (I, J, K) bool array
        Not both empty.

    Returns
    -------
    bytes
        WebP.
    """
    from PIL import Image

    middle = _middle(before, lesion_before | lesion_after)
    parts = []
    for volume, mask in ((before, lesion_before), (after, lesion_after)):
        window = slices.window(volume, bounds(volume.data != 0) or _all(volume.data))
        parts.append([_cut(volume, mask, middle, axes, window) for axes in ACROSS])
    high = SIDE * SCALE
    wide = 6 * high + 4 * GAP + 4 * GAP
    sheet = np.full((high, wide, 3), slices.BACKGROUND, np.uint8)
    at = 0
    for session in parts:
        for cut in session:
            sheet[:, at : at + high] = cut
            at += high + GAP
        at += GAP
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "WEBP", quality=75, method=4)
    return stream.getvalue()


def _all(data: np.ndarray) -> tuple[slice, slice, slice]:
    i, j, k = (slice(0, length) for length in data.shape)
    return i, j, k


def _middle(volume: Volume, mask: np.ndarray) -> np.ndarray:
    """World coordinates of the middle of the largest axial section."""
    axis = int(np.argmax(abs(volume.affine[2, :3]) / volume.spacing))
    counts = mask.sum(tuple({0, 1, 2} - {axis}))
    largest = int(counts.argmax())
    section = np.argwhere(np.take(mask, largest, axis)).mean(0)
    return volume.affine[:3, :3] @ np.insert(section, axis, largest) + volume.affine[:3, 3]


def _cut(
    volume: Volume,
    mask: np.ndarray,
    middle: np.ndarray,
    axes: tuple[int, int],
    window: tuple[float, float],
) -> np.ndarray:
    """Cut an image at a place along two world axes, with the outline of a lesion: RGB, uint8."""
    half = (SIDE - 1 / SCALE) / 2
    line = np.linspace(-half, half, SIDE * SCALE)
    across, up = np.meshgrid(line, line[::-1])
    places = np.repeat(middle[:, None], across.size, 1)
    places[axes[0]] += across.ravel()
    places[axes[1]] += up.ravel()
    inverse = np.linalg.inv(volume.affine)
    voxels = (inverse[:3, :3] @ places + inverse[:3, 3:]).reshape(3, *across.shape)
    gray = slices.gray(
        ndimage.map_coordinates(volume.data.astype(np.float32), voxels, order=1), window
    )
    inside = ndimage.map_coordinates(mask.astype(np.uint8), voxels, order=0) > 0
    colors = np.repeat(gray[..., None], 3, 2)
    colors[inside & ~ndimage.binary_erosion(inside)] = OUTLINE
    return colors
