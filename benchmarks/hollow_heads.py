# SPDX-License-Identifier: Apache-2.0
"""Images that have a head's outside, or a brain's outline, and something else within.

Each is a function of a random generator and of a `Material`, and gives a `Volume`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from broken_heads import RAS, Material, Random, scrambled
from scipy import ndimage

from bids_brainmask.voxels.image import Volume

SIGNAL = {
    "white": 100,
    "grey": 70,
    "deep": 82,
    "fluid": 22,
    "blood": 40,
    "soft": 55,
    "skin": 75,
    "bone": 8,
    "marrow": 85,
    "mucosa": 50,
}
"""T1-weighted intensities of classes of tissue."""

CLASSES = {
    "white": (1, 5, 21, 25, 13, 49, 53, 46, 38),
    "grey": (2, 6, 22, 26, 14, 15, 31, 32, 39, 40, 41, 42),
    "deep": (7, 8, 9, 10, 18, 19, 27, 28, 29, 30, 34, 35),
    "fluid": (3, 4, 11, 12, 16, 23, 24, 37, 17, 33, 44),
    "blood": (20, 36, 43, 50),
    "soft": (45,),
    "skin": (48,),
    "bone": (51,),
    "marrow": (52,),
    "mucosa": (47,),
}
"""Labels of the maps of whole heads, by class; see their table."""

BRAIN = tuple(label for label in range(1, 43) if label not in (20, 36))
"""Labels of brain, ventricles and the fluid about them."""


def painted(random: Random, labels: np.ndarray) -> np.ndarray:
    """Give each label an intensity of T1, a texture and noise, float32."""
    table = np.zeros(256, np.float32)
    for name, members in CLASSES.items():
        table[list(members)] = SIGNAL[name] * random.uniform(0.9, 1.1)
    return finished(random, table[labels])


def finished(random: Random, data: np.ndarray) -> np.ndarray:
    """Blur by less than a voxel, and add texture and a receiver's noise."""
    data = data * (1 + 0.06 * random.standard_normal(data.shape, np.float32))
    soft = ndimage.gaussian_filter(data, 0.6)
    real, imaginary = 2 * random.standard_normal((2, *data.shape), np.float32)
    return np.hypot(soft + real, imaginary)


def brain_of(labels: np.ndarray) -> np.ndarray:
    """Bool: where a label map has brain or the fluid about it, in one piece."""
    return np.isin(labels, BRAIN)


def with_brain(random: Random, material: Material, fill: Callable) -> Volume:
    """Head of a label map whose brain is something else; `fill` gives intensities of a shape."""
    labels = material.labels.data
    data = painted(random, labels)
    brain = ndimage.binary_closing(brain_of(labels), iterations=2)
    return Volume(np.where(brain, fill(labels.shape), data).astype(np.float32), RAS)


def neck(random, material):
    """Everything from the brain's lowest tenth down."""
    labels = material.labels.data
    lowest = np.flatnonzero(brain_of(labels).any((0, 1)))[0]
    return Volume(painted(random, labels[:, :, : lowest + 8]), RAS)


def face(random, material):
    """What lies in front of the brain and below its middle."""
    labels = material.labels.data
    there = np.argwhere(brain_of(labels))
    front, middle = np.percentile(there[:, 1], 85).astype(int), int(there[:, 2].mean())
    return Volume(painted(random, labels[:, front:, :middle]), RAS)


def skull_cap(random, material):
    """Skin and bone over the brain, and nothing in it or below."""
    labels = material.labels.data.copy()
    brain = brain_of(labels)
    labels[ndimage.binary_closing(brain, iterations=2)] = 0
    labels[:, :, : int(np.argwhere(brain)[:, 2].mean())] = 0
    return Volume(painted(random, labels), RAS)


def brain_of_noise(random, material):
    """Each voxel of the brain by itself."""
    return with_brain(random, material, lambda shape: random.uniform(0, 100, shape))


def brain_of_one_value(random, material):
    """A brain without any structure."""
    return with_brain(random, material, lambda shape: finished(random, np.full(shape, 80.0)))


