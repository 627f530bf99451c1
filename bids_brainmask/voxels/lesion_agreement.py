# SPDX-License-Identifier: Apache-2.0
"""Agreement of lesions: matched one by one, and by the rule of the BraTS challenges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from bids_brainmask.voxels import masks
from bids_brainmask.voxels.agreement import dice, hd95, surface_distances

TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels of one component share a face, an edge or a corner."""

MINIMUM_IOU = 0.1
"""Least intersection over union of a matched pair."""

IGNORED_MM3 = 50.0
"""Volume under which the rule of BraTS ignores a component: 50 voxels of 1 mm."""

DILATION_MM = math.sqrt(2)
"""Parts of the reference that are this close to the same voxels are one lesion: one dilation of
BraTS's 18 neighbors, where voxels have 1 mm."""

PENALTY_MM = 374.0
"""HD95 of a lesion without a counterpart: about the diagonal of BraTS's volume of images."""

VOLUMES_ML = (0.0, 0.3, 1.0, 5.0, 20.0, math.inf)
"""Limits of the volume classes."""

RESAMPLES = 1000
"""Resamples of a bootstrap."""


@dataclass(frozen=True)
class LesionPair:
    """A lesion of the reference, of the prediction, or of both; NaN: there is no counterpart."""

    reference_ml: float
    prediction_ml: float
    dice: float
    iou: float
    hd95_mm: float

    @property
    def is_matched(self) -> bool:
        """Whether both sides have the lesion."""
        return not math.isnan(self.dice)


@dataclass(frozen=True)
class LesionAgreement:
    """Agreement of the lesions of one case."""

    lesions: tuple[LesionPair, ...]
    """The reference's by volume, the largest first; then those of the prediction alone."""

    brats_dice: float
    """Mean Dice over lesions by the rule of BraTS, in [0, 1]."""

    brats_hd95_mm: float
    """Mean HD95 over lesions by the rule of BraTS, mm."""

    @property
    def sensitivity(self) -> float:
        """Share of the reference's lesions that are matched; NaN without one."""
        return rates([self])["sensitivity"]

    @property
    def precision(self) -> float:
        """Share of the prediction's lesions that are matched; NaN without one."""
        return rates([self])["precision"]

    @property
    def f1(self) -> float:
        """Matched pairs over the mean number of lesions of both sides; NaN without any."""
        return rates([self])["f1"]


