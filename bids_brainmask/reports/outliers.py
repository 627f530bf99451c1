# SPDX-License-Identifier: Apache-2.0
"""Outliers among masks: masks that differ from those of similar images.

An image is compared with its group, metric by metric, by the modified z-score of Iglewicz and
Hoaglin (1993): how far its value lies from the group's median, over the group's scaled median
absolute deviation (MAD), 1.4826 times the plain one. That is their 0.6745 on the other side of the
fraction: of a normal distribution it is the standard deviation. Medians stand up to almost half of
a group being bad. The score is the largest over the metrics; they call 3.5 an outlier.

`metrics` says of each metric which side counts, on what scale it is compared, and the least that
its scaled MAD is taken for, so that a group of images all but equal does not call a hair's breadth
an outlier.

A score tells where to look first. It is no proof: the more metrics and the smaller the group, the
more good masks reach 3.5 by chance.

References
----------
Iglewicz B, Hoaglin DC (1993). How to Detect and Handle Outliers. ASQC Quality Press, Milwaukee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from bids_brainmask.analyses import quality
from bids_brainmask.analyses.measures import Metric

LEAST = 8
"""Smallest number of values in a group for a reliable median and MAD."""

FLAGGED = 3.5
"""Smallest number of scaled MADs of a metric that is given as a reason (Iglewicz and Hoaglin)."""

SCALED = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

HIGHEST = 999.0
"""Largest score; higher ones are set to this."""

EMPTY = 1000.0
"""Score of an empty mask: above all others."""


def metrics() -> dict[str, Metric]:
    """How each measure of brain masks is compared, by its name."""
    return {row.name: row.metric for row in quality.MEASURES if row.metric}


@dataclass(frozen=True)
class Verdict:
    """Difference of one mask from those of similar images."""

    score: float | None
    """Largest number of scaled MADs, in [0, `HIGHEST`] or `EMPTY`; None: not compared."""

    reasons: tuple[str, ...]
    """Differing measures, the farthest first; or the reason why there is no comparison."""

    group: str
    """Label of the group that it is compared with; the narrowest if all are too small."""


def judge(
    rows: Sequence[Mapping[str, object]],
    groups: Sequence[Sequence[str]],
    least: int = LEAST,
    compared: Mapping[str, Metric] | None = None,
) -> list[Verdict]:
    """Compare every mask with those of similar images.

    Parameters
    ----------
    rows : sequence of mapping
        Metrics of each mask, by the names of `compared`; other names are passed over. What is
        absent, no number, or not finite is unknown. A volume of 0 (or less) is an empty mask,
        which is an outlier whatever the others are, and takes no part in their medians.
    groups : sequence of sequence of str
        Of each mask, the labels of the groups that it belongs to, from the narrowest to the
        widest; as many for all. It is compared with the first that has enough images measured,
        among them those that were compared with a narrower one.
    least : int
        How many are enough, of a group and of a metric in it; at least 1.
    compared : mapping of str to Metric, optional
        What is compared; those of `metrics` if not given.

    Returns
    -------
    list of Verdict
        One a row, in their order.

    Raises
    ------
    ValueError
        Other numbers of rows and groups, a row with more labels than another or none, or `least`
        under 1.
    """
    if len(rows) != len(groups):
        raise ValueError(
            f"expected one set of labels per row, found {len(rows)} rows, {len(groups)} sets"
        )
    if len({len(labels) for labels in groups}) > 1 or not all(groups):
        raise ValueError("expected the same number of labels, at least one, for every row")
    if least < 1:
        raise ValueError(f"least: expected at least 1, found {least}")
    compared = metrics() if compared is None else compared
    values = _values(rows, compared)
    empty = np.zeros(len(rows), bool)
    if "volume_ml" in compared:
        empty = values[:, list(compared).index("volume_ml")] <= 0
    values[empty] = np.nan
    members = _members(groups, ~np.isnan(values).all(1))
    chosen = [
        next((place for place in enumerate(labels) if len(members[place]) >= least), None)
        for labels in groups
    ]
    away, medians = _compare(values, members, chosen, least, compared)
    worst = np.fmax.reduce(_badness(away, compared), axis=1)
    verdicts = []
    for row, (labels, place) in enumerate(zip(groups, chosen, strict=True)):
        score: float | None = float(worst[row])
        reasons = _reasons(values[row], away[row], medians[row], compared)
        if empty[row]:
            score, reasons = EMPTY, ("the mask is empty",)
        elif np.isnan(values[row]).all():
            score, reasons = None, ("not measured",)
        elif np.isnan(worst[row]):
            score, reasons = None, (f"fewer than {least} similar images",)
        verdicts.append(Verdict(score, reasons, place[1] if place else labels[0]))
    return verdicts


Place = tuple[int, str]
"""A group: how wide, and its label."""


def _values(rows: Sequence[Mapping[str, object]], compared: Mapping[str, Metric]) -> np.ndarray:
    """Lay metrics out, (N, M) float64; NaN for what is absent, no number, or not finite."""
    table = [[_comparable(row.get(name)) for name in compared] for row in rows]
    return np.array(table, np.float64).reshape(len(rows), len(compared))


def _comparable(value: object) -> float:
    # The bound leaves room for differences; infinity and NaN do not pass it.
    return float(value) if isinstance(value, Real) and abs(value) < 1e300 else np.nan  # type: ignore[operator]


def _members(groups: Sequence[Sequence[str]], measured: np.ndarray) -> dict[Place, list[int]]:
    """Rows with measures in every group, narrow and wide."""
    members: dict[Place, list[int]] = {}
    for row, labels in enumerate(groups):
        for place in enumerate(labels):
            members.setdefault(place, [])
            if measured[row]:
                members[place].append(row)
    return members


def _compare(
    values: np.ndarray,
    members: Mapping[Place, list[int]],
    chosen: Sequence[Place | None],
    least: int,
    compared: Mapping[str, Metric],
) -> tuple[np.ndarray, np.ndarray]:
    """Compare every row with the members of its chosen group.

    Returns
    -------
    away : (N, M) float64 array
        Scaled MADs above the median, negative below; NaN where that is not known.
    medians : (N, M) float64 array
        Of the values as they were given.
    """
    each = compared.values()
    columns = [metric.scaled(column) for metric, column in zip(each, values.T, strict=True)]
    scaled = np.stack(columns, axis=1)
    floors = np.array([metric.floor for metric in each])
    away, medians = np.full((2, *values.shape), np.nan)
    members_of: dict[Place, list[int]] = {}
    for row, place in enumerate(chosen):
        if place:
            members_of.setdefault(place, []).append(row)
    for place, these in members_of.items():
        those = scaled[members[place]]
        middle = _medians(those, least)
        spread = SCALED * _medians(abs(those - middle), least)
        away[these] = (scaled[these] - middle) / np.maximum(spread, floors)
        medians[these] = _medians(values[members[place]], least)
    return away, medians


def _medians(values: np.ndarray, least: int) -> np.ndarray:
    """Median of every column's known values, (M,); NaN for fewer than some. Quick for few rows."""
    ordered = np.sort(values, axis=0)  # NaN last
    known = np.count_nonzero(~np.isnan(values), axis=0)
    two = np.stack([np.maximum(known - 1, 0) // 2, known // 2])
    found = np.take_along_axis(ordered, np.minimum(two, len(values) - 1), axis=0).mean(0)
    return np.where(known >= least, found, np.nan)


def _badness(away: np.ndarray, compared: Mapping[str, Metric]) -> np.ndarray:
    """Scaled MADs on the bad side, in [0, `HIGHEST`]; NaN if unknown."""
    sides = [metric.side for metric in compared.values()]
    low, both = (np.array([side == name for side in sides]) for name in ("low", "both"))
    bad = np.where(both, abs(away), np.where(low, -away, away))
    return np.clip(bad, 0, HIGHEST) + 0.0  # no negative zero


def _reasons(
    values: np.ndarray, away: np.ndarray, medians: np.ndarray, compared: Mapping[str, Metric]
) -> tuple[str, ...]:
    """List the measures of a row that differ from its group, the farthest first."""
    bad = np.nan_to_num(_badness(away, compared))
    reasons = []
    for index in np.argsort(-bad, kind="stable"):
        if bad[index] < FLAGGED:
            break
        metric = list(compared.values())[index]
        side = "above" if away[index] > 0 else "below"
        value, median = (
            f"{_short(x)} {metric.unit}".rstrip() for x in (values[index], medians[index])
        )
        reasons.append(
            f"{metric.words} {bad[index]:.1f} MAD {side} the group ({value}, median {median})"
        )
    return tuple(reasons)


def _short(value: float) -> str:
    """Write a number with four significant digits."""
    return f"{float(f'{value:.4g}'):g}"


def _rules(compared: Mapping[str, Metric]) -> str:
    """Describe the comparison of each metric, for the data dictionary."""
    told = []
    for name, metric in compared.items():
        how = [{"low": "below only", "high": "above only", "both": "either side"}[metric.side]]
        if metric.scale == "log":
            how.append(f"ln(x + {metric.offset:g})" if metric.offset else "ln(x)")
        if metric.scale == "loss":
            how.append(f"-ln(1 - x + {metric.offset:g})")
        if np.isfinite(metric.cap):
            how.append(f"x over {metric.cap:g} counts as {metric.cap:g}")
        told.append(f"{name}: {', '.join(how)}, scaled MAD at least {metric.floor:g}")
    return "; ".join(told)


COLUMNS: dict[str, dict[str, str]] = {
    "group": {
        "LongName": "Group",
        "Description": (
            "Group of images that this one is compared with: its narrowest group with measures of "
            f"at least {LEAST} images. Without such a group: the narrowest, without a comparison"
        ),
    },
    "outlier_score": {
        "LongName": "Outlier score",
        "Description": (
            "Largest value, over the metrics, of (x - median) / scaled MAD on the relevant side, "
            "with the median and the median absolute deviation (MAD) of the image's group. The "
            f"scaled MAD is {SCALED:g} MAD, the standard deviation of a normal distribution. This "
            "is the modified z-score of Iglewicz and Hoaglin (1993), with 0.6745 = 1 / "
            f"{SCALED:g}. Metrics with fewer than {LEAST} values in the group are not used. At "
            f"most {HIGHEST:g}; {EMPTY:g} for an empty mask, which the medians do not include; "
            "n/a if nothing can be compared. By metric: "
        ),
    },
    "outlier_reasons": {
        "LongName": "Outlier reasons",
        "Description": (
            f"Every metric with {FLAGGED:g} scaled MADs or more on the relevant side, the "
            "farthest first, with its value and the group's median, separated by semicolons; or "
            "the reason why the mask cannot be compared. MAD means the scaled MAD here"
        ),
    },
}
"""Data dictionary of a `Verdict`, in BIDS form, but for the metrics."""


def columns(compared: Mapping[str, Metric] | None = None) -> dict[str, dict[str, str]]:
    """Give the data dictionary of a `Verdict`, in BIDS form; the argument is that of `judge`."""
    found = {name: dict(column) for name, column in COLUMNS.items()}
    found["outlier_score"]["Description"] += _rules(metrics() if compared is None else compared)
    return found
