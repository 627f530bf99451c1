# SPDX-License-Identifier: Apache-2.0
"""FreeSurfer's image files, and its conformed images.

Format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from isal import igzip
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer import MGHImage
from nibabel.spatialimages import HeaderDataError

from bids_brainmask.errors import ImageError, in_a_line
from bids_brainmask.voxels.grid import Grid, resample
from bids_brainmask.voxels.image import Volume

BRIGHTEST = 99.9
"""Percentile of the intensities that becomes 255, as in ``mri_convert --conform``."""


def conform(volume: Volume, grid: Grid) -> np.ndarray:
    """Resample a head onto FreeSurfer's grid, (256, 256, 256) uint8, 0 the darkest intensity."""
    low = float(volume.data.min())
    values = resample(volume, grid, outside=low)
    high = float(np.percentile(values, BRIGHTEST))
    if high <= low:
        high = float(values.max())
    scaled = np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255)
    return np.round(scaled).astype(np.uint8)


def to_bytes(volume: Volume) -> bytes:
    """Bytes of a ``.mgz`` file; the same volume gives the same bytes."""
    return igzip.compress(
        MGHImage(volume.data, volume.affine).to_bytes(), compresslevel=2, mtime=0
    )


def read(path: Path) -> Volume:
    """Read a ``.mgz`` file: its values as they are stored.

    Raises
    ------
    ImageError
        It is not readable, or not 3D.
    """
    try:
        file = MGHImage.from_filename(path)
        data = np.asanyarray(file.dataobj)
    except (OSError, EOFError, ValueError, ImageFileError, HeaderDataError) as error:
        raise ImageError(f"{path}: not readable as MGH: {in_a_line(error)}") from error
    if data.ndim != 3:
        raise ImageError(f"{path}: shape {data.shape}; expected three axes.")
    return Volume(data, file.affine)
