# SPDX-License-Identifier: Apache-2.0
"""What is kept: of a brain one piece without holes, or all if stripped; of lesions the likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_brainmask.voxels.masks import bounds

UNIFORM = 0.99
"""Share of the volume's outermost voxels that have one value where a background was blanked."""

RIM = 0.15
"""What of a brain stripped before may lie outside its mask, over the mask's volume. A head has
several times as much."""


@dataclass(frozen=True)
class Cleaned:
    """A mask, and what cleaning changed."""

    mask: np.ndarray  # (I, J, K) bool
    removed: int  # voxels of the smaller pieces
    filled: int  # voxels of the holes
    pieces: int = 0  # how many smaller pieces there were
    holes: int = 0  # how many holes


def brain(mask: np.ndarray) -> Cleaned:
    """Keep the largest component (faces touch) and fill what it encloses.

    Parameters
    ----------
    mask : (I, J, K) bool array

    Returns
    -------
    Cleaned
        Empty for an empty mask. A hollow that reaches the edge of the volume is no hole.
    """
    if not (box := bounds(mask)):
        return Cleaned(mask.copy(), 0, 0)
    pieces, count = ndimage.label(mask[box])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest = pieces == sizes.argmax()
    # Air around the box joins every hollow that is open, so that the rest are holes.
    hollows, air_and_holes = ndimage.label(np.pad(~largest, 1, constant_values=True))
    whole = (hollows != hollows[0, 0, 0])[1:-1, 1:-1, 1:-1]
    kept = np.zeros_like(mask)
    kept[box] = whole
    return Cleaned(
        mask=kept,
        removed=int(sizes.sum() - sizes.max()),
        filled=int(whole.sum() - sizes.max()),
        pieces=count - 1,
        holes=air_and_holes - 1,
    )


def stripped_before(data: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Find all that an image holds, if that is a brain and nothing else.

    Whoever stripped it chose an outline, and a network that looks for one of its own within it
    takes away the rim.

    Parameters
    ----------
    data : (I, J, K) array
        Intensities.
    mask : (I, J, K) bool array
        Brain that was found in it; not empty.

    Returns
    -------
    (I, J, K) bool array or None
        What is not background, its largest piece, without holes. None where the outermost voxels
        do not share one value, or more lies outside `mask` than the rim of a brain.
    """
    sides = [np.moveaxis(data, axis, 0)[place] for axis in range(3) for place in (0, -1)]
    values, counts = np.unique(
        np.concatenate([side.ravel() for side in sides]), return_counts=True
    )
    if counts.max() < UNIFORM * counts.sum():
        return None
    there = data != values[counts.argmax()]
    if np.count_nonzero(there & ~mask) > RIM * np.count_nonzero(mask):
        return None
    return brain(there).mask


def move_border(mask: np.ndarray, spacing: np.ndarray, distance: float) -> np.ndarray:
    """Move the edge of a mask outward or inward by an exact distance.

    Parameters
    ----------
    mask : (I, J, K) bool array
    spacing : (3,) array
        Voxel sizes, mm.
    distance : float
        mm. Above 0, voxels join whose center lies at most this far from the center of a voxel of
        the mask. Below 0, voxels leave whose center lies at most this far from the center of a
        voxel outside of it; beyond the end of the volume there is none. 0: no change.

    Returns
    -------
    (I, J, K) bool array
    """
    if not distance or not (there := bounds(mask)):
        return mask.copy()
    reach = np.ceil(abs(distance) / np.asarray(spacing)).astype(int) + 1
    box = tuple(
        slice(max(0, place.start - margin), place.stop + margin)
        for place, margin in zip(there, reach, strict=True)
    )
    moved, part = mask.copy(), mask[box]
    if distance > 0:
        moved[box] = ndimage.distance_transform_edt(~part, spacing) <= distance
    elif not part.all():
        moved[box] = ndimage.distance_transform_edt(part, spacing) > -distance
    return moved


def with_peak(mask: np.ndarray, probability: np.ndarray, peak: float) -> np.ndarray:
    """Keep the pieces of a mask that hold a voxel of some probability.

    Two thresholds, as edges are found with (Canny 1986, https://doi.org/10.1109/TPAMI.1986.4767851):
    the higher tells whether there is a lesion, the lower where it ends.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Voxels that touch at a face, an edge or a corner are of one piece.
    probability : (I, J, K) array
    peak : float

    Returns
    -------
    (I, J, K) bool array
        Whole pieces; all that there are, or none.
    """
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    kept = np.zeros(count + 1, bool)
    kept[pieces[mask & (probability >= peak)]] = True
    return kept[pieces]


def near(mask: np.ndarray, brain: np.ndarray, spacing: np.ndarray, distance: float) -> np.ndarray:
    """Keep the pieces of a mask that come near the brain.

    A meningioma grows on the dura, next to the brain or into it; what is bright in the nose, the
    muscles and the neck lies farther off.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Voxels that touch at a face, an edge or a corner are of one piece.
    brain : (I, J, K) bool array
    spacing : (3,) array
        Size of a voxel, mm.
    distance : float
        How far from the middle of a voxel of the brain that of a piece's nearest may be, mm.

    Returns
    -------
    (I, J, K) bool array
        Whole pieces; all that there are, or none.
    """
    pieces, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    kept = np.zeros_like(mask)
    reach = np.ceil(distance / np.asarray(spacing)).astype(int)
    for index, box in enumerate(ndimage.find_objects(pieces), 1):
        # What lies farther from the piece's box than `distance` cannot matter.
        wider = tuple(
            slice(max(side.start - more, 0), side.stop + more)
            for side, more in zip(box, reach, strict=True)
        )
        piece = pieces[wider] == index
        there = brain[wider]
        if not there.any():
            continue
        if (piece & there).any() or (
            ndimage.distance_transform_edt(~there, spacing)[piece].min() <= distance
        ):
            kept[wider] |= piece
    return kept
