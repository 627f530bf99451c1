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
