# SPDX-License-Identifier: Apache-2.0
"""Scale intensities for networks, independent of the scanner's units."""

from __future__ import annotations

import numpy as np

BRAIN_LEVEL = 0.69
"""Median of the robustly scaled intensities of the brain, in most heads of the training."""

KNOWN_LEVELS = (0.5, 0.9)
"""Medians for which the network is as accurate as at `BRAIN_LEVEL`."""


def zscore(data: np.ndarray, below: int = 0) -> np.ndarray:
    """Scale to mean 0 and standard deviation 1 over the whole volume, air included.

    Zeros for a constant image. `below` as in `scale_robustly`.
    """
    spread = data.std(dtype=np.float64)
    if not spread:
        return np.zeros_like(data[..., below:])
    return ((data[..., below:] - data.mean(dtype=np.float64)) / spread).astype(np.float32)


def scale_robustly(data: np.ndarray, below: int = 0) -> np.ndarray:
    """Scale the head's intensities to about [0, 1], independent of the scanner's units.

    The minimum becomes 0; the 98th percentile of the voxels above the mean becomes 1; values are
    clipped at 2. Both are computed on every second voxel along each axis.

    Parameters
    ----------
    data : (I, J, K) float32 array
    below : int
        Planes at the start of the third axis that are left out of the result.

    Returns
    -------
    (I, J, K - below) float32 array
        In [0, 2]; zeros for a constant image.
    """
    some = data[::2, ::2, ::2]
    low = some.min()
    bright = some[some > some.mean()]
    if not bright.size:
        return np.zeros_like(data[..., below:])
    high = np.percentile(bright, 98)
    scaled = data[..., below:] - low
    scaled /= high - low
    return np.clip(scaled, 0, 2, out=scaled)


def levelling(scaled: np.ndarray, brain: np.ndarray) -> np.float32:
    """Factor that scales the brain to its level in training.

    `scale_robustly` scales by the brightest tissue, fat and vessels, whose intensity depends on
    the sequence, the coil and the age: medians of the brain were 0.35 to 0.73.

    Parameters
    ----------
    scaled : (I, J, K) float32 array
    brain : (I, J, K) bool array
        May be inaccurate, since only the median is used.

    Returns
    -------
    float32
        In [0.25, 4]; 1 without a brain, or if its median is within `KNOWN_LEVELS`.
    """
    some = scaled[::2, ::2, ::2][brain[::2, ::2, ::2]]  # the same voxels as in `scale_robustly`
    level = float(np.median(some)) if some.size else BRAIN_LEVEL
    if KNOWN_LEVELS[0] <= level <= KNOWN_LEVELS[1]:
        return np.float32(1)
    return np.float32(np.clip(BRAIN_LEVEL / max(level, 1e-3), 0.25, 4))


def relevelled(scaled: np.ndarray, brain: np.ndarray) -> np.ndarray | None:
    """Scale the brain to its level in training; None if it has that level.

    Parameters and factor as in `levelling`; the result is in [0, 2].
    """
    factor = levelling(scaled, brain)
    return None if factor == 1 else np.clip(scaled * factor, 0, 2)


def zscore_part(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Scale a part of an image by the mean and the standard deviation of the whole."""
    return (part - whole.mean()) / max(float(whole.std()), 1e-6)


def clip_part(part: np.ndarray, whole: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """Clip a part of an image that was scaled robustly to [0, 2]."""
    return np.clip(part, 0, 2)
