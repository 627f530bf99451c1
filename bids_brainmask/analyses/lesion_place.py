# SPDX-License-Identifier: Apache-2.0
"""On which part of the dura a lesion lies, by the areas that it shares with each.

The tentorium is a polynomial on the axes of `head_frame`, which was fitted to the label maps of
the SynthSeg repository (Billot et al. 2023, https://doi.org/10.1016/j.media.2023.102789) by
``benchmarks/places.py``; the falx is the plane of symmetry; the rest is the outline of the brain.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeGuard, get_args

import numpy as np
import scipy

from bids_brainmask.analyses.head_frame import Frame

Place = Literal["convexity", "parasagittal", "falx", "tentorium", "skull base", "posterior fossa"]

PLACES: tuple[Place, ...] = get_args(Place)

DEGREE = 3
"""Of the polynomial of the tentorium."""

TENTORIUM = (
    *(11.03, 15.64, -0.24, -0.69, 6.7, -4.61, 1.35, 5.44, -4.1, -0.93),
    *(11.0, -0.52, -2.37, -2.07, -0.8, -2.35, 0.83, -0.98, 0.99, -0.69),
)
"""Factors of `terms`: mm from the cerebellum less mm from the cerebrum."""

NEAR_MM = 3.0
"""Distance up to which a lesion's surface lies on a part of the dura."""

LEAST_SHARE = 0.05
"""Share of a lesion's surface that must lie on a part of the dura for a place to be told."""

BESIDE_MM = 8.0
"""Distance from the falx within which a lesion on the outline reaches the sagittal sinus."""

UPPER_MM = 15.0
"""Height over the brain's middle from which a lesion beside the falx is parasagittal."""

DOWNWARD = -0.5
"""Cosine, with the upward axis, of the outline's normal, under which it is the skull base."""

LEAST_SYMMETRY = 0.88
"""Symmetry of the brain mask under which no place is told."""

LEAST_CERTAINTY = 0.6
"""Certainty under which no place is told."""

TURNS_DEG, SHIFTS_MM, NEARS_MM = 4.0, 3.0, (2.0, 4.5)
"""How the head's axes, and `NEAR_MM`, are changed to see whether the place stays the same."""


def terms(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Products of powers of the coordinates on a head's axes, relative to its sizes, (N, 20).

    Left and right are alike.
    """
    x, y, z = np.abs(points[:, 0]) / sizes[0], points[:, 1] / sizes[1], points[:, 2] / sizes[2]
    powers = [
        (i, j, k)
        for i in range(DEGREE + 1)
        for j in range(DEGREE + 1)
        for k in range(DEGREE + 1)
        if i + j + k <= DEGREE
    ]
    return np.stack([x**i * y**j * z**k for i, j, k in powers], 1)


def find(
    component: np.ndarray, within: np.ndarray, affine: np.ndarray, frame: Frame | None
) -> tuple[Place | None, float | None]:
    """Tell where a lesion lies, and how sure that is.

    Parameters
    ----------
    component, within : (I, J, K) bool array
        The lesion, and the brain with all lesions, without holes; `NEARS_MM` more at each side
        than the lesion takes, where the image goes on.
    affine : (4, 4) array
        Of these arrays.
    frame : Frame or None
        Of the head; None: no place is told.

    Returns
    -------
    place : Place or None
    certainty : float or None
        Share of some changed axes that give this place, in [0, 1]; None without a frame.
    """
    if not _is_sure(frame):
        return None, None
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    surface = _surface(component)
    away = (
        scipy.ndimage.distance_transform_edt(within, spacing)[surface]
        if not within.all()
        else None
    )
    points = _points(surface, affine)
    depth = np.full(len(points), np.inf) if away is None else away - 0.5 * spacing.min()
    told = [_place(points, depth, one, near) for one, near in _changed(frame)]
    place, number = Counter(told).most_common(1)[0]
    certainty = number / len(told)
    return (place, certainty) if place and certainty >= LEAST_CERTAINTY else (None, certainty)


def sheet_distance(component: np.ndarray, affine: np.ndarray, frame: Frame | None) -> float | None:
    """Smallest distance between a lesion's surface and the falx or the tentorium, mm.

    Parameters
    ----------
    component : (I, J, K) bool array
    affine : (4, 4) array
        Of this array.
    frame : Frame or None
        Of the head.

    Returns
    -------
    float or None
        0 if the lesion lies on both sides of one of them; None: no place is told in this head.
    """
    if not _is_sure(frame):
        return None
    own = frame.place(_points(_surface(component), affine))
    falx, tentorium = own[:, 0], _above_tentorium(own, frame)
    return min(_from_zero(falx), _from_zero(tentorium))


def _is_sure(frame: Frame | None) -> TypeGuard[Frame]:
    """Whether a head's axes are known well enough to tell where something lies on them."""
    return frame is not None and frame.symmetry >= LEAST_SYMMETRY


def _from_zero(away: np.ndarray) -> float:
    """Least distance of signed ones; 0 if they have both signs."""
    return float(max(away.min(), -away.max(), 0.0))


def _surface(component: np.ndarray) -> np.ndarray:
    return component & ~scipy.ndimage.binary_erosion(component)


def _points(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(voxels) @ affine[:3, :3].T + affine[:3, 3]


def _above_tentorium(own: np.ndarray, frame: Frame) -> np.ndarray:
    """Distance above the tentorium, mm, of points on a head's axes; below, it is negative."""
    return terms(own, frame.sizes) @ np.array(TENTORIUM) / 2  # a difference of two distances


def _changed(frame: Frame) -> list[tuple[Frame, float]]:
    """Give the axes, and others near them, each with a distance in the place of `NEAR_MM`."""
    still, none = np.eye(3), np.zeros(3)
    changed = [(frame, NEAR_MM), *((frame, near) for near in NEARS_MM)]
    for axis in np.eye(3):
        for sign in (-1, 1):
            turn = scipy.spatial.transform.Rotation.from_rotvec(
                np.radians(sign * TURNS_DEG) * axis
            ).as_matrix()
            changed.append((frame.turned(turn, none), NEAR_MM))
            changed.append((frame.turned(still, sign * SHIFTS_MM * axis), NEAR_MM))
    return changed


def _place(points: np.ndarray, depth: np.ndarray, frame: Frame, near: float) -> Place | None:
    """Tell where a lesion lies, by the points of its surface, (N, 3) mm, and their depths."""
    own = frame.place(points)
    above = _above_tentorium(own, frame)
    outer = depth < near
    falx = (np.abs(own[:, 0]) < near) & (above > near) & ~outer
    tentorium = (np.abs(above) < near) & ~outer
    shares = {"outer": outer.mean(), "falx": falx.mean(), "tentorium": tentorium.mean()}
    part = max(shares, key=lambda name: shares[name])
    if shares[part] < LEAST_SHARE:
        return None
    if part == "outer":
        return _outer(own[outer], float((above < 0).mean()), frame)
    return "falx" if part == "falx" else "tentorium"


def _outer(contact: np.ndarray, below: float, frame: Frame) -> Place:
    """Tell where on the outline of the brain a lesion's contact lies."""
    if below > 0.5:
        return "posterior fossa"
    middle = contact.mean(0)
    if np.abs(contact[:, 0]).min() < BESIDE_MM and middle[2] > UPPER_MM:
        return "parasagittal"
    normal = middle / frame.sizes**2  # of an ellipsoid of the brain's sizes
    return "skull base" if normal[2] < DOWNWARD * np.linalg.norm(normal) else "convexity"
