# SPDX-License-Identifier: Apache-2.0
"""From an image to probabilities on its own grid, by a network that sees another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.settings import EXPECTED_ML
from bids_brainmask.voxels import grid, image, inference, rows
from bids_brainmask.voxels.inference import Options
from bids_brainmask.voxels.looks import AS_IT_IS, Look


@dataclass(frozen=True)
class Method:
    """A network that is ready to run, and how its answer is used."""

    model: Model
    network: Network
    threshold: float
    """Probability from which a voxel is in the mask, in (0, 1)."""

    options: Options = field(default_factory=Options)
    border: float = 0.0
    """Distance by which the edge of the mask is moved, mm; above 0 outward, below inward."""

    copies: int = 0
    """Moved copies of an image with lesions, for the uncertainty of their volumes."""

    expected_ml: tuple[float, float] = EXPECTED_ML
    """Volumes between which a brain is expected to lie, mL."""


class Answer(Protocol):
    """Answers of a network to an image, by the look at it."""

    def __call__(self, look: Look, *, once: bool = False) -> np.ndarray:
        """Give probabilities as `probability_map`; `once` as in `inference.probability`."""


def probability_map(
    source: image.Source,
    model: Model,
    network: Network,
    options: Options = Options(),  # noqa: B008 - a frozen value
) -> np.ndarray:
    """Probability of each of an image's voxels: to the network's grid, through it, and back.

    The embedded networks were trained on dark, unbounded air: intensities are clipped below the
    level of the air, and the grid is filled with it outside the field of view. The published
    networks get what their protocol says.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1]; 0 where the network's grid does not reach.
    """
    return answers(source, model, network, options)(AS_IT_IS)


def answers(source: image.Source, model: Model, network: Network, options: Options) -> Answer:
    """Resample an image once, to show it to a network in several looks."""
    volume = source.volume
    row = rows.grid(model.grid)
    target = row.make(volume, network.divisor)
    if row.has_air:
        air = grid.air(volume)
        conformed = np.maximum(grid.resample(volume, target, outside=air), np.float32(air))
    else:
        conformed = grid.resample(volume, target)

    def answer(look: Look, *, once: bool = False) -> np.ndarray:
        found = inference.probability(
            look.show(conformed),
            network.run,
            intensities=model.intensities,
            block=model.block,
            overlap=options.overlap,
            flips=options.flips or model.flips,
            once=once,
        )
        return grid.restore(look.back(found), target, volume)

    return answer
