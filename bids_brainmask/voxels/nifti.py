# SPDX-License-Identifier: Apache-2.0
"""Read a NIfTI file or an image in memory completely, or raise an error with the reason.

Header values are validated before they are used.
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
from bids_brainmask.voxels import NIFTI

log = logging.getLogger(__name__)

UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment]
"""Errors of reading a damaged file; isal declares the last of them as a value."""

NO_SIZE: tuple[type[Exception], ...] = (
    *UNREADABLE,
    *(ImageError, HeaderDataError, KeyError, ValueError, OverflowError),
)
"""Errors of a header that does not tell the image's size."""

HEADER = 540
"""Bytes of the longest header, that of NIfTI-2."""

LATEST_START = 2**26
"""Largest offset of the voxels in bytes; header extensions are shorter."""

LARGEST = 2**32
"""Largest size of the voxels in bytes, as stored and as float32: 1024^3 voxels of float32."""

CHUNK = 2**24
"""Bytes of one read."""

PADDING = 2**16
"""Fewer bytes than this may follow the last voxel."""

EXTENTS = (40.0, 3000.0)
"""Smallest and largest field of view of a head along an axis, mm."""

SMALLEST_VOXEL = 1e-6
"""An affine whose voxels are smaller, mm^3, counts as singular."""


IN_MEMORY = "the image in memory"
"""Name of an image without a file, in errors."""

ImageLike = str | os.PathLike[str] | SpatialImage
"""An image: the path of a NIfTI file, or an image of nibabel's."""


def name(image: ImageLike) -> str:
    """Name an image in errors: by its path, if it has one."""
    if isinstance(image, SpatialImage):
        return image.get_filename() or IN_MEMORY
    return str(image)


def load(image: ImageLike) -> nb.Nifti1Image:
    """Read an image from a file or from memory, with the same checks: see `read`."""
    if isinstance(image, SpatialImage):
        return of_image(image)
    if isinstance(image, (str, os.PathLike)):
        return read(Path(image))
    raise ImageError(
        f"expected a path or a nibabel image, found {type(image).__name__}. Make a "
        "nibabel.Nifti1Image of an array and its affine."
    )


def of_image(image: SpatialImage) -> nb.Nifti1Image:
    """Read an image of nibabel as `read` would read its file.

    Parameters
    ----------
    image : SpatialImage
        NIfTI or MGH. One that was loaded from a file keeps the stored values and their scaling;
        an array is stored with its own data type, whatever the header says.

    Raises
    ------
    ImageError
        The format is another one, the voxels cannot be read, or as in `read`.
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
    """Get the stored values of an image, in a type of NIfTI, with slope and intercept."""
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
    """Type of NIfTI that holds the values of another type."""
    if of.kind == "b":
        return np.dtype(np.uint8)
    if of.kind == "f":
        return np.dtype({2: np.float32, 4: np.float32}.get(of.itemsize, np.float64))
    return of


def read(path: Path) -> nb.Nifti1Image:
    """Read a whole file once; the checksum of a gzipped one is verified.

    No more bytes are read than the header announces, in chunks: neither a decompression bomb nor
    a wrong header can exhaust memory.
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
                    f"{path}: the voxels cannot be read: found {content.tell()} bytes, expected "
                    f"{last} by the header. The file is truncated: fetch it again.",
                    damaged=True,
                )
        # gzip verifies the checksum after the last voxel.
        rest = _take(path, stream, PADDING, "the voxels cannot be read")
    if len(rest) == PADDING:
        raise ImageError(
            f"{path}: more voxels than the header announces; expected the end at byte {last}. The "
            "header or the file is damaged: fetch it again."
        )
    try:
        with warnings.catch_warnings():  # about header extensions, which are not used
            warnings.simplefilter("ignore")
            file = kind.from_stream(content)
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise ImageError(f"{path}: not a readable NIfTI image ({in_a_line(error)}).") from error
    _check_place(path, file)
    return file


def size_of(path: Path) -> tuple[int, int]:
    """Count the voxels by the header alone, and the bytes of each; (0, 0): it cannot be told."""
    try:
        with _open(path) as stream:
            start = stream.read(HEADER)
        for kind in (nb.Nifti2Header, nb.Nifti1Header):
            if kind.may_contain_header(start):
                header = kind(start[: kind.sizeof_hdr], check=False)
                with np.errstate(over="ignore"):  # as in `_promise`
                    shape = header.get_data_shape()
                return max(0, math.prod(shape)), header.get_data_dtype().itemsize
    except NO_SIZE:
        pass  # `read` tells the reason
    return 0, 0


def _take(path: Path, stream: BinaryIO, size: int, trouble: str) -> bytes:
    """Read up to `size` bytes."""
    try:
        return stream.read(size)
    except UNREADABLE as error:
        raise ImageError(
            f"{path}: {trouble} ({in_a_line(error)}). Fetch the file again.", damaged=True
        ) from error


