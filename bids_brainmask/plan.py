# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: its scans and models, and the checks before any work.

For each scan: its analyses, and the names of its files. `results` writes and checks them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bids_brainmask import machine
from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import folders, ownership, query, storage
from bids_brainmask.dataset.query import Scan
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.models import registry
from bids_brainmask.models.registry import Model
from bids_brainmask.settings import EXPECTED_ML, HERE, Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanPlan:
    """A scan, the analyses to carry out, and the files to write."""

    scan: Scan
    analyses: tuple[str, ...]
    files: Mapping[str, Path]
    """By the names of outputs."""

    refusal: str = ""
    """Reason why a requested analysis does not apply; empty: none was refused."""

    figures: Mapping[str, Path] = field(default_factory=dict)
    """Figures of its report, by the names of their files; none without reports."""

    folder: Path = Path()
    """Folder of its files."""

    reason: str = ""
    """Reason why results that are there are made again; empty: there are none."""

    log: Path = Path()
    """Its log. Crash records are beside it, and its `record`; their names begin with the same."""

    @property
    def record(self) -> Path:
        """What the last run tells of persons and machines; nothing else does."""
        return self.log.with_name(f"{self.log.stem}_run.json")

    @property
    def sidecars(self) -> dict[str, Path]:
        """Sidecar of each file that has one."""
        return {
            kind: sidecar(path)
            for kind, path in self.files.items()
            if catalog.output(kind).has_sidecar
        }

    def path(self, kind: str) -> Path:
        """Path of an output, whether it is to be written or not."""
        return self.folder / catalog.output(kind).file(self.scan.prefix, self.scan.suffix)

    def figure_path(self, name: str) -> Path:
        """Path of a figure's file, whether it is to be drawn or not."""
        root = self.folder.parents[len(self.scan.folder.parts) - 1]
        return root / catalog.figure_path(self.scan.prefix, self.scan.suffix, name)

    def everything(self) -> tuple[Path, ...]:
        """Paths of all outputs and figures, whether they are to be written or not."""
        outputs = tuple(self.path(row.name) for row in catalog.OUTPUTS)
        return (*outputs, *(self.figure_path(name) for name in catalog.figure_files()))

    def corrected(self, analyses: Collection[str]) -> ScanPlan:
        """Add the files of analyses whose masks are a person's: mask and automatic mask."""
        mains = [catalog.analysis(name).main for name in self.analyses if name in analyses]
        more = [*mains, *(f"{main}_automatic" for main in mains)]
        files = dict(self.files) | {kind: self.path(kind) for kind in more}
        order = [row.name for row in catalog.OUTPUTS if row.name in files]
        return replace(self, files={kind: files[kind] for kind in order})

    @property
    def claims(self) -> list[tuple[Path, Path]]:
        """Each file with the sidecar that says who made it.

        A table's own sidecar has only its columns, so that of the first file speaks for it.
        """
        found = self.sidecars
        return [
            (path, next(iter(found.values())) if catalog.output(kind).is_table else found[kind])
            for kind, path in self.files.items()
        ]

    @property
    def folders(self) -> set[Path]:
        """Folders of its files and figures."""
        return {path.parent for path in (*self.files.values(), *self.figures.values())}


