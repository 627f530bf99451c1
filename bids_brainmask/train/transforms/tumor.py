# SPDX-License-Identifier: Apache-2.0
"""Synthetic meningiomas on the dura of a head, and their effect on the brain around them.

A synthetic tumor has the radiological signs of meningiomas (Watts et al. 2014, "Magnetic resonance
imaging of meningiomas: a pictorial review", https://doi.org/10.1007/s13244-013-0302-4): a broad
base on the dura, globose, lobulated or en-plaque growth, strong and even enhancement,
sometimes cysts, calcified or necrotic cores, a dural tail, a cleft of fluid, edema, and a
displaced brain. The label is the whole tumor with its cores, without the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from bids_brainmask.train.transforms import anatomy
from bids_brainmask.train.transforms.anatomy import Anatomy
from bids_brainmask.train.transforms.augment import Example, smooth_field

VOLUMES_ML = (0.2, 60.0)
"""Least and greatest volume of a tumor; the logarithm is uniform between."""

SITES = {"convexity": 0.38, "parasagittal": 0.17, "falx": 0.13, "base": 0.2, "tentorium": 0.12}
"""Sites of meningiomas, with approximate shares in clinical series."""


@dataclass(frozen=True)
class Seed:
    """Where a tumor starts, and the direction of its growth."""

    voxel: np.ndarray  # (3,) int
    inward: np.ndarray  # (3,) unit vector, mm, away from the dura
    site: str


def meningiomas(example: Example, rng: np.random.Generator) -> Example:
    """Grow one to three meningiomas; their label is the example's `lesion`."""
    for _ in range(rng.choice([1, 2, 3], p=[0.75, 0.2, 0.05])):
        low, high = np.log(VOLUMES_ML)
        example = meningioma(example, float(np.exp(rng.uniform(low, high))), rng)
    return example


def meningioma(example: Example, volume_ml: float, rng: np.random.Generator) -> Example:
    """Grow one meningioma.

    Parameters
    ----------
    example : Example
        Its label is a brain.
    volume_ml : float
        Volume to grow to, mL.

    Returns
    -------
    Example
        With the tumor in `lesion`, as the share of each voxel that it fills; unchanged if there
        is no brain, or too little room for the tumor.
    """
    head, white = anatomy.of(example), anatomy.white(example)
    if not head.brain.any():
        return example
    start = seed(head, rng)
    box, radial, allowed, radius = shape(head, start, volume_ml, rng)
    inside = surface(radial, allowed, volume_ml, head.spacing, radius)
    if not (inside > 0).any():
        return example
    image = example.image.copy()
    lesion = np.zeros_like(image) if example.lesion is None else example.lesion.copy()
    outside = ndimage.distance_transform_edt(inside <= 0, head.spacing).astype(np.float32)
    depth = head.depth[box]
    if rng.random() < 0.85:
        push([image, lesion], box, inside, outside, depth, head.spacing, rng)
    part = image[box]
    surround(part, outside, depth, white, volume_ml, rng)
    level = white * np.float32(rng.uniform(1.1, 2.0))
    if rng.random() < 0.6:
        tail(part, head, box, start, outside, level, rng)
    share = np.clip(0.5 + inside / head.spacing.mean(), 0, 1).astype(np.float32)
    part += share * (tissue(inside, volume_ml, level, rng) - part)
    lesion[box] = np.maximum(lesion[box], share)
    return replace(example, image=image, lesion=lesion)


def seed(head: Anatomy, rng: np.random.Generator) -> Seed:
    """Draw a place on the dura, and the direction away from it."""
    site = rng.choice(list(SITES), p=list(SITES.values()))
    shell = np.abs(head.depth + 0.5) < 0.8 * head.spacing.mean() + 0.5
    side = np.abs(head.side)
    behind = (head.forward < 0.42) & (head.depth > 2)
    where = {
        "convexity": shell & (head.height > -0.7),
        "parasagittal": shell & (side < 14) & (head.height > -0.35),
        "falx": (side < head.spacing[0]) & head.brain & (head.height > -0.32) & (head.depth > 4),
        "base": shell & (head.height < -0.45) & (head.forward > 0.2) & (head.height > -0.75),
        "tentorium": (np.abs(head.over_tentorium) < 0.8 * head.spacing[2]) & behind,
    }[site]
    places = np.argwhere(where if where.any() else shell)
    voxel = places[rng.integers(len(places))]
    if site == "falx":
        inward = np.array([rng.choice([-1.0, 1.0]), 0, 0])
    elif site == "tentorium":
        inward = np.array([0, 0, rng.choice([1.0, -1.0], p=[0.65, 0.35])])
    else:
        inward = gradient(head.depth, voxel, head.spacing)
    return Seed(voxel, inward, str(site))


