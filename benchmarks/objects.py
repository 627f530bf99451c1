# SPDX-License-Identifier: Apache-2.0
"""Images that hold no head, made by arithmetic: noise, constants, solids, text.

Each is a function of a random generator. It gives (SIDE, SIDE, SIDE) float32 intensities, in
voxels of `SPACING` mm whose axes run along R, A, S.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

SIDE, SPACING = 112, 2.0

Random = np.random.Generator

X, Y, Z = (
    (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2).reshape(shape) * SPACING
    for shape in ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
)
"""Places of the voxels, mm from the middle."""

WHOLE = (SIDE, SIDE, SIDE)


def inside(center, radii, power: float = 2.0) -> np.ndarray:
    """Bool (I, J, K): an ellipsoid; the higher the power, the more like a box.

    An infinite radius makes it a cylinder.
    """
    where = zip((X, Y, Z), center, radii, strict=True)
    return sum(np.abs((axis - middle) / radius) ** power for axis, middle, radius in where) < 1


def layers(*painted: tuple[np.ndarray, float]) -> np.ndarray:
    """Paint masks one over the other, each with its intensity, on air."""
    data = np.zeros(WHOLE, np.float32)
    for where, value in painted:
        data[np.broadcast_to(where, WHOLE)] = value
    return data


def scan(random: Random, data: np.ndarray) -> np.ndarray:
    """Blur a picture by less than a voxel, shade it, and give it the noise of a receiver."""
    soft = ndimage.gaussian_filter(data, 0.5)
    slope = random.uniform(-0.15, 0.15, 3) / 100
    soft = soft * np.exp(slope[0] * X + slope[1] * Y + slope[2] * Z)
    real, imaginary = random.normal(0, 0.02 * max(float(data.max()), 1e-6), (2, *data.shape))
    return np.hypot(soft + real, imaginary).astype(np.float32)


def smooth(random: Random, width: float) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1 that varies over a width, mm."""
    field = ndimage.gaussian_filter(random.standard_normal(WHOLE, np.float32), width / SPACING)
    return (field - field.mean()) / field.std()


def jitter(random: Random, *values: float) -> list[float]:
    """Sizes that differ by up to 12 %."""
    return [value * random.uniform(0.88, 1.12) for value in values]


# Noise, constants and gradients


def uniform_noise(random):
    """Every voxel by itself."""
    return random.random(WHOLE, np.float32)


def gaussian_noise(random):
    """Around zero, so half of it negative."""
    return 100 * random.standard_normal(WHOLE, np.float32)


def exponential_noise(random):
    """As the power of noise is distributed."""
    return random.standard_exponential(WHOLE, np.float32)


def speckles(random):
    """One voxel in a thousand is bright."""
    return 1000 * (random.random(WHOLE) > 0.999).astype(np.float32)


def pink_noise(random):
    """Power that falls with the frequency."""
    spectrum = np.fft.rfftn(random.standard_normal(WHOLE))
    axes = np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE)
    away = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    away[0, 0, 0] = 1
    return np.fft.irfftn(spectrum / away**1.5, WHOLE, (0, 1, 2)).astype(np.float32)


def clouds(random):
    """Smooth blobs of 12 mm all over the field."""
    return np.maximum(smooth(random, 12), 0)


def noise_in_a_ball(random):
    """A ball of a head's size, of noise, in air."""
    return random.random(WHOLE, np.float32) * inside((0, 0, 0), jitter(random, 80, 95, 90))


def clouds_in_a_ball(random):
    """A ball of a head's size, of blobs of 8 mm, in air."""
    return (3 + smooth(random, 8)) * inside((0, 0, 0), jitter(random, 78, 95, 88))


def constant(random):
    """One value."""
    return np.full(WHOLE, random.uniform(1, 1000), np.float32)


def empty(_random):
    """Zeros."""
    return np.zeros(WHOLE, np.float32)


def ramp(_random):
    """Grows from corner to corner."""
    return X + Y + Z + np.float32(400)


def radial_gradient(_random):
    """Brightest in the middle, and no edge."""
    return np.exp(-(X**2 + Y**2 + Z**2) / 60**2)


