# SPDX-License-Identifier: Apache-2.0
"""Augmentation of real heads in steps; each is a function of an example and a generator.

Steps change intensities and the field of view on the scan's own voxels, where that is fast; then
`bids_brainmask.train.transforms.geometry` resamples image and label in a random window, and noise
comes last. The ranges are wider than real data, after SynthSeg (Billot et al. 2023,
https://doi.org/10.1016/j.media.2023.102789) and SynthStrip (Hoopes et al. 2022,
https://doi.org/10.1016/j.neuroimage.2022.119474).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from bids_brainmask.voxels import masks


@dataclass(frozen=True)
class Example:
    """An image and its label, each on its own grid; axes are those nearest to R, A and S.

    A step that thickens slices changes the image's grid and leaves the label's.
    """

    image: np.ndarray  # (I, J, K) float32, about [0, 1], air about 0
    affine: np.ndarray  # (4, 4), of the image, to RAS+ mm
    label: np.ndarray  # (X, Y, Z) float32, in [0, 1]
    label_affine: np.ndarray  # (4, 4), of the label
    depth: np.ndarray  # (X, Y, Z) float32, mm inside (+) or outside (-) the label's outline
    lesion: np.ndarray | None = None  # (X, Y, Z) float32, in [0, 1]: grown lesions; None: none

    @property
    def spacing(self) -> np.ndarray:
        """Voxel sizes of the image, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def smooth_field(shape: Sequence[int], knots: int, rng: np.random.Generator) -> np.ndarray:
    """Interpolate white noise on a coarse lattice to `shape`; about zero and of unit variance.

    Parameters
    ----------
    shape : tuple of 3 int
    knots : int
        Lattice points along each axis, at least 2.

    Returns
    -------
    (I, J, K) float32 array
    """
    field = rng.standard_normal((knots,) * 3).astype(np.float32)
    for axis, size in enumerate(shape):
        position = np.linspace(0, knots - 1, size, dtype=np.float32)
        low = np.minimum(position.astype(int), knots - 2)
        share = (position - low).astype(np.float32)
        share = share.reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(low, axis) * (1 - share) + field.take(low + 1, axis) * share
    return field


def strip(example: Example, rng: np.random.Generator) -> Example:
    """Keep the brain only, exactly or with a margin, as in a scan that was stripped before."""
    kept = example.depth > rng.choice([0.0, rng.uniform(-2, 4)])
    label, lesion = kept.astype(np.float32), example.lesion
    lesion = None if lesion is None else lesion * kept
    return replace(example, image=example.image * kept, label=label, lesion=lesion)


def cut_neck(example: Example, rng: np.random.Generator) -> Example:
    """End the field of view below the brain."""
    low, _ = bounds(example.label > 0.5)
    end = max(0, low[2] - int(rng.uniform(-2, 30) / example.spacing[2]))
    return cut(example, slice(None, end))


def cut_crown(example: Example, rng: np.random.Generator) -> Example:
    """End the field of view near the top of the head, sometimes below the top of the brain."""
    _, high = bounds(example.label > 0.5)
    top = max(0, high[2] - int(rng.uniform(-10, 25) / example.spacing[2]))
    return cut(example, slice(top, None))


def cut(example: Example, slices: slice) -> Example:
    """Set axial slices of an image and its labels to 0."""
    image, label = example.image.copy(), example.label.copy()
    lesion = None if example.lesion is None else example.lesion.copy()
    for values in (image, label, lesion):
        if values is not None:
            values[:, :, slices] = 0
    return replace(example, image=image, label=label, lesion=lesion)


def deface(example: Example, rng: np.random.Generator) -> Example:
    """Set a wedge in front of and below the brain to 0; the brain stays complete."""
    low, high = bounds(example.label > 0.5)
    front = np.arange(example.image.shape[1])[:, None] - rng.uniform(0.5, 0.9) * high[1]
    floor = np.arange(example.image.shape[2]) - low[2] - rng.uniform(0, 0.35) * (high - low)[2]
    wedge = (front > 0) & (floor < front * rng.uniform(0, 0.9))
    image = example.image.copy()
    image[wedge & (example.depth < -rng.uniform(0, 4))] = 0
    return replace(example, image=image)


