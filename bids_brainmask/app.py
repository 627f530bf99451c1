# SPDX-License-Identifier: Apache-2.0
"""The whole way from a dataset to its derivatives. Start reading here."""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import bids_brainmask
from bids_brainmask import machine
from bids_brainmask.analyses import catalog, rendering, sidecar
from bids_brainmask.analyses.probability import Method
from bids_brainmask.analyses.rows import Finding, Findings
from bids_brainmask.dataset import derivatives, ownership, readback, storage
from bids_brainmask.errors import BrainMaskError, ImageError, ModelError, UsageError, without_paths
from bids_brainmask.hashes import fingerprint
from bids_brainmask.models import backends, memory
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.reports import participant_page
from bids_brainmask.results import (
    chosen,
    corrections,
    files,
    lesion_decisions,
    orphans,
    stale,
)
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image
from bids_brainmask.voxels.inference import Options

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Outcome of one scan."""

    plan: ScanPlan
    status: Literal["done", "skipped", "refused", "failed"]
    detail: str
    """What was found or why it failed; then remarks, each after a semicolon."""

    @property
    def remarkable(self) -> bool:
        """Whether a person should look: it failed, was refused, or has a remark."""
        return self.status in ("failed", "refused") or "; " in self.detail


def process(
    run: Run, settled: Iterable[tuple[ScanPlan, Outcome | None]] | None = None
) -> Iterator[Outcome]:
    """Process every unfinished scan, one after the other, in this process.

    A scan that fails with any error gets a crash record in ``logs/``, and the others are still
    processed.

    Parameters
    ----------
    run : Run
    settled : iterable of (ScanPlan, Outcome or None), optional
        Result of `settle`, if it was called before.

    Yields
    ------
    Outcome
        One per scan, in order.
    """
    settings = run.settings
    begin(settings)
    networks: dict[str, backends.Network] = {}
    pages = Pages(run)
    for plan, known in settled or settle(run):
        outcome = known or process_scan(plan, run, networks)
        yield outcome
        if participant := pages.due(outcome):
            write_report(participant, settings)


class Pages:
    """Decides when a participant's page is written: once the last of its scans has ended.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run):
        self.wanted = run.settings.reports
        self.scans_left = Counter(plan.scan.participant for plan in run.plans)

    def due(self, outcome: Outcome) -> str:
        """Count a scan that has ended.

        Returns
        -------
        str
            Participant whose page is to be written now; empty: none.
        """
        participant = outcome.plan.scan.participant
        self.scans_left[participant] -= 1
        return participant if self.wanted and not self.scans_left[participant] else ""


def begin(settings: Settings) -> None:
    """Prepare the work folder and write the dataset's files, before the first scan."""
    if settings.work_dir:
        use_work_dir(settings.work_dir)
    storage.prepare(settings.output_dir)
    derivatives.describe_dataset(settings)


def settle(run: Run) -> Iterator[tuple[ScanPlan, Outcome | None]]:
    """Yield each scan, with its outcome if no work is needed, else None."""
    owners: dict[Path, str] = {}  # first file of every earlier scan, and its source image
    for plan in run.plans:
        try:
            with storage.output_errors(plan.folder):  # which may be closed to us
                settled = settle_scan(plan, run, owners)
        except Exception as error:  # noqa: BLE001 - recorded; the others continue
            settled = plan, failure(plan, error, run)
        yield settled


def settle_scan(
    plan: ScanPlan, run: Run, owners: dict[Path, str]
) -> tuple[ScanPlan, Outcome | None]:
    """Tell whether work is needed for a scan, as `settle` does."""
    if not plan.analyses:
        detail = [plan.refusal, *stale.remove(plan, run)]
        return plan, Outcome(plan, "refused", "; ".join(detail))
    first = next(iter(plan.files.values()))
    if first in owners:
        raise ImageError(
            f"{plan.scan.path}: its results would have the same names as those of "
            f"{owners[first]}. Keep only one of the two images."
        )
    owners[first] = plan.scan.relative
    run = run.of(plan)
    reason = files.outdated(plan, run)
    if run.settings.overwrite or reason is not None:
        ownership.check_owners(plan.claims)
        storage.clear(plan.log.parent)  # where a killed process may have left a file
        return replace(plan, reason=reason or ""), None
    for path in plan.log.parent.glob(f"{plan.log.stem}_crash-*.json"):
        orphans.recovered(path)
    chosen.remember(plan)
    removed = stale.remove(plan, run)
    detail = ["finished before, from the same image and parameters"]
    detail += [*corrections.kept(plan), plan.kept, *removed, plan.refusal]
    return plan, Outcome(plan, "skipped", "; ".join(filter(None, detail)))


