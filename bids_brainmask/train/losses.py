# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics on logits, in Keras operations, so that the backend is free.

All take ``truth`` in [0, 1] and ``logits``, (N, I, J, K, 1) tensors, and return a value for each
example, (N,). With `tissue_loss`, both have more channels, and the others read the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any
"""A tensor of the backend that Keras runs on."""

SPATIAL = (1, 2, 3, 4)


def dice_loss(truth: Tensor, logits: Tensor) -> Tensor:
    """One less the Dice of probabilities (Milletari et al. 2016, V-Net); 0 when both are empty."""
    probability = ops.sigmoid(logits)
    shared = ops.sum(truth * probability, SPATIAL)
    total = ops.sum(truth, SPATIAL) + ops.sum(probability, SPATIAL)
    return 1 - (2 * shared + 1) / (total + 1)


def batch_dice_loss(truth: Tensor, logits: Tensor) -> Tensor:
    """As `dice_loss`, of all examples of a batch together.

    False positives in an example without a target count, too.
    """
    probability = ops.sigmoid(logits)
    total = ops.sum(truth) + ops.sum(probability)
    loss = 1 - (2 * ops.sum(truth * probability) + 1) / (total + 1)
    return ops.broadcast_to(loss, ops.shape(truth)[:1])


def jaccard_loss(truth: Tensor, logits: Tensor) -> Tensor:
    """One less the Jaccard index of probabilities; 0 when both are empty.

    As the Nobrainer models were trained: the intersection over the sum less the intersection.
    """
    probability = ops.sigmoid(logits)
    shared = ops.sum(truth * probability, SPATIAL)
    total = ops.sum(truth, SPATIAL) + ops.sum(probability, SPATIAL)
    return 1 - (shared + 1) / (total - shared + 1)


def crossentropy(truth: Tensor, logits: Tensor) -> Tensor:
    """Mean binary cross-entropy of the voxels."""
    found = keras.losses.binary_crossentropy(truth, logits, from_logits=True)
    return ops.mean(found, (1, 2, 3))


OVERLAPS = {"dice": dice_loss, "batchdice": batch_dice_loss, "jaccard": jaccard_loss}


def tissue_loss(truth: Tensor, logits: Tensor) -> Tensor:
    """Mean cross-entropy of the groups of tissues, on every second voxel along each axis.

    Parameters
    ----------
    truth : (N, I, J, K, 2) tensor
        The second channel is the number of the group, or below 0 where it is not known.
    logits : (N, I, J, K, 1 + G) tensor
        One channel a group after the first.
    """
    groups = truth[:, ::2, ::2, ::2, 1]
    found = ops.log_softmax(ops.cast(logits[:, ::2, ::2, ::2, 1:], "float32"))
    known = ops.cast(groups >= 0, "float32")
    chosen = ops.one_hot(ops.cast(ops.maximum(groups, 0), "int32"), found.shape[-1])
    each = -ops.sum(chosen * found, -1) * known
    return ops.sum(each, (1, 2, 3)) / ops.maximum(ops.sum(known, (1, 2, 3)), 1)


def loss_of(name: str, weight: float, tissues: float = 0) -> Callable:
    """Loss of a name in `bids_brainmask.train.choices.Loss`.

    Parameters
    ----------
    name : str
        An overlap, ``crossentropy``, or their sum, joined by a plus.
    weight : float
        Of the cross-entropy in a sum.
    tissues : float
        Weight of `tissue_loss`; 0: none.
    """
    if tissues:
        target = loss_of(name, weight)

        def with_tissues(truth: Tensor, logits: Tensor) -> Tensor:
            main = target(truth[..., :1], logits[..., :1])
            return main + tissues * tissue_loss(truth, logits)

        return with_tissues
    first, plus, _ = name.partition("+")
    if first == "crossentropy":
        return crossentropy
    overlap = OVERLAPS[first]
    if not plus:
        return overlap

    def total(truth: Tensor, logits: Tensor) -> Tensor:
        return overlap(truth, logits) + weight * crossentropy(truth, logits)

    return total


def dice(truth: Tensor, logits: Tensor) -> Tensor:
    """Dice of the masks at one half; 1 when both are empty."""
    a = ops.cast(truth[..., :1] > 0.5, "float32")
    b = ops.cast(logits[..., :1] > 0, "float32")
    return (2 * ops.sum(a * b, SPATIAL) + 1) / (ops.sum(a, SPATIAL) + ops.sum(b, SPATIAL) + 1)


def jaccard(truth: Tensor, logits: Tensor) -> Tensor:
    """Jaccard index of the masks at one half; 1 when both are empty."""
    found = dice(truth, logits)
    return found / (2 - found)