def gradient(depth: np.ndarray, voxel: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Direction into the brain, over about 8 mm around a voxel: a unit vector in mm."""
    reach = np.ceil(8 / spacing).astype(int)
    part = depth[anatomy.around(voxel, reach, depth.shape)]
    slopes = [np.diff(part, axis=axis).mean() / spacing[axis] for axis in range(3)]
    return np.array(slopes) / max(np.linalg.norm(slopes), 1e-6)


def shape(
    head: Anatomy, start: Seed, volume_ml: float, rng: np.random.Generator
) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray, float]:
    """Draw a shape: globose on the dura, or spread along it (en plaque), with random lobulation.

    Returns
    -------
    box : tuple of 3 slice
        Voxels around it, with a margin for its effect on the brain.
    radial : float32 array of the box's shape
        Levels that increase from the tumor's center outward.
    allowed : bool array of the box's shape
        Where it may grow: it does not cross dura, falx and tentorium.
    radius : float
        Approximate distance over which the level increases by one, mm.
    """
    plaque = volume_ml < 25 and rng.random() < 0.25
    aspect = rng.uniform(0.15, 0.4) if plaque else rng.uniform(0.65, 1.1)
    wide = (3000 * volume_ml / (4 * np.pi * 0.75 * aspect)) ** (1 / 3)
    high = wide * aspect
    reach = np.ceil((1.3 * max(wide, high) + 30) / head.spacing).astype(int)
    box = anatomy.around(start.voxel, reach, head.depth.shape)
    axes = zip(np.ogrid[box], start.voxel, head.spacing, strict=True)
    offset = [((a - c) * s).astype(np.float32) for a, c, s in axes]
    along = sum(o * n for o, n in zip(offset, start.inward.astype(np.float32), strict=True))
    across = np.sqrt(np.maximum(sum(o**2 for o in offset) - along**2, 0))
    if plaque:
        along = {
            "falx": np.abs(head.side[box]),
            "tentorium": np.abs(head.over_tentorium[box]),
        }.get(start.site, head.depth[box])
    middle = high * (0.3 if plaque else rng.uniform(0.2, 0.75))
    radial = np.sqrt((across / wide) ** 2 + ((along - middle) / high) ** 2)
    lumps = smooth_field(radial.shape, int(rng.integers(5, 10)), rng)
    radial = radial * (1 + np.float32(rng.uniform(0.03, 0.3)) * lumps)
    return box, radial, compartment(head, start, box, rng), float(np.sqrt(wide * high))


def compartment(
    head: Anatomy, start: Seed, box: tuple[slice, ...], rng: np.random.Generator
) -> np.ndarray:
    """Region that a tumor may grow into from its seed, bool of the box's shape."""
    allowed = head.depth[box] > -rng.uniform(0.5, 2.5)
    side = head.side[box]
    here = float(head.side[tuple(start.voxel)])
    if start.site == "falx":
        if rng.random() < 0.7:
            allowed &= side * np.sign(start.inward[0]) > -1
    elif abs(here) > 4 and start.site != "base":
        allowed &= side * np.sign(here) > 0
    over = head.over_tentorium[box]
    behind = np.broadcast_to(head.forward, head.depth.shape)[box] < 0.42
    if start.site == "tentorium":
        allowed &= over * start.inward[2] > -1
    elif abs(level := float(head.over_tentorium[tuple(start.voxel)])) > 3:
        allowed &= (over * np.sign(level) > 0) | ~behind
    return allowed


def surface(
    radial: np.ndarray, allowed: np.ndarray, volume_ml: float, spacing: np.ndarray, radius: float
) -> np.ndarray:
    """Signed distance from the level set of a shape that has the given volume.

    Returns
    -------
    float32 array
        Approximate distance from the tumor's surface, mm, positive inside; one component.
    """
    count = max(1, round(1000 * volume_ml / np.prod(spacing)))
    levels = radial[allowed]
    if levels.size < count:
        return np.full(radial.shape, -np.inf, np.float32)
    cut = np.partition(levels, count - 1)[count - 1]
    inside = np.where(allowed, (cut - radial) * radius + 1e-3, -np.inf).astype(np.float32)
    components, number = ndimage.label(inside > 0)
    if number > 1:
        largest = np.bincount(components.ravel())[1:].argmax() + 1
        inside[(components != largest) & (inside > -spacing.mean())] = -np.inf
        inside[components == largest] = np.maximum(inside[components == largest], 1e-3)
    return inside


def push(
    fields: Sequence[np.ndarray],
    box: tuple[slice, ...],
    inside: np.ndarray,
    outside: np.ndarray,
    depth: np.ndarray,
    spacing: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Displace the brain away from the tumor; the dura stays in place.

    The fields, the image and lesions grown before, are displaced alike.

    A shell at a distance ``s`` from a sphere of radius ``r`` comes from the shell that enclosed
    the same volume before the sphere grew; part of the volume is displaced fluid.
    """
    filled = inside > 0
    radius = np.cbrt(3 * filled.sum() * np.prod(spacing) / (4 * np.pi))
    yielded = np.float32(rng.uniform(0.3, 0.95))
    shrink = np.cbrt(np.maximum(1 - yielded * (radius / (radius + outside)) ** 3, 0))
    places = zip(depth.shape, spacing, strict=True)
    ends = [np.minimum(np.arange(n), np.arange(n)[::-1]) * size for n, size in places]
    i, j, k = np.ix_(*ends)
    far = np.minimum(np.minimum(i, j), k)  # mm to the end of the box, where nothing may move
    held = np.clip(depth / 8, 0, 1) * np.clip(far / 10, 0, 1) * (outside > 0)
    factor = 1 - (1 - shrink) * held
    middle = np.array(ndimage.center_of_mass(filled), np.float32)
    axes = np.ogrid[tuple(slice(0, n) for n in filled.shape)]
    points = np.stack(
        [(c + (a - c) * factor).astype(np.float32) for a, c in zip(axes, middle, strict=True)]
    )
    for field in fields:
        if field[box].any():
            field[box] = ndimage.map_coordinates(field[box], points, order=1, mode="nearest")


def surround(
    part: np.ndarray,
    outside: np.ndarray,
    depth: np.ndarray,
    white: np.floating,
    volume_ml: float,
    rng: np.random.Generator,
) -> None:
    """Draw a cleft of fluid and edema around a tumor, each in half of the draws."""
    if volume_ml > 1.5 and rng.random() < 0.5:
        reach = rng.uniform(4, 25) * (1 + 0.4 * smooth_field(part.shape, 5, rng))
        share = np.exp(-((outside / np.maximum(reach, 1)) ** 2)) * (part > 0.6 * white)
        part *= 1 - np.float32(rng.uniform(0.1, 0.35)) * share * np.clip((depth - 2) / 3, 0, 1)
    if rng.random() < 0.5:
        cleft = np.clip(1 - np.abs(outside - 1) / 1.5, 0, 1) * (depth > 1) * (outside > 0)
        part *= 1 - np.float32(rng.uniform(0.2, 0.6)) * cleft.astype(np.float32)


def tail(
    part: np.ndarray,
    head: Anatomy,
    box: tuple[slice, ...],
    start: Seed,
    outside: np.ndarray,
    level: np.ndarray | np.floating,
    rng: np.random.Generator,
) -> None:
    """Brighten the dura around the tumor's base, thinner with distance; not part of the label."""
    dura = {"falx": np.abs(head.side[box]), "tentorium": np.abs(head.over_tentorium[box])}
    far = dura.get(start.site, np.abs(head.depth[box] + 0.5))
    thin = rng.uniform(1.0, 2.0) * np.clip(1 - outside / rng.uniform(5, 20), 0, 1)
    patchy = smooth_field(part.shape, 7, rng) > -0.3
    share = np.float32(rng.uniform(0.4, 0.9)) * (
        (far < thin) & patchy & (np.abs(head.depth[box] - 14) < 16)
    )
    part += share * np.maximum(level - part, 0)


def tissue(
    inside: np.ndarray, volume_ml: float, level: np.ndarray | np.floating, rng: np.random.Generator
) -> np.ndarray:
    """Intensities of a tumor: homogeneous, or with a calcified, cystic or necrotic core."""
    size = inside.shape
    found = level * (1 + np.float32(rng.uniform(0.01, 0.08)) * smooth_field(size, 14, rng))
    found += level * np.float32(rng.uniform(0, 0.05)) * rng.standard_normal(size, np.float32)
    if volume_ml > 2 and rng.random() < 0.35:
        patchy = smooth_field(size, int(rng.integers(6, 14)), rng) > rng.uniform(-0.3, 0.9)
        core = patchy & (inside > rng.uniform(1.5, 5))
        found = np.where(core, level * np.float32(rng.uniform(0.1, 0.7)), found)
    return found
