# SPDX-License-Identifier: Apache-2.0
"""From an image to probabilities on its own grid, by a network that sees another one."""

from __future__ import annotations

import numpy as np

from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.voxels import grid, image, inference


def probability_map(
    source: image.Source, model: Model, network: Network, **looks: bool
) -> np.ndarray:
    """Probability of each of an image's voxels: to the network's grid, through it, and back.

    Our own networks know air as dark, and no edge where the field of view ends: so the level of
    the air is the darkest that they are given, and goes on beyond it. The published ones are given
    what their protocol says.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1]; 0 where the network's grid does not reach.
    """
    volume = source.volume
    if model.grid == "fsconform":
        target = grid.fsconform(volume)
        conformed = grid.resample(volume, target)
    else:
        target, air = grid.head(volume, network.divisor), grid.air(volume)
        conformed = np.maximum(grid.resample(volume, target, outside=air), np.float32(air))
    looks |= {"intensities": model.intensities, "block": model.block}
    looks["flips"] = looks.get("flips", False) or model.flips
    found = inference.probability(conformed, network.run, **looks)
    return grid.restore(found, target, volume)
