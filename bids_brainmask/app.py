# SPDX-License-Identifier: Apache-2.0
"""The whole path, from a dataset to its derivatives. Start reading here."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

import bids_brainmask
from bids_brainmask import (
    bids,
    clean,
    confidence,
    derivatives,
    engine,
    grid,
    image,
    predict,
    registry,
    resources,
)
from bids_brainmask.errors import BrainMaskError, ImageError, UsageError
from bids_brainmask.settings import Output, Settings

log = logging.getLogger(__name__)

RESEARCH_ONLY = "For research only; not a medical device."


@dataclass(frozen=True)
class Run:
    """What is about to be done: every scan, and with what."""

    settings: Settings
    model: registry.Model
    threshold: float
    jobs: list[derivatives.Job]

    @property
    def parameters(self) -> dict:
        """All that decides a result, beside the source image."""
        return {
            "Model": self.model.name,
            "ModelVersion": self.model.version,
            "ModelSHA256": self.model.sha256,
            "Threshold": self.threshold,
        }


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    job: derivatives.Job
    status: Literal["done", "skipped", "failed"]
    detail: str


@dataclass(frozen=True)
class Extraction:
    """A brain, on the grid of its image."""

    mask: np.ndarray  # (I, J, K) bool
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    volume_ml: float
    confidence: confidence.Confidence
    predicted_dice: float | None  # in [0, 1]; None for a model without a calibration
    stripped: bool = False  # whether the image held a brain and nothing else, all of it kept

    @property
    def warning(self) -> str:
        """What the user should know of the mask; nothing where it looks well."""
        if self.predicted_dice is None or self.predicted_dice >= confidence.DOUBTFUL:
            return ""
        return f"doubtful, predicted Dice {self.predicted_dice:.2f}: look at the mask"

    @property
    def remarks(self) -> str:
        """What to say behind the volume in a line about the scan."""
        kept = "stripped before, all of it kept" if self.stripped else ""
        return "".join(f"; {remark}" for remark in (kept, self.warning) if remark)


def prepare(settings: Settings) -> Run:
    """Find the scans and the model, and check that the run can be carried out.

    Raises
    ------
    UsageError, NothingToDo, ModelError
        Before any work.
    """
    if settings.analysis_level == "group":
        raise UsageError("group: comes with the quality-control reports, not in this version.")
    scans = bids.find_scans(settings)
    model = brain_model(settings.model)
    check_memory(settings.mem_gb, model)
    threshold = model.threshold if settings.threshold is None else settings.threshold
    return Run(settings, model, threshold, [derivatives.plan(scan, settings) for scan in scans])


def brain_model(name: str) -> registry.Model:
    """Find the model of a name or file, and refuse one that is not for brains."""
    model = registry.resolve(name)
    if model.task != "brain":
        raise UsageError(
            f"--model {name}: a model for {model.task}; this version extracts brains. "
            "Choose embedded or brainy."
        )
    return model


def check_memory(mem_gb: float | None, model: registry.Model) -> None:
    """Raise a `UsageError` where the model wants more memory than the run may take."""
    given = resources.memory_gb() if mem_gb is None else mem_gb
    if given < model.memory_gb:
        raise UsageError(
            f"--mem-gb: {given:.1f} GB are given, and {model.name} takes {model.memory_gb:g} GB "
            "for a scan. Give more, or choose a smaller model: brainmask models list."
        )


def process(run: Run) -> Iterator[Outcome]:
    """Do every job that is not done yet, one after the other.

    A scan that fails leaves a crash record under ``logs/`` and does not stop the others, whatever
    its error was: one odd file must not cost a night on a cluster.

    Yields
    ------
    Outcome
        One a job, in order.
    """
    settings = run.settings
    if settings.work_dir:
        use_work_dir(settings.work_dir)
    derivatives.describe_dataset(settings)
    network = None
    owners: dict = {}
    for job in run.jobs:
        first = next(iter(job.images.values()))
        if first in owners:
            error = ImageError(
                f"{job.scan.path}: would be written to the same files as {owners[first]}. "
                "Keep one of the two."
            )
            yield failure(job, error, settings)
            continue
        owners[first] = job.scan.relative
        if not settings.overwrite and derivatives.finished(job, run.parameters):
            yield Outcome(job, "skipped", "finished before, from the same image and parameters")
            continue
        network = network or load_network(run)
        try:
            yield segment_scan(job, run, network)
        except Exception as error:  # noqa: BLE001 - recorded, reported, and the rest goes on
            yield failure(job, error, settings)


def use_work_dir(folder: Path) -> None:
    """Have libraries put their temporary files in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--work-dir: {folder} cannot be made: {error}") from error
    tempfile.tempdir = str(folder)


