# SPDX-License-Identifier: Apache-2.0
"""Find the images of a BIDS dataset that are to be processed. Reads, and never writes there."""

from __future__ import annotations

import csv
import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_brainmask.analyses.rows import DEFAULT_SUFFIX, SUFFIXES, scan_key
from bids_brainmask.dataset import contrast, storage
from bids_brainmask.errors import NothingToDo, UsageError, some_of
from bids_brainmask.hashes import sha256
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)

NAME = re.compile(
    r"(?P<entities>sub-[A-Za-z0-9+]+(?:_[a-z]+-[A-Za-z0-9+]+)*)"
    rf"_(?P<suffix>{'|'.join(SUFFIXES)})(?P<ext>\.nii(\.gz)?)"
)
"""A raw image's name: key-value pairs, then the suffix."""

OTHER_FILTERS = {"fmap", "bold", "sbref", "roi", *(suffix.lower() for suffix in SUFFIXES)}
"""Keys of fMRIPrep's filter files that are about other images."""

DERIVED = {"space", "seg", "res", "den", "label", "desc", "hemi", "atlas", "scale"}
"""Entities that no raw image has."""

FIXED = {"datatype": "anat", "extension": [".nii", ".nii.gz"]}

FEW = 10
"""Participants that are indexed each by itself, where so many or fewer are asked for. pybids would
else look at every other name in the dataset, too: of a thousand it takes as long for that."""

INDEXED = r"(/ses-[A-Za-z0-9+]+)?(/anat)?(/[^/]+\.nii(\.gz)?)?"
"""What pybids is to look at in the folder of a participant."""


Sidecars = Callable[[Path, str], list[Path]]
"""Sidecars in a folder for images of a suffix."""