@dataclass(frozen=True)
class Run:
    """All scans of a run, with the models and thresholds."""

    settings: Settings
    models: Mapping[str, Model]
    """By analysis; analyses without a model are absent."""

    thresholds: Mapping[str, float]
    plans: list[ScanPlan]
    command: tuple[str, ...] = ()
    """The command line without paths, for sidecars: workers have other settings."""

    typed: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))
    """The command line as it was given, for ``logs/``."""

    def needed(self, plan: ScanPlan) -> tuple[str, ...]:
        """List the analyses of a scan in order: its own, and those that they need."""
        asked = set(plan.analyses)
        for name in plan.analyses:
            asked |= set(catalog.analysis(name).needs(self.models.get(name)))
        return tuple(name for name in catalog.names() if name in asked)

    def of_analysis(self, name: str) -> dict:
        """Everything that determines the result of an analysis, besides the source image."""
        found = {}
        if model := self.models.get(name):
            found = {
                "Model": model.name,
                "ModelVersion": model.version,
                "ModelSHA256": model.sha256,
                "Threshold": self.thresholds[name],
            }
            if self.settings.border and catalog.analysis(name).has_border:
                found["Border"] = self.settings.border
            expected = (self.settings.min_brain_volume, self.settings.max_brain_volume)
            if name == "brain" and expected != EXPECTED_ML:
                found["ExpectedVolume"] = list(expected)
            if self.settings.overlap and model.block:
                found["Overlap"] = True
            if self.settings.tta or model.flips:
                found["TestTimeFlips"] = True
            if self.settings.precision != Settings.precision:
                found["Precision"] = self.settings.precision
        return found | catalog.analysis(name).parameters(model, self.of_analysis)

    def parameters(self, plan: ScanPlan) -> dict[str, dict]:
        """Everything that determines each file of a scan, besides the source image."""
        return {kind: self.parameters_of(kind) for kind in plan.files}

    def parameters_of(self, kind: str) -> dict:
        """Everything that determines a kind of file, besides the source image."""
        made_by = catalog.output(kind).made_by
        each = {name: self.of_analysis(name) for name in made_by}
        return each if len(each) > 1 else each[made_by[0]]


def prepare(settings: Settings) -> Run:
    """Find the scans and the models, and check that the run can be carried out.

    Raises
    ------
    UsageError, NothingToDo, ModelError
        Before any work.
    """
    asked = set(settings.analyses) - {"auto"}
    if asked != set(settings.analyses) and asked:
        raise UsageError(
            "--analyses: auto cannot be combined with other analyses. Give auto alone, or "
            "name the analyses."
        )
    if settings.viewer and not settings.reports:
        raise UsageError("--viewer: the viewer is part of the reports. Remove --no-reports.")
    low, high = settings.min_brain_volume, settings.max_brain_volume
    if low >= high:
        raise UsageError(
            f"--min-brain-volume {low:g} is not below --max-brain-volume {high:g}. Change one."
        )
    if settings.viewer:
        from bids_brainmask.reports import participant_page  # with NumPy, likewise

        participant_page.viewer_library()
    folders.check_order(settings)
    ownership.check_output_dir(settings)
    models = choose_models(settings)
    plans = [plan_scan(scan, settings) for scan in query.find_scans(settings)]
    ownership.check_unclaimed(settings, ((plan.scan.participant, plan.claims) for plan in plans))
    needed = {name for plan in plans for name in plan.analyses}
    if not needed:
        raise NothingToDo(
            f"{settings.bids_dir}: none of {len(plans)} images is contrast-enhanced: expected a "
            "ce- entity, or ContrastBolusIngredient in the sidecar. --force-contrast treats all "
            "images as contrast-enhanced."
        )
    for name in tuple(needed):
        for other in catalog.analysis(name).needs(models.get(name)):
            models.setdefault(other, catalog.analysis(other).model())
            needed.add(other)
    models = {name: at_hand(model) for name, model in models.items() if name in needed}
    if settings.executor in HERE:
        for model in models.values():
            check_memory(settings.mem_gb, model)
    thresholds = choose_thresholds(settings, models)
    return Run(settings, models, thresholds, plans, tuple(settings.command()))


def plan_scan(scan: Scan, settings: Settings) -> ScanPlan:
    """Choose the analyses of a scan: the requested ones that apply to it.

    Raises
    ------
    UsageError
        Its results would be outside of the output folder.
    """
    if ".." in scan.folder.parts:
        raise UsageError(
            f"{scan.relative}: the path leads out of the dataset. The index in "
            "--bids-database-dir is damaged or of another dataset. Remove it."
        )
    seen = replace(scan, contrast=scan.contrast or settings.force_contrast)
    refused = {row.name: row.refuse(seen) for row in catalog.ANALYSES}
    asked = catalog.names() if "auto" in settings.analyses else settings.analyses
    chosen = [name for name in catalog.names() if name in asked and not refused[name]]
    reasons = [refused[name] for name in catalog.names() if name in settings.analyses]
    return name_files(scan, settings, tuple(chosen), "; ".join(filter(None, reasons)))


