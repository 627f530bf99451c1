# SPDX-License-Identifier: Apache-2.0
"""Change a network without changing its output: widen it, add batch normalization or an output.

Widening follows Net2Net (Chen et al. 2016, https://arxiv.org/abs/1511.05641), but the new filters
are random: they read the outputs of the old filters, and the old filters do not read theirs. The
output stays the same, and the new filters have gradients.

Without batch normalization, filters can die: those with negative outputs before the ReLU
everywhere have no gradient any more. Batch normalization keeps these outputs around zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from bids_brainmask.errors import UsageError
from bids_brainmask.models.unet import Architecture, unet3d
from bids_brainmask.train.tissues import GROUPS


def widen(
    weights: dict[str, np.ndarray], old: Architecture, new: Architecture, seed: int
) -> dict[str, np.ndarray]:
    """Copy the weights of a network into a wider one.

    Parameters
    ----------
    weights : dict of str to float32 array
        By the names and of the shapes of ``old.shapes()``.
    old, new : Architecture
        Of the same levels and convolutions; every layer of `new` has as many filters or more.
    seed : int
        Seed of the new filters' weights (He et al. 2015).

    Returns
    -------
    dict of str to float32 array
        By the names and of the shapes of ``new.shapes()``.

    Raises
    ------
    UsageError
        A layer of `new` is narrower, or its levels differ.
    """
    rng = np.random.default_rng(seed)
    shapes = dict(new.shapes())
    narrower = any(
        np.less(shapes.get(name, (0,) * len(shape)), shape).any() for name, shape in old.shapes()
    )
    if narrower or len(shapes) != len(weights):
        raise UsageError(
            f"stages: expected an architecture of the same levels, and of layers as wide as in "
            f"the stage before or wider; found {new} after {old}"
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
        old_inputs = _places(layer, kernel.shape[-2], old, new)
        wide[..., old_inputs, : kernel.shape[-1]] = kernel
        spread = np.sqrt(2 / (np.prod(shape[:3]) * inputs))
        fresh = wide[..., kernel.shape[-1] :]
        fresh[...] = rng.normal(0, spread, fresh.shape)
        found[name] = np.swapaxes(wide, -1, -2) if swap else wide
    return found


def _places(layer: str, inputs: int, old: Architecture, new: Architecture) -> np.ndarray:
    """Positions of an old layer's inputs among those of the new one.

    The inputs of the first convolution of a decoder level are the encoder's filters, followed by
    those of the level below; all other layers have one block of inputs.
    """
    places = np.arange(inputs)
    if layer.startswith("decoder_") and layer.endswith("_0"):
        level = int(layer.split("_")[1])
        skip, wider = (a.encoder[-2 - level][-1] for a in (old, new))
        places[skip:] += wider - skip
    return places


TISSUES = "tissues"
"""Name of the layer that tells groups of tissues apart."""


def with_tissues(model: keras.Model) -> keras.Model:
    """Add an output for groups of tissues, from the same features as the target's.

    Parameters
    ----------
    model : keras.Model
        From `unet3d`; one that has this output is returned as it is.

    Returns
    -------
    keras.Model
        Its output is (N, I, J, K, 1 + G): the logits of `model`, and those of the groups in
        `bids_brainmask.train.tissues.GROUPS`, on voxels twice as large if the features are.
    """
    if any(layer.name == TISSUES for layer in model.layers):
        return model
    layers = keras.layers
    last = model.get_layer("logits")
    groups = layers.Conv3D(len(GROUPS), 1, dtype="float32", name=TISSUES)(last.input)
    if isinstance(last, layers.Conv3DTranspose):
        groups = layers.UpSampling3D(2, dtype="float32", name="tissues_voxels")(groups)
    joined = layers.Concatenate(dtype="float32", name="with_tissues")([model.output, groups])
    return keras.Model(model.input, joined, name=model.name)


def with_normalization(
    model: keras.Model, architecture: Architecture, images: Sequence[np.ndarray]
) -> keras.Model:
    """Add batch normalization whose scale and offset undo it: the inverse of folding.

    Parameters
    ----------
    model : keras.Model
        From `unet3d`, without normalization.
    architecture : Architecture
        The one it was built from.
    images : sequence of (N, I, J, K, 1) arrays
        Batches for the statistics, such as the next ones of the training.

    Returns
    -------
    keras.Model
        From `unet3d`, with normalization. Its output is that of `model` in use, and nearly so in
        training on batches like these.

    Raises
    ------
    UsageError
        The output of a convolution is constant.
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
                f"start: in the convolution {layer.name.removesuffix('_norm')} of these weights "
                "the output of every filter is constant. Start from other weights."
            )
        layer.set_weights([np.sqrt(variance + layer.epsilon), mean, mean, variance])
    return found
