# SPDX-License-Identifier: Apache-2.0
"""Tables of the raw dataset that the derivative dataset has, too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from bids_brainmask.dataset import storage
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)

KEY = "participant_id"


def copy_participants(settings: Settings) -> list[Path]:
    """Copy participants.tsv and its dictionary from the raw dataset, if they exist.

    Columns that only the derivative's table has are kept, and so are rows of participants who
    have a folder in the derivative alone.

    Returns
    -------
    list of Path
        Files that were written.
    """
    out = settings.output_dir
    copied = []
    for name, merge in (("participants.tsv", merge_tables), ("participants.json", merge_json)):
        try:
            raw = (settings.bids_dir / name).read_bytes()
        except OSError:
            continue  # the raw dataset may be absent
        path = out / name
        try:
            content = merge(raw, path.read_bytes(), out) if path.is_file() else raw
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: left as it is, it cannot be merged with the raw one: %s", path, error)
            continue
        storage.write_changed(path, content)
        copied.append(path)
    return copied


def merge_tables(raw: bytes, own: bytes, out: Path) -> bytes:
    """Merge the raw table of participants with that of the derivative.

    Raises
    ------
    ValueError
        One of them is not a table with a column participant_id.
    """
    if raw == own:
        return raw
    (columns, people), (own_columns, own_people) = _read(raw), _read(own)
    added = [name for name in own_columns if name not in columns]
    alone = [one for one in own_people if one not in people and (out / one).is_dir()]
    if not added and not alone:
        return raw
    lines = [[*columns, *added]]
    for one in [*people, *alone]:
        row, own_row = people.get(one), own_people.get(one, {})
        known = own_row if row is None else row
        lines.append(
            [known.get(name, "n/a") for name in columns]
            + [own_row.get(name, "n/a") for name in added]
        )
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _read(content: bytes) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Columns of a table of participants, and the cells of each row by their columns."""
    header, *lines = content.decode("utf-8-sig").splitlines() or [""]
    columns = header.split("\t")
    if KEY not in columns or len(set(columns)) < len(columns):
        raise ValueError(f"expected different columns with {KEY}, found {header!r}")
    rows: dict[str, dict[str, str]] = {}
    for line in filter(None, lines):
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"expected {len(columns)} cells, found {line!r}")
        row = dict(zip(columns, cells, strict=True))
        rows.setdefault(row[KEY], row)
    return columns, rows


def merge_json(raw: bytes, own: bytes, out: Path) -> bytes:  # noqa: ARG001 - as merge_tables
    """Add the columns that only the derivative's dictionary has to those of the raw one.

    Raises
    ------
    ValueError
        One of them is not a JSON object.
    """
    found = [json.loads(content.decode("utf-8-sig")) for content in (raw, own)]
    if not all(isinstance(each, Mapping) for each in found):
        raise ValueError("expected JSON objects")
    added = {key: value for key, value in found[1].items() if key not in found[0]}
    if not added:
        return raw
    return (json.dumps(found[0] | added, indent=2, ensure_ascii=False) + "\n").encode()
