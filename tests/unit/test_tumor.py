# SPDX-License-Identifier: Apache-2.0
"""Meningiomas by what they must be: of one volume and piece, on the dura, bright, and labelled."""

import numpy as np
import pytest
from scipy import ndimage
from test_anatomy import MIXED, made_head

from bids_brainmask.train.transforms import anatomy, tumor
from bids_brainmask.train.transforms.augment import Example

pytestmark = pytest.mark.slow

VOLUMES = (0.5, 5.0, 30.0)
SEEDS = range(14)


def rng(seed=0):
    return np.random.default_rng(seed)


def frozen(example):
    """Make an example's arrays fail where they are written to."""
    for array in (example.image, example.label, example.depth):
        array.flags.writeable = False
    return example


@pytest.fixture(scope="module")
def example():
    return frozen(made_head((2, 2, 2)))


@pytest.fixture(scope="module")
def head(example):
    return anatomy.of(example)


@pytest.fixture(scope="module")
def starts(head):
    """Seeds of tumours; they are the first that a generator is asked for."""
    return {seed: tumor.seed(head, rng(seed)) for seed in SEEDS}


@pytest.fixture(scope="module")
def grown(example):
    """Heads by volume and seed, each with one meningioma."""
    return {(v, s): tumor.meningioma(example, v, rng(s)) for v in VOLUMES for s in SEEDS}


@pytest.fixture(scope="module")
def uneven():
    """Heads of all kinds of voxels, and with one meningioma of 5 mL: before, after and seed."""
    found = []
    for spacing in (*MIXED, (1.5, 2, 4)):
        before = frozen(made_head(spacing))
        found += [(before, tumor.meningioma(before, 5.0, rng(s)), s) for s in range(6)]
    return found


def volume_ml(where, example):
    return where.sum() * np.prod(example.spacing) / 1000


@pytest.mark.slow
@pytest.mark.parametrize("volume", VOLUMES)
def test_a_tumour_has_the_volume_asked_for(grown, volume):
    """Of whole voxels 95 %, or all but six; of shares of voxels about as much."""
    for seed in SEEDS:
        found = grown[volume, seed]
        loss = max(0.05 * volume, 6 * 0.008)
        assert volume_ml(found.lesion > 0.5, found) == pytest.approx(volume, abs=loss)
        assert volume_ml(found.lesion, found) == pytest.approx(volume, rel=0.3)
    mean = np.mean([volume_ml(grown[volume, seed].lesion, found) for seed in SEEDS])
    assert mean == pytest.approx(volume, rel=0.08)


def test_a_tumour_in_uneven_voxels_has_the_volume_asked_for(uneven):
    for before, after, _ in uneven:
        loss = max(0.25, 5 * np.prod(before.spacing) / 1000)
        assert volume_ml(after.lesion > 0.5, after) == pytest.approx(5, abs=loss)


def test_a_tumour_is_one_piece_and_keeps_off_the_skull(grown, uneven):
    for found in [*grown.values(), *(after for _, after, _ in uneven)]:
        assert found.lesion.dtype == found.image.dtype == np.float32
        assert 0 == found.lesion.min() < found.lesion.max() <= 1
        assert ndimage.label(found.lesion > 0.5)[1] == 1
        assert found.depth[found.lesion > 0].min() > -2.5


def test_a_tumour_of_the_dura_touches_it(grown, starts):
    where = {seed for seed, start in starts.items() if start.site not in ("falx", "tentorium")}
    assert {starts[seed].site for seed in where} == {"convexity", "parasagittal", "base"}
    for (_, seed), found in grown.items():
        if seed in where:
            assert np.abs(found.depth[found.lesion > 0.5]).min() < 2


def test_the_falx_holds_a_tumour_back(grown, starts, head, uneven):
    """All of it is on the seed's side; of the falx's own, most of them is."""
    seen = set()
    cases = [(found, head, starts[seed]) for (_, seed), found in grown.items()]
    for before, after, seed in uneven:
        there = anatomy.of(before)
        cases.append((after, there, tumor.seed(there, rng(seed))))
    for found, there, start in cases:
        here = there.side[tuple(start.voxel)]
        if start.site in ("convexity", "parasagittal") and abs(here) > 4:
            seen.add((start.site, float(np.sign(here))))
            assert not found.lesion[there.side * np.sign(here) <= 0].any()
    assert {("convexity", -1.0), ("convexity", 1.0)} < seen


