# SPDX-License-Identifier: Apache-2.0
"""Ways to show an image to a network: as it is, darker, inverted, or turned.

A network has learnt some appearances of a head better than others. Where it is not sure of one,
it may be sure of another; its answer is brought back to the image's own grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy

from bids_brainmask.voxels.scaling import scale_robustly

POWER = 1.6
"""Exponent of the intensities, scaled to about [0, 1], of the darker look. It separates the brain
from marrow and fat, which are as bright or brighter in spin-echo images with contrast agent."""

DIRECTIONS = (("R", "L"), ("A", "P"), ("S", "I"))
"""Names of the directions along the axes of the network's grid, and of the opposite ones."""


@dataclass(frozen=True)
class Look:
    """A way to show an image, on the network's grid, to the network."""

    intensities: str = "as they are"
    """``as they are``, ``darker`` or ``inverted``."""

    axes: tuple[int, ...] = (0, 1, 2)
    """Axis of the grid along which the shown image's first, second and third axis runs."""

    signs: tuple[int, ...] = (1, 1, 1)
    """Direction of each: 1 along the axis, -1 against it."""

    @property
    def orientation(self) -> str:
        """Where the head's right, front and top lie in the header's terms; RAS if it holds."""
        pairs = zip(self.axes, self.signs, strict=True)
        return "".join(DIRECTIONS[axis][sign < 0] for axis, sign in pairs)

    @property
    def mirrored(self) -> Look:
        """The same look at the mirror image: right and left of the head are exchanged."""
        return replace(self, signs=(-self.signs[0], *self.signs[1:]))

    def show(self, data: np.ndarray) -> np.ndarray:
        """Change an image, (I, J, K) float32, to what the network sees."""
        if self.intensities == "darker":
            data = scale_robustly(data) ** np.float32(POWER)
        elif self.intensities == "inverted":
            data = inverted(data)
        return data.transpose(self.axes)[self._steps]

    def back(self, found: np.ndarray) -> np.ndarray:
        """Bring the network's answer, of the shown image's shape, back to the grid."""
        return found[self._steps].transpose(np.argsort(self.axes))

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, sign) for sign in self.signs)


def inverted(data: np.ndarray) -> np.ndarray:
    """Exchange dark and bright within the head; the air around it stays dark.

    Parameters
    ----------
    data : (I, J, K) float32 array
        Voxels of 1 mm.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1].
    """
    scaled = np.minimum(scale_robustly(data), 1)
    coarse = scipy.ndimage.gaussian_filter(scaled[::2, ::2, ::2], 1) > 0.1
    head = scipy.ndimage.binary_fill_holes(scipy.ndimage.binary_closing(coarse, iterations=4))
    fine = head.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(map(slice, data.shape))]
    return np.where(fine, 1 - scaled, np.float32(0))


def turns() -> Iterator[Look]:
    """Every rotation of the grid onto itself, without mirror images: 24, the first is none."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            if np.linalg.det(np.eye(3)[list(axes)] * signs) > 0:
                yield Look(axes=axes, signs=signs)


AS_IT_IS = Look()

DARKER = Look("darker")

INVERTED = Look("inverted")

TURNED = tuple(turns())[1:]
"""The 23 looks at a head that lies otherwise than its header says."""
