# SPDX-License-Identifier: Apache-2.0
"""Results of earlier runs that do not fit any more, and are not written by this run: removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bids_brainmask.analyses import catalog
from bids_brainmask.hashes import unchanged
from bids_brainmask.plan import Run, ScanPlan, sidecar
from bids_brainmask.results import files


def remove(plan: ScanPlan, run: Run) -> list[str]:
    """Remove the results of a scan that a run does not write and that are not current.

    Only files that are as the program wrote them are removed, and never a manual mask.

    Returns
    -------
    list of str
        What was removed, and what does not fit but is kept, in words.
    """
    records = {
        row.name: {} if row.is_table else files.read_record(plan.path(row.name))
        for row in catalog.OUTPUTS
    }
    kept: set[str] = set()
    times = files.read_times(plan)
    removed: set[str] = set()
    said = []
    for output in catalog.OUTPUTS:
        kind, path, record = output.name, plan.path(output.name), records[output.name]
        if not record:
            continue
        if kind in plan.files or not _stale(plan, run, kind, records, times):
            kept |= set(record.get("Files", ()))
        elif record.get("Manual") is True or not files.as_written(path, record, times):
            said.append(f"kept, though it does not fit any more: {path.name}")
            kept |= set(record.get("Files", ()))
        else:
            said.append(f"removed, because it does not fit any more: {path.name}")
            _unlink((sidecar(path), path))
            records[kind] = {}
            removed |= set(output.made_by)
    own_sidecar = {
        plan.path(row.name).name for row in catalog.OUTPUTS if row.is_table and row.has_sidecar
    }
    present = {name for kind in records if records[kind] for name in catalog.output(kind).made_by}
    for path, made_by in _companions(plan):
        # Without any record of its analysis, another process may be writing it at this moment.
        known = not made_by or made_by in present or made_by in removed
        if path.name not in kept and known and present | removed and path.is_file():
            said.append(f"removed, because it does not fit any more: {path.name}")
            _unlink((path, sidecar(path)) if path.name in own_sidecar else (path,))
    return said


def _companions(plan: ScanPlan) -> Iterator[tuple[Path, str]]:
    """Yield the figures and tables that a run does not write, with the analysis they show."""
    for row in catalog.OUTPUTS:
        if not files.is_image(row.name) and row.name not in plan.files:
            yield plan.path(row.name), row.made_by[0]
    for name in catalog.figure_files():
        if name not in plan.figures:
            yield plan.figure_path(name), catalog.figure(name).made_by


def _stale(
    plan: ScanPlan, run: Run, kind: str, records: Mapping[str, Mapping], times: Mapping
) -> bool:
    """Tell whether an image that this run does not write is of another source, mask or setting."""
    output, record = catalog.output(kind), records[kind]
    if output.automatic:
        main = catalog.analysis(output.made_by[0]).main
        return records[main].get("Manual") is not True
    try:
        return (
            record["ContrastEnhanced"] != plan.scan.contrast
            or not unchanged(plan.scan.path, record["SourceFile"], times)
            or files.other_masks(record, records)
            or any(not records[catalog.analysis(name).main] for name in record["MadeFrom"])
            or (
                set(output.made_by) <= run.models.keys()
                and record["Parameters"] != run.parameters_of(kind)
            )
        )
    except files.UNREADABLE:
        return True


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
