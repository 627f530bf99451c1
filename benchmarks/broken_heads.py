# SPDX-License-Identifier: Apache-2.0
"""Images that are made of a head and are no whole head any more: cut, doubled, scrambled, hollow.

Each is a function of a random generator and of a `Material`, and gives a `Volume`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_brainmask.voxels.image import Volume

Random = np.random.Generator

RAS = np.eye(4)
"""Affine of the label maps' grids; where they lie does not matter."""


@dataclass(frozen=True)
class Material:
    """What broken heads are made of; axes run along R, A, S."""

    labels: Volume  # (I, J, K) uint8, a label map of a whole head
    image: Volume  # float32, a real head
    brain: np.ndarray  # (I, J, K) bool, of the real head


def box_of(material: Material) -> tuple[slice, ...]:
    """Box of the real head's brain."""
    return ndimage.find_objects(material.brain.astype(np.uint8))[0]


def crop(volume: Volume, axis: int, start: int, stop: int) -> Volume:
    """End the field of view along an axis."""
    places = [slice(None)] * 3
    places[axis] = slice(start, stop)
    affine = volume.affine.copy()
    affine[:3, 3] += start * affine[:3, axis]
    return Volume(volume.data[tuple(places)].copy(), affine)


def of_brain(material: Material, axis: int, start: float, stop: float) -> Volume:
    """Real head whose field of view holds a part of the brain alone, in shares of its extent."""
    side = box_of(material)[axis]
    size = side.stop - side.start
    low, high = (side.start + round(share * size) for share in (start, stop))
    return crop(material.image, axis, max(low, 0), min(high, material.image.data.shape[axis]))


def left_half(_random, material):
    """The other half is out of the field of view."""
    return of_brain(material, 0, -2, 0.5)


def front_half(_random, material):
    """The back is out of the field of view."""
    return of_brain(material, 1, 0.5, 3)


def upper_half(_random, material):
    """The lower half of the brain is out of the field of view."""
    return of_brain(material, 2, 0.5, 3)


def lower_half(_random, material):
    """The upper half of the brain is out of the field of view."""
    return of_brain(material, 2, -3, 0.5)


def middle_40_sideways(_random, material):
    """40 % of the brain's extent from left to right."""
    return of_brain(material, 0, 0.3, 0.7)


def back_40(_random, material):
    """40 % of the brain's extent, at the back."""
    return of_brain(material, 1, -2, 0.4)


def top_40(_random, material):
    """40 % of the brain's extent, at the top."""
    return of_brain(material, 2, 0.6, 3)


def slab(_random, material):
    """An axial slab of 30 mm."""
    share = 30 / (material.image.spacing[2] * np.ptp(np.flatnonzero(material.brain.any((0, 1)))))
    return of_brain(material, 2, 0.5 - share / 2, 0.5 + share / 2)


def single_slice(_random, material):
    """One axial slice."""
    share = 1.5 / np.ptp(np.flatnonzero(material.brain.any((0, 1))))
    return of_brain(material, 2, 0.5, 0.5 + share)


def corner(_random, material):
    """An eighth of the brain."""
    middle = [int(places.mean()) for places in np.nonzero(material.brain)]
    part = material.image
    for axis, start in enumerate(middle):
        part = crop(part, axis, start, part.data.shape[axis])
    return part


