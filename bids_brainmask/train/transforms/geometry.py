# SPDX-License-Identifier: Apache-2.0
"""Windows of 1 mm voxels into a head: randomly rotated, scaled, mirrored and deformed.

Image and label have the same geometry; each is interpolated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_brainmask.train.transforms.augment import Example, smooth_field


class Geometry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ranges of the random geometry of a window. The default changes nothing."""

    turn: float = 0.0
    """Standard deviation of each of three angles, degrees; doubled in one draw of five."""

    shift: float = 0.0
    """Largest displacement along each axis, mm."""

    scale: float = 0.0
    """Largest relative change of size, shared by the axes."""

    stretch: float = 0.0
    """Largest relative change of size of each axis separately."""

    shear: float = 0.0
    """Standard deviation of each of three shears."""

    bend: float = 0.0
    """Largest amplitude of the elastic deformation, mm; applied in two draws of five."""

    flip: float = 0.0
    """Probability of exchanging left and right."""

    quarter_turns: float = 0.0
    """Probability of random rotations by 90 degrees; with flips, all 48 axis orders occur."""

    any_turn: float = 0.0
    """Probability of a rotation drawn uniformly from all rotations."""


def random_matrix(geometry: Geometry, rng: np.random.Generator) -> np.ndarray:
    """Draw a geometry, as a matrix in world coordinates.

    Returns
    -------
    (3, 3) array
    """
    spread = geometry.turn * (1 if rng.random() < 0.8 else 2)
    turn = Rotation.from_euler("xyz", rng.normal(0, spread, 3), degrees=True).as_matrix()
    if rng.random() < geometry.quarter_turns:
        right = Rotation.from_euler("xyz", rng.integers(0, 4, 3) * 90, degrees=True)
        turn = turn @ np.round(right.as_matrix())
    if geometry.any_turn and rng.random() < geometry.any_turn:
        turn = Rotation.random(rng=rng).as_matrix()
    size = np.exp(rng.uniform(-geometry.scale, geometry.scale))
    size = size * rng.uniform(1 - geometry.stretch, 1 + geometry.stretch, 3)
    shear = np.eye(3) + np.triu(rng.normal(0, geometry.shear, (3, 3)), 1)
    mirror = np.diag([-1.0 if rng.random() < geometry.flip else 1.0, 1.0, 1.0])
    return turn @ np.diag(size) @ shear @ mirror


def crop(
    example: Example,
    center: np.ndarray,
    window: tuple[int, int, int],
    geometry: Geometry,
    rng: np.random.Generator,
    *,
    axes: np.ndarray | None = None,
    interpolation: Literal["linear", "nearest"] = "linear",
) -> tuple[np.ndarray, np.ndarray]:
    """Resample image and label in a random window of 1 mm voxels.

    Parameters
    ----------
    center : (3,) array
        World position of the middle of the window, mm.
    window : tuple of 3 int
        Voxels of the window.
    axes : (3, 3) array, optional
        Directions in the world of the window's axes, one a column; R, A and S if not given.
    interpolation : {"linear", "nearest"}
        Of the label; images are interpolated linearly.

    Returns
    -------
    image : window float32 array
        0 outside the scan.
    label : window float32 array
        In [0, 1]; linear: the share of each voxel that is labeled.
    """
    matrix = random_matrix(geometry, rng) @ (np.eye(3) if axes is None else axes)
    center = center + rng.uniform(-geometry.shift, geometry.shift, 3)
    offset = center - matrix @ ((np.array(window) - 1) / 2)
    bent = None
    if geometry.bend and rng.random() < 0.4:
        bent = bend(window, rng.uniform(0, geometry.bend), rng)
    order = {"linear": 1, "nearest": 0}[interpolation]
    image = _interpolate(example.image, example.affine, matrix, offset, window, bent, 1)
    label = _interpolate(example.label, example.label_affine, matrix, offset, window, bent, order)
    return image, label


def bend(window: Sequence[int], millimeters: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Voxel coordinates of a window, displaced by a smooth field of some amplitude."""
    axes = [np.arange(n, dtype=np.float32) for n in window]
    return [
        axis.reshape(np.roll([axis.size, 1, 1], number))
        + np.float32(millimeters) * smooth_field(window, int(rng.integers(4, 8)), rng)
        for number, axis in enumerate(axes)
    ]


def _interpolate(
    values: np.ndarray,
    affine: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    window: Sequence[int],
    bent: Sequence[np.ndarray] | None,
    order: int,
) -> np.ndarray:
    """Values at the voxels of a window: ``matrix @ voxel + offset`` in the world."""
    to_voxel = np.linalg.inv(affine)
    matrix, offset = to_voxel[:3, :3] @ matrix, to_voxel[:3, :3] @ offset + to_voxel[:3, 3]
    options = {"order": order, "prefilter": False, "output": np.float32}
    if bent is None:
        return ndimage.affine_transform(values, matrix, offset, window, **options)
    matrix, offset = matrix.astype(np.float32), offset.astype(np.float32)
    points = np.empty((3, *window), np.float32)
    for row in range(3):
        points[row] = offset[row]
        for column in range(3):
            points[row] += matrix[row, column] * bent[column]
    return ndimage.map_coordinates(values, points, **options)
