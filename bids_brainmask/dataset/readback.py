# SPDX-License-Identifier: Apache-2.0
"""Read the results of the participant level: sidecars, tables of lesions, crash records.

The group level and the reports use only these files and need no raw dataset. Participants may
still be processed: sidecars are written last, and incomplete records are ignored.
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.measures import Reading
from bids_brainmask.analyses.rows import DEFAULT_SUFFIX, SUFFIXES, scan_key
from bids_brainmask.dataset import storage
from bids_brainmask.dataset.session_order import natural
from bids_brainmask.errors import without_paths

log = logging.getLogger(__name__)


def source_of(record: Mapping) -> str:
    """Path of an image in the raw dataset, by a sidecar of its results; empty if none is named."""
    sources = record.get("Sources")
    named = sources[0] if isinstance(sources, list) and sources else ""
    return unquote(str(named).removeprefix("bids:raw:"))


@dataclass(frozen=True, eq=False)
class Result:
    """Results of the participant level for one image."""

    prefix: str
    """Name of the source image up to its suffix."""

    folder: str
    """Folder of its files in the output folder, with forward slashes."""

    records: Mapping[str, Mapping] = field(default_factory=dict)
    """Content of the sidecar of each analysis's main output, by the analysis's name."""

    suffix: str = DEFAULT_SUFFIX

    @property
    def key(self) -> str:
        """Name of the image in tables and reports, as `query.Scan.key`."""
        return scan_key(self.prefix, self.suffix)

    @property
    def entities(self) -> tuple[tuple[str, str], ...]:
        """Key-value pairs of the source's name."""
        return tuple((key, value) for key, _, value in map(_split, self.prefix.split("_")))

    @property
    def participant(self) -> str:
        """Label, without ``sub-``."""
        return dict(self.entities)["sub"]

    @property
    def session(self) -> str:
        """Label, without ``ses-``; empty for none."""
        return dict(self.entities).get("ses", "")

    @property
    def source(self) -> str:
        """Path of the image in the raw dataset; empty if no sidecar says it."""
        for record in self.records.values():
            if path := source_of(record):
                return path
        return ""

    def output(self, name: str) -> str:
        """Path of one of its files in the output folder, whether it exists or not."""
        return f"{self.folder}/{catalog.output(name).file(self.prefix, self.suffix)}"

    def main(self, analysis: str) -> str:
        """Path of the main file of an analysis in the output folder."""
        return self.output(catalog.analysis(analysis).main)

    def log(self, ending: str) -> str:
        """Path of a file about the image in ``logs/`` of the output folder."""
        name = storage.shortened(f"{self.prefix}_{self.suffix}")
        return f"logs/sub-{self.participant}/{name}{ending}"

    @property
    def figures(self) -> dict[str, str]:
        """Path of every figure in the output folder, whether it exists or not."""
        names = catalog.figure_files()
        return {name: catalog.figure_path(self.prefix, self.suffix, name) for name in names}


def _split(pair: str) -> tuple[str, str, str]:
    return pair.partition("-")


def endings() -> dict[str, tuple[str, str]]:
    """Map the endings of the main sidecars to their analysis and suffix."""
    return {
        f"_{catalog.output(row.main).file('', suffix)[1:].split('.')[0]}.json": (row.name, suffix)
        for row in catalog.ANALYSES
        for suffix in SUFFIXES
    }


def read(root: Path, participants: Iterable[str] = ()) -> list[Result]:
    """Read the results of every image.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    participants : iterable of str
        Labels without ``sub-``; none: all.

    Returns
    -------
    list of Result
        Sorted by participant, session (2 before 10) and name. Incomplete sidecars are ignored
        with a warning.
    """
    wanted = [f"sub-{label}" for label in participants] or ["sub-*"]
    found: dict[tuple[str, str, str], dict[str, Mapping]] = {}
    known = endings()
    name = re.compile(rf"(?P<prefix>.*?)(?P<ending>{'|'.join(map(re.escape, known))})")
    for folder in wanted:
        for path in root.glob(f"{folder}/**/anat/sub-*.json"):
            if (match := name.fullmatch(path.name)) and (record := _record(path)) is not None:
                analysis, suffix = known[match["ending"]]
                place = path.parent.relative_to(root).as_posix()
                found.setdefault((place, match["prefix"], suffix), {})[analysis] = record
    results = [
        Result(prefix, place, each, suffix) for (place, prefix, suffix), each in found.items()
    ]
    return sorted(results, key=_order)


