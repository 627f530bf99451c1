# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics on logits, in Keras operations, so that the backend is free."""

from __future__ import annotations

import keras
from keras import ops

SPATIAL = (1, 2, 3, 4)


def soft_dice_loss(truth, logits):
    """One less the Dice of probabilities, per example (Milletari et al. 2016, V-Net).

    Parameters
    ----------
    truth : (N, I, J, K, 1) tensor
        In [0, 1].
    logits : (N, I, J, K, 1) tensor

    Returns
    -------
    (N,) tensor
        In [0, 1]; 0 when both are empty.
    """
    probability = ops.sigmoid(logits)
    shared = ops.sum(truth * probability, SPATIAL)
    total = ops.sum(truth, SPATIAL) + ops.sum(probability, SPATIAL)
    return 1 - (2 * shared + 1) / (total + 1)


def dice_cross_entropy_loss(truth, logits):
    """Soft Dice plus twice the mean cross-entropy, per example."""
    entropy = keras.losses.binary_crossentropy(truth, logits, from_logits=True)
    return soft_dice_loss(truth, logits) + 2 * ops.mean(entropy, (1, 2, 3))


def dice(truth, logits):
    """Dice of the masks at one half, per example; 1 when both are empty."""
    a = ops.cast(truth > 0.5, "float32")
    b = ops.cast(logits > 0, "float32")
    return (2 * ops.sum(a * b, SPATIAL) + 1) / (ops.sum(a, SPATIAL) + ops.sum(b, SPATIAL) + 1)