def _open(path: Path) -> BinaryIO:
    """Open a regular file: reading a pipe could wait forever."""
    name = path.name.lower()
    if not name.endswith(NIFTI):
        raise ImageError(
            f"{path}: expected a NIfTI image, whose name ends in .nii or .nii.gz. Convert it."
        )
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ImageError(f"{path}: expected a file, found {found}. Name the image file.")
        if not status.st_size:
            raise ImageError(f"{path}: the file is empty. Fetch it again.", damaged=True)
        return igzip.open(path) if name.endswith(".gz") else path.open("rb")
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise ImageError(f"{path}: no such file. Check the path.") from error
        raise ImageError(
            f"{path}: a link to {path.readlink()}, which does not exist. In a DataLad dataset, "
            "run `datalad get` on the file first."
        ) from error
    except OSError as error:
        raise ImageError(
            f"{path}: the file cannot be opened ({error.strerror}). Check the file and its "
            "permissions."
        ) from error


def _promise(path: Path, start: bytes) -> tuple[type[nb.Nifti1Image], int]:
    """Image class of a file, and the end of its last voxel in bytes, both by its header."""
    kinds = (nb.Nifti2Image, nb.Nifti1Image)
    kind = next((kind for kind in kinds if kind.header_class.may_contain_header(start)), None)
    if not kind:
        raise ImageError(
            f"{path}: not a readable NIfTI image (it starts with {start[:8]!r}). Fetch it again.",
            damaged=True,
        )
    try:
        header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
        with np.errstate(over="ignore"):  # the number of axes may be the largest int16
            shape, stored = header.get_data_shape(), header.get_data_dtype()
        offset = header.get_data_offset()
    except KeyError as code:
        raise ImageError(
            f"{path}: unknown data type {code}. The header is damaged: fetch the file again."
        ) from code
    except (HeaderDataError, OverflowError, ValueError) as error:
        raise ImageError(f"{path}: not a readable NIfTI image ({in_a_line(error)}).") from error
    _check_voxels(path, shape, stored)
    if not header.single_vox_offset <= offset <= LATEST_START:
        raise ImageError(
            f"{path}: the voxels start at byte {offset} by the header; expected "
            f"{header.single_vox_offset} to {LATEST_START}. The header is damaged: fetch it again."
        )
    _check_fields(path, header)
    return kind, offset + math.prod(shape) * stored.itemsize


def _check_voxels(path: Path | str, shape: tuple[int, ...], stored: np.dtype) -> None:
    """Raise unless the voxels are real and 3D, and not more than those of a head."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 1) or min(shape) < 1:
        raise ImageError(
            f"{path}: expected a 3D image, found shape {shape}. "
            "Average or split its frames before running."
        )
    if stored.fields is not None or stored.kind not in "iuf":
        raise ImageError(
            f"{path}: expected real intensities, found data type {stored}. "
            "Save the magnitude, or one channel."
        )
    voxels = math.prod(shape)
    if voxels * max(stored.itemsize, 4) > LARGEST:
        raise ImageError(
            f"{path}: {voxels * stored.itemsize / 1e9:.1f} GB for shape {shape} of {stored}; "
            f"expected at most {LARGEST / 1e9:.1f} GB for a head. If the header is right, "
            "resample the image."
        )


def _check_fields(path: Path | str, header: nb.Nifti1Header) -> None:
    """Check header fields that nibabel would correct silently, or by a guess."""
    sizes, bits = header["pixdim"][1:4], 8 * header.get_data_dtype().itemsize
    if not header["sform_code"] and not (np.isfinite(sizes) & (sizes != 0)).all():
        raise ImageError(
            f"{path}: found voxel sizes of {sizes.tolist()} mm and no sform; expected one of them "
            "to be valid. Correct the header, or convert the image again."
        )
    if not header["sform_code"] and sizes.min() < 0:
        log.warning(
            "%s: found voxel sizes of %s mm; their signs are ignored", path, sizes.tolist()
        )
    if header["bitpix"] != bits:
        found = (header["bitpix"], bits, header.get_data_dtype())
        log.warning(
            "%s: found bitpix %d, expected %d for data type %s; the data type is used",
            path,
            *found,
        )


def _check_affine(path: Path | str, affine: np.ndarray) -> None:
    """Raise unless an affine is finite and not singular."""
    with np.errstate(all="ignore"):
        size = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not SMALLEST_VOXEL < size < np.inf:
        raise ImageError(
            f"{path}: the affine is singular or not finite: {affine.tolist()}. "
            "Correct the header, or convert the image again."
        )


def _check_place(path: Path | str, file: nb.Nifti1Image) -> None:
    """Raise unless the affine is usable and the field of view can hold a head."""
    _check_affine(path, file.affine)
    shape = file.shape[:3]
    with np.errstate(over="ignore"):
        extent = np.sqrt((file.affine[:3, :3] ** 2).sum(0)) * shape
    if min(shape) < 2 or extent.min() < EXTENTS[0] or extent.max() > EXTENTS[1]:
        raise ImageError(
            f"{path}: the field of view is {extent.round(1).tolist()} mm over {shape} "
            f"voxels; expected {EXTENTS[0]:g} to {EXTENTS[1]:g} mm along each axis for a head. "
            "Check the voxel sizes in the header."
        )
    if not file.header["qform_code"] and not file.header["sform_code"]:
        log.warning("%s: qform and sform codes are 0; the orientation is a guess", path)
