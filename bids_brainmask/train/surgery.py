# SPDX-License-Identifier: Apache-2.0
"""Networks that are changed and go on computing what they did: wider, or with normalization.

Wider after Net2Net (Chen et al. 2016, https://arxiv.org/abs/1511.05641), but with new filters at
random: they hear the old ones and are not heard by them, so that the output stays and there is
something to learn.

A network that learns without batch normalization can lose a part of itself: filters whose sums
have become negative everywhere give nothing, and learn nothing any more. With it, sums stay about
zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from bids_brainmask.errors import UsageError
from bids_brainmask.models.unet import Architecture, unet3d


def widen(
    weights: dict[str, np.ndarray], old: Architecture, new: Architecture, seed: int
) -> dict[str, np.ndarray]:
    """Put the weights of a network into a wider one.

    Parameters
    ----------
    weights : dict of str to float32 array
        By the names and of the shapes of ``old.shapes()``.
    old, new : Architecture
        Of the same levels and convolutions; `new` has as many filters everywhere, or more.
    seed : int
        Of the new filters (He et al. 2015).

    Returns
    -------
    dict of str to float32 array
        By the names and of the shapes of ``new.shapes()``.

    Raises
    ------
    UsageError
        `new` is narrower somewhere, or built otherwise.
    """
    rng = np.random.default_rng(seed)
    shapes = dict(new.shapes())
    narrower = any(
        np.less(shapes.get(name, (0,) * len(shape)), shape).any() for name, shape in old.shapes()
    )
    if narrower or len(shapes) != len(weights):
        raise UsageError(
            f"stages: an architecture can only be followed by one that is as wide everywhere, or "
            f"wider, of the same levels; found {new} after {old}"
        )
    found = {}
    for name, shape in shapes.items():
        layer = name.split("/")[0]
        swap = layer.startswith("up_") or (layer == "logits" and bool(new.stem))
        if name.endswith("/bias"):
            found[name] = np.zeros(shape, np.float32)
            found[name][: weights[name].size] = weights[name]
            continue
        kernel = np.swapaxes(weights[name], -1, -2) if swap else weights[name]
        inputs, filters = (shape[-1], shape[-2]) if swap else shape[-2:]
        wide = np.zeros((*shape[:3], inputs, filters), np.float32)
        heard = _places(layer, kernel.shape[-2], old, new)
        wide[..., heard, : kernel.shape[-1]] = kernel
        spread = np.sqrt(2 / (np.prod(shape[:3]) * inputs))
        fresh = wide[..., kernel.shape[-1] :]
        fresh[...] = rng.normal(0, spread, fresh.shape)
        found[name] = np.swapaxes(wide, -1, -2) if swap else wide
    return found


def _places(layer: str, inputs: int, old: Architecture, new: Architecture) -> np.ndarray:
    """Where the inputs of an old layer are among those of the new one.

    The first convolution of a decoder level sees the encoder's filters and, behind them, those
    from below; all others see one block of filters.
    """
    places = np.arange(inputs)
    if layer.startswith("decoder_") and layer.endswith("_0"):
        level = int(layer.split("_")[1])
        skip, wider = (a.encoder[-2 - level][-1] for a in (old, new))
        places[skip:] += wider - skip
    return places


def with_normalization(
    model: keras.Model, architecture: Architecture, images: Sequence[np.ndarray]
) -> keras.Model:
    """Give a network batch normalization whose scale undoes it: the inverse of folding it in.

    Parameters
    ----------
    model : keras.Model
        From `unet3d`, without normalization.
    architecture : Architecture
        The one it was built from.
    images : sequence of (N, I, J, K, 1) arrays
        Batches that the statistics are taken of, such as it is about to learn from.

    Returns
    -------
    keras.Model
        From `unet3d`, with normalization; gives what `model` gives, in use, and nearly so in
        training on batches like these.

    Raises
    ------
    UsageError
        A convolution gives nothing but one value, whatever the image.
    """
    found = unet3d(architecture, normalize=True)
    for layer in model.layers:
        if values := layer.get_weights():
            found.get_layer(layer.name).set_weights(values)
    for layer in found.layers:
        if not layer.name.endswith("_norm"):
            continue
        until = keras.Model(found.input, layer.input)
        answers = [np.asarray(until.predict_on_batch(batch), np.float32) for batch in images]
        sums = np.concatenate([some.reshape(-1, some.shape[-1]) for some in answers])
        mean, variance = sums.mean(0, dtype=float), sums.var(0, dtype=float)
        if not variance.any():
            raise UsageError(
                f"start: in the convolution {layer.name.removesuffix('_norm')} of the weights to "
                "start from no filter answers to anything. Start from others."
            )
        layer.set_weights([np.sqrt(variance + layer.epsilon), mean, mean, variance])
    return found
