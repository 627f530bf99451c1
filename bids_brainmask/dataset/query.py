# SPDX-License-Identifier: Apache-2.0
"""Find the images of a BIDS dataset to process. The dataset is only read."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_brainmask.analyses.rows import DEFAULT_SUFFIX, SUFFIXES, scan_key
from bids_brainmask.dataset import contrast, entity_patterns, filter_file, passed_over
from bids_brainmask.dataset.folders import (
    check_folders,
    is_derivative,
    of_derivative,
    participants,
)
from bids_brainmask.errors import NothingToDo, UsageError, did_you_mean, some_of
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)

NAME = re.compile(
    r"(?P<entities>sub-[A-Za-z0-9+]+(?:_[a-z]+-[A-Za-z0-9+]+)*)"
    rf"_(?P<suffix>{'|'.join(SUFFIXES)})(?P<ext>\.nii(\.gz)?)"
)
"""A raw image's name: key-value pairs, then the suffix."""

DERIVED = {"space", "seg", "res", "den", "label", "desc", "hemi", "atlas", "scale"}
"""Entities that no raw image has."""

MAGNITUDE = {"part": ["mag"]}
"""Entities of images with parts, of which only the magnitude is used."""

INDEX = "layout_index.sqlite"
"""Name of pybids' index in the folder of ``--bids-database-dir``."""


@dataclass(frozen=True)
class Scan:
    """An image of the dataset."""

    path: Path
    relative: str
    """Path in the dataset, with forward slashes."""

    entities: tuple[tuple[str, str], ...]
    """Key-value pairs of its name, in their order and with their padding."""

    contrast: bool
    """Contrast-enhanced: by its ``ce-`` entity or its sidecar's ``ContrastBolusIngredient``."""

    suffix: str = DEFAULT_SUFFIX
    """BIDS suffix of its name."""

    @property
    def key(self) -> str:
        """Unique name in the dataset: the prefix, with the suffix unless it is T1w."""
        return scan_key(self.prefix, self.suffix)

    @property
    def prefix(self) -> str:
        """Name without suffix and extension: the start of the name of every derivative."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)

    @property
    def folder(self) -> Path:
        """Folder in the dataset, and in the derivatives."""
        return Path(self.relative).parent

    @property
    def participant(self) -> str:
        """Label, without ``sub-``."""
        return dict(self.entities)["sub"]


def find_scans(settings: Settings) -> list[Scan]:
    """Find every image that the settings select, one `Scan` per file, sorted by path.

    Of images with parts, only the magnitude is used. ``derivatives/``, ``sourcedata/`` and other
    participants are not searched.

    Raises
    ------
    UsageError
        Not a raw dataset, an unknown participant or session, or an unreadable filter file.
    NothingToDo
        No image matches.
    """
    check_folders(settings)
    labels = choose_participants(settings)
    layout = _layout(settings, labels)
    filters = {suffix: _filters(settings, layout, labels, suffix) for suffix in suffixes(settings)}
    queries = [
        found | {"suffix": suffix, "invalid_filters": "allow"} for suffix, found in filters.items()
    ]
    try:
        found = [path for query in queries for path in layout.get("file", **query)]
    except (OverflowError, UnicodeError) as error:  # values that pybids' database cannot store
        raise UsageError(
            f"--bids-filter-file: a value is not valid for an entity: {error}"
        ) from error
    root = settings.bids_dir.absolute()
    ours, is_ignored = _inside(root, labels, found), passed_over.ignored_by(root)
    # Most images of a derivative dataset are no raw ones.
    level = logging.INFO if is_derivative(root) else logging.WARNING
    if ignored := sorted(filter(is_ignored, ours)):
        log.log(level, "%d images are ignored by .bidsignore: %s", len(ignored), some_of(ignored))
    wanted = (root / path for path in ours if not is_ignored(path))
    enhanced = contrast.Finder(root)
    scans = list(filter(None, (_scan(path, settings, enhanced, level) for path in wanted)))
    scans.sort(key=lambda scan: scan.relative)
    everything = _inside(root, labels, layout.files)
    passed_over.tell_near_misses(everything, ours, suffixes(settings), level)
    if not scans:
        raise _nothing(settings, filters, labels, everything)
    return scans


def _inside(root: Path, labels: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Paths of the chosen participants' files, relative to the dataset."""
    chosen, above = {f"sub-{label}" for label in labels}, str(root / "x")[:-1]
    relative = (path.removeprefix(above) for path in paths if path.startswith(above))
    return [path for path in relative if path.partition("/")[0] in chosen]


