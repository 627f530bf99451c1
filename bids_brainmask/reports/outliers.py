# SPDX-License-Identifier: Apache-2.0
"""Which of many brain masks are unlike those of like images, and in what.

An image is compared with its group, metric by metric, by the modified z-score of Iglewicz and
Hoaglin (1993): how far its value lies from the group's median, over the group's scaled median
absolute deviation (MAD), 1.4826 times the plain one. That is their 0.6745 on the other side of the
fraction: of a normal distribution it is the standard deviation. Medians stand up to almost half of
a group being bad. The score is the largest over the metrics; they call 3.5 an outlier.

`METRICS` says of each metric which side counts, on what scale it is compared, and the least that
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
from typing import Literal

import numpy as np

LEAST = 8
"""Images of which a group must have values, for its median and its MAD to be trusted."""

FLAGGED = 3.5
"""Scaled MADs from which a metric is given as a reason (Iglewicz and Hoaglin)."""

SCALED = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

HIGHEST = 999.0
"""A score beyond this is given as this."""

EMPTY = 1000.0
"""Score of an empty mask: above all others."""


@dataclass(frozen=True)
class Metric:
    """How one metric is compared."""

    words: str
    """Its name in a reason."""

    side: Literal["low", "high", "both"]
    """Values on which side of the median count as bad."""

    floor: float
    """Least scaled MAD, in the metric's unit; on a logarithmic scale, about a share."""

    unit: str = ""

    scale: Literal["plain", "log", "loss"] = "plain"
    """As it is; the logarithm of it plus `offset`, for what is skewed; or less the logarithm of 1
    less it plus `offset`, for what piles up below 1."""

    offset: float = 0.0

    cap: float = np.inf
    """More counts as this."""

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Put values on the scale on which they are compared; NaN stays NaN."""
        if self.scale == "log":
            return np.log(np.maximum(values, 0) + self.offset)
        if self.scale == "loss":
            return -np.log(np.maximum(1 - values, 0) + self.offset)
        return np.minimum(values, self.cap)


def _length(words: str, side: Literal["low", "both"] = "both", cap: float = np.inf) -> Metric:
    return Metric(words, side, 2.0, "mm", cap=cap)  # one plane, where voxels are large


def _margin(side: str) -> Metric:
    """Compare a margin: more than a finger's breadth says where the head lay, not the mask."""
    return _length(f"margin on the {side} side", "low", 10.0)


def _count(words: str, unit: str = "", offset: float = 1.0) -> Metric:
    return Metric(words, "high", 0.7, unit, "log", offset)  # a factor of 2


METRICS: dict[str, Metric] = {
    "volume_ml": Metric("volume", "both", 0.01, "mL", "log"),
    "extent_x_mm": _length("extent left to right"),
    "extent_y_mm": _length("extent back to front"),
    "extent_z_mm": _length("extent foot to head"),
    "margin_left_mm": _margin("left"),
    "margin_right_mm": _margin("right"),
    "margin_posterior_mm": _margin("posterior"),
    "margin_anterior_mm": _margin("anterior"),
    "margin_inferior_mm": _margin("inferior"),
    "margin_superior_mm": _margin("superior"),
    "pieces_removed": _count("count of pieces removed"),
    "removed_ml": _count("volume of pieces removed", "mL", 0.5),
    "holes_filled": _count("count of holes filled"),
    "filled_ml": _count("volume of holes filled", "mL", 0.5),
    "roughness": Metric("roughness", "high", 0.02, "", "log", 1e-3),
    "asymmetry": Metric("asymmetry", "high", 0.1, "", "log", 0.02),
    "rim_contrast": Metric("contrast at the rim", "low", 0.02),
    "boundary_probability": Metric("probability on the boundary", "low", 0.01),
    "predicted_dice": Metric("predicted Dice", "low", 0.1, "", "loss", 0.005),
    "centroid_right_mm": _length("centroid's place to the right"),
    "centroid_anterior_mm": _length("centroid's place to the front"),
    "centroid_below_top_mm": _length("centroid's depth below the top"),
    "boundary_uncertainty": Metric("boundary uncertainty", "high", 0.02),
}
"""What is compared. Sizes of images and voxels are of the image, not of the mask, and are not."""


@dataclass(frozen=True)
class Verdict:
    """How far one mask is unlike those of like images."""

    score: float | None
    """Largest number of scaled MADs, in [0, `HIGHEST`] or `EMPTY`; None: cannot be judged."""

    reasons: tuple[str, ...]
    """What is unlike, the farthest first; or why it cannot be judged."""

    group: str
    """Label of the images that it was compared with; the narrowest where there were too few."""


