# SPDX-License-Identifier: Apache-2.0
"""The heads to export: images of the raw dataset, with their brain masks, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import folders, query, storage
from bids_brainmask.errors import ImageError
from bids_brainmask.hashes import sha256
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image
from bids_brainmask.voxels.image import Source, Volume

RIGHT_ANGLES = 1e-3
"""Largest scalar product of two axes that counts as a right angle."""


@dataclass(frozen=True)
class Head:
    """An image of the raw dataset, and its brain mask, which may be absent."""

    scan: query.Scan
    mask: Path

    @property
    def session(self) -> str:
        """Label, without ``ses-``; empty for none."""
        return dict(self.scan.entities).get("ses", "")


def find(
    output_dir: Path,
    bids_dir: Path | None = None,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    filter_file: Path | None = None,
) -> list[Head]:
    """Find every T1w image of the raw dataset that is selected, with the place of its mask.

    Parameters
    ----------
    output_dir : Path
        Output folder of ``bids-brainmask``.
    bids_dir : Path, optional
        The raw dataset; by default the one that the description of `output_dir` names.
    participants, sessions : sequence of str
        Labels; empty: all.
    filter_file : Path, optional
        In fMRIPrep's format.

    Raises
    ------
    UsageError, NothingToDo
        As `query.find_scans`, and of `folders.raw_dataset`.
    """
    settings = Settings(
        bids_dir=bids_dir or folders.raw_dataset(output_dir),
        output_dir=output_dir,
        analysis_level="participant",
        participant_label=tuple(participants),
        session_label=tuple(sessions),
        bids_filter_file=filter_file,
        skip_bids_validation=True,
    )
    row = catalog.output("mask")
    return [
        Head(scan, output_dir / scan.folder / row.file(scan.prefix, scan.suffix))
        for scan in query.find_scans(settings)
    ]


def check(head: Head) -> None:
    """Raise unless the mask exists and was made from the image as it is now.

    Raises
    ------
    ImageError
    """
    sidecar = storage.sidecar(head.mask)
    try:
        before = storage.read_json(sidecar)["SourceFile"]["SHA256"]
        if not head.mask.is_file():
            raise FileNotFoundError(f"{head.mask} is not a file")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"{head.scan.relative}: no finished mask: {error}. Run bids-brainmask on it."
        ) from error
    if sha256(head.scan.path) != before:
        raise ImageError(
            f"{head.scan.relative}: the image has changed since its mask was made; expected "
            f"SHA-256 {before}. Run bids-brainmask again."
        )


def load(head: Head) -> tuple[Source, np.ndarray]:
    """Read an image and its mask, (I, J, K) bool, on the same grid.

    Raises
    ------
    ImageError
        One is unreadable; they are on different grids; the mask is empty; or the axes of the
        image are not at right angles, which the programs that take the mask cannot express.
    """
    source = image.read(head.scan.path)
    mask = image.read_structure(head.mask)
    image.check_same_grid((head.scan.relative, head.mask.name), (source.volume, mask))
    if not mask.data.any():
        raise ImageError(f"{head.mask}: the mask is empty. Look at the image.")
    if (angle := skew(source.volume)) > RIGHT_ANGLES:
        raise ImageError(
            f"{head.scan.relative}: the axes are not at right angles (largest scalar product "
            f"{angle:.4f}, expected at most {RIGHT_ANGLES:g}). Resample the image."
        )
    return source, mask.data


def skew(volume: Volume) -> float:
    """Largest scalar product of two axes, in [0, 1]; 0 at right angles."""
    axes = volume.affine[:3, :3] / volume.spacing
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def only_one_place(source: Source) -> bool:
    """Tell whether every program places the voxels alike, by either transform of the header.

    The transforms that have a code may differ by `image.SAME_GRID` at the corners of the image,
    and the voxel sizes of the header are those of the affine.
    """
    header, shape = source.file.header, source.volume.data.shape
    corners = np.array([[0, 0, 0], shape, [shape[0], 0, 0], [0, shape[1], 0], [0, 0, shape[2]]])
    for matrix, code in (source.file.get_qform(coded=True), source.file.get_sform(coded=True)):
        if not code:
            continue
        off = (matrix[:3] - source.volume.affine[:3]) @ np.c_[corners, np.ones(5)].T
        if np.abs(off).max() > image.SAME_GRID:
            return False
    return bool(np.allclose(header.get_zooms()[:3], source.volume.spacing, rtol=0, atol=1e-4))
