# SPDX-License-Identifier: Apache-2.0
"""Memory that a scan takes, predicted from its header and the models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bids_brainmask import machine
from bids_brainmask.errors import ImageError
from bids_brainmask.models.model import Model
from bids_brainmask.voxels import nifti

USUAL = 256**3
"""Voxels up to which a scan takes no more than was measured of its model."""

PER_VOXEL = 14
"""Bytes of each further voxel, besides its stored ones: measured up to 13.1, with 300^3."""


def predicted_gb(model_gb: float, voxels: int, stored: int) -> float:
    """Predict the peak memory of a scan, GB (1e9 bytes).

    Parameters
    ----------
    model_gb : float
        `Model.memory_gb` of the largest model.
    voxels, stored : int
        Number of voxels, and bytes of each in the file.
    """
    return model_gb + max(0, voxels - USUAL) * (PER_VOXEL + stored) / 1e9


def of_scan(path: Path, models: Iterable[Model]) -> float:
    """Predict the peak memory of a scan by its header and its models, GB."""
    voxels, stored = nifti.size_of(path)
    return predicted_gb(max((m.memory_gb for m in models), default=0), voxels, stored)


def check(path: Path, models: Iterable[Model], given: float | None) -> None:
    """Raise an `ImageError` if a scan needs more memory than there is.

    Parameters
    ----------
    path : Path
        Image, of which only the header is read.
    models : iterable of Model
        With which the scan is processed.
    given : float or None
        GB that the run may use; None: those of the machine or the control group.
    """
    voxels, stored = nifti.size_of(path)
    needed = predicted_gb(max((m.memory_gb for m in models), default=0), voxels, stored)
    there = machine.memory_gb() if given is None else given
    if voxels > USUAL and needed > there:
        raise ImageError(
            f"{path}: {voxels / 1e6:.0f} million voxels need about {needed:.1f} GB of memory, "
            f"but {there:.1f} GB are available (--mem-gb). Give more memory, or resample the "
            "image."
        )
