# SPDX-License-Identifier: Apache-2.0
"""What is about to be done: the scans, the models, and whether it can be done at all."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from bids_brainmask import bids, derivatives, registry, resources
from bids_brainmask.bids import Scan
from bids_brainmask.derivatives import Job, Kind
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.registry import Model
from bids_brainmask.settings import HERE, Analysis, Settings

NO_CONTRAST = (
    "meningioma: refused, no ce- entity or ContrastBolusIngredient says that the image is "
    "contrast-enhanced (--force-contrast)"
)
"""Why a plain image is not searched for meningiomas."""


@dataclass(frozen=True)
class Run:
    """What is about to be done: every scan, and with what."""

    settings: Settings
    models: Mapping[Analysis, Model]
    thresholds: Mapping[Analysis, float]
    jobs: list[Job]
    command: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))
    """The command line, which worker processes do not have."""

    def needed(self, job: Job) -> tuple[Analysis, ...]:
        """Analyses to carry out for a job: its own, and the brain for lesions to be near it."""
        if "meningioma" in job.analyses and self.models["meningioma"].near_brain:
            return "brain", "meningioma"
        return job.analyses

    def of_analysis(self, analysis: Analysis) -> dict:
        """All that decides an analysis's result, beside the source image."""
        model = self.models[analysis]
        found = {
            "Model": model.name,
            "ModelVersion": model.version,
            "ModelSHA256": model.sha256,
            "Threshold": self.thresholds[analysis],
        }
        if self.settings.overlap and model.block:
            found["Overlap"] = True
        if self.settings.tta or model.flips:
            found["TestTimeFlips"] = True
        if self.settings.precision != Settings.precision:
            found["Precision"] = self.settings.precision
        if analysis == "meningioma":
            from bids_brainmask import lesions  # with SciPy, which planning can do without

            found["SmallestLesion"] = lesions.SMALLEST_ML
            if model.peak:
                found["LesionPeak"] = model.peak
            if model.near_brain:
                found["NearBrain"] = {"Distance": model.near_brain, **self.of_analysis("brain")}
        return found

    def parameters(self, job: Job) -> dict[Kind, dict]:
        """All that decides each file of a job, beside the source image."""
        found = {}
        for kind in job.files:
            made_by = derivatives.ANALYSES[kind]
            each = {analysis: self.of_analysis(analysis) for analysis in made_by}
            found[kind] = each if len(each) > 1 else each[made_by[0]]
        return found

    def log(self, job: Job) -> Path:
        """Where a job's messages go; records of crashes lie beside, their names begin alike."""
        folder = self.settings.output_dir / "logs" / f"sub-{job.scan.participant}"
        return folder / f"{job.scan.prefix}_T1w.log"


def prepare(settings: Settings) -> Run:
    """Find the scans and the models, and check that the run can be carried out.

    Raises
    ------
    UsageError, NothingToDo, ModelError
        Before any work.
    """
    asked = set(settings.analyses) - {"auto"}
    if asked != set(settings.analyses) and asked:
        raise UsageError("--analyses: auto stands alone, or name the analyses.")
    if settings.viewer and not settings.reports:
        raise UsageError("--viewer: it is a part of the reports; leave --no-reports out.")
    if settings.viewer:
        from bids_brainmask import report  # with NumPy, likewise

        report.viewer_library()
    models = choose_models(settings)
    jobs = [plan(scan, settings) for scan in bids.find_scans(settings)]
    needed = {analysis for job in jobs for analysis in job.analyses}
    if not needed:
        raise NothingToDo(
            f"{settings.bids_dir}: none of {len(jobs)} images is contrast-enhanced, by its ce- "
            "entity or ContrastBolusIngredient; --force-contrast takes them to be."
        )
    if "meningioma" in needed and models["meningioma"].near_brain:
        models.setdefault("brain", registry.resolve("auto"))
        needed.add("brain")
    models = {analysis: at_hand(models[analysis]) for analysis in models if analysis in needed}
    if settings.executor in HERE:
        for model in models.values():
            check_memory(settings.mem_gb, model)
    return Run(settings, models, choose_thresholds(settings, models), jobs)


def plan(scan: Scan, settings: Settings) -> Job:
    """Tell what to do with a scan: meningiomas are looked for in contrast-enhanced ones only.

    Raises
    ------
    UsageError
        Its results would lie outside of the output folder.
    """
    if ".." in scan.folder.parts:
        raise UsageError(
            f"{scan.relative}: leads out of the dataset. The index in --bids-database-dir is "
            "damaged, or another's: remove it."
        )
    auto = "auto" in settings.analyses
    contrast = scan.contrast or settings.force_contrast
    analyses: list[Analysis] = []
    if auto or "brain" in settings.analyses:
        analyses.append("brain")
    if contrast and (auto or "meningioma" in settings.analyses):
        analyses.append("meningioma")
    refused = "meningioma" in settings.analyses and not contrast
    return derivatives.plan(scan, settings, tuple(analyses), NO_CONTRAST if refused else "")


def choose_models(settings: Settings) -> dict[Analysis, Model]:
    """Find the model of each analysis that may be done.

    Raises
    ------
    UsageError
        Two models for one analysis, one for an analysis that is not asked for, or one that is
        said to be for another task than it is.
    ModelError
        There is no such model or file.
    """
    known = get_args(Analysis)
    possible = known if "auto" in settings.analyses else settings.analyses
    models: dict[Analysis, Model] = {}
    for word in settings.model:
        named, equals, name = word.partition("=")
        if not equals or named not in known:
            named, name = "", word
        if name == "auto":
            continue
        model = registry.resolve(
            name,
            task=named or main_analysis(settings),
            allow_unverified=settings.allow_unverified,
        )
        if named and model.task != named:
            raise UsageError(f"--model {word}: {name} is a model for {model.task}.")
        if model.task in models:
            raise UsageError(
                f"--model: {models[model.task].name} and {model.name} are both for {model.task}. "
                "Give one for each analysis; meningioma=FILE says what a file is for."
            )
        if model.task not in possible:
            raise UsageError(
                f"--model {word}: a model for {model.task}, which --analyses does not ask for."
            )
        models[model.task] = model
    for analysis in possible:
        models.setdefault(analysis, registry.resolve("auto", task=analysis))
    return models


def at_hand(model: Model) -> Model:
    """Find a model's file, whole, before any work is begun; it is not hashed again."""
    return model if model.path else replace(model, path=registry.find(model.name))


def main_analysis(settings: Settings) -> Analysis:
    """Analysis that an option is for which does not say."""
    return "meningioma" if set(settings.analyses) == {"meningioma"} else "brain"


def choose_thresholds(
    settings: Settings, models: Mapping[Analysis, Model]
) -> dict[Analysis, float]:
    """Threshold of each analysis: the one asked for, or the model's own."""
    asked = {analysis or main_analysis(settings): value for analysis, value in settings.threshold}
    return {analysis: asked.get(analysis, model.threshold) for analysis, model in models.items()}


def check_memory(mem_gb: float | None, model: Model) -> None:
    """Raise a `UsageError` where the model wants more memory than the run may take."""
    given = resources.memory_gb() if mem_gb is None else mem_gb
    if given < model.memory_gb:
        raise UsageError(
            f"--mem-gb: {given:.1f} GB are given, and {model.name} takes {model.memory_gb:g} GB "
            "for a scan. Give more, or choose a smaller model: brainmask models list."
        )
