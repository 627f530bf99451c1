# SPDX-License-Identifier: Apache-2.0
"""The one rule that says which results are current, manual, stale or orphaned.

Resuming, the removal of stale results, ``brainmask status``, the group level and the reports all
ask `judge`. They differ in what they know: see `Present`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import contrast, decisions, folders, storage
from bids_brainmask.dataset.readback import Result, source_of
from bids_brainmask.errors import UsageError
from bids_brainmask.hashes import unchanged
from bids_brainmask.voxels import NIFTI

State = Literal["current", "manual", "stale", "failed", "orphaned"]

STATES: tuple[State, ...] = get_args(State)

GOOD = ("current", "manual")
"""States of results that need no work."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""Errors of a record that is absent, damaged, or of another program."""

NO_SIDECAR = "it has no complete sidecar"

LEFT = "the image is not in the dataset any more"


@dataclass(frozen=True)
class Verdict:
    """State of one result."""

    state: State
    reason: str = ""
    """Empty: it needs no work."""


@dataclass(frozen=True)
class Present:
    """What is there now of one image, to which each of its results is compared."""

    path: Callable[[str], Path]
    """Path of an output, whether it exists or not."""

    records: Mapping[str, Mapping]
    """Content of the sidecars by output; empty or absent: there is no whole one."""

    source: Path | None
    """The image; None: it cannot be compared, as in a derivative dataset without the raw one."""

    times: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """As of `times`."""

    compared: Mapping[str, Path] = field(default_factory=dict)
    """Files that are compared with the sidecars that list them, by name."""

    is_listed: bool = True
    """Whether the image is in the dataset."""

    contrast: bool | None = None
    """Whether the image is contrast-enhanced; None: not known."""

    parameters: Mapping[str, Mapping] = field(default_factory=dict)
    """Parameters that a run wants, by output; those that are absent are not compared."""

    may_lack_files: bool = False
    """Whether absent files say nothing, as in a clone without content."""

    verify: bool = False
    """Compare hashes, also of files of the same size and time."""

    _known: dict[tuple[Path, str], bool] = field(default_factory=dict, compare=False, repr=False)

    def same(self, path: Path, before: Mapping) -> bool:
        """Tell whether a file is the one of a fingerprint; `FileNotFoundError` if it is absent."""
        if self.may_lack_files and not path.is_file():
            return True
        asked = path, before["SHA256"]
        if asked not in self._known:
            self._known[asked] = unchanged(path, before, self.times, verify=self.verify)
        return self._known[asked]


def judge(present: Present, kind: str) -> Verdict:
    """Judge one image file of the results.

    Parameters
    ----------
    present : Present
    kind : str
        Name of an `Output` that is an image.
    """
    if not present.is_listed:
        return Verdict("orphaned", LEFT)
    record = present.records.get(kind) or {}
    try:
        reason = _reason(present, kind, record) if record else NO_SIDECAR
    except FileNotFoundError as error:
        reason = f"{Path(str(error.filename)).name} is missing"
    except UNREADABLE:
        reason = NO_SIDECAR
    if reason:
        return Verdict("stale", reason)
    return Verdict("manual" if record.get("Manual") is True else "current")


def _reason(present: Present, kind: str, record: Mapping) -> str:
    """Say why a file is stale; empty if it is not.

    Raises
    ------
    One of UNREADABLE
        Its record is incomplete, or a file is missing.
    """
    if kind in present.parameters and record["Parameters"] != present.parameters[kind]:
        return "other parameters"
    if present.contrast not in (None, record["ContrastEnhanced"]):
        return "other contrast enhancement"
    if present.source and not present.same(present.source, record["SourceFile"]):
        return "the image has changed"
    if reason := _of_masks(present, kind, record):
        return reason
    for name, before in record["Files"].items():
        if name in present.compared and not present.same(present.compared[name], before):
            return f"{name} has changed"
    return _of_decisions(present, kind, record)


def _of_masks(present: Present, kind: str, record: Mapping) -> str:
    """Say which mask that a file was made from is another one now; empty if none is."""
    output = catalog.output(kind)
    if output.automatic:
        main = present.records.get(catalog.analysis(output.made_by[0]).main) or {}
        return "" if main.get("Manual") is True else "there is no manual mask beside it"
    for name, digest in record["MadeFrom"].items():
        row = catalog.analysis(name)
        main, place = present.records.get(row.main) or {}, present.path(row.main)
        if main.get("VoxelsSHA256") not in (None, digest):
            return f"{present.path(kind).name} was made from another mask"
        if not main and not catalog.output(row.main).option:
            return f"{place.name} has no complete sidecar"
        if row.correctable and (plain := uncompressed(place)):
            return f"{plain.name} is not yet taken"
        bound = main.get("Files", {}).get(place.name)
        if row.main != kind and bound and place.is_file() and not present.same(place, bound):
            return f"{place.name} has changed"
    return ""


def _of_decisions(present: Present, kind: str, record: Mapping) -> str:
    """Say that persons have decided otherwise about the candidates of an image since."""
    for row in catalog.ANALYSES:
        if row.main != kind or not row.candidates or record.get("Manual") is True:
            continue
        labels = present.path(row.candidates)
        voxels = (present.records.get(row.candidates) or read_record(labels)).get("VoxelsSHA256")
        if not voxels:
            continue
        try:
            wanted = decisions.of(decisions.read(decisions.beside(labels)), voxels)
        except UsageError as error:
            return str(error)
        if {str(index): each for index, each in wanted.items()} != record.get("Decisions", {}):
            return "decisions about candidate lesions have changed"
    return ""


