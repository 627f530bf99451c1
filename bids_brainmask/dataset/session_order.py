# SPDX-License-Identifier: Apache-2.0
"""The order of a participant's sessions in time: by dates, or by numbers in their labels.

Other words, such as pre and post, are not interpreted.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bids_brainmask.dataset import storage

DATE_KEYS = ("AcquisitionDateTime", "AcquisitionDate", "SeriesDate", "StudyDate")
"""Keys of sidecars, as converters from DICOM write them, the most exact one first."""

DICOM = re.compile(r"(\d{8})(\d{6})(\.\d+)?")
"""DICOM's form of a date and time."""


@dataclass(frozen=True)
class Order:
    """Labels of sessions, without ``ses-``, in their order."""

    labels: tuple[str, ...]
    """The earliest first; if the order is unknown, sorted by label (2 before 10)."""

    basis: str = ""
    """What they are ordered by; empty: the order is unknown."""

    @property
    def is_known(self) -> bool:
        """Whether the order is known; that of a single session is."""
        return bool(self.basis) or len(self.labels) < 2

    def sentence(self, participant: str) -> str:
        """Say why the order is unknown; empty if it is known."""
        if self.is_known:
            return ""
        return (
            f"sub-{participant}: the order of the sessions {', '.join(self.labels)} is unknown: "
            "scans.tsv, sessions.tsv and the sidecars have no different dates for all of them, "
            "and their labels do not differ in numbers alone."
        )


class Sessions:
    """Finds the order of sessions.

    Parameters
    ----------
    raw : Path or None
        Raw dataset, where dates are; if it is absent, only labels are used.
    """

    def __init__(self, raw: Path | None):
        self.raw = raw
        self._dates: dict[tuple[str, str, str], tuple[datetime, bool] | None] = {}

    def order(self, participant: str, labels: Collection[str]) -> Order:
        """Order the sessions of a participant; all labels are without prefix.

        The first source that has different dates for all sessions counts. Sources are not
        mixed: in one of them, dates may have been shifted to protect the participant.
        """
        by_label = tuple(sorted(set(labels), key=natural))
        if len(by_label) < 2:
            return Order(by_label)
        for basis, read in SOURCES.items():
            dates = {label: self._date(basis, read, participant, label) for label in by_label}
            if found := _by_date(dates):
                return Order(found, basis)
        return Order(by_label, "numbers in labels" if _differ_in_numbers(by_label) else "")

    def _date(
        self, basis: str, read: Source, participant: str, label: str
    ) -> tuple[datetime, bool] | None:
        key = (basis, participant, label)
        if key not in self._dates:
            found = read(self.raw, participant, label) if self.raw else iter(())
            self._dates[key] = min(filter(None, map(_parse, found)), default=None)
        return self._dates[key]


def _by_date(dates: Mapping[str, tuple[datetime, bool] | None]) -> tuple[str, ...]:
    """Sort labels by their dates; none if a date is missing, or two are the same."""
    known = {label: date for label, date in dates.items() if date}
    if len(known) < len(dates):
        return ()
    exact = all(has_time for _, has_time in known.values())
    times = {
        label: time if exact else time.replace(hour=0, minute=0, second=0, microsecond=0)
        for label, (time, _) in known.items()
    }
    if len(set(times.values())) < len(times):
        return ()
    return tuple(sorted(times, key=times.__getitem__))


def _differ_in_numbers(labels: Sequence[str]) -> bool:
    """Tell whether labels are the same but for numbers, of which no two are the same."""
    words = {re.sub(r"\d+", "0", label) for label in labels}
    numbers = {tuple(map(int, re.findall(r"\d+", label))) for label in labels}
    return len(words) == 1 and len(numbers) == len(labels)


def _parse(text: object) -> tuple[datetime, bool] | None:
    """Read a date, and whether it has a time of day; None if it is not a date."""
    words = str(text).strip()
    if match := DICOM.fullmatch(words):
        words = f"{match[1]}T{match[2]}"
    try:
        return datetime.fromisoformat(words).replace(tzinfo=None), len(words) > len("2000-01-01")
    except ValueError:
        return None


def _of_scans(raw: Path, participant: str, session: str) -> Iterator[str]:
    """Dates of all images of a session."""
    name = f"sub-{participant}_ses-{session}_scans.tsv"
    for row in _table(raw / f"sub-{participant}" / f"ses-{session}" / name):
        yield row.get("acq_time") or ""


def _of_sessions(raw: Path, participant: str, session: str) -> Iterator[str]:
    """Date in the participant's table of sessions."""
    for row in _table(raw / f"sub-{participant}" / f"sub-{participant}_sessions.tsv"):
        if (row.get("session_id") or "").removeprefix("ses-") == session:
            yield row.get("acq_time") or ""


def _of_sidecars(raw: Path, participant: str, session: str) -> Iterator[str]:
    """Dates in the sidecars of the anatomical images of a session."""
    for path in sorted((raw / f"sub-{participant}/ses-{session}/anat").glob("*.json")):
        try:
            content = storage.read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            yield next((str(content[key]) for key in DATE_KEYS if content.get(key)), "")


Source = Callable[[Path, str, str], Iterator[str]]
"""Function that reads the dates of a session from a raw dataset."""

SOURCES: dict[str, Source] = {
    "acq_time in scans.tsv": _of_scans,
    "acq_time in sessions.tsv": _of_sessions,
    "dates in sidecars": _of_sidecars,
}
"""By their names in tables, the most reliable one first."""


def _table(path: Path) -> list[dict[str, str]]:
    """Rows of a table; none if it is absent or not readable."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file, delimiter="\t"))
    except (OSError, ValueError, csv.Error):
        return []


def natural(label: str) -> list:
    """Key that sorts labels with numbers by their values: 2 before 10."""
    parts = re.split(r"(\d+)", label)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]
