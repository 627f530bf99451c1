# SPDX-License-Identifier: Apache-2.0
"""One brain, without holes."""

import numpy as np
from scipy import ndimage

from bids_brainmask import clean


def cube(*slices, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    for part in slices:
        mask[part] = True
    return mask


BIG = np.s_[4:14, 4:14, 4:14]


def test_the_largest_piece_stays_and_the_others_go():
    found = clean.brain(cube(BIG, np.s_[16:18, 16:18, 16:18]))
    np.testing.assert_array_equal(found.mask, cube(BIG))
    assert (found.removed, found.filled) == (8, 0)


def test_holes_are_filled():
    mask = cube(BIG)
    mask[8:10, 8:10, 8:10] = False
    found = clean.brain(mask)
    np.testing.assert_array_equal(found.mask, cube(BIG))
    assert (found.removed, found.filled) == (0, 8)


def test_a_hollow_that_opens_to_the_air_is_no_hole():
    mask = cube(BIG)
    mask[8, 8, 4:9] = False
    np.testing.assert_array_equal(clean.brain(mask).mask, mask)


def test_a_hollow_that_opens_to_the_edge_of_the_volume_is_no_hole():
    mask = cube(np.s_[:, :, :])
    mask[8:10, 8:10, 10:] = False
    np.testing.assert_array_equal(clean.brain(mask).mask, mask)


def test_pieces_that_touch_at_a_corner_are_two():
    found = clean.brain(cube(np.s_[2:6, 2:6, 2:6], np.s_[6:8, 6:8, 6:8]))
    assert found.removed == 8


def test_empty_and_full():
    empty = clean.brain(cube())
    assert not empty.mask.any()
    assert (empty.removed, empty.filled) == (0, 0)
    full = clean.brain(cube(np.s_[:, :, :]))
    assert full.mask.all()


def test_agrees_with_scipy_on_noise():
    for seed in range(5):
        noise = np.random.default_rng(seed).random((24, 25, 26))
        mask = ndimage.gaussian_filter(noise, 1.2) > 0.5
        pieces, count = ndimage.label(mask)
        sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
        expected = ndimage.binary_fill_holes(pieces == 1 + np.argmax(sizes))
        np.testing.assert_array_equal(clean.brain(mask).mask, expected)
