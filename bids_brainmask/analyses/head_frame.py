# SPDX-License-Identifier: Apache-2.0
"""A head's own axes from its brain mask: the plane of symmetry, the pitch, and the size.

No template and no landmark is needed, and no answer depends on how the head lies in the scanner,
as long as it is turned by less than some 40 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

STEP_MM = 5.0
"""Distance of the points of the brain mask that are used, mm."""

REACH_MM = 115.0
"""Distance of the outermost points from the brain's middle along the world's axes, mm."""

FEWEST = 500
"""Points under which a mask is too small for a frame."""

PITCH = np.radians(22.0)
"""Angle between the brain's longest axis and the forward one, which is horizontal in heads that
lie straight in the scanner: the mean over 15 label maps of the SynthSeg repository."""

FIRST = 0.2
"""First step of the search, in radians; and 20 times that of the offset, in mm."""


@dataclass(frozen=True)
class Frame:
    """Axes of a head: ``(point - middle) @ axes.T`` is mm to the right, forward and upward."""

    middle: np.ndarray  # (3,) mm, on the plane of symmetry
    axes: np.ndarray  # (3, 3), rows: right, forward, up
    sizes: np.ndarray  # (3,) mm, standard deviations of the brain's points along the axes
    symmetry: float  # share of the mirrored brain that is in the brain, in [0, 1]

    def place(self, points: np.ndarray) -> np.ndarray:
        """Give points, (N, 3) mm in the world, on the axes, (N, 3) mm."""
        return (points - self.middle) @ self.axes.T

    def turned(self, rotation: np.ndarray, shift: np.ndarray) -> Frame:
        """Turn the axes by a matrix, and shift the middle along them, mm."""
        return replace(self, axes=rotation @ self.axes, middle=self.middle + shift @ self.axes)


def find(brain: np.ndarray, affine: np.ndarray) -> Frame | None:
    """Find the frame of a head.

    Parameters
    ----------
    brain : (I, J, K) bool array
    affine : (4, 4) array
        Voxel indices to mm, RAS+.

    Returns
    -------
    Frame or None
        None: the mask is too small for one.
    """
    to_voxel = np.linalg.inv(affine)
    brain = brain.copy("K")  # without gaps in memory, see `_inside`
    center, points = _lattice(brain, affine, to_voxel)
    if len(points) < FEWEST:
        return None

    def asymmetry(values: np.ndarray) -> float:
        normal = _normal(*values[:2])
        away = (points - center) @ normal - values[2]
        mirrored = points - 2 * away[:, None] * normal
        return 1 - _inside(mirrored, brain, to_voxel).mean()

    simplex = np.vstack([np.zeros(3), FIRST * np.diag([1, 1, 20])])
    best = scipy.optimize.minimize(
        asymmetry,
        np.zeros(3),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 2e-3, "fatol": 1e-4, "maxfev": 150},
    )
    right = _normal(*best.x[:2])
    axes = _with_pitch(right, points - center)
    sizes = ((points - center) @ axes.T).std(0)
    return Frame(center + best.x[2] * right, axes, sizes, float(1 - best.fun))


def _lattice(
    brain: np.ndarray, affine: np.ndarray, to_voxel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the brain `STEP_MM` apart along the world's axes, (N, 3) mm, about its middle.

    They do not depend on the order and direction of the image's axes.
    """
    sums = [brain.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
    middle = [np.arange(len(each)) @ each / max(each.sum(), 1) for each in sums]
    center = affine[:3, :3] @ middle + affine[:3, 3]
    steps = np.arange(-REACH_MM, REACH_MM + STEP_MM, STEP_MM)
    lattice = center + np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    points = lattice[_inside(lattice, brain, to_voxel)]
    return (points.mean(0) if len(points) else center), points


def _inside(points: np.ndarray, brain: np.ndarray, to_voxel: np.ndarray) -> np.ndarray:
    """Tell of points, (N, 3) mm, whether the nearest voxel is in the brain, (N,) bool.

    The brain, bool, has no gaps in memory, so that its strides count voxels; its axes may lie
    there in any order.
    """
    places = np.rint(points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int).T
    within, flat = np.ones(len(points), bool), np.zeros(len(points), int)
    for place, size, stride in zip(places, brain.shape, brain.strides, strict=True):
        within &= (place >= 0) & (place < size)
        flat += stride * place
    return within & brain.ravel("K").take(flat, mode="clip")


def _normal(yaw: float, roll: float) -> np.ndarray:
    """Direction to the right of a head that is turned from the world's axes; rad."""
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])


def _with_pitch(right: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Axes of a head by its brain's longest axis, `PITCH` from the forward one."""
    forward = np.array([0.0, 1.0, 0.0]) - right[1] * right
    forward /= np.linalg.norm(forward)
    up = np.cross(right, forward)
    y, z = offsets @ forward, offsets @ up
    pitch = 0.5 * np.arctan2(2 * (y * z).mean(), (y**2).mean() - (z**2).mean()) - PITCH
    return np.array(
        [
            right,
            np.cos(pitch) * forward + np.sin(pitch) * up,
            np.cos(pitch) * up - np.sin(pitch) * forward,
        ]
    )