@dataclass(frozen=True)
class Scan:
    """An image of the dataset."""

    path: Path
    relative: str
    """Path in the dataset, with forward slashes."""

    entities: tuple[tuple[str, str], ...]
    """The key-value pairs of its name, in its order and with its padding."""

    contrast: bool
    """Contrast-enhanced: by its ``ce-`` entity or its sidecar's ``ContrastBolusIngredient``."""

    suffix: str = DEFAULT_SUFFIX
    """BIDS suffix of its name."""

    @property
    def key(self) -> str:
        """Name that no other image of the dataset has: the prefix, with a suffix but T1w."""
        return scan_key(self.prefix, self.suffix)

    @property
    def prefix(self) -> str:
        """Name without suffix and extension: what every derivative's name begins with."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)

    @property
    def folder(self) -> Path:
        """Folder in the dataset, and in the derivatives."""
        return Path(self.relative).parent

    @property
    def participant(self) -> str:
        """Label, without ``sub-``."""
        return dict(self.entities)["sub"]


def participants(bids_dir: Path) -> list[str]:
    """Labels of the participants that have a folder, sorted, without ``sub-``."""
    try:
        entries = [entry for entry in os.scandir(bids_dir) if entry.name.startswith("sub-")]
    except OSError:
        return []
    # Links alone are looked at: on a disk of the network each look takes its time.
    folder = (e for e in entries if e.is_dir(follow_symlinks=False) or Path(e).is_dir())
    return sorted(entry.name[4:] for entry in folder)


def check_dataset(settings: Settings) -> None:
    """Raise unless the input is a raw BIDS dataset.

    Raises
    ------
    UsageError
        No such folder; or, unless validation is skipped, a dataset_description.json that is
        absent, not JSON, without Name and BIDSVersion.
    """
    root = settings.bids_dir
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; expected a BIDS dataset.")
    if os.path.realpath(settings.output_dir) == os.path.realpath(root):
        raise UsageError(
            f"{root}: the output folder is the dataset itself, which is never written to. "
            f"Choose another, such as {root / 'derivatives' / 'bids_brainmask'}."
        )
    if settings.skip_bids_validation:
        return
    path = root / "dataset_description.json"
    hint = "Mend it, or pass --skip-bids-validation."
    if not path.is_file():
        raise UsageError(f"{path}: not found, so {root} is not a BIDS dataset. {hint}")
    try:
        description = storage.read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not JSON ({error}). {hint}") from error
    missing = {"Name", "BIDSVersion"} - set(description if isinstance(description, dict) else ())
    if missing:
        raise UsageError(f"{path}: required, and not there: {', '.join(sorted(missing))}. {hint}")


def find_scans(settings: Settings) -> list[Scan]:
    """Every image that the settings ask for, sorted by path, one `Scan` a file.

    Parts other than the magnitude are left out. ``derivatives/``, ``sourcedata/`` and other
    participants are not even looked at.

    Raises
    ------
    UsageError
        Not a dataset, an unknown participant or session, or an unreadable filter file.
    NothingToDo
        No image matches.
    """
    check_dataset(settings)
    labels = choose_participants(settings)
    layouts = _layouts(settings, labels)
    filters = {
        suffix: _filters(settings, layouts, labels, suffix) for suffix in suffixes(settings)
    }
    queries = [
        found | {"suffix": suffix, "invalid_filters": "allow"} for suffix, found in filters.items()
    ]
    try:
        found = [
            path for layout in layouts for query in queries for path in layout.get("file", **query)
        ]
    except (OverflowError, UnicodeError) as error:  # what pybids' database cannot hold
        raise UsageError(f"--bids-filter-file: no entity can have such values: {error}") from error
    sidecars = functools.cache(contrast.sidecars)
    root = settings.bids_dir.absolute()
    chosen = {str(root / f"sub-{label}") for label in labels}
    ours = (path for path in found if path[: path.find("/", len(str(root)) + 1)] in chosen)
    scans = list(filter(None, (_scan(Path(path), settings, sidecars) for path in ours)))
    scans.sort(key=lambda scan: scan.relative)
    if not scans:
        suffix, first = next(iter(filters.items()))
        asked = {key: value for key, value in first.items() if key not in FIXED}
        raise NothingToDo(
            f"{settings.bids_dir}: no {' or '.join(filters)} image of {len(labels)} participants "
            f"matches {asked}. Expected names such as sub-01/anat/sub-01_{suffix}.nii.gz."
        )
    return scans


def suffixes(settings: Settings) -> tuple[str, ...]:
    """Suffixes of the images to process."""
    return SUFFIXES if "all" in settings.suffix else settings.suffix


def choose_participants(settings: Settings) -> list[str]:
    """Labels to process: those asked for, or all.

    Raises
    ------
    UsageError
        A label without a folder; the message lists those that have one.
    NothingToDo
        The dataset has no participant.
    """
    there = participants(settings.bids_dir)
    if not there:
        raise NothingToDo(f"{settings.bids_dir}: no folder named sub-*, so no participant.")
    unknown = sorted(set(settings.participant_label) - set(there))
    if unknown:
        raise UsageError(
            f"--participant-label: {', '.join(unknown)} not in {settings.bids_dir}; "
            f"it has {some_of(there)}"
        )
    return sorted(set(settings.participant_label)) or there


def _layouts(settings: Settings, labels: list[str]) -> list:
    """Index the images of the participants; of the whole dataset for a database."""
    try:
        from bids import BIDSLayout, BIDSLayoutIndexer
    except OSError as error:  # it looks for settings of its own there
        raise UsageError(
            f"pybids cannot look into the home folder: {error}. Set HOME to one that you can read."
        ) from error

    root, database = settings.bids_dir, settings.bids_database_dir
    everybody = database or not settings.participant_label
    if everybody or len(labels) > FEW:
        subject = "[^/]+" if everybody else "|".join(map(re.escape, labels))
        roots, wanted = [root], f"/sub-(?:{subject}){INDEXED}"
    else:
        roots, wanted = [root / f"sub-{label}" for label in labels], INDEXED
    elsewhere = re.compile(f"^(?!({wanted})$)(?!/$)")
    # Names are checked here, in `_scan`: pybids would pass over the illegal ones in silence.
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=[elsewhere])
    derived = description(root).get("DatasetType") == "derivative"
    options = {
        "validate": False,  # of dataset_description.json; check_dataset has seen to that
        "derivatives": False,
        "config": ["bids", "derivatives"] if derived else ["bids"],
        "indexer": indexer,
        "database_path": database,
    }
    try:
        return [BIDSLayout(folder, **options) for folder in roots]
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"{root}: pybids cannot index it: {error}") from error


def _filters(settings: Settings, layouts: list, labels: list[str], suffix: str) -> dict:
    """Entities, by pybids' names, and the values that images of a suffix must have."""
    from bids.layout import Query

    filters = {"part": ["mag", Query.NONE]}
    if settings.bids_filter_file:
        known = set(layouts[0].get_entities())
        filters |= read_filter_file(settings.bids_filter_file, known, suffix)
    if settings.session_label:
        _check_sessions(settings, layouts, labels)
    asked = {
        "session": settings.session_label,
        "run": settings.run_id,
        "acquisition": settings.acquisition,
    }
    return filters | {key: list(value) for key, value in asked.items() if value} | FIXED