def judge(
    rows: Sequence[Mapping[str, object]], groups: Sequence[Sequence[str]], least: int = LEAST
) -> list[Verdict]:
    """Compare every mask with those of like images.

    Parameters
    ----------
    rows : sequence of mapping
        Metrics of each mask, by the names of `METRICS`; other names are passed over. What is
        absent, no number, or not finite is unknown. A volume of 0 (or less) is an empty mask,
        which is an outlier whatever the others are, and takes no part in their medians.
    groups : sequence of sequence of str
        Of each mask, the labels of the groups that it belongs to, from the narrowest to the
        widest; as many for all. It is compared with the first that has enough images measured,
        among them those that were compared with a narrower one.
    least : int
        How many are enough, of a group and of a metric in it; at least 1.

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
        raise ValueError(f"{len(rows)} rows and {len(groups)} sets of labels: one each is wanted")
    if len({len(labels) for labels in groups}) > 1 or not all(groups):
        raise ValueError("every row wants as many labels, at least one")
    if least < 1:
        raise ValueError(f"least is {least}; it must be at least 1")
    values = _values(rows)
    empty = values[:, list(METRICS).index("volume_ml")] <= 0
    values[empty] = np.nan
    members = _members(groups, ~np.isnan(values).all(1))
    chosen = [
        next((place for place in enumerate(labels) if len(members[place]) >= least), None)
        for labels in groups
    ]
    away, medians = _compare(values, members, chosen, least)
    worst = np.fmax.reduce(_badness(away), axis=1)
    verdicts = []
    for row, (labels, place) in enumerate(zip(groups, chosen, strict=True)):
        score, reasons = float(worst[row]), _reasons(values[row], away[row], medians[row])
        if empty[row]:
            score, reasons = EMPTY, ("the mask is empty",)
        elif np.isnan(values[row]).all():
            score, reasons = None, ("not measured",)
        elif np.isnan(score):
            score, reasons = None, (f"fewer than {least} like images",)
        verdicts.append(Verdict(score, reasons, place[1] if place else labels[0]))
    return verdicts


Place = tuple[int, str]
"""A group: how wide, and its label."""


def _values(rows: Sequence[Mapping[str, object]]) -> np.ndarray:
    """Lay metrics out, (N, M) float64; NaN for what is absent, no number, or not finite."""
    table = [[_number(row.get(name)) for name in METRICS] for row in rows]
    return np.array(table, np.float64).reshape(len(rows), len(METRICS))


def _number(value: object) -> float:
    # The bound leaves room for differences; infinity and NaN do not pass it.
    return float(value) if isinstance(value, Real) and abs(value) < 1e300 else np.nan


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
) -> tuple[np.ndarray, np.ndarray]:
    """Compare every row with the members of the group that was chosen for it.

    Returns
    -------
    away : (N, M) float64 array
        Scaled MADs above the median, negative below; NaN where that is not known.
    medians : (N, M) float64 array
        Of the values as they were given.
    """
    metrics = METRICS.values()
    columns = [metric.scaled(column) for metric, column in zip(metrics, values.T, strict=True)]
    scaled = np.stack(columns, axis=1)
    floors = np.array([metric.floor for metric in metrics])
    away, medians = np.full((2, *values.shape), np.nan)
    compared: dict[Place, list[int]] = {}
    for row, place in enumerate(chosen):
        if place:
            compared.setdefault(place, []).append(row)
    for place, these in compared.items():
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


def _badness(away: np.ndarray) -> np.ndarray:
    """Scaled MADs on the bad side, in [0, `HIGHEST`]; NaN where not known."""
    sides = [metric.side for metric in METRICS.values()]
    low, both = (np.array([side == name for side in sides]) for name in ("low", "both"))
    bad = np.where(both, abs(away), np.where(low, -away, away))
    return np.clip(bad, 0, HIGHEST) + 0.0  # no negative zero


def _reasons(values: np.ndarray, away: np.ndarray, medians: np.ndarray) -> tuple[str, ...]:
    """Say in words what of one row is unlike its group, the farthest first."""
    bad = np.nan_to_num(_badness(away))
    reasons = []
    for index in np.argsort(-bad, kind="stable"):
        if bad[index] < FLAGGED:
            break
        metric = list(METRICS.values())[index]
        side = "above" if away[index] > 0 else "below"
        value, median = (
            f"{_short(x)} {metric.unit}".rstrip() for x in (values[index], medians[index])
        )
        reasons.append(
            f"{metric.words} {bad[index]:.1f} MAD {side} the group ({value}, median {median})"
        )
    return tuple(reasons)


def _short(value: float) -> str:
    """Write a number with four digits that count, in full where that is short."""
    return f"{float(f'{value:.4g}'):g}"


def _rules() -> str:
    """Say how each metric is compared, for the data dictionary."""
    told = []
    for name, metric in METRICS.items():
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
            "Images that this one was compared with: the narrowest of its groups with measures of "
            f"at least {LEAST} images, else the narrowest, and it is not judged"
        ),
    },
    "outlier_score": {
        "LongName": "Outlier score",
        "Description": (
            "Largest over the metrics of (x - median) / scaled MAD on the side that counts, with "
            "the median and the median absolute deviation (MAD) of the image's group. Scaled is "
            f"{SCALED:g} times it, the standard deviation of a normal distribution: the modified "
            "z-score of Iglewicz and Hoaglin (1993), whose 0.6745 is the same on the other side "
            "of the fraction. Metrics known of fewer than "
            f"{LEAST} images of the group are left out. At most {HIGHEST:g}; {EMPTY:g} for an "
            "empty mask, which takes no part in the medians; n/a where nothing can be compared. "
            f"By metric: {_rules()}"
        ),
    },
    "outlier_reasons": {
        "LongName": "Outlier reasons",
        "Description": (
            f"Every metric at {FLAGGED:g} scaled MADs or more on the side that counts, the "
            "farthest first, with its value and the group's median, joined by semicolons; or why "
            "the mask cannot be judged. MAD there is the scaled one"
        ),
    },
}
"""Data dictionary of a `Verdict`, in BIDS form."""
