# SPDX-License-Identifier: Apache-2.0
"""Clean a mask: components, holes, hysteresis threshold, distance to the brain, border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from bids_brainmask.voxels.masks import bounds

UNIFORM = 0.99
"""Share of the outermost voxels with one common value, in an image whose background was set to
that value."""

RIM = 0.15
"""Largest volume outside the mask, relative to the mask, in an image that was stripped before. In
a whole head it is several times as much."""


@dataclass(frozen=True)
class Cleaned:
    """A cleaned mask, with the changes."""

    mask: np.ndarray  # (I, J, K) bool
    removed: int  # voxels of the removed components
    filled: int  # voxels of the filled holes
    components: int = 0  # number of removed components
    holes: int = 0  # number of filled holes


def brain(mask: np.ndarray) -> Cleaned:
    """Keep the largest component (connected by faces) and fill its holes.

    Parameters
    ----------
    mask : (I, J, K) bool array

    Returns
    -------
    Cleaned
        Empty for an empty mask. A cavity that reaches the edge of the volume is not a hole.
    """
    if not (box := bounds(mask)):
        return Cleaned(mask.copy(), 0, 0)
    components, count = scipy.ndimage.label(mask[box])
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest = components == sizes.argmax()
    # One layer of background around the box connects all open cavities; the others are holes.
    cavities, background_and_holes = scipy.ndimage.label(np.pad(~largest, 1, constant_values=True))
    filled = (cavities != cavities[0, 0, 0])[1:-1, 1:-1, 1:-1]
    kept = np.zeros_like(mask)
    kept[box] = filled
    return Cleaned(
        mask=kept,
        removed=int(sizes.sum() - sizes.max()),
        filled=int(filled.sum() - sizes.max()),
        components=count - 1,
        holes=background_and_holes - 1,
    )


def stripped_before(data: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Mask of the foreground of an image that holds a brain and nothing else.

    Such an image was stripped before. A network would remove the rim of the brain again; the
    outline of the image is kept instead.

    Parameters
    ----------
    data : (I, J, K) array
        Intensities.
    mask : (I, J, K) bool array
        Mask of the brain from the network; not empty.

    Returns
    -------
    (I, J, K) bool array or None
        Largest component of the foreground, with its holes filled. None if the outermost voxels
        have different values, or the foreground outside `mask` is larger than a rim.
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
        moved[box] = scipy.ndimage.distance_transform_edt(~part, spacing) <= distance
    elif not part.all():
        moved[box] = scipy.ndimage.distance_transform_edt(part, spacing) > -distance
    return moved


def with_peak(mask: np.ndarray, probability: np.ndarray, peak: float) -> np.ndarray:
    """Keep the components of a mask with a voxel of some probability: a hysteresis threshold.

    After Canny 1986, https://doi.org/10.1109/TPAMI.1986.4767851: the higher threshold decides
    whether there is a lesion, the lower one where it ends.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Components are connected by faces, edges and corners.
    probability : (I, J, K) array
    peak : float

    Returns
    -------
    (I, J, K) bool array
        Each component is kept as a whole, or removed.
    """
    components, count = scipy.ndimage.label(mask, np.ones((3, 3, 3)))
    kept = np.zeros(count + 1, bool)
    kept[components[mask & (probability >= peak)]] = True
    return kept[components]


def near(mask: np.ndarray, brain: np.ndarray, spacing: np.ndarray, distance: float) -> np.ndarray:
    """Keep the components of a mask near the brain.

    A meningioma grows on the dura, next to the brain or into it; bright tissue of the nose, the
    muscles and the neck lies farther away.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Components are connected by faces, edges and corners.
    brain : (I, J, K) bool array
    spacing : (3,) array
        Size of a voxel, mm.
    distance : float
        Largest distance between the centers of a voxel of the component and one of the brain, mm.

    Returns
    -------
    (I, J, K) bool array
        Each component is kept as a whole, or removed.
    """
    components, _ = scipy.ndimage.label(mask, np.ones((3, 3, 3)))
    kept = np.zeros_like(mask)
    reach = np.ceil(distance / np.asarray(spacing)).astype(int)
    for index, box in enumerate(scipy.ndimage.find_objects(components), 1):
        # Voxels farther than `distance` from the component's box do not matter.
        wider = tuple(
            slice(max(side.start - more, 0), side.stop + more)
            for side, more in zip(box, reach, strict=True)
        )
        component = components[wider] == index
        there = brain[wider]
        if not there.any():
            continue
        if (component & there).any() or (
            scipy.ndimage.distance_transform_edt(~there, spacing)[component].min() <= distance
        ):
            kept[wider] |= component
    return kept
