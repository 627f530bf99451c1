# SPDX-License-Identifier: Apache-2.0
"""The whole path, from a dataset to its derivatives. Start reading here."""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import bids_brainmask
from bids_brainmask import machine
from bids_brainmask.analyses import catalog, rendering, sidecar
from bids_brainmask.analyses.probability import Method
from bids_brainmask.analyses.rows import Finding
from bids_brainmask.dataset import derivatives, query, storage
from bids_brainmask.errors import BrainMaskError, ImageError, UsageError
from bids_brainmask.models import backends
from bids_brainmask.plan import Run, ScanPlan, finished, write_results
from bids_brainmask.reports import participant_page
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image
from bids_brainmask.voxels.inference import Options

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    plan: ScanPlan
    status: Literal["done", "skipped", "refused", "failed"]
    detail: str


def process(
    run: Run, settled: Iterable[tuple[ScanPlan, Outcome | None]] | None = None
) -> Iterator[Outcome]:
    """Do every scan that is not done yet, one after the other, in this process.

    A scan that fails leaves a crash record under ``logs/`` and does not stop the others, whatever
    its error was: one odd file must not cost a night on a cluster.

    Parameters
    ----------
    run : Run
    settled : iterable of (ScanPlan, Outcome or None), optional
        What `settle` gives, where it has been asked already.

    Yields
    ------
    Outcome
        One a scan, in order.
    """
    settings = run.settings
    begin(settings)
    networks: dict[str, backends.Network] = {}
    for (plan, outcome), following in zip_longest(settled or settle(run), run.plans[1:]):
        yield outcome or process_scan(plan, run, networks)
        participant = plan.scan.participant
        if settings.reports and (not following or following.scan.participant != participant):
            write_report(participant, settings)


def begin(settings: Settings) -> None:
    """Make what must be there before the first scan: the work folder, and the dataset's files."""
    if settings.work_dir:
        use_work_dir(settings.work_dir)
    storage.prepare(settings.output_dir)
    derivatives.describe_dataset(settings)


def settle(run: Run) -> Iterator[tuple[ScanPlan, Outcome | None]]:
    """Yield each scan, with its outcome if no work is needed, else None."""
    owners: dict[Path, str] = {}  # first file of every scan before, and its source image
    for plan in run.plans:
        if not plan.analyses:
            yield plan, Outcome(plan, "refused", plan.refusal)
            continue
        first = next(iter(plan.files.values()))
        if first in owners:
            error = ImageError(
                f"{plan.scan.path}: would be written to the same files as {owners[first]}. "
                "Keep one of the two."
            )
            yield plan, failure(plan, error, run)
            continue
        owners[first] = plan.scan.relative
        if run.settings.overwrite or not finished(plan, run.parameters(plan)):
            storage.clear(run.log(plan).parent)  # where a record of it may have been begun
            yield plan, None
            continue
        detail = "finished before, from the same image and parameters"
        yield plan, Outcome(plan, "skipped", "; ".join(filter(None, [detail, plan.refusal])))


def process_scan(plan: ScanPlan, run: Run, networks: dict[str, backends.Network]) -> Outcome:
    """Do a scan, whatever there is of it.

    Parameters
    ----------
    plan : ScanPlan
    run : Run
    networks : dict of str to engine.Network
        Those that are ready, by analysis; others are added.
    """
    for name in run.needed(plan):
        if name in run.models and name not in networks:
            networks[name] = load_network(run, name)
    try:
        return segment_scan(plan, run, networks)
    except Exception as error:  # noqa: BLE001 - recorded, reported, and the rest goes on
        return failure(plan, error, run)


