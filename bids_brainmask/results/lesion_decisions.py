# SPDX-License-Identifier: Apache-2.0
"""Decisions of persons about candidate lesions: taken from a file, and put into results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import Finding, Findings
from bids_brainmask.dataset import currency, decisions, readback, storage
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import UsageError
from bids_brainmask.plan import ScanPlan
from bids_brainmask.reports import rating_table
from bids_brainmask.results import files
from bids_brainmask.voxels import masks

COLUMNS = ("image", "index", "decision")
"""Of a file of decisions about several images. It may have the other columns of `decisions.Row`,
as that of the group report has."""


def decided(plan: ScanPlan, analysis: str, findings: Findings) -> tuple[Finding, str]:
    """Put the decisions about the candidates of a scan into what was found.

    Returns
    -------
    Finding
    str
        A remark about decisions that do not hold any more; empty: all do.
    """
    kind = catalog.analysis(analysis).candidates
    rows = decisions.read(decisions.beside(plan.path(kind)))
    voxels = masks.digest(catalog.output(kind).value(findings) > 0)
    found = findings[analysis].decided(decisions.of(rows, voxels))
    old = sum(row.candidates_sha256 != voxels for row in rows)
    return found, f"{old} decisions are about other candidates, and not used" if old else ""


def adopt(root: Path, file: Path, *, editor: str = "") -> list[Path]:
    """Take decisions about candidate lesions from a file.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    file : Path
        Tab-separated: ``image``, the name of an image, of its index image or of its table of
        lesions; ``index``, of the candidate; ``decision``: accepted, rejected, or n/a, which
        takes an earlier decision back.
    editor : str
        Name of the person; empty: unknown.

    Returns
    -------
    list of Path
        Tables of decisions that were written.

    Raises
    ------
    UsageError
        Nothing was written then: a row is not understood, there is no such image or candidate, or
        the index image has been changed.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder. Name the folder of the results.")
    return put(root, decisions.read_table(file, COLUMNS), editor=editor)


def put(
    root: Path, found: Iterable[tuple[str, Mapping[str, str]]], *, editor: str = ""
) -> list[Path]:
    """Put decisions about candidate lesions beside their index images.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    found : iterable of (place, row)
        Where a row is, for errors, and its cells, as of the file of `adopt`.
    editor : str
        Name of the person; empty: the one of the row.

    Returns
    -------
    list of Path
        As of `adopt`.

    Raises
    ------
    UsageError
        Likewise; or the candidates are others than those that a row names by their hash.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    index_images = _IndexImages(root)
    wanted: dict[Path, dict[tuple[str, int], decisions.Row | None]] = {}
    for place, row in found:
        index, decision = decisions.checked(place, row)
        labels = index_images.find(row["image"].strip(), place)
        voxels = _candidates(labels, index, place)
        meant = row.get("candidates_sha256")
        if meant not in (None, "", "n/a", voxels):
            raise UsageError(
                f"{place}: {row['image']} has other candidates than those that were decided "
                "about. Run the group level, and decide again."
            )
        by, time = (row.get(name) or "n/a" for name in ("by", "time"))
        time = now if time == "n/a" else time
        new = decision and decisions.Row(index, decision, voxels, editor or by, time)
        own = wanted.setdefault(decisions.beside(labels), {})
        if own.setdefault((voxels, index), new) != new:
            raise UsageError(f"{place}: candidate {index} has two decisions. Keep one row.")
    with rating_table.locked(root):
        for path, rows in wanted.items():
            before = {(row.candidates_sha256, row.index): row for row in decisions.read(path)}
            kept = [row for row in (before | rows).values() if row]
            storage.write_bytes(path, decisions.text(kept).encode())
    return list(wanted)


def given(root: Path) -> list[dict[str, str]]:
    """List the decisions of a derivative dataset: the rows of `put`, but for their places."""
    rows = []
    for path in sorted(root.glob(f"sub-*/**/anat/*{decisions.END}")):
        image = path.with_name(path.name.removesuffix(decisions.END) + decisions.LABELS_END)
        for row in decisions.read(path):
            cells = {name: str(value) for name, value in asdict(row).items()}
            rows.append({"image": image.relative_to(root).as_posix(), **cells})
    return rows


class _IndexImages:
    """Index images of a derivative dataset, by the names that a person may give."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        return _by_name(self.root)

    def find(self, name: str, place: str) -> Path:
        """Find one by its path in the dataset, else by name; raise if there is none."""
        path = Path(name)
        inside = not path.is_absolute() and ".." not in path.parts
        if inside and name.endswith(decisions.LABELS_END) and (self.root / path).is_file():
            return self.root / path
        if found := self._by_name.get(path.name.split(".")[0]):
            return found
        raise UsageError(
            f"{place}: no candidate lesions of {name!r} in {self.root}. Name an image that "
            "was searched for them."
        )


def _by_name(root: Path) -> dict[str, Path]:
    """Index images by the names, without extension, that a person may give."""
    found = {}
    for result in readback.read(root):
        for analysis in result.records:
            if kind := catalog.analysis(analysis).candidates:
                for name in _names(result, analysis, kind):
                    found[name] = root / result.output(kind)
    return found


def _names(result: Result, analysis: str, kind: str) -> list[str]:
    paths = (result.output(kind), result.output(catalog.analysis(analysis).table))
    return [
        f"{result.prefix}_{result.suffix}",
        *(Path(path).name.split(".")[0] for path in paths),
    ]


def _candidates(labels: Path, index: int, place: str) -> str:
    """Give the hash of the candidates of an index image; raise unless one has the index."""
    record = currency.read_record(labels)
    if not labels.is_file() or not record or not files.as_written(labels, record, {}):
        raise UsageError(
            f"{labels}: the index image has been changed since the last run, or is missing. Run "
            "the participant level first."
        )
    count = record.get("CandidateCount")
    if not isinstance(count, int) or index > count:
        raise UsageError(f"{place}: no candidate {index}; {labels.name} has {count}.")
    return str(record["VoxelsSHA256"])
