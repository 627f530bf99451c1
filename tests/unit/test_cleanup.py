# SPDX-License-Identifier: Apache-2.0
"""One brain, without holes."""

import numpy as np
import pytest
from scipy import ndimage

from bids_brainmask.voxels import cleanup


def cube(*slices, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    for part in slices:
        mask[part] = True
    return mask


BIG = np.s_[4:14, 4:14, 4:14]


def test_the_largest_piece_stays_and_the_others_go():
    found = cleanup.brain(cube(BIG, np.s_[16:18, 16:18, 16:18]))
    np.testing.assert_array_equal(found.mask, cube(BIG))
    assert (found.removed, found.filled) == (8, 0)
    assert (found.components, found.holes) == (1, 0)


def test_holes_are_filled():
    mask = cube(BIG)
    mask[8:10, 8:10, 8:10] = False
    found = cleanup.brain(mask)
    np.testing.assert_array_equal(found.mask, cube(BIG))
    assert (found.removed, found.filled) == (0, 8)
    assert (found.components, found.holes) == (0, 1)


def test_a_hollow_that_opens_to_the_air_is_no_hole():
    mask = cube(BIG)
    mask[8, 8, 4:9] = False
    np.testing.assert_array_equal(cleanup.brain(mask).mask, mask)


def test_a_hollow_that_opens_to_the_edge_of_the_volume_is_no_hole():
    mask = cube(np.s_[:, :, :])
    mask[8:10, 8:10, 10:] = False
    np.testing.assert_array_equal(cleanup.brain(mask).mask, mask)


def test_pieces_that_touch_at_a_corner_are_two():
    found = cleanup.brain(cube(np.s_[2:6, 2:6, 2:6], np.s_[6:8, 6:8, 6:8]))
    assert found.removed == 8


def test_pieces_and_holes_are_counted_one_by_one():
    mask = cube(BIG, np.s_[0:2, 0:2, 0:2], np.s_[16:18, 16:18, 16:18], np.s_[19, 0, 0])
    for place in (6, 9, 12):
        mask[place, place, place] = False
    mask[8, 8, 4:7] = False  # open, so that it is none
    found = cleanup.brain(mask)
    assert (found.components, found.removed) == (3, 8 + 8 + 1)
    assert (found.holes, found.filled) == (3, 3)


def test_a_piece_within_a_hole_is_dropped_and_filled_with_it():
    mask = cube(BIG)
    mask[7:10, 7:10, 7:10] = False
    mask[8, 8, 8] = True
    found = cleanup.brain(mask)
    np.testing.assert_array_equal(found.mask, cube(BIG))
    assert (found.components, found.removed, found.holes, found.filled) == (1, 1, 1, 27)


def test_empty_and_full():
    empty = cleanup.brain(cube())
    assert not empty.mask.any()
    assert (empty.removed, empty.filled, empty.components, empty.holes) == (0, 0, 0, 0)
    full = cleanup.brain(cube(np.s_[:, :, :]))
    assert full.mask.all()
    assert (full.removed, full.filled, full.components, full.holes) == (0, 0, 0, 0)


def shells(rim, air=0.0):
    """A brain of 10^3 voxels with a hollow, a rim of other voxels around it, and air."""
    data = np.full((20, 20, 20), air, np.float32)
    data[4:14, 4:14, 4:14] = 90
    data[4 : 4 + rim] = np.where(data[4 : 4 + rim] == 90, 70, data[4 : 4 + rim])
    data[8, 8, 8] = air
    return data, data == 90


@pytest.mark.parametrize("air", [0.0, -7.5])
def test_a_brain_stripped_before_comes_back_whole(air):
    data, found = shells(rim=1, air=air)
    np.testing.assert_array_equal(cleanup.stripped_before(data, found), cube(BIG))


def test_more_than_a_rim_is_not_a_brain_alone():
    assert cleanup.stripped_before(*shells(rim=2)) is None


def test_noise_is_no_blanked_background():
    data, found = shells(rim=1)
    data += np.random.default_rng(0).random(data.shape, np.float32)
    assert cleanup.stripped_before(data, found) is None


def test_a_brain_that_fills_the_volume_has_no_background():
    data = np.arange(1, 20**3 + 1, dtype=np.float32).reshape(20, 20, 20)
    assert cleanup.stripped_before(data, data > 0) is None


def test_agrees_with_scipy_on_noise():
    for seed in range(5):
        noise = np.random.default_rng(seed).random((24, 25, 26))
        mask = ndimage.gaussian_filter(noise, 1.2) > 0.5
        pieces, count = ndimage.label(mask)
        sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
        expected = ndimage.binary_fill_holes(pieces == 1 + np.argmax(sizes))
        np.testing.assert_array_equal(cleanup.brain(mask).mask, expected)


SPACING = np.array([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("piece", "nearest"),
    [
        (np.s_[13, 8, 8], 0),  # in the brain
        (np.s_[16:19, 8, 8], 3),
        (np.s_[8, 16, 8], 6),
        (np.s_[8, 8, 15], 8),
        (np.s_[16, 16, 8], np.hypot(3, 6)),
        (np.s_[16, 16, 15], np.sqrt(3**2 + 6**2 + 8**2)),
    ],
)
def test_a_piece_is_kept_where_it_comes_as_near_as_asked(piece, nearest):
    mask, brain = cube(piece), cube(BIG)
    for distance in (nearest, nearest + 0.1):
        np.testing.assert_array_equal(cleanup.near(mask, brain, SPACING, distance), mask)
    if nearest:
        assert not cleanup.near(mask, brain, SPACING, nearest - 0.1).any()


def test_pieces_are_kept_whole_or_not_at_all():
    kept = cube(np.s_[12:19, 5, 5], np.s_[19, 6, 6])  # they touch at a corner
    mask = kept | cube(np.s_[0:2, 18:, 18:])
    np.testing.assert_array_equal(cleanup.near(mask, cube(BIG), SPACING, 2.0), kept)
    assert not cleanup.near(mask, cube(), SPACING, 2.0).any()
    assert not cleanup.near(cube(), cube(BIG), SPACING, 2.0).any()


def test_near_agrees_with_the_distance_to_all_of_the_brain():
    rng = np.random.default_rng(3)
    mask, brain = rng.random((24, 20, 22)) > 0.985, rng.random((24, 20, 22)) > 0.998
    far = ndimage.distance_transform_edt(~brain, SPACING)
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    least = ndimage.minimum(far, pieces, range(1, count + 1))
    expected = np.isin(pieces, 1 + np.flatnonzero(least <= 5))
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(cleanup.near(mask, brain, SPACING, 5.0), expected)


def test_pieces_without_a_peak_are_dropped_whole():
    likely = cube(np.s_[3:8, 3:8, 3:8], np.s_[8, 8, 8])  # they touch at a corner
    doubtful = cube(np.s_[12:15, 12:15, 12:15])
    probability = np.where(likely | doubtful, 0.6, 0.95)  # what is not in the mask does not count
    probability[8, 8, 8] = 0.9
    probability[13, 13, 13] = 0.89
    mask = likely | doubtful
    np.testing.assert_array_equal(cleanup.with_peak(mask, probability, 0.9), likely)
    np.testing.assert_array_equal(cleanup.with_peak(mask, probability, 0.89), mask)
    assert not cleanup.with_peak(mask, probability, 0.91).any()
    assert not cleanup.with_peak(cube(), probability, 0.9).any()


def all_distances(mask, spacing):
    """Distance of each voxel's center from the nearest center of a mask, by comparing all."""
    points = np.argwhere(mask) * spacing
    everywhere = np.indices(mask.shape).reshape(3, -1).T * spacing
    nearest = [np.sqrt(((points - point) ** 2).sum(1)).min() for point in everywhere]
    return np.array(nearest).reshape(mask.shape)


@pytest.mark.parametrize("distance", [-3.1, -2.0, -1.0, -0.4, 0.4, 1.0, 2.0, 3.7])
def test_a_border_moves_by_the_exact_distance(distance):
    spacing = np.array([1.0, 1.5, 2.4])
    mask = np.random.default_rng(0).random((9, 10, 8)) < 0.05
    mask[2:7, 3:8, 2:6] = True
    found = cleanup.move_border(mask, spacing, distance)
    if distance > 0:
        expected = all_distances(mask, spacing) <= distance
    else:
        expected = mask & (all_distances(~mask, spacing) > -distance)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("distance", [-2.0, 2.0])
def test_a_border_at_the_end_of_the_volume(distance):
    mask = np.ones((6, 7, 8), bool)
    np.testing.assert_array_equal(cleanup.move_border(mask, np.ones(3), distance), mask)
    assert not cleanup.move_border(np.zeros((6, 7, 8), bool), np.ones(3), distance).any()
    mask[0, 0, 0] = False
    found = cleanup.move_border(mask, np.ones(3), distance)
    assert found[0, 0, 0] == (distance > 0)
    assert found[1, 0, 0] == (distance > 0)
    assert found[5, 6, 7]


def test_no_border_changes_nothing():
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = True
    found = cleanup.move_border(mask, np.ones(3), 0.0)
    np.testing.assert_array_equal(found, mask)
    assert found is not mask
