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
from urllib.parse import quote

from bids_brainmask import machine
from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import query, storage
from bids_brainmask.dataset.query import Scan
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.models import registry
from bids_brainmask.models.registry import Model
from bids_brainmask.settings import HERE, Settings


@dataclass(frozen=True)
class ScanPlan:
    """A scan, the analyses to carry out, and the files to write."""

    scan: Scan
    analyses: tuple[str, ...]
    files: Mapping[str, Path]
    """By the names of outputs."""

    refusal: str = ""
    """Why an analysis that was asked for is not carried out; empty: none was refused."""

    figures: Mapping[str, Path] = field(default_factory=dict)
    """What its report shows, by the names of figures' files; none without reports."""

    @property
    def sidecars(self) -> dict[str, Path]:
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
    models: Mapping[str, Model]
    """By analysis; none for those that have no model."""

    thresholds: Mapping[str, float]
    plans: list[ScanPlan]
    command: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))
    """The command line, which worker processes do not have."""

    def needed(self, plan: ScanPlan) -> tuple[str, ...]:
        """Analyses to carry out for a scan, in order: its own, and those that they need."""
        asked = set(plan.analyses)
        for name in plan.analyses:
            asked |= set(catalog.analysis(name).needs(self.models.get(name)))
        return tuple(name for name in catalog.names() if name in asked)

    def of_analysis(self, name: str) -> dict:
        """All that decides an analysis's result, beside the source image."""
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
            if self.settings.overlap and model.block:
                found["Overlap"] = True
            if self.settings.tta or model.flips:
                found["TestTimeFlips"] = True
            if self.settings.precision != Settings.precision:
                found["Precision"] = self.settings.precision
        return found | catalog.analysis(name).parameters(model, self.of_analysis)

    def parameters(self, plan: ScanPlan) -> dict[str, dict]:
        """All that decides each file of a scan, beside the source image."""
        found = {}
        for kind in plan.files:
            made_by = catalog.output(kind).made_by
            each = {name: self.of_analysis(name) for name in made_by}
            found[kind] = each if len(each) > 1 else each[made_by[0]]
        return found

    def log(self, plan: ScanPlan) -> Path:
        """Where a scan's messages go; crash records lie beside it, their names begin alike."""
        folder = self.settings.output_dir / "logs" / f"sub-{plan.scan.participant}"
        return folder / f"{plan.scan.prefix}_{plan.scan.suffix}.log"


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
    plans = [plan_scan(scan, settings) for scan in query.find_scans(settings)]
    needed = {name for plan in plans for name in plan.analyses}
    if not needed:
        raise NothingToDo(
            f"{settings.bids_dir}: none of {len(plans)} images is contrast-enhanced, by its ce- "
            "entity or ContrastBolusIngredient; --force-contrast takes them to be."
        )
    for name in tuple(needed):
        for other in catalog.analysis(name).needs(models.get(name)):
            models.setdefault(other, registry.resolve("auto", task=other))
            needed.add(other)
    models = {name: at_hand(model) for name, model in models.items() if name in needed}
    if settings.executor in HERE:
        for model in models.values():
            check_memory(settings.mem_gb, model)
    return Run(settings, models, choose_thresholds(settings, models), plans)


def plan_scan(scan: Scan, settings: Settings) -> ScanPlan:
    """Choose the analyses of a scan: those asked for, as far as they apply to it.

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
    seen = replace(scan, contrast=scan.contrast or settings.force_contrast)
    refused = {row.name: row.refuse(seen) for row in catalog.ANALYSES}
    asked = catalog.names() if "auto" in settings.analyses else settings.analyses
    chosen = [name for name in catalog.names() if name in asked and not refused[name]]
    reasons = [refused[name] for name in catalog.names() if name in settings.analyses]
    return name_files(scan, settings, tuple(chosen), "; ".join(filter(None, reasons)))


def choose_models(settings: Settings) -> dict[str, Model]:
    """Find the model of each analysis that may be done.

    Raises
    ------
    UsageError
        Two models for one analysis, one for an analysis that is not asked for, or one that is
        said to be for another task than it is.
    ModelError
        There is no such model or file.
    """
    known = tuple(row.name for row in catalog.ANALYSES if row.has_model)
    possible = known if "auto" in settings.analyses else settings.analyses
    models: dict[str, Model] = {}
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
    for analysis in set(possible) & set(known):
        models.setdefault(analysis, registry.resolve("auto", task=analysis))
    return models


def at_hand(model: Model) -> Model:
    """Find a model's file, whole, before any work is begun; it is not hashed again."""
    return model if model.path else replace(model, path=registry.find(model.name))


