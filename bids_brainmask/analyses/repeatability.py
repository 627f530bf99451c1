# SPDX-License-Identifier: Apache-2.0
"""How much the volume of a lesion changes when the same head is scanned a little shifted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from bids_brainmask.voxels import image, registration
from bids_brainmask.voxels.image import Source, Volume

MOST_DEGREES, MOST_MM = 5.0, 3.0
"""Largest rotation about, and shift along, each world axis. Two sessions of one head differ by
such motions and more."""


def standard_deviations(
    source: Source,
    labels: np.ndarray,
    probability: Callable[[Source], np.ndarray],
    threshold: float,
    copies: int,
) -> list[float]:
    """Measure how each lesion's volume varies over an image and moved copies of it.

    The copies are always the same for an image. A lesion's volume in a copy is that of all
    components that it touches there; 0 if there is none.

    Parameters
    ----------
    source : Source
    labels : (I, J, K) int array
        Indices of the lesions, from 1 on without gaps.
    probability : callable
        Gives the probability of lesion, (I, J, K), of an image.
    threshold : float
        Probability from which a voxel is lesion.
    copies : int
        At least 1.

    Returns
    -------
    list of float
        Standard deviation of each lesion's volume, mL.
    """
    volume = source.volume
    voxel_ml = float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    volumes = [np.bincount(labels.ravel())[1:] * voxel_ml]
    rng = np.random.default_rng(0)
    for _ in range(copies):
        motion = _motion(volume, rng)
        moved = Volume(registration.onto(volume, volume, motion, order=1), volume.affine)
        found = probability(image.Source(moved, source.file)) >= threshold
        where = registration.onto(volume, Volume(labels, volume.affine), motion)
        components, _ = scipy.ndimage.label(found, np.ones((3, 3, 3)))
        sizes = np.bincount(components.ravel()) * voxel_ml
        sizes[0] = 0
        touched = (np.unique(components[where == index + 1]) for index in range(len(volumes[0])))
        volumes.append(np.array([sizes[each].sum() for each in touched]))
    return np.std(volumes, axis=0, ddof=1).tolist()


def _motion(volume: Volume, rng: np.random.Generator) -> np.ndarray:
    """Draw a motion about the middle of the image."""
    middle = volume.affine @ [*(np.array(volume.data.shape) / 2), 1]
    found = np.eye(4)
    angles = rng.uniform(-MOST_DEGREES, MOST_DEGREES, 3)
    found[:3, :3] = scipy.spatial.transform.Rotation.from_euler(
        "xyz", angles, degrees=True
    ).as_matrix()
    found[:3, 3] = middle[:3] - found[:3, :3] @ middle[:3] + rng.uniform(-MOST_MM, MOST_MM, 3)
    return found