def write_report(participant: str, settings: Settings) -> str:
    """Write a participant's page, of all that there is, whichever run it is from.

    A page is no result: that it cannot be made is told of, and no failure of the images.

    Returns
    -------
    str
        What was told; empty where the page is there.
    """
    path = settings.output_dir / f"sub-{participant}.html"
    make = partial(
        participant_page.participant, settings.output_dir, participant, viewer=settings.viewer
    )
    written = None
    try:
        # Until what was written is what there is: while a page is made, another process may end
        # another session and write a page of both, and this one, of its own alone, replaces it.
        while (page := make()) != written:
            storage.write_changed(path, page.encode())
            written = page
    except Exception as error:  # noqa: BLE001 - the masks are there, and the rest goes on
        trouble = f"{path}: the report cannot be made: {error!r}"
        log.error(trouble)
        return trouble
    return ""


def use_work_dir(folder: Path) -> None:
    """Have libraries put their temporary files in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--work-dir: {folder} cannot be made: {error}") from error
    tempfile.tempdir = str(folder)


def load_network(run: Run, analysis: str) -> backends.Network:
    """Make a network ready to run, on the engine and the threads that the settings ask for."""
    settings = run.settings
    return backends.start(
        run.models[analysis], settings.engine, settings.n_cpus, settings.precision
    )


def segment_scan(plan: ScanPlan, run: Run, networks: Mapping[str, backends.Network]) -> Outcome:
    """Take one scan from its file to its derivatives."""
    started = time.perf_counter()
    source = image.read(plan.scan.path)
    file = query.fingerprint(plan.scan.path)  # that was read: it may be another by the end
    findings: dict[str, Finding] = {}
    for name in run.needed(plan):
        how = method(name, run, networks)
        findings[name] = catalog.analysis(name).find(source, how, findings)
    outputs = [catalog.output(kind) for kind in plan.files]
    files = {output.name: rendering.render(output, source, findings) for output in outputs}
    scan = sidecar.of_scan(file, time.perf_counter() - started, contrast=plan.scan.contrast)
    parameters, used = run.parameters(plan), (run.command, run.models, networks, findings)
    records = {
        output.name: output.columns()
        if output.columns
        else scan | sidecar.of_file(output, parameters[output.name], *used)
        for output in outputs
    }
    figures = rendering.draw(plan.figures, source, findings, plan.scan.key)
    write_results(plan, files, records, figures)
    found = [findings[name] for name in plan.analyses]
    said = ", ".join(finding.summary for finding in found) + f" in {scan['Seconds']:.1f} s"
    remarks = [*(finding.remarks for finding in found), plan.refusal]
    return Outcome(plan, "done", "; ".join(filter(None, [said, *remarks])))


def method(name: str, run: Run, networks: Mapping[str, backends.Network]) -> Method | None:
    """Gather the network of an analysis and how its answer is used; None without a model."""
    if name not in run.models:
        return None
    options = Options(overlap=run.settings.overlap, flips=run.settings.tta)
    border = run.settings.border if catalog.analysis(name).has_border else 0.0
    return Method(run.models[name], networks[name], run.thresholds[name], options, border)


def failure(plan: ScanPlan, error: Exception, run: Run) -> Outcome:
    """Record a failed scan under ``logs/``, with all that a report of the bug would want."""
    now = datetime.now(UTC)
    reason = str(error) or type(error).__doc__ or ""  # of a MemoryError: Out of memory.
    if not isinstance(error, BrainMaskError):
        reason = f"{type(error).__name__}: {reason}"
    record = {
        "Time": now.isoformat(timespec="seconds"),
        "Source": plan.scan.relative,
        "Error": type(error).__name__,
        "Message": reason,
        "Traceback": "".join(traceback.format_exception(error)),
        "Command": list(run.command),
        "Version": bids_brainmask.__version__,
        "Python": platform.python_version(),
        "Host": platform.node(),
        "PeakMemory": round(machine.peak_memory_gb(), 2),
    }
    stamp = now.strftime("%Y%m%dT%H%M%S%f")
    beside = run.log(plan)
    path = beside.with_name(f"{beside.stem}_crash-{stamp}-{os.getpid()}.json")
    try:
        storage.write_json(path, record)
    except BrainMaskError as second:
        log.error("%s; the crash record: %s", second, json.dumps(record))
    return Outcome(plan, "failed", reason.removeprefix(f"{plan.scan.path}: "))
