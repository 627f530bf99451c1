# SPDX-License-Identifier: Apache-2.0
"""What a brain mask is like, in numbers that can be compared over many images.

None of them says that a mask is bad: they tell which are unlike the others (`outliers`). Each can
be computed again from the image, the mask and the probabilities as `COLUMNS` defines it.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from bids_brainmask.voxels.image import Volume, boundary

RIM_MM = 3.0
"""Depth of the rims on either side of the mask's surface whose intensities are compared, mm."""

HEAD_PERCENT = (1, 99)
"""Percentiles of the places of bright voxels between which the head is taken to lie."""

DECIMALS = 4
"""Places that a measure keeps behind the point."""

Box = tuple[slice, slice, slice]


def measure(
    volume: Volume,
    mask: np.ndarray,
    probability: np.ndarray,
    *,
    pieces_removed: int,
    removed: int,
    holes_filled: int,
    filled: int,
    predicted_dice: float | None,
) -> dict[str, float | int | None]:
    """Measure a brain mask.

    Parameters
    ----------
    volume : Volume
        Image; finite intensities, axes in any order and direction, oblique ones too.
    mask : (I, J, K) bool array
        Brain; may be empty.
    probability : (I, J, K) float array
        Of brain, in [0, 1].
    pieces_removed, removed : int
        How many pieces were dropped from the mask, and their voxels.
    holes_filled, filled : int
        How many hollows were filled, and their voxels.
    predicted_dice : float or None
        Of the mask with a reference, in [0, 1]; None where it was not predicted.

    Returns
    -------
    dict of str to float, int or None
        The measures of `COLUMNS`, in their order, rounded to `DECIMALS`; None for what is not
        defined, as most are for an empty mask.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    for name, other in (("mask", mask), ("probabilities", probability)):
        if other.shape != volume.data.shape:
            shapes = f"{volume.data.shape} and {other.shape}"
            raise ValueError(f"image and {name} of shapes {shapes} are not on one grid")
    voxel_ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    found = {
        "volume_ml": np.count_nonzero(mask) * voxel_ml,
        "pieces_removed": pieces_removed,
        "removed_ml": removed * voxel_ml,
        "holes_filled": holes_filled,
        "filled_ml": filled * voxel_ml,
        "predicted_dice": predicted_dice,
        **{f"size_{axis}": size for axis, size in zip("ijk", mask.shape, strict=True)},
        **{f"voxel_{axis}_mm": s for axis, s in zip("ijk", volume.spacing, strict=True)},
    }
    if found["volume_ml"]:
        axes, flips = _towards_ras(volume)
        arrays = (volume.data, mask, probability)
        data, mask, probability = (array.transpose(axes)[flips] for array in arrays)
        found |= _compare(data, mask, probability, volume.spacing[axes])
    return {name: _tidy(found.get(name)) for name in COLUMNS}


def _towards_ras(volume: Volume) -> tuple[list[int], tuple[slice, ...]]:
    """Find the image axes nearest to right, anterior and superior, and turn them to point there.

    Nearest is the pairing with the largest sum of absolute cosines; of equal ones, the first.
    """
    cosines = volume.affine[:3, :3] / volume.spacing
    pairings = [list(axes) for axes in permutations(range(3))]
    near = [round(abs(cosines[range(3), axes]).sum(), 6) for axes in pairings]
    axes = pairings[near.index(max(near))]
    flips = tuple(slice(None, None, -1 if cosines[w, a] < 0 else 1) for w, a in enumerate(axes))
    return axes, flips


def _compare(data: np.ndarray, mask: np.ndarray, probability: np.ndarray, spacing: np.ndarray):
    """Measure a mask that is not empty; all arrays along R, A, S, with their voxel sizes in mm."""
    counts = _profiles(mask)
    box = tuple(slice(int(n.nonzero()[0][0]), int(n.nonzero()[0][-1]) + 1) for n in counts)
    brain = np.ascontiguousarray(mask[box])
    centroid = np.array([n @ np.arange(len(n)) / n.sum() for n in counts])
    return {
        **_places(box, mask.shape, spacing),
        "roughness": _roughness(brain, spacing),
        "asymmetry": _asymmetry(brain, centroid[0] - box[0].start),
        "rim_contrast": _rim_contrast(data, mask, box, spacing),
        "boundary_probability": probability[box][boundary(brain)].mean(dtype=np.float64),
        **_in_head(data, centroid, spacing),
    }


def _profiles(mask: np.ndarray) -> list[np.ndarray]:
    """Count the voxels of a mask in every plane across each of its axes."""
    rows = mask.sum(0, dtype=np.int32)
    return [np.array([np.count_nonzero(plane) for plane in mask]), rows.sum(1), rows.sum(0)]


def _places(box: Box, shape: tuple[int, ...], spacing: np.ndarray) -> dict[str, float]:
    """Measure the box that holds the mask, and the way from it to the edge of the image, mm."""
    names = {"x": ("left", "right"), "y": ("posterior", "anterior"), "z": ("inferior", "superior")}
    found = {}
    for (axis, (low, high)), side, size, step in zip(
        names.items(), box, shape, spacing, strict=True
    ):
        found[f"extent_{axis}_mm"] = (side.stop - side.start) * step
        found[f"margin_{low}_mm"] = side.start * step
        found[f"margin_{high}_mm"] = (size - side.stop) * step
    return found


def _roughness(brain: np.ndarray, spacing: np.ndarray) -> float:
    """Area of a mask's faces over that of a ball of its volume; 1.5 for a ball of many voxels."""
    padded = np.pad(brain, 1)
    area = sum(
        np.count_nonzero(np.diff(padded, axis=axis)) * np.prod(np.delete(spacing, axis))
        for axis in range(3)
    )
    volume = np.count_nonzero(brain) * np.prod(spacing)
    return area / np.cbrt(36 * np.pi * volume**2)


