# SPDX-License-Identifier: Apache-2.0
"""Measures of arrays that several steps share."""

import itertools

import numpy as np
import pytest

from bids_brainmask.voxels import masks


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_means_of_blocks_do_not_depend_on_the_order_in_memory(order):
    data = np.random.default_rng(0).normal(size=(7, 9, 11)).astype(np.float32)
    stored = np.ascontiguousarray(data.transpose(order)).transpose(np.argsort(order))
    found = masks.block_means(stored, np.array([2, 3, 4]))
    assert found.dtype == np.float32
    expected = [
        data[2 * i : 2 * i + 2, 3 * j : 3 * j + 3, 4 * k : 4 * k + 4].mean(dtype=float)
        for i, j, k in np.ndindex(3, 3, 2)  # the rest fills no block
    ]
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)


def test_shares_of_a_mask_are_exact():
    """Above 255 voxels, too, and 1 is 1 where a block is full."""
    mask = np.ones((16, 16, 16), bool)
    mask[0, 0, 0] = mask[15] = False
    found = masks.block_means(mask, np.array([8, 8, 8]))
    np.testing.assert_array_equal(found[0].ravel() == 1, [False, True, True, True])
    assert found[0, 0, 0] == np.float32(511 / 512)
    np.testing.assert_array_equal(found[1], np.float32(7 / 8))


def test_blocks_of_one_voxel_are_the_voxels():
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = masks.block_means(data, np.array([1, 1, 1]))
    np.testing.assert_array_equal(found, data)
    assert not np.shares_memory(found, data)
