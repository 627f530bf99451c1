# SPDX-License-Identifier: Apache-2.0
"""Confidence of masks whose probabilities are known."""

import numpy as np
import pytest

from bids_brainmask.analyses import confidence

SPACING = np.array([1.0, 1.0, 1.0])


def ball(radius=20.0, size=64, spacing=SPACING):
    axes = [np.arange(round(size / s)) * s for s in spacing]
    middle = [axis.mean() for axis in axes]
    grid = np.meshgrid(*axes, indexing="ij")
    return radius - np.sqrt(sum((g - m) ** 2 for g, m in zip(grid, middle, strict=True)))


def measured(depth, width, spacing=SPACING, removed=0):
    """Probabilities that fall from 1 to 0 over a width, in mm, about the outline."""
    probability = np.clip(depth / width + 0.5, 0, 1).astype(np.float32)
    return confidence.of(depth >= 0, probability, spacing, removed)


def test_a_sure_network_has_no_uncertain_boundary():
    found = measured(ball(), 0.01)
    assert found.boundary < 0.05
    assert found.expected > 0.999
    assert found.removed == 0


def test_the_wider_the_edge_the_less_is_expected():
    found = [measured(ball(), width) for width in (0.5, 2, 8, 16)]
    expected = [one.expected for one in found]
    assert expected == sorted(expected, reverse=True)
    assert found[-1].boundary > 0.9


def test_expected_dice_by_arithmetic():
    mask, probability = np.zeros((2, 9, 9, 9))
    mask[3:6, 3:6, 3:6] = 1
    probability[3:6, 3:6, 3:6] = 0.8
    probability[7:, 7:, 7:] = 0.5
    found = confidence.of(mask > 0, probability.astype(np.float32), SPACING, 4)
    assert found.expected == pytest.approx(2 * 21.6 / (27 + 21.6 + 4), rel=1e-6)
    assert found.removed == pytest.approx(4 / 27)
    assert found.boundary == 0


def test_a_boundary_half_uncertain():
    mask, probability = np.zeros((2, 9, 9, 9))
    mask[2:7, 2:7, 2:7] = 1
    probability[2:7, 2:7, 2:7] = 0.9
    probability[2] = 0.6 * mask[2]
    found = confidence.of(mask > 0, probability.astype(np.float32), SPACING, 0)
    assert found.boundary == pytest.approx(25 / (125 - 27))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 2, 2), (0.5, 1, 2)])
def test_a_ball_is_as_rough_as_its_voxels_make_it(spacing):
    """Faces along three axes have 1.5 times the area of the ball, whatever their sizes."""
    spacing = np.array(spacing, float)
    assert measured(ball(24, spacing=spacing), 1, spacing).roughness == pytest.approx(
        1.5, rel=0.06
    )


def test_a_rugged_mask_is_rough():
    depth = ball()
    rugged = depth + np.random.default_rng(0).normal(0, 2, depth.shape)
    assert measured(rugged, 1).roughness > 1.3 * measured(depth, 1).roughness


def test_a_mask_at_the_edge_of_the_volume_has_a_boundary_there():
    full = np.ones((6, 6, 6), bool)
    found = confidence.of(full, np.full((6, 6, 6), 0.5, np.float32), SPACING, 0)
    assert found.boundary == 1
    assert found.roughness == pytest.approx(216 / np.cbrt(36 * np.pi * 216**2), rel=1e-12)


def test_a_prediction_is_the_weighted_sum_of_the_features():
    found = measured(ball(), 2)
    weights = [-0.5, 0.9, 0.3, 1.2, 0.1]
    expected = 1 - np.exp(weights[0] + found.features @ weights[1:])
    assert found.predicted_dice(weights) == pytest.approx(expected)
    assert found.predicted_dice([5, 0, 0, 0, 0]) == 0
    assert found.predicted_dice([-900, 0, 0, 0, 0]) == 1
    assert found.predicted_dice([]) is None