def test_the_falx_is_crossed_three_times_in_ten_by_a_tumour_of_its_own(head):
    box = tuple(slice(0, n) for n in head.depth.shape)
    start = tumor.Seed(head.nearest(0, 0.6, -0.2), np.array([-1.0, 0, 0]), "falx")
    right = head.side > 1
    crossed = [tumor.compartment(head, start, box, rng(s))[right].any() for s in range(100)]
    assert 0.15 < np.mean(crossed) < 0.45


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_the_tentorium_holds_back_what_grows_on_it(head, direction):
    box = tuple(slice(0, n) for n in head.depth.shape)
    voxel = head.nearest(15, 0.2, -0.5)
    start = tumor.Seed(voxel, np.array([0, 0, direction]), "tentorium")
    allowed = tumor.compartment(head, start, box, rng())
    over = head.over_tentorium * direction
    assert not (allowed & (over <= -1)).any()
    right = (head.side > 0) & head.brain & (over > 0)
    assert allowed[right].all()


def test_a_tumour_above_the_tentorium_stays_there(head):
    box = tuple(slice(0, n) for n in head.depth.shape)
    voxel = head.nearest(40, 0.1, -0.3)
    start = tumor.Seed(voxel, np.array([-1.0, 0, 0]), "convexity")
    allowed = tumor.compartment(head, start, box, rng())
    behind = np.broadcast_to(head.forward < 0.42, allowed.shape)
    below = head.over_tentorium < 0
    assert not (allowed & below & behind).any()
    assert (allowed & below & ~behind).any()
    assert allowed[tuple(voxel)] or head.depth[tuple(voxel)] < -0.5


@pytest.mark.parametrize("seed", range(8))
def test_a_tumour_without_core_is_brighter_than_white_matter(example, seed):
    """None of 2 mL or less has one."""
    found = tumor.meningioma(example, 2.0, rng(seed))
    inside = found.lesion > 0.9
    assert inside.sum() > 50
    assert np.median(found.image[inside]) > 1.02 * anatomy.white(example)
    assert np.percentile(found.image[inside], 2) > 0.8 * anatomy.white(example)


def test_cores_are_dark_and_labelled(example, grown):
    """A third of the large ones have one; the small ones none."""
    inside = np.full((24, 24, 24), 8, np.float32)
    for volume, least, most in [(2.0, 0, 0), (20.0, 5, 30)]:
        dark = [(tumor.tissue(inside, volume, 1.0, rng(s)) < 0.72).any() for s in range(40)]
        assert least <= sum(dark) <= most
    rim = np.full((24, 24, 24), 1, np.float32)
    assert min(tumor.tissue(rim, 20.0, 1.0, rng(s)).min() for s in range(40)) > 0.5


@pytest.mark.parametrize("step", [tumor.meningiomas, lambda e, r: tumor.meningioma(e, 5, r)])
def test_growing_is_a_pure_function_of_example_and_generator(example, step):
    for seed in range(4):
        found, again = step(example, rng(seed)), step(example, rng(seed))
        np.testing.assert_array_equal(found.image, again.image)
        np.testing.assert_array_equal(found.lesion, again.lesion)
        assert found.label is example.label
        assert found.depth is example.depth
        assert np.isfinite(found.image).all()
        assert found.image.min() >= 0
    assert example.lesion is None


def test_a_second_tumour_is_added_to_the_first(grown):
    """Wherever it grows, also where the two meet."""
    first = grown[30.0, 1]
    first.lesion.flags.writeable = first.image.flags.writeable = False
    added = []
    for seed in range(2, 12):
        both = tumor.meningioma(first, 5.0, rng(seed))
        moved = both.lesion[first.lesion > 0.5].sum() / first.lesion[first.lesion > 0.5].sum()
        assert moved > 0.9  # the first is pushed with the brain that it is in, and still labelled
        added.append(volume_ml(both.lesion, both) - volume_ml(first.lesion, first))
    assert max(added) == pytest.approx(5, rel=0.1)
    assert min(added) > -1e-3


def test_one_to_three_tumours_grow_and_mostly_one():
    small = made_head()
    counts = []
    for seed in range(60):
        lesion = tumor.meningiomas(small, rng(seed)).lesion
        counts.append(ndimage.label(lesion > 0.5)[1])
        assert volume_ml(lesion, small) < 3 * 1.05 * tumor.VOLUMES_ML[1]
    assert set(counts) == {1, 2, 3}
    assert 0.6 < np.mean(np.array(counts) == 1) < 0.92