def _asymmetry(brain: np.ndarray, middle: float) -> float:
    """Take 1 less the Dice of a mask and its mirror image along the first axis.

    Parameters
    ----------
    brain : (I, J, K) bool array
    middle : float
        Index along the first axis, which is rounded to half a voxel, of the mirror.
    """
    both = int(np.floor(2 * middle + 0.5))  # the sum of the indices of a voxel and its image
    first, last = max(0, both - len(brain) + 1), min(len(brain) - 1, both)
    shared = brain[first : last + 1]
    return 1 - np.count_nonzero(shared & shared[::-1]) / np.count_nonzero(brain)


def _rim_contrast(
    data: np.ndarray, mask: np.ndarray, box: Box, spacing: np.ndarray
) -> float | None:
    """Compare intensities just inside and just outside of a mask, in [-1, 1]; None: not defined.

    The volume's darkest voxel is taken for 0, so that neither an offset nor a factor counts.
    """
    depths = np.maximum(1, np.floor(np.round(RIM_MM / spacing, 3) + 0.5)).astype(int)
    wide = tuple(
        slice(max(0, side.start - depth), side.stop + depth)
        for side, depth in zip(box, depths, strict=True)
    )
    brain = np.ascontiguousarray(mask[wide])
    rims = brain & _widened(~brain, depths), ~brain & _widened(brain, depths)
    if not all(rim.any() for rim in rims):
        return None
    darkest = float(data.min())
    inside, outside = (data[wide][rim].mean(dtype=np.float64) - darkest for rim in rims)
    return (inside - outside) / (inside + outside) if inside + outside else None


