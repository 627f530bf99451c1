# SPDX-License-Identifier: Apache-2.0
"""Heads made worse, as scanners and scans do, each step a pure function of a head and a strength.

What moves voxels moves the reference mask alike; what changes intensities leaves it alone.
`DEGRADATIONS` lists the steps with the strengths that are reported, and milder and harsher ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_brainmask.voxels import cleanup, grid
from bids_brainmask.voxels.image import Volume

TURNING_AXIS = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
"""Of `turn`, in R, A, S: the head nods, tilts and shakes at once."""

LEFT_BY_DEFACING = 2.0
"""mm of tissue around the brain that `deface` leaves."""


@dataclass(frozen=True)
class Case:
    """A head and its reference mask, on one grid whose axes run along R, A, S as far as can be."""

    image: Volume  # float32
    brain: np.ndarray  # (I, J, K) bool
    seed: int = 0
    """Decides what is random in its degradations."""


def case(image: Volume, brain: np.ndarray, seed: int = 0) -> Case:
    """Take a head as it was read, in any orientation."""
    brain = grid.canonical(Volume(brain, image.affine)).data
    return Case(grid.canonical(image), brain, seed)


def thick(head: Case, thickness: float = 5.0) -> Case:
    """Acquire axial slices, 1x1 mm in plane.

    In plane the values are interpolated linearly; along the third axis each is the mean over the
    slice. Where the slices reach beyond the field of view there is nothing to add to the mean.

    Parameters
    ----------
    head : Case
    thickness : float
        Of the slices, mm.
    """
    spacing = np.array([1.0, 1.0, thickness])
    sizes = zip(head.image.data.shape, head.image.spacing, spacing, strict=True)
    weights = [
        (averaging if axis == 2 else interpolating)(*size) for axis, size in enumerate(sizes)
    ]

    def resample(data):
        return np.einsum("xi,yj,zk,ijk->xyz", *weights, data, optimize=True, dtype=np.float32)

    ratio = spacing / head.image.spacing
    start = (np.array(head.image.data.shape) - 1) / 2
    start -= ratio * (np.array([len(w) for w in weights]) - 1) / 2  # the middle stays in place
    affine = head.image.affine @ np.vstack([np.c_[np.diag(ratio), start], [0, 0, 0, 1]])
    brain = resample(head.brain.astype(np.float32)) >= 0.5
    return replace(head, image=Volume(resample(head.image.data), affine), brain=brain)


def interpolating(count: int, spacing: float, step: float) -> np.ndarray:
    """Weights (M, N), float32, of `count` samples in linear interpolation, `step` mm apart.

    The new samples lie about the middle of the old; beyond the first and the last the value stays.
    """
    size = max(1, round(count * spacing / step))
    places = (np.arange(size) - (size - 1) / 2) * step / spacing + (count - 1) / 2
    places = np.clip(places, 0, count - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(count)), 0).astype(np.float32)


def averaging(count: int, spacing: float, step: float) -> np.ndarray:
    """Weights (M, N), float32, of `count` samples, each as wide as their spacing, in slices.

    The slices are `step` mm thick, lie about the middle of the samples and hold all of them, so
    that the sum over the slices times `step` is the sum over the samples times `spacing`.
    """
    size = int(np.ceil(count * spacing / step - 1e-6))
    low = (np.arange(size) - size / 2)[:, None] * step
    left = (np.arange(count) - count / 2) * spacing
    overlap = np.minimum(low + step, left + spacing) - np.maximum(low, left)
    return (np.maximum(overlap, 0) / step).astype(np.float32)


def turn(head: Case, degrees: float = 25.0) -> Case:
    """Turn the content about the brain's middle; the grid and its affine stay."""
    linear = head.image.affine[:3, :3]
    back = Rotation.from_rotvec(-np.radians(degrees) * TURNING_AXIS).as_matrix()
    matrix = np.linalg.inv(linear) @ back @ linear
    middle = np.array(ndimage.center_of_mass(head.brain))
    place = {"matrix": matrix, "offset": middle - matrix @ middle, "order": 1}
    data = ndimage.affine_transform(head.image.data, cval=float(head.image.data.min()), **place)
    brain = ndimage.affine_transform(head.brain.astype(np.float32), **place) >= 0.5
    return replace(head, image=Volume(data, head.image.affine), brain=brain)


