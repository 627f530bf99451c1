# SPDX-License-Identifier: Apache-2.0
"""Slices and overlays for the view of one image."""

import io

import numpy as np
import pytest
from PIL import Image

from bids_brainmask.drawing import tiles
from bids_brainmask.voxels.image import Volume

TILE = tiles.TILE


def ball(radius, shape=(60, 60, 60)):
    grid = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    return np.sqrt((grid**2).sum(0)) < radius


def drawn(data, mask, chance=None, spacing=(2.0, 2, 2)):
    volume = Volume(np.asarray(data, np.float32), np.diag([*spacing, 1]))
    chance = mask.astype(np.float32) if chance is None else chance
    gray, overlays = tiles.pictures(volume, mask, chance)
    overlays = seen(overlays)
    gray = np.asarray(Image.open(io.BytesIO(gray)))
    return gray[..., 0].astype(int), overlays[: 5 * TILE], overlays[5 * TILE :]


def seen(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def tile(picture, number):
    row, column = divmod(number, tiles.SIDE)
    return picture[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


def test_each_tile_has_the_slice_and_its_mask_in_one_place():
    mask = ball(20)
    gray, covered, unsure = drawn(np.where(mask, 100, 0), mask)
    assert gray.shape == (5 * TILE, 5 * TILE)
    assert covered.shape == unsure.shape == (5 * TILE, 5 * TILE, 4)
    for number in (4, 13, 21):  # through the middle of each axis
        shades, cover = tile(gray, number), tile(covered, number)[..., 3]
        assert shades[TILE // 2, TILE // 2] > 150
        assert cover[TILE // 2, TILE // 2] == 255
        assert ((shades > 75) == (cover > 127)).mean() > 0.97
        # The ball of 80 mm is in 110 mm: its mask and 15 mm around it.
        assert (cover[TILE // 2] > 127).sum() == pytest.approx(TILE * 80 / 110, rel=0.04)
    assert not unsure[..., 3].any()


def test_candidate_lesions_lie_on_the_same_tiles_in_two_colors():
    mask, counted = ball(20), ball(12)
    others = ball(16) & ~counted
    _, covered, _ = drawn(mask * 100.0, mask)
    volume = Volume(mask * 100.0, np.diag([2.0, 2, 2, 1]))
    found = seen(tiles.lesion_overlays(volume, mask, counted, others))
    whole = seen(tiles.lesion_overlays(volume, mask, mask, ~mask & mask))
    assert found.shape == covered.shape
    assert ((whole[..., 3] > 0) == (covered[..., 3] > 127)).mean() > 0.999
    middle = tile(found, 4)[TILE // 2]
    assert middle[TILE // 2].tolist() == [255, 90, 31, 255]
    assert middle[TILE // 2 + round(14 * TILE / 55)].tolist() == [255, 194, 26, 255]
    assert (middle[..., 3] > 0).sum() == pytest.approx(TILE * 64 / 110, rel=0.04)


def test_uncertain_voxels_are_apart_and_colored():
    mask, ring = ball(20), ball(22) & ~ball(18)
    *_, unsure = drawn(mask * 100.0, mask, np.where(ring, 0.5, mask))
    middle = tile(unsure, 4)[TILE // 2]
    assert not middle[TILE // 2, 3]
    assert middle[:, 3].any()
    assert len(np.unique(middle[middle[:, 3] > 0, :3], axis=0)) == 1


def test_fat_does_not_darken_the_brain():
    mask = ball(20)
    data = np.where(mask, 100.0 + 10 * np.indices(mask.shape)[0] / 60, 0)
    without = drawn(data, mask)[0]
    with_fat = drawn(np.where(ball(24) & ~ball(21), 5000, data), mask)[0]
    middle = slice(TILE // 2 - 20, TILE // 2 + 20)
    assert np.abs(tile(without, 4) - tile(with_fat, 4))[middle, middle].max() < 12
    assert tile(with_fat, 4)[middle, middle].mean() > 120


def test_an_empty_mask_and_few_slices_are_drawn():
    shape = (60, 60, 3)
    head = ball(25, shape) * 100.0
    gray, covered, _ = drawn(head, np.zeros(shape, bool), spacing=(2, 2, 20))
    assert not covered[..., 3].any()
    assert tile(gray, 1).any()
    assert not tile(gray, 5).any()  # there are three axial slices
    assert tile(gray, 13).any()


def test_noise_fits_the_bytes():
    mask = ball(25)
    data = np.random.default_rng(0).uniform(0, 100, mask.shape)
    content, _ = tiles.pictures(Volume(data, np.diag([2.0, 2, 2, 1])), mask, mask * 1.0)
    assert len(content) <= tiles.SLICES_BYTES


def test_arrays_of_other_shapes_are_refused():
    mask = ball(20)
    with pytest.raises(ValueError, match="expected one shape"):
        tiles.pictures(Volume(mask * 1.0, np.eye(4)), mask[1:], mask * 1.0)