def stripes(random):
    """Slabs of one value and another."""
    return layers(((X // random.uniform(8, 25)) % 2 == 0, 100))


def checkerboard(random):
    """Cubes of one value and another."""
    side = random.uniform(14, 26)
    return layers(((X // side + Y // side + Z // side) % 2 == 0, 100))


def one_bright_voxel(random):
    """A spike in nothing."""
    data = np.zeros(WHOLE, np.float32)
    data[tuple(random.integers(20, SIDE - 20, 3))] = 1000
    return data


def two_halves(_random):
    """Bright below, dark above."""
    return layers((Z < 0, 100))


# Solids and shells


def ball(random):
    """Of one intensity."""
    radius = random.uniform(55, 90)
    return scan(random, layers((inside((0, 0, 0), (radius,) * 3), 100)))


def cube(random):
    """Of one intensity."""
    return scan(random, layers((inside((0, 0, 0), jitter(random, 70, 70, 70), 40), 100)))


def ellipsoid(random):
    """Of a brain's size and of one intensity."""
    return scan(random, layers((inside((0, 0, 0), jitter(random, 65, 82, 60)), 100)))


def cylinder(random):
    """Upright."""
    radius = random.uniform(60, 85)
    upright = inside((0, 0, 0), (radius, radius, np.inf)) & (np.abs(Z) < 85)
    return scan(random, layers((upright, 100)))


def torus(random):
    """A ring of 30 mm."""
    ring = (np.hypot(X, Y) - random.uniform(55, 70)) ** 2 + Z**2 < 30**2
    return scan(random, layers((ring, 100)))


def cone(random):
    """Its tip up."""
    wide = random.uniform(0.4, 0.6) * (90 - Z)
    return scan(random, layers(((np.hypot(X, Y) < wide) & (np.abs(Z) < 90), 100)))


def shell(random):
    """A hollow ball."""
    outer = random.uniform(75, 95)
    hollow = inside((0, 0, 0), (outer - 12,) * 3)
    return scan(random, layers((inside((0, 0, 0), (outer,) * 3), 100), (hollow, 0)))


def onion(random):
    """Shells in shells."""
    away = np.sqrt(X**2 + Y**2 + (1.1 * Z) ** 2)
    return scan(random, layers(((away < 90) & ((away // random.uniform(7, 12)) % 2 == 0), 100)))


def box_in_box(random):
    """A cube in a hollow cube."""
    sizes = jitter(random, 90, 78, 60)
    boxes = [inside((0, 0, 0), (size,) * 3, 40) for size in sizes]
    return scan(random, layers(*zip(boxes, (80, 10, 100), strict=True)))


def tubes(random):
    """A rack of upright tubes."""
    away = np.hypot((X + 200) % 34 - 17, (Y + 200) % 34 - 17)
    near = away < random.uniform(10, 15)
    return scan(random, layers((near & (np.hypot(X, Y) < 90) & (np.abs(Z) < 70), 100)))


def bottle(random):
    """Water in a dark wall and a bright bag, as large as a head."""
    radii = jitter(random, 80, 95, 85)
    parts = [inside((0, 0, 0), [r - depth for r in radii]) for depth in (0, 6, 14)]
    return scan(random, layers(*zip(parts, (80, 10, 100), strict=True)))


def quality_phantom(random):
    """A cylinder of water with plates, holes and wedges."""
    body = inside((0, 0, 0), (85, 85, np.inf)) & (np.abs(Z) < 75)
    holes = (np.abs((X + 200) % 20 - 10) < 4) & (np.abs((Y + 200) % 20 - 10) < 4) & (Z > 20)
    plate = (np.abs(Z) < 4) & (np.abs(X) < 60)
    wedge = (np.abs(X - 0.5 * (Z + 40)) < 5) & (Z < -10)
    parts = (body, 100), (holes & body & (np.hypot(X, Y) < 60), 10), (plate & body, 20)
    return scan(random, layers(*parts, (wedge & body, 20)))


def shepp_logan(random):
    """The tomographer's head of ellipsoids (Shepp and Logan 1974), a little varied."""
    s = random.uniform(90, 105)
    return scan(
        random,
        layers(
            (inside((0, 0, 0), (0.69 * s, 0.92 * s, 0.81 * s)), 100),
            (inside((0, -0.018 * s, 0), (0.662 * s, 0.874 * s, 0.78 * s)), 20),
            (inside((0.22 * s, 0, 0), (0.11 * s, 0.31 * s, 0.22 * s)), 5),
            (inside((-0.22 * s, 0, 0), (0.16 * s, 0.41 * s, 0.28 * s)), 5),
            (inside((0, 0.35 * s, -0.15 * s), (0.21 * s, 0.25 * s, 0.41 * s)), 35),
            (inside((0, 0.1 * s, 0.25 * s), (0.046 * s,) * 3), 40),
            (inside((0, -0.605 * s, 0), (0.05 * s, 0.05 * s, 0.05 * s)), 45),
        ),
    )


def random_ellipsoids(random):
    """Thirty of them, anywhere in a large one."""
    parts = [(inside((0, 0, 0), (85, 98, 90)), 50.0)]
    for _ in range(30):
        center, radii = random.uniform(-60, 60, 3), random.uniform(5, 30, 3)
        parts.append((inside(center, radii), random.uniform(0, 100)))
    return scan(random, layers(*parts))


# Text


LETTERS = {
    "M": ("10001", "11011", "10101", "10001", "10001"),
    "R": ("11110", "10001", "11110", "10100", "10011"),
    "I": ("01110", "00100", "00100", "00100", "01110"),
    "T": ("11111", "00100", "00100", "00100", "00100"),
    "1": ("00100", "01100", "00100", "00100", "01110"),
}


def written(word: str, scale: int) -> np.ndarray:
    """Bool picture, (I, J), of a word in letters of five by five squares."""
    rows = ["0".join(LETTERS[letter][row] for letter in word) for row in range(5)]
    picture = np.array([[cell == "1" for cell in row] for row in rows])
    return np.kron(picture[::-1], np.ones((scale, scale))).T > 0


def text(random):
    """A word as thick as a head."""
    picture = written("MRI", 5)
    data = np.zeros(WHOLE, np.float32)
    at = [(SIDE - size) // 2 for size in picture.shape]
    data[at[0] : at[0] + picture.shape[0], 30:-30, at[1] : at[1] + picture.shape[1]] = picture[
        :, None
    ]
    return scan(random, 100 * data)


def page_of_text(random):
    """Lines of words on every slice."""
    picture = written("T1MRIT1", 2)
    data = np.zeros(WHOLE, np.float32)
    for line in range(7):
        start = 4 + 15 * line
        data[10 : 10 + picture.shape[0], start : start + picture.shape[1]] = picture[:, :, None]
    return scan(random, 100 * data)


KINDS: tuple[Callable[[Random], np.ndarray], ...] = (
    *(uniform_noise, gaussian_noise, exponential_noise, speckles, pink_noise, clouds),
    *(noise_in_a_ball, clouds_in_a_ball, constant, empty, ramp, radial_gradient, stripes),
    *(checkerboard, one_bright_voxel, two_halves, ball, cube, ellipsoid, cylinder, torus, cone),
    *(shell, onion, box_in_box, tubes, bottle, quality_phantom, shepp_logan, random_ellipsoids),
    *(text, page_of_text),
)
"""All of them."""