def uncompressed(path: Path) -> Path | None:
    """Find the mask that a person has saved beside a ``.nii.gz`` file, as ``.nii``."""
    plain = path.with_suffix("")
    try:
        return plain if plain.is_file() else None
    except OSError:  # in a folder that may not be entered
        return None


def read_record(path: Path) -> dict[str, Any]:
    """Read the sidecar of a file; empty if it is absent, damaged, or of another program."""
    try:
        record = storage.read_json(storage.sidecar(path))
        return record if isinstance(record["Parameters"], dict) else {}
    except UNREADABLE:
        return {}


def times(record: Path, source: str) -> dict[str, tuple[str, int]]:
    """Read hash and modification time of the source and of each result, by their names.

    Parameters
    ----------
    record : Path
        As of `ScanPlan.record`. If it is absent, the hashes alone decide.
    source : str
        Name of the image.
    """
    try:
        content = storage.read_json(record)
        found = dict(content["Results"]) | {source: content}
        return {name: (each["SHA256"], each["Modified"]) for name, each in found.items()}
    except UNREADABLE:
        return {}


def advice(verdict: Verdict) -> str:
    """Say what to do about a result that is not current."""
    if verdict.state == "orphaned":
        return f"{verdict.reason}. Run the participant level with --remove-orphans."
    return f"{verdict.reason}, after its numbers were measured. Run the participant level again."


class Dataset:
    """Finds what is there of the images of a derivative dataset.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    raw : Path or None
        Raw dataset; None, or a folder without participants: it is not at hand.
    verify : bool
        As in `Present`.
    """

    def __init__(self, root: Path, raw: Path | None, *, verify: bool = False):
        self.root, self.verify = root, verify
        at_hand = raw and not _same(raw, root) and folders.has_participant(raw)
        self.raw = raw if at_hand else None
        self.contrast = contrast.Finder(self.raw) if self.raw else None

    def present(self, result: Result, *, may_lack_files: bool = False) -> Present:
        """Collect what is there of one image.

        Parameters
        ----------
        result : Result
        may_lack_files : bool
            As in `Present`. Only the records of the result, and the main files and tables, are
            looked at then.
        """

        def path(kind: str) -> Path:
            return self.root / result.output(kind)

        if may_lack_files:
            rows = [row for row in catalog.ANALYSES if row.name in result.records]
            records = {row.main: result.records[row.name] for row in rows}
            places = [path(kind) for row in rows for kind in (row.main, row.table) if kind]
        else:
            images = (row.name for row in catalog.OUTPUTS if not row.is_table)
            records = {name: read_record(path(name)) for name in images}
            places = [path(row.name) for row in catalog.OUTPUTS]
            figures = (self.root / place for place in result.figures.values())
            places += [path for path in figures if path.is_file()]  # they may have been deleted
        relative, is_listed = self._source(result, records)
        source = self.raw / relative if self.raw else None
        return Present(
            path,
            records,
            source if source and source.is_file() else None,
            times(self.root / result.log("_run.json"), Path(relative).name),
            {each.name: each for each in places},
            is_listed=is_listed,
            contrast=self.contrast.of(relative) if self.contrast and is_listed else None,
            may_lack_files=may_lack_files,
            verify=self.verify,
        )

    def _source(self, result: Result, records: Mapping[str, Mapping]) -> tuple[str, bool]:
        """Find the path of an image in the raw dataset, and whether it is listed there."""
        named = [path for record in records.values() if (path := source_of(record))]
        named += [f"{result.folder}/{result.prefix}_{result.suffix}{end}" for end in NIFTI]
        if self.raw is None:
            return named[0], True
        for relative in named:
            if os.path.lexists(self.raw / relative):
                return relative, True
        return named[0], not self.is_left(result.participant)

    def has(self, relative: str) -> bool:
        """Tell whether an image is in the raw dataset, as far as is known."""
        if self.raw is None or os.path.lexists(self.raw / relative):
            return True
        return not self.is_left(relative.partition("/")[0].removeprefix("sub-"))

    def is_left(self, participant: str) -> bool:
        """Tell whether what is not there of a participant has left the raw dataset.

        An empty folder of a participant says nothing: its content may not be fetched.
        """
        if self.raw is None:
            return False
        try:
            with os.scandir(self.raw / f"sub-{participant}") as entries:
                return any(True for _ in entries)
        except OSError:
            return not os.path.lexists(self.raw / f"sub-{participant}")


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def out_of_date(dataset: Dataset, found: Iterable[Result]) -> dict[Result, dict[str, Verdict]]:
    """Find the analyses of some images whose main results are not current, with the reasons."""
    judged = {}
    for one in found:
        present = dataset.present(one, may_lack_files=True)
        verdicts = {name: judge(present, catalog.analysis(name).main) for name in one.records}
        judged[one] = {
            name: verdict
            for name, verdict in verdicts.items()
            if verdict.state not in GOOD and verdict.reason != NO_SIDECAR  # as of former versions
        }
    return judged