def process_scan(plan: ScanPlan, run: Run, networks: dict[str, backends.Network]) -> Outcome:
    """Process a scan, whether it is finished or not.

    Parameters
    ----------
    plan : ScanPlan
    run : Run
    networks : dict of str to backends.Network
        Loaded networks, by `Run.network`; missing ones are added.

    Raises
    ------
    ModelError, UsageError
        A network of the run cannot be loaded. With one that is chosen for this image, the image
        fails alone.
    """
    shared = {run.network(name) for name in run.models}
    run, loaded = run.of(plan), {}
    for name in filter(run.models.__contains__, run.needed(plan)):
        key = run.network(name)
        try:
            loaded[name] = networks[key] = networks.get(key) or load_network(run, name)
        except BrainMaskError as error:
            if key in shared:
                raise
            return failure(plan, error, run)
    try:
        return segment_scan(plan, run, loaded)
    except Exception as error:  # noqa: BLE001 - recorded; the others continue
        return failure(plan, error, run)


def write_report(participant: str, settings: Settings) -> str:
    """Write a participant's report, with the results of all runs.

    If it cannot be written, an error is logged; the images do not count as failed.

    Returns
    -------
    str
        The error message; empty if the report was written.
    """
    root = settings.output_dir
    path = root / f"sub-{participant}.html"
    try:
        if settings.viewer is False:
            for old in participant_page.viewer_files(root, readback.read(root, [participant])):
                old.unlink(missing_ok=True)
        participant_page.write(root, participant, raw=settings.bids_dir, viewer=settings.viewer)
    except Exception as error:  # noqa: BLE001 - the masks are there, and the rest goes on
        trouble = f"{path}: the report cannot be written: {error!r}"
        log.error(trouble)
        return trouble
    return ""


