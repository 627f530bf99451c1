# SPDX-License-Identifier: Apache-2.0
"""Measures of masks whose shape and intensities are arithmetic."""

import numpy as np
import pytest
from scipy import ndimage

from bids_brainmask.analyses import confidence, plausibility
from bids_brainmask.settings import EXPECTED_ML
from bids_brainmask.voxels.image import Volume

SPACINGS = [(2.0, 2.0, 2.0), (1.0, 2.0, 3.0)]


def ellipsoid(radii, spacing, turn=None, middle=(0.0, 0.0, 0.0), extent=100.0):
    """Bool array of a field of `extent` mm to either side of its middle."""
    axes = [np.arange(-extent, extent + s / 2, s) for s in spacing]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1) - middle
    places = places if turn is None else places @ turn
    return ((places / radii) ** 2).sum(-1) < 1


def volume(data, spacing=(2.0, 2.0, 2.0)):
    return Volume(data.astype(np.float32), np.diag([*spacing, 1.0]))


def measured(mask, spacing=(2.0, 2.0, 2.0), data=None):
    return plausibility.measure(volume(mask if data is None else data, spacing), mask)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_an_ellipsoid_fills_its_own(spacing):
    found = measured(ellipsoid((60, 80, 50), spacing), spacing)
    assert found["fill"] == pytest.approx(1, abs=0.01)
    assert found["elongation"] == pytest.approx(1.6, rel=0.01)
    assert found["width"] == pytest.approx(1.2, rel=0.01)
    assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 60 * 80 * 50 / 1000, rel=0.01)
    assert found["border"] == 0


def test_shape_is_the_same_however_the_head_lies():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    straight, turned = (measured(ellipsoid((60, 80, 50), (2, 2, 2), one)) for one in (None, turn))
    for name in ("fill", "elongation", "width", "volume_ml"):
        assert turned[name] == pytest.approx(straight[name], rel=0.01)


def test_a_cube_and_two_balls_fill_less():
    cube = np.zeros((100, 100, 100), bool)
    cube[20:80, 20:80, 20:80] = True
    assert measured(cube)["fill"] == pytest.approx(6 / np.pi / np.sqrt(5 / 3) ** 3, rel=0.01)
    balls = ellipsoid((40, 40, 40), (2, 2, 2), middle=(45, 0, 0))
    balls |= ellipsoid((40, 40, 40), (2, 2, 2), middle=(-45, 0, 0))
    assert measured(balls)["fill"] < 0.9


@pytest.mark.parametrize("spacing", SPACINGS)
def test_roughness_is_that_of_the_confidence(spacing):
    mask = ellipsoid((60, 80, 50), spacing)
    mask ^= np.random.default_rng(0).random(mask.shape) < 0.01
    trust = confidence.of(mask, mask.astype(np.float32), np.array(spacing), 0)
    assert measured(mask, spacing)["roughness"] == pytest.approx(trust.roughness)


def test_half_a_ball_has_a_quarter_of_its_surface_on_the_edge():
    ball = ellipsoid((60, 60, 60), (2, 2, 2))
    half = ball[:51]  # faces: pi r² at the edge, and on the dome 1.5 times 2 pi r²
    assert measured(half)["border"] == pytest.approx(1 / 4, abs=0.01)
    assert measured(half[:, ::-1])["border"] == measured(half)["border"]
    assert measured(half[::-1])["border"] == measured(half)["border"]


def test_gyri_are_variation_within_their_reach_whatever_the_units():
    mask = ellipsoid((60, 80, 50), (2, 2, 2))
    x = np.indices(mask.shape)[0] * 2.0
    flat = measured(mask, data=100 * mask)
    slope = measured(mask, data=(100 + 0.3 * x) * mask)
    waves = measured(mask, data=(100 + 30 * np.sin(2 * np.pi * x / 12)) * mask)
    assert flat["gyri"] < 0.01
    assert slope["gyri"] < 0.02
    blurred = np.cos(np.pi / 6)  # by the mean of two voxels, 2 of the 12 mm of a wave apart
    assert waves["gyri"] == pytest.approx(0.3 / np.sqrt(2) * blurred, rel=0.05)
    other = measured(mask, data=(100 + 30 * np.sin(2 * np.pi * x / 12)) * mask * 7.0 - 40)
    assert other["gyri"] == pytest.approx(waves["gyri"], rel=1e-3)


def test_an_image_of_one_value_has_no_gyri():
    mask = ellipsoid((60, 80, 50), (2, 2, 2))
    assert measured(mask, data=np.zeros(mask.shape))["gyri"] == 0


def test_a_few_voxels_have_a_volume_and_no_shape():
    mask = np.zeros((20, 20, 20), bool)
    mask[3:5, 3:5, 3:5] = True
    assert set(measured(mask)) == {"volume_ml", "border", "removed", "roughness"}


def test_removed_parts_are_told_as_a_share_of_the_mask():
    mask = np.zeros((20, 20, 20), bool)
    mask[3:5, 3:5, 3:5] = True
    assert plausibility.measure(volume(mask), mask, removed=4)["removed"] == 0.5


@pytest.mark.parametrize("spacing", SPACINGS)
def test_an_ellipsoid_is_its_own_mirror_image_however_it_lies(spacing):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    found = measured(ellipsoid((60, 80, 50), spacing, turn), spacing)
    assert found["mirror"] > 0.95
    assert found["point"] > 0.95


