# SPDX-License-Identifier: Apache-2.0
"""Images of fruit and of other parts of bodies than heads, made as those in `objects`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from objects import WHOLE, Random, X, Y, Z, inside, jitter, layers, scan, smooth

# Fruit


def apple(random):
    """Skin, flesh, and a core with seeds."""
    flesh = inside((0, 0, 0), jitter(random, 80, 80, 72))
    dents = inside((0, 0, 80), (22, 22, 30)) | inside((0, 0, -80), (18, 18, 22))
    parts = [(flesh & ~dents, 70.0), (inside((0, 0, 0), (22, 22, 28)), 90.0)]
    turns = np.arange(5) * 2 * np.pi / 5
    parts += [(inside((12 * np.cos(t), 12 * np.sin(t), 0), (5, 5, 10)), 10.0) for t in turns]
    return scan(random, layers(*parts))


def orange(random):
    """Peel, pith, and segments between membranes."""
    radius = random.uniform(70, 88)
    turn = np.broadcast_to(np.arctan2(Y, X), WHOLE)
    membrane = np.abs(np.sin(5 * turn)) * np.hypot(X, Y) < 9
    parts = (inside((0, 0, 0), (radius,) * 3), 60), (inside((0, 0, 0), (radius - 5,) * 3), 15)
    pulp = inside((0, 0, 0), (radius - 10,) * 3)
    return scan(random, layers(*parts, (pulp, 100), (pulp & membrane, 30)))


def melon(random):
    """Rind, flesh, and a cavity with seeds."""
    radii = jitter(random, 78, 98, 78)
    flesh, cavity = (inside((0, 0, 0), [r * f for r in radii]) for f in (0.9, 0.42))
    seeds = cavity & (smooth(random, 4) > 0.7)
    rind = inside((0, 0, 0), radii)
    return scan(random, layers((rind, 40), (flesh, 90), (cavity, 60), (seeds, 20)))


def walnut(random):
    """A dark shell around a folded kernel in two halves."""
    turn = np.broadcast_to(np.arctan2(Z, Y), WHOLE)
    folds = 1 + 0.1 * np.sin(9 * turn + 0.1 * X) + 0.07 * np.sin(0.25 * X + 3 * turn)
    away = np.sqrt((X / 60) ** 2 + (Y / 75) ** 2 + (Z / 60) ** 2)
    kernel = (away < 0.9 * folds) & (np.abs(X) > 3)
    parts = (inside((0, 0, 0), jitter(random, 84, 98, 84)), 60), (away < 1.2, 10)
    return scan(random, layers(*parts, (kernel, 100)))


def pomegranate(random):
    """Seeds packed in a rind."""
    radius = random.uniform(75, 92)
    seeds = smooth(random, 5) > 0
    inner = inside((0, 0, 0), (radius - 8,) * 3)
    return scan(random, layers((inside((0, 0, 0), (radius,) * 3), 50), (inner & seeds, 100)))


def egg(random):
    """Shell, white and yolk."""
    narrow = 1 - 0.002 * Y
    away = np.sqrt((X / narrow) ** 2 + (0.75 * Y) ** 2 + (Z / narrow) ** 2)
    size = random.uniform(62, 75)
    yolk = inside((0, -8, 0), (32, 34, 32))
    return scan(random, layers((away < size, 5), (away < size - 4, 60), (yolk, 100)))


# Bodies


def limb(center, radius: float, bone: float) -> list[tuple[np.ndarray, float]]:
    """Skin, fat, muscle and an upright bone with marrow."""
    depths = ((radius, 60), (radius - 2, 100), (radius - 10, 50), (bone, 5), (bone - 5, 90))
    return [(inside((*center, 0), (size, size, np.inf)), value) for size, value in depths]


def thighs(random):
    """Two, side by side."""
    left, right = jitter(random, 46, 46)
    return scan(random, layers(*limb((-50, 0), left, 15), *limb((50, 0), right, 15)))


def knee(random):
    """Two bones that meet, with marrow, the knee cap, muscle and fat."""
    parts = limb((0, 0), random.uniform(60, 75), 15)
    for level, size in ((22, 1.0), (-26, 0.95)):
        for inset, value in ((0, 8), (3, 85)):
            radii = (38 * size - inset, 30 * size - inset, 24 - inset)
            parts.append((inside((0, 0, level), radii, 3), value))
    parts += [(inside((0, 48, 15), (18, 8, 20)), 8), (inside((0, 48, 15), (15, 5, 17)), 80)]
    return scan(random, layers(*parts))


def abdomen(random):
    """Fat, muscle, liver, kidneys, spine and bowel."""
    wide = jitter(random, 104, 76)
    trunk = [inside((0, 0, 0), (wide[0] - d, wide[1] - d, np.inf)) for d in (0, 2, 14, 24)]
    parts = list(zip(trunk, (60, 100, 45, 30), strict=True))
    parts += [(inside((40, 10, 30), (42, 45, 60)), 70), (inside((-45, 5, 45), (25, 30, 25)), 55)]
    for side in (-1, 1):
        parts.append((inside((side * 48, -35, -20), (16, 18, 38)), 60))
    bowel = inside((0, 20, -60), (60, 35, 50)) & (smooth(random, 6) > 0.2)
    spine = inside((0, -40, 0), (20, 16, np.inf))
    return scan(random, layers(*parts, (bowel, 40), (spine, 65), (spine & (Z % 30 < 5), 20)))


def chest(random):
    """Lungs, heart, ribs and spine."""
    wide = jitter(random, 105, 80)
    parts = [(inside((0, 0, 0), (wide[0], wide[1], np.inf)), 90)]
    parts.append((inside((0, 0, 0), (wide[0] - 10, wide[1] - 10, np.inf)), 50))
    ribs = inside((0, 0, 0), (wide[0] - 16, wide[1] - 16, np.inf)) & (Z % 24 < 9)
    parts.append((ribs, 10))
    parts += [(inside((side * 45, 0, 0), (36, 52, 100)), 3) for side in (-1, 1)]
    parts += [
        (inside((-12, 18, -15), (40, 35, 45)), 60),
        (inside((-14, 18, -20), (22, 20, 28)), 85),
    ]
    return scan(random, layers(*parts, (inside((0, -55, 0), (18, 14, np.inf)), 65)))


def shoulder(random):
    """A ball of marrow in its socket, beside the chest."""
    parts = [(inside((0, 0, -10), jitter(random, 95, 70, 105)), 95)]
    parts += [(inside((0, 0, -10), (80, 56, 92)), 50), (inside((30, 0, -60), (17, 17, 70)), 8)]
    for inset, value in ((0, 8), (4, 88)):
        parts.append((inside((28, 0, 20), (30 - inset,) * 3), value))
    socket = inside((-8, 0, 20), (10, 22, 26))
    return scan(random, layers(*parts, (socket, 60), (inside((-70, 0, -20), (40, 45, 80)), 3)))


def fingers(random):
    """Four, with bones, and a thumb."""
    parts = [(inside((0, 0, -70), (62, 20, 42)), 60)]
    for place, (length, width) in enumerate(((60, 12), (75, 12.5), (70, 12), (52, 11))):
        for size, value in ((1, 70), (0.72, 45), (0.5, 5), (0.32, 90)):
            radii = (width * size * random.uniform(0.95, 1.05), width * size, length)
            parts.append((inside((place * 29 - 44, 0, 0), radii), value))
    return scan(random, layers(*parts))


def pelvis(random):
    """Hip bones, their joints, bladder, muscle and fat."""
    wide = jitter(random, 108, 74)
    parts = [(inside((0, 0, 0), (wide[0], wide[1], np.inf)), 100)]
    parts.append((inside((0, 0, 0), (wide[0] - 16, wide[1] - 16, np.inf)), 48))
    for side in (-1, 1):
        for inset, value in ((0, 8), (4, 80)):
            wing = inside((side * 58, -5, 30), (14 - inset, 40 - inset, 50 - inset))
            head = inside((side * 60, 5, -40), (25 - inset,) * 3)
            parts.append((wing | head, value))
    return scan(random, layers(*parts, (inside((0, 25, -20), (35, 25, 28)), 12)))


def breasts(random):
    """Two of fat and glands on the chest's wall."""
    parts = [(Y < -60, 50)]
    for side in (-1, 1):
        around = inside((side * 52, -55, 0), jitter(random, 48, 105, 60)) & (Y >= -62)
        glands = inside((side * 52, -45, 0), (28, 65, 36)) & (smooth(random, 5) > 0)
        parts += [(around, 100), (glands & around, 45)]
    return scan(random, layers(*parts))


def spine(random):
    """Vertebrae, discs and the cord in its fluid, with muscle behind."""
    bend = 12 * np.sin(Z / random.uniform(40, 60))

    def column(y, radius_x, radius_y):
        return (X / radius_x) ** 2 + ((Y - y - bend) / radius_y) ** 2 < 1

    parts = [(inside((0, -25, 0), (90, 60, np.inf)), 50), (column(0, 24, 18), 70)]
    parts += [(column(0, 24, 18) & ((Z + 200) % 32 < 8), 25), (column(-28, 11, 9), 15)]
    return scan(random, layers(*parts, (column(-28, 6, 5), 55)))


KINDS: tuple[Callable[[Random], np.ndarray], ...] = (
    *(apple, orange, melon, walnut, pomegranate, egg, thighs, knee, abdomen, chest, shoulder),
    *(fingers, pelvis, breasts, spine),
)
"""All of them."""
