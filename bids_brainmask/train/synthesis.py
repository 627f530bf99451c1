# SPDX-License-Identifier: Apache-2.0
"""Images of heads from label maps: deform, assign intensities, blur, corrupt, scale.

After SynthSeg (Billot et al. 2023, https://doi.org/10.1016/j.media.2023.102789) and SynthStrip
(Hoopes et al. 2022, https://doi.org/10.1016/j.neuroimage.2022.119474). Only a window of 1 mm
voxels is made; the scale, which in use is that of the whole head, comes from a coarse image of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from scipy import ndimage

from bids_brainmask.train import acquisition, distractors, enhancement, growth
from bids_brainmask.train.distractors import Painter
from bids_brainmask.train.label_maps import LabelMap, LabelTable
from bids_brainmask.train.ranges import (
    Anatomy,
    Contrast,
    FieldOfView,
    Synthesis,
    Tumors,
)
from bids_brainmask.train.tissues import CODE, GROUP_OF, TISSUES, UNKNOWN
from bids_brainmask.train.transforms.augment import smooth_field
from bids_brainmask.train.windows import Window, crop, tissues_of
from bids_brainmask.voxels.scaling import levelling

COARSE = 4
"""Voxels of the label map to a voxel of the coarse image, along each axis."""


def draw(
    head: LabelMap,
    table: LabelTable,
    synthesis: Synthesis,
    center: np.ndarray,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    contrast: str = "",
    level: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make the image, the label and the groups of tissues of a window into a head.

    Parameters
    ----------
    head : LabelMap
    table : LabelTable
    synthesis : Synthesis
    center : (3,) array
        World position, mm, of the middle of the window.
    shape : tuple of 3 int
        Voxels of the window, 1 mm each.
    rng : Generator
    contrast : str
        Name of the contrast; one is drawn if empty.
    level : bool
        Scale the brain in half of the images to the level that it has in the network's second
        pass (`bids_brainmask.voxels.scaling.levelling`).

    Returns
    -------
    image : shape float32 array
        Scaled as in use, in [0, 2].
    label : shape float32 array
        In [0, 1], share of each voxel that belongs to the target; where tumors are grown, to them.
    groups : shape int8 array
        Number of each voxel's group in `GROUPS`; `UNKNOWN` in tumors and where the image was set
        to 0.
    """
    names = list(synthesis.contrasts)
    shares = [synthesis.contrasts[name].share for name in names]
    name = contrast or names[rng.choice(len(names), p=shares)]
    kind, tumors = synthesis.contrasts[name], synthesis.tumors
    window = crop(head, table, synthesis, center, shape, rng)
    means = draw_means(kind, table, rng)
    unit = max(means[CODE["white"]], 0.2)
    if tumors and name in tumors.contrasts:
        image, label, tissue, means = with_agent(window, means, kind, table, synthesis, rng)
    else:
        tissue = with_anatomy(window, synthesis.anatomy, rng)
        image = assign_intensities(window, tissue, means, kind, rng)
        image = vary(image, window, synthesis.anatomy, unit, rng)
        label = np.clip(window.depth + 0.5, 0, 1) if not tumors else np.zeros_like(image)
    removed, kept = remove(window, synthesis.field_of_view, rng)
    image[removed], label[removed] = 0, 0
    if kept is not None:
        label = np.minimum(label, kept)
    silent = removed | (
        (window.skin == 0) if rng.random() < synthesis.field_of_view.zero_air else removed
    )
    image, noise = acquisition.acquire(
        image, silent, synthesis.acquisition, unit, kind.noisy_air, rng
    )
    beyond = field_of_view(shape, synthesis.field_of_view, rng)
    low, high = scale_of(head, means, noise, stripped=kept is not None)
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 2)
    image[beyond], label[beyond] = 0, 0
    image = np.clip(image * np.float32(np.exp(rng.normal(0, synthesis.gain))), 0, 2)
    if level and rng.random() < 0.5:
        image = np.clip(image * levelling(image, label > 0.5), 0, 2)
    unseen = removed | beyond | ((label > 0) if tumors else False)
    return image, label, np.where(unseen, UNKNOWN, GROUP_OF[tissue])


