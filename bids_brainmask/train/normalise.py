# SPDX-License-Identifier: Apache-2.0
"""Put batch normalisation into a network that came without, and leave what it computes as it is.

A network that learns without it can lose a part of itself: filters whose sums have become negative
everywhere give nothing, and learn nothing any more. With it, sums stay about zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from bids_brainmask.errors import UsageError
from bids_brainmask.network import Architecture, unet3d


def with_normalisation(
    model: keras.Model, architecture: Architecture, images: Sequence[np.ndarray]
) -> keras.Model:
    """Give a network batch normalisation whose scale undoes it: the inverse of folding it in.

    Parameters
    ----------
    model : keras.Model
        From `unet3d`, without normalisation.
    architecture : Architecture
        The one it was built from.
    images : sequence of (N, I, J, K, 1) arrays
        Batches that the statistics are taken of, such as it is about to learn from.

    Returns
    -------
    keras.Model
        From `unet3d`, with normalisation; gives what `model` gives, in use, and nearly so in
        training on batches like these.

    Raises
    ------
    UsageError
        A convolution gives nothing but one value, whatever the image.
    """
    found = unet3d(architecture, normalise=True)
    for layer in model.layers:
        if values := layer.get_weights():
            found.get_layer(layer.name).set_weights(values)
    for layer in found.layers:
        if not layer.name.endswith("_norm"):
            continue
        until = keras.Model(found.input, layer.input)
        sums = [np.asarray(until.predict_on_batch(batch), np.float32) for batch in images]
        sums = np.concatenate([some.reshape(-1, some.shape[-1]) for some in sums])
        mean, variance = sums.mean(0, dtype=float), sums.var(0, dtype=float)
        if not variance.any():
            raise UsageError(
                f"start: in the convolution {layer.name.removesuffix('_norm')} of the weights to "
                "start from no filter answers to anything. Start from others."
            )
        layer.set_weights([np.sqrt(variance + layer.epsilon), mean, mean, variance])
    return found