def blank(example: Example, rng: np.random.Generator) -> Example:
    """Set the background to 0: all air, or all voxels beyond a distance from the brain."""
    if rng.random() < 0.5:
        smooth = ndimage.uniform_filter(example.image, 3)
        gone = (smooth < rng.uniform(0.02, 0.1)) & (example.depth < -5)
    else:
        gone = example.depth < -rng.uniform(3, 30)
    return replace(example, image=np.where(gone, np.float32(0), example.image))


def lesion(example: Example, rng: np.random.Generator) -> Example:
    """Add one to three irregular spheres in or beside the brain; the label stays."""
    image = example.image.copy()
    near = np.argwhere(example.depth[::3, ::3, ::3] > rng.uniform(-12, 10)) * 3
    for _ in range(rng.integers(1, 4) if len(near) else 0):
        radius = rng.uniform(3, 26) / example.spacing
        center = near[rng.integers(len(near))]
        reach = (radius * 1.6).astype(int) + 1
        low = np.maximum(center - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, center + reach + 1, strict=True))
        part = image[box]
        axes = zip(np.ogrid[tuple(slice(0, n) for n in part.shape)], low, center, radius)  # noqa: B905
        radial = np.sqrt(sum(((along + a - c) / r) ** 2 for along, a, c, r in axes))
        radial = radial / (1 + 0.3 * smooth_field(part.shape, 4, rng))
        part[radial < 1] = 0.3 * part[radial < 1] + np.float32(rng.uniform(0, 1.05))
        if rng.random() < 0.4:  # a core, like that of a cyst or a necrosis
            part[radial < rng.uniform(0.3, 0.9)] = np.float32(rng.uniform(0, 1.2))
    return replace(example, image=image)


def enhance(example: Example, rng: np.random.Generator) -> Example:
    """Brighten tissue that a contrast agent enhances: dura, sinuses around the brain, mucosa."""
    shape = example.image.shape
    patchy = smooth_field(shape, int(rng.integers(6, 14)), rng) > rng.uniform(-0.5, 1.0)
    bright = patchy & (example.depth < -0.5) & (example.depth > -rng.uniform(2, 9))
    if rng.random() < 0.5:
        tissue = (example.image > 0.25) & (example.depth < -15)
        bright |= tissue & (smooth_field(shape, 8, rng) > 0.7)
    level, share = np.float32(rng.uniform(0.9, 1.6)), np.float32(rng.uniform(0.5, 1.0))
    enhanced = example.image + share * (level - example.image)
    return replace(example, image=np.where(bright, enhanced, example.image))


def marrow(example: Example, rng: np.random.Generator) -> Example:
    """Fill patches of the skull with marrow as bright as brain, outside a dark inner table."""
    shape, outward = example.image.shape, -example.depth
    start = rng.uniform(1.5, 4)
    patchy = smooth_field(shape, int(rng.integers(4, 9)), rng) > rng.uniform(-0.7, 0.7)
    table = patchy & (outward > max(0.5, start - 2)) & (outward <= start)
    filled = patchy & (outward > start) & (outward < start + rng.uniform(3, 12))
    level = np.float32(rng.uniform(0.5, 1.3))
    fat = level * (1 + np.float32(0.15) * smooth_field(shape, 32, rng))
    image = np.where(table, example.image * np.float32(rng.uniform(0.1, 0.6)), example.image)
    return replace(example, image=np.where(filled, np.maximum(fat, 0), image))


def recolour(example: Example, rng: np.random.Generator) -> Example:
    """Give tissues another contrast: a random curve of intensities.

    In half of the draws, target and rest have different curves. The air stays dark in three
    images of four.
    """
    found = curve(example.image, random_curve(rng))
    if rng.random() < 0.5:
        inside = curve(example.image, random_curve(rng))
        found += example.label * (inside - found)
    if rng.random() < 0.75:
        found *= np.minimum(example.image / np.float32(rng.uniform(0.02, 0.08)), 1)
    return replace(example, image=found)


