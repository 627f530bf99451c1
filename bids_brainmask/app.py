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
from bids_brainmask.analyses import lesions, rendering, sidecar
from bids_brainmask.analyses.brain import extract
from bids_brainmask.analyses.meningioma import find_meningiomas
from bids_brainmask.dataset import derivatives, query, storage
from bids_brainmask.errors import BrainMaskError, ImageError, UsageError
from bids_brainmask.models import backends
from bids_brainmask.plan import Job, Run, finished, write_results
from bids_brainmask.reports import participant_page
from bids_brainmask.settings import Analysis, Settings
from bids_brainmask.voxels import image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    job: Job
    status: Literal["done", "skipped", "refused", "failed"]
    detail: str


def process(
    run: Run, settled: Iterable[tuple[Job, Outcome | None]] | None = None
) -> Iterator[Outcome]:
    """Do every job that is not done yet, one after the other, in this process.

    A scan that fails leaves a crash record under ``logs/`` and does not stop the others, whatever
    its error was: one odd file must not cost a night on a cluster.

    Parameters
    ----------
    run : Run
    settled : iterable of (Job, Outcome or None), optional
        What `settle` gives, where it has been asked already.

    Yields
    ------
    Outcome
        One a job, in order.
    """
    settings = run.settings
    begin(settings)
    networks: dict[Analysis, backends.Network] = {}
    for (job, outcome), following in zip_longest(settled or settle(run), run.jobs[1:]):
        yield outcome or process_job(job, run, networks)
        participant = job.scan.participant
        if settings.reports and (not following or following.scan.participant != participant):
            write_report(participant, settings)


def begin(settings: Settings) -> None:
    """Make what must be there before the first job: the work folder, and the dataset's files."""
    if settings.work_dir:
        use_work_dir(settings.work_dir)
    storage.prepare(settings.output_dir)
    derivatives.describe_dataset(settings)


def settle(run: Run) -> Iterator[tuple[Job, Outcome | None]]:
    """Tell of every job, in order, what becomes of it without work; None: it is to be done."""
    owners: dict[Path, str] = {}  # first file of every job before, and its source image
    for job in run.jobs:
        if not job.analyses:
            yield job, Outcome(job, "refused", job.refusal)
            continue
        first = next(iter(job.files.values()))
        if first in owners:
            error = ImageError(
                f"{job.scan.path}: would be written to the same files as {owners[first]}. "
                "Keep one of the two."
            )
            yield job, failure(job, error, run)
            continue
        owners[first] = job.scan.relative
        if run.settings.overwrite or not finished(job, run.parameters(job)):
            storage.clear(run.log(job).parent)  # where a record of it may have been begun
            yield job, None
            continue
        detail = "finished before, from the same image and parameters"
        yield job, Outcome(job, "skipped", "; ".join(filter(None, [detail, job.refusal])))


def process_job(job: Job, run: Run, networks: dict[Analysis, backends.Network]) -> Outcome:
    """Do a job, whatever there is of it.

    Parameters
    ----------
    job : Job
    run : Run
    networks : dict of str to engine.Network
        Those that are ready, by analysis; others are added.
    """
    for analysis in run.needed(job):
        networks[analysis] = networks.get(analysis) or load_network(run, analysis)
    try:
        return segment_scan(job, run, networks)
    except Exception as error:  # noqa: BLE001 - recorded, reported, and the rest goes on
        return failure(job, error, run)


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


def load_network(run: Run, analysis: Analysis) -> backends.Network:
    """Make a network ready to run, on the engine and the threads that the settings ask for."""
    threads = run.settings.n_cpus or machine.cpus()
    model = run.models[analysis]
    network = backends.load(model, run.settings.engine, threads, run.settings.precision)
    log.info("%s %s on %s, %d threads", model.name, model.version, network.engine, threads)
    if model.notice:
        log.warning("%s: %s", model.name, model.notice)
    return network


def segment_scan(job: Job, run: Run, networks: Mapping[Analysis, backends.Network]) -> Outcome:
    """Find the brain and the meningiomas of one scan, from its file to its derivatives."""
    started = time.perf_counter()
    source = image.read(job.scan.path)
    file = query.fingerprint(job.scan.path)  # that was read: it may be another by the end
    looks = {"overlap": run.settings.overlap, "flips": run.settings.tta}
    how = {a: (run.models[a], networks[a], run.thresholds[a]) for a in run.needed(job)}
    brain = tumours = None
    if "brain" in how:
        brain = extract(source, *how["brain"], **looks)
    if "meningioma" in how:
        tumours = find_meningiomas(source, *how["meningioma"], brain, **looks)
    files = {kind: rendering.render(kind, source, brain, tumours) for kind in job.files}
    drawn = rendering.draw(job.figures, job.scan.prefix, source, brain, tumours)
    seconds = time.perf_counter() - started
    parameters, used = run.parameters(job), (run.command, run.models, networks, brain, tumours)
    scan = sidecar.of_scan(file, seconds, contrast=job.scan.contrast)
    records = {kind: scan | sidecar.of_file(kind, parameters[kind], *used) for kind in files}
    if tumours:
        records["lesions"] = lesions.COLUMNS
    write_results(job, files, records, drawn)
    parts = [{"brain": brain, "meningioma": tumours}[name] for name in job.analyses]
    said = [", ".join(part.summary for part in parts) + f" in {seconds:.1f} s"]
    said += [*(part.remarks for part in parts), job.refusal]
    return Outcome(job, "done", "; ".join(filter(None, said)))


def failure(job: Job, error: Exception, run: Run) -> Outcome:
    """Record a failed scan under ``logs/``, with all that a report of the bug would want."""
    now = datetime.now(UTC)
    reason = str(error) or type(error).__doc__ or ""  # of a MemoryError: Out of memory.
    if not isinstance(error, BrainMaskError):
        reason = f"{type(error).__name__}: {reason}"
    record = {
        "Time": now.isoformat(timespec="seconds"),
        "Source": job.scan.relative,
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
    beside = run.log(job)
    path = beside.with_name(f"{beside.stem}_crash-{stamp}-{os.getpid()}.json")
    try:
        storage.write_json(path, record)
    except BrainMaskError as second:
        log.error("%s; the crash record: %s", second, json.dumps(record))
    return Outcome(job, "failed", reason.removeprefix(f"{job.scan.path}: "))