def scrambled(random: Random, data: np.ndarray, side: int) -> np.ndarray:
    """Cut into cubes, and put them together in any order; what is over stays where it is."""
    counts = [size // side for size in data.shape]
    corners = [tuple(slice(i * side, (i + 1) * side) for i in at) for at in np.ndindex(*counts)]
    mixed = data.copy()
    for here, there in zip(corners, random.permutation(len(corners)), strict=True):
        mixed[here] = data[corners[there]]
    return mixed


def scrambled_blocks(random, material):
    """The head in blocks of 32 voxels, in any order."""
    return Volume(scrambled(random, material.image.data, 32), material.image.affine)


def large_scrambled_blocks(random, material):
    """The head in blocks of half its width, in any order."""
    side = max(1, min(material.image.data.shape) // 2)
    data = scrambled(random, material.image.data, side)
    while np.array_equal(data, material.image.data):
        data = scrambled(random, material.image.data, side)
    return Volume(data, material.image.affine)


def shuffled_slices(random, material):
    """Axial slices in any order."""
    data = material.image.data
    return Volume(data[:, :, random.permutation(data.shape[2])], material.image.affine)


def interleaved_wrongly(_random, material):
    """First the even slices, then the odd ones."""
    data = material.image.data
    return Volume(np.concatenate([data[:, :, ::2], data[:, :, 1::2]], 2), material.image.affine)


def repeated_slice(_random, material):
    """One axial slice all the way up."""
    data = material.image.data
    level = int(np.argwhere(material.brain)[:, 2].mean())
    return Volume(
        np.repeat(data[:, :, level : level + 1], data.shape[2], 2), material.image.affine
    )


def random_phases(random, material):
    """The head's spatial frequencies, with phases of noise."""
    data = material.image.data
    phases = np.angle(np.fft.rfftn(random.standard_normal(data.shape)))
    amplitudes = np.abs(np.fft.rfftn(data))
    mixed = np.fft.irfftn(amplitudes * np.exp(1j * phases), data.shape, (0, 1, 2))
    return Volume(mixed.astype(np.float32), material.image.affine)


def two_heads(_random, material):
    """Side by side in one field of view."""
    data = material.image.data
    return Volume(np.concatenate([data, data], 0), material.image.affine)


def two_heads_stacked(_random, material):
    """One over the other in one field of view."""
    data = material.image.data
    return Volume(np.concatenate([data, data], 2), material.image.affine)


def mirrored_front(_random, material):
    """Two fronts, and no back."""
    data = of_brain(material, 1, 0.5, 3)
    return Volume(np.concatenate([data.data[:, ::-1], data.data], 1), data.affine)


def mirrored_top(_random, material):
    """Two tops, and no bottom."""
    data = of_brain(material, 2, 0.5, 3)
    return Volume(np.concatenate([data.data[:, :, ::-1], data.data], 2), data.affine)


def mirrored_tiles(_random, material):
    """Four heads, each the other's mirror image."""
    data = material.image.data[::2, ::2, ::2]
    data = np.concatenate([data, data[::-1]], 0)
    data = np.concatenate([data, data[:, ::-1]], 1)
    return Volume(data, material.image.affine)


def folded_over(_random, material):
    """The field of view is shifted by half: the brain comes in on the other side."""
    side = box_of(material)[1]
    shift = -(side.start + side.stop) // 2
    return Volume(np.roll(material.image.data, shift, 1), material.image.affine)


def rescaled(material: Material, sizes) -> Volume:
    """Real head with other voxel sizes in its header."""
    affine = material.image.affine.copy()
    affine[:3, :3] *= sizes
    return Volume(material.image.data, affine)


def shrunk(_random, material):
    """To 40 % of its size, as by wrong units."""
    return rescaled(material, (0.4, 0.4, 0.4))


def swollen(_random, material):
    """To twice its size."""
    return rescaled(material, (2.0, 2.0, 2.0))


def flattened(_random, material):
    """Slices that are said to be 0.35 times as thick as they are."""
    return rescaled(material, (1, 1, 0.35))


def stretched(_random, material):
    """Slices that are said to be 2.2 times as thick as they are."""
    return rescaled(material, (1, 1, 2.2))


KINDS: tuple[Callable[[Random, Material], Volume], ...] = (
    *(left_half, front_half, upper_half, lower_half, middle_40_sideways, back_40),
    *(top_40, slab, single_slice, corner, scrambled_blocks, large_scrambled_blocks),
    *(shuffled_slices, interleaved_wrongly, repeated_slice, random_phases, two_heads),
    *(two_heads_stacked, mirrored_front, mirrored_top, mirrored_tiles, folded_over),
    *(shrunk, swollen, flattened, stretched),
)
"""All of them."""
