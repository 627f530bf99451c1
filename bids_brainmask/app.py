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

import numpy as np

import bids_brainmask
from bids_brainmask import (
    bids,
    clean,
    confidence,
    contents,
    derivatives,
    disk,
    engine,
    grid,
    image,
    lesions,
    predict,
    quality,
    report,
    resources,
    sidecar,
)
from bids_brainmask.derivatives import Job
from bids_brainmask.errors import BrainMaskError, ImageError, UsageError
from bids_brainmask.planning import Run
from bids_brainmask.registry import Model
from bids_brainmask.settings import Analysis, Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    job: Job
    status: Literal["done", "skipped", "refused", "failed"]
    detail: str


@dataclass(frozen=True)
class Tumours:
    """Meningiomas, on the grid of their image."""

    lesions: lesions.Lesions
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    stripped: bool  # whether the image was known to hold a brain and nothing else

    @property
    def summary(self) -> str:
        """How many and how large, for a line about the scan."""
        count, volume = self.lesions.count, self.lesions.volume_ml
        if not count:
            return "no meningioma"
        return f"{count} meningioma{'s' * (count > 1)} of {volume:.2f} mL"

    @property
    def remarks(self) -> str:
        """What the user should know; nothing where the image is as it should be."""
        return "searched for tumours, though stripped before: some may be gone" * self.stripped


@dataclass(frozen=True)
class Extraction:
    """A brain, on the grid of its image."""

    mask: np.ndarray  # (I, J, K) bool
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    volume_ml: float
    confidence: confidence.Confidence
    predicted_dice: float | None  # in [0, 1]; None for a model without a calibration
    stripped: bool = False  # whether the image held a brain and nothing else, all of it kept
    quality: Mapping | None = None  # by the names of `quality.COLUMNS`

    @property
    def summary(self) -> str:
        """How large, for a line about the scan."""
        return f"{self.volume_ml:.0f} mL"

    @property
    def warning(self) -> str:
        """What the user should know of the mask; nothing where it looks well."""
        if self.predicted_dice is None or self.predicted_dice >= confidence.DOUBTFUL:
            return ""
        return f"doubtful, predicted Dice {self.predicted_dice:.2f}: look at the mask"

    @property
    def remarks(self) -> str:
        """What to say of the mask in a line about the scan."""
        kept = "stripped before, all of it kept" if self.stripped else ""
        return "; ".join(filter(None, (kept, self.warning)))


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
    networks: dict[Analysis, engine.Network] = {}
    for (job, outcome), following in zip_longest(settled or settle(run), run.jobs[1:]):
        yield outcome or process_job(job, run, networks)
        participant = job.scan.participant
        if settings.reports and (not following or following.scan.participant != participant):
            write_report(participant, settings)


def begin(settings: Settings) -> None:
    """Make what must be there before the first job: the work folder, and the dataset's files."""
    if settings.work_dir:
        use_work_dir(settings.work_dir)
    disk.prepare(settings.output_dir)
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
        if run.settings.overwrite or not derivatives.finished(job, run.parameters(job)):
            disk.clear(run.log(job).parent)  # where a record of it may have been begun
            yield job, None
            continue
        detail = "finished before, from the same image and parameters"
        yield job, Outcome(job, "skipped", "; ".join(filter(None, [detail, job.refusal])))


def process_job(job: Job, run: Run, networks: dict[Analysis, engine.Network]) -> Outcome:
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
    make = partial(report.participant, settings.output_dir, participant, viewer=settings.viewer)
    written = None
    try:
        # Until what was written is what there is: while a page is made, another process may end
        # another session and write a page of both, and this one, of its own alone, replaces it.
        while (page := make()) != written:
            disk.write_changed(path, page.encode())
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


def load_network(run: Run, analysis: Analysis) -> engine.Network:
    """Make a network ready to run, on the engine and the threads that the settings ask for."""
    threads = run.settings.n_cpus or resources.cpus()
    model = run.models[analysis]
    network = engine.load(model, run.settings.engine, threads, run.settings.precision)
    log.info("%s %s on %s, %d threads", model.name, model.version, network.engine, threads)
    if model.notice:
        log.warning("%s: %s", model.name, model.notice)
    return network


def segment_scan(job: Job, run: Run, networks: Mapping[Analysis, engine.Network]) -> Outcome:
    """Find the brain and the meningiomas of one scan, from its file to its derivatives."""
    started = time.perf_counter()
    source = image.read(job.scan.path)
    file = bids.fingerprint(job.scan.path)  # that was read: it may be another by the end
    looks = {"overlap": run.settings.overlap, "flips": run.settings.tta}
    how = {a: (run.models[a], networks[a], run.thresholds[a]) for a in run.needed(job)}
    brain = tumours = None
    if "brain" in how:
        brain = extract(source, *how["brain"], **looks)
    if "meningioma" in how:
        tumours = find_meningiomas(source, *how["meningioma"], brain, **looks)
    files = {kind: contents.render(kind, source, brain, tumours) for kind in job.files}
    seconds = time.perf_counter() - started
    scan = sidecar.of_scan(job, file, seconds)
    records = {k: scan | sidecar.of_file(k, job, run, networks, brain, tumours) for k in files}
    if tumours:
        records["lesions"] = lesions.COLUMNS
    derivatives.write_results(job, files, records, contents.draw(job, source, brain, tumours))
    parts = [{"brain": brain, "meningioma": tumours}[name] for name in job.analyses]
    said = [", ".join(part.summary for part in parts) + f" in {seconds:.1f} s"]
    said += [*(part.remarks for part in parts), job.refusal]
    return Outcome(job, "done", "; ".join(filter(None, said)))


