# SPDX-License-Identifier: Apache-2.0
"""NIfTI files to arrays with an affine, and back onto the very same grid.

The header's policy is all here. The affine is the sform where its code is not 0, else the qform,
else what the voxel sizes give (nibabel's rule, and the standard's). A result carries both of the
source's transforms and codes untouched, whichever was used.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nb
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from bids_brainmask.errors import ImageError

log = logging.getLogger(__name__)

PADDING = 2**16
"""Bytes that may follow the last voxel, less one."""

SMALLEST_EXTENT = 40.0
"""A field of view under this many mm along any axis holds no head."""

SAME_GRID = 1e-3
"""Affines that differ by more than this anywhere, mm, are of different grids."""


@dataclass(frozen=True)
class Volume:
    """Voxels and their place in the world: ``xyz_mm = affine @ (i, j, k, 1)``, RAS+."""

    data: np.ndarray  # (I, J, K)
    affine: np.ndarray  # (4, 4)

    def __post_init__(self):
        if self.data.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(
                f"need (I, J, K) and (4, 4), got {self.data.shape} and {self.affine.shape}"
            )

    @property
    def spacing(self) -> np.ndarray:
        """Voxel sizes along the three axes, mm."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(0))


@dataclass(frozen=True)
class Source:
    """An image as it was read: its intensities, and its file for the results to be like."""

    volume: Volume  # float32, finite
    file: nb.Nifti1Image


def read(path: Path) -> Source:
    """Read a 3D NIfTI image.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``, NIfTI-1 or NIfTI-2, of any real data type and byte order.

    Returns
    -------
    Source
        Scaled intensities as float32; NaN and infinite ones are 0. A fourth axis of one frame
        is dropped.

    Raises
    ------
    ImageError
        The file is absent, empty, truncated, not NIfTI, not 3D, of complex or RGB voxels, too
        small for a head, without finite voxels, or constant.
    """
    file = _whole(path)
    data = np.asanyarray(file.dataobj, dtype=np.float32)
    data = data.reshape(data.shape[:3])
    finite = np.isfinite(data)
    if not finite.all():
        if not finite.any():
            raise ImageError(f"{path}: no voxel has a finite value, so there is nothing to see.")
        log.warning("%s: %d voxels are not finite; taken as 0", path, (~finite).sum())
        data = np.where(finite, data, np.float32(0))
    if data.max() == data.min():
        raise ImageError(f"{path}: every voxel is {data.flat[0]:g}, so there is nothing to see.")
    return Source(Volume(data, file.affine), file)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask, (I, J, K) bool: True where the image is above one half."""
    file = _whole(path)
    return np.asanyarray(file.dataobj).reshape(file.shape[:3]) > 0.5


def read_labels(path: Path) -> Volume:
    """Read a segmentation: whole numbers, int32, on their grid. NaN and infinite ones are 0.

    Raises
    ------
    ImageError
        As `read`; or the image holds other numbers than whole ones.
    """
    file = _whole(path)
    values = np.asanyarray(file.dataobj).reshape(file.shape[:3])
    values = np.where(np.isfinite(values), values, 0)
    labels = np.round(values).astype(np.int32)
    if not np.allclose(values, labels, atol=1e-3):
        raise ImageError(f"{path}: expected whole numbers as labels, found fractions.")
    return Volume(labels, file.affine)


def read_structure(path: Path, values: Sequence[int] = ()) -> Volume:
    """Read where a segmentation has some values: bool, on its grid.

    Parameters
    ----------
    path : Path
    values : sequence of int
        Labels that count; all but 0 if empty. That the image has none of them is warned of.

    Raises
    ------
    ImageError
        As `read_labels`.
    """
    volume = read_labels(path)
    if not values:
        return replace(volume, data=volume.data != 0)
    found = np.isin(volume.data, values)
    if not found.any():
        there = np.unique(volume.data)
        log.warning(
            "%s: no voxel is one of %s; it holds %d values: %s%s",
            *(path, list(values), len(there), there[:20].tolist()),
            " ..." if len(there) > 20 else "",
        )
    return replace(volume, data=found)


def check_same_grid(paths: Sequence[Path], volumes: Sequence[Volume]) -> None:
    """Raise unless two volumes are on one grid; warn if its axes are not at right angles.

    Parameters
    ----------
    paths, volumes : two each
        What is to be compared, and with what.

    Raises
    ------
    ImageError
        Other shapes, or affines that differ by more than `SAME_GRID`.
    """
    one, other = volumes
    near = np.allclose(one.affine, other.affine, rtol=0, atol=SAME_GRID)
    if one.data.shape != other.data.shape or not near:
        grids = " and ".join(
            f"{path} (shape {volume.data.shape}, affine {volume.affine.round(4).tolist()})"
            for path, volume in zip(paths, volumes, strict=True)
        )
        raise ImageError(
            f"{grids} are not on one grid; affines may differ by {SAME_GRID:g} mm. Resample one "
            "onto the other's grid, to the nearest neighbour."
        )
    axes = other.affine[:3, :3] / other.spacing
    if not np.allclose(axes.T @ axes, np.eye(3), atol=0.01):
        log.warning("%s: axes not at right angles; volumes and distances are rough", paths[1])


def _whole(path: Path) -> nb.Nifti1Image:
    """Read a file to its last byte, once: a gzipped one is checked by its own checksum."""
    file = _open(path)
    _check_header(path, file)
    last = file.dataobj.offset + file.get_data_dtype().itemsize * int(np.prod(file.shape))
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rb") as stream:
            content = stream.read(last)
            rest = stream.read(PADDING)  # the end is where gzip compares the checksum
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(
            f"{path}: the voxels cannot be read ({_line(error)}). Fetch the file again."
        ) from error
    if len(content) < last:
        raise ImageError(
            f"{path}: the voxels cannot be read: {len(content)} bytes, and the header promises "
            f"{last} for shape {file.shape}. The file is truncated: fetch it again."
        )
    if len(rest) == PADDING:
        raise ImageError(
            f"{path}: more voxels than the header promises for shape {file.shape}. The header or "
            "the file is damaged: fetch it again."
        )
    return type(file).from_bytes(content)


def _line(error: Exception) -> str:
    """Fold what an error says into one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _open(path: Path) -> nb.Nifti1Image:
    if path.is_symlink() and not path.exists():
        raise ImageError(
            f"{path}: a link to {path.readlink()}, which is not there. If the dataset is under "
            "DataLad or git-annex, `datalad get` the file first."
        )
    if not path.is_file():
        raise ImageError(f"{path}: no such file.")
    if not path.stat().st_size:
        raise ImageError(f"{path}: the file is empty.")
    try:
        file = nb.load(path)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise ImageError(f"{path}: not a readable NIfTI image ({_line(error)}).") from error
    if not isinstance(file, nb.Nifti1Image):  # Nifti2Image is one too
        raise ImageError(f"{path}: expected NIfTI, found {type(file).__name__}. Convert it first.")
    return file


