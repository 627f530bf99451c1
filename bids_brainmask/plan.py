# SPDX-License-Identifier: Apache-2.0
"""What is about to be done: the scans, the models, and whether it can be done at all.

Of each scan: its files, how they are written, and whether they are there already. A file comes
first and its sidecar last, so what has its sidecars is finished.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import get_args
from urllib.parse import quote

from bids_brainmask import machine
from bids_brainmask.analyses.outputs import ANALYSES, ASKED, FIELDS, NAMES, Kind
from bids_brainmask.dataset import query, readback, storage
from bids_brainmask.dataset.query import Scan
from bids_brainmask.dataset.readback import Figure
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.models import registry
from bids_brainmask.models.registry import Model
from bids_brainmask.settings import HERE, Analysis, Settings

NO_CONTRAST = (
    "meningioma: refused, no ce- entity or ContrastBolusIngredient says that the image is "
    "contrast-enhanced (--force-contrast)"
)
"""Why a plain image is not searched for meningiomas."""


@dataclass(frozen=True)
class Job:
    """A scan, what to do with it, and the files to make of it."""

    scan: Scan
    analyses: tuple[Analysis, ...]
    files: Mapping[Kind, Path]
    refusal: str = ""
    """Why an analysis that was asked for is not done; empty: none was refused."""

    figures: Mapping[Figure, Path] = field(default_factory=dict)
    """What its report shows; none without reports."""

    @property
    def sidecars(self) -> dict[Kind, Path]:
        """Sidecar of each file."""
        return {kind: _sidecar(path) for kind, path in self.files.items()}

    @property
    def folders(self) -> set[Path]:
        """Where its files and figures lie."""
        return {path.parent for path in (*self.files.values(), *self.figures.values())}


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
            from bids_brainmask.analyses import lesions

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
            made_by = ANALYSES[kind]
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
        from bids_brainmask.reports import participant_page  # with NumPy, likewise

        participant_page.viewer_library()
    models = choose_models(settings)
    jobs = [plan_scan(scan, settings) for scan in query.find_scans(settings)]
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


def plan_scan(scan: Scan, settings: Settings) -> Job:
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
    return name_files(scan, settings, tuple(analyses), NO_CONTRAST if refused else "")


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
    given = machine.memory_gb() if mem_gb is None else mem_gb
    if given < model.memory_gb:
        raise UsageError(
            f"--mem-gb: {given:.1f} GB are given, and {model.name} takes {model.memory_gb:g} GB "
            "for a scan. Give more, or choose a smaller model: brainmask models list."
        )


def name_files(
    scan: Scan, settings: Settings, analyses: tuple[Analysis, ...], refusal: str = ""
) -> Job:
    """Name what a scan will become: ``<source entities>_desc-brain_mask.nii.gz`` and so on."""
    folder = settings.output_dir / scan.folder
    files = {}
    for kind, (entities, ending) in NAMES.items():
        wanted = kind not in ASKED or ASKED[kind] in settings.outputs
        if wanted and set(ANALYSES[kind]) <= set(analyses):
            pairs = [f"{key}-{value}" for key, value in entities.items()]
            files[kind] = folder / "_".join([scan.prefix, *pairs, ending])
    return Job(scan, analyses, files, refusal, _figures(scan, settings, analyses))


def _figures(scan: Scan, settings: Settings, analyses: tuple[Analysis, ...]) -> dict:
    """Name the figures of a scan: those of its analyses, and the viewer's volumes where asked."""
    kinds: list[Figure] = []
    if settings.reports:
        kinds += ["brain", "uncertainty", "thumbnail"] if "brain" in analyses else []
        kinds += ["meningioma"] if "meningioma" in analyses else []
        kinds += ["viewer_image", "viewer_labels"] if settings.viewer and analyses else []
    return {kind: settings.output_dir / readback.figure(scan.prefix, kind) for kind in kinds}


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.split(".")[0] + ".json")


def write_results(
    job: Job,
    files: Mapping[Kind, bytes],
    records: Mapping[Kind, Mapping],
    figures: Mapping[Figure, bytes] = MappingProxyType({}),
) -> None:
    """Write the files of a job and its figures, then their sidecars.

    Parameters
    ----------
    job : Job
    files : mapping of kind to bytes
        Gzipped NIfTI files, and tables.
    records : mapping of kind to mapping
        What each sidecar says of the run: see `finished` for the keys that are read again. That
        of a table holds its columns, and nothing else.
    figures : mapping of figure to bytes
        Pictures, and gzipped NIfTI files for the viewer.
    """
    storage.clear(*job.folders)  # a worker may have been killed over it a moment ago
    for sidecar in job.sidecars.values():
        with storage.told_of(sidecar):
            sidecar.unlink(missing_ok=True)  # of an earlier run, whose file is about to go
    for kind, path in job.files.items():
        storage.write_bytes(path, files[kind])
    for kind, path in job.figures.items():
        storage.write_bytes(path, figures[kind])
    source = {
        "Sources": [f"bids:raw:{quote(job.scan.relative)}"],
        "SpatialReference": "orig",
    }
    for kind, path in job.sidecars.items():
        is_image = job.files[kind].suffix == ".gz"
        storage.write_json(path, (FIELDS[kind] | source if is_image else {}) | records[kind])


def finished(job: Job, parameters: Mapping[Kind, Mapping]) -> bool:
    """Tell whether all of a job is there, from this source and with these parameters.

    The source is the same if its size and time of change are, or else its hash.

    Parameters
    ----------
    job : Job
    parameters : mapping of kind to mapping
        The record's ``Parameters``: everything that decides the result.
    """
    if not all(path.is_file() for path in job.figures.values()):
        return False
    for kind, path in job.sidecars.items():
        try:
            record = storage.read_json(path)
            if not job.files[kind].is_file():
                return False
            if job.files[kind].suffix != ".gz":
                continue  # a table, whose mask tells
            before = record["SourceFile"]
            status = job.scan.path.stat()
            if record["Parameters"] != parameters[kind] or before["Bytes"] != status.st_size:
                return False
            if before["Modified"] != status.st_mtime_ns and before["SHA256"] != query.sha256(
                job.scan.path
            ):
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False  # absent, torn, or another program's: to be made
    return True