def _check_sessions(settings: Settings, layouts: list, labels: list[str]) -> None:
    """Raise unless each session asked for has an image, or at least a folder."""
    root = settings.bids_dir
    sessions = {session for layout in layouts for session in layout.get_sessions()}
    for label in labels:
        sessions |= {path.name[4:] for path in (root / f"sub-{label}").glob("ses-*")}
    if unknown := sorted(set(settings.session_label) - sessions):
        raise UsageError(
            f"--session-label: {', '.join(unknown)} not in {root}; "
            f"it has {some_of(sorted(sessions)) or 'no sessions'}"
        )


def read_filter_file(path: Path, known: Iterable[str], suffix: str = DEFAULT_SUFFIX) -> dict:
    """Read what a filter file in fMRIPrep's form asks of the images of a suffix.

    Parameters
    ----------
    path : Path
        JSON: ``{"t1w": {"acquisition": "mprage", "session": null, "run": "*"}}``, where null
        stands for "has none" and ``"*"`` for "has one, whichever".
    known : iterable of str
        Names of entities, as pybids has them. Others are warned of and ignored.
    suffix : str
        The file's key is this in lower case.

    Raises
    ------
    UsageError
        Not readable, not JSON, or not of that form.
    """
    from bids.layout import Query

    try:
        content = storage.read_json(path, pipe=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"--bids-filter-file: {path} cannot be read as JSON: {error}") from error
    own = suffix.lower()
    asked = content.get(own, {}) if isinstance(content, dict) else None
    if not isinstance(asked, dict):
        raise UsageError(
            f'--bids-filter-file: {path}: expected {{"{own}": {{"entity": value}}}}, '
            f"found {content}"
        )
    for key in sorted(set(content) - {own}):
        level = logging.INFO if key in OTHER_FILTERS else logging.WARNING
        log.log(level, "%s: key %r is not for %s images; ignored", path, key, suffix)
    special = {None: Query.NONE, "*": Query.ANY}
    filters = {}
    for entity, value in asked.items():
        if entity in (*FIXED, "suffix") or entity not in known:
            log.warning("%s: %r is not an entity that can be filtered by; ignored", path, entity)
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str | int | None) for v in values):
            raise UsageError(
                f"--bids-filter-file: {path}: {entity}: expected text, a number, null or a list "
                f"of them, found {value}"
            )
        values = [special.get(v, v) for v in values]
        filters[entity] = values if isinstance(value, list) else values[0]
    return filters


def _scan(path: Path, settings: Settings, sidecars: Sidecars) -> Scan | None:
    """Describe a file that pybids found; None, with a warning, where its name is not BIDS."""
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
        log.warning("%s: not the name of a raw image in its place; passed over", relative)
        return None
    if not settings.skip_bids_validation and not BIDSValidator().is_bids(f"/{relative}"):
        log.warning(
            "%s: not a name that BIDS allows; passed over (--skip-bids-validation takes it)",
            relative,
        )
        return None
    folders = path.parents[: relative.count("/") + 1]
    nearest = (sidecar for folder in folders for sidecar in sidecars(folder, name["suffix"]))
    enhanced = "ce" in keys or bool(contrast.agent(path, nearest))
    return Scan(path, relative, tuple(pairs), enhanced, name["suffix"])


def select_participants(bids_dir: Path, select: Mapping[str, str]) -> list[str]:
    """Labels, without ``sub-``, of the participants whose rows have some values.

    Parameters
    ----------
    bids_dir : Path
        A dataset with a participants.tsv, unless `select` is empty.
    select : mapping of str to str
        Columns, and the value wanted in each.

    Raises
    ------
    UsageError
        No such file or column, or no row that has them.
    """
    there = participants(bids_dir)
    if not select:
        return there
    path = bids_dir / "participants.tsv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    columns = list(rows[0]) if rows else []
    if missing := sorted({"participant_id", *select} - set(columns)):
        raise UsageError(f"{path}: no column {', '.join(missing)}; found {', '.join(columns)}")
    labels = {
        row["participant_id"].removeprefix("sub-")
        for row in rows
        if all(row[column] == value for column, value in select.items())
    }
    if not labels & set(there):
        raise UsageError(f"{path}: no participant with an image folder has {dict(select)}")
    return sorted(labels & set(there))


def description(root: Path) -> dict:
    """Read what a dataset says of itself; nothing where that is absent or unreadable."""
    try:
        content = storage.read_json(root / "dataset_description.json")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def fingerprint(path: Path) -> dict:
    """Size, time of change and hash of a source image, to know it again."""
    status = path.stat()
    return {"Bytes": status.st_size, "Modified": status.st_mtime_ns, "SHA256": sha256(path)}
