# SPDX-License-Identifier: Apache-2.0
"""Simulate a contrast agent: enhancement of normal tissue and of lesions that are no meningioma.

Steps for examples whose label is a brain. None of them changes the label: a network for
meningiomas must learn to ignore this enhancement. The enhancing structures follow
Sartor 1999, "MR imaging of the brain: tumors" (https://doi.org/10.1007/s003300050841), and the
anatomy of dural sinuses, choroid plexus,
pituitary and mucosa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from bids_brainmask.train.transforms import anatomy
from bids_brainmask.train.transforms.anatomy import Anatomy
from bids_brainmask.train.transforms.augment import Example, smooth_field


def contrast(example: Example, rng: np.random.Generator) -> Example:
    """Enhance sinuses, vessels, choroid plexus, pituitary, mucosa and dura.

    Half of the images also get the low contrast of gray and white matter of a spin echo.
    """
    head, white = anatomy.of(example), anatomy.white(example)
    image = example.image
    if rng.random() < 0.5:
        flat = np.float32(0.85) * white
        tissue = head.brain & (image > 0.55 * white)
        image = np.where(tissue, image + np.float32(rng.uniform(0, 0.7)) * (flat - image), image)
    dark = example.image < 0.6 * white
    share = np.zeros(image.shape, np.float32)
    parts = [
        (sinuses(head, rng), rng.uniform(0.7, 1.0)),
        (vessels(head, dark, example.image > 0.15 * white, rng), rng.uniform(0.4, 1.0)),
        (plexus(head, dark, rng), rng.uniform(0.5, 1.0)),
        (pituitary(head, rng), rng.uniform(0.5, 1.0)),
        (mucosa(head, example.image > 0.25 * white, rng), rng.uniform(0.3, 0.9)),
        (dura(head, rng), rng.uniform(0.2, 0.8)),
    ]
    for where, strength in parts:
        share = np.maximum(share, np.float32(strength) * where)
    if example.spacing.max() < 1.6:  # edges not sharper than the voxels
        share = ndimage.gaussian_filter(share, 0.5)
    bright = white * np.float32(rng.uniform(1.1, 2.0))
    level = bright * (1 + np.float32(0.08) * smooth_field(image.shape, 12, rng))
    return replace(example, image=image + share * np.maximum(level - image, 0))


def sinuses(head: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Sagittal, straight, transverse and cavernous sinuses, (I, J, K) bool."""
    side, depth = np.abs(head.side), head.depth
    under = rng.uniform(1, 5)
    wide = rng.uniform(2.5, 6)
    front = (head.height > -0.42) | (head.forward < 0.3)
    sagittal = (side < wide) & (depth > -4) & (depth < under) & front & (head.height > -0.57)
    over = np.abs(head.over_tentorium)
    behind = (head.forward > 0.03) & (head.forward < 0.36)
    straight = (side < 3) & (over < 3) & behind & (depth > 0)
    lateral = rng.uniform(2.5, 6) * np.where(head.side > 0, rng.uniform(0.3, 1), 1)
    course = (over < lateral) & (head.forward < 0.42) & (depth < 3) & (depth > -6)
    cavernous = (
        (np.abs(side - 12) < 4)
        & (np.abs(head.forward - 0.6) < 0.06)
        & (np.abs(head.height + 0.63) < 0.03)
        & (depth < 1)
    )
    return sagittal | straight | course | cavernous