def main_analysis(settings: Settings) -> str:
    """Name the analysis that an option is for which names none."""
    asked = set(settings.analyses) - {"auto"}
    return asked.pop() if len(asked) == 1 else catalog.names()[0]


def choose_thresholds(settings: Settings, models: Mapping[str, Model]) -> dict[str, float]:
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
    scan: Scan, settings: Settings, analyses: tuple[str, ...], refusal: str = ""
) -> ScanPlan:
    """Name what a scan will become: ``<source entities>_desc-brain_mask.nii.gz`` and so on."""
    folder = settings.output_dir / scan.folder
    files = {
        row.name: folder / row.file(scan.prefix, scan.suffix)
        for row in catalog.OUTPUTS
        if set(row.made_by) <= set(analyses) and (not row.option or row.option in settings.outputs)
    }
    return ScanPlan(scan, analyses, files, refusal, _figures(scan, settings, analyses))


def _figures(scan: Scan, settings: Settings, analyses: tuple[str, ...]) -> dict[str, Path]:
    """Name the figures of a scan: those of its analyses, and the viewer's volumes where asked."""
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


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.split(".")[0] + ".json")


def write_results(
    plan: ScanPlan,
    files: Mapping[str, bytes],
    records: Mapping[str, Mapping],
    figures: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write the files of a scan and its figures, then their sidecars.

    Parameters
    ----------
    plan : ScanPlan
    files : mapping of kind to bytes
        Gzipped NIfTI files, and tables.
    records : mapping of kind to mapping
        What each sidecar says of the run: see `finished` for the keys that are read again. That
        of a table holds its columns, and nothing else.
    figures : mapping of figure to bytes
        Pictures, and gzipped NIfTI files for the viewer.
    """
    storage.clear(*plan.folders)  # a worker may have been killed over it a moment ago
    for sidecar in plan.sidecars.values():
        with storage.told_of(sidecar):
            sidecar.unlink(missing_ok=True)  # of an earlier run, whose file is about to go
    for kind, path in plan.files.items():
        storage.write_bytes(path, files[kind])
    for kind, path in plan.figures.items():
        storage.write_bytes(path, figures[kind])
    source = {
        "Sources": [f"bids:raw:{quote(plan.scan.relative)}"],
        "SpatialReference": "orig",
    }
    for kind, path in plan.sidecars.items():
        is_image = plan.files[kind].suffix == ".gz"
        always = dict(catalog.output(kind).sidecar) | source if is_image else {}
        storage.write_json(path, always | records[kind])


def finished(plan: ScanPlan, parameters: Mapping[str, Mapping]) -> bool:
    """Tell whether all of a scan is there, from this source and with these parameters.

    The source is the same if its size and time of change are, or else its hash.

    Parameters
    ----------
    plan : ScanPlan
    parameters : mapping of kind to mapping
        The record's ``Parameters``: everything that decides the result.
    """
    if not all(path.is_file() for path in plan.figures.values()):
        return False
    for kind, path in plan.sidecars.items():
        try:
            record = storage.read_json(path)
            if not plan.files[kind].is_file():
                return False
            if plan.files[kind].suffix != ".gz":
                continue  # a table, whose mask tells
            before = record["SourceFile"]
            status = plan.scan.path.stat()
            if record["Parameters"] != parameters[kind] or before["Bytes"] != status.st_size:
                return False
            if before["Modified"] != status.st_mtime_ns and before["SHA256"] != query.sha256(
                plan.scan.path
            ):
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False  # absent, torn, or another program's: to be made
    return True
