# SPDX-License-Identifier: Apache-2.0
"""From probabilities to one brain: the largest piece, without holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Cleaned:
    """A mask, and what cleaning changed."""

    mask: np.ndarray  # (I, J, K) bool
    removed: int  # voxels of the smaller pieces
    filled: int  # voxels of the holes


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
    if not mask.any():
        return Cleaned(mask.copy(), 0, 0)
    box = ndimage.find_objects(mask.view(np.int8))[0]
    pieces, _ = ndimage.label(mask[box])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest = pieces == sizes.argmax()
    # Air around the box joins every hollow that is open, so that the rest are holes.
    reaches_air = ndimage.label(np.pad(~largest, 1, constant_values=True))[0]
    whole = (reaches_air != reaches_air[0, 0, 0])[1:-1, 1:-1, 1:-1]
    kept = np.zeros_like(mask)
    kept[box] = whole
    return Cleaned(kept, int(sizes.sum() - sizes.max()), int(whole.sum() - sizes.max()))
