# SPDX-License-Identifier: Apache-2.0
"""Which results of a derivative dataset are current, stale, manual, failed or orphaned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import folders, readback
from bids_brainmask.dataset.query import Scan
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import UsageError
from bids_brainmask.hashes import unchanged
from bids_brainmask.plan import ScanPlan
from bids_brainmask.results import files, lesion_decisions

State = Literal["current", "manual", "stale", "failed", "orphaned"]

STATES: tuple[State, ...] = get_args(State)

GOOD = ("current", "manual")
"""States of results that need no work."""


@dataclass(frozen=True)
class Standing:
    """State of one file, or of an image without results."""

    path: str
    """In the output folder; of a failed image, in its dataset."""

    state: State
    reason: str = ""


def read(root: Path, *, verify: bool = False) -> Iterator[Standing]:
    """Yield the state of each image file of a derivative dataset, and of each failed image.

    The parameters of a later run are not known here: results are compared with their sidecars,
    with each other, and with the source dataset if it is there.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    verify : bool
        Compare hashes, also of files of the same size and time.
    """
    raw = raw_folder(root)
    for result in readback.read(root):
        yield from _of_image(root, raw, result, verify=verify)
    for record in readback.failures(root):
        yield Standing(str(record["Source"]), "failed", str(record["Message"]))


def raw_folder(root: Path) -> Path | None:
    """Folder of the source dataset, if it is there, by the description of the results."""
    try:
        return folders.raw_dataset(root)
    except UsageError:
        return None


def plan_of(root: Path, raw: Path | None, result: Result) -> ScanPlan:
    """Plan of an image whose results are there; its source may be absent."""
    sources = next(iter(result.records.values())).get("Sources")
    named = sources[0] if isinstance(sources, list) and sources else ""
    name = f"{result.prefix}_{result.suffix}.nii.gz"
    relative = unquote(str(named).removeprefix("bids:raw:")) or f"{result.folder}/{name}"
    scan = Scan(
        (raw or root) / relative, relative, result.entities, contrast=False, suffix=result.suffix
    )
    log = root / f"logs/sub-{result.participant}" / f"{result.prefix}_{result.suffix}.log"
    folder = root / result.folder
    return ScanPlan(scan, tuple(result.records), {}, folder=folder, log=log)


def _of_image(root: Path, raw: Path | None, result: Result, *, verify: bool) -> Iterator[Standing]:
    """Yield the state of each file of one image."""
    plan = plan_of(root, raw, result)
    times = files.read_times(plan)
    records = {
        row.name: files.read_record(plan.path(row.name))
        for row in catalog.OUTPUTS
        if not row.is_table
    }
    undecided = [row.main for row in catalog.ANALYSES if row.candidates]
    for kind, record in records.items():
        path = plan.path(kind)
        if not record or not files.is_image(kind):
            continue
        name = path.relative_to(root).as_posix()
        if raw and not plan.scan.path.is_file():
            yield Standing(name, "orphaned", f"no {plan.scan.relative} in the dataset")
            continue
        reason = _stale(plan, raw, kind, records, times, verify=verify)
        if not reason and kind in undecided:
            reason = lesion_decisions.changed(plan, records)
        if reason:
            yield Standing(name, "stale", reason)
        else:
            yield Standing(name, "manual" if record.get("Manual") is True else "current")


def _stale(
    plan: ScanPlan,
    raw: Path | None,
    kind: str,
    records: Mapping[str, Mapping],
    times: Mapping,
    *,
    verify: bool,
) -> str:
    """Say how a file is not current; empty if it is."""
    record = records[kind]
    try:
        if raw and not unchanged(plan.scan.path, record["SourceFile"], times, verify=verify):
            return "the image has changed"
        if files.other_masks(record, records):
            return "made from another mask"
        places = {path.name: path for path in plan.everything()}
        for name, before in record["Files"].items():
            if not unchanged(places[name], before, times, verify=verify):
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except files.UNREADABLE:
        return "the sidecar is incomplete"
    if plain := files.uncompressed(plan.path(kind)):
        return f"{plain.name} is not yet taken"
    return ""
