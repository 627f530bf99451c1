# SPDX-License-Identifier: Apache-2.0
"""Random heads from real ones: pure functions of arrays and a random generator.

Geometry is drawn once per example and applied to image and label in a single interpolation;
intensities follow, on the image alone. The ranges are wide on purpose, after Hoopes et al. 2022
(SynthStrip, https://doi.org/10.1016/j.neuroimage.2022.119474): a network keeps to what it saw, and
here it sees few scanners.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation


def random_affine(rng: np.random.Generator) -> np.ndarray:
    """Draw a rotation, shear, scaling and left-right flip of the world, in mm.

    Returns
    -------
    (3, 3) array
    """
    spread = 12.0 if rng.random() < 0.8 else 35.0
    turn = Rotation.from_euler("xyz", rng.normal(0, spread, 3), degrees=True).as_matrix()
    scale = np.diag(rng.uniform(0.82, 1.2) * rng.uniform(0.93, 1.07, 3))
    shear = np.eye(3) + np.triu(rng.normal(0, 0.04, (3, 3)), 1)
    flip = np.diag([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    return turn @ scale @ shear @ flip


def smooth_field(shape, knots, rng: np.random.Generator) -> np.ndarray:
    """Interpolate white noise on a coarse lattice to `shape`; about zero and of unit variance.

    Parameters
    ----------
    shape : tuple of 3 int
    knots : int
        Lattice points along each axis, at least 2.

    Returns
    -------
    (I, J, K) float32 array
    """
    field = rng.standard_normal((knots,) * 3).astype(np.float32)
    for axis, size in enumerate(shape):
        position = np.linspace(0, knots - 1, size, dtype=np.float32)
        low = np.minimum(position.astype(int), knots - 2)
        share = (position - low).astype(np.float32)
        share = share.reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(low, axis) * (1 - share) + field.take(low + 1, axis) * share
    return field


def sample(image, label, affine, centre, window, rng: np.random.Generator):
    """Look at a head through a window of 1 mm voxels, turned and bent at random.

    Parameters
    ----------
    image, label : (I, J, K) float32 array
        A head and its mask, on their own grid.
    affine : (4, 4) array
        Of that grid, to RAS+ mm.
    centre : (3,) array
        World position of the middle of the window, mm.
    window : tuple of 3 int
        Voxels of the window.

    Returns
    -------
    image : window float32 array
    label : window float32 array
        Mask sampled linearly: the share of each voxel that is brain, in [0, 1].
    """
    to_voxel = np.linalg.inv(affine)
    matrix = to_voxel[:3, :3] @ random_affine(rng)
    middle = to_voxel[:3, :3] @ centre + to_voxel[:3, 3]
    offset = middle - matrix @ ((np.array(window) - 1) / 2)
    if rng.random() < 0.5:
        linear = {"output_shape": window, "order": 1, "prefilter": False}
        return tuple(
            ndimage.affine_transform(values, matrix, offset, **linear) for values in (image, label)
        )
    index = [
        np.arange(n, dtype=np.float32).reshape(np.roll([n, 1, 1], a)) for a, n in enumerate(window)
    ]
    millimetres = rng.uniform(0, 5)
    bent = [axis + millimetres * smooth_field(window, rng.integers(4, 8), rng) for axis in index]
    matrix, offset = matrix.astype(np.float32), offset.astype(np.float32)
    points = np.empty((3, *window), np.float32)
    for row in range(3):
        points[row] = offset[row]
        for column in range(3):
            points[row] += matrix[row, column] * bent[column]
    return tuple(
        ndimage.map_coordinates(values, points, order=1, prefilter=False)
        for values in (image, label)
    )


def cut_field_of_view(image, label, rng: np.random.Generator):
    """Blank what a scan may lack: the neck, the face, the top of the head, a side.

    Cuts below and before the brain leave it whole; the others may take some of it, and its label.
    """
    image, label = image.copy(), label.copy()
    brain = np.argwhere(label[::4, ::4, ::4] > 0.5) * 4
    if not len(brain):
        return image, label
    low, high = brain.min(0), brain.max(0) + 4
    if rng.random() < 0.3:
        image[:, :, : max(0, low[2] - rng.integers(0, 40))] = 0
    if rng.random() < 0.25:  # a defaced head: a wedge in front of and under the brain
        front = np.arange(image.shape[1])[:, None] - rng.uniform(0.5, 0.9) * high[1]
        floor = np.arange(image.shape[2])[None] - (low[2] + rng.uniform(0, 0.35) * (high - low)[2])
        wedge = (front > 0) & (floor < front * rng.uniform(0.0, 0.9))
        image[np.broadcast_to(wedge, image.shape) & (label < 0.01)] = 0
    if rng.random() < 0.1:
        top = high[2] - rng.integers(-10, 25)
        image[:, :, top:], label[:, :, top:] = 0, 0
    if rng.random() < 0.1:
        axis, cut = int(rng.integers(0, 3)), int(rng.integers(0, 24))
        side = np.moveaxis(image, axis, 0), np.moveaxis(label, axis, 0)
        for values in side:
            values[: cut if rng.random() < 0.5 else 0] = 0
    return image, label


def degrade(image, rng: np.random.Generator):
    """Blur as a thick slice or a smooth scan does, and ghost along one axis."""
    if rng.random() < 0.25:
        thickness = [1, 1, 1]
        thickness[rng.integers(0, 3)] = rng.integers(2, 7)
        coarse = ndimage.uniform_filter(image, thickness)
        step = tuple(slice(t // 2, None, t) for t in thickness)
        image = coarse[step]
        for axis, t in enumerate(thickness):
            image = np.repeat(image, t, axis)
        pad = [(0, max(0, n - m)) for n, m in zip(coarse.shape, image.shape, strict=True)]
        image = np.pad(image, pad, mode="edge")[tuple(slice(n) for n in coarse.shape)]
        image = ndimage.uniform_filter(image, thickness)
    elif rng.random() < 0.25:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.5), truncate=2)
    if rng.random() < 0.08:
        axis = int(rng.integers(0, 3))
        image = image + rng.uniform(0.03, 0.2) * np.roll(image, rng.integers(20, 70), axis)
    return image


def recolour(image, rng: np.random.Generator):
    """Change contrast: gamma, a random curve of intensities, a bias field, noise.

    Parameters
    ----------
    image : (I, J, K) float32 array
        About [0, 1], background about 0.
    """
    bright = np.clip(image, 0, 1.5)
    if rng.random() < 0.25:  # any contrast, the reversed one among them
        knots = np.linspace(0, 1.5, 7, dtype=np.float32)
        values = rng.uniform(0, 1.2, 7)
        values[0] *= rng.random() < 0.5
        if rng.random() < 0.3:
            values = np.linspace(1.1, 0.1, 7) + rng.normal(0, 0.08, 7)
            values[0] = 0
        scaled = bright * 4
        low = np.minimum(scaled.astype(np.int8), 5)
        step = np.diff(values).astype(np.float32)
        changed = values.astype(np.float32)[low] + step[low] * (scaled - low)
        air = knots[1] * rng.uniform(0.05, 0.3)  # keeps the air around the head dark
        image = np.where(bright > air, changed, changed * (bright / air))
    else:
        image = bright ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.7:
        field = smooth_field(image.shape, rng.integers(2, 5), rng)
        image = image * np.exp(np.float32(rng.uniform(0, 0.45)) * field)
    if rng.random() < 0.6:
        sigma = np.float32(rng.uniform(0, 0.1))
        noise = rng.standard_normal(image.shape, np.float32) * sigma
        masked = image > 0.02 if rng.random() < 0.5 else True
        image = np.abs(image + noise * masked)
    return image.astype(np.float32)


def strip(image, label, rng: np.random.Generator):
    """Sometimes leave the brain alone: a scan that was stripped already must come back whole."""
    if rng.random() < 0.12:
        return image * (label > 0.5), label
    return image, label
