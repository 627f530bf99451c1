# SPDX-License-Identifier: Apache-2.0
"""Write the files of a scan, and tell whether they are current.

Sidecars are written last, so a scan with its sidecars is finished.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import Findings
from bids_brainmask.dataset import currency, storage
from bids_brainmask.dataset.currency import Present
from bids_brainmask.errors import OutputError
from bids_brainmask.hashes import fingerprint_of, sha256, unchanged
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.voxels import masks

log = logging.getLogger(__name__)


def made_from(kind: str, findings: Findings) -> dict[str, str]:
    """Hash the masks that a file is made of: of its analyses, and of those before them.

    Probabilities are made of no mask, and an automatic mask is its own.
    """
    output, names = catalog.output(kind), list(catalog.names())
    if output.form == "probability":
        return {}
    before = names[: names.index(output.made_by[-1]) + (not output.automatic)]
    return {name: mask_digest(name, findings) for name in before if name in findings}


def mask_digest(analysis: str, findings: Findings) -> str:
    """Hash the voxels of the mask of an analysis."""
    return masks.digest(catalog.output(catalog.analysis(analysis).main).value(findings))


def bindings(kind: str, findings: Findings) -> dict[str, Any]:
    """Entries of the sidecar of an image about its masks: those it is made of, and its own."""
    output = catalog.output(kind)
    found: dict[str, Any] = {"MadeFrom": made_from(kind, findings)}
    if output.form in ("mask", "labels"):
        found["VoxelsSHA256"] = masks.digest(output.value(findings) > 0)
    return found


def write(
    plan: ScanPlan,
    files: Mapping[str, bytes],
    records: Mapping[str, Mapping],
    figures: Mapping[str, bytes] = MappingProxyType({}),
    private: Mapping = MappingProxyType({}),
    seen: Mapping[Path, tuple | None] = MappingProxyType({}),
) -> None:
    """Write the files of a scan and its figures, then their sidecars.

    The sidecar of a manual mask is never absent: without it, the mask would be unknown.

    Parameters
    ----------
    plan : ScanPlan
    files : mapping of kind to bytes
        Gzipped NIfTI files, and tables.
    records : mapping of kind to mapping
        Content of each sidecar about the run: see `outdated` for the keys that are read again.
        The sidecar of a table has only its columns.
    figures : mapping of figure to bytes
        Pictures, and gzipped NIfTI files for the viewer.
    private : mapping
        What the run tells of persons and machines, for `ScanPlan.record`. If that cannot be
        written, the scan does not fail.
    seen : mapping of Path to tuple
        As of `look`, before the images were made.

    Raises
    ------
    OutputError
        A file cannot be written, or a mask has been changed since it was looked at.
    """
    storage.clear(*plan.folders)  # a worker may have been killed while it wrote here
    checks = {
        kind: partial(_check_unchanged, path, seen[path], files[kind]) if path in seen else None
        for kind, path in plan.files.items()
    }
    for check in filter(None, checks.values()):
        check()
    former = {}
    for kind, path in plan.sidecars.items():
        if not records[kind].get("Manual"):
            with storage.output_errors(path), suppress(FileNotFoundError):
                former[kind] = path.read_bytes()
                path.unlink()  # of an earlier run, whose file is replaced below
    prints = {}
    for kind, path in plan.files.items():
        try:
            prints[path.name] = _write_one(path, files[kind], checks[kind])
        except OutputError:
            if kind in former and path in seen and seen[path] != state(path):
                # Without it, nothing would tell that this mask is a person's.
                storage.write_bytes(plan.sidecars[kind], former[kind])
            raise
    for kind, path in plan.figures.items():
        prints[path.name] = _write_one(path, figures[kind])
    _write_private(plan, private, prints)
    source = {
        "Sources": [f"bids:raw:{quote(plan.scan.relative)}"],
        "SpatialReference": "orig",
    }
    for kind, path in plan.sidecars.items():
        record = dict(records[kind])
        if is_image(kind):
            bound = {each.name: prints[each.name] for each in companions(plan, kind)}
            record = {**catalog.output(kind).sidecar, **source, **record, "Files": bound}
        storage.write_json(path, record)


def _write_private(plan: ScanPlan, private: Mapping, prints: dict[str, dict]) -> None:
    """Write `ScanPlan.record`; the times of all files go there, out of their fingerprints."""
    results = {
        name: {"SHA256": each["SHA256"], "Modified": each.pop("Modified")}
        for name, each in sorted(prints.items())
    }
    try:
        storage.write_json(plan.record, {**private, "Results": results})
    except OutputError as error:
        log.warning("%s", error)


def read_times(plan: ScanPlan) -> dict[str, tuple[str, int]]:
    """Read the times of the source and of each result, as `currency.times`."""
    return currency.times(plan.record, plan.scan.path.name)


def is_recorded(path: Path, plan: ScanPlan) -> bool:
    """Tell whether a file is there, and as the record of the last run has it."""
    known, _ = read_times(plan).get(path.name, ("", 0))
    with storage.output_errors(path):
        return bool(known) and path.is_file() and sha256(path) == known


def _all(plan: ScanPlan) -> tuple[Path, ...]:
    """List the files of a scan and its figures."""
    return (*plan.files.values(), *plan.figures.values())


def is_image(kind: str) -> bool:
    """Tell whether an output is an image; the sidecar of a table has only its columns."""
    return catalog.output(kind).form != "table"


def companions(plan: ScanPlan, kind: str) -> list[Path]:
    """List the files that the sidecar of an image is bound to.

    The first image of an analysis has also the figures and tables of the analysis.
    """
    images = [each for each in plan.files if is_image(each)]
    found = [plan.files[kind]]
    for name in catalog.output(kind).made_by:
        if kind == next(each for each in images if name in catalog.output(each).made_by):
            found += [
                path
                for each, path in plan.files.items()
                if not is_image(each) and catalog.output(each).made_by[0] == name
            ]
            found += [
                path for each, path in plan.figures.items() if catalog.figure(each).made_by == name
            ]
    if kind == images[0]:
        found += [path for each, path in plan.figures.items() if not catalog.figure(each).made_by]
    return found


def state(path: Path) -> tuple | None:
    """Inode, size and time of a file, to see that it is replaced; None if it is absent."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def look(plan: ScanPlan) -> dict[Path, tuple | None]:
    """Look at the masks of a scan that a person may change."""
    rows = [catalog.analysis(name) for name in plan.analyses]
    return {plan.path(row.main): state(plan.path(row.main)) for row in rows if row.correctable}