def choose_models(settings: Settings) -> dict[str, Model]:
    """Find the model of each possible analysis.

    Raises
    ------
    UsageError
        Two models for one analysis, a model for an analysis that is not requested, or
        ``ANALYSIS=`` with a model for another analysis.
    ModelError
        There is no such model or file.
    """
    known = catalog.with_model()
    possible = known if "auto" in settings.analyses else settings.analyses
    models: dict[str, Model] = {}
    for word in settings.model:
        named, equals, name = word.partition("=")
        if not equals or named not in known:
            named, name = "", word
        if name == "auto":
            continue
        analysis = named or main_analysis(settings)
        model = catalog.analysis(analysis).model(name, allow_unverified=settings.allow_unverified)
        if named and model.task != named:
            raise UsageError(
                f"--model {word}: expected a model for {named}, but {name} is for {model.task}."
            )
        if model.task not in known:
            raise UsageError(
                f"--model {word}: a model for {model.task!r}; expected one for "
                f"{' or '.join(known)}."
            )
        if model.task in models:
            raise UsageError(
                f"--model: {models[model.task].name} and {model.name} are both for {model.task}. "
                "Give one model per analysis; meningioma=FILE states the analysis of a file."
            )
        if model.task not in possible:
            raise UsageError(
                f"--model {word}: this model is for {model.task}, which is not in --analyses."
            )
        models[model.task] = model
    for analysis in set(possible) & set(known):
        models.setdefault(analysis, catalog.analysis(analysis).model())
    return models


def at_hand(model: Model) -> Model:
    """Find a model's file, and verify it once, before any work."""
    return model if model.path else replace(model, path=registry.find(model.name))


def main_analysis(settings: Settings) -> str:
    """Return the analysis of an option that does not name one."""
    asked = set(settings.analyses) - {"auto"}
    return asked.pop() if len(asked) == 1 else catalog.names()[0]


def choose_thresholds(settings: Settings, models: Mapping[str, Model]) -> dict[str, float]:
    """Threshold of each analysis: the given one, or the model's own."""
    asked = {analysis or main_analysis(settings): value for analysis, value in settings.threshold}
    return {analysis: asked.get(analysis, model.threshold) for analysis, model in models.items()}


def check_memory(mem_gb: float | None, model: Model) -> None:
    """Raise a `UsageError` if the model needs more memory than the run may use."""
    given = machine.memory_gb() if mem_gb is None else mem_gb
    if given < model.memory_gb:
        raise UsageError(
            f"--mem-gb: {given:.1f} GB are available, but {model.name} needs {model.memory_gb:g} "
            "GB for a scan. Give more memory, or choose a smaller model (brainmask models list)."
        )


def name_files(
    scan: Scan, settings: Settings, analyses: tuple[str, ...], refusal: str = ""
) -> ScanPlan:
    """Name the output files of a scan: ``<source entities>_desc-brain_mask.nii.gz`` and so on."""
    folder = settings.output_dir / scan.folder
    files = {
        row.name: folder / row.file(scan.prefix, scan.suffix)
        for row in catalog.OUTPUTS
        if set(row.made_by) <= set(analyses)
        and (not row.option or row.option in settings.outputs)
        and not row.automatic
    }
    figures = _figures(scan, settings, analyses)
    logs = settings.output_dir / "logs" / f"sub-{scan.participant}"
    log = logs / f"{storage.shortened(f'{scan.prefix}_{scan.suffix}')}.log"
    return ScanPlan(scan, analyses, files, refusal, figures, folder, log=log)


def _figures(scan: Scan, settings: Settings, analyses: tuple[str, ...]) -> dict[str, Path]:
    """Name the figures of a scan: those of its analyses, and the viewer's images if requested."""
    wanted = [
        name
        for row in catalog.FIGURES
        if settings.reports
        and (settings.viewer or not row.viewer)
        and (row.made_by in analyses or (analyses and not row.made_by))
        for name in row.files
    ]
    return {
        name: settings.output_dir / catalog.figure_path(scan.prefix, scan.suffix, name)
        for name in wanted
    }


def sidecar(path: Path) -> Path:
    """Path of the sidecar of a file."""
    return path.with_name(path.name.split(".")[0] + ".json")
