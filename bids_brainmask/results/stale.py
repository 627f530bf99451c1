# SPDX-License-Identifier: Apache-2.0
"""Results of earlier runs that do not fit any more, and are not written by this run: removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import currency, storage
from bids_brainmask.dataset.currency import Present
from bids_brainmask.plan import Run, ScanPlan
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
        row.name: {} if row.is_table else currency.read_record(plan.path(row.name))
        for row in catalog.OUTPUTS
    }
    times = files.read_times(plan)
    kept: set[str] = set()
    removed: set[str] = set()
    said = []
    for output in catalog.OUTPUTS:
        kind, path, record = output.name, plan.path(output.name), records[output.name]
        if not record:
            continue
        present = _present(plan, run, kind, records, times)
        if kind in plan.files or currency.judge(present, kind).state in currency.GOOD:
            kept |= set(record.get("Files", ()))
        elif _is_of_a_person(plan, kind, records) or not files.as_written(path, record, times):
            said.append(f"kept, though it does not fit any more: {path.name}")
            kept |= set(record.get("Files", ()))
        else:
            said.append(f"removed, because it does not fit any more: {path.name}")
            _unlink((storage.sidecar(path), path))
            records[kind] = {}
            removed |= set(output.made_by)
    present_now = {
        name for kind in records if records[kind] for name in catalog.output(kind).made_by
    }
    own_sidecar = {
        plan.path(row.name).name for row in catalog.OUTPUTS if row.is_table and row.has_sidecar
    }
    for path, made_by in _companions(plan):
        # Without any record of its analysis, another process may be writing it at this moment.
        known = not made_by or made_by in present_now or made_by in removed
        if path.name not in kept and known and present_now | removed and path.is_file():
            said.append(f"removed, because it does not fit any more: {path.name}")
            _unlink((path, storage.sidecar(path)) if path.name in own_sidecar else (path,))
    return said


def _present(plan: ScanPlan, run: Run, kind: str, records: dict, times: dict) -> Present:
    """Collect what a file that this run does not write is compared with: not what is beside it."""
    known = set(catalog.output(kind).made_by) <= run.models.keys()
    return Present(
        plan.path,
        records,
        plan.scan.path,
        times,
        {plan.path(kind).name: plan.path(kind)},
        contrast=plan.scan.contrast,
        parameters={kind: run.parameters_of(kind)} if known else {},
    )


def _is_of_a_person(plan: ScanPlan, kind: str, records: dict) -> bool:
    """Tell whether a file is a manual mask, or the automatic one beside it, or of one to take."""
    output = catalog.output(kind)
    mains = [catalog.analysis(name).main for name in output.made_by]
    if any(currency.uncompressed(plan.path(main)) for main in mains):
        return True
    manual = records[kind].get("Manual") is True
    return manual or (output.automatic and records[mains[0]].get("Manual") is True)


def _companions(plan: ScanPlan) -> Iterator[tuple[Path, str]]:
    """Yield the figures and tables that a run does not write, with the analysis they show."""
    for row in catalog.OUTPUTS:
        if not files.is_image(row.name) and row.name not in plan.files:
            yield plan.path(row.name), row.made_by[0]
    for name in catalog.figure_files():
        if name not in plan.figures:
            yield plan.figure_path(name), catalog.figure(name).made_by


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
