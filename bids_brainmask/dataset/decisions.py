# SPDX-License-Identifier: Apache-2.0
"""What persons decided about candidate lesions: a table beside the index image of each scan.

It is a person's: `results.lesion_decisions` adds rows for them, and nothing removes any. A row
holds for the candidates that its hash names. If a later run finds others, it holds no more.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from bids_brainmask.errors import UsageError
from bids_brainmask.tables import tsv

Decision = Literal["accepted", "rejected"]

DECISIONS: tuple[Decision, ...] = get_args(Decision)

LABELS_END, END = "_dseg.nii.gz", "_decisions.tsv"
"""How the names of an index image and of its table of decisions end."""


@dataclass(frozen=True)
class Row:
    """What one person decided about one candidate."""

    index: int
    decision: Decision
    candidates_sha256: str
    """`VoxelsSHA256` in the sidecar of the index image."""

    by: str = "n/a"
    time: str = "n/a"
    """UTC, ISO 8601."""


COLUMNS = tuple(field.name for field in fields(Row))
"""The last two may be missing."""


def beside(labels: Path) -> Path:
    """Path of the table of decisions beside an index image."""
    return labels.with_name(labels.name.removesuffix(LABELS_END) + END)


def read(path: Path) -> list[Row]:
    """Read a table of decisions; no rows if there is none.

    Raises
    ------
    UsageError
        It cannot be read, lacks a column, or has a row that is not understood or says the
        opposite of another one.
    """
    found: dict[tuple[str, int], Row] = {}
    for place, each in read_table(path, COLUMNS[:3], missing=[]):
        index, decision = checked(place, each)
        if decision is None:
            continue
        more = {name: str(each.get(name) or "n/a") for name in COLUMNS[3:]}
        row = Row(index, decision, each["candidates_sha256"].strip(), **more)
        before = found.setdefault((row.candidates_sha256, index), row)
        if before.decision != decision:
            raise UsageError(f"{place}: candidate {index} is accepted and rejected. Keep one row.")
    return list(found.values())


def read_table(
    path: Path, columns: Iterable[str], missing: list | None = None
) -> list[tuple[str, dict[str, str]]]:
    """Read a tab-separated table: of each row its place, in words, and its cells.

    Parameters
    ----------
    path : Path
    columns : iterable of str
        That it must have.
    missing : list, optional
        What is given if there is no such file; otherwise that is an error.

    Raises
    ------
    UsageError
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, delimiter="\t")
            rows = list(table)
            names = table.fieldnames or ()
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise UsageError(f"{path}: no such file. Name a table of decisions.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table: {error}") from error
    if lacking := [name for name in columns if name not in names]:
        raise UsageError(
            f"{path}: expected the columns {', '.join(columns)}, separated by tabs; "
            f"{', '.join(lacking)} is missing."
        )
    placed = []
    for number, row in enumerate(rows, 2):
        if None in row or any(row[name] is None for name in columns):
            raise UsageError(f"{path}, line {number}: has more or fewer cells than the header.")
        placed.append((f"{path}, line {number}", cast("dict[str, str]", row)))
    return placed


def checked(place: str, row: Mapping[str, str]) -> tuple[int, Decision | None]:
    """Give the index and the decision of a row; None for ``n/a`` or no word.

    Raises
    ------
    UsageError
        They are none.
    """
    index, decision = row["index"].strip(), row["decision"].strip()
    if not (index.isascii() and index.isdigit() and len(index) < 10 and int(index)):
        raise UsageError(f"{place}: expected an index from 1 on, found {index[:40]!r}.")
    if decision in ("", "n/a"):
        return int(index), None
    if decision not in DECISIONS:
        raise UsageError(
            f"{place}: expected the decision accepted, rejected or n/a, found {decision!r}."
        )
    return int(index), decision


def of(rows: Iterable[Row], candidates: object) -> dict[int, Decision]:
    """Pick the decisions about some candidates, by index.

    Parameters
    ----------
    rows : iterable of Row
    candidates : object
        Hash of their voxels.
    """
    return {row.index: row.decision for row in rows if row.candidates_sha256 == candidates}


def text(rows: Iterable[Row]) -> str:
    """Write decisions as tab-separated values."""
    return tsv([COLUMNS, *([getattr(row, name) for name in COLUMNS] for row in rows)])
