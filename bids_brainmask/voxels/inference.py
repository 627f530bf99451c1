# SPDX-License-Identifier: Apache-2.0
"""Run a network on a volume: scale the intensities, split into blocks, average."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bids_brainmask.voxels import rows


@dataclass(frozen=True)
class Options:
    """Test-time averaging. By default each voxel is predicted once."""

    overlap: bool = False
    """Blocks overlap by half, for networks that work in blocks."""

    flips: bool = False
    """Average the probabilities with those of the mirror image."""


def probability(
    data: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    *,
    intensities: str,
    block: int,
    overlap: bool = False,
    flips: bool = False,
    once: bool = False,
    height: int = 0,
) -> np.ndarray:
    """Run a network on a head on the network's grid.

    Parameters
    ----------
    data : (I, J, K) float32 array
        Intensities in any unit, on the network's grid.
    network : callable
        From a block of scaled intensities to probabilities in [0, 1]; same shape, float32.
    intensities : str
        Scaling that the network was trained on: the name of a row of `rows.SCALINGS`.
    block : int
        Side of the cubes that tile the grid and are predicted one by one; 0: the whole volume.
    overlap : bool
        Cubes overlap by half their side and are averaged with the weights of `shares`: no seams,
        up to eight times the work. No effect if `block` is 0.
    flips : bool
        Average with the probabilities of the mirror image along the first axis, mirrored back.
        The level of ``brain`` comes from the first pass, which is not mirrored.
    once : bool
        Leave out the second pass of a scaling that has one.
    height : int
        Voxels along the third axis that the network is given at most, from its end, which is the
        top of a head; 0: all. Below, the probability is 0. No effect if `block` is not 0.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1].

    Raises
    ------
    ValueError
        The side does not divide the grid, it is odd and `overlap` is set, or the scaling is
        unknown.
    """
    scaling = rows.scaling(intensities)
    shape, below = data.shape, 0 if block or not height else max(data.shape[2] - height, 0)
    scaled = scaling.scale(data, below)
    del data  # if nobody else has it, its memory is free while the network runs
    found = run(scaled, network, block, overlap=overlap)
    again = None if once else scaling.again
    if again and (second := again(scaled, found >= 0.5)) is not None:
        scaled = second
        found = run(scaled, network, block, overlap=overlap)
    if flips:
        mirrored = run(scaled[::-1], network, block, overlap=overlap)
        found = (found + mirrored[::-1]) / 2  # not in place: the network may own the array
    if not below:
        return found
    whole = np.zeros(shape, np.float32)
    whole[..., below:] = found
    return whole


def shown(shape: tuple[int, ...], block: int, height: int) -> tuple[int, ...]:
    """Shape of what a network is given at a time; parameters as in `probability`."""
    if block:
        return (block,) * 3
    return (*shape[:2], min(shape[2], height or shape[2]))


def run(
    scaled: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    block: int,
    *,
    overlap: bool = False,
) -> np.ndarray:
    """Run a network on scaled intensities, block by block or at once.

    Parameters
    ----------
    scaled : (I, J, K) float32 array
        Of any memory order; the network gets C-contiguous arrays.
    network, block, overlap
        As in `probability`.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1].
    """
    if not block:
        return network(np.ascontiguousarray(scaled))
    network = once_where_blank(network)
    if overlap:
        return blend(scaled, network, block)
    found = np.empty(scaled.shape, np.float32)
    for place in tiles(scaled.shape, block):
        found[place] = network(np.ascontiguousarray(scaled[place]))
    return found


def once_where_blank(
    network: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a network so that it runs only once on blocks with the same constant value.

    Background set to 0, or added by conforming, fills whole blocks. The output depends on the
    block only, so all of them have the same output, and the result does not change. It is not
    assumed to be below the threshold: a network may find brain in a constant block.
    """
    answers: dict[tuple, np.ndarray] = {}

    def answer(block: np.ndarray) -> np.ndarray:
        value = block.flat[0]
        if (block != value).any():
            return network(block)
        if (key := (block.shape, float(value))) not in answers:
            answers[key] = network(block)
        return answers[key]

    return answer


def blend(
    scaled: np.ndarray, network: Callable[[np.ndarray], np.ndarray], block: int
) -> np.ndarray:
    """Run a network on overlapping cubes and average the probabilities.

    Parameters and result as in `run`.
    """
    found = np.zeros(scaled.shape, np.float32)
    for place, weights in weighted_tiles(scaled.shape, block):
        found[place] += weights * network(np.ascontiguousarray(scaled[place]))
    return np.minimum(found, 1, out=found)  # the rounded sum of the weights may exceed 1


def tiles(shape: tuple[int, ...], block: int) -> Iterator[tuple[slice, ...]]:
    """Cubes of side `block` that cover every voxel exactly once.

    Raises
    ------
    ValueError
        The side does not divide an axis.
    """
    check_tiling(shape, block)
    for corner in np.ndindex(*(size // block for size in shape)):
        yield tuple(slice(index * block, (index + 1) * block) for index in corner)


def check_tiling(shape: tuple[int, ...], block: int) -> None:
    """Raise a ValueError if a block's side does not divide an axis of the grid."""
    if any(size % block for size in shape):
        raise ValueError(
            f"blocks of {block} do not tile {shape}: every axis must be a multiple of it"
        )


def weighted_tiles(
    shape: tuple[int, ...], block: int
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Cubes of side `block` that overlap by half, and the weights of their voxels.

    Yields
    ------
    place : tuple of slice
    weights : (block, block, block) float32 array
        In (0, 1]. Over all cubes, those of a voxel sum to 1.

    Raises
    ------
    ValueError
        The side is odd, or does not divide an axis.
    """
    if block % 2:
        raise ValueError(f"blocks of {block} cannot overlap by half: the side must be even")
    check_tiling(shape, block)
    for corner in itertools.product(*(shares(size, block) for size in shape)):
        (_, along_i), (_, along_j), (_, along_k) = corner
        weights = along_i[:, None, None] * along_j[:, None] * along_k
        yield tuple(slice(start, start + block) for start, _ in corner), weights


def shares(size: int, block: int) -> list[tuple[int, np.ndarray]]:
    """Weight of each block along an axis in the average.

    Gaussians about the blocks' centers, with a standard deviation of an eighth of the side, as in
    nnU-Net (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z), and divided by
    their sum. Gaussians and sum are products over the axes, since the starts form a grid, so
    that the division is done for each axis. Its divisor is above exp(-8) = 0.0003, at four
    standard deviations from the center; in a cube's corner, the product would be 4e-11.

    Parameters
    ----------
    size : int
        Voxels along the axis; a multiple of `block`.
    block : int
        Side of the blocks, in voxels; even.

    Returns
    -------
    list of (int, (block,) float32 array)
        Start of a block, and its weights in (0, 1]; 1 where there is no other block.
    """
    deviations = (np.arange(block) - (block - 1) / 2) / (block / 8)
    gaussian = np.exp(-(deviations**2) / 2)
    starts = range(0, size - block + 1, block // 2)
    total = np.zeros(size)
    for start in starts:
        total[start : start + block] += gaussian
    return [(at, (gaussian / total[at : at + block]).astype(np.float32)) for at in starts]
