# SPDX-License-Identifier: Apache-2.0
"""Intensities of tumors and of what lies beside them, in an image with contrast agent."""

from __future__ import annotations

import numpy as np

from bids_brainmask.train.growth import SHEETS, Tumor
from bids_brainmask.train.ranges import Core, Tumors
from bids_brainmask.train.tissues import CODE, TISSUES
from bids_brainmask.train.transforms.augment import smooth_field
from bids_brainmask.train.windows import Window

CORES_FROM = 2.0
"""Volume from which tumors have cores, mL."""


def enhanced(
    means: np.ndarray,
    positions: np.ndarray,
    ranges: Tumors,
    dose: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Raise the mean intensity of each tissue that takes up contrast agent, each by itself.

    Parameters
    ----------
    means : (len(TISSUES) + N,) float32 array
        As `synthesis.draw_means` returns them.
    positions : (N,) uint8 array
        Position of each label's tissue in `TISSUES`.
    ranges : Tumors
    dose : float
        Factor on what enhancement adds to white matter's level.
    rng : Generator
    """
    means, white = means.copy(), means[CODE["white"]]
    for tissue, uptake in ranges.enhance.items():
        if rng.random() >= uptake.chance:
            continue
        level = white * np.float32(1 + dose * (rng.uniform(*uptake.level) - 1))
        number = CODE[tissue]
        own = np.flatnonzero(positions == number) + len(TISSUES)
        for place in (number, *own):
            means[place] = max(means[place], level)
    return means


def harden(
    tissue: np.ndarray,
    window: Window,
    tumors: list[Tumor],
    ranges: Tumors,
    rng: np.random.Generator,
) -> None:
    """Make bone beside tumors thick and without marrow, in some of them; in place."""
    for tumor in tumors:
        if tumor.site in SHEETS or rng.random() >= ranges.hyperostosis:
            continue
        part, depth = tissue[tumor.box], window.depth[tumor.box]
        mean = rng.uniform(*ranges.hyperostosis_reach)
        reach = mean * (1 + 0.3 * smooth_field(part.shape, 5, rng))
        near = (tumor.outside < reach) & (depth < -0.5) & (depth > -reach)
        soft = np.isin(part, [CODE[name] for name in ("marrow", "muscle", "fat")])
        part[near & soft & (window.skin[tumor.box] > 2)] = CODE["bone"]


def draw(
    image: np.ndarray,
    tissue: np.ndarray,
    window: Window,
    tumors: list[Tumor],
    means: np.ndarray,
    ranges: Tumors,
    dose: float,
    rng: np.random.Generator,
) -> None:
    """Draw tumors and what is beside them; in place."""
    levels = [
        np.float32(means[CODE["white"]] * (1 + dose * (rng.uniform(*ranges.level) - 1)))
        for _ in tumors
    ]
    for tumor, level in zip(tumors, levels, strict=True):
        surround(image, tissue, window, tumor, means, ranges, level, rng)
    for tumor, level in zip(tumors, levels, strict=True):
        fill(image, tumor, means, ranges, level, rng)


def surround(
    image: np.ndarray,
    tissue: np.ndarray,
    window: Window,
    tumor: Tumor,
    means: np.ndarray,
    ranges: Tumors,
    level: np.float32,
    rng: np.random.Generator,
) -> None:
    """Draw oedema, a cleft of fluid, and the tail of the dura, each by its chance; in place."""
    part, kinds, depth = image[tumor.box], tissue[tumor.box], window.depth[tumor.box]
    outside = tumor.outside
    if rng.random() < ranges.oedema:
        reach = rng.uniform(*ranges.oedema_reach) * (1 + 0.4 * smooth_field(part.shape, 5, rng))
        share = np.exp(-((outside / np.maximum(reach, 1)) ** 2)) * (outside > 0)
        white = np.isin(kinds, [CODE["white"], CODE["cerebellum"]]) & (depth > 1)
        part *= 1 - np.float32(rng.uniform(*ranges.oedema_loss)) * (share * white)
    if rng.random() < ranges.cleft:
        share = np.clip(1 - np.abs(outside - 1) / 1.5, 0, 1) * (depth > 1.5) * (outside > 0)
        share = (np.float32(rng.uniform(0.3, 1)) * share).astype(np.float32)
        part += share * (means[CODE["csf"]] - part)
    if rng.random() < ranges.tail:
        fields = {"falx": window.falx, "tentorium": window.tentorium}
        field = fields.get(tumor.site)
        far = np.abs(depth + 0.5) if field is None else np.abs(field[tumor.box]) / 2
        length = rng.uniform(*ranges.tail_length)
        thin = rng.uniform(*ranges.tail_thickness) * np.clip(1 - outside / length, 0, 1)
        patchy = smooth_field(part.shape, 7, rng) > -0.5
        if field is not None:
            patchy &= window.sheet[tumor.box] == SHEETS[tumor.site]
        share = np.float32(rng.uniform(0.4, 1.0)) * ((far < thin) & patchy & (outside > 0))
        part += share * np.maximum(level - part, 0)


def fill(
    image: np.ndarray,
    tumor: Tumor,
    means: np.ndarray,
    ranges: Tumors,
    level: np.float32,
    rng: np.random.Generator,
) -> None:
    """Draw a tumor: even, or with a calcified, cystic or necrotic core; in place."""
    part, size = image[tumor.box], tumor.inside.shape
    texture = np.float32(rng.uniform(*ranges.texture))
    found = level * (1 + texture * smooth_field(size, 14, rng))
    found += level * np.float32(0.5) * texture * rng.standard_normal(size, np.float32)
    core: Core | None = None
    drawn = rng.random()
    for name, chance in ranges.cores.items():
        drawn -= chance.chance
        if drawn < 0:
            core = name
            break
    if core and tumor.volume_ml > CORES_FROM:
        dark = means[CODE["white"]] * np.float32(rng.uniform(*ranges.cores[core].level))
        rough = {"calcified": (9, 16), "cystic": (4, 7), "necrotic": (6, 12)}[core]
        patchy = smooth_field(size, int(rng.integers(*rough)), rng) > rng.uniform(-0.3, 0.9)
        depth = tumor.inside - np.float32(rng.uniform(1.0, 4.0))
        found = np.where(patchy & (depth > 0), dark, found)
    part += tumor.share * (found - part)
