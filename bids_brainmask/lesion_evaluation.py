# SPDX-License-Identifier: Apache-2.0
"""Compare predicted lesions with references: per lesion, per case, and pooled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from bids_brainmask import api, tables
from bids_brainmask.dataset import storage
from bids_brainmask.evaluation import Evaluation, Pair
from bids_brainmask.voxels import lesion_agreement
from bids_brainmask.voxels.lesion_agreement import LesionAgreement

Measured = Mapping[Pair, LesionAgreement]

COLUMNS = {
    "reference": ("Path of the reference in its dataset", ""),
    "lesion": ("Number of the lesion in its case, from 1; the reference's come first", ""),
    "reference_ml": ("Volume in the reference; n/a: a false positive", "mL"),
    "prediction_ml": ("Volume in the prediction; n/a: a false negative", "mL"),
    "dice": ("Dice coefficient of the matched pair", "1"),
    "iou": ("Intersection over union of the matched pair", "1"),
    "hd95_mm": ("95th percentile of the Hausdorff distance of the matched pair", "mm"),
}
"""Description and units of each column of the table of lesions."""


def evaluate(
    evaluation: Evaluation,
    labels: Sequence[int] = (),
    minimum_iou: float = lesion_agreement.MINIMUM_IOU,
) -> dict[Pair, LesionAgreement]:
    """Compare the lesions of every pair that could be measured."""
    return {
        pair: api.evaluate_lesions(pair.prediction.path, pair.reference.path, labels, minimum_iou)
        for pair in evaluation.measured
    }


def rows(measured: Measured) -> list[dict[str, str | float | None]]:
    """One row a lesion; None where it has no value."""
    found: list[dict[str, str | float | None]] = []
    for pair, case in measured.items():
        for number, lesion in enumerate(case.lesions, 1):
            values = {key: _finite(value) for key, value in asdict(lesion).items()}
            found.append({"reference": pair.reference.relative, "lesion": number, **values})
    return found


def cases(measured: Measured) -> list[dict[str, str | float | None]]:
    """One row a case: rates, and the measures by the rule of BraTS."""
    found = []
    for pair, case in measured.items():
        values = lesion_agreement.rates([case])
        values |= {"brats_dice": case.brats_dice, "brats_hd95_mm": case.brats_hd95_mm}
        row: dict[str, str | float | None] = {"reference": pair.reference.relative}
        found.append(row | {key: _finite(value) for key, value in values.items()})
    return found


def pooled(measured: Measured) -> dict[str, dict[str, dict[str, float | None]]]:
    """Rates of all lesions and by volume class, and means over cases, with 95 % intervals."""
    some = list(measured.values())
    limits = lesion_agreement.VOLUMES_ML
    classes = {"all": (0.0, math.inf)} | {
        _class(low, high): (low, high) for low, high in pairwise(limits)
    }
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, (low, high) in classes.items():
        numbers = lesion_agreement.rates(some, low, high)
        intervals = {key: _with_interval(some, _rate(key, low, high)) for key in MEASURES}
        found[name] = {"lesions": {key: numbers[key] for key in COUNTS}, **intervals}
    found["cases"] = {
        key: _with_interval(some, _mean(key)) for key in ("brats_dice", "brats_hd95_mm")
    }
    return found


COUNTS = ("reference", "prediction")
"""Numbers of lesions."""

MEASURES = ("sensitivity", "precision", "f1")
"""Rates that are pooled."""


def _rate(key: str, low: float, high: float) -> Callable[[Sequence[LesionAgreement]], float]:
    return lambda some: lesion_agreement.rates(some, low, high)[key]


def _mean(key: str) -> Callable[[Sequence[LesionAgreement]], float]:
    return lambda some: float(np.mean([getattr(case, key) for case in some]))


def _with_interval(
    some: Sequence[LesionAgreement], measure: Callable[[Sequence[LesionAgreement]], float]
) -> dict[str, float | None]:
    """Value of a measure, and the ends of its 95 % interval."""
    low, high = lesion_agreement.interval(some, measure)
    return {"value": _finite(measure(some)), "low": _finite(low), "high": _finite(high)}


def _class(low: float, high: float) -> str:
    """Name of a volume class."""
    if not low:
        return f"under {high:g} mL"
    return f"{low:g} mL and more" if math.isinf(high) else f"{low:g} to {high:g} mL"


def _finite(value: float) -> float | None:
    """Replace NaN, which JSON lacks, by None."""
    return None if math.isnan(value) else value


def table(measured: Measured) -> str:
    """Pooled rates by volume class, and the means by the rule of BraTS, for people."""
    lines = [f"{'lesions':18}{'reference':>10}{'predicted':>10}" + "".join(
        f"{key:>26}" for key in MEASURES
    )]  # fmt: skip
    found = pooled(measured)
    means = found.pop("cases")
    for name, values in found.items():
        numbers = "".join(f"{values['lesions'][key]:>10}" for key in ("reference", "prediction"))
        lines.append(f"{name:18}{numbers}" + "".join(f"{_text(values[k]):>26}" for k in MEASURES))
    lines += [
        "",
        f"BraTS's rule, mean over {len(measured)} cases: Dice {_text(means['brats_dice'])}, "
        f"HD95 {_text(means['brats_hd95_mm'], 1)} mm",
        "In brackets: 95 % intervals, bootstrapped over cases.",
    ]
    return "\n".join(lines)


def _text(values: Mapping[str, float | None], digits: int = 3) -> str:
    """Write a value with its interval."""
    if values["value"] is None:
        return "n/a"
    one, low, high = (f"{values[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{one} [{low}, {high}]"


def dictionary() -> dict[str, dict[str, str]]:
    """Make the data dictionary of the table of lesions, in BIDS form."""
    return {
        name: {"Description": text} | ({"Units": units} if units else {})
        for name, (text, units) in COLUMNS.items()
    }


def report(measured: Measured) -> dict:
    """Everything, as it goes into JSON."""
    return {
        "Rule": "Pairs of connected components, one to one, by intersection over union. BraTS: "
        f"lesions and false positives under {lesion_agreement.IGNORED_MM3:g} mm3 are ignored; one "
        f"without a counterpart has Dice 0 and HD95 {lesion_agreement.PENALTY_MM:g} mm.",
        "Lesions": rows(measured),
        "Cases": cases(measured),
        "Pooled": pooled(measured),
    }


def write(measured: Measured, tsv: Path) -> None:
    """Write the table of lesions, and its dictionary beside it."""
    text = tables.tsv([list(COLUMNS), *(row.values() for row in rows(measured))])
    storage.write_bytes(tsv, text.encode())
    storage.write_json(tsv.with_suffix(".json"), dictionary())
