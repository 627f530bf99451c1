# SPDX-License-Identifier: Apache-2.0
"""Whether a mask and the image in it are like a brain, told without the network's probabilities.

A network answers to whatever it is shown, and may be sure of a brain in fruit. What is measured
here does not depend on how sure it was: how large the mask is, what shape it has, how much of it
the field of view cuts off, and whether the intensities in it vary as those of a brain: by gyri, in
two similar halves, without much noise. Each measure has a range in which the brains of heads lie,
whatever the scanner and the contrast (`LIMITS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy

from bids_brainmask.voxels import masks
from bids_brainmask.voxels.image import Volume

BLOCK_MM = 3.0
"""Intensities are averaged in blocks of about this side: some 50,000 hold a brain."""

REGION_MM = 6.0
"""Standard deviation of the Gaussian that tells regions of a brain from gyri."""

LOBE_MM = 20.0
"""Standard deviation of the Gaussian that removes bias fields before halves are compared."""

STRUCTURE_MM = 3.0
"""Standard deviation of the Gaussian that removes noise before halves are compared."""

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


UNLIKE, SYMMETRIC = "shape unlike a brain's", "shape more symmetric than a brain's"

LIMITS: dict[str, Limits] = {
    "border": Limits(0, 0.08, "", "{:.0%} of the mask's surface is the edge of the image"),
    "removed": Limits(0, 0.2, "", "other parts, {:.0%} of the mask's volume, were removed"),
    "fill": Limits(0.91, 0.975, UNLIKE, "shape smoother than a brain's"),
    "elongation": Limits(1.18, 1.70, "shape too round", "shape too long"),
    "width": Limits(1.0, 1.33, "", "shape too flat"),
    "mirror": Limits(0.80, 0.935, UNLIKE, SYMMETRIC),
    "point": Limits(0.79, 0.90, UNLIKE, SYMMETRIC),
    "roughness": Limits(1.58, 1.95, "surface smoother than a brain's", "surface rough"),
    "gyri": Limits(0.05, 0.45, "no gyri in the image", "intensities vary too much"),
    "halves": Limits(0.3, 1, "left and right half of the image differ", ""),
    "depth": Limits(0, 0.75, "", "intensities follow the distance to the mask's surface"),
    "noise": Limits(0, 0.42, "", "adjacent voxels differ as in noise"),
}
"""Of each measure but the volume, whose limits are the user's. They are those of good masks of
heads, widened; ``benchmarks/no_heads.py --fit`` prints those of training heads."""


TEXTURE = ("gyri", "depth", "noise")
"""Measures of the intensities in a mask."""


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
    limits = {"volume_ml": volume, **LIMITS}
    found = [one.reason(measures[name]) for name, one in limits.items() if name in measures]
    return list(dict.fromkeys(words for words in found if words))


def is_object(measures: Mapping[str, float], volume_ml: tuple[float, float]) -> bool:
    """Whether it is no head, by measures that do not need an exact mask.

    An object is smaller than half of the smallest brain that is expected, it is smoother than any
    brain, or the intensities in it are not a brain's. Parameters as in `reasons`.
    The mask of a head that the network knows badly is rough, and has a brain's intensities.
    """
    smooth = measures.get("fill", 0) > LIMITS["fill"].high
    smooth |= measures["roughness"] < LIMITS["roughness"].low
    if smooth or measures["volume_ml"] < volume_ml[0] / 2:
        return True
    return any(LIMITS[name].reason(measures[name]) for name in TEXTURE if name in measures)


def measure(volume: Volume, mask: np.ndarray, removed: int = 0) -> dict[str, float]:
    """Measure the shape of a mask and the intensities in it.

    Parameters
    ----------
    volume : Volume
        Image; finite intensities of any unit, axes in any order and direction.
    mask : (I, J, K) bool array
        Not empty.
    removed : int
        Voxels of other components that were removed from the mask.

    Returns
    -------
    dict of str to float
        ``volume_ml``. ``border``: share of the mask's surface that is the edge of the image, in
        [0, 1]. ``removed``: volume that was removed over that of the mask. ``roughness``: the
        surface over that of a sphere of the mask's volume, 1.5 for one of many voxels. Then what
        `shape`, `texture` and `noise` give; it is left out for a mask of fewer than `FEWEST`
        blocks.
    """
    spacing = volume.spacing
    count = int(np.count_nonzero(mask))
    size = count * float(np.prod(spacing))
    box = cast("tuple[slice, slice, slice]", masks.bounds(mask))
    inside = mask[box]
    roughness = float(masks.roughness(inside, spacing))
    surface = roughness * float(np.cbrt(36 * np.pi * size**2))
    found = {
        "volume_ml": size / 1000,
        "border": area_at_edge(mask, spacing) / surface,
        "removed": removed / count,
        "roughness": roughness,
    }
    counts = np.minimum(np.maximum(1, np.round(BLOCK_MM / spacing)), inside.shape).astype(int)
    share = masks.block_means(inside, counts)
    if np.count_nonzero(share == 1) < FEWEST:
        return found
    data, darkest = volume.data[box], volume.data.min()  # neither offset nor factor counts
    sums, total = [], 0.0
    for start in range(0, len(data), counts[0]):  # a layer of blocks, without a copy of the whole
        layer = slice(start, start + counts[0])
        bright = (data[layer] - darkest) * inside[layer]
        total += float(bright.sum(dtype=float))
        sums.append(masks.block_means(bright, counts))
    body = Body(share, np.concatenate(sums), counts * spacing)
    return found | shape(body) | texture(body) | {"noise": noise(data, inside, total / count)}


@dataclass(frozen=True)
class Body:
    """A mask and the intensities in it, in blocks."""

    share: np.ndarray  # (I, J, K) float32, in the mask
    sums: np.ndarray  # (I, J, K) float32: mean over a block, voxels outside the mask counting as 0
    spacing: np.ndarray  # (3,), mm

    @property
    def whole(self) -> np.ndarray:
        """Blocks that lie in the mask as a whole, (I, J, K) bool."""
        return self.share == 1

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centroid, mm, principal variances, mm², from small to large, and directions (3, 3)."""
        where = np.argwhere(self.share > 0) * self.spacing
        weights = self.share[self.share > 0].astype(float)
        spread = np.cov(where.T, aweights=weights, ddof=0) + np.diag(self.spacing**2) / 12
        return np.average(where, axis=0, weights=weights), *np.linalg.eigh(spread)

    def smoothed(self, width: float) -> np.ndarray:
        """Intensities, averaged over neighbors in the mask by a Gaussian of a width, mm."""
        widths = width / self.spacing
        weights = np.maximum(scipy.ndimage.gaussian_filter(self.share, widths), 1e-3)
        return scipy.ndimage.gaussian_filter(self.sums, widths) / weights

    def at(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Interpolate blocks linearly at places (N, 3), mm; 0 beyond the array."""
        return scipy.ndimage.map_coordinates(values, (places / self.spacing).T, order=1)


def area_at_edge(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Area of a mask's faces that are the edge of the image, mm²."""
    total = 0.0
    for axis in range(3):
        planes = np.moveaxis(mask, axis, 0)
        faces = int(np.count_nonzero(planes[0])) + int(np.count_nonzero(planes[-1]))
        total += faces * float(np.prod(np.delete(spacing, axis)))
    return total


def shape(body: Body) -> dict[str, float]:
    """Compare a mask with the ellipsoid of its second moments, and with its mirror images.

    Returns
    -------
    dict of str to float
        ``fill``: the volume over that of the ellipsoid with the same second moments, 1 for
        ellipsoids. ``elongation`` and ``width``: the longest and the middle axis of that
        ellipsoid over the shortest. ``mirror``: Dice of the mask and its mirror image along the
        longest axis, about the centroid. ``point``: Dice of the mask and its point reflection.
    """
    share = body.share
    center, variances, directions = body.axes()
    ellipsoid = 4 / 3 * np.pi * np.sqrt(5**3 * np.prod(variances))
    where, weights = np.argwhere(share > 0) * body.spacing, share[share > 0]
    total = float(weights.sum(dtype=float))

    def overlap(places: np.ndarray) -> float:
        return float(np.minimum(body.at(share, places), weights).sum(dtype=float)) / total

    return {
        "fill": total * float(np.prod(body.spacing)) / float(ellipsoid),
        "elongation": float(np.sqrt(variances[2] / variances[0])),
        "width": float(np.sqrt(variances[1] / variances[0])),
        "mirror": overlap(mirrored(where, center, directions[:, 2])),
        "point": overlap(2 * center - where),
    }


def mirrored(places: np.ndarray, center: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Mirror places (N, 3) along a direction of length 1, about a plane through a center."""
    return places - 2 * np.outer((places - center) @ direction, direction)


def texture(body: Body) -> dict[str, float]:
    """Measure how intensities vary in a mask.

    Returns
    -------
    dict of str to float
        ``gyri``: standard deviation of intensities, averaged in blocks of `BLOCK_MM`, about their
        smooth part (`REGION_MM`), over their mean; 0 for an image of one value. ``depth``: share
        of the variance of the blocks that their distance to the mask's surface, in steps of
        `BLOCK_MM`, explains. ``halves``: correlation of the image with its mirror image, both
        smoothed (`STRUCTURE_MM`) and without a smooth part (`LOBE_MM`), along that axis of the
        image or principal axis of the mask for which it is largest. The last two are left out
        where nothing varies.
    """
    whole = body.whole
    values = body.sums[whole].astype(float)
    level, variance = float(values.mean()), float(values.var())
    if variance <= (1e-6 * level) ** 2:
        return {"gyri": 0.0}
    distances = scipy.ndimage.distance_transform_edt(np.pad(body.share >= 0.5, 1), body.spacing)
    step = (distances[1:-1, 1:-1, 1:-1][whole] / BLOCK_MM).astype(int)
    means = np.bincount(step, values) / np.maximum(np.bincount(step), 1)
    return {
        "gyri": float((values - body.smoothed(REGION_MM)[whole]).std()) / level,
        "depth": float(means[step].var()) / variance,
        "halves": halves(body),
    }


def halves(body: Body) -> float:
    """Correlate the intensities in a mask with their mirror image; see `texture`."""
    detail = body.smoothed(STRUCTURE_MM) - body.smoothed(LOBE_MM)
    detail[body.share < 0.5] = 0
    places, here = (values[::3] for values in (np.argwhere(body.whole), detail[body.whole]))
    places = places * body.spacing
    center, _, directions = body.axes()
    found = [0.0]
    for direction in (*directions.T, *np.eye(3)):
        there = mirrored(places, center, direction)
        both = body.at(body.share, there) > 0.9
        pair = here[both], body.at(detail, there)[both]
        if both.any() and all(side.std() > 0 for side in pair):
            found.append(float(np.corrcoef(*pair)[0, 1]))
    return max(found)


def noise(data: np.ndarray, inside: np.ndarray, level: float) -> float:
    """Median difference of adjacent voxels in a mask, over the level of the image.

    Of the three axes that along which it is smallest. A fourth of the voxels is taken.

    Parameters
    ----------
    data : (I, J, K) float array
    inside : (I, J, K) bool array
    level : float
        Mean of the voxels in the mask above the darkest voxel of the image.
    """
    found = []
    for axis in range(3):
        values, here = (np.moveaxis(a, axis, 0)[:, ::2, ::2] for a in (data, inside))
        steps = np.abs(np.diff(values, axis=0))[here[1:] & here[:-1]]
        if steps.size:
            middle = [(steps.size - 1) // 2, steps.size // 2]
            found.append(float(np.partition(steps, middle)[middle].mean()))
    return min(found) / level if found and level else 0.0
