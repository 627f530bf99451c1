# SPDX-License-Identifier: Apache-2.0
"""Measures of agreement, on shapes whose answer is arithmetic."""

from dataclasses import asdict, astuple

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bids_brainmask.voxels import agreement

SPACING = np.array([0.8, 1.0, 2.5])
ONES = np.ones(3)
OVERLAPS = [agreement.dice, agreement.jaccard, agreement.sensitivity, agreement.precision]


def block(*slices, shape=(30, 32, 34)):
    mask = np.zeros(shape, bool)
    for part in slices:
        mask[part] = True
    return mask


def ball(radius, shape=(60, 60, 60), spacing=ONES):
    where = (np.indices(shape).T - (np.array(shape) - 1) / 2) * spacing
    distance = np.linalg.norm(where, axis=-1).T
    return distance < radius


def noise(seed, shape=(20, 22, 18), density=0.3):
    return np.random.default_rng(seed).random(shape) < density


CUBE = block(np.s_[6:16, 6:16, 6:16])
EMPTY = block()


def surface_by_counting(mask):
    """Coordinates of the voxels with a background voxel at one of their six faces."""
    padded = np.pad(mask, 1)
    neighbours = sum(
        np.roll(padded, step, axis).astype(int) for axis in range(3) for step in (-1, 1)
    )
    return np.argwhere((padded & (neighbours < 6))[1:-1, 1:-1, 1:-1])


def test_overlap_of_halves():
    other = block(np.s_[11:21, 6:16, 6:16])
    assert agreement.dice(CUBE, other) == 0.5
    assert agreement.jaccard(CUBE, other) == pytest.approx(1 / 3)
    assert agreement.sensitivity(CUBE, other) == agreement.precision(CUBE, other) == 0.5


def test_sensitivity_and_precision_tell_too_little_from_too_much():
    half = block(np.s_[6:11, 6:16, 6:16])
    assert (agreement.sensitivity(half, CUBE), agreement.precision(half, CUBE)) == (0.5, 1)
    assert (agreement.sensitivity(CUBE, half), agreement.precision(CUBE, half)) == (1, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_jaccard_follows_from_dice(seed):
    a, b = noise(seed), noise(seed + 10, density=0.6)
    overlap = agreement.dice(a, b)
    assert agreement.jaccard(a, b) == pytest.approx(overlap / (2 - overlap))


@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_symmetric(seed):
    a, b = noise(seed, density=0.02), noise(seed + 10, density=0.05)
    one, other = agreement.agreement(a, b, SPACING), agreement.agreement(b, a, SPACING)
    for name in ("dice", "jaccard", "hd95_mm", "assd_mm"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
    assert (one.sensitivity, one.precision) == (other.precision, other.sensitivity)
    assert one.volume_error_ml == -other.volume_error_ml


def test_a_mask_agrees_with_itself():
    assert astuple(agreement.agreement(CUBE, CUBE, SPACING)) == (1, 1, 1, 1, 0, 0, 0, 0)


def test_volume_error_has_a_sign_and_units():
    larger = block(np.s_[6:17, 6:16, 6:16])
    assert agreement.volume_error_ml(larger, CUBE, SPACING) == pytest.approx(100 * 2.0 / 1000)
    assert agreement.volume_error_ml(CUBE, larger, SPACING) == pytest.approx(-0.2)
    assert agreement.volume_error_percent(larger, CUBE) == pytest.approx(10)
    assert agreement.volume_error_percent(CUBE, larger) == pytest.approx(-100 / 11)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 4])
def test_planes_are_as_far_apart_as_they_are(axis, steps):
    """Every voxel of a plane is surface, and equally far from a parallel one."""
    a, b = EMPTY.copy(), EMPTY.copy()
    np.moveaxis(a, axis, 0)[5] = True
    np.moveaxis(b, axis, 0)[5 + steps] = True
    distances = agreement.surface_distances(a, b, SPACING)
    assert agreement.hd95(*distances) == pytest.approx(steps * SPACING[axis])
    assert agreement.assd(*distances) == pytest.approx(steps * SPACING[axis])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_shifted_cube(axis, steps):
    """More than 5 % of its surface, one face, is the shift away, and nothing is farther."""
    shifted = np.roll(CUBE, steps, axis)
    distances = agreement.surface_distances(CUBE, shifted, SPACING)
    assert agreement.hd95(*distances) == pytest.approx(steps * SPACING[axis])
    assert max(map(np.max, distances)) == pytest.approx(steps * SPACING[axis])
    points = [surface_by_counting(mask) * SPACING for mask in (CUBE, shifted)]
    between = cdist(*points)
    assert [d.size for d in distances] == [len(p) for p in points] == [10**3 - 8**3] * 2
    everything = [*between.min(1), *between.min(0)]
    assert agreement.assd(*distances) == pytest.approx(np.mean(everything))


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_all_pairs_of_surface_voxels(seed):
    a, b = noise(seed, density=0.5), noise(seed + 10, density=0.03)
    found = agreement.surface_distances(a, b, SPACING)
    between = cdist(*(surface_by_counting(mask) * SPACING for mask in (a, b)))
    np.testing.assert_allclose(found[0], between.min(1))
    np.testing.assert_allclose(found[1], between.min(0))


