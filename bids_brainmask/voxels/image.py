# SPDX-License-Identifier: Apache-2.0
"""Read NIfTI images as arrays with an affine, and write results on the same grid.

The affine is the sform if its code is not 0, else the qform, else that of the voxel sizes (the
rule of nibabel and of the standard). Results have both transforms and both codes of the source,
unchanged.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import nibabel as nb
import numpy as np
from isal import igzip
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.volumeutils import apply_read_scaling

from bids_brainmask.errors import ImageError
from bids_brainmask.voxels import nifti
from bids_brainmask.voxels.masks import bounds
from bids_brainmask.voxels.nifti import ImageLike

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

log = logging.getLogger(__name__)

LARGEST_VALUE = 1e12
"""Larger intensities are taken for damage; their squares may overflow."""

SMALLEST_RANGE = 1e-20
"""An image with a smaller range of intensities counts as constant."""

PLANES = 8
"""Planes of an image that are converted at a time; some of them fit into a processor's cache."""

GRID_FIELDS = (
    *("pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
"""Fields of a header about the grid. The others, some of them free text, are not copied."""

SAME_GRID = 1e-3
"""Largest difference of two affines of the same grid, mm."""


@dataclass(frozen=True)
class Volume:
    """Voxels and their place in the world: ``xyz_mm = affine @ (i, j, k, 1)``, RAS+."""

    data: np.ndarray  # (I, J, K)
    affine: np.ndarray  # (4, 4)

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(
                f"expected shapes (I, J, K) and (4, 4), found {self.data.shape} and "
                f"{self.affine.shape}"
            )

    @property
    def spacing(self) -> np.ndarray:
        """Voxel sizes along the three axes, mm."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(0))


@dataclass(frozen=True)
class Source:
    """An image: its intensities, and its file, whose grid and header the results have."""

    volume: Volume  # float32, finite
    file: nb.Nifti1Image


def read(image: ImageLike) -> Source:
    """Read a 3D NIfTI image.

    Parameters
    ----------
    image : path or nibabel image
        ``.nii`` or ``.nii.gz``, NIfTI-1 or NIfTI-2, of any real data type and byte order; or an
        image in memory, as in `nifti.of_image`.

    Returns
    -------
    Source
        Scaled intensities as float32; NaN, infinite ones and those from `LARGEST_VALUE` are 0.
        A fourth axis of one frame is dropped.

    Raises
    ------
    ImageError
        The file is absent, not a file, empty, truncated, not NIfTI, not 3D, of complex or RGB
        voxels, too small or too large for a head, without a usable affine, without finite voxels,
        or constant.
    """
    where, file = nifti.name(image), nifti.load(image)
    data = _intensities(file)
    low, high = data.min(), data.max()  # NaN, if a voxel is
    if not (low > -LARGEST_VALUE and high < LARGEST_VALUE):
        finite = (data > -LARGEST_VALUE) & (data < LARGEST_VALUE)
        if not finite.any():
            raise ImageError(
                f"{where}: no voxel has a finite value; expected intensities of a head. Fetch "
                "or convert the image again."
            )
        log.warning("%s: %d voxels are not finite; they are set to 0", where, (~finite).sum())
        data = np.where(finite, data, np.float32(0))
        low, high = data.min(), data.max()
    if high - low < SMALLEST_RANGE:
        raise ImageError(
            f"{where}: every voxel is {data.flat[0]:g}; expected intensities of a head. Fetch or "
            "convert the image again."
        )
    return Source(Volume(data, file.affine), file)


def read_mask(image: ImageLike) -> np.ndarray:
    """Read a mask, (I, J, K) bool: True where the image is above one half."""
    return _values(nifti.load(image)) > 0.5


def read_binary(image: ImageLike) -> Volume:
    """Read a mask that a person may have made: bool, on its grid.

    The structure may have any value above 0 and any data type, the background is 0. NaN counts as
    0. A mask without a voxel is no error.

    Raises
    ------
    ImageError
        As `read`; or the image has more than two values.
    """
    file = nifti.load(image)
    values = np.nan_to_num(_values(file), nan=0.0, posinf=np.inf, neginf=-np.inf)
    top = float(values.max())
    inside = values > 0.5 * top if top > 0 else np.zeros(values.shape, bool)
    if not np.isfinite(top) or (abs(values - top * inside) > 1e-3 * abs(top)).any():
        raise ImageError(
            f"{nifti.name(image)}: expected a mask of two values, 0 and one above it; found "
            f"values from {values.min():g} to {top:g} and others between. Save a binary mask."
        )
    return Volume(inside, file.affine)


def read_grid(image: ImageLike) -> Source:
    """Read an image for its grid and header, as `read`; its voxels may have any values."""
    file = nifti.load(image)
    return Source(Volume(_intensities(file), file.affine), file)


def read_labels(image: ImageLike) -> Volume:
    """Read a segmentation: whole numbers, int32, on their grid. NaN and infinite ones are 0.

    Raises
    ------
    ImageError
        As `read`; or the image holds other numbers than whole ones.
    """
    file = nifti.load(image)
    values = _values(file)
    values = np.where(np.isfinite(values), values, 0)
    with np.errstate(invalid="ignore"):  # values beyond int32 are refused below
        labels = np.round(values).astype(np.int32)
    if not np.allclose(values, labels, atol=1e-3):
        raise ImageError(
            f"{nifti.name(image)}: expected whole numbers as labels, found fractions."
        )
    return Volume(labels, file.affine)


def read_structure(image: ImageLike, values: Sequence[int] = ()) -> Volume:
    """Read the voxels of a segmentation with some values: bool, on its grid.

    Parameters
    ----------
    image : path or nibabel image
    values : sequence of int
        Labels that count; all but 0 if empty. A warning says if the image has none of them.

    Raises
    ------
    ImageError
        As `read_labels`.
    """
    volume = read_labels(image)
    if not values:
        return replace(volume, data=volume.data != 0)
    found = np.isin(volume.data, values)
    if not found.any():
        there = np.unique(volume.data)
        log.warning(
            "%s: no voxel is one of %s; found %d values: %s%s",
            *(nifti.name(image), list(values), len(there), there[:20].tolist()),
            " ..." if len(there) > 20 else "",
        )
    return replace(volume, data=found)


def check_same_grid(names: Sequence[str], volumes: Sequence[Volume]) -> None:
    """Raise unless two volumes are on one grid; warn if its axes are not at right angles.

    Parameters
    ----------
    names, volumes : two each
        The two volumes, and their names for the error message.

    Raises
    ------
    ImageError
        The shapes differ, or the affines differ by more than `SAME_GRID`.
    """
    one, other = volumes
    near = np.allclose(one.affine, other.affine, rtol=0, atol=SAME_GRID)
    if one.data.shape != other.data.shape or not near:
        grids = " and ".join(
            f"{name} (shape {volume.data.shape}, affine {volume.affine.round(4).tolist()})"
            for name, volume in zip(names, volumes, strict=True)
        )
        raise ImageError(
            f"{grids} are not on one grid; affines may differ by {SAME_GRID:g} mm. Resample one "
            "onto the other's grid, to the nearest neighbor."
        )
    axes = other.affine[:3, :3] / other.spacing
    if not np.allclose(axes.T @ axes, np.eye(3), atol=0.01):
        log.warning(
            "%s: the axes are not at right angles; volumes and distances are approximate", names[1]
        )


def _values(file: nb.Nifti1Image) -> np.ndarray:
    """Scaled values, (I, J, K)."""
    with np.errstate(all="ignore"):
        return np.asanyarray(file.dataobj).reshape(file.shape[:3])


def _intensities(file: nb.Nifti1Image) -> np.ndarray:
    """Scaled intensities, (I, J, K) float32, C-contiguous; values beyond float32 are infinite.

    A file is in Fortran order, the input of a network in C order. Converting and scaling some
    `PLANES` at a time takes a third of the time, and no further memory.
    """
    voxels = cast(ArrayProxy, file.dataobj)
    stored = np.asanyarray(voxels.get_unscaled()).reshape(file.shape[:3])
    slope, inter = voxels.slope, voxels.inter
    found = np.empty(stored.shape, np.float32)
    with np.errstate(all="ignore"):
        for j in range(0, stored.shape[1], PLANES):
            some = slice(j, j + PLANES)
            found[:, some] = apply_read_scaling(stored[:, some], slope, inter)
    return found


def _header_like(source: Source, kind: DTypeLike) -> nb.Nifti1Header:
    """Header with the grid, transforms, codes and units of the source, and no other field.

    Other fields and extensions may have names of persons, of machines or of folders.
    """
    before = source.file.header
    if before.extensions:
        _tell_of_extensions()
    header = type(before)(endianness=before.endianness)
    header.set_data_shape(source.volume.data.shape)
    header.set_data_dtype(kind)
    header.set_slope_inter(1, 0)
    for field in GRID_FIELDS:
        header[field] = before[field]
    return header


@functools.cache
def _tell_of_extensions() -> None:
    """Tell once per process that header extensions are dropped."""
    log.warning(
        "headers have extensions, which may have names and dates; results have none of them, and "
        "no text of a header"
    )


def mask_like(source: Source, mask: np.ndarray) -> nb.Nifti1Image:
    """Make an image of a mask on the source's grid: uint8, 0 and 1, slope 1.

    Parameters
    ----------
    source : Source
    mask : (I, J, K) bool array
    """
    stored = _as_stored(mask).view(np.uint8)
    return type(source.file)(stored, source.file.affine, _header_like(source, np.uint8))


def labels_like(source: Source, labels: np.ndarray) -> nb.Nifti1Image:
    """Make an image of labels, (I, J, K) int in [0, 65535], on the source's grid: uint16."""
    stored = np.asfortranarray(labels, np.uint16)
    return type(source.file)(stored, source.file.affine, _header_like(source, np.uint16))


def _as_stored(mask: np.ndarray) -> np.ndarray:
    """Copy a mask to Fortran order, as in a file; only its box is copied."""
    stored = np.zeros(mask.shape, bool, order="F")
    if there := bounds(mask):
        stored[there] = mask[there]
    return stored


def probability_like(source: Source, probability: np.ndarray) -> nb.Nifti1Image:
    """Make a float32 image of probabilities, (I, J, K) in [0, 1], on the source's grid."""
    return type(source.file)(
        probability.astype(np.float32), source.file.affine, _header_like(source, np.float32)
    )


def brain_like(source: Source, mask: np.ndarray) -> nb.Nifti1Image:
    """Make an image of the source's stored voxels inside the mask, with its type and scaling.

    Outside, the stored value is the one that scales to 0, or the nearest that the data type
    holds.
    """
    voxels = cast(ArrayProxy, source.file.dataobj)
    stored = np.asanyarray(voxels.get_unscaled()).reshape(mask.shape)
    slope, intercept = voxels.slope, voxels.inter
    blank = -intercept / slope
    if stored.dtype.kind in "iu":
        limits = np.iinfo(stored.dtype)
        blank = int(np.clip(round(blank), limits.min, limits.max))
    mask = _as_stored(mask)
    kept = np.where(mask, stored, stored.dtype.type(blank))
    brain = type(source.file)(kept, source.file.affine, _header_like(source, stored.dtype))
    brain.header.set_slope_inter(slope, intercept)  # set by hand: the array is stored as it is
    return brain


def reoriented(file: nb.Nifti1Image, codes: str = "") -> nb.Nifti1Image:
    """Reorder and flip the axes of an image; both transforms become its affine.

    Parameters
    ----------
    file : nibabel image
        With its stored voxels, as `mask_like` and `brain_like` make it.
    codes : str
        Directions of the axes, such as ``RAS``; empty: the axes stay.
    """
    header = file.header
    code = int(header["sform_code"]) or int(header["qform_code"]) or 1
    slope, intercept = header.get_slope_inter()
    if codes:
        wanted = axcodes2ornt(tuple(codes))
        file = file.as_reoriented(ornt_transform(io_orientation(file.affine), wanted))
    turned = type(file)(np.asanyarray(file.dataobj), file.affine, file.header)
    turned.set_sform(file.affine, code)
    turned.set_qform(file.affine, code)
    turned.header.set_slope_inter(slope, intercept)
    return turned


def of_volume(volume: Volume) -> nb.Nifti1Image:
    """Make an image of a volume, in mm, with its affine as sform and qform."""
    file = nb.Nifti1Image(volume.data, volume.affine)
    file.set_qform(volume.affine, code=1)  # the nearest rigid transform, for a sheared affine
    file.set_sform(volume.affine, code=1)
    file.header.set_xyzt_units("mm")
    return file


def to_bytes(file: nb.Nifti1Image, *, compress: bool) -> bytes:
    """Bytes of the file, gzipped or not; the same image gives the same bytes."""
    plain = file.to_bytes()
    return igzip.compress(plain, compresslevel=2, mtime=0) if compress else plain
