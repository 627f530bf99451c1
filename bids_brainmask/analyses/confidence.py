# SPDX-License-Identifier: Apache-2.0
"""Confidence in a mask, from its probabilities.

No reference is wanted: what is measured is how sure the network was, and how a brain should look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_brainmask.voxels import UNCERTAIN
from bids_brainmask.voxels.masks import boundary, bounds, roughness

DOUBTFUL = 0.90
"""A mask whose predicted Dice is under this is flagged."""


@dataclass(frozen=True)
class Confidence:
    """Confidence in a mask, without a reference."""

    boundary: float
    """Share of the mask's boundary voxels that are uncertain, in [0, 1]."""

    expected: float
    """Expected Dice with a truth sampled voxel by voxel from the probabilities, in [0, 1]."""

    roughness: float
    """Surface divided by that of a sphere of the same volume; 1.5 for a sphere of many voxels."""

    removed: float
    """Volume of the removed components divided by the volume of the mask."""

    @property
    def features(self) -> np.ndarray:
        """Terms of a calibration, (4,): log of 1 minus `expected`, and those of the others."""
        return np.array(
            [
                np.log(1 - min(self.expected, 0.9999)),
                self.boundary,
                np.log(self.roughness),
                np.log(self.removed + 1e-3),
            ]
        )

    def predicted_dice(self, calibration: Sequence[float]) -> float | None:
        """Predicted Dice with a reference, in [0, 1].

        Parameters
        ----------
        calibration : sequence of 5 float
            Intercept and weights of `features`, for the logarithm of 1 less the Dice; fitted on
            degraded heads by ``benchmarks/calibrate.py``. Empty: of a model without one.

        Returns
        -------
        float or None
            None without a calibration.
        """
        if not len(calibration):
            return None
        loss = np.exp(calibration[0] + self.features @ np.asarray(calibration[1:]))
        return float(np.clip(1 - loss, 0, 1))


def of(mask: np.ndarray, probability: np.ndarray, spacing: np.ndarray, removed: int) -> Confidence:
    """Measure the confidence in a mask.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Not empty.
    probability : (I, J, K) float32 array
        In [0, 1]; what the mask was made of.
    spacing : (3,) array
        Voxel sizes, mm.
    removed : int
        Voxels over the threshold that are not in the mask.
    """
    box = bounds(mask | (probability > 0.01))
    mask, probability = mask[box], probability[box]
    edge = probability[boundary(mask)]
    volume = float(mask.sum())
    expected = (
        2
        * float(probability[mask].sum(dtype=float))
        / (volume + float(probability.sum(dtype=float)))
    )
    return Confidence(
        boundary=float(((edge > UNCERTAIN[0]) & (edge < UNCERTAIN[1])).mean()),
        expected=min(expected, 1.0),
        roughness=roughness(mask, spacing),
        removed=removed / volume,
    )
