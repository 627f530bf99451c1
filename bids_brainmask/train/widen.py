# SPDX-License-Identifier: Apache-2.0
"""A wider network that computes, to begin with, what a narrower one does.

After Net2Net (Chen et al. 2016, https://arxiv.org/abs/1511.05641), but with new filters at random:
they hear the old ones and are not heard by them, so that the output stays and there is something
to learn.
"""

from __future__ import annotations

import numpy as np

from bids_brainmask.errors import UsageError
from bids_brainmask.network import Architecture


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