def named(root: Path, participants: Iterable[str] = ()) -> list[Result]:
    """Find every image of which there is a file with the name of a result, sidecar or none.

    Parameters
    ----------
    root, participants
        As in `read`.

    Returns
    -------
    list of Result
        In the order of `read`; images without a whole main sidecar have no records.
    """
    found = {(one.folder, one.prefix, one.suffix): one for one in read(root, participants)}
    ends = {
        row.file("", suffix)[1:].split(".")[0]: suffix
        for row in catalog.OUTPUTS
        for suffix in SUFFIXES
    }
    name = re.compile(
        rf"(?P<prefix>sub-[^.]*?)_(?P<end>{'|'.join(map(re.escape, ends))})"
        r"\.(json|tsv|nii|nii\.gz)"
    )
    for folder in [f"sub-{label}" for label in participants] or ["sub-*"]:
        for path in root.glob(f"{folder}/**/anat/sub-*"):
            if match := name.fullmatch(path.name):
                place = path.parent.relative_to(root).as_posix()
                image = (place, match["prefix"], ends[match["end"]])
                found.setdefault(image, Result(match["prefix"], place, suffix=image[2]))
    return sorted(found.values(), key=_order)


def _order(one: Result) -> tuple:
    return one.participant, natural(one.session), one.key


def unreadable(root: Path, participants: Iterable[str] = ()) -> list[OSError]:
    """List the errors of the folders of results that cannot be read, whose results are missing.

    Parameters
    ----------
    root, participants
        As in `read`.
    """
    found: list[OSError] = []

    def inside(folder: str | os.PathLike[str]) -> list[os.DirEntry]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except NotADirectoryError:
            return []
        except OSError as error:
            found.append(error)
            return []

    wanted = {f"sub-{label}" for label in participants}
    people = [one for one in inside(root) if one.name.startswith("sub-")]
    places = [each for one in people if not wanted or one.name in wanted for each in inside(one)]
    for place in places:
        if place.name == "anat":
            inside(place)
        elif place.name.startswith("ses-"):
            for folder in inside(place):
                if folder.name == "anat":
                    inside(folder)
    return found


def _record(path: Path) -> dict | None:
    """Read a sidecar; None, with a warning, if it is not a record of this program."""
    try:
        record = storage.read_json(path)
        if not isinstance(record["Parameters"], dict):
            raise TypeError(f"Parameters is {record['Parameters']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: ignored, not a complete record: %r", path, error)
        return None
    return record


def table(root: Path, result: Result, analysis: str) -> list[dict[str, str]]:
    """Read the rows of the table of an analysis; none if there is no readable table."""
    name = catalog.analysis(analysis).table
    if not name:
        return []
    path = root / result.output(name)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        log.warning("%s: ignored: %s", path, error)
        return []
    return [row for row in rows if None not in row and None not in row.values()]


def reading(root: Path, result: Result, analysis: str) -> Reading:
    """Collect the data from which the measures of an analysis are read."""
    rows = table(root, result, analysis)
    return Reading(result.records[analysis], rows, tuple(result.records))


def failures(root: Path, participants: Iterable[str] = ()) -> list[dict]:
    """Read the newest crash record of every failed image without a later result.

    Parameters
    ----------
    root, participants
        As in `read`.

    Returns
    -------
    list of dict
        Records under ``logs/``, sorted by image; ``Log`` is the record's path in the output
        folder, and ``Message`` has no absolute paths.
    """
    newest: dict[str, dict] = {}
    for folder in [f"sub-{label}" for label in participants] or ["sub-*"]:
        for path in sorted(root.glob(f"logs/{folder}/*_crash-*.json")):
            try:
                record = storage.read_json(path)
                source = str(record["Source"])
                reason = record.get("Reason", record["Message"])
                shown = without_paths(reason) if isinstance(reason, str) else reason
                log_path = path.relative_to(root).as_posix()
                record = record | {"Message": shown, "Log": log_path}
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s: ignored, not a complete record: %r", path, error)
                continue
            if not _done_since(root, source, path):
                newest[source] = record  # names of records sort by time
    return [newest[source] for source in sorted(newest)]


def _done_since(root: Path, source: str, crash: Path) -> bool:
    """Tell whether a result of an image is newer than a crash record of it."""
    match = re.fullmatch(rf"(.*)_({'|'.join(SUFFIXES)})\.nii(\.gz)?", source)
    if not match:
        return False
    done = [root / f"{match[1]}{ending}" for ending, (_, s) in endings().items() if s == match[2]]
    try:
        return any(m.is_file() and m.stat().st_mtime > crash.stat().st_mtime for m in done)
    except OSError:
        return False
