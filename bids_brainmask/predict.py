# SPDX-License-Identifier: Apache-2.0
"""Intensities in, probabilities out: scaling, blocks, and a callable that is the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

BRAIN_LEVEL = 0.69
"""Median of a brain's intensities, scaled robustly, in most of the heads of the training."""

KNOWN_LEVELS = (0.5, 0.9)
"""Brains whose median lies between these are found as well as at `BRAIN_LEVEL`."""


def probability(
    data: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    *,
    intensities: str,
    block: int,
) -> np.ndarray:
    """Run a network over a conformed head.

    Parameters
    ----------
    data : (I, J, K) float32 array
        Intensities, of any unit, on the network's grid.
    network : callable
        Probabilities, in [0, 1], of a block of scaled intensities; same shape, float32.
    intensities : {"brain", "robust", "zscore"}
        How the network was trained to see them. ``brain``: as ``robust``, and a second time with
        the brain at the level that the network knows, where what was found shows another one.
    block : int
        Side of the cubes that are predicted one by one, which tile the grid; 0: all at once.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1].

    Raises
    ------
    ValueError
        A block side that does not divide the grid, or an unknown scaling.
    """
    scalings = {"brain": scale_robustly, "robust": scale_robustly, "zscore": zscore}
    if intensities not in scalings:
        raise ValueError(f"intensities: found {intensities!r}, expected one of {list(scalings)}")
    scaled = scalings[intensities](data)
    found = run(scaled, network, block)
    if intensities == "brain" and (factor := levelling(scaled, found >= 0.5)) != 1:
        found = run(np.clip(scaled * factor, 0, 2), network, block)
    return found


def run(scaled: np.ndarray, network: Callable[[np.ndarray], np.ndarray], block: int) -> np.ndarray:
    """Run a network over scaled intensities, block by block or at once."""
    if not block:
        return network(scaled)
    found = np.empty(scaled.shape, np.float32)
    for place in tiles(scaled.shape, block):
        found[place] = network(np.ascontiguousarray(scaled[place]))
    return found


def levelling(scaled: np.ndarray, brain: np.ndarray) -> np.float32:
    """Factor that brings a brain to the level that the network knows.

    Fat and vessels decide how `scale_robustly` scales a head, and they are as bright as the
    sequence, the coil and the age make them: brains came out at 0.35 to 0.73.

    Parameters
    ----------
    scaled : (I, J, K) float32 array
    brain : (I, J, K) bool array
        May be rough: a median is wanted.

    Returns
    -------
    float32
        In [0.25, 4]; 1 where there is no brain, or its median is among `KNOWN_LEVELS`.
    """
    level = float(np.median(scaled[brain])) if brain.any() else BRAIN_LEVEL
    if KNOWN_LEVELS[0] <= level <= KNOWN_LEVELS[1]:
        return np.float32(1)
    return np.float32(np.clip(BRAIN_LEVEL / max(level, 1e-3), 0.25, 4))


def tiles(shape: tuple[int, ...], block: int) -> Iterator[tuple[slice, ...]]:
    """Cubes of side `block` that cover every voxel exactly once.

    Raises
    ------
    ValueError
        An axis that the side does not divide.
    """
    if any(size % block for size in shape):
        raise ValueError(f"blocks of {block} do not tile {shape}: every axis must divide by it")
    for corner in np.ndindex(*(size // block for size in shape)):
        yield tuple(slice(index * block, (index + 1) * block) for index in corner)


def zscore(data: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the whole volume, air included.

    Zeros for a constant image.
    """
    spread = data.std(dtype=np.float64)
    if not spread:
        return np.zeros_like(data)
    return ((data - data.mean(dtype=np.float64)) / spread).astype(np.float32)


def scale_robustly(data: np.ndarray) -> np.ndarray:
    """Bring the head's intensities to about [0, 1], whatever the scanner's units.

    The darkest value becomes 0; the 98th percentile of what is brighter than the mean becomes 1;
    nothing exceeds 2. Percentiles are taken on every second voxel along each axis.

    Parameters
    ----------
    data : (I, J, K) float32 array

    Returns
    -------
    (I, J, K) float32 array
        In [0, 2]; zeros for a constant image.
    """
    some = data[::2, ::2, ::2]
    low = some.min()
    bright = some[some > some.mean()]
    if not bright.size:
        return np.zeros_like(data)
    high = np.percentile(bright, 98)
    return np.clip((data - low) / (high - low), 0, 2, dtype=np.float32)
