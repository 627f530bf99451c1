# SPDX-License-Identifier: Apache-2.0
"""Scaling and tiling, with networks that are arithmetic."""

import numpy as np
import pytest
from scipy import ndimage

from bids_brainmask.voxels import agreement, inference, scaling

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("shape", "block"), [((8, 8, 8), 4), ((4, 8, 12), 4), ((6, 6, 6), 6)])
def test_tiles_reach_every_voxel_once(shape, block):
    visits = np.zeros(shape, int)
    for place in inference.tiles(shape, block):
        visits[place] += 1
        assert visits[place].shape == (block,) * 3
    assert (visits == 1).all()


def test_blocks_that_do_not_tile_are_refused():
    with pytest.raises(ValueError, match=r"blocks of 5 do not tile \(8, 8, 8\)"):
        list(inference.tiles((8, 8, 8), 5))


@pytest.mark.parametrize("block", [0, 8])
def test_every_block_goes_through_the_network_and_to_its_place(block):
    data = RNG.normal(size=(16, 24, 8)).astype(np.float32)
    found = inference.probability(data, np.tanh, intensities="zscore", block=block)
    np.testing.assert_allclose(found, np.tanh(scaling.zscore(data)), atol=1e-6)


def noise(shape):
    """Of its own generator, so that no test's data depends on the tests before it."""
    return np.random.default_rng(1).random(shape, np.float32)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize(("block", "overlap"), [(0, False), (4, False), (4, True), (8, True)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("intensities", ["brain", "robust", "zscore"])
def test_the_network_sees_contiguous_blocks(intensities, order, block, overlap, flips):
    def network(seen):
        assert seen.flags.c_contiguous
        assert seen.dtype == np.float32
        return seen

    data = np.asarray(noise((8, 8, 8)), order=order)
    options = {"intensities": intensities, "block": block, "overlap": overlap, "flips": flips}
    inference.probability(data, network, **options)


class Counter:
    """A pointwise network, probabilities of intensities, that remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, block):
        self.seen.append(block.copy())
        return np.tanh(block)


@pytest.mark.parametrize(
    ("shape", "block", "cubes"),
    [((8, 8, 8), 4, 27), ((4, 8, 12), 4, 15), ((6, 6, 6), 6, 1), ((4, 4, 4), 2, 27)],
)
def test_overlapping_tiles_give_every_voxel_weights_that_sum_to_1(shape, block, cubes):
    total, places = np.zeros(shape), set()
    for place, weights in inference.weighted_tiles(shape, block):
        assert weights.shape == total[place].shape == (block,) * 3
        assert weights.dtype == np.float32
        assert weights.min() > 0
        assert all(side.start % (block // 2) == 0 for side in place)
        total[place] += weights
        places.add(tuple(side.start for side in place))
    assert len(places) == cubes
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_where_two_blocks_meet_the_weights_are_gaussian():
    (_, first), (_, second), (_, third) = inference.shares(32, 16)
    assert (first[:8] == 1).all()  # nothing else reaches there
    assert (third[8:] == 1).all()
    places = np.arange(8, 16) + 0.5  # middles of voxels; the blocks' middles are at 8 and 16
    expected = np.exp(((16 - places) ** 2 - (places - 8) ** 2) / (2 * 2**2))
    np.testing.assert_allclose(first[8:] / second[:8], expected, rtol=1e-5)


@pytest.mark.parametrize("overlap", [False, True])
def test_blocks_that_do_not_tile_are_refused_before_the_network_runs(overlap):
    network = Counter()
    with pytest.raises(ValueError, match=r"blocks of 6 do not tile \(8, 8, 8\)"):
        inference.probability(
            np.ones((8, 8, 8), np.float32),
            network,
            intensities="robust",
            block=6,
            overlap=overlap,
        )
    assert not network.seen


def test_odd_blocks_do_not_overlap():
    data, options = np.ones((6, 6, 6), np.float32), {"intensities": "robust", "block": 3}
    inference.probability(data, np.tanh, **options)
    with pytest.raises(ValueError, match=r"blocks of 3 cannot overlap .* must be even"):
        inference.probability(data, np.tanh, overlap=True, **options)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("intensities", ["brain", "robust", "zscore"])
@pytest.mark.parametrize("block", [0, 8])
def test_overlap_and_flips_change_nothing_for_a_network_that_sees_one_voxel(
    block, intensities, flips
):
    data = noise((16, 24, 8))
    expected = inference.probability(data, np.tanh, intensities=intensities, block=block)
    options = {"intensities": intensities, "block": block, "flips": flips}
    found = inference.probability(data, np.tanh, overlap=True, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("answer", [0, 0.3, 1])
def test_a_constant_answer_stays_constant_and_a_probability(answer, flips):
    def network(block):
        return np.full(block.shape, answer, np.float32)

    data = noise((24, 32, 16))
    options = {"block": 8, "overlap": True, "flips": flips}
    found = inference.probability(data, network, intensities="robust", **options)
    np.testing.assert_allclose(found, answer, rtol=0, atol=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1


def test_answers_of_any_kind_stay_probabilities():
    def network(block):
        return (block > np.median(block)).astype(np.float32)

    options = {"block": 8, "overlap": True, "flips": True}
    found = inference.probability(noise((24, 16, 16)), network, intensities="robust", **options)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.mean() == pytest.approx(0.5, abs=0.05)


def test_overlap_mends_the_seams_of_a_network_that_errs_at_its_edges():
    def network(block):
        answer = np.zeros(block.shape, np.float32)
        answer[2:-2, 2:-2, 2:-2] = 1
        return answer

    data, inside = noise((32, 48, 32)), (slice(2, -2),) * 3
    plain = inference.probability(data, network, intensities="robust", block=16)
    found = inference.probability(data, network, intensities="robust", block=16, overlap=True)
    assert plain[inside].min() == 0
    assert plain[14:18].max() == 0
    assert found[inside].min() > 0.9
    border = np.ones(data.shape, bool)
    border[inside] = False
    assert not found[border].any()  # no cube has the border in its middle


@pytest.mark.parametrize(
    ("block", "overlap", "flips", "calls"),
    [
        (0, False, False, 1),
        (0, True, False, 1),
        (0, False, True, 2),
        (0, True, True, 2),
        (4, False, False, 8),
        (4, False, True, 16),
        (4, True, False, 27),
        (4, True, True, 54),
    ],
)
@pytest.mark.parametrize("intensities", ["robust", "zscore"])
def test_the_network_runs_no_more_than_needed(intensities, block, overlap, flips, calls):
    network, data = Counter(), noise((8, 8, 8))
    options = {"block": block, "overlap": overlap, "flips": flips}
    inference.probability(data, network, intensities=intensities, **options)
    assert len(network.seen) == calls


@pytest.mark.parametrize("flips", [False, True])
def test_a_network_of_a_height_sees_the_top_of_the_head_alone(flips):
    network, data = Counter(), noise((8, 8, 24))
    options = {"intensities": "robust", "block": 0, "flips": flips}
    found = inference.probability(data, network, height=16, **options)
    scaled = scaling.scale_robustly(data)  # by the whole
    np.testing.assert_array_equal(network.seen[0], scaled[..., 8:])
    assert not found[..., :8].any()
    whole = inference.probability(data, network, **options)
    np.testing.assert_array_equal(found[..., 8:], whole[..., 8:])  # one voxel is all it looks at


@pytest.mark.parametrize(("height", "block"), [(24, 0), (64, 0), (0, 0), (16, 8)])
def test_a_height_without_effect(height, block):
    network, data = Counter(), noise((8, 8, 24))
    inference.probability(data, network, intensities="zscore", block=block, height=height)
    assert sum(block.size for block in network.seen) == data.size


@pytest.mark.parametrize(("height", "block"), [(0, 0), (16, 0), (64, 0), (16, 8)])
def test_the_shape_of_what_a_network_is_shown_is_known_before(height, block):
    network, data = Counter(), noise((8, 8, 24))
    inference.probability(data, network, intensities="robust", block=block, height=height)
    assert {one.shape for one in network.seen} == {inference.shown(data.shape, block, height)}


def ramp(block):
    """A network that believes more and more from left to right: 0 to 0.8 times what it sees."""
    return block * np.linspace(0, 0.8, len(block), dtype=np.float32)[:, None, None]


@pytest.mark.parametrize(("block", "overlap"), [(0, False), (8, False), (8, True)])
def test_flips_take_away_what_a_network_prefers_of_left_and_right(block, overlap):
    data = noise((16, 8, 16))
    options = {"intensities": "robust", "block": block, "overlap": overlap}
    found = inference.probability(data, ramp, flips=True, **options)
    np.testing.assert_allclose(found, 0.4 * scaling.scale_robustly(data), atol=1e-6)

    symmetric = data + data[::-1]
    plain = inference.probability(symmetric, ramp, **options)
    assert np.abs(plain - plain[::-1]).max() > 0.1
    found = inference.probability(symmetric, ramp, flips=True, **options)
    np.testing.assert_allclose(found, found[::-1], atol=1e-6)


def test_flips_are_along_the_first_axis_of_the_whole_volume():
    network, data = Counter(), noise((8, 8, 8))
    inference.probability(data, network, intensities="zscore", block=4, flips=True)
    scaled = scaling.zscore(data)
    np.testing.assert_array_equal(network.seen[0], scaled[:4, :4, :4])
    np.testing.assert_array_equal(network.seen[8], scaled[:3:-1, :4, :4])


def test_flips_leave_alone_what_the_network_keeps():
    answer = noise((4, 4, 4))
    kept = answer.copy()
    options = {"intensities": "robust", "block": 0, "flips": True}
    found = inference.probability(answer, lambda _: kept, **options)
    np.testing.assert_array_equal(kept, answer)
    np.testing.assert_allclose(found, (answer + answer[::-1]) / 2, atol=1e-6)


class Looker:
    """A network that takes the brightest ball for the brain and remembers what it was shown."""

    def __init__(self, brain):
        self.brain, self.levels = brain, []

    def __call__(self, block):
        self.levels.append(float(np.median(block[self.brain])))
        return self.brain.astype(np.float32) * np.float32(len(self.levels) / 2)


def brain_and_fat(level):
    """Air at 0, a brain, and fat that decides the scaling."""
    data = np.zeros((20, 20, 20), np.float32)
    data[2:18, 2:18, 2:18] = 1
    brain = np.zeros(data.shape, bool)
    brain[5:15, 5:15, 5:15] = True
    data[brain] = level
    return data, brain


@pytest.mark.parametrize(
    ("level", "looks"), [(0.1, 2), (0.35, 2), (0.55, 1), (0.69, 1), (0.85, 1)]
)
def test_a_brain_of_unknown_level_is_looked_at_again_at_the_known_one(level, looks):
    data, brain = brain_and_fat(level)
    network = Looker(brain)
    found = inference.probability(300 * data, network, intensities="brain", block=0)
    assert network.levels[0] == pytest.approx(level, abs=1e-4)
    assert len(network.levels) == looks
    if looks == 2:
        expected = min(scaling.BRAIN_LEVEL, 4 * level)
        assert network.levels[1] == pytest.approx(expected, abs=1e-4)
        assert found[brain].min() == 1  # the second answer counts


@pytest.mark.parametrize(("level", "looks"), [(0.1, 3), (0.35, 3), (0.55, 2), (0.69, 2)])
def test_only_the_look_that_counts_is_taken_at_the_mirror_image_too(level, looks):
    data, brain = brain_and_fat(level)
    network = Looker(brain)
    found = inference.probability(data, network, intensities="brain", block=0, flips=True)
    expected = min(scaling.BRAIN_LEVEL, 4 * level) if looks == 3 else level
    assert network.levels[0] == pytest.approx(level, abs=1e-4)
    assert network.levels[-2:] == pytest.approx([expected] * 2, abs=1e-4)
    assert len(network.levels) == looks
    answers = (looks - 1) / 2, looks / 2  # of a `Looker`
    np.testing.assert_allclose(found[brain], np.mean(answers))


@pytest.mark.parametrize(
    ("level", "overlap", "flips", "calls"),
    [
        (0.8, False, True, 16),
        (0.8, True, True, 54),
        (0.35, False, False, 16),
        (0.35, False, True, 24),
        (0.35, True, False, 54),
        (0.35, True, True, 81),
    ],
)
def test_the_second_look_counts_in_blocks_as_well(level, overlap, flips, calls):
    data = np.zeros((16, 16, 16), np.float32)
    data[1:12, 2:14, 2:14] = level
    data[12:15, 2:14, 2:14] = 1  # fat, on one side
    seen = []

    def inside(block):
        return (block > 0.1) & (block < 0.95)

    def network(block):
        seen.append(block.copy())
        return inside(block).astype(np.float32)

    options = {"intensities": "brain", "block": 8, "overlap": overlap, "flips": flips}
    found = inference.probability(data, network, **options)
    assert len(seen) == calls
    np.testing.assert_array_equal(found >= 0.5, inside(data))
    known = level if level > scaling.KNOWN_LEVELS[0] else scaling.BRAIN_LEVEL
    assert np.median(seen[0][inside(seen[0])]) == pytest.approx(level, abs=1e-3)
    assert np.median(seen[-1][inside(seen[-1])]) == pytest.approx(known, abs=1e-3)


def test_the_level_is_found_in_the_look_that_is_not_mirrored():
    data, brain = brain_and_fat(0.2)
    data[12:15], brain[12:15] = 0, False  # neither is symmetric
    seen = []

    def network(block):
        seen.append(block.copy())
        return brain.astype(np.float32)  # mirrored as well: a wrong place in a mirror image

    inference.probability(data, network, intensities="brain", block=0, flips=True)
    first, second, third = seen
    factor = np.float32(scaling.BRAIN_LEVEL / np.median(first[brain]))
    np.testing.assert_allclose(second, np.clip(first * factor, 0, 2), rtol=1e-5)
    np.testing.assert_array_equal(third, second[::-1])


def test_a_level_is_known_whatever_else_is_in_the_head():
    assert scaling.levelling(np.full((4, 4, 4), 1.8, np.float32), np.ones((4, 4, 4), bool)) < 0.5
    assert scaling.levelling(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), bool)) == 4
    assert scaling.levelling(np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4), bool)) == 1


def test_other_scalings_are_looked_at_once():
    data, brain = brain_and_fat(0.2)
    network = Looker(brain)
    inference.probability(data, network, intensities="robust", block=0)
    assert len(network.levels) == 1


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="intensities: found 'log', expected one of"):
        inference.probability(np.ones((4, 4, 4)), np.tanh, intensities="log", block=0)


def test_zscore_has_mean_0_and_deviation_1():
    data = RNG.gamma(2, 1000, (20, 30, 40)).astype(np.float32)
    found = scaling.zscore(data)
    assert found.dtype == np.float32
    assert abs(found.mean(dtype=float)) < 1e-5
    assert found.std(dtype=float) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", [scaling.zscore, scaling.scale_robustly])
def test_constant_images_become_zeros(scale):
    assert not scale(np.full((6, 6, 6), 7, np.float32)).any()
    assert scale(np.full((6, 6, 6), 7, np.float32), 2).shape == (6, 6, 4)


@pytest.mark.parametrize("scale", [scaling.zscore, scaling.scale_robustly])
def test_what_is_left_out_counts_for_the_scale(scale):
    data = RNG.gamma(2, 1, (6, 8, 10)).astype(np.float32)
    data[..., :4] *= 10
    np.testing.assert_array_equal(scale(data, 4), scale(data)[..., 4:])


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1e-3, 0), (4000, -500), (0.5, 1e4)])
def test_robust_scaling_does_not_depend_on_units(slope, intercept):
    data = RNG.gamma(2, 1, (20, 20, 20)).astype(np.float32)
    found = scaling.scale_robustly((slope * data + intercept).astype(np.float32))
    np.testing.assert_allclose(found, scaling.scale_robustly(data), atol=2e-3)
    assert found.min() == 0
    assert found.max() <= 2


def test_dice():
    a = np.zeros((4, 4, 4), bool)
    b = a.copy()
    assert agreement.dice(a, b) == 1
    a[:2], b[1:3] = True, True
    assert agreement.dice(a, b) == 0.5
    with pytest.raises(ValueError, match="not on one grid"):
        agreement.dice(a, b[:2])


@pytest.mark.parametrize("overlap", [False, True])
def test_blocks_of_one_value_are_asked_about_once_and_nothing_changes(overlap):
    asked = []

    def blur(block):
        asked.append(block)
        return ndimage.gaussian_filter(block, 1.5, mode="constant", cval=0.5)

    data = np.zeros((16, 16, 16), np.float32)
    data[9:14, 9:14, 9:14] = RNG.normal(size=(5, 5, 5))
    data[:4, :4, :4] = 0.25  # a second blank value
    options = {"overlap": overlap}
    found = inference.run(data, blur, 4, **options)
    blank = [block for block in asked if block.min() == block.max()]
    assert sorted({block[0, 0, 0] for block in blank}) == [0, 0.25]
    assert len(blank) == 2
    everywhere = np.zeros_like(data)
    parts = (
        inference.weighted_tiles(data.shape, 4)
        if overlap
        else ((place, 1) for place in inference.tiles(data.shape, 4))
    )
    for place, weights in parts:
        everywhere[place] += weights * blur(np.ascontiguousarray(data[place]))
    np.testing.assert_array_equal(found, np.minimum(everywhere, 1))
    np.testing.assert_array_equal(found >= 0.3, everywhere >= 0.3)
