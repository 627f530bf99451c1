# SPDX-License-Identifier: Apache-2.0
"""Intensities in, probabilities out: scaling, blocks, and a callable that is the network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bids_brainmask.voxels import rows


@dataclass(frozen=True)
class Options:
    """How often a network looks at the same voxels. The defaults look once."""

    overlap: bool = False
    """Let the blocks of networks that see blocks overlap by half."""

    flips: bool = False
    """Average the answer with that to the mirror image."""


def probability(
    data: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    *,
    intensities: str,
    block: int,
    overlap: bool = False,
    flips: bool = False,
) -> np.ndarray:
    """Run a network over a conformed head.

    Parameters
    ----------
    data : (I, J, K) float32 array
        Intensities, of any unit, on the network's grid.
    network : callable
        Probabilities, in [0, 1], of a block of scaled intensities; same shape, float32.
    intensities : str
        How the network was trained to see them: the name of a row of `rows.SCALINGS`.
    block : int
        Side of the cubes that are predicted one by one, which tile the grid; 0: all at once.
    overlap : bool
        Cubes step by half their side, and count most about their middles, as `shares` has it: no
        seams, at up to eight times the work. Without effect where all is predicted at once.
    flips : bool
        Mean of the answers to the volume and to its mirror image along the first axis, mirrored
        back. The level of ``brain`` is found from the first look, which is not mirrored.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1].

    Raises
    ------
    ValueError
        A block side that does not divide the grid, an odd one with `overlap`, or an unknown
        scaling.
    """
    scaling = rows.scaling(intensities)
    scaled = scaling.scale(data)
    found = run(scaled, network, block, overlap=overlap)
    if scaling.again and (second := scaling.again(scaled, found >= 0.5)) is not None:
        scaled = second
        found = run(scaled, network, block, overlap=overlap)
    if flips:
        mirrored = run(scaled[::-1], network, block, overlap=overlap)
        found = (found + mirrored[::-1]) / 2  # not in place: the network may keep what it gave
    return found


def run(
    scaled: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    block: int,
    *,
    overlap: bool = False,
) -> np.ndarray:
    """Run a network over scaled intensities, block by block or at once.

    Parameters
    ----------
    scaled : (I, J, K) float32 array
        Of any strides: the network is given C-contiguous arrays.
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
    """Ask a network once, and no more, about blocks that hold one value and nothing else.

    Background that was blanked, or that conforming added, fills whole blocks. What a network says
    to one of them it says to every other of the same value: an answer depends on the block alone.
    So nothing changes, whatever the network and the threshold. That such an answer is below the
    threshold is no such certainty (a network may find brain in nothing), so it is asked once.
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
    """Run a network over overlapping cubes and average what it finds.

    Parameters and result as in `run`.
    """
    found = np.zeros(scaled.shape, np.float32)
    for place, weights in weighted_tiles(scaled.shape, block):
        found[place] += weights * network(np.ascontiguousarray(scaled[place]))
    return np.minimum(found, 1, out=found)  # the weights' sum, rounded, may exceed 1


def tiles(shape: tuple[int, ...], block: int) -> Iterator[tuple[slice, ...]]:
    """Cubes of side `block` that cover every voxel exactly once.

    Raises
    ------
    ValueError
        An axis that the side does not divide.
    """
    check_tiling(shape, block)
    for corner in np.ndindex(*(size // block for size in shape)):
        yield tuple(slice(index * block, (index + 1) * block) for index in corner)


def check_tiling(shape: tuple[int, ...], block: int) -> None:
    """Raise ValueError for a grid with an axis that a block's side does not divide."""
    if any(size % block for size in shape):
        raise ValueError(f"blocks of {block} do not tile {shape}: every axis must divide by it")


def weighted_tiles(
    shape: tuple[int, ...], block: int
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Cubes of side `block` that step by half of it, and the weights of their voxels.

    Yields
    ------
    place : tuple of slice
    weights : (block, block, block) float32 array
        In (0, 1]. Over all cubes, those of a voxel sum to 1.

    Raises
    ------
    ValueError
        An odd side, or an axis that the side does not divide.
    """
    if block % 2:
        raise ValueError(f"blocks of {block} cannot overlap by half: the side must be even")
    check_tiling(shape, block)
    for corner in itertools.product(*(shares(size, block) for size in shape)):
        (_, along_i), (_, along_j), (_, along_k) = corner
        weights = along_i[:, None, None] * along_j[:, None] * along_k
        yield tuple(slice(start, start + block) for start, _ in corner), weights


def shares(size: int, block: int) -> list[tuple[int, np.ndarray]]:
    """Share that each of an axis's blocks has in the average.

    Gaussians about the blocks' middles, with a standard deviation of an eighth of the side, as in
    nnU-Net (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z), and divided by
    their sum. They factor into the axes, and so does that sum, for every start on one axis
    meets every start on the others: dividing here, nothing near zero is ever divided by. At its
    end, four deviations from the middle, a Gaussian is above exp(-8) = 0.0003; in a cube's
    corner, the product of three would be 4e-11.

    Parameters
    ----------
    size : int
        Voxels along the axis; a multiple of `block`.
    block : int
        Side of the blocks, in voxels; even.

    Returns
    -------
    list of (int, (block,) float32 array)
        Where a block starts, and its shares: in (0, 1], 1 where no other block reaches.
    """
    deviations = (np.arange(block) - (block - 1) / 2) / (block / 8)
    gaussian = np.exp(-(deviations**2) / 2)
    starts = range(0, size - block + 1, block // 2)
    total = np.zeros(size)
    for start in starts:
        total[start : start + block] += gaussian
    return [(at, (gaussian / total[at : at + block]).astype(np.float32)) for at in starts]