def test_what_lies_outside_the_dura_or_far_away_stays_bit_for_bit(grown, example, head, starts):
    """The tail of a tumour of falx or tentorium may run on into the bone; no other does."""
    index = np.indices(example.image.shape)
    for (volume, seed), found in grown.items():
        changed = found.image != example.image
        start = starts[seed]
        if start.site not in ("falx", "tentorium"):
            assert example.depth[changed].min() > -2.5
        assert example.depth[changed].min() > -14
        widest = (3000 * volume / (4 * np.pi * 0.75 * 0.15)) ** (1 / 3)
        reach = 1.3 * widest + 30 + 2
        far = np.abs(index[:, changed].T - start.voxel).max() * 2
        assert far <= reach
        assert changed.any()


def test_a_head_too_small_for_a_tumour_is_left_as_it_is():
    """A brain of 12 mm is 7 mL."""
    tiny = made_head((2, 2, 2), axes=np.array([12.0, 12, 12]))
    for seed in range(12):
        assert tumor.meningioma(tiny, 60, rng(seed)) is tiny
    small = [tumor.meningioma(tiny, 0.5, rng(seed)) is tiny for seed in range(12)]
    assert np.mean(small) < 0.5


def test_a_head_without_brain_is_left_as_it_is():
    empty = np.zeros((24, 24, 24), np.float32)
    affine = np.diag([4.0, 4, 4, 1])
    bare = Example(empty, affine, empty, affine, np.full_like(empty, -np.inf))
    for seed in range(4):
        assert tumor.meningiomas(bare, rng(seed)) is bare


def test_seeds_lie_on_the_dura_and_look_away_from_it(head):
    """And at each site about as often as asked."""
    sites = []
    for seed in range(200):
        start = tumor.seed(head, rng(seed))
        place = tuple(start.voxel)
        sites.append(start.site)
        assert np.linalg.norm(start.inward) == pytest.approx(1)
        if start.site == "falx":
            assert abs(head.side[place]) < 2
            assert head.depth[place] > 4
            assert np.abs(start.inward).tolist() == [1, 0, 0]
        elif start.site == "tentorium":
            assert abs(head.over_tentorium[place]) < 2
            assert np.abs(start.inward).tolist() == [0, 0, 1]
        else:
            assert abs(head.depth[place]) < 3
            deeper = np.round(start.voxel + 10 * start.inward / head.spacing).astype(int)
            assert head.depth[tuple(deeper)] - head.depth[place] > 7
            assert start.site != "parasagittal" or abs(head.side[place]) < 14
            assert start.site != "base" or head.height[0, 0, place[2]] < -0.45
    shares = [sites.count(site) / len(sites) for site in tumor.SITES]
    np.testing.assert_allclose(shares, list(tumor.SITES.values()), atol=0.1)
    assert sum(tumor.SITES.values()) == pytest.approx(1)


@pytest.mark.parametrize("spacing", [(2, 2, 2), (1, 2, 5)])
def test_the_way_in_is_the_slope_of_the_depth_in_millimetres(spacing):
    normal = np.array([2.0, -1, 2]) / 3
    depth = np.tensordot(normal * spacing, np.indices((31, 29, 27)), 1)
    found = tumor.gradient(depth, np.array([15, 14, 13]), np.array(spacing, float))
    np.testing.assert_allclose(found, normal, atol=1e-6)
    edge = tumor.gradient(depth, np.array([0, 28, 26]), np.array(spacing, float))
    np.testing.assert_allclose(edge, normal, atol=1e-6)


def distances(shape, spacing, middle):
    axes = zip(np.indices(shape), middle, spacing, strict=True)
    return np.sqrt(sum(((a - m) * s) ** 2 for a, m, s in axes)).astype(np.float32)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 2, 3)])
