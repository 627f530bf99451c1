# SPDX-License-Identifier: Apache-2.0
"""What a brain mask is like, in numbers that can be compared over many images.

None of them says that a mask is bad: they tell which are unlike the others (`outliers`). Each can
be computed again from the image, the mask and the probabilities as its row of `MEASURES` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bids_brainmask.analyses.mask_shape import HEAD_PERCENT, RIM_MM, describe, towards_ras
from bids_brainmask.analyses.measures import Measure, Metric, Reading, Value, known_number
from bids_brainmask.voxels import UNCERTAIN
from bids_brainmask.voxels.image import Volume

DECIMALS = 4
"""Places that a measure keeps behind the point."""


@dataclass(frozen=True)
class Sample:
    """A brain mask, and the numbers that its measures are taken from."""

    volume: Volume
    mask: np.ndarray  # (I, J, K) bool
    probability: np.ndarray  # (I, J, K) float, in [0, 1]
    numbers: Mapping[str, float | int | None]  # without those that an empty mask does not have


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
        How many components were dropped from the mask, and their voxels.
    holes_filled, filled : int
        How many hollows were filled, and their voxels.
    predicted_dice : float or None
        Of the mask with a reference, in [0, 1]; None where it was not predicted.

    Returns
    -------
    dict of str to float, int or None
        The measures of `MEASURES` that are computed, in their order, rounded to `DECIMALS`; None
        for what is not defined, as most are for an empty mask.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    for name, other in (("mask", mask), ("probabilities", probability)):
        if other.shape != volume.data.shape:
            shapes = f"{volume.data.shape} and {other.shape}"
            raise ValueError(f"image and {name}: expected one shape, found {shapes}")
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
        axes, flips = towards_ras(volume)
        data, inside, share = (
            array.transpose(axes)[flips] for array in (volume.data, mask, probability)
        )
        found |= describe(data, inside, share, volume.spacing[axes])
    sample = Sample(volume, mask, probability, found)
    return {m.name: _tidy(m.compute(sample)) for m in MEASURES if m.compute}


def _tidy(value: float | None) -> float | int | None:
    """Make a number one that JSON can hold, rounded, without a negative zero."""
    if value is None or isinstance(value, int | np.integer):
        return value if value is None else int(value)
    return round(float(value), DECIMALS) + 0.0


ALONG = (
    "Right, anterior and superior are the image axes nearest to these directions: of the six "
    "possible assignments, the one with the largest sum of absolute cosines"
)

HEAD = (
    "The head is the voxels brighter than the mean of the image. Along an axis it extends from "
    "the first plane up to which there are at least {} % of these voxels to the first plane up "
    "to which there are at least {} %, counted from the left, the back and the bottom"
).format(*HEAD_PERCENT)


def columns() -> dict[str, Mapping[str, str]]:
    """Give the data dictionary of what `measure` gives, in BIDS form."""
    return {row.name: row.column for row in MEASURES if row.compute}


def _number(name: str) -> Callable[[Sample], float | int | None]:
    return lambda sample: sample.numbers.get(name)


def _volume(reading: Reading) -> Value:
    """Read the volume; sidecars of the first versions have no measures."""
    measured = reading.quality or {"volume_ml": reading.record["BrainVolume"]}
    return known_number(measured.get("volume_ml"))


def _doubts(reading: Reading) -> Value:
    """Join the reasons to doubt the mask; None if there are none."""
    found = reading.record.get("Doubts")
    reasons = found if isinstance(found, list) else []
    return "; ".join(each for each in reasons if isinstance(each, str) and each) or None


def _row(
    name: str,
    title: str,
    text: str,
    metric: Metric | None = None,
    units: str = "",
    rank: int = 0,
) -> Measure:
    column = {"LongName": title, "Description": text} | ({"Units": units} if units else {})
    return Measure(name, column, metric, _number(name), rank=rank)


def _length(words: str, side: Literal["low", "both"] = "both") -> Metric:
    return Metric(words, side, 2.0, "mm")  # one plane, where voxels are large


def _margin(side: str) -> Metric:
    """Compare a margin, up to 10 mm: larger ones depend on the position of the head."""
    return Metric(f"margin on the {side} side", "low", 2.0, "mm", cap=10.0)


def _count(words: str, unit: str = "", offset: float = 1.0) -> Metric:
    return Metric(words, "high", 0.7, unit, "log", offset)  # a factor of 2


MEASURES: tuple[Measure, ...] = (
    Measure(
        "volume_ml",
        {
            "LongName": "Volume",
            "Description": "Number of voxels times the voxel volume, the affine's determinant",
            "Units": "mL",
        },
        Metric("volume", "both", 0.01, "mL", "log"),
        _number("volume_ml"),
        _volume,
        rank=1,
    ),
    *(
        _row(
            f"extent_{axis}_mm",
            f"Extent, {name}",
            f"Number of planes from the mask's first to its last along {axis}, both included, "
            f"times the voxel size. {ALONG}; {axis} is the {order} of these",
            _length(f"extent {name}"),
            "mm",
        )
        for axis, name, order in (
            ("x", "left to right", "first"),
            ("y", "back to front", "second"),
            ("z", "foot to head", "third"),
        )
    ),
    *(
        _row(
            f"margin_{side}_mm",
            f"Margin, {side}",
            f"Number of image planes beyond the mask's {side} end times the voxel size. {ALONG}",
            _margin(side),
            "mm",
        )
        for side in ("left", "right", "posterior", "anterior", "inferior", "superior")
    ),
    _row(
        "pieces_removed",
        "Components removed",
        "Number of components of the thresholded probabilities minus 1: all except the largest "
        "were removed. Voxels that share a face belong to one component",
        _count("number of components removed"),
    ),
    _row(
        "removed_ml",
        "Volume of components removed",
        "Number of voxels in these components times the voxel volume",
        _count("volume of components removed", "mL", 0.5),
        "mL",
        rank=9,
    ),
    _row(
        "holes_filled",
        "Holes filled",
        "Number of background components that do not reach the edge of the image; they were "
        "filled. Voxels that share a face belong to one component",
        _count("number of holes filled"),
    ),
    _row(
        "filled_ml",
        "Volume of holes filled",
        "Number of voxels in these holes times the voxel volume",
        _count("volume of holes filled", "mL", 0.5),
        "mL",
    ),
    _row(
        "roughness",
        "Roughness",
        "Area of the faces between the mask's voxels and the background, or the edge of the "
        "image, divided by the surface of a sphere of the same volume. Areas and volumes are "
        "computed from the voxel sizes. It is 1.5 for a sphere of many voxels",
        Metric("roughness", "high", 0.02, "", "log", 1e-3),
        rank=3,
    ),
    _row(
        "asymmetry",
        "Asymmetry",
        "1 minus the Dice of the mask and its mirror image along the axis nearest to right, "
        "about its centroid rounded to half a voxel (ties upwards). Voxels mirrored out of "
        f"the image do not overlap. {ALONG}",
        Metric("asymmetry", "high", 0.1, "", "log", 0.02),
        rank=4,
    ),
    _row(
        "rim_contrast",
        "Contrast at the edge",
        "(a - b) / (a + b) of mean intensities minus the smallest intensity of the image: a of "
        "the mask's voxels with a background voxel in the box around them, b of the background "
        "voxels with a voxel of the mask in it. The box extends along each axis by the number of "
        f"voxels closest to {RIM_MM:g} mm (ties upwards, at least one), and ends with the image. "
        "n/a without such voxels, or if a + b is 0",
        Metric("contrast at the edge", "low", 0.02),
        rank=5,
    ),
    _row(
        "boundary_probability",
        "Probability on the boundary",
        "Mean probability of brain over the mask's voxels that share a face with the "
        "background or with the edge of the image",
        Metric("probability on the boundary", "low", 0.01),
        rank=7,
    ),
    _row(
        "predicted_dice",
        "Predicted Dice",
        "Dice with a reference as predicted by the model's calibration, PredictedDice of the "
        "mask's sidecar; n/a for models without a calibration",
        Metric("predicted Dice", "low", 0.1, "", "loss", 0.005),
        rank=2,
    ),
    _row(
        "centroid_right_mm",
        "Centroid, right of the head's center",
        "Mean index of the mask's voxels along right minus the center of the head's extent, "
        f"times the voxel size; negative to the left. {HEAD}. {ALONG}",
        _length("centroid position to the right"),
        "mm",
    ),
    _row(
        "centroid_anterior_mm",
        "Centroid, anterior to the head's center",
        f"Mean index of the mask's voxels along anterior minus the center of the head's extent, "
        f"times the voxel size; negative behind it. {HEAD}. {ALONG}",
        _length("centroid position to the front"),
        "mm",
    ),
    _row(
        "centroid_below_top_mm",
        "Centroid, below the head's top",
        f"Last plane of the head along superior minus the mean index of the mask's voxels, times "
        f"the voxel size. {HEAD}. {ALONG}",
        _length("centroid depth below the top"),
        "mm",
    ),
    *(
        _row(
            f"size_{axis}",
            f"Size along {axis}",
            f"Number of voxels along the {order} axis of the stored image",
        )
        for axis, order in (("i", "first"), ("j", "second"), ("k", "third"))
    ),
    *(
        _row(
            f"voxel_{axis}_mm",
            f"Voxel size along {axis}",
            f"Length of the affine's {order} column",
            units="mm",
        )
        for axis, order in (("i", "first"), ("j", "second"), ("k", "third"))
    ),
    Measure(
        "boundary_uncertainty",
        {
            "LongName": "Boundary uncertainty",
            "Description": "Share of the boundary voxels of the network's own mask with a "
            f"probability of brain between {UNCERTAIN[0]:g} and {UNCERTAIN[1]:g}, in [0, 1]",
        },
        Metric("boundary uncertainty", "high", 0.02),
        read=lambda reading: known_number(reading.record.get("BoundaryUncertainty")),
        rank=8,
    ),
    Measure(
        "doubts",
        {
            "LongName": "Doubts",
            "Description": "Why the mask may be wrong: Doubts of the mask's sidecar, with "
            "semicolons between them; n/a if nothing is doubtful",
        },
        read=_doubts,
        is_doubt=True,
    ),
)
"""Measures of brain masks. Sizes of images and voxels are of the image, and are not compared."""
