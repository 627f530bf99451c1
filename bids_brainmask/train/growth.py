# SPDX-License-Identifier: Apache-2.0
"""Meningiomas that grow from the dura of a label map, and displace the brain.

The inner table is where the target ends; falx and tentorium are sheets between parts of the
brain (`bids_brainmask.train.label_maps.sheets`). Windows have voxels of 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from bids_brainmask.train.label_maps import FALX, TENTORIUM
from bids_brainmask.train.ranges import Tumors
from bids_brainmask.train.tissues import CODE
from bids_brainmask.train.transforms import anatomy
from bids_brainmask.train.transforms.augment import smooth_field
from bids_brainmask.train.transforms.tumor import gradient
from bids_brainmask.train.windows import Window

Box = tuple[slice, ...]

SHEETS = {"falx": FALX, "tentorium": TENTORIUM}
"""Sites that are within the target, and their values in the array ``sheet``."""

HARD = [CODE[name] for name in ("air", "artery", "eye", "nerve", "skin", "cord")]
"""Tissues that no tumor grows into."""

ONE_MM = np.ones(3)


@dataclass(frozen=True)
class Tumor:
    """A tumor in a window."""

    site: str
    box: Box
    inside: np.ndarray  # float32 of the box's shape, about mm from its surface; positive inside
    outside: np.ndarray  # float32, mm from the tumor; 0 in it
    volume_ml: float
    base: np.ndarray  # (3,) int, voxel of the box where it started on the dura

    @property
    def share(self) -> np.ndarray:
        """Share of each voxel of the box that is tumor, float32."""
        return np.clip(self.inside + 0.5, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Seed:
    """Where a tumor starts."""

    site: str
    voxel: np.ndarray  # (3,) int
    inward: np.ndarray  # (3,) unit vector, away from the dura


def grow(window: Window, ranges: Tumors, rng: np.random.Generator) -> tuple[Window, list[Tumor]]:
    """Grow tumors, and displace the brain about them.

    Returns
    -------
    window : Window
        With displaced labels and tissues.
    tumors : list of Tumor
        None where the window has no dura, or too little room.
    """
    tumors: list[Tumor] = []
    for _ in range(rng.choice(len(ranges.count), p=ranges.count)):
        volume = float(np.exp(rng.uniform(*np.log(ranges.volume))))
        if tumor := grow_one(window, volume, ranges, rng):
            tumors.append(tumor)
            if rng.random() < ranges.mass_effect:
                window = displace(window, tumor, float(rng.uniform(*ranges.yielded)))
    return window, tumors


def grow_one(
    window: Window, volume_ml: float, ranges: Tumors, rng: np.random.Generator, site: str = ""
) -> Tumor | None:
    """Grow a tumor of a volume, in mL; at a site, or at one that is drawn."""
    radius = (3000 * volume_ml / (4 * np.pi)) ** (1 / 3)
    start = seed(window, site or choose_site(ranges, rng), radius, rng)
    if start is None:
        return None
    box, radial, scale = shape(window, start, volume_ml, ranges, rng)
    allowed = compartment(window, start, box, ranges, rng)
    inside = surface(radial, allowed, volume_ml, scale)
    if inside is None:
        return None
    base = start.voxel - [part.start for part in box]
    return Tumor(start.site, box, inside, distance(inside > 0), volume_ml, base)


def choose_site(ranges: Tumors, rng: np.random.Generator) -> str:
    """Draw a site by its share."""
    return str(rng.choice(list(ranges.sites), p=list(ranges.sites.values())))


def seed(window: Window, site: str, radius: float, rng: np.random.Generator) -> Seed | None:
    """Draw a place on the dura where a tumor of a radius, in mm, is mostly in the window.

    Where the window lacks the site, the place is anywhere on the inner table; None if it lacks
    that, too.
    """
    some = tuple(slice(int(m), n - int(m)) for n, m in _margins(window.shape, radius))
    skull = np.isin(window.tissue[some], [CODE[name] for name in ("bone", "marrow", "vein")])
    shell = (np.abs(window.depth[some] + 0.7) < 0.9) & skull & ~window.ends[some]
    over = window.tentorium[some] > 0
    height, side = window.upward[some], np.abs(window.falx[some])
    where = {
        "convexity": lambda: shell & over & (height > -5),
        "parasagittal": lambda: shell & (side < 14) & (height > 15),
        "falx": lambda: window.sheet[some] == FALX,
        "tentorium": lambda: window.sheet[some] == TENTORIUM,
        "base": lambda: shell & over & (height < -15),
        "posterior fossa": lambda: shell & ~over,
    }[site]()
    if not where.any():
        site, where = "convexity", shell
    places = np.flatnonzero(where)
    if not places.size:
        return None
    chosen = np.unravel_index(places[rng.integers(places.size)], where.shape)
    voxel = np.array([place + part.start for place, part in zip(chosen, some, strict=True)])
    if site in SHEETS:
        field, sign = (window.falx if site == "falx" else window.tentorium), rng.choice([-1, 1])
    else:
        field, sign = window.depth, 1
    return Seed(site, voxel, sign * gradient(field, voxel, ONE_MM))


def _margins(shape: tuple[int, ...], radius: float) -> list[tuple[int, float]]:
    """Size of each axis, and the distance of seeds from its ends."""
    return [(size, min(0.9 * radius + 2, size / 3)) for size in shape]


def shape(
    window: Window, start: Seed, volume_ml: float, ranges: Tumors, rng: np.random.Generator
) -> tuple[Box, np.ndarray, float]:
    """Draw a shape: globose on the dura, or spread along it, with lobulation.

    Returns
    -------
    box : tuple of 3 slice
        Voxels around the tumor, with a margin for its effects.
    radial : float32 array of the box's shape
        Increases from the tumor's middle outward.
    scale : float
        About the distance over which it increases by 1, mm.
    """
    plaque = volume_ml < 25 and rng.random() < ranges.plaque
    aspect = rng.uniform(*(ranges.plaque_aspect if plaque else ranges.aspect))
    wide = (3000 * volume_ml / (4 * np.pi * 0.75 * aspect)) ** (1 / 3)
    high = wide * aspect
    reach = np.full(3, int(1.4 * max(wide, high) + 26))
    box = anatomy.around(start.voxel, reach, window.shape)
    axes = zip(np.ogrid[box], start.voxel, strict=True)
    offset = [(axis - at).astype(np.float32) for axis, at in axes]
    along = sum(o * n for o, n in zip(offset, start.inward.astype(np.float32), strict=True))
    across = np.sqrt(np.maximum(sum(o**2 for o in offset) - along**2, 0))
    if plaque:
        field = {"falx": window.falx, "tentorium": window.tentorium}.get(start.site)
        # The distance from a sheet is half of the difference of two distances.
        along = window.depth[box] if field is None else np.abs(field[box]) / 2
    middle = high * (0.3 if plaque else rng.uniform(*ranges.base))
    radial = np.sqrt((across / wide) ** 2 + ((along - middle) / high) ** 2)
    lumps = smooth_field(radial.shape, int(rng.integers(5, 10)), rng)
    radial = radial * (1 + np.float32(rng.uniform(*ranges.lumps)) * lumps)
    return box, radial, float(np.sqrt(wide * high))


def compartment(
    window: Window, start: Seed, box: Box, ranges: Tumors, rng: np.random.Generator
) -> np.ndarray:
    """Region that a tumor may fill, bool of the box's shape.

    It does not cross dura, falx and tentorium, except by the chances for that.
    """
    depth = window.depth[box]
    allowed = depth > -rng.uniform(0.3, 1.5)
    if start.site not in SHEETS and rng.random() < ranges.through_bone:
        reach = rng.uniform(*ranges.bone_depth)
        allowed = depth > -reach * (1 + 0.3 * smooth_field(depth.shape, 5, rng))
    tissue = window.tissue[box]
    allowed &= ~np.isin(tissue, HARD)
    if rng.random() >= ranges.into_sinus:
        allowed &= tissue != CODE["vein"]
    crosses = rng.random() < ranges.crosses
    for name, field in (("falx", window.falx), ("tentorium", window.tentorium)):
        if start.site == name:
            side = float(np.sign(gradient(field, start.voxel, ONE_MM) @ start.inward))
            if not crosses:
                allowed &= field[box] * side > -1
        elif abs(here := float(field[tuple(start.voxel)])) > 4 and start.site != "base":
            allowed &= field[box] * np.sign(here) > 0
    components, _ = ndimage.label(allowed)
    middle = start.voxel - [part.start for part in box]
    close = components[anatomy.around(middle, np.full(3, 4), components.shape)]
    sizes = np.bincount(close[close > 0], minlength=2)
    return components == sizes.argmax() if sizes.any() else np.zeros_like(allowed)


def surface(
    radial: np.ndarray, allowed: np.ndarray, volume_ml: float, scale: float
) -> np.ndarray | None:
    """Find the level set that encloses a volume.

    Returns
    -------
    float32 array or None
        About the distance from the tumor's surface, mm, positive inside; one component. None:
        there is too little room.
    """
    count = max(1, round(1000 * volume_ml))
    for _ in range(4):
        levels = radial[allowed]
        if levels.size < 1.2 * count:
            return None
        cut = np.partition(levels, count - 1)[count - 1]
        components, number = ndimage.label(allowed & (radial <= cut))
        if number == 1:
            break
        largest = 1 + np.bincount(components.ravel())[1:].argmax()
        allowed = allowed & ((components == largest) | (components == 0))
    inside = np.where(allowed, (cut - radial) * scale + 1e-3, -np.inf).astype(np.float32)
    if number > 1:
        inside[(components > 0) & (components != largest)] = -np.inf
    return inside


def distance(filled: np.ndarray) -> np.ndarray:
    """Distance from a region to the middle of a voxel, mm, 0 in the region; exact to about 1 mm.

    It is computed on every second voxel, which is eight times as fast.
    """
    coarse = filled[::2, ::2, ::2]
    if not coarse.any():
        return ndimage.distance_transform_edt(~filled).astype(np.float32)
    far = 2 * ndimage.distance_transform_edt(~coarse).astype(np.float32)
    fine = far.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    fine = fine[tuple(slice(0, n) for n in filled.shape)]
    fine = ndimage.uniform_filter(fine, 3)
    return np.where(filled, np.float32(0), np.maximum(fine, 0.5))


def displace(window: Window, tumor: Tumor, yielded: float) -> Window:
    """Displace the brain away from a tumor; the dura stays in place.

    Parameters
    ----------
    yielded : float
        Share of the tumor's volume by which the brain is displaced.

    Notes
    -----
    A tumor pushes what lies before it away from its base. What is at a distance ``r`` from the
    base, the last ``s`` of it outside of the tumor, comes from within a sphere whose volume is
    less by that of the tumor, taken as a sphere of radius ``r - s``.
    """
    box, outside = tumor.box, tumor.outside
    axes = np.ogrid[tuple(slice(0, n) for n in outside.shape)]
    offset = [(axis - at).astype(np.float32) for axis, at in zip(axes, tumor.base, strict=True)]
    radius = np.sqrt(sum(part**2 for part in offset))
    reach = np.clip(1 - outside / np.maximum(radius, 1), 0, 1)
    shrink = np.cbrt(1 - np.float32(yielded) * reach**3)
    ends = [np.minimum(np.arange(n), np.arange(n)[::-1]) for n in outside.shape]
    i, j, k = np.ix_(*ends)
    far = np.minimum(np.minimum(i, j), k)  # mm to the end of the box, where nothing may move
    held = np.clip(window.depth[box] / 4, 0, 1) * np.clip(far / 10, 0, 1) * (outside > 0)
    factor = 1 - (1 - shrink) * held.astype(np.float32)
    flat = np.zeros((), np.int32)
    for part, at, size in zip(offset, tumor.base, outside.shape, strict=True):
        index = np.rint(at + part * factor).astype(np.int32)
        flat = flat * np.int32(size) + index.clip(0, size - 1)
    labels, tissue = window.labels.copy(), window.tissue.copy()
    for field in (labels, tissue):
        field[box] = field[box].ravel()[flat]
    return replace(window, labels=labels, tissue=tissue)


def labelled(window: Window, tumors: list[Tumor]) -> np.ndarray:
    """Share of each voxel of a window that is tumor, float32."""
    label = np.zeros(window.shape, np.float32)
    for tumor in tumors:
        label[tumor.box] = np.maximum(label[tumor.box], tumor.share)
    return label
