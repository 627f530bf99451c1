# SPDX-License-Identifier: Apache-2.0
"""The table of ratings in a derivative dataset: read, merged and written as they are given.

It has one row for each image and rater. Several threads, and several processes, may write to it:
each change reads the table again if another process has written it, merges, and replaces the file
as a whole.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bids_brainmask.dataset import storage
from bids_brainmask.errors import OutputError, UsageError
from bids_brainmask.reports import ratings
from bids_brainmask.tables import quoted_tsv

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "group_desc-ratings_given"
"""Name of the table, without extension; its dictionary lies beside it."""

LOCK = ".bids_brainmask-ratings.lock"
"""File that a process locks while it changes the table, or a decision about a lesion."""

COLUMNS = {name: column for name, column in ratings.COLUMNS.items() if name != "stale"}
"""Data dictionary of the table."""

LONGEST = 4000
"""Most characters of a value."""

Row = dict[str, str]
Key = tuple[str, str]
"""Path of the mask, and name of the rater."""


class Table:
    """Ratings of a derivative dataset, on disk and in memory.

    Parameters
    ----------
    root : Path
        Derivative dataset.

    Raises
    ------
    UsageError
        There is a file of the table's name that is no such table.
    """

    def __init__(self, root: Path):
        self.root = root
        self.path = root / f"{NAME}.tsv"
        self.changed = threading.Condition()
        self._rows: dict[Key, Row] = {}
        self._history: list[Key] = []  # of changes, the last one at the end
        self._seen: tuple[int, ...] = ()
        self.look()

    def rows(self, since: int = 0) -> tuple[int, list[Row]]:
        """Give the number of changes so far, and the rows that changed after the first ones.

        Parameters
        ----------
        since : int
            Number of changes that are known.
        """
        with self.changed:
            keys = dict.fromkeys(self._history[since:])
            return len(self._history), [self._rows[key] for key in keys]

    def look(self) -> None:
        """Take over what other processes wrote since the table was last read."""
        with self.changed:
            stamp = _stamp(self.path)
            if stamp == self._seen:
                return
            self._seen = stamp
            if stamp:
                self._take(_read(self.path))

    def add(self, found: Iterable[Mapping[str, object]]) -> int:
        """Merge ratings into the table, and write it.

        Of two ratings of one image by one rater, the newer one is used, and of the same time the
        one that came last. An empty rating clears an earlier one.

        Parameters
        ----------
        found : iterable of mapping
            By the names of `COLUMNS`; what is absent is empty.

        Returns
        -------
        int
            Number of rows that changed.

        Raises
        ------
        ValueError
            A value is no rating.
        OutputError
            The table cannot be written.
        """
        checked = [row_of(one) for one in found]
        with self.changed, storage.output_errors(self.path), locked(self.root):
            self.look()
            before = dict(self._rows), len(self._history)
            count = self._take(checked)
            try:
                if count:
                    self._write()
            except OutputError:
                self._rows, self._history = before[0], self._history[: before[1]]
                raise
            return count

    def _take(self, found: Iterable[Row]) -> int:
        """Merge rows; return how many changed."""
        count = 0
        for row in found:
            key = (row["image"], row["rater"])
            known = self._rows.get(key)
            if row == known or (known and row["time"] < known["time"]):
                continue
            self._rows[key] = row
            self._history.append(key)
            count += 1
        if count:
            self.changed.notify_all()
        return count

    def _write(self) -> None:
        rows = [self._rows[key] for key in sorted(self._rows)]
        table = quoted_tsv([COLUMNS, *([row[name] or None for name in COLUMNS] for row in rows)])
        storage.write_bytes(self.path, table.encode("utf-8", "replace"))
        self._seen = _stamp(self.path)
        dictionary = self.path.with_suffix(".json")
        if not dictionary.is_file():
            storage.write_json(dictionary, COLUMNS)


def row_of(given: Mapping[str, object]) -> Row:
    """Check a rating, and give it as a row of the table.

    Raises
    ------
    ValueError
        A value is too long, or no text, or the rating is unknown.
    """
    row = {}
    for name in COLUMNS:
        value = given.get(name)
        text = "" if value is None else str(value)
        if not isinstance(value, str | int | float | None) or len(text) > LONGEST:
            raise ValueError(f"{name}: expected a text of at most {LONGEST} characters")
        row[name] = " ".join(text.split())
    if not row["image"]:
        raise ValueError("image: expected the path of a mask")
    if row["rating"] not in ("", *ratings.VERDICTS):
        raise ValueError(f"rating: expected one of {', '.join(ratings.VERDICTS)}")
    reasons = [part.strip() for part in row["reasons"].split(";") if part.strip()]
    row["reasons"] = "; ".join(reasons)
    return row


def _read(path: Path) -> list[Row]:
    """Read the rows of the table; n/a is empty.

    Raises
    ------
    UsageError
        It is no such table.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))
        if found and not {"image", "rater", "rating"} <= set(found[0]):
            raise ValueError("expected the columns image, rater and rating")
        return [
            {name: "" if one.get(name) in (None, "n/a") else str(one[name]) for name in COLUMNS}
            for one in found
        ]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: no table of ratings: {error}. Rename or remove it.") from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Tell versions of a file apart; empty if it is absent."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep others from changing what raters gave to a dataset; some file systems have no locks."""
    with (root / LOCK).open("wb") as file:
        if fcntl:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