def load_network(run: Run) -> engine.Network:
    """Make the run's network ready, on the engine and the threads that the settings ask for."""
    threads = run.settings.n_cpus or resources.cpus()
    network = engine.load(run.model, run.settings.engine, threads)
    log.info(
        "model %s %s on %s, %d threads",
        run.model.name,
        run.model.version,
        network.engine,
        threads,
    )
    return network


def segment_scan(job: derivatives.Job, run: Run, network: engine.Network) -> Outcome:
    """Extract the brain of one scan, from its file to its derivatives."""
    started = time.perf_counter()
    source = image.read(job.scan.path)
    brain = extract(source, run.model, network, run.threshold)
    files = {
        output: image.to_bytes(render(output, source, brain), compress=True)
        for output in job.images
    }
    seconds = time.perf_counter() - started
    record = {
        "SourceFile": bids.fingerprint(job.scan.path),
        "Parameters": run.parameters,
        "BrainVolume": round(brain.volume_ml, 3),
        "BrainVolumeUnits": "mL",
        "BoundaryUncertainty": round(brain.confidence.boundary, 4),
        "PredictedDice": brain.predicted_dice and round(brain.predicted_dice, 4),
        "Warning": brain.warning,
        "AlreadyStripped": brain.stripped,
        "ContrastEnhanced": job.scan.contrast,
        "ModelCitation": run.model.citation,
        "Software": software_versions(network),
        "Seconds": round(seconds, 2),
        "IntendedUse": RESEARCH_ONLY,
    }
    record = {key: value for key, value in record.items() if value not in (None, "")}
    derivatives.write_results(job, files, record)
    detail = f"{brain.volume_ml:.0f} mL in {seconds:.1f} s{brain.remarks}"
    return Outcome(job, "done", detail)


def extract(
    source: image.Source, model: registry.Model, network: engine.Network, threshold: float
) -> Extraction:
    """Find the brain in an image, whole and alone.

    What can be told of the mask's quality is told of the network's own, also where the image had
    been stripped before and all that it holds is taken.

    Raises
    ------
    ImageError
        No voxel is as probable as the threshold.
    """
    volume, found = source.volume, probability(source, model, network)
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
    return Extraction(
        mask=mask,
        probability=found,
        volume_ml=float(mask.sum() * voxel_ml),
        confidence=trust,
        predicted_dice=trust.predicted_dice(model.confidence),
        stripped=whole is not None,
    )


def probability(
    source: image.Source, model: registry.Model, network: engine.Network
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
    found = predict.probability(
        conformed, network.run, intensities=model.intensities, block=model.block
    )
    return grid.restore(found, target, volume)


def render(output: Output, source: image.Source, brain: Extraction):
    """Put one output of an extraction into an image file like its source's."""
    if output == "mask":
        return image.mask_like(source, brain.mask)
    if output == "brain":
        return image.brain_like(source, brain.mask)
    return image.probability_like(source, brain.probability)


def failure(job: derivatives.Job, error: Exception, settings: Settings) -> Outcome:
    """Record a failed scan under ``logs/``, with all that a report of the bug would want."""
    now = datetime.now(UTC)
    reason = str(error) or type(error).__name__
    if not isinstance(error, BrainMaskError):
        reason = f"{type(error).__name__}: {reason}"
    record = {
        "Time": now.isoformat(timespec="seconds"),
        "Source": job.scan.relative,
        "Error": type(error).__name__,
        "Message": reason,
        "Traceback": "".join(traceback.format_exception(error)),
        "Command": sys.argv,
        "Version": bids_brainmask.__version__,
        "Python": platform.python_version(),
        "Host": platform.node(),
        "PeakMemory": round(resources.peak_memory_gb(), 2),
    }
    folder = settings.output_dir / "logs" / f"sub-{job.scan.participant}"
    stamp = now.strftime("%Y%m%dT%H%M%S%f")
    path = folder / f"{job.scan.prefix}_T1w_crash-{stamp}-{os.getpid()}.json"
    try:
        derivatives.write_json(path, record)
    except BrainMaskError as second:
        log.error("%s; the crash record: %s", second, json.dumps(record))
    return Outcome(job, "failed", reason.removeprefix(f"{job.scan.path}: "))


def software_versions(network: engine.Network) -> dict[str, str]:
    """Versions of what made a result."""
    name, _, number = network.engine.partition(" ")
    packages = {package: version(package) for package in ("nibabel", "numpy", "pybids", "scipy")}
    return {"bids_brainmask": bids_brainmask.__version__, name: number, **packages}