def _nothing(
    settings: Settings, filters: Mapping[str, Mapping], labels: Sized, everything: list[str]
) -> UsageError | NothingToDo:
    """Error for a dataset without an image to process, with what is there."""
    suffix, first = next(iter(filters.items()))
    fixed = {*filter_file.FIXED, *MAGNITUDE}
    asked = {key: value for key, value in first.items() if key not in fixed}
    if is_derivative(settings.bids_dir) and not asked:
        return of_derivative(settings.bids_dir)
    having = f" with {filter_file.in_words(asked)}" if asked else ""
    return NothingToDo(
        f"{settings.bids_dir}: found no {' or '.join(filters)} image of {len(labels)} "
        f"participants{having}.{passed_over.there_instead(everything, tuple(filters))} Expected "
        f"names such as sub-01/anat/sub-01_{suffix}.nii.gz."
    )


def suffixes(settings: Settings) -> tuple[str, ...]:
    """List the suffixes of the images to process."""
    return SUFFIXES if "all" in settings.suffix else settings.suffix


def choose_participants(settings: Settings) -> list[str]:
    """List the labels to process: the requested ones, or all.

    Raises
    ------
    UsageError
        A label has no folder; the message lists those that have one.
    NothingToDo
        The dataset has no participant.
    """
    there = participants(settings.bids_dir)
    if not there:
        raise NothingToDo(
            f"{settings.bids_dir}: no participants found; expected folders named sub-*."
        )
    unknown = sorted(set(settings.participant_label) - set(there))
    if unknown:
        raise UsageError(
            f"--participant-label: {', '.join(unknown)} not found in {settings.bids_dir}. "
            f"Existing labels: {some_of(there)}.{did_you_mean(unknown[0], there)}"
        )
    return sorted(set(settings.participant_label)) or there


def _layout(settings: Settings, labels: list[str]) -> Any:
    """Index the images of the participants; of the whole dataset for a database."""
    try:
        from bids import BIDSLayout

        from bids_brainmask.dataset.indexer import Indexer
    except OSError as error:  # pybids reads its own settings there
        raise UsageError(
            f"pybids cannot read the home folder: {error}. Set HOME to a readable folder."
        ) from error

    root, database = settings.bids_dir, settings.bids_database_dir
    indexed = participants(root) if database else labels
    options = {
        "validate": False,  # of dataset_description.json, which `check_folders` has checked
        "derivatives": False,
        "config": entity_patterns.configuration(root, derivative=is_derivative(root)),
        "indexer": Indexer([f"sub-{label}" for label in indexed]),
        "database_path": database,
        "reset_database": settings.reset_database,
    }
    kept = database and not settings.reset_database and (database / INDEX).is_file()
    try:
        layout = BIDSLayout(root, **options)
        if kept and database:
            _check_index(settings, database, layout, labels)
        return layout
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"{root}: pybids cannot index this dataset: {error}") from error


def _check_index(settings: Settings, database: Path, layout: Any, labels: list[str]) -> None:
    """Raise unless an index that was kept fits the folders of the requested participants."""
    root, file = settings.bids_dir.absolute(), database / INDEX
    hint = f"{file}: the index is not of the present dataset: {{}}. Add --reset-database."
    made_of = Path(layout.connection_manager.layout_info.root)
    if made_of.resolve() != root.resolve():
        raise UsageError(hint.format(f"it was made of {made_of}"))
    known, made = set(layout.get_subjects()), file.stat().st_mtime
    there = set(participants(root))
    gone = sorted(known - there)
    folders = {label: root / f"sub-{label}" for label in labels}
    new = [
        label
        for label, folder in folders.items()
        if label not in known and any(folder.glob("**/anat/*.nii*"))
    ]
    changed = [label for label in folders if folders[label].stat().st_mtime > made]
    for found, verb in ((new, "new"), (gone, "gone"), (changed, "changed")):
        if found:
            raise UsageError(hint.format(f"participants are {verb}: {some_of(found)}"))


