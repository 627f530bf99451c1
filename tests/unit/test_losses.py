# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics of training, by arithmetic."""

import numpy as np
import pytest

from bids_brainmask.train.choices import Loss


@pytest.fixture(scope="module")
def losses():
    """The module. Keras takes seconds to import, in each process that collects tests."""
    from bids_brainmask.train import losses

    return losses


def column(*values):
    return np.reshape(np.array(values, np.float32), (1, -1, 1, 1, 1))


TRUTH = column(1, 1, 0, 0)
RIGHT, WRONG, UNSURE = 50 * (2 * TRUTH - 1), -50 * (2 * TRUTH - 1), 0 * TRUTH


def number(tensor):
    assert tensor.shape == (1,)
    return float(tensor[0])


def test_dice_loss(losses):
    assert number(losses.dice_loss(TRUTH, RIGHT)) == pytest.approx(0, abs=1e-6)
    assert number(losses.dice_loss(TRUTH, WRONG)) == pytest.approx(1 - 1 / 5)
    assert number(losses.dice_loss(TRUTH, UNSURE)) == pytest.approx(1 - 3 / 5)


def test_jaccard_loss(losses):
    assert number(losses.jaccard_loss(TRUTH, RIGHT)) == pytest.approx(0, abs=1e-6)
    assert number(losses.jaccard_loss(TRUTH, WRONG)) == pytest.approx(1 - 1 / 5)
    assert number(losses.jaccard_loss(TRUTH, UNSURE)) == pytest.approx(1 - 2 / 4)


def test_dice_of_a_batch_counts_what_is_found_in_a_clear_one(losses):
    truth, found = np.concatenate([TRUTH, 0 * TRUTH]), np.concatenate([RIGHT, 50 * (1 - TRUTH)])
    each = np.asarray(losses.batch_dice_loss(truth, found))
    np.testing.assert_allclose(each, 1 - (2 * 2 + 1) / (2 + 5 + 1), rtol=1e-5)
    assert each.shape == (2,)


@pytest.mark.parametrize("loss", ["dice_loss", "jaccard_loss"])
def test_nothing_found_where_nothing_is_costs_nothing(losses, loss):
    assert number(getattr(losses, loss)(0 * TRUTH, 0 * TRUTH - 50)) == pytest.approx(0)


def test_the_loss_of_tissues_reads_known_voxels_alone(losses):
    """Of every second voxel, one of four is known: a half chance for the right group of two."""
    groups = np.full((1, 4, 2, 2, 1), -1, np.float32)
    groups[0, 2, 0, 0] = 1
    truth = np.concatenate([0 * groups, groups], -1)
    logits = np.zeros((1, 4, 2, 2, 3), np.float32)
    assert number(losses.tissue_loss(truth, logits)) == pytest.approx(np.log(2), rel=1e-5)
    logits[..., 2] = 50
    assert number(losses.tissue_loss(truth, logits)) == pytest.approx(0, abs=1e-6)
    logits[..., 1] = 100
    assert number(losses.tissue_loss(truth, logits)) == pytest.approx(50, rel=1e-5)
    groups[0, 2, 0, 0] = -1
    nothing = np.concatenate([0 * groups, groups], -1)
    assert number(losses.tissue_loss(nothing, logits)) == 0


def test_the_loss_of_tissues_is_added_to_that_of_the_target_with_its_weight(losses):
    groups = np.ones_like(TRUTH)
    truth, logits = np.concatenate([TRUTH, groups], -1), np.concatenate([RIGHT] + 3 * [UNSURE], -1)
    alone = losses.loss_of("dice+crossentropy", 2)(TRUTH, RIGHT)
    both = losses.loss_of("dice+crossentropy", 2, 0.5)(truth, logits)
    assert number(both) == pytest.approx(number(alone) + 0.5 * np.log(3), rel=1e-5)
    assert number(losses.dice(truth, logits)) == pytest.approx(1)
    assert number(losses.jaccard(truth, logits)) == pytest.approx(1)


def test_crossentropy_of_no_idea_is_the_logarithm_of_two(losses):
    assert number(losses.crossentropy(TRUTH, UNSURE)) == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize("name", Loss.__args__)
def test_a_loss_of_every_name(losses, name):
    """A sum is the overlap and, as often as its weight says, the cross-entropy."""
    wanted = 0.0
    if "dice" in name:
        wanted += 1 - 3 / 5
    if "jaccard" in name:
        wanted += 1 - 2 / 4
    if "crossentropy" in name:
        wanted += np.log(2) * (3 if "+" in name else 1)
    assert number(losses.loss_of(name, 3.0)(TRUTH, UNSURE)) == pytest.approx(wanted, rel=1e-5)


def test_metrics_of_masks(losses):
    assert number(losses.dice(TRUTH, RIGHT)) == 1
    assert number(losses.dice(TRUTH, WRONG)) == pytest.approx(1 / 5)
    assert number(losses.jaccard(TRUTH, WRONG)) == pytest.approx(1 / 9)
    assert number(losses.jaccard(TRUTH, RIGHT)) == 1
