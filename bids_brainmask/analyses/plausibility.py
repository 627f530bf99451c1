# SPDX-License-Identifier: Apache-2.0
"""Whether a mask and the image in it are like a brain, told without the network's probabilities.

A network answers to whatever it is shown, and may be sure of a brain in fruit. What is measured
here does not depend on how sure it was: how large the mask is, what shape it has, how much of it
the field of view cuts off, and whether intensities vary in it as gyri make them vary. Each measure
has a range in which the brains of heads lie, whatever the scanner and the contrast (`LIMITS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import ndimage

from bids_brainmask.voxels import masks
from bids_brainmask.voxels.image import Volume

BLOCK_MM = 3.0
"""Intensities are averaged in blocks of about this side: some 50,000 hold a brain."""

REGION_MM = 6.0
"""Standard deviation of the Gaussian that tells regions of a brain from gyri."""

FEWEST = 50
"""Blocks that a mask must fill for its shape and its intensities to be measured."""


@dataclass(frozen=True)
class Limits:
    """Range in which a measure lies in brains, and what to say of a value beyond it."""

    low: float
    high: float
    below: str
    """Said of a smaller value, with a place for it."""

    above: str
    """Said of a larger one."""

    def reason(self, value: float) -> str:
        """Say what is wrong with a value; nothing where it lies within the range."""
        if value < self.low:
            return self.below.format(value)
        return self.above.format(value) if value > self.high else ""


LIMITS: dict[str, Limits] = {
    "border": Limits(0, 0.08, "", "{:.0%} of the mask's surface is the edge of the image"),
    "fill": Limits(0.91, 0.975, "shape unlike a brain's", "shape smoother than a brain's"),
    "elongation": Limits(1.18, 1.70, "shape too round", "shape too long"),
    "width": Limits(1.0, 1.33, "", "shape too flat"),
    "roughness": Limits(1.58, 1.95, "surface smoother than a brain's", "surface rough"),
    "gyri": Limits(0.05, 0.45, "no gyri in the image", "intensities vary too much"),
}
"""Of each measure but the volume, whose limits are the user's. They are those of good masks of
heads, widened: ``benchmarks/no_heads.py --fit`` finds and prints them."""


def reasons(measures: Mapping[str, float], volume_ml: tuple[float, float]) -> list[str]:
    """Say in words in what a mask is not like a brain's; nothing where it is.

    Parameters
    ----------
    measures : mapping of str to float
        From `measure`; a measure that is not there is passed over.
    volume_ml : tuple of 2 float
        Volumes between which a brain is expected to lie, mL.
    """
    volume = Limits(*volume_ml, "volume of {:.0f} mL is small", "volume of {:.0f} mL is large")
    known = {"volume_ml": volume, **LIMITS}
    found = [one.reason(measures[name]) for name, one in known.items() if name in measures]
    return list(dict.fromkeys(words for words in found if words))


def measure(volume: Volume, mask: np.ndarray) -> dict[str, float]:
    """Measure the shape of a mask and the intensities in it.

    Parameters
    ----------
    volume : Volume
        Image; finite intensities of any unit, axes in any order and direction.
    mask : (I, J, K) bool array
        Not empty.

    Returns
    -------
    dict of str to float
        ``volume_ml``. ``border``: share of the mask's surface that is the edge of the image, in
        [0, 1]. ``roughness``: the surface over that of a ball of the mask's volume, 1.5 for a
        ball of many voxels. ``fill``: the volume over that of the ellipsoid with the same second
        moments, 1 for ellipsoids. ``elongation`` and ``width``: the longest and the middle axis
        of that ellipsoid over the shortest. ``gyri``: standard deviation of intensities, averaged
        in blocks of `BLOCK_MM`, about their smooth part, over their mean. All but the first three
        are left out for a mask of fewer than `FEWEST` blocks.
    """
    spacing = volume.spacing
    size = int(np.count_nonzero(mask)) * float(np.prod(spacing))
    box = cast("tuple[slice, slice, slice]", masks.bounds(mask))
    inside = mask[box]
    roughness = float(masks.roughness(inside, spacing))
    surface = roughness * float(np.cbrt(36 * np.pi * size**2))
    found = {
        "volume_ml": size / 1000,
        "border": area_at_edge(mask, spacing) / surface,
        "roughness": roughness,
    }
    counts = np.minimum(np.maximum(1, np.round(BLOCK_MM / spacing)), inside.shape).astype(int)
    share = blocks(inside, counts)
    if np.count_nonzero(share == 1) < FEWEST:
        return found
    return found | shape(share, counts * spacing) | texture(volume, box, inside, share, counts)


def area_at_edge(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Area of a mask's faces that are the edge of the image, mm²."""
    total = 0.0
    for axis in range(3):
        planes = np.moveaxis(mask, axis, 0)
        faces = int(np.count_nonzero(planes[0])) + int(np.count_nonzero(planes[-1]))
        total += faces * float(np.prod(np.delete(spacing, axis)))
    return total


def blocks(data: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of each block of ``counts`` voxels, float32; what does not fill a block is left out."""
    sizes = [size // count for size, count in zip(data.shape, counts, strict=True)]
    whole = data[tuple(slice(size * count) for size, count in zip(sizes, counts, strict=True))]
    parted = whole.reshape([n for pair in zip(sizes, counts, strict=True) for n in pair])
    return parted.mean((1, 3, 5), dtype=np.float32)


def shape(share: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Compare a mask with the ellipsoid of its second moments.

    Parameters
    ----------
    share : (I, J, K) float32 array
        Of each block that is in the mask.
    spacing : (3,) array
        Sizes of the blocks, mm.
    """
    where = np.argwhere(share > 0) * spacing
    weights = share[share > 0].astype(float)
    spread = np.cov(where.T, aweights=weights, ddof=0) + np.diag(spacing**2) / 12
    variances = np.linalg.eigvalsh(spread)
    ellipsoid = 4 / 3 * np.pi * np.sqrt(5**3 * np.prod(variances))
    return {
        "fill": float(weights.sum() * np.prod(spacing) / ellipsoid),
        "elongation": float(np.sqrt(variances[2] / variances[0])),
        "width": float(np.sqrt(variances[1] / variances[0])),
    }


def texture(
    volume: Volume,
    box: tuple[slice, ...],
    inside: np.ndarray,
    share: np.ndarray,
    counts: np.ndarray,
) -> dict[str, float]:
    """Measure how much intensities vary within the reach of a gyrus.

    The darkest voxel of the image is taken for 0, so that neither an offset nor a factor counts.
    """
    darkest = float(volume.data.min())
    sums = blocks((volume.data[box] - darkest) * inside, counts)
    widths = REGION_MM / (counts * volume.spacing)
    smooth = ndimage.gaussian_filter(sums, widths)
    smooth /= np.maximum(ndimage.gaussian_filter(share, widths), 1e-3)
    whole = share == 1
    level = float(sums[whole].mean(dtype=float))
    gyri = float((sums - smooth)[whole].std(dtype=float))
    return {"gyri": gyri / level if level else 0.0}