def with_agent(
    window: Window,
    means: np.ndarray,
    kind: Contrast,
    table: LabelTable,
    synthesis: Synthesis,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grow tumors and give contrast agent.

    Returns
    -------
    image, label : float32 arrays of the window's shape
        The label is the share of each voxel that is tumor.
    tissue : uint8 array of the window's shape
        Position in `TISSUES`.
    means : float32 array
        As `draw_means`, with the agent.
    """
    ranges = cast("Tumors", synthesis.tumors)
    dose = float(rng.uniform(*ranges.dose))
    window, tumors = growth.grow(window, ranges, rng)
    means = enhancement.enhanced(means, tissues_of(table), ranges, dose, rng)
    tissue = with_anatomy(window, synthesis.anatomy, rng)
    enhancement.harden(tissue, window, tumors, ranges, rng)
    distractors.thicken(tissue, window, ranges.distractors, rng)
    image = assign_intensities(window, tissue, means, kind, rng)
    unit = max(means[CODE["white"]], 0.2)
    image = vary(image, window, synthesis.anatomy, unit, rng)
    Painter(image, tissue, window, means, ranges.distractors, dose, rng).draw()
    enhancement.draw(image, tissue, window, tumors, means, ranges, dose, rng)
    return np.maximum(image, 0), growth.labelled(window, tumors), tissue, means


def draw_means(kind: Contrast, table: LabelTable, rng: np.random.Generator) -> np.ndarray:
    """Draw the mean intensity of each tissue, in the order of `TISSUES`, and then of each label.

    Returns
    -------
    (len(TISSUES) + N,) float32 array
        In a contrast with priors, a label has the mean of its tissue.
    """
    if not kind.tissues:
        tissues = rng.uniform(0, 1, len(TISSUES))
        tissues[CODE["air"]] *= rng.choice([0, 0.1, 1], p=[0.5, 0.35, 0.15])
        labels = tissues[tissues_of(table)]
        own = rng.random(len(labels)) < 0.5
        labels = np.where(own & table.target, rng.uniform(0, 1, len(labels)), labels)
        labels = np.where(table.partner < np.arange(len(labels)), labels[table.partner], labels)
    else:
        white = rng.uniform(0.7, 1.0)
        spans = np.array([kind.tissues.get(name, (1.0, 1.0)) for name in TISSUES])
        tissues = white * rng.uniform(spans[:, 0], spans[:, 1])
        labels = tissues[tissues_of(table)]
    return np.concatenate([tissues, labels]).astype(np.float32)


def with_anatomy(window: Window, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Separate muscle and fat, thin the inner table, add the dura; uint8, like ``tissue``."""
    tissue, shape = window.tissue.copy(), window.shape
    soft = tissue == CODE["muscle"]
    if soft.any():
        field = smooth_field(shape, int(rng.integers(8, 28)), rng)
        fade = np.exp(-np.arange(256, dtype=np.float32) / 6)[window.skin]
        field += np.float32(rng.uniform(*anatomy.subcutaneous)) * fade
        tissue[soft & (field > rng.uniform(*anatomy.fat))] = CODE["fat"]
    near = (window.depth < 0) & (window.depth > -14)
    if rng.random() < anatomy.thin_table:
        patchy = smooth_field(shape, int(rng.integers(4, 9)), rng) > rng.uniform(-2.2, 0.8)
        thin = near & patchy & (window.depth < -rng.uniform(*anatomy.table))
        tissue[thin & (tissue == CODE["bone"])] = CODE["marrow"]
    if rng.random() < anatomy.thick_skull:
        thicken_skull(tissue, window, anatomy, rng)
    if rng.random() < anatomy.dura:
        patchy = smooth_field(shape, int(rng.integers(4, 9)), rng) > rng.uniform(-1.5, 0.7)
        layer = near & patchy & (window.depth > -rng.uniform(*anatomy.dura_thickness))
        tissue[layer & np.isin(tissue, [CODE["bone"], CODE["marrow"], CODE["muscle"]])] = CODE[
            "dura"
        ]
    return tissue


def thicken_skull(
    tissue: np.ndarray, window: Window, anatomy: Anatomy, rng: np.random.Generator
) -> None:
    """Fill the vault with marrow between an inner and an outer table, in place."""
    outer = rng.uniform(*anatomy.skull) + rng.uniform(0.5, 2.5) * smooth_field(
        window.shape, int(rng.integers(4, 9)), rng
    )
    distance = -window.depth
    vault = (distance < outer) & (window.skin > 2) & (window.upward > rng.uniform(0, 40))
    vault &= np.isin(tissue, [CODE[name] for name in ("bone", "marrow", "muscle", "fat")])
    tissue[vault & (distance > rng.uniform(*anatomy.table))] = CODE["marrow"]
    tissue[vault & (distance > outer - rng.uniform(0.5, 2.0))] = CODE["bone"]


def assign_intensities(
    window: Window, tissue: np.ndarray, means: np.ndarray, kind: Contrast, rng: np.random.Generator
) -> np.ndarray:
    """Draw each voxel's intensity about the mean of its label; float32."""
    changed = tissue != window.tissue
    image = means[len(TISSUES) :][window.labels]
    image[changed] = means[tissue[changed]]
    spread = np.float32(rng.uniform(*kind.spread)) * rng.uniform(0.2, 1.5, 2 + len(TISSUES))
    image += spread.astype(np.float32)[tissue] * rng.standard_normal(window.shape, np.float32)
    if rng.random() < kind.voids:
        air = (tissue == CODE["air"]) | (tissue == CODE["mucosa"])
        inner = air & (window.skin > 3)
        lost = ndimage.uniform_filter(inner.astype(np.float32), rng.integers(7, 21)) > rng.uniform(
            0.02, 0.15
        )
        image[lost] *= np.float32(rng.uniform(0, 0.6))
    return np.maximum(image, 0, out=image)


def vary(
    image: np.ndarray, window: Window, anatomy: Anatomy, unit: float, rng: np.random.Generator
) -> np.ndarray:
    """Vary intensities smoothly within tissues, and add a lesion in or beside the target."""
    texture = np.float32(unit * rng.uniform(*anatomy.texture))
    image = image + texture * smooth_field(window.shape, int(rng.integers(8, 40)), rng) * (
        image > 0.1 * unit
    )
    if rng.random() < anatomy.lesion:
        shape = np.array(window.shape)
        radius = rng.uniform(3, 25, 3)
        center = rng.uniform(0.2, 0.8, 3) * shape
        axes = np.ogrid[tuple(slice(0, n) for n in shape)]
        radial = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, center, radius, strict=True))
        lesion = (radial < 1 + 0.4 * smooth_field(window.shape, 8, rng)) & (
            window.depth > -rng.uniform(0, 6)
        )
        share = np.float32(rng.uniform(0.5, 1))
        image[lesion] += share * (np.float32(unit * rng.uniform(0, 2)) - image[lesion])
    return np.maximum(image, 0, out=image)