def deface(head: Case, depth: float = 10.0) -> Case:
    """Set to zero what lies in front of the brain and below, beyond a plane that slopes by 45°.

    Parameters
    ----------
    head : Case
    depth : float
        How far the plane reaches beyond the brain's foremost and lowest point, towards its
        middle, mm. The brain and `LEFT_BY_DEFACING` mm around it are left whole.
    """
    _, forward, up = (
        step * index
        for step, index in zip(
            head.image.spacing, np.ogrid[tuple(map(slice, head.brain.shape))], strict=True
        )
    )
    place = np.broadcast_to((forward - up) / np.sqrt(2), head.brain.shape)
    away = ndimage.distance_transform_edt(~head.brain, head.image.spacing) > LEFT_BY_DEFACING
    face = away & (place > place[head.brain].max() - depth)
    return recoloured(head, np.where(face, 0, head.image.data))


def cut_neck(head: Case, margin: float = 3.0) -> Case:
    """End the field of view below the brain.

    Parameters
    ----------
    head : Case
    margin : float
        mm left below the lowest voxel of the brain; negative: some of the brain is cut off too.
    """
    return cut(head, 2, -1, margin)


def cut_top(head: Case, margin: float = -10.0) -> Case:
    """End the field of view `margin` mm above the brain, or below its vertex where negative."""
    return cut(head, 2, 1, margin)


def cut_side(head: Case, margin: float = -10.0) -> Case:
    """End the field of view `margin` mm to the right of the brain, or within it where negative."""
    return cut(head, 0, 1, margin)


def cut(head: Case, axis: int, towards: int, margin: float) -> Case:
    """End the field of view at one side of the brain.

    Parameters
    ----------
    head : Case
    axis : int
    towards : {-1, 1}
        The side: where the axis starts, or where it ends.
    margin : float
        mm left beyond the brain's outermost voxel; negative: some of the brain is cut off too.
    """
    others = tuple(other for other in range(3) if other != axis)
    planes = np.flatnonzero(head.brain.any(others))
    left = round(margin / head.image.spacing[axis])
    kept = slice(max(0, int(planes[0]) - left), None)
    if towards > 0:
        kept = slice(0, int(planes[-1]) + 1 + left)
    where = tuple(kept if one == axis else slice(None) for one in range(3))
    affine = head.image.affine.copy()
    affine[:3, 3] += kept.start * affine[:3, axis]
    image = Volume(head.image.data[where], affine)
    return replace(head, image=image, brain=head.brain[where])


def bias(head: Case, ratio: float = 3.0) -> Case:
    """Multiply by a smooth field, the exponential of a random quadratic.

    Parameters
    ----------
    head : Case
    ratio : float
        Of the field's extremes within the head. Its logarithm has mean 0 there.
    """
    random = np.random.default_rng(head.seed)
    x, y, z = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in head.brain.shape),
        indexing="ij",
        sparse=True,
    )
    terms = (x, y, z, x * y, y * z, z * x, x * x, y * y, z * z)
    field = sum(factor * term for factor, term in zip(random.normal(size=9), terms, strict=True))
    inside = field[outline(head)]
    field = np.clip(field, inside.min(), inside.max()) - inside.mean()
    field *= np.log(ratio) / np.ptp(inside)
    return recoloured(head, head.image.data * np.exp(field))


