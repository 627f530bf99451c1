# SPDX-License-Identifier: Apache-2.0
"""Simulate the acquisition of an image: bias field, slices, motion, noise, storage.

Along each axis, one matrix applies point spread, slice profile and sampling, and another one
interpolates back to 1 mm. Motion and noise are added between them, on the acquired voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bids_brainmask.train.ranges import Acquisition
from bids_brainmask.train.transforms.augment import smooth_field


def acquire(
    image: np.ndarray,
    silent: np.ndarray,
    ranges: Acquisition,
    unit: float,
    noisy_air: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Simulate an acquisition, and interpolate the image back to its voxels of 1 mm.

    Parameters
    ----------
    image : (I, J, K) float32 array
        Signal of each voxel, at least 0.
    silent : (I, J, K) bool array
        Voxels where the stored image is exactly 0.
    ranges : Acquisition
    unit : float
        Intensity of white matter.
    noisy_air : float
        Chance of noise of full range in voxels without signal.

    Returns
    -------
    image : (I, J, K) float32 array
    noise : float
        Mean of the noise in air; 0 if air is set to 0.
    """
    field = smooth_field(image.shape, int(rng.integers(2, 5)), rng)
    image = image * np.exp(np.float32(rng.uniform(*ranges.bias)) * field)
    if ranges.gamma:
        power = np.float32(np.exp(rng.normal(0, ranges.gamma)))
        image = np.float32(unit) * (image / np.float32(unit)) ** power
    shape = image.shape
    down, up = zip(*axes_of(shape, ranges, rng), strict=True)
    image = along_axes(image, down)
    if rng.random() < ranges.motion:
        image = move(image, np.divide(shape, image.shape), ranges, rng)
    if rng.random() < ranges.ghost:
        axis = int(rng.integers(3))
        shift = int(image.shape[axis] * rng.uniform(0.1, 0.5))
        image = image + np.float32(rng.uniform(0.03, 0.2)) * np.roll(image, shift, axis)
    noise = 0.0
    if rng.random() < ranges.noise:
        low, high = ranges.noise_level
        noise = unit * (low + (high - low) * rng.random() ** 2.5)
        image = with_noise(image, noise, rng)
    if rng.random() < noisy_air:
        salt = rng.uniform(0, 1.1 * unit, image.shape).astype(np.float32)
        weak = np.exp(-((image / np.float32(rng.uniform(0.05, 0.15) * unit)) ** 2))
        image = image + weak * (salt - image)
    image = along_axes(image, up)
    if rng.random() < ranges.clip:
        image = np.minimum(image, np.percentile(image[::4, ::4, ::4], rng.uniform(97, 100)))
    if rng.random() < ranges.eight_bit and (top := float(image.max())) > 0:
        image = np.rint(image * np.float32(255 / top)) * np.float32(top / 255)
    image = np.maximum(image, 0)
    image[silent] = 0
    return image.astype(np.float32, copy=False), 0.0 if silent.any() else 1.25 * noise


def axes_of(
    shape: Sequence[int], ranges: Acquisition, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw the voxel size along each axis; yield the matrices to it and back."""
    thick = -1
    if rng.random() < ranges.thick:
        thick = int(rng.choice(3, p=np.divide(ranges.across, sum(ranges.across))))
    for axis, size in enumerate(shape):
        gap = 0.0
        step = max(1.0, rng.uniform(*ranges.in_plane))
        if axis == thick:
            step, gap = rng.uniform(*ranges.slices), rng.uniform(*ranges.gap)
        yield sampling(size, step, step * (1 - gap), rng.uniform(*ranges.blur), rng.random())


def sampling(
    size: int, step: float, width: float, blur: float, phase: float
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices that sample a line of voxels of 1 mm, and that interpolate linearly back.

    Parameters
    ----------
    size : int
        Voxels of the line.
    step, width : float
        Distance and thickness of the samples, mm.
    blur : float
        Standard deviation of a Gaussian point spread, mm.
    phase : float
        Position of the first sample, in [0, 1) of a step.

    Returns
    -------
    down : (n, size) float32 array
        Rows sum to 1.
    up : (size, n) float32 array
        Rows sum to 1; beyond the first and last samples, these are repeated.
    """
    count = max(2, int(np.ceil(size / step)))
    centers = (np.arange(count) + phase) * step - 0.5
    voxels = np.arange(size)
    if step == 1.0:
        count, centers = size, voxels.astype(float)
    distance = np.abs(centers[:, None] - voxels)
    profile = np.clip((width / 2 + 0.5) - distance, 0, 1)  # box of the slice, on voxels of 1 mm
    profile += 1e-9 * (distance == distance.min(1, keepdims=True))
    spread = np.exp(-(np.subtract.outer(voxels, voxels) ** 2) / (2 * max(blur, 1e-3) ** 2))
    down = profile @ spread
    down /= down.sum(1, keepdims=True)
    up = np.stack([np.interp(voxels, centers, row) for row in np.eye(count)], 1)
    return down.astype(np.float32), up.astype(np.float32)


def along_axes(image: np.ndarray, matrices: Iterable[np.ndarray]) -> np.ndarray:
    """Multiply an image by a matrix along each of its axes."""
    for axis, matrix in enumerate(matrices):
        image = np.moveaxis(np.tensordot(matrix, image, (1, axis)), 0, axis)
    return np.ascontiguousarray(image)


def move(
    image: np.ndarray, spacing: np.ndarray, ranges: Acquisition, rng: np.random.Generator
) -> np.ndarray:
    """Shift the head once or twice during the acquisition: lines of k-space change phase.

    The head lies where it is while the middle of k-space is acquired, which decides where it is
    seen: so the image stays on the voxels of its label.

    Parameters
    ----------
    image : (I, J, K) float32 array
        On the acquired voxels.
    spacing : (3,) array
        Their sizes, mm.
    ranges : Acquisition
    rng : Generator
    """
    axis = int(rng.integers(3))
    size = image.shape[axis]
    order = np.fft.fftshift(np.arange(size))  # lines in the order of acquisition
    shift = np.zeros(size)  # of each line, in voxels
    for start in rng.integers(1, size, rng.integers(1, 3)):
        shift[order[start:]] += rng.uniform(*ranges.moves) * rng.choice([-1, 1]) / spacing[axis]
    phase = 2 * np.pi * np.fft.fftfreq(size) * (shift - shift[0])
    lines = np.fft.fft(np.moveaxis(image, axis, -1)).astype(np.complex64)
    moved = np.fft.ifft(lines * np.exp(1j * phase).astype(np.complex64))
    return np.moveaxis(np.abs(moved).astype(np.float32), -1, axis)


def with_noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of the signal with Gaussian noise in both of its parts (Rice's distribution)."""
    real = image + np.float32(deviation) * rng.standard_normal(image.shape, np.float32)
    imaginary = np.float32(deviation) * rng.standard_normal(image.shape, np.float32)
    return np.hypot(real, imaginary)
