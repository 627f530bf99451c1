# SPDX-License-Identifier: Apache-2.0
"""Which images to correct next: those whose correction would teach a network most.

An image counts by how wrong its mask is likely to be: the error that is predicted, 1 minus the
predicted Dice, in multiples of the dataset's median error; plus its outlier score, in multiples of
the score of an outlier. Either is at most `MOST`. Each image of a scanner that is chosen before
makes the next one of it count less, so that no scanner fills the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bids_brainmask.analyses.measures import known_number
from bids_brainmask.dataset import folders, readback, scanners
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.hashes import unchanged
from bids_brainmask.reports import group, group_tables, outliers

MOST = 10.0
"""Largest share of each part in the value of an image."""

LEAST_ERROR = 0.005
"""Smallest median error, 1 minus Dice, that errors are compared with."""

UNKNOWN = "unknown scanner"


@dataclass(frozen=True)
class Pick:
    """An image to correct."""

    image: str
    """Path of the image in the raw dataset."""

    mask: str
    """Path of its brain mask in the derivative dataset."""

    scanner: str
    predicted_dice: float | None
    outlier_score: float | None
    value: float
    """What its correction is likely to teach; only the order has a meaning."""

    reason: str


def select(root: Path, count: int) -> list[Pick]:
    """List the images whose correction would teach most, the best first.

    Manual masks are left out, and those that were edited since they were written.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    count : int
        Largest number of images.

    Raises
    ------
    UsageError
        There is no such folder.
    NothingToDo
        It has no automatic brain mask.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder. Name the folder of the results.")
    found = [one for one in readback.read(root) if "brain" in one.records]
    measured = group.gather(found, partial(group.measure, root, analysis="brain"))
    known = _scanners(root, list(measured))
    judged = group_tables.judge("brain", list(measured.values()), list(measured), known)
    rows = [
        (one, row, known.get(one.key, UNKNOWN))
        for one, row in zip(measured, judged, strict=True)
        if one.records["brain"].get("Manual") is not True
    ]
    if not rows:
        raise NothingToDo(f"{root}: found no automatic brain mask; expected one or more.")
    return _spread(root, _valued(rows), count)


def _scanners(root: Path, results: Sequence[Result]) -> dict[str, str]:
    """Name the scanner of each image, by the sidecars of the raw dataset, if that is there."""
    try:
        raw = folders.raw_dataset(root)
    except UsageError:
        return {}
    said = scanners.read(raw, results)
    return {key: name for key, fields in said.items() if (name := scanners.name(fields))}


def _valued(rows: Sequence[tuple[Result, Mapping, str]]) -> list[tuple[Result, Pick]]:
    """Value each image, and say why."""
    dice = [known_number(one.records["brain"].get("PredictedDice")) for one, _, _ in rows]
    errors = [1 - each for each in dice if each is not None]
    usual = max(median(errors), LEAST_ERROR) if errors else 1.0
    found = []
    for (one, row, scanner), predicted in zip(rows, dice, strict=True):
        score = known_number(row["outlier_score"])
        value, reasons = 0.0, []
        if predicted is not None:
            times = (1 - predicted) / usual
            value += min(times, MOST)
            reasons.append(f"predicted Dice {predicted:.3f}")
            if times >= 1.5:
                reasons.append(f"{times:.1f} times the median error")
        if score is not None:
            value += min(score / outliers.FLAGGED, MOST)
            if row["outlier_reasons"]:
                reasons.append(f"outlier: {row['outlier_reasons']}")
        reasons.append(scanner)
        pick = Pick(
            image=one.source or one.key,
            mask=one.main("brain"),
            scanner=scanner,
            predicted_dice=predicted,
            outlier_score=score,
            value=round(value, 3),
            reason="; ".join(reasons),
        )
        found.append((one, pick))
    return found


def _spread(root: Path, valued: list[tuple[Result, Pick]], count: int) -> list[Pick]:
    """Choose images one by one: the value of each, divided by 1 plus those of its scanner."""
    left = sorted(valued, key=lambda each: (-each[1].value, each[1].mask))
    chosen: list[Pick] = []
    taken: Counter[str] = Counter()
    while left and len(chosen) < count:
        best = max(left, key=lambda each: each[1].value / (1 + taken[each[1].scanner]))
        left.remove(best)
        one, pick = best
        if _as_written(root, one, pick.mask):
            chosen.append(pick)
            taken[pick.scanner] += 1
    return chosen


def _as_written(root: Path, one: Result, mask: str) -> bool:
    """Tell whether a mask is as the program wrote it: not edited, and there."""
    path = root / mask
    try:
        before = one.records["brain"]["Files"][path.name]
        return not path.with_suffix("").exists() and unchanged(path, before, {})
    except (OSError, KeyError, TypeError, ValueError):
        return False
