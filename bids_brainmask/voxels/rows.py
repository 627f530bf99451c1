# SPDX-License-Identifier: Apache-2.0
"""The grids and the scalings of intensities that networks are trained on: one row each.

The checks of the registry and of training configurations, inference, training and the methods text
follow from these rows. Importing this module is fast: NumPy is imported when a row's function is
called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from bids_brainmask.voxels.grid import Grid
    from bids_brainmask.voxels.image import Volume


@dataclass(frozen=True)
class NetworkGrid:
    """Voxels that networks are given."""

    name: str
    make: Callable[[Volume, int], Grid]
    """Place the voxels for an image. The second argument is a number that every axis divides by,
    if the grid is not the same for all images."""

    methods: str
    """Its description in the methods text, after "resampled to"."""

    has_air: bool = True
    """Whether intensities are clipped below the level of the air, and the grid is filled with it
    outside the field of view. Otherwise it is filled with 0."""

    in_training: bool = False
    """Whether images are resampled to it in training, too. Otherwise training takes windows of
    images on their own grids."""

    block: int = 0
    """Side of the blocks of a network that was trained here, voxels; 0: the whole grid at once."""

    memory_gb: float = 4.0
    """Largest memory of a network that was trained here, for one scan, GB."""


@dataclass(frozen=True)
class Scaling:
    """How the intensities of an image are scaled for a network."""

    name: str
    scale: Callable[[np.ndarray, int], np.ndarray]
    """Scale an image, (I, J, K) float32, and leave out some planes at the start of the third
    axis: (I, J, K - planes) float32. They count for what it is scaled by."""

    scale_part: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """In training: scale a part of an image, whose second argument is the whole. Both were scaled
    by `scaling.scale_robustly` before."""

    again: Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None = None
    """Scale a scaled image again, by the mask that was found in it, (I, J, K) bool. The network
    then runs a second time. None, or a result that is None: it does not."""

    is_bounded: bool = True
    """Whether scaled intensities lie in [0, 2], as those of images made from label maps do."""

    without_brain: str = ""
    """Name of the scaling to use where the target may be another one than the brain; empty: this
    one."""


def _fsconform(volume: Volume, divisor: int) -> Grid:  # noqa: ARG001 - 256 is divided by all
    from bids_brainmask.voxels import grid

    return grid.fsconform(volume)


def _head(volume: Volume, divisor: int) -> Grid:
    from bids_brainmask.voxels import grid

    return grid.head(volume, divisor)


def _zscore(data: np.ndarray, below: int) -> np.ndarray:
    from bids_brainmask.voxels import scaling

    return scaling.zscore(data, below)


def _zscore_part(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    from bids_brainmask.voxels import scaling

    return scaling.zscore_part(part, whole)


def _robust(data: np.ndarray, below: int) -> np.ndarray:
    from bids_brainmask.voxels import scaling

    return scaling.scale_robustly(data, below)


def _robust_part(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    from bids_brainmask.voxels import scaling

    return scaling.clip_part(part, whole)


def _brain_again(scaled: np.ndarray, brain: np.ndarray) -> np.ndarray | None:
    from bids_brainmask.voxels import scaling

    return scaling.relevelled(scaled, brain)


GRIDS: tuple[NetworkGrid, ...] = (
    NetworkGrid(
        name="fsconform",
        make=_fsconform,
        methods="256 x 256 x 256 voxels of 1 mm, as FreeSurfer conforms images",
        has_air=False,
        in_training=True,
        block=128,
        memory_gb=8.0,
    ),
    NetworkGrid(
        name="head", make=_head, methods="voxels of 1 mm along its own axes, over the head"
    ),
)

SCALINGS: tuple[Scaling, ...] = (
    Scaling(name="zscore", scale=_zscore, scale_part=_zscore_part, is_bounded=False),
    Scaling(name="robust", scale=_robust, scale_part=_robust_part),
    Scaling(
        name="brain",
        scale=_robust,
        scale_part=_robust_part,
        again=_brain_again,
        without_brain="robust",
    ),
)
"""``brain``: as ``robust``; if the brain found so has another level than in training, a second
pass with the brain scaled to that level."""


def grids() -> tuple[str, ...]:
    """Names of the grids."""
    return tuple(row.name for row in GRIDS)


def scalings() -> tuple[str, ...]:
    """Names of the scalings."""
    return tuple(row.name for row in SCALINGS)


def grid(name: str) -> NetworkGrid:
    """Find the row of a grid."""
    return next(row for row in GRIDS if row.name == name)


def scaling(name: str) -> Scaling:
    """Find the row of a scaling.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    for row in SCALINGS:
        if row.name == name:
            return row
    raise ValueError(f"intensities: found {name!r}, expected one of {list(scalings())}")