def _filters(settings: Settings, layout: Any, labels: list[str], suffix: str) -> dict:
    """Map entities, by pybids' names, to the values that images of a suffix must have."""
    from bids.layout import Query

    filters = {key: [*values, Query.NONE] for key, values in MAGNITUDE.items()}
    if settings.bids_filter_file:
        known = set(layout.get_entities())
        filters |= filter_file.read(settings.bids_filter_file, known, suffix)
    if settings.session_label:
        _check_sessions(settings, layout, labels)
    asked = {
        "session": settings.session_label,
        "run": settings.run_id,
        "acquisition": settings.acquisition,
    }
    return (
        filters | {key: list(value) for key, value in asked.items() if value} | filter_file.FIXED
    )


def _check_sessions(settings: Settings, layout: Any, labels: list[str]) -> None:
    """Raise unless each requested session has an image, or at least a folder."""
    root = settings.bids_dir
    sessions = set(layout.get_sessions())
    for label in labels:
        sessions |= {path.name[4:] for path in (root / f"sub-{label}").glob("ses-*")}
    if unknown := sorted(set(settings.session_label) - sessions):
        raise UsageError(
            f"--session-label: {', '.join(unknown)} not found in {root}. "
            f"Existing labels: {some_of(sorted(sessions)) or 'none'}."
            f"{did_you_mean(unknown[0], sessions)}"
        )


def _scan(path: Path, settings: Settings, enhanced: contrast.Finder, level: int) -> Scan | None:
    """Describe a file that pybids found; None, with a message, if its name is not BIDS."""
    from bids_validator import BIDSValidator

    relative = path.relative_to(settings.bids_dir.absolute()).as_posix()
    name = NAME.fullmatch(path.name)
    pairs = [tuple(pair.split("-", 1)) for pair in name["entities"].split("_")] if name else []
    keys = [key for key, _ in pairs]
    if (
        not name
        or not relative.startswith(f"sub-{pairs[0][1]}/")
        or len(set(keys)) < len(keys)
        or DERIVED & set(keys)
    ):
        log.log(level, "%s: not a valid name of a raw image in this folder; ignored", relative)
        return None
    if not settings.skip_bids_validation and not BIDSValidator().is_bids(f"/{relative}"):
        log.warning(
            "%s: not a valid BIDS name; ignored (add --skip-bids-validation to process it)",
            relative,
        )
        return None
    return Scan(path, relative, tuple(pairs), enhanced.of(relative), name["suffix"])


def select_participants(bids_dir: Path, select: Mapping[str, str]) -> list[str]:
    """List the labels, without ``sub-``, of the participants whose rows have certain values.

    Parameters
    ----------
    bids_dir : Path
        A dataset with a participants.tsv, unless `select` is empty.
    select : mapping of str to str
        Columns, and the required value of each.

    Raises
    ------
    UsageError
        The file or a column does not exist, or no row has the values.
    """
    there = participants(bids_dir)
    if not select:
        return there
    path = bids_dir / "participants.tsv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    columns = list(rows[0]) if rows else []
    if missing := sorted({"participant_id", *select} - set(columns)):
        raise UsageError(f"{path}: no column {', '.join(missing)}; found {', '.join(columns)}")
    labels = {
        (row["participant_id"] or "").removeprefix("sub-")
        for row in rows
        if all(row[column] == value for column, value in select.items())
    }
    if not labels & set(there):
        raise UsageError(f"{path}: no participant with an image folder has {dict(select)}")
    return sorted(labels & set(there))