def vessels(
    head: Anatomy, dark: np.ndarray, tissue: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Thin winding tubes, where two smooth fields are both near zero, (I, J, K) bool.

    They lie in fluid, at the brain's surface, and in the tissue below the skull base.
    """
    shape = head.depth.shape
    found = np.zeros(shape, bool)
    for _ in range(rng.integers(1, 4)):
        knots = int(rng.integers(8, 16))
        thick = rng.uniform(0.8, 2.2) * knots / 180
        one, other = smooth_field(shape, knots, rng), smooth_field(shape, knots, rng)
        found |= one**2 + other**2 < np.float32(thick) ** 2 * 2
    near = (head.depth > -3) & (head.depth < rng.uniform(2, 12))
    basal = (head.height < -0.5) & (head.depth < 25) & tissue
    return found & (near | basal | (dark & head.brain))


def plexus(head: Anatomy, dark: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches of choroid plexus in the ventricles."""
    patchy = smooth_field(dark.shape, int(rng.integers(16, 28)), rng) > rng.uniform(0.2, 0.9)
    return dark & (head.depth > 20) & patchy


def pituitary(head: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Sphere of 4 to 7 mm radius below the brain, in the midline."""
    center = head.nearest(rng.normal(0, 1), rng.normal(0.61, 0.02), rng.normal(-0.62, 0.015))
    axes = np.ogrid[tuple(slice(0, n) for n in head.depth.shape)]
    far = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, center, head.spacing, strict=True))
    return (far < rng.uniform(4, 7) ** 2) & (head.depth < 1)


def mucosa(head: Anatomy, tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches of nose, sinuses and scalp."""
    patchy = smooth_field(tissue.shape, int(rng.integers(8, 20)), rng) > rng.uniform(0.2, 1.2)
    face = (head.height < -0.55) & (head.forward > 0.6) & (head.depth < -12)
    scalp = (head.depth < -10) & (rng.random() < 0.4)
    return tissue & patchy & (face | scalp)


def dura(head: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Thin patches on the brain's outside, and along the falx."""
    patchy = smooth_field(head.depth.shape, int(rng.integers(6, 14)), rng) > rng.uniform(-0.5, 1.5)
    shell = (head.depth < 0) & (head.depth > -rng.uniform(1.5, 3))
    falx = (np.abs(head.side) < 0.6 * head.spacing[0]) & (head.height > -0.35) & head.brain
    return patchy & (shell | (falx & (head.depth < 30)))


def sphere(
    shape: Sequence[int],
    spacing: np.ndarray,
    center: np.ndarray,
    radius: float,
    rng: np.random.Generator,
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Irregular sphere, in a box around it.

    Returns
    -------
    box : tuple of 3 slice
    inside : float32 array of the box's shape
        Signed distance from the surface, mm; positive inside.
    """
    reach = np.ceil(1.4 * radius / spacing + 2).astype(int)
    box = anatomy.around(center, reach, shape)
    axes = np.ogrid[box]
    far = np.sqrt(sum(((a - c) * s) ** 2 for a, c, s in zip(axes, center, spacing, strict=True)))
    size = tuple(s.stop - s.start for s in box)
    uneven = 1 + np.float32(rng.uniform(0, 0.2)) * smooth_field(size, 4, rng)
    return box, (radius * uneven - far).astype(np.float32)


def metastases(example: Example, rng: np.random.Generator) -> Example:
    """Add one to four enhancing spheres, solid or ring-like, in the brain, away from the dura.

    They are metastases, so the label stays background; most have edema around them.
    """
    head, white = anatomy.of(example), anatomy.white(example)
    image = example.image.copy()
    for _ in range(rng.integers(1, 5)):
        radius = np.exp(rng.uniform(np.log(2), np.log(15)))
        places = np.argwhere(head.depth[::3, ::3, ::3] > radius + rng.uniform(4, 12)) * 3
        if not len(places):
            continue
        center = places[rng.integers(len(places))]
        if abs(head.side[tuple(center)]) < radius + 4:  # the falx is dura, too
            continue
        edema(image, head, center, radius, white, rng)
        box, inside = sphere(image.shape, head.spacing, center, radius, rng)
        paint(image[box], inside, head.spacing, white * np.float32(rng.uniform(1.05, 2.0)), rng)
    return replace(example, image=image)


def edema(
    image: np.ndarray,
    head: Anatomy,
    center: np.ndarray,
    radius: float,
    white: np.floating,
    rng: np.random.Generator,
) -> None:
    """Darken the white matter around a place, in seven draws of ten."""
    if rng.random() > 0.7:
        return
    reach = radius + rng.uniform(4, 20)
    box, inside = sphere(image.shape, head.spacing, center, reach, rng)
    part = image[box]
    share = np.clip(inside / 8, 0, 1) * (part > 0.6 * white) * (head.depth[box] > 3)
    part *= 1 - np.float32(rng.uniform(0.1, 0.35)) * share


def paint(
    part: np.ndarray,
    inside: np.ndarray,
    spacing: np.ndarray,
    level: np.ndarray | np.floating,
    rng: np.random.Generator,
) -> None:
    """Fill a lesion with an intensity: solid, or as a ring around a dark core."""
    soft = np.clip(0.5 + inside / spacing.mean(), 0, 1).astype(np.float32)
    texture = level * (1 + np.float32(0.06) * smooth_field(part.shape, 6, rng))
    if rng.random() < 0.5:
        core = np.clip((inside - rng.uniform(1.5, 4)) / spacing.mean(), 0, 1)
        texture = texture + core * (level * np.float32(rng.uniform(0.15, 0.6)) - texture)
    part += soft * (texture - part)


def schwannoma(example: Example, rng: np.random.Generator) -> Example:
    """Add an enhancing sphere with a short stalk in the cerebellopontine angle.

    It is a vestibular schwannoma, so the label stays background.
    """
    head, white = anatomy.of(example), anatomy.white(example)
    image = example.image.copy()
    sign = rng.choice([-1, 1])
    radius = rng.uniform(3, 13)
    place = (rng.uniform(17, 22) + 0.5 * radius, rng.normal(0.4, 0.015), rng.normal(-0.65, 0.02))
    center = head.nearest(sign * place[0], *place[1:])
    meatus = head.nearest(sign * (place[0] + radius + 5), *place[1:])
    level = white * np.float32(rng.uniform(1.05, 1.8))
    for where, size in ((meatus, rng.uniform(2, 3.5)), (center, radius)):
        box, inside = sphere(image.shape, head.spacing, where, size, rng)
        paint(image[box], inside, head.spacing, level, rng)
    return replace(example, image=image)