def curve(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Map intensities in [0, 1.5] by a piecewise linear curve with equidistant knots."""
    scaled = np.clip(image, 0, 1.499) * np.float32((len(values) - 1) / 1.5)
    low = scaled.astype(np.uint8)
    values = values.astype(np.float32)
    return values[low] + np.diff(values)[low] * (scaled - low)


def random_curve(rng: np.random.Generator) -> np.ndarray:
    """Draw seven knots of a curve of intensities: random ones, or about the inverse contrast."""
    if rng.random() < 0.35:
        return np.linspace(1.1, 0.1, 7) + rng.normal(0, 0.08, 7)
    return rng.uniform(0, 1.2, 7)


def invert(example: Example, rng: np.random.Generator) -> Example:
    """Invert the contrast of the head, bones included; the air around it stays dark."""
    smooth = ndimage.uniform_filter(example.image, 5)
    head = (smooth > rng.uniform(0.05, 0.15)) | (example.depth > -rng.uniform(6, 16))
    top, share = np.float32(rng.uniform(0.9, 1.3)), np.float32(rng.uniform(0.65, 1.0))
    values = np.clip(example.image, 0, top)
    mixed = share * (top - values) + (1 - share) * values
    return replace(example, image=np.where(head, mixed, example.image))


def gamma(example: Example, rng: np.random.Generator) -> Example:
    """Apply a random gamma curve."""
    power = np.float32(np.exp(rng.normal(0, 0.25)))
    return replace(example, image=np.clip(example.image, 0, 2) ** power)


def shade(example: Example, rng: np.random.Generator) -> Example:
    """Multiply by a bias field."""
    field = smooth_field(example.image.shape, int(rng.integers(2, 5)), rng)
    shaded = example.image * np.exp(np.float32(rng.uniform(0, 0.6)) * field)
    return replace(example, image=shaded)


def ghost(example: Example, rng: np.random.Generator) -> Example:
    """Add a faint copy, shifted along one axis, as motion does."""
    axis = int(rng.integers(0, 3))
    shift = int(example.image.shape[axis] * rng.uniform(0.1, 0.5))
    copy = np.roll(example.image, shift, axis)
    return replace(example, image=example.image + np.float32(rng.uniform(0.03, 0.2)) * copy)


def sharpen(example: Example, rng: np.random.Generator) -> Example:
    """Sharpen or blur detail of three voxels."""
    smooth = ndimage.uniform_filter(example.image, 3)
    blurred = example.image + np.float32(rng.uniform(-1.0, 0.9)) * (smooth - example.image)
    return replace(example, image=np.maximum(blurred, 0))


def thicken(example: Example, rng: np.random.Generator) -> Example:
    """Average slices to 2 to 6.5 mm along one axis, unless fewer than eight would be left."""
    axis = int(rng.integers(0, 3))
    step = max(2, round(rng.uniform(2, 6.5) / example.spacing[axis]))
    count = example.image.shape[axis] // step
    if count < 8:
        return example
    slices = np.moveaxis(example.image, axis, 0)[: count * step]
    thick = slices.reshape(count, step, *slices.shape[1:]).mean(1, dtype=np.float32)
    affine = example.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (step - 1) / 2
    affine[:3, axis] *= step
    return replace(example, image=np.moveaxis(thick, 0, axis), affine=affine)


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise as in a magnitude image, up to 14 %; in half of the draws not to air."""
    added = rng.standard_normal(image.shape, np.float32)
    added *= np.float32(rng.uniform(0, 0.14) * rng.random())
    if rng.random() < 0.5:
        added *= image > 0.02
    return np.abs(image + added)


def bounds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First voxel of a mask along each axis, and the one after the last.

    The whole grid for an empty mask.
    """
    box = masks.bounds(mask) or tuple(slice(0, size) for size in mask.shape)
    return np.array([side.start for side in box]), np.array([side.stop for side in box])