def lesion_agreement(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: np.ndarray,
    minimum_iou: float = MINIMUM_IOU,
) -> LesionAgreement:
    """Compare the lesions of two masks.

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array
        Masks on one grid.
    spacing : (3,) array
        Voxel sizes along the three axes, mm.
    minimum_iou : float
        Least intersection over union of a matched pair, in (0, 1].

    Returns
    -------
    LesionAgreement

    Raises
    ------
    ValueError
        Masks of different shapes, or a `minimum_iou` outside of (0, 1].

    Notes
    -----
    Lesions are connected components. A pair is matched one to one, by intersection over union,
    the largest first.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"masks of shapes {prediction.shape} and {reference.shape}")
    if not 0 < minimum_iou <= 1:
        raise ValueError(f"minimum_iou: found {minimum_iou}, expected over 0 and up to 1")
    box = masks.bounds(prediction | reference)
    if box is None:
        return LesionAgreement((), 1.0, 0.0)
    found, wanted = prediction[box], reference[box]
    lesions = _pairs(found, wanted, spacing, minimum_iou)
    return LesionAgreement(lesions, *brats(found, wanted, spacing))


def _pairs(
    prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray, minimum_iou: float
) -> tuple[LesionPair, ...]:
    """Match components one to one; the largest intersection over union first."""
    found, number_found = scipy.ndimage.label(prediction, TOUCHING)
    wanted, number_wanted = scipy.ndimage.label(reference, TOUCHING)
    table = np.zeros((number_wanted + 1, number_found + 1), np.int64)
    np.add.at(table, (wanted.ravel(), found.ravel()), 1)
    sizes_wanted, sizes_found = table.sum(1), table.sum(0)
    union = sizes_wanted[:, None] + sizes_found - table
    iou = table / np.maximum(union, 1)
    iou[0], iou[:, 0] = 0, 0
    partner: dict[int, int] = {}
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        one, other = (int(n) for n in np.unravel_index(flat, iou.shape))
        if iou[one, other] < minimum_iou:
            break
        if one not in partner and other not in partner.values():
            partner[one] = other
    ml = float(np.prod(spacing)) / 1000
    lesions = []
    for one in sorted(range(1, number_wanted + 1), key=lambda n: -sizes_wanted[n]):
        other = partner.get(one, 0)
        if not other:
            lesions.append(LesionPair(float(sizes_wanted[one]) * ml, *(math.nan,) * 4))
            continue
        pair = found == other, wanted == one
        distance = hd95(*surface_distances(*pair, spacing))
        volumes = float(sizes_wanted[one]) * ml, float(sizes_found[other]) * ml
        lesions.append(LesionPair(*volumes, dice(*pair), float(iou[one, other]), distance))
    alone = set(range(1, number_found + 1)) - set(partner.values())
    lesions += [
        LesionPair(math.nan, float(sizes_found[other]) * ml, *(math.nan,) * 3)
        for other in sorted(alone, key=lambda n: -sizes_found[n])
    ]
    return tuple(lesions)


def brats(
    prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray
) -> tuple[float, float]:
    """Mean Dice and HD95 over lesions, as the BraTS challenges count them since 2023.

    Parameters
    ----------
    prediction, reference : (I, J, K) bool array
    spacing : (3,) array
        Voxel sizes, mm.

    Returns
    -------
    dice, hd95_mm : float
        1.0 and 0.0 if no lesion counts on either side.

    Notes
    -----
    Components of the reference that one dilation joins are one lesion. A lesion is compared with
    all components of the prediction that touch its dilation, together. Lesions of the reference,
    and components of the prediction without a lesion, are ignored under `IGNORED_MM3`; each of the
    others without a counterpart has Dice 0 and HD95 `PENALTY_MM`.

    References
    ----------
    https://github.com/rachitsaluja/BraTS-2023-Metrics; LaBella et al. 2024,
    https://arxiv.org/abs/2405.18383
    """
    wide = np.pad(reference, 2)
    near = scipy.ndimage.distance_transform_edt(~wide, spacing) <= DILATION_MM + 1e-6
    if not wide.any():
        near = wide
    near = near[2:-2, 2:-2, 2:-2]
    wanted, number = scipy.ndimage.label(near, TOUCHING)
    found, number_found = scipy.ndimage.label(prediction, TOUCHING)
    voxel = float(np.prod(spacing))
    scores, touched = [], np.zeros(number_found + 1, bool)
    for lesion in range(1, number + 1):
        region = wanted == lesion
        parts = np.unique(found[region])
        parts = parts[parts > 0]
        touched[parts] = True
        truth = region & reference
        if np.count_nonzero(truth) * voxel < IGNORED_MM3:
            continue
        own = np.isin(found, parts) & prediction
        overlap = dice(own, truth)
        if not overlap:
            scores.append((0.0, PENALTY_MM))
        else:
            scores.append((overlap, hd95(*surface_distances(own, truth, spacing))))
    sizes = np.bincount(found.ravel(), minlength=number_found + 1)[1:] * voxel
    false = int(np.count_nonzero(~touched[1:] & (sizes >= IGNORED_MM3)))
    scores += [(0.0, PENALTY_MM)] * false
    if not scores:
        return 1.0, 0.0
    dices, distances = zip(*scores, strict=True)
    return float(np.mean(dices)), float(np.mean(distances))


def rates(
    cases: Sequence[LesionAgreement], low: float = 0.0, high: float = math.inf
) -> dict[str, float]:
    """Pool the lesions of some cases, of volumes from `low` up to under `high`, mL.

    Returns
    -------
    dict
        ``sensitivity`` by the reference's volumes; ``precision`` by the prediction's; ``f1``, of
        the two. NaN where there is no lesion. ``reference`` and ``prediction``: their numbers.
    """
    wanted = [p.is_matched for c in cases for p in c.lesions if low <= p.reference_ml < high]
    found = [p.is_matched for c in cases for p in c.lesions if low <= p.prediction_ml < high]
    total = len(wanted) + len(found)
    return {
        "sensitivity": sum(wanted) / len(wanted) if wanted else math.nan,
        "precision": sum(found) / len(found) if found else math.nan,
        "f1": (sum(wanted) + sum(found)) / total if total else math.nan,
        "reference": len(wanted),
        "prediction": len(found),
    }


def interval(
    cases: Sequence[LesionAgreement],
    measure: Callable[[Sequence[LesionAgreement]], float],
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a measure by the percentile bootstrap over cases.

    Returns
    -------
    low, high : float
        NaN if the measure has no value in any resample.
    """
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            measure([cases[n] for n in rng.integers(len(cases), size=len(cases))])
            for _ in range(RESAMPLES)
        ]
    )
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