def _widened(mask: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Widen a mask by some voxels to either side along each axis.

    Whole arrays are shifted, which takes a fifth of the time of `scipy.ndimage.maximum_filter`.
    """
    for axis, depth in enumerate(depths):
        source, wide = np.moveaxis(mask, axis, 0), mask.copy()
        target = np.moveaxis(wide, axis, 0)
        for step in range(1, depth + 1):
            target[step:] |= source[:-step]
            target[:-step] |= source[step:]
        mask = wide
    return mask


def _in_head(data: np.ndarray, centroid: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Place a mask's centroid in the box of the head, mm; nothing in an image of one intensity."""
    head = data > float(data.mean(dtype=np.float64))
    sums = [np.cumsum(n) for n in _profiles(head)]
    if not sums[0][-1]:
        return {}
    low, high = (
        np.array([np.searchsorted(100 * n, percent * n[-1]) for n in sums])
        for percent in HEAD_PERCENT
    )
    right, anterior, _ = (centroid - (low + high) / 2) * spacing
    return {
        "centroid_right_mm": right,
        "centroid_anterior_mm": anterior,
        "centroid_below_top_mm": (high[2] - centroid[2]) * spacing[2],
    }


def _tidy(value: float | None) -> float | int | None:
    """Make a number one that JSON can hold, rounded, without a negative zero."""
    if value is None or isinstance(value, int | np.integer):
        return value if value is None else int(value)
    return round(float(value), DECIMALS) + 0.0


ALONG = (
    "Right, anterior and superior stand for the image axes nearest to them: of the six ways to "
    "pair them, the one with the largest sum of the absolute cosines between them"
)

HEAD = (
    "The head is what is brighter than the mean of the image; along an axis it reaches from the "
    "first plane up to which there is at least {} % of these voxels to the first up to which "
    "there is at least {} %, counted from the left, the back and the bottom"
).format(*HEAD_PERCENT)


def _length(name: str, text: str) -> dict[str, str]:
    return {"LongName": name, "Description": text, "Units": "mm"}


COLUMNS: dict[str, dict[str, str]] = {
    "volume_ml": {
        "LongName": "Volume",
        "Description": "Voxels of the mask times the volume of one, the affine's determinant",
        "Units": "mL",
    },
    **{
        f"extent_{axis}_mm": _length(
            f"Extent, {name}",
            f"Planes from the mask's first to its last along {axis}, both counted, times the "
            f"voxel size. {ALONG}; {axis} is the {order} of these",
        )
        for axis, name, order in (
            ("x", "left to right", "first"),
            ("y", "back to front", "second"),
            ("z", "foot to head", "third"),
        )
    },
    **{
        f"margin_{side}_mm": _length(
            f"Margin, {side}",
            f"Planes of the image beyond the mask's {side} end times the voxel size. {ALONG}",
        )
        for side in ("left", "right", "posterior", "anterior", "inferior", "superior")
    },
    "pieces_removed": {
        "LongName": "Pieces removed",
        "Description": (
            "Components of the voxels at least as probable as the threshold, less one: all but "
            "the largest were dropped. Voxels that share a face are of one component"
        ),
    },
    "removed_ml": {
        "LongName": "Volume of pieces removed",
        "Description": "Voxels of these pieces times the volume of one",
        "Units": "mL",
    },
    "holes_filled": {
        "LongName": "Holes filled",
        "Description": (
            "Components of what is not in the largest piece that do not reach the edge of the "
            "image, which were filled. Voxels that share a face are of one component"
        ),
    },
    "filled_ml": {
        "LongName": "Volume of holes filled",
        "Description": "Voxels of these holes times the volume of one",
        "Units": "mL",
    },
    "roughness": {
        "LongName": "Roughness",
        "Description": (
            "Area of the faces between the mask's voxels and others, or the edge of the image, "
            "over the surface of a ball of the mask's volume; sizes and volumes of voxels are "
            "taken from the voxel sizes alone. 1.5 for a ball of many voxels"
        ),
    },
    "asymmetry": {
        "LongName": "Asymmetry",
        "Description": (
            "1 less the Dice of the mask and its mirror image along the axis nearest to right, "
            "about its centroid rounded to half a voxel, halves of that upwards; what is "
            f"mirrored out of the image is in no overlap. {ALONG}"
        ),
    },
    "rim_contrast": {
        "LongName": "Contrast at the rim",
        "Description": (
            "(a - b) / (a + b) of the mean intensities, less the smallest of the image, a of the "
            "voxels in the mask that have one outside of it in the box about them, and b of the "
            "voxels outside that have one of the mask in it. The box reaches as many voxels to "
            f"either side along an axis as come nearest to {RIM_MM:g} mm, halves upwards, at "
            "least one, and ends with the image; n/a without such voxels, or where a + b is 0"
        ),
    },
    "boundary_probability": {
        "LongName": "Probability on the boundary",
        "Description": (
            "Mean probability of brain of those voxels of the mask that share a face with one "
            "outside of it, or with the edge of the image"
        ),
    },
    "predicted_dice": {
        "LongName": "Predicted Dice",
        "Description": (
            "Dice with a reference that the model's calibration predicts, PredictedDice of the "
            "mask's sidecar; n/a for models without one"
        ),
    },
    "centroid_right_mm": _length(
        "Centroid, right of the head's middle",
        f"Mean index of the mask's voxels along right, less the middle of the head's reach, times "
        f"the voxel size; negative to the left. {HEAD}. {ALONG}",
    ),
    "centroid_anterior_mm": _length(
        "Centroid, in front of the head's middle",
        f"Mean index of the mask's voxels along anterior, less the middle of the head's reach, "
        f"times the voxel size; negative behind it. {HEAD}. {ALONG}",
    ),
    "centroid_below_top_mm": _length(
        "Centroid, below the head's top",
        f"Last plane of the head along superior, less the mean index of the mask's voxels, times "
        f"the voxel size. {HEAD}. {ALONG}",
    ),
    **{
        f"size_{axis}": {
            "LongName": f"Size along {axis}",
            "Description": f"Voxels of the image along its {order} axis, as it is stored",
        }
        for axis, order in (("i", "first"), ("j", "second"), ("k", "third"))
    },
    **{
        f"voxel_{axis}_mm": _length(
            f"Voxel size along {axis}",
            f"Length of the affine's {order} column",
        )
        for axis, order in (("i", "first"), ("j", "second"), ("k", "third"))
    },
}
"""Data dictionary of what `measure` gives, in BIDS form."""