def use_work_dir(folder: Path) -> None:
    """Make a folder the place for temporary files; create it if it is absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--work-dir: {folder} cannot be created: {error}") from error
    tempfile.tempdir = str(folder)


def load_network(run: Run, analysis: str) -> backends.Network:
    """Load the network of an analysis with the backend and the threads of the settings.

    Raises
    ------
    ModelError
        The model was chosen for an image in an earlier run, and its file is not known any more.
    """
    settings, model, choice = run.settings, run.models[analysis], run.chosen.get(analysis)
    if choice and choice.absent:
        raise ModelError(
            f"the model {model.name}, which was chosen for this image on {choice.time[:10]}, is "
            "not found. Name its file with --model, or use --reset-choices."
        )
    return backends.start(model, settings.engine, settings.n_cpus, run.precision(analysis))


def segment_scan(plan: ScanPlan, run: Run, networks: Mapping[str, backends.Network]) -> Outcome:
    """Process one scan, from its file to its derivatives."""
    started = time.perf_counter()
    seen = files.look(plan)
    memory.check(plan.scan.path, run.models_of(plan), run.settings.mem_gb)
    source = image.read(plan.scan.path)
    file = fingerprint(plan.scan.path)  # now: the file may change before the end
    corrected = corrections.read(plan, run, source)
    plan = plan.corrected(corrected)
    automatic: dict[str, Any] = {}
    findings: dict[str, Finding] = {}
    unused: list[str] = []
    for name in run.needed(plan):
        how = method(name, run, networks)
        findings[name] = automatic[name] = catalog.analysis(name).find(source, how, findings)
        if name in corrected:
            findings[name] = automatic[name].corrected(source, corrected[name].mask, findings)
        elif catalog.analysis(name).candidates:
            findings[name], remark = lesion_decisions.decided(plan, name, findings)
            unused.append(remark)
    found = {
        row.name: findings | {name: automatic[name] for name in row.made_by if row.automatic}
        for row in map(catalog.output, plan.files)
    }
    content = {
        kind: rendering.render(catalog.output(kind), source, each) for kind, each in found.items()
    }
    modified = file.pop("Modified")
    scan = sidecar.of_scan(file, time.perf_counter() - started, contrast=plan.scan.contrast)
    records = describe(run, scan, found, networks)
    for name, one in corrected.items():
        records[catalog.analysis(name).main] |= one.record()
    for kind, entry in chosen.records(plan).items():
        records[kind] |= entry
    figures = rendering.draw(plan.figures, source, findings, plan.scan.key)
    private = {
        "Source": str(plan.scan.path),
        "SHA256": file["SHA256"],
        "Modified": modified,
        "Command": list(run.typed),
        "Host": platform.node(),
        "Chosen": {name: one.private() for name, one in plan.choices.items()},
        "Manual": {name: one.record() for name, one in corrected.items()},
    }
    unused += corrections.keep_unknown(plan, run, content)
    files.write(plan, content, records, figures, private, seen)
    corrections.take_over(plan, run, findings)
    own = [findings[name] for name in plan.analyses]
    said = ", ".join(finding.summary for finding in own) + f" in {scan['Seconds']:.1f} s"
    remarks = [*(finding.remarks for finding in own), *(one.words for one in corrected.values())]
    again = f"made again: {plan.reason}" if plan.reason else ""
    detail = [said, *remarks, *unused, plan.kept, again, *stale.remove(plan, run), plan.refusal]
    return Outcome(plan, "done", "; ".join(filter(None, detail)))


def describe(
    run: Run,
    scan: Mapping,
    found: Mapping[str, Findings],
    networks: Mapping[str, backends.Network],
) -> dict[str, dict]:
    """Make the content of each sidecar of a scan, by kind.

    Parameters
    ----------
    run : Run
    scan : mapping
        As of `sidecar.of_scan`.
    found : mapping of str to mapping
        Findings that each kind of file shows.
    networks : mapping of str to Network
    """
    records = {}
    for kind, findings in found.items():
        output = catalog.output(kind)
        if output.is_table:
            records[kind] = dict(output.columns()) if output.columns else {}
            continue
        how = (run.parameters_of(kind), run.command, run.models, networks, findings)
        record = sidecar.of_file(output, *how)
        records[kind] = {**scan, **record, **files.bindings(kind, findings)}
    return records


def method(name: str, run: Run, networks: Mapping[str, backends.Network]) -> Method | None:
    """Combine the network of an analysis with its settings; None without a model."""
    if name not in run.models:
        return None
    options = Options(overlap=run.settings.overlap, flips=run.settings.tta)
    expected = (run.settings.min_brain_volume, run.settings.max_brain_volume)
    copies = run.settings.lesion_copies
    how = (run.thresholds[name], options, run.border(name), copies, expected)
    return Method(run.models[name], networks[name], *how)


def public(text: str, plan: ScanPlan, settings: Settings) -> str:
    """Shorten the paths in a message, for pages that others read."""
    known = {
        plan.scan.path: plan.scan.relative,
        settings.output_dir.absolute(): "OUTPUT_DIR",
        settings.output_dir: "OUTPUT_DIR",
        settings.bids_dir.absolute(): "BIDS_DIR",
        settings.bids_dir: "BIDS_DIR",
    }
    for path, name in known.items():
        if len(str(path)) > 1:  # not "." or "/"
            text = text.replace(str(path), name)
    return without_paths(text)


def failure(plan: ScanPlan, error: Exception, run: Run) -> Outcome:
    """Record a failed scan in ``logs/``, with the details for a bug report."""
    now = datetime.now(UTC)
    reason = (
        str(error) or type(error).__doc__ or ""
    )  # for example of a MemoryError: Out of memory.
    if not isinstance(error, BrainMaskError):
        reason = f"{type(error).__name__}: {reason}"
    record = {
        "Time": now.isoformat(timespec="seconds"),
        "Source": plan.scan.relative,
        "Error": type(error).__name__,
        "Message": reason,
        "Reason": public(reason, plan, run.settings),
        "Traceback": "".join(traceback.format_exception(error)),
        "Command": list(run.typed),
        "Version": bids_brainmask.__version__,
        "Python": platform.python_version(),
        "Host": platform.node(),
        "PeakMemory": round(machine.peak_memory_gb(), 2),
    }
    stamp = now.strftime("%Y%m%dT%H%M%S%f")
    path = plan.log.with_name(f"{plan.log.stem}_crash-{stamp}-{os.getpid()}.json")
    try:
        storage.write_json(path, record)
    except BrainMaskError as second:
        log.error("%s; the crash record: %s", second, json.dumps(record))
    return Outcome(plan, "failed", reason.removeprefix(f"{plan.scan.path}: "))
