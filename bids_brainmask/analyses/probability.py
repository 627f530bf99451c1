# SPDX-License-Identifier: Apache-2.0
"""From an image to probabilities on its own grid, by a network that sees another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.settings import EXPECTED_ML
from bids_brainmask.voxels import grid, image, inference, rows
from bids_brainmask.voxels.inference import Options
from bids_brainmask.voxels.looks import AS_IT_IS, Look
from bids_brainmask.voxels.masks import bounds

CUBE_SIDE = 128
"""Voxels along each side of the cube in which turned looks are compared."""

CUBE_SPACING = 1.5
"""Voxels of that cube, mm. With 1.5 mm the best look was the same as with 1 mm on heads that were
turned by 90 degrees about an oblique axis, with 2 mm it was not. 192 mm hold a brain."""


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


class Answers:
    """Answers of a network to an image in several looks.

    The image is resampled for each of them: few images need a second one, and the memory of the
    first is needed while the network runs.

    Parameters
    ----------
    source : image.Source
    model : Model
    network : Network
    options : Options
    """

    def __init__(self, source: image.Source, model: Model, network: Network, options: Options):
        self.volume, self.model, self.network = source.volume, model, network
        self.options = options
        self.flips = options.flips or model.flips
        row = rows.grid(model.grid)
        self.grid = row.make(self.volume, network.divisor)
        network.prepare(inference.shown(self.grid.shape, model.block, model.height))
        self.has_air = row.has_air
        self.outside = grid.air(self.volume) if row.has_air else 0.0

    def __call__(self, look: Look, *, once: bool = False) -> np.ndarray:
        """Give probabilities as `probability_map`; `once` as in `inference.probability`."""
        found = inference.probability(
            look.show(self._conformed()),
            self.network.run,
            intensities=self.model.intensities,
            block=self.model.block,
            overlap=self.options.overlap,
            flips=self.flips,
            once=once,
            height=self.model.height,
        )
        return grid.restore(look.back(found), self.grid, self.volume)

    def _conformed(self) -> np.ndarray:
        """Resample the image to the network's grid."""
        found = grid.resample(self.volume, self.grid, outside=self.outside)
        return np.maximum(found, np.float32(self.outside), out=found) if self.has_air else found

    def in_cube(self, mask: np.ndarray) -> Callable[[Look], np.ndarray]:
        """Resample once to a cube about a mask, (I, J, K) bool, not empty, for coarse answers.

        The cube has the same shape however it is turned. Its voxels are larger than those that
        the network was trained on: enough to compare looks, not for a mask.

        Returns
        -------
        callable
            From a look to probabilities in [0, 1], float32; voxels of `CUBE_SPACING` mm.
        """
        side = self.network.divisor * round(CUBE_SIDE / self.network.divisor)
        middle = [(place.start + place.stop - 1) / 2 for place in bounds(mask) or ()]
        at = np.linalg.inv(self.grid.affine) @ self.volume.affine @ [*middle, 1]
        steps = CUBE_SPACING * (np.arange(side) - (side - 1) / 2)
        cube = grid.interpolate(self._conformed(), [one + steps for one in at[:3]], self.outside)

        def answer(look: Look) -> np.ndarray:
            found = inference.probability(
                look.show(cube),
                self.network.run,
                intensities=self.model.intensities,
                block=0,
                once=True,
            )
            return look.back(found)

        return answer


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
    return Answers(source, model, network, options)(AS_IT_IS)
