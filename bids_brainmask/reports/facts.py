# SPDX-License-Identifier: Apache-2.0
"""What the group report knows of images beside their masks: scanners and participants.

They are columns of the page, by which it groups and colors images.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_brainmask.analyses.measures import Value
from bids_brainmask.dataset import scanners, storage
from bids_brainmask.dataset.readback import Result

log = logging.getLogger(__name__)

MOST = 20
"""Columns of participants.tsv at most."""

Columns = dict[str, Mapping[str, str]]


def gather(
    root: Path,
    results: Sequence[Result],
    said: Mapping[str, Mapping[str, str]],
    taken: Mapping[str, object],
) -> tuple[Columns, dict[str, dict[str, Value]]]:
    """Gather the columns, and the values of each image.

    Parameters
    ----------
    root : Path
        Derivative dataset, with its copy of participants.tsv.
    results : sequence of Result
    said : mapping
        As of `scanners.read`.
    taken : mapping
        Names of columns that are something else.

    Returns
    -------
    columns : dict
        Data dictionary of the columns; a column without any value is left out.
    values : dict
        By `Result.key` and column.
    """
    people, meanings = _participants(root)
    columns: Columns = {}
    values: dict[str, dict[str, Value]] = {one.key: {} for one in results}
    for key, field in scanners.FIELDS.items():
        found = {one.key: said.get(one.key, {}).get(key) for one in results}
        columns |= _column(field["name"], field, found, values)
    names = list(dict.fromkeys(name for row in people.values() for name in row))
    for name in [name for name in names if name not in (*taken, *columns)][:MOST]:
        found = {one.key: people.get(f"sub-{one.participant}", {}).get(name) for one in results}
        meaning = meanings.get(name)
        columns |= _column(name, meaning if isinstance(meaning, Mapping) else {}, found, values)
    return columns, values


def _column(
    name: str,
    meaning: Mapping,
    found: Mapping[str, str | None],
    values: Mapping[str, dict[str, Value]],
) -> Columns:
    """Add a column's values: numbers, if all are; empty if no image has one."""
    known = {key: text for key, text in found.items() if text not in (None, "", "n/a")}
    if not known:
        return {}
    numbers = {key: _number(text) for key, text in known.items()}
    numeric = None not in numbers.values()
    for key, text in known.items():
        values[key][name] = numbers[key] if numeric else text
    texts = {
        key: str(meaning[key]) for key in ("LongName", "Description", "Units") if key in meaning
    }
    return {name: {"Description": "Of participants.tsv"} | texts}


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _participants(root: Path) -> tuple[dict[str, dict[str, str]], Mapping]:
    """Rows of participants.tsv by participant, and its dictionary; an unreadable one is empty."""
    people: dict[str, dict[str, str]] = {}
    try:
        with (root / "participants.tsv").open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                label = row.pop("participant_id", None)
                if label:
                    people[label] = {k: v for k, v in row.items() if isinstance(k, str) and v}
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, csv.Error) as error:
        log.warning("%s: ignored: %s", root / "participants.tsv", error)
    return people, storage.read_object(root / "participants.json")
