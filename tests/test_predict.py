# SPDX-License-Identifier: Apache-2.0
"""Scaling and tiling, with networks that are arithmetic."""

import numpy as np
import pytest

from bids_brainmask import metrics, predict

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("shape", "block"), [((8, 8, 8), 4), ((4, 8, 12), 4), ((6, 6, 6), 6)])
def test_tiles_reach_every_voxel_once(shape, block):
    visits = np.zeros(shape, int)
    for place in predict.tiles(shape, block):
        visits[place] += 1
        assert visits[place].shape == (block,) * 3
    assert (visits == 1).all()


def test_blocks_that_do_not_tile_are_refused():
    with pytest.raises(ValueError, match=r"blocks of 5 do not tile \(8, 8, 8\)"):
        list(predict.tiles((8, 8, 8), 5))


@pytest.mark.parametrize("block", [0, 8])
def test_every_block_goes_through_the_network_and_to_its_place(block):
    data = RNG.normal(size=(16, 24, 8)).astype(np.float32)
    found = predict.probability(data, np.tanh, intensities="zscore", block=block)
    np.testing.assert_allclose(found, np.tanh(predict.zscore(data)), atol=1e-6)


def test_the_network_sees_contiguous_blocks():
    def network(block):
        assert block.flags.c_contiguous
        return block

    predict.probability(np.ones((8, 8, 8), np.float32), network, intensities="robust", block=4)


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
    found = predict.probability(300 * data, network, intensities="brain", block=0)
    assert network.levels[0] == pytest.approx(level, abs=1e-4)
    assert len(network.levels) == looks
    if looks == 2:
        expected = min(predict.BRAIN_LEVEL, 4 * level)
        assert network.levels[1] == pytest.approx(expected, abs=1e-4)
        assert found[brain].min() == 1  # the second answer counts


def test_a_level_is_known_whatever_else_is_in_the_head():
    assert predict.levelling(np.full((4, 4, 4), 1.8, np.float32), np.ones((4, 4, 4), bool)) < 0.5
    assert predict.levelling(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), bool)) == 4
    assert predict.levelling(np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4), bool)) == 1


def test_other_scalings_are_looked_at_once():
    data, brain = brain_and_fat(0.2)
    network = Looker(brain)
    predict.probability(data, network, intensities="robust", block=0)
    assert len(network.levels) == 1


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="intensities: found 'log', expected one of"):
        predict.probability(np.ones((4, 4, 4)), np.tanh, intensities="log", block=0)


def test_zscore_has_mean_0_and_deviation_1():
    data = RNG.gamma(2, 1000, (20, 30, 40)).astype(np.float32)
    found = predict.zscore(data)
    assert found.dtype == np.float32
    assert abs(found.mean(dtype=float)) < 1e-5
    assert found.std(dtype=float) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", [predict.zscore, predict.scale_robustly])
def test_constant_images_become_zeros(scale):
    assert not scale(np.full((6, 6, 6), 7, np.float32)).any()


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1e-3, 0), (4000, -500), (0.5, 1e4)])
def test_robust_scaling_does_not_depend_on_units(slope, intercept):
    data = RNG.gamma(2, 1, (20, 20, 20)).astype(np.float32)
    found = predict.scale_robustly((slope * data + intercept).astype(np.float32))
    np.testing.assert_allclose(found, predict.scale_robustly(data), atol=2e-3)
    assert found.min() == 0
    assert found.max() <= 2


def test_dice():
    a = np.zeros((4, 4, 4), bool)
    b = a.copy()
    assert metrics.dice(a, b) == 1
    a[:2], b[1:3] = True, True
    assert metrics.dice(a, b) == 0.5
    with pytest.raises(ValueError, match="not on one grid"):
        metrics.dice(a, b[:2])
