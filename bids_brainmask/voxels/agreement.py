# SPDX-License-Identifier: Apache-2.0
"""Agreement of two masks: overlap, volume, and the distance between their surfaces.

Definitions and names follow Taha & Hanbury 2015, https://doi.org/10.1186/s12880-015-0068-x.
Distances are between voxel centers along axes at right angles, and every surface voxel counts the
same, whatever its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from bids_brainmask.voxels.masks import boundary, bounds


@dataclass(frozen=True)
class Agreement:
    """Agreement of a prediction with a reference; NaN: the measure is not defined."""

    dice: float
    """In [0, 1]."""

    jaccard: float
    """In [0, 1]."""

    sensitivity: float
    """In [0, 1]."""

    precision: float
    """In [0, 1]."""

    volume_error_ml: float
    """Prediction minus reference, mL."""

    volume_error_percent: float
    """Prediction minus reference, in % of the reference."""

    hd95_mm: float
    """95th percentile of the Hausdorff distance, mm."""

    assd_mm: float
    """Average symmetric surface distance, mm."""


def agreement(prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray) -> Agreement:
    """Compute all measures of agreement of a prediction with a reference.

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array
        Masks on one grid.
    spacing : (3,) array
        Voxel sizes along the three axes, mm.

    Returns
    -------
    Agreement
        Both empty: perfect, 1 in overlap, 0 in errors and distances. One empty: 0 in overlap, NaN
        in distances; NaN in the volume error in % if it is the reference.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    distances = surface_distances(prediction, reference, spacing)
    return Agreement(
        dice=float(dice(prediction, reference)),
        jaccard=float(jaccard(prediction, reference)),
        sensitivity=float(sensitivity(prediction, reference)),
        precision=float(precision(prediction, reference)),
        volume_error_ml=float(volume_error_ml(prediction, reference, spacing)),
        volume_error_percent=float(volume_error_percent(prediction, reference)),
        hd95_mm=float(hd95(*distances)),
        assd_mm=float(assd(*distances)),
    )


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks (Dice 1945, https://doi.org/10.2307/1932409).

    Parameters
    ----------
    a, b : (I, J, K) bool array
        Masks on one grid.

    Returns
    -------
    float
        ``2|A & B| / (|A| + |B|)``, in [0, 1]; 1.0 when both are empty.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    _check_shapes(a, b)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks over their union (Jaccard 1912).

    Parameters
    ----------
    a, b : (I, J, K) bool array
        Masks on one grid.

    Returns
    -------
    float
        ``|A & B| / |A | B|``, in [0, 1]; 1.0 when both are empty.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    _check_shapes(a, b)
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def sensitivity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of the reference that is in the prediction (recall, true positive rate).

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array
        Masks on one grid.

    Returns
    -------
    float
        ``|P & R| / |R|``, in [0, 1]. Of an empty reference it is 1.0 if the prediction is empty
        too, else 0.0, like Dice: a failure must count in a mean.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    _check_shapes(prediction, reference)
    total = np.count_nonzero(reference)
    if not total:
        return 0.0 if prediction.any() else 1.0
    return np.count_nonzero(prediction & reference) / total


def precision(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of the prediction that is in the reference (positive predictive value).

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array
        Masks on one grid.

    Returns
    -------
    float
        ``|P & R| / |P|``, in [0, 1]. Of an empty prediction it is 1.0 if the reference is empty
        too, else 0.0.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    return sensitivity(reference, prediction)


def volume_error_ml(prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray) -> float:
    """Volume of the prediction minus that of the reference, mL.

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array
    spacing : (3,) array
        Voxel sizes, mm.
    """
    voxels = np.count_nonzero(prediction) - np.count_nonzero(reference)
    return float(voxels * np.prod(spacing) / 1000)


def volume_error_percent(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Volume of the prediction minus that of the reference, in % of the reference.

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array

    Returns
    -------
    float
        From -100 up. Of an empty reference: 0.0 if the prediction is empty too, else NaN.
    """
    found, wanted = np.count_nonzero(prediction), np.count_nonzero(reference)
    if not wanted:
        return float("nan") if found else 0.0
    return 100 * (found - wanted) / wanted


def surface_distances(
    a: np.ndarray, b: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every surface voxel of each mask to the other mask's surface.

    A surface voxel has a face on the background; the outside of the volume is background.
    Distances are exact (SciPy's Euclidean distance transform).

    Parameters
    ----------
    a, b : (I, J, K) bool array
        Masks on one grid.
    spacing : (3,) array
        Voxel sizes along the three axes, mm.

    Returns
    -------
    from_a, from_b : (N,) and (M,) float64 arrays
        Of A's N surface voxels to B's surface, and of B's M to A's, mm. Empty for an empty mask;
        NaN where the other mask is the empty one.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    box = _box(a, b)  # holds all of both surfaces, so no distance changes
    of_a, of_b = boundary(a[box]), boundary(b[box])
    return _distances(of_a, of_b, spacing), _distances(of_b, of_a, spacing)


def hd95(from_a: np.ndarray, from_b: np.ndarray) -> float:
    """95th percentile of the Hausdorff distance: the larger of the two directed ones.

    The Hausdorff distance is the maximum of the two directed distances; its percentile variant
    takes a quantile in each direction in place of that direction's maximum, so that a few stray
    voxels do not decide it. (Others pool both directions first; their values may be smaller.)

    Parameters
    ----------
    from_a, from_b : (N,) and (M,) float arrays
        From `surface_distances`, mm.

    Returns
    -------
    float
        mm, 0 or more. Both masks empty: 0.0; one of them: NaN.

    References
    ----------
    Huttenlocher et al. 1993, https://doi.org/10.1109/34.232073; Taha & Hanbury 2015,
    https://doi.org/10.1186/s12880-015-0068-x, "Hausdorff distance".
    """
    if not from_a.size or not from_b.size:
        return _without_surface(from_a, from_b)
    return float(max(np.percentile(from_a, 95), np.percentile(from_b, 95)))


def assd(from_a: np.ndarray, from_b: np.ndarray) -> float:
    """Average symmetric surface distance: the mean over the voxels of both surfaces together.

    Parameters
    ----------
    from_a, from_b : (N,) and (M,) float arrays
        From `surface_distances`, mm.

    Returns
    -------
    float
        mm, 0 or more. Both masks empty: 0.0; one of them: NaN.

    References
    ----------
    Heimann et al. 2009, https://doi.org/10.1109/TMI.2009.2013851, section "Evaluation measures".
    """
    if not from_a.size or not from_b.size:
        return _without_surface(from_a, from_b)
    return float(np.concatenate([from_a, from_b]).mean())


def _without_surface(from_a: np.ndarray, from_b: np.ndarray) -> float:
    """Distance of two masks if one or both are empty."""
    return float("nan") if from_a.size or from_b.size else 0.0


def _distances(start: np.ndarray, end: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance of each True voxel of `start` to the nearest of `end`, mm."""
    if not end.any():
        return np.full(np.count_nonzero(start), np.nan)
    return scipy.ndimage.distance_transform_edt(~end, sampling=spacing)[start]


def _box(a: np.ndarray, b: np.ndarray) -> tuple[slice, ...]:
    """Slices of the smallest box that holds both masks; empty ones if both are empty."""
    _check_shapes(a, b)
    return bounds(a | b) or (slice(0),) * 3


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"masks of shapes {a.shape} and {b.shape} are not on one grid")
