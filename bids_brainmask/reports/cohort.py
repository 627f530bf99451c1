# SPDX-License-Identifier: Apache-2.0
"""Comparison of one mask's measures with those of similar images, from the group's table."""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bids_brainmask.analyses import quality
from bids_brainmask.analyses.measures import Reading
from bids_brainmask.reports import outliers

log = logging.getLogger(__name__)

TABLE = "group_desc-brain_qc.tsv"
"""The group level's table of measures, in the output folder."""

PERCENTILES = (5, 50, 95)
"""Percentiles of a group's values that are shown; linear interpolation between values."""

WIDTH, MARGIN = 150.0, 6.0
"""Units of the drawn scale, and those at either end that a dot does not enter."""


@dataclass(frozen=True)
class Spread:
    """Values of one measure over a group, and where they are drawn on a scale."""

    low: float
    middle: float
    high: float
    drawn: tuple[float, float, float, float]
    """Places of these three and of the image's value on a scale of `WIDTH`: from `low` to `high`
    it is half of it, and what lies beyond the scale is at its end."""


@dataclass(frozen=True)
class ShownMeasure:
    """One measure of a mask, as it is shown."""

    key: str
    name: str
    description: str
    units: str
    value: str
    spread: Spread | None
    place: str  # position in words
    outlier: bool


@dataclass(frozen=True)
class Peers:
    """The images that an image is compared with, including itself."""

    group: str
    rows: Sequence[Mapping[str, str]]
    reasons: Sequence[str]
    """Reasons from the table why the image differs from them."""

    numbers: dict[str, list[float]] = field(default_factory=dict)
    """Values of measures that were read before, for all images of the group."""

    ranges: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Their `PERCENTILES`, likewise."""

    def is_reason(self, key: str) -> bool:
        """Tell whether a measure is among the reasons."""
        metric = outliers.metrics().get(key)
        if metric is None:
            return False
        start = re.compile(rf"{re.escape(metric.words)} [0-9.]+ MAD ")
        return any(start.match(reason) for reason in self.reasons)

    def values(self, key: str) -> list[float]:
        """Values of a measure that are numbers."""
        if key not in self.numbers:
            found = (finite_number(row.get(key)) for row in self.rows)
            self.numbers[key] = [value for value in found if value is not None]
        return self.numbers[key]

    def percentiles(self, key: str) -> tuple[float, ...]:
        """`PERCENTILES` of a measure, of which there are `outliers.LEAST` values; empty if not."""
        if key not in self.ranges:
            values = self.values(key)
            enough = len(values) >= outliers.LEAST
            self.ranges[key] = tuple(np.percentile(values, PERCENTILES).tolist()) if enough else ()
        return self.ranges[key]


@dataclass(frozen=True)
class Cohort:
    """The table of all images; without rows if it does not exist yet."""

    rows: Sequence[Mapping[str, str]] = ()

    @cached_property
    def _of_image(self) -> dict[str | None, Mapping[str, str]]:
        """First row of each image."""
        return {row.get("image"): row for row in reversed(self.rows)}

    @cached_property
    def _groups(self) -> dict[str | None, tuple[list[Mapping[str, str]], dict, dict]]:
        """Rows of each group, with their numbers and percentiles once these are wanted."""
        found: dict[str | None, tuple[list[Mapping[str, str]], dict, dict]] = {}
        for row in self.rows:
            found.setdefault(row.get("group"), ([], {}, {}))[0].append(row)
        return found

    def peers(self, image: str) -> Peers | None:
        """Find the images that one is compared with; None if the table has no group for it.

        Parameters
        ----------
        image : str
            Path of its brain mask in the output folder.
        """
        own = self._of_image.get(image)
        group = own.get("group") if own else None
        if own is None or group in (None, "", "n/a"):
            return None
        rows, numbers, ranges = self._groups[group]
        judged = finite_number(own.get("outlier_score")) is not None
        reasons = (own.get("outlier_reasons") or "").split(";") if judged else []
        told = (reason.strip() for reason in reasons)
        differs = [reason for reason in told if reason not in ("", "n/a")]
        return Peers(group, rows, differs, numbers, ranges)


def read(root: Path) -> Cohort:
    """Read the group level's table if it exists; an unreadable one gives a warning.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    """
    path = root / TABLE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return Cohort(list(csv.DictReader(file, delimiter="\t")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, csv.Error) as error:
        log.warning("%s: ignored: %s", path, error)
    return Cohort()


def measures(record: Mapping, peers: Peers | None) -> list[ShownMeasure]:
    """Describe every recorded measure of a mask.

    Parameters
    ----------
    record : mapping of str to object
        The mask's sidecar.
    peers : Peers or None
        What to compare with.
    """
    found = record.get("Quality")
    if not isinstance(found, Mapping) or not found:
        return []
    described = []
    for row in quality.MEASURES:
        if row.is_doubt:  # the page says it above
            continue
        key, column = row.name, row.column
        value = finite_number(found.get(key) if row.compute else row.value(Reading(record)))
        spread = _spread(peers.percentiles(key), value) if peers else None
        described.append(
            ShownMeasure(
                key=key,
                name=column.get("LongName", key),
                description=column["Description"],
                units=column.get("Units", ""),
                value="n/a" if value is None else digits(value),
                spread=spread,
                place=_place(value, spread) if spread and value is not None else "",
                outlier=bool(peers and peers.is_reason(key)),
            )
        )
    return described


def _spread(percentiles: Sequence[float], value: float | None) -> Spread | None:
    if value is None or not percentiles:
        return None
    low, middle, high = percentiles
    width = high - low
    shares = [0.0, 0.5, 1.0, 0.5 + np.sign(value - middle)]  # for a group of equal values
    if width:
        shares = [(one - low) / width for one in (low, middle, high, value)]
    places = WIDTH * (0.25 + 0.5 * np.array(shares))
    drawn = tuple(np.clip(places, MARGIN, WIDTH - MARGIN).round(1).tolist())
    return Spread(low, middle, high, drawn)


def _place(value: float, spread: Spread) -> str:
    if value < spread.low:
        return "low"
    return "high" if value > spread.high else "usual"


def finite_number(value: object) -> float | None:
    """Convert a finite number, or its text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def digits(value: float) -> str:
    """Write a number: integers in full, others with four significant digits."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return str(int(value))
    if not math.isfinite(value):
        return "n/a"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