def remove(
    window: Window, ranges: FieldOfView, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Region of the head that is set to 0: its face, or all but the target.

    Returns
    -------
    removed : (I, J, K) bool array
    kept : (I, J, K) float32 array or None
        Share of the label that stripping keeps, in [0, 1]; None without stripping.
    """
    if rng.random() < ranges.strip:
        border = rng.uniform(*ranges.border)
        kept = np.clip(window.depth + np.float32(border + 0.5), 0, 1)
        return window.depth < -border, kept
    if rng.random() >= ranges.deface:
        return np.zeros(window.shape, bool), None
    far = window.depth < -rng.uniform(0.5, 6)
    if rng.random() < 0.5:  # a plane facing forward and down
        angle = rng.uniform(-0.2, 1.2)
        toward = np.cos(angle) * window.forward - np.sin(angle) * window.upward
        return far & (toward > rng.uniform(45, 85)), None
    face = (window.forward > rng.uniform(10, 50)) & (window.upward < rng.uniform(-20, 40))
    return far & face & (window.skin < rng.uniform(5, 40)), None


def field_of_view(
    shape: Sequence[int], ranges: FieldOfView, rng: np.random.Generator
) -> np.ndarray:
    """Draw planes where the field of view ends; bool, True beyond them."""
    beyond = np.zeros(shape, bool)
    for _ in range(3):
        if rng.random() >= ranges.ends:
            break
        axis = int(rng.integers(3))
        place = [slice(None)] * 3
        at = int(rng.uniform(0, 0.45) * shape[axis])
        place[axis] = slice(0, at) if rng.random() < 0.5 else slice(shape[axis] - at, None)
        beyond[tuple(place)] = True
    return beyond


def scale_of(
    head: LabelMap, means: np.ndarray, noise: float, *, stripped: bool
) -> tuple[float, float]:
    """Levels that `scaling.scale_robustly` maps to 0 and 1, from a coarse image of the head.

    The coarse image is not deformed.
    """
    arrays = head.arrays()
    some = (slice(None, None, COARSE),) * 3
    image = means[len(TISSUES) :][arrays["labels"][some]]
    if stripped:
        image = np.where(arrays["depth"][some] > 0, image, 0)
    image = np.hypot(image, np.float32(noise))
    low = image.min()
    bright = image[image > image.mean()]
    return float(low), float(np.percentile(bright, 98)) if bright.size else float(low + 1)