def _write_one(path: Path, content: bytes, check: Callable[[], None] | None = None) -> dict:
    """Write a file, and give its fingerprint."""
    return fingerprint_of(content, storage.write_bytes(path, content, check))


def _check_unchanged(path: Path, before: tuple | None, content: bytes) -> None:
    """Raise an OutputError if a person has saved a mask since it was looked at."""
    if before != state(path) and not _holds(path, content):
        raise OutputError(
            f"{path}: the mask was changed while the image was processed; it is left as it is. "
            "Run the same command again."
        )


def _holds(path: Path, content: bytes) -> bool:
    """Tell whether a file is absent or has a content, as of a run beside this one."""
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return True
    except OSError:
        return False


def manual(plan: ScanPlan, records: Mapping[str, Mapping]) -> tuple[str, ...]:
    """Name the analyses of a scan whose mask was taken from a person before.

    Parameters
    ----------
    plan : ScanPlan
    records : mapping of kind to mapping
        As of `read_records`.
    """
    rows = [catalog.analysis(name) for name in plan.analyses]
    return tuple(
        row.name for row in rows if row.correctable and records[row.main].get("Manual") is True
    )


def read_records(plan: ScanPlan) -> dict[str, dict[str, Any]]:
    """Read the sidecars of a scan's images, and of the main masks of all analyses, by kind."""
    kinds = [kind for kind in plan.files if is_image(kind)]
    kinds += [row.main for row in catalog.ANALYSES]
    return {kind: currency.read_record(plan.path(kind)) for kind in dict.fromkeys(kinds)}


def outdated(plan: ScanPlan, run: Run) -> str | None:
    """Say why a scan has to be processed; None if all its results are current.

    The source, and each file, is the same if its size and modification time are the same, or its
    hash; with ``--verify``, only if its hash is.

    Returns
    -------
    str or None
        Empty if there are no complete results yet.
    """
    records = read_records(plan)
    by_hand = manual(plan, records)
    plan = plan.corrected(by_hand)
    records |= {
        kind: currency.read_record(plan.path(kind)) for kind in plan.files if kind not in records
    }
    wanted = [kind for kind in plan.files if is_image(kind)]
    there = {path.name: path for path in _all(plan)}
    # Figures that are not wanted now may be absent. Those that are there are on the page.
    beside = {path.name: path for path in plan.everything() if path.is_file()}
    parameters = {kind: run.parameters_of(kind) for kind in wanted}
    present = Present(
        plan.path,
        records,
        plan.scan.path,
        read_times(plan),
        beside | there,
        contrast=plan.scan.contrast,
        parameters=parameters,
        verify=run.settings.verify,
    )
    for kind in wanted:
        verdict = currency.judge(present, kind)
        if verdict.state not in currency.GOOD:
            return "" if verdict.reason == currency.NO_SIDECAR else verdict.reason
    if by_hand and run.settings.overwrite_manual:
        return "manual masks are replaced"
    try:
        complete = all(path.is_file() for path in plan.sidecars.values())
    except OSError:
        complete = False
    bound = {name for kind in wanted for name in records[kind]["Files"]}
    return None if complete and there.keys() <= bound else ""


def as_written(path: Path, record: Mapping, times: Mapping) -> bool:
    """Tell whether a file is the one that its sidecar is bound to, or absent."""
    try:
        return unchanged(path, record["Files"][path.name], times)
    except FileNotFoundError:
        return True
    except currency.UNREADABLE:
        return not record