def noise(head: Case, share: float = 0.10) -> Case:
    """Make it a magnitude image of complex Gaussian noise, so Rician.

    Parameters
    ----------
    head : Case
    share : float
        Standard deviation of the noise in each channel, of the `white_matter` signal.
    """
    random = np.random.default_rng(head.seed)
    real, imaginary = random.standard_normal((2, *head.brain.shape), np.float32)
    deviation = np.float32(share * white_matter(head))
    return recoloured(head, np.hypot(head.image.data + deviation * real, deviation * imaginary))


def invert(head: Case, share: float = 1.0) -> Case:
    """Exchange dark and bright within the head; the air around it stays dark.

    Parameters
    ----------
    head : Case
    share : float
        Of the head's largest value (99.5th percentile) less the value, in a mean with the value
        itself: 1 inverts, 0.5 leaves no contrast, and less weakens it.
    """
    inside = outline(head)
    largest = np.percentile(head.image.data[inside], 99.5)
    values = np.clip(head.image.data, 0, largest)
    mixed = share * (largest - values) + (1 - share) * values
    return recoloured(head, np.where(inside, mixed, head.image.data))


def recoloured(head: Case, data: np.ndarray) -> Case:
    """Give the head other intensities."""
    return replace(head, image=Volume(data.astype(np.float32), head.image.affine))


def white_matter(head: Case) -> float:
    """Signal of white matter in T1: the 90th percentile in the brain, the bright part's upper."""
    return float(np.percentile(head.image.data[head.brain], 90))


def outline(head: Case) -> np.ndarray:
    """Head with its bones and cavities, (I, J, K) bool: what is brighter than air, closed, filled.

    The brain is in it, whatever its signal.
    """
    widths = 2.0 / head.image.spacing  # mm
    bright = ndimage.gaussian_filter(head.image.data, widths) > 0.15 * white_matter(head)
    reach = 8.0  # mm, over half of what the bones and sinuses are wide
    rim = np.ceil(2 * reach / head.image.spacing).astype(int)
    padded = np.pad(bright | head.brain, np.c_[rim, rim], mode="edge")
    grown = ndimage.distance_transform_edt(~padded, head.image.spacing) < reach
    closed = ndimage.distance_transform_edt(grown, head.image.spacing) > reach
    inner = tuple(slice(n, -n) for n in rim)
    return cleanup.brain(closed[inner] | head.brain).mask


@dataclass(frozen=True)
class Degradation:
    """A step, the strengths at which it is reported, and others from mild to harsh."""

    step: Callable[[Case, float], Case]
    reported: tuple[float, ...]
    grades: tuple[float, ...]
    words: str
    """What is done to the head, with a place for the strength."""

    def label(self, strength: float) -> str:
        """Say what is done at one strength."""
        return self.words.format(strength)


DEGRADATIONS = (
    Degradation(thick, (5.0,), (3.0, 5.0, 8.0), "resampled to 1x1x{:g} mm"),
    Degradation(turn, (25.0, 90.0), (10.0, 25.0, 45.0, 90.0), "turned by {:g} degrees"),
    Degradation(deface, (10.0,), (0.0, 10.0, 25.0, 40.0), "defaced, {:g} mm deep"),
    Degradation(cut_neck, (3.0, -15.0), (10.0, 3.0, 0.0, -15.0), "neck cut {:g} mm below brain"),
    Degradation(cut_top, (-10.0,), (3.0, -10.0, -25.0), "top cut {:g} mm above brain"),
    Degradation(cut_side, (-10.0,), (3.0, -10.0, -25.0), "side cut {:g} mm beside brain"),
    Degradation(bias, (3.0,), (2.0, 3.0, 5.0, 10.0), "bias field, factor {:g}"),
    Degradation(noise, (0.10, 0.30), (0.05, 0.10, 0.20, 0.30), "noise, {:.0%} of white matter"),
    Degradation(invert, (1.0,), (0.25, 0.75, 1.0), "contrast inverted by {:.0%}"),
)
"""All of them, in the order of the table."""