def extract(
    source: image.Source, model: Model, network: engine.Network, threshold: float, **looks: bool
) -> Extraction:
    """Find the brain in an image, whole and alone.

    What can be told of the mask's quality is told of the network's own, also where the image had
    been stripped before and all that it holds is taken.

    Parameters
    ----------
    source : image.Source
    model : Model
    network : engine.Network
    threshold : float
        Probability from which a voxel is brain, in (0, 1).
    **looks : bool
        As in `predict.probability`: ``overlap`` and ``flips``.

    Raises
    ------
    ImageError
        No voxel is as probable as the threshold.
    """
    volume, found = source.volume, probability(source, model, network, **looks)
    cleaned = clean.brain(found >= threshold)
    if not cleaned.mask.any():
        raise ImageError(
            f"no brain was found: the highest probability is {found.max():.2f}, the "
            f"threshold {threshold:g}. Look at the image; is it a T1-weighted head?"
        )
    voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    trust = confidence.of(cleaned.mask, found, volume.spacing, cleaned.removed)
    whole = clean.stripped_before(volume.data, cleaned.mask)
    mask = cleaned.mask if whole is None else whole
    predicted = trust.predicted_dice(model.confidence)
    measured = quality.measure(
        volume,
        mask,
        found,
        pieces_removed=cleaned.pieces,
        removed=cleaned.removed,
        holes_filled=cleaned.holes,
        filled=cleaned.filled,
        predicted_dice=predicted,
    )
    return Extraction(
        mask=mask,
        probability=found,
        volume_ml=float(mask.sum() * voxel_ml),
        confidence=trust,
        predicted_dice=predicted,
        stripped=whole is not None,
        quality=measured,
    )


def find_meningiomas(
    source: image.Source,
    model: Model,
    network: engine.Network,
    threshold: float,
    brain: Extraction | None,
    **looks: bool,
) -> Tumours:
    """Find the meningiomas in an image of a whole head; none is an answer, too.

    The image is never stripped before: most of these tumours lie outside of the brain.

    Parameters
    ----------
    source, model, network, threshold, **looks
        As in `extract`.
    brain : Extraction or None
        Of the same image, to tell where a lesion lies; None: it is not told. A model whose
        lesions are to be near the brain needs it.
    """
    volume, found = source.volume, probability(source, model, network, **looks)
    lesion, mask = found >= threshold, brain.mask if brain else None
    if model.peak:
        lesion = clean.with_peak(lesion, found, model.peak)
    if model.near_brain:
        lesion = clean.near(lesion, mask, volume.spacing, model.near_brain)
    measured = lesions.measure(lesion, found, volume.affine, mask)
    return Tumours(measured, found, bool(brain and brain.stripped))


def probability(
    source: image.Source, model: Model, network: engine.Network, **looks: bool
) -> np.ndarray:
    """Probability of each of an image's voxels: to the network's grid, through it, and back.

    Our own networks know air as dark, and no edge where the field of view ends: so the level of
    the air is the darkest that they are given, and goes on beyond it. The published ones are given
    what their protocol says.

    Returns
    -------
    (I, J, K) float32 array
        In [0, 1]; 0 where the network's grid does not reach.
    """
    volume = source.volume
    if model.grid == "fsconform":
        target = grid.fsconform(volume)
        conformed = grid.resample(volume, target)
    else:
        target, air = grid.head(volume, network.divisor), grid.air(volume)
        conformed = np.maximum(grid.resample(volume, target, outside=air), np.float32(air))
    looks |= {"intensities": model.intensities, "block": model.block}
    looks["flips"] = looks.get("flips", False) or model.flips
    found = predict.probability(conformed, network.run, **looks)
    return grid.restore(found, target, volume)


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
        "PeakMemory": round(resources.peak_memory_gb(), 2),
    }
    stamp = now.strftime("%Y%m%dT%H%M%S%f")
    beside = run.log(job)
    path = beside.with_name(f"{beside.stem}_crash-{stamp}-{os.getpid()}.json")
    try:
        disk.write_json(path, record)
    except BrainMaskError as second:
        log.error("%s; the crash record: %s", second, json.dumps(record))
    return Outcome(job, "failed", reason.removeprefix(f"{job.scan.path}: "))
