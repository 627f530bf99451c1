# SPDX-License-Identifier: Apache-2.0
"""A NIfTI file, or an image in memory, taken whole and sound, or refused with the reason.

Whatever a header says is doubted before anything is done by it.
"""

from __future__ import annotations

import io
import logging
import math
import os
import stat
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import nibabel as nb
import numpy as np
from isal import igzip, isal_zlib
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError, SpatialImage

from bids_brainmask.errors import ImageError, in_a_line

log = logging.getLogger(__name__)

UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment]
"""What reading a damaged file raises; isal declares the last of them as a value."""

HEADER = 540
"""Bytes of the longest header, NIfTI-2's."""

LATEST_START = 2**26
"""Byte by which the voxels begin: no header's extensions are that long."""

LARGEST = 2**32
"""Bytes that the voxels may take, as stored or as float32: 1024^3 of these, 256 mm of 0.25 mm."""

CHUNK = 2**24
"""Bytes that are read at a time."""

PADDING = 2**16
"""Bytes that may follow the last voxel, less one."""

EXTENTS = (40.0, 3000.0)
"""A field of view of less mm along any axis holds no head, and of more is no scanner's."""

SMALLEST_VOXEL = 1e-6
"""An affine whose voxels have fewer mm^3 is singular."""


IN_MEMORY = "the image in memory"
"""What errors call an image that has no file."""

ImageLike = str | os.PathLike[str] | SpatialImage
"""An image: the path of a NIfTI file, or an image of nibabel's."""


def name(image: ImageLike) -> str:
    """Say which image is meant, in errors: its path, if it has one."""
    if isinstance(image, SpatialImage):
        return image.get_filename() or IN_MEMORY
    return str(image)


def load(image: ImageLike) -> nb.Nifti1Image:
    """Take an image, from the disk or from memory, with the same checks: see `read`."""
    if isinstance(image, SpatialImage):
        return of_image(image)
    if isinstance(image, (str, os.PathLike)):
        return read(Path(image))
    raise ImageError(
        f"expected a path or a nibabel image, found {type(image).__name__}. Put an array into "
        "nibabel.Nifti1Image, with its affine."
    )


def of_image(image: SpatialImage) -> nb.Nifti1Image:
    """Take an image of nibabel's as `read` would read its file.

    Parameters
    ----------
    image : SpatialImage
        NIfTI or MGH. One that was loaded from a file keeps the stored values and their scaling;
        an array is stored with its own data type, whatever the header says.

    Raises
    ------
    ImageError
        It is of another format, its voxels cannot be read, or as in `read`.
    """
    where = name(image)
    if isinstance(image, nb.MGHImage):
        image = nb.Nifti1Image.from_image(image)
        image.header.set_xyzt_units("mm")
    if not isinstance(image, nb.Nifti1Pair):
        raise ImageError(
            f"{where}: expected a NIfTI or MGH image, found {type(image).__name__}. Convert it "
            "to NIfTI."
        )
    if image.affine is not None:
        _check_affine(where, image.affine)
    stored, slope, intercept = _stored(where, image)
    _check_voxels(where, image.shape, stored.dtype)
    old = image.header
    kind = nb.Nifti2Image if isinstance(old, nb.Nifti2Header) else nb.Nifti1Image
    try:
        header = kind.header_class(old.binaryblock, old.endianness, check=False)
        header.extensions[:] = old.extensions
        header.set_data_offset(0)
        header.set_data_dtype(stored.dtype)
        file = kind(stored, image.affine, header)  # the header's codes, unless the affine is new
        _check_fields(where, file.header)
        file.header.set_slope_inter(slope, intercept)  # set by hand: the array is stored as it is
        file = kind.from_bytes(file.to_bytes())
    except (HeaderDataError, ValueError, OverflowError, np.linalg.LinAlgError) as error:
        raise ImageError(f"{where}: not a usable NIfTI image ({in_a_line(error)}).") from error
    _check_place(where, file)
    return file


