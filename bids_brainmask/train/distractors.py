# SPDX-License-Identifier: Apache-2.0
"""What enhances in a head and is no meningioma. The label of all of it is background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_brainmask.train.ranges import Distractors, Range
from bids_brainmask.train.tissues import CODE
from bids_brainmask.train.transforms.augment import smooth_field
from bids_brainmask.train.transforms.contrast import paint, sphere
from bids_brainmask.train.windows import Window

ONE_MM = np.ones(3)

PITUITARY = (0.0, 24.0, -38.0)
"""Middle of the pituitary, mm to the right, front and top of the brain's middle; about that of
the MNI152 template."""

MEATUS = (20.0, -14.0, -40.0)
"""The internal acoustic meatus, likewise."""


def thicken(
    tissue: np.ndarray, window: Window, ranges: Distractors, rng: np.random.Generator
) -> None:
    """Add veins over the convexity, and thick dura; in place, before intensities are given."""
    depth = window.depth
    if rng.random() < ranges.veins:
        knots = int(rng.integers(8, 16))
        thick = rng.uniform(*ranges.vein_width) * knots / max(window.shape)
        one, other = (smooth_field(window.shape, knots, rng) for _ in range(2))
        line = one**2 + other**2 < np.float32(thick) ** 2
        fluid = (tissue == CODE["csf"]) | (tissue == CODE["cortex"])
        tissue[line & fluid & (depth > -1) & (depth < rng.uniform(3, 12))] = CODE["vein"]
    if rng.random() < ranges.dura:
        patchy = smooth_field(window.shape, int(rng.integers(4, 9)), rng) > rng.uniform(-1, 1.2)
        thick = rng.uniform(*ranges.dura_thickness)
        layer = (depth > -1) & (depth < thick)
        sheet = (window.sheet > 0) & (
            np.minimum(np.abs(window.falx), np.abs(window.tentorium)) / 2 < 0.5 * thick
        )
        tissue[(layer | sheet) & patchy & (tissue != CODE["vein"])] = CODE["dura"]


@dataclass(frozen=True)
class Painter:
    """Draws in an image; intensities are those of its tissues."""

    image: np.ndarray  # (I, J, K) float32, changed in place
    tissue: np.ndarray  # (I, J, K) uint8
    window: Window
    means: np.ndarray
    ranges: Distractors
    dose: float
    rng: np.random.Generator

    def draw(self) -> None:
        """Draw each kind by its chance."""
        for name in ("pituitary", "schwannoma", "metastases", "glioma", "cavity", "packing"):
            if self.rng.random() < getattr(self.ranges, name):
                getattr(self, name)()

    @property
    def level(self) -> np.float32:
        """Draw an enhancing intensity."""
        high = self.rng.uniform(*self.ranges.level)
        return np.float32(self.means[CODE["white"]] * (1 + self.dose * (high - 1)))

    def place(self, where: np.ndarray) -> np.ndarray | None:
        """Draw a voxel of a region; None if that is empty."""
        places = np.flatnonzero(where)
        if not places.size:
            return None
        chosen = places[self.rng.integers(places.size)]
        return np.array(np.unravel_index(chosen, where.shape))

    def near(self, position: tuple[float, float, float], reach: float) -> np.ndarray:
        """Voxels within a distance of a position in the head, bool."""
        window = self.window
        right, front, top = position
        far = (window.sideways - np.float32(right)) ** 2 + (window.forward - front) ** 2
        return far + (window.upward - top) ** 2 < reach**2

    def radius(self, limits: Range) -> float:
        """Draw a radius; its logarithm is uniform."""
        return float(np.exp(self.rng.uniform(*np.log(limits))))

    def pituitary(self) -> None:
        """Sphere below the brain, in the midline."""
        at = self.place(self.near(PITUITARY, 7) & (self.window.depth < 1))
        if at is not None:
            radius = self.rng.uniform(*self.ranges.pituitary_radius)
            box, inside = sphere(self.image.shape, ONE_MM, at, radius, self.rng)
            inside[self.window.depth[box] > 2] = -np.inf
            self.image[box] += _soft(inside) * (self.level - self.image[box])

    def schwannoma(self) -> None:
        """Sphere in the cerebellopontine angle, with a stalk in the meatus."""
        sign = self.rng.choice([-1, 1])
        right, front, top = MEATUS
        shell = np.abs(self.window.depth) < 2
        at = self.place(self.near((sign * right, front, top), 8) & shell)
        if at is None:
            return
        level = self.level
        box, inside = sphere(self.image.shape, ONE_MM, at, self.rng.uniform(2, 3.5), self.rng)
        paint(self.image[box], inside, ONE_MM, level, self.rng)
        radius = self.rng.uniform(*self.ranges.schwannoma_radius)
        box, inside = sphere(self.image.shape, ONE_MM, at, radius, self.rng)
        inside[self.window.depth[box] < -0.5] = -np.inf
        paint(self.image[box], inside, ONE_MM, level, self.rng)

    def metastases(self) -> None:
        """One to four spheres in the brain, solid or as rings, most with oedema."""
        for _ in range(self.rng.integers(1, 5)):
            radius = self.radius(self.ranges.metastasis_radius)
            self.within_brain(radius, rim=None)

    def glioma(self) -> None:
        """Uneven rim around a necrotic core, with oedema."""
        radius = self.rng.uniform(*self.ranges.glioma_radius)
        self.within_brain(radius, rim=float(self.rng.uniform(*self.ranges.rim)))

    def within_brain(self, radius: float, rim: float | None) -> None:
        """Draw a sphere within the brain, as a rim of a thickness if one is given."""
        window, rng = self.window, self.rng
        near = radius * rng.uniform(*self.ranges.room) + 2
        room = (window.depth > near) & (np.abs(window.falx) > near)
        at = self.place(room & (np.abs(window.tentorium) > near))
        if at is None:
            return
        if rng.random() < 0.75:
            box, inside = sphere(self.image.shape, ONE_MM, at, radius + rng.uniform(4, 20), rng)
            share = np.clip(inside / 8, 0, 1) * (self.tissue[box] == CODE["white"])
            self.image[box] *= 1 - np.float32(rng.uniform(0.1, 0.35)) * share
        box, inside = sphere(self.image.shape, ONE_MM, at, radius, rng)
        part, level = self.image[box], self.level
        inside[window.depth[box] < 1] = -np.inf  # fluid and dura stay between it and the bone
        if rim is None:
            paint(part, inside, ONE_MM, level, rng)
            return
        lumps = smooth_field(part.shape, 5, rng)
        inside = inside + np.float32(0.2 * radius) * lumps
        core = self.means[CODE["white"]] * np.float32(rng.uniform(0.3, 0.8))
        wide = rim * (1 + 0.5 * smooth_field(part.shape, 5, rng))
        filled = np.where(inside > wide, core, level)
        part += _soft(inside) * (filled - part)

    def cavity(self) -> None:
        """Cavity of a resection on the inner table: fluid, an enhancing wall, and dura."""
        window, rng = self.window, self.rng
        at = self.place(np.abs(window.depth) < 1)
        if at is None:
            return
        radius, level = rng.uniform(*self.ranges.cavity_radius), self.level
        box, inside = sphere(self.image.shape, ONE_MM, at, radius, rng)
        part, depth = self.image[box], window.depth[box]
        inside = np.where(depth > -0.5, inside, -np.inf).astype(np.float32)
        wall = rng.uniform(0.8, 3.0) * np.clip(1 + 0.7 * smooth_field(part.shape, 6, rng), 0, 2)
        fluid = self.means[CODE["csf"]] * np.float32(rng.uniform(1.0, 2.0))
        part += _soft(inside) * (np.where(inside > wall, fluid, level) - part)
        box, inside = sphere(self.image.shape, ONE_MM, at, radius + rng.uniform(5, 25), rng)
        part, depth = self.image[box], window.depth[box]
        layer = (depth > -1.5) & (depth < rng.uniform(0.5, 2.5)) & (inside > 0)
        part[layer] = np.maximum(part[layer], level * np.float32(rng.uniform(0.7, 1)))

    def packing(self) -> None:
        """Fat against the inner table, and in the bone outside of it."""
        at = self.place(np.abs(self.window.depth) < 1)
        if at is not None:
            radius = self.rng.uniform(*self.ranges.packing_radius)
            box, inside = sphere(self.image.shape, ONE_MM, at, radius, self.rng)
            inside[self.window.depth[box] < -self.rng.uniform(0, 8)] = -np.inf
            part = self.image[box]
            part += _soft(inside) * (self.means[CODE["fat"]] - part)


def _soft(inside: np.ndarray) -> np.ndarray:
    """Share of each voxel that is inside, float32."""
    return np.clip(0.5 + inside, 0, 1).astype(np.float32)