def brain_of_air(random, material):
    """Nothing in the skull."""
    return with_brain(random, material, lambda shape: finished(random, np.zeros(shape)))


def brain_of_clouds(random, material):
    """Blobs of 6 mm."""
    return with_brain(
        random, material, lambda shape: finished(random, 60 + 25 * clouds(random, shape, 6))
    )


def clouds(random: Random, shape, width: float) -> np.ndarray:
    """Noise of standard deviation 1 that varies over a width, in voxels."""
    field = ndimage.gaussian_filter(random.standard_normal(shape, np.float32), width)
    return field / field.std()


def brain_of_scrambled_blocks(random, material):
    """The brain in blocks of 16 mm, in any order."""
    labels = material.labels.data
    head = painted(random, labels)
    box = ndimage.find_objects(brain_of(labels).astype(np.uint8))[0]
    mixed = head.copy()
    mixed[box] = scrambled(random, head[box], 16)
    return Volume(np.where(brain_of(labels), mixed, head), RAS)


def animal(random, material):
    """A label map drawn out and bent, with a snout's length and a small brain."""
    labels = material.labels.data
    grid = np.indices(labels.shape, np.float32)
    middle = (np.array(labels.shape, np.float32) - 1).reshape(3, 1, 1, 1) / 2
    away = (grid - middle) / middle
    narrow = 1 + 0.9 * away[1]
    grid[0] = middle[0] + (grid[0] - middle[0]) * (1.3 + 0.6 * narrow)
    grid[2] = middle[2] + (grid[2] - middle[2]) * 1.7 - 25 * away[1] ** 2
    data = painted(random, ndimage.map_coordinates(labels, grid, order=0))
    return Volume(data, np.diag([0.5, 0.9, 0.5, 1.0]))


def swirled(random, material):
    """A label map turned about the vertical, the farther from it the more."""
    labels = material.labels.data
    x, y, z = np.indices(labels.shape, np.float32)
    at = (np.array(labels.shape) - 1) / 2
    turn = np.hypot(x - at[0], y - at[1]) / 18
    places = [
        at[0] + (x - at[0]) * np.cos(turn) - (y - at[1]) * np.sin(turn),
        at[1] + (x - at[0]) * np.sin(turn) + (y - at[1]) * np.cos(turn),
        z,
    ]
    return Volume(painted(random, ndimage.map_coordinates(labels, places, order=0)), RAS)


def torn(random, material):
    """A label map moved about by up to 40 mm within 20 mm."""
    labels = material.labels.data
    places = np.indices(labels.shape, np.float32)
    for axis in places:
        axis += 20 * clouds(random, labels.shape, 10)
    return Volume(painted(random, ndimage.map_coordinates(labels, places, order=0)), RAS)


def in_outline(material: Material, data: np.ndarray) -> Volume:
    """What has a brain's outline and nothing about it."""
    brain = ndimage.binary_erosion(material.brain, iterations=1)
    return Volume(np.where(brain, data, 0).astype(np.float32), material.image.affine)


def mask_itself(_random, material):
    """A brain mask in place of an image."""
    return in_outline(material, np.ones(material.brain.shape))


def map_of_statistics(random, material):
    """Smooth noise in a brain's outline."""
    return in_outline(material, 5 + clouds(random, material.brain.shape, 2.5))


def noise_in_a_mask(random, material):
    """Noise in a brain's outline."""
    return in_outline(material, random.uniform(0, 100, material.brain.shape))


def map_of_distances(_random, material):
    """How deep a voxel lies in the brain."""
    depth = ndimage.distance_transform_edt(material.brain, material.image.spacing)
    return in_outline(material, depth)


KINDS: tuple[Callable[[Random, Material], Volume], ...] = (
    *(neck, face, skull_cap, brain_of_noise, brain_of_one_value, brain_of_air),
    *(brain_of_clouds, brain_of_scrambled_blocks, animal, swirled, torn, mask_itself),
    *(map_of_statistics, noise_in_a_mask, map_of_distances),
)
"""All of them."""