@pytest.mark.parametrize("spacing", [ONES, np.array([1.0, 0.7, 1.5])])
def test_balls_whose_radii_differ_by_two(spacing):
    inner, outer = (ball(radius, spacing=spacing) for radius in (15, 17))
    found = agreement.agreement(outer, inner, spacing)
    assert found.assd_mm == pytest.approx(2, abs=0.15)
    assert 2 <= found.hd95_mm < 2 + spacing.max()
    assert found.dice == pytest.approx(2 * 15**3 / (15**3 + 17**3), abs=0.005)
    assert found.volume_error_percent == pytest.approx(100 * (17**3 / 15**3 - 1), abs=2)
    assert (found.sensitivity, found.precision < 1) == (1, True)


def test_distances_grow_with_the_voxels():
    a, b = noise(1), noise(2)
    for one, three in zip(
        agreement.surface_distances(a, b, SPACING),
        agreement.surface_distances(a, b, 3 * SPACING),
        strict=True,
    ):
        np.testing.assert_allclose(3 * one, three)


def test_a_few_stray_voxels_do_not_decide():
    stray = CUBE.copy()
    stray[28, 30, 32] = True
    distances = agreement.surface_distances(stray, CUBE, ONES)
    assert distances[0].max() > 15
    assert agreement.hd95(*distances) == 0


def test_the_percentile_is_taken_in_each_direction():
    assert agreement.hd95(np.zeros(100), np.full(3, 5.0)) == 5
    assert agreement.hd95(np.full(3, 5.0), np.zeros(100)) == 5
    assert agreement.assd(np.zeros(100), np.full(3, 5.0)) == pytest.approx(15 / 103)


@pytest.mark.parametrize("margin", [0, 1, 7])
def test_the_field_of_view_does_not_matter(margin):
    """Nor where the masks lie in it: its outside is background."""
    a, b = noise(3), noise(4)
    wide = [np.pad(mask, ((margin, 0), (2 * margin, margin), (0, margin))) for mask in (a, b)]
    assert agreement.agreement(*wide, SPACING) == agreement.agreement(a, b, SPACING)


def test_a_mask_that_fills_the_volume_has_its_surface_at_the_edge():
    full = np.ones((6, 6, 6), bool)
    core = np.zeros_like(full)
    core[2:4, 2:4, 2:4] = True
    from_full, from_core = agreement.surface_distances(full, core, ONES)
    assert (from_full.size, from_core.size) == (6**3 - 4**3, 8)
    assert from_full.min() == from_core.max() == 2


def test_both_empty():
    found = agreement.agreement(EMPTY, EMPTY, SPACING)
    assert astuple(found) == (1, 1, 1, 1, 0, 0, 0, 0)
    assert all(measure(EMPTY, EMPTY) == 1 for measure in OVERLAPS)


@pytest.mark.parametrize(("prediction", "reference"), [(CUBE, EMPTY), (EMPTY, CUBE)])
def test_one_empty(prediction, reference):
    found = asdict(agreement.agreement(prediction, reference, SPACING))
    assert [found[name] for name in ("dice", "jaccard", "sensitivity", "precision")] == [0] * 4
    assert np.isnan([found["hd95_mm"], found["assd_mm"]]).all()
    assert abs(found["volume_error_ml"]) == pytest.approx(2)
    if prediction.any():
        assert np.isnan(found["volume_error_percent"])
    else:
        assert found["volume_error_percent"] == -100


@pytest.mark.parametrize(
    "measure",
    [
        *OVERLAPS,
        lambda a, b: agreement.surface_distances(a, b, ONES),
        lambda a, b: agreement.agreement(a, b, ONES),
    ],
)
def test_masks_of_other_shapes(measure):
    with pytest.raises(ValueError, match="not on one grid"):
        measure(CUBE, CUBE[:2])
