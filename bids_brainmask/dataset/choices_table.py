# SPDX-License-Identifier: Apache-2.0
"""``choices.tsv``: all choices of a derivative dataset, listed; an edited table is read again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import choices, storage
from bids_brainmask.dataset.choices import KEYS, Choice, Memory
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import UsageError
from bids_brainmask.models.model import Model
from bids_brainmask.settings import Precision
from bids_brainmask.tables import cell, tsv

log = logging.getLogger(__name__)

FILE = "choices.tsv"

COLUMNS: dict[str, dict] = {
    "image": {"Description": "Path of the image in the raw dataset"},
    "analysis": {"Description": f"Analysis: {' or '.join(catalog.with_model())}"},
    "model": {"Description": "Model: a name, or in a table that is given also a path"},
    "threshold": {"Description": "Lowest probability of a voxel in the mask, of this model"},
    "border": {"Description": "Distance by which the edge of the mask is moved", "Units": "mm"},
    "precision": {"Description": f"Number format: {' or '.join(get_args(Precision))}"},
    "time": {"Description": "When it was asked, UTC; n/a for a row that no run has read yet"},
}
"""Data dictionary of `FILE`; n/a: not chosen."""


Rows = dict[tuple[str, str], Choice]
"""Choices by image and analysis."""


def read(path: Path, bids_dir: Path, memory: Memory) -> Rows:
    """Read a table of choices. A row says everything that is chosen; n/a: nothing.

    Parameters
    ----------
    path : Path
    bids_dir : Path
        Dataset of the images, which need not be in the run.
    memory : Memory
        Where models are looked for.

    Raises
    ------
    UsageError
        It names the file and the line, what was found, and what was expected.
    """
    found: Rows = {}
    lines: dict[tuple[str, str], int] = {}
    for line, row in _lines(path):
        where = f"{path}, line {line}"
        try:
            image, analysis, choice = _row(row, bids_dir, memory)
        except ValueError as error:
            raise UsageError(f"{where}: {error}.") from error
        if before := lines.get((image, analysis)):
            raise UsageError(
                f"{where}: found {image} with {analysis} again; expected one row of each. The "
                f"other is line {before}."
            )
        found[image, analysis], lines[image, analysis] = choice, line
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a table with their lines; n/a is empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"--choices: {path} cannot be read: {error}") from error
    header, *rows = text.splitlines() or [""]
    names = header.split("\t")
    if "image" not in names or len(set(names)) < len(names) or not set(names) <= set(COLUMNS):
        raise UsageError(
            f"{path}, line 1: found the columns {', '.join(names)!r}; expected image and some of "
            f"{', '.join(list(COLUMNS)[1:])}, separated by tabs."
        )
    for line, row in enumerate(rows, 2):
        cells = row.split("\t")
        if not row.strip():
            continue
        if len(cells) != len(names):
            raise UsageError(
                f"{path}, line {line}: found {len(cells)} cells; expected {len(names)}."
            )
        texts = [each.strip() for each in cells]
        yield (
            line,
            {name: "" if text == "n/a" else text for name, text in zip(names, texts, strict=True)},
        )


def _row(row: Mapping[str, str], bids_dir: Path, memory: Memory) -> tuple[str, str, Choice]:
    """Check a row of a table; `ValueError` says what was found and what was expected."""
    image, analysis = row["image"], row.get("analysis") or catalog.names()[0]
    if analysis not in catalog.with_model():
        known = " or ".join(catalog.with_model())
        raise ValueError(f"analysis: found {analysis!r}; expected {known}")
    parts = Path(image).parts
    inside = image.startswith("sub-") and ".." not in parts and "\0" not in image
    if not inside or not (bids_dir / image).is_file():
        raise ValueError(
            f"image: found {image!r}; expected the path of an image in {bids_dir}, such as "
            "sub-01/anat/sub-01_T1w.nii.gz"
        )
    choice = choices.checked(analysis, row)
    name = row.get("model", "")
    if name and "\0" in name:
        raise ValueError(f"model: found {name!r}; expected a name or a path")
    return image, analysis, replace(choice, model=_named(name, analysis, memory))


def _named(name: str, analysis: str, memory: Memory) -> Model | None:
    """Find the model of a row; one with only a name stands for that of the sidecar."""
    if not name:
        return None
    model = memory.model(analysis, name)
    return model or choices.as_recorded(analysis, name, {})


def combine(row: Choice | None, before: Choice) -> Choice:
    """Put a row of a table in the place of what was asked before.

    Raises
    ------
    UsageError
        The model of the row is unknown, and is not the one from before.
    """
    if row is None:
        return before
    if row.model and not row.model.sha256:  # unknown by its name
        if not before.model or before.model.name != row.model.name:
            raise UsageError(
                f"--choices: found the model {row.model.name!r}; expected a name of `brainmask "
                "models list`, a folder of a training, a file, or the model from before."
            )
        row = replace(row, model=before.model, absent=before.absent)
    return replace(row, time=before.time) if row.asked() == before.asked() else row


def write(root: Path, results: Sequence[Result]) -> list[Path]:
    """Write the table of all choices of a derivative dataset, if there are any.

    Rows that a person has changed, and that no run has read yet, are kept.

    Returns
    -------
    list of Path
        Files that were written.
    """
    found = {
        (source, analysis): _texts(record["Chosen"])
        for one in results
        for analysis, record in one.records.items()
        if isinstance(record.get("Chosen"), Mapping) and (source := one.source)
    }
    path, waiting = root / FILE, 0
    try:
        old = {(row["image"], row.get("analysis", "")): row for _, row in _lines(path)}
    except UsageError as error:
        if path.exists():
            log.warning("%s; the table is left as it is", error)
            return []
        old = {}
    for key, row in old.items():
        own = found.get(key, {})
        edited = any((row.get(name) or "") != own.get(name, "") for name in KEYS if name != "time")
        if edited and row.get("time", "") in ("", own.get("time")):
            found[key], waiting = {name: row.get(name) or "" for name in KEYS}, waiting + 1
    if waiting:
        log.warning(
            "%s: rows that no run has carried out yet: %d. Give it with --choices", path, waiting
        )
    if not found and not old:
        return []
    rows = [
        [*key, *(row.get(name) or "n/a" for name in KEYS)] for key, row in sorted(found.items())
    ]
    dictionary = path.with_suffix(".json")
    storage.write_bytes(path, tsv([COLUMNS, *rows]).encode("utf-8", "replace"))
    storage.write_json(dictionary, COLUMNS)
    return [path, dictionary]


def _texts(said: Mapping) -> dict[str, str]:
    """Cells of an entry ``Chosen``, by column."""
    return {name: cell(said[key]) for name, key in KEYS.items() if said.get(key) is not None}