def _check_header(path: Path, file: nb.Nifti1Image) -> None:
    shape, affine, kind = file.shape, file.affine, file.get_data_dtype()
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 1) or 0 in shape:
        raise ImageError(
            f"{path}: expected a 3D image, found shape {shape}. "
            "Average or split its frames before running."
        )
    if kind.fields is not None or kind.kind not in "iuf":
        raise ImageError(f"{path}: expected real intensities, found data type {kind}.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ImageError(f"{path}: the affine is singular or not finite: {affine.tolist()}.")
    extent = np.sqrt((affine[:3, :3] ** 2).sum(0)) * shape[:3]
    if min(shape[:3]) < 2 or extent.min() < SMALLEST_EXTENT:
        raise ImageError(
            f"{path}: the field of view is {extent.round(1).tolist()} mm over {shape[:3]} "
            f"voxels; a head wants {SMALLEST_EXTENT:g} mm along each axis."
        )
    if not file.header["qform_code"] and not file.header["sform_code"]:
        log.warning("%s: qform and sform codes are 0, so orientation is a guess", path)


def _header_like(source: Source, kind) -> nb.Nifti1Header:
    """Header of the source with its grid, transforms, codes and units, and nothing else of it."""
    header = source.file.header.copy()
    header.extensions.clear()
    header.set_data_shape(source.volume.data.shape)
    header.set_data_dtype(kind)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = b""
    header["intent_code"] = 0
    return header


def mask_like(source: Source, mask: np.ndarray) -> nb.Nifti1Image:
    """Put a mask into a file of the source's grid: uint8, 0 and 1, slope 1.

    Parameters
    ----------
    source : Source
    mask : (I, J, K) bool array
    """
    return type(source.file)(mask.astype(np.uint8), None, _header_like(source, np.uint8))


def probability_like(source: Source, probability: np.ndarray) -> nb.Nifti1Image:
    """Put probabilities, (I, J, K) float32 in [0, 1], into a float32 file of the source's grid."""
    return type(source.file)(
        probability.astype(np.float32), None, _header_like(source, np.float32)
    )


def brain_like(source: Source, mask: np.ndarray) -> nb.Nifti1Image:
    """Keep the source's voxels inside the mask, bit for bit, with its data type and scaling.

    Outside, the stored value is the one that scales to 0, or the nearest to it that the data type
    holds.
    """
    stored = np.asanyarray(source.file.dataobj.get_unscaled()).reshape(mask.shape)
    slope, intercept = source.file.dataobj.slope, source.file.dataobj.inter
    blank = -intercept / slope
    if stored.dtype.kind in "iu":
        limits = np.iinfo(stored.dtype)
        blank = int(np.clip(round(blank), limits.min, limits.max))
    header = source.file.header.copy()
    header.set_data_shape(mask.shape)
    header["cal_min"] = header["cal_max"] = 0
    brain = type(source.file)(np.where(mask, stored, stored.dtype.type(blank)), None, header)
    brain.header.set_slope_inter(slope, intercept)  # set by hand: the array is stored as it is
    return brain


def of_volume(volume: Volume) -> nb.Nifti1Image:
    """Put a volume into a file of its own, in mm, with its affine as both transforms."""
    file = nb.Nifti1Image(volume.data, volume.affine)
    file.set_qform(volume.affine, code=1)  # its nearest rigid one, for a sheared affine
    file.set_sform(volume.affine, code=1)
    file.header.set_xyzt_units("mm")
    return file


def to_bytes(file: nb.Nifti1Image, *, compress: bool) -> bytes:
    """Bytes of the file, gzipped or not; the same image gives the same bytes."""
    plain = file.to_bytes()
    return gzip.compress(plain, compresslevel=4, mtime=0) if compress else plain