def _stored(where: str, image: nb.Nifti1Pair) -> tuple[np.ndarray, float, float]:
    """Give the values of an image as NIfTI can store them, and their slope and intercept."""
    data = image.dataobj
    try:
        if isinstance(data, ArrayProxy):
            return data.get_unscaled(), data.slope, data.inter
        stored = np.asarray(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ImageError(
            f"{where}: the voxels cannot be read ({in_a_line(error)}). Fetch the file again."
        ) from error
    return stored.astype(_nearest_type(stored.dtype), copy=False), 1.0, 0.0


def _nearest_type(of: np.dtype) -> np.dtype:
    """Type that NIfTI can store values of another type in."""
    if of.kind == "b":
        return np.dtype(np.uint8)
    if of.kind == "f":
        return np.dtype({2: np.float32, 4: np.float32}.get(of.itemsize, np.float64))
    return of


def read(path: Path) -> nb.Nifti1Image:
    """Read a file to its last byte, once: a gzipped one is checked by its own checksum.

    What the header promises is read and no more, and it is taken as it comes: neither a bomb nor
    a header that lies takes memory.
    """
    with _open(path) as stream:
        start = _take(path, stream, HEADER, "not a readable NIfTI image")
        kind, last = _promise(path, start)
        content = io.BytesIO()
        content.write(start)
        while content.tell() < last:
            size = min(last - content.tell(), CHUNK)
            if not content.write(_take(path, stream, size, "the voxels cannot be read")):
                raise ImageError(
                    f"{path}: the voxels cannot be read: {content.tell()} bytes, and the header "
                    f"promises {last}. The file is truncated: fetch it again."
                )
        # Beyond the last voxel is where gzip compares the checksum.
        rest = _take(path, stream, PADDING, "the voxels cannot be read")
    if len(rest) == PADDING:
        raise ImageError(
            f"{path}: more voxels than the header promises, which ends at byte {last}. The header "
            "or the file is damaged: fetch it again."
        )
    try:
        with warnings.catch_warnings():  # of odd extensions of the header, which are not looked at
            warnings.simplefilter("ignore")
            file = kind.from_stream(content)
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise ImageError(f"{path}: not a readable NIfTI image ({in_a_line(error)}).") from error
    _check_place(path, file)
    return file


def _take(path: Path, stream: BinaryIO, size: int, trouble: str) -> bytes:
    """Read up to `size` bytes."""
    try:
        return stream.read(size)
    except UNREADABLE as error:
        raise ImageError(
            f"{path}: {trouble} ({in_a_line(error)}). Fetch the file again."
        ) from error


def _open(path: Path) -> BinaryIO:
    """Open a file that is there, and is one: a pipe would be waited for without end."""
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise ImageError(
            f"{path}: not a readable NIfTI image, whose name ends in .nii or .nii.gz. Convert it."
        )
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ImageError(f"{path}: expected a file, found {found}. Put the image there.")
        if not status.st_size:
            raise ImageError(f"{path}: the file is empty. Fetch it again.")
        return igzip.open(path) if name.endswith(".gz") else path.open("rb")
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise ImageError(f"{path}: no such file. Is the path right?") from error
        raise ImageError(
            f"{path}: a link to {path.readlink()}, which is not there. If the dataset is under "
            "DataLad or git-annex, `datalad get` the file first."
        ) from error
    except OSError as error:
        raise ImageError(
            f"{path}: the file cannot be opened ({error.strerror}). Mend it, or who may read it."
        ) from error


def _promise(path: Path, start: bytes) -> tuple[type[nb.Nifti1Image], int]:
    """Tell what kind of file begins so, and where its last voxel ends by its header, in bytes."""
    kinds = (nb.Nifti2Image, nb.Nifti1Image)
    kind = next((kind for kind in kinds if kind.header_class.may_contain_header(start)), None)
    if not kind:
        raise ImageError(
            f"{path}: not a readable NIfTI image (it begins with {start[:8]!r}). Fetch it again."
        )
    try:
        header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
        with np.errstate(over="ignore"):  # of a number of axes that int16 only just holds
            shape, stored = header.get_data_shape(), header.get_data_dtype()
        offset = header.get_data_offset()
    except KeyError as code:
        raise ImageError(f"{path}: unknown data type {code}. Is the header damaged?") from code
    except (HeaderDataError, OverflowError, ValueError) as error:
        raise ImageError(f"{path}: not a readable NIfTI image ({in_a_line(error)}).") from error
    _check_voxels(path, shape, stored)
    if not header.single_vox_offset <= offset <= LATEST_START:
        raise ImageError(
            f"{path}: the voxels begin at byte {offset} by the header; expected "
            f"{header.single_vox_offset} to {LATEST_START}. The header is damaged: fetch it again."
        )
    _check_fields(path, header)
    return kind, offset + math.prod(shape) * stored.itemsize


def _check_voxels(path: Path | str, shape: tuple[int, ...], stored: np.dtype) -> None:
    """Raise unless the voxels are those of an image in 3D, and no more than a head's."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 1) or min(shape) < 1:
        raise ImageError(
            f"{path}: expected a 3D image, found shape {shape}. "
            "Average or split its frames before running."
        )
    if stored.fields is not None or stored.kind not in "iuf":
        raise ImageError(
            f"{path}: expected real intensities, found data type {stored}. "
            "Write the magnitude, or the channel that shows the head."
        )
    voxels = math.prod(shape)
    if voxels * max(stored.itemsize, 4) > LARGEST:
        raise ImageError(
            f"{path}: {voxels * stored.itemsize / 1e9:.1f} GB for shape {shape} of {stored}; a "
            f"head wants {LARGEST / 1e9:.1f} GB at most. Is the header damaged? Else resample it."
        )


def _check_fields(path: Path | str, header: nb.Nifti1Header) -> None:
    """Tell of what nibabel would mend in silence, or by a guess."""
    sizes, bits = header["pixdim"][1:4], 8 * header.get_data_dtype().itemsize
    if not header["sform_code"] and not (np.isfinite(sizes) & (sizes != 0)).all():
        raise ImageError(
            f"{path}: voxel sizes of {sizes.tolist()} mm, and no sform that counts instead. "
            "Mend the header, or convert the image again."
        )
    if not header["sform_code"] and sizes.min() < 0:
        log.warning("%s: voxel sizes of %s mm; taken without signs", path, sizes.tolist())
    if header["bitpix"] != bits:
        found = (header["bitpix"], header.get_data_dtype(), bits)
        log.warning("%s: bitpix is %d, data type %s wants %d; the type counts", path, *found)


def _check_affine(path: Path | str, affine: np.ndarray) -> None:
    """Raise unless an affine tells where voxels are."""
    with np.errstate(all="ignore"):
        size = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not SMALLEST_VOXEL < size < np.inf:
        raise ImageError(
            f"{path}: the affine is singular or not finite: {affine.tolist()}. "
            "Mend the header, or convert the image again."
        )


def _check_place(path: Path | str, file: nb.Nifti1Image) -> None:
    """Raise unless the voxels have a place in the world, and room for a head."""
    _check_affine(path, file.affine)
    shape = file.shape[:3]
    with np.errstate(over="ignore"):
        extent = np.sqrt((file.affine[:3, :3] ** 2).sum(0)) * shape
    if min(shape) < 2 or extent.min() < EXTENTS[0] or extent.max() > EXTENTS[1]:
        raise ImageError(
            f"{path}: the field of view is {extent.round(1).tolist()} mm over {shape} "
            f"voxels; a head wants {EXTENTS[0]:g} mm along each axis, and {EXTENTS[1]:g} mm hold "
            "it. Crop or mend the image."
        )
    if not file.header["qform_code"] and not file.header["sform_code"]:
        log.warning("%s: qform and sform codes are 0, so orientation is a guess", path)
