# SPDX-License-Identifier: Apache-2.0
"""Intensities in, probabilities out: scaling, blocks, and a callable that is the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np


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
    intensities : {"robust", "zscore"}
        How the network was trained to see them.
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
    scalings = {"robust": scale_robustly, "zscore": zscore}
    if intensities not in scalings:
        raise ValueError(f"intensities: found {intensities!r}, expected one of {list(scalings)}")
    scaled = scalings[intensities](data)
    if not block:
        return network(scaled)
    found = np.empty(data.shape, np.float32)
    for place in tiles(data.shape, block):
        found[place] = network(np.ascontiguousarray(scaled[place]))
    return found


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