def test_a_cone_is_not_its_own_mirror_image():
    """Its axis is the longest; mirrored about the centroid, two cones share what is computed."""
    x, y, z = np.indices((61, 61, 201)) * 1.0
    height = z - 5
    cone = (np.hypot(x - 30, y - 30) < 25 * (1 - height / 190)) & (height >= 0)
    found = measured(cone, (1.0, 1.0, 1.0))
    t = np.linspace(0, 1, 100001)  # from the base; the centroid is at 1/4 of the height
    other = np.where((t >= -0.5) & (t <= 0.5), 1 - (0.5 - t), 0)
    expected = 3 * np.trapezoid(np.minimum(1 - t, other) ** 2, t)
    assert found["mirror"] == pytest.approx(expected, abs=0.02)
    assert found["point"] == pytest.approx(expected, abs=0.02)


def test_halves_are_alike_where_the_image_is_its_mirror_image():
    mask = ellipsoid((60, 80, 50), (2, 2, 2))
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=mask.shape), 3)
    field /= field.std()
    slope = np.indices(mask.shape)[0] / 100
    twins = measured(mask, data=(10 + field + field[::-1] + slope) * mask)
    strangers = measured(mask, data=(10 + field) * mask)
    assert twins["halves"] > 0.9
    assert strangers["halves"] < 0.2


def test_depth_explains_what_follows_the_distance_to_the_surface():
    mask = ellipsoid((60, 80, 50), (2, 2, 2))
    deep = ndimage.distance_transform_edt(mask, (2, 2, 2))
    assert measured(mask, data=deep)["depth"] > 0.95
    waves = np.sin(np.indices(mask.shape)[0] * np.pi / 5)
    assert measured(mask, data=(10 + waves) * mask)["depth"] < 0.1


@pytest.mark.parametrize("spacing", SPACINGS)
def test_noise_is_the_median_difference_of_neighbors(spacing):
    """Of normal noise: 0.674 of the standard deviation of a difference, the square root of 2."""
    mask = ellipsoid((60, 80, 50), spacing)
    values = 100 + 10 * np.random.default_rng(0).normal(size=mask.shape)
    values[0, 0, 0] = 0
    values -= values.min()
    found = measured(mask, spacing, data=values)
    expected = 0.6745 * np.sqrt(2) * 10 / values[mask].mean()
    assert found["noise"] == pytest.approx(expected, rel=0.02)
    smooth = np.broadcast_to(np.arange(mask.shape[0])[:, None, None], mask.shape)
    assert measured(mask, spacing, data=smooth)["noise"] == 0  # along the other axes


GOOD = {name: (one.low + one.high) / 2 for name, one in plausibility.LIMITS.items()} | {
    "volume_ml": 1500.0
}


def test_nothing_is_said_of_a_mask_within_all_limits():
    assert plausibility.reasons(GOOD, EXPECTED_ML) == []
    assert plausibility.reasons({}, EXPECTED_ML) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("volume_ml", 400.0, "volume of 400 mL is small"),
        ("volume_ml", 3000.0, "volume of 3000 mL is large"),
        ("border", 0.25, "25% of the mask's surface is the edge of the image"),
        ("fill", 0.6, "shape unlike a brain's"),
        ("fill", 1.0, "shape smoother than a brain's"),
        ("elongation", 1.0, "shape too round"),
        ("elongation", 3.0, "shape too long"),
        ("width", 2.0, "shape too flat"),
        ("roughness", 1.5, "surface smoother than a brain's"),
        ("roughness", 3.0, "surface rough"),
        ("gyri", 0.0, "no gyri in the image"),
        ("gyri", 1.0, "intensities vary too much"),
        ("removed", 0.9, "other parts, 90% of the mask's volume, were removed"),
        ("mirror", 0.6, "shape unlike a brain's"),
        ("mirror", 1.0, "shape more symmetric than a brain's"),
        ("point", 0.6, "shape unlike a brain's"),
        ("point", 1.0, "shape more symmetric than a brain's"),
        ("halves", 0.0, "left and right half of the image differ"),
        ("depth", 1.0, "intensities follow the distance to the mask's surface"),
        ("noise", 0.6, "adjacent voxels differ as in noise"),
    ],
)
def test_each_limit_has_its_words(name, value, words):
    assert plausibility.reasons(GOOD | {name: value}, EXPECTED_ML) == [words]


def test_every_limit_is_said_something_of():
    """A bound that nothing can pass needs no words, and every other has some."""
    lowest, highest = (
        {"border": 0, "removed": 0, "width": 1, "depth": 0, "noise": 0},
        {"halves": 1},
    )
    for name, one in plausibility.LIMITS.items():
        assert bool(one.above) == (one.high < highest.get(name, np.inf))
        assert bool(one.below) == (one.low > lowest.get(name, -np.inf))


def test_expected_volumes_are_the_user_s():
    newborn = GOOD | {"volume_ml": 400.0}
    assert plausibility.reasons(newborn, (250, 700)) == []
    assert plausibility.reasons(GOOD, (250, 700)) == ["volume of 1500 mL is large"]


@pytest.mark.parametrize(
    ("name", "value", "is_object"),
    [
        ("gyri", 0.0, True),
        ("gyri", 1.0, True),
        ("depth", 1.0, True),
        ("noise", 0.6, True),
        ("roughness", 1.5, True),
        ("roughness", 3.0, False),
        ("fill", 0.6, False),
        ("fill", 0.98, True),
        ("volume_ml", 3000.0, False),
        ("volume_ml", EXPECTED_ML[0] / 2 + 1, False),
        ("volume_ml", EXPECTED_ML[0] / 2 - 1, True),
        ("mirror", 0.6, False),
    ],
)
def test_an_object_is_told_by_its_size_its_surface_and_its_intensities(name, value, is_object):
    assert plausibility.is_object(GOOD | {name: value}, EXPECTED_ML) == is_object
    few = {name: GOOD[name] for name in ("roughness", "volume_ml")}
    assert not plausibility.is_object(few, EXPECTED_ML)