def test_a_surface_is_cut_at_its_volume_and_measured_in_millimetres(spacing):
    spacing = np.array(spacing, float)
    shape = tuple((40 / spacing).astype(int))
    far = distances(shape, spacing, np.array(shape) // 2)
    inside = tumor.surface(far / 10, np.ones(shape, bool), 4 / 3 * np.pi * 1.2**3, spacing, 10)
    np.testing.assert_allclose(inside, 12 - far, atol=0.6)
    count = round(1000 * 4 / 3 * np.pi * 1.2**3 / np.prod(spacing))
    assert count <= (inside > 0).sum() < 1.08 * count  # voxels at one distance go together


def test_a_surface_is_of_one_piece_where_it_may_be():
    shape, ones = (60, 30, 30), np.ones(3)
    large, small = (distances(shape, ones, m) for m in ([15, 15, 15], [45, 15, 15]))
    radial = np.minimum(large, small + 2) / 8
    inside = tumor.surface(radial, np.ones(shape, bool), 3.0, ones, 8)
    assert ndimage.label(inside > 0)[1] == 1
    assert inside[15, 15, 15] > 0
    assert inside[45, 15, 15] == -np.inf
    half = np.indices(shape)[2] > 12
    assert not (tumor.surface(radial, half, 3.0, ones, 8)[~half] > -np.inf).any()
    none = tumor.surface(radial, np.zeros(shape, bool), 3.0, ones, 8)
    assert not (none > 0).any()


def ball(radius=10.0, size=81):
    """What `push` is told of a ball in the middle of a cube of 1 mm voxels, deep in a brain."""
    far = distances((size,) * 3, np.ones(3), [size // 2] * 3)
    inside = (radius - far).astype(np.float32)
    outside = ndimage.distance_transform_edt(inside <= 0).astype(np.float32)
    return far, inside, outside


def pushed(image, inside, outside, depth, seed):
    moved = image.copy()
    box = tuple(slice(0, n) for n in image.shape)
    tumor.push([moved], box, inside, outside, depth, np.ones(3), rng(seed))
    return moved


@pytest.mark.parametrize("seed", range(4))
def test_the_brain_around_a_tumour_is_moved_as_its_volume_asks(seed):
    """A shell at d comes from the cube root of d^3 - y r^3, y being the share that yielded."""
    far, inside, outside = ball()
    moved = pushed(far, inside, outside, np.full_like(far, 50), seed)
    share = rng(seed).uniform(0.3, 0.95)
    around = (far > 14) & (far < 35)
    expected = np.cbrt(far[around] ** 3 - share * 10**3)
    np.testing.assert_allclose(moved[around], expected, atol=0.4)


def test_a_point_beside_a_tumour_is_pushed_away_from_it():
    far, inside, outside = ball()
    point = np.exp(-(distances(far.shape, np.ones(3), [54, 40, 40]) ** 2) / 4)
    moved = pushed(point, inside, outside, np.full_like(far, 50), 0)
    share = rng(0).uniform(0.3, 0.95)
    before, after = (np.unravel_index(v.argmax(), v.shape) for v in (point, moved))
    assert before == (54, 40, 40)
    assert after[1:] == (40, 40)
    assert after[0] - 40 == pytest.approx(np.cbrt(14**3 + share * 10**3), abs=0.8)


def test_nothing_is_pushed_out_of_the_brain_or_by_next_to_nothing():
    far, inside, outside = ball()
    noise = rng(5).random(far.shape, np.float32)
    depth = np.linspace(-30, 40, far.size, dtype=np.float32).reshape(far.shape)
    moved = pushed(noise, inside, outside, depth, 0)
    np.testing.assert_array_equal(moved[depth <= 0], noise[depth <= 0])
    assert (moved != noise)[depth > 8].mean() > 0.5
    far, inside, outside = ball(radius=0.5)
    moved = pushed(far, inside, outside, np.full_like(far, 50), 0)
    np.testing.assert_allclose(moved[far > 5], far[far > 5], atol=0.005)


def test_what_surrounds_a_tumour_gets_darker_in_the_brain_only():
    far, _, outside = ball(size=61)
    depth = 45 - far
    oedema = []
    for seed in range(20):
        for volume in (1.0, 10.0):
            part = np.full(far.shape, 0.8, np.float32)
            tumor.surround(part, outside, depth, np.float32(0.8), volume, rng(seed))
            assert (part <= 0.8).all()
            assert (part[depth <= 1] == np.float32(0.8)).all()
            assert part.min() > 0.2
            wide = (part < 0.79)[outside > 4].any()
            assert volume > 1.5 or not wide
            oedema.append(wide)
    assert 4 < sum(oedema) < 16


def test_the_tail_is_bright_dura_near_the_tumour(head, example, grown, starts):
    seen = 0
    for seed, start in starts.items():
        lesion = grown[5.0, seed].lesion > 0.5
        outside = ndimage.distance_transform_edt(~lesion, head.spacing).astype(np.float32)
        box = tuple(slice(0, n) for n in lesion.shape)
        image = example.image.copy()
        tumor.tail(image, head, box, start, outside, np.float32(1.5), rng(seed))
        changed = image > example.image
        assert (image >= example.image).all()
        assert image.max() <= 1.5
        assert outside[changed].max() < 20
        surface = {"falx": head.side, "tentorium": head.over_tentorium}
        far = np.abs(surface.get(start.site, head.depth + 0.5))
        assert far[changed].max() < 2
        seen += (changed & ~lesion).any()
    assert seen > 0.8 * len(SEEDS)
