# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: its scans and models, and the checks before any work.

For each scan: its analyses, and the names of its files. `results` writes and checks them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.models_asked import (
    at_hand,
    check_memory,
    choose_models,
    choose_thresholds,
    named_models,
    thresholds_asked,
)
from bids_brainmask.dataset import choices, choices_table, folders, ownership, query, storage
from bids_brainmask.dataset.choices import Choice
from bids_brainmask.dataset.query import Scan
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.models.registry import Model
from bids_brainmask.settings import EXPECTED_ML, HERE, Precision, Settings

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

    choices: Mapping[str, Choice] = field(default_factory=dict)
    """What is asked for this image, by analysis, in this run and before."""

    kept: str = ""
    """What of that earlier runs were asked, in words."""

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
            kind: storage.sidecar(path)
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

    chosen: Mapping[str, Choice] = field(default_factory=dict)
    """What is asked for one image, by analysis: see `of`."""

    def of(self, plan: ScanPlan) -> Run:
        """Give this run as it is for one image."""
        chosen = {name: one for name, one in plan.choices.items() if name in self.models}
        models = {name: one.model for name, one in chosen.items() if one.model}
        thresholds = {name: model.threshold for name, model in models.items()}
        thresholds |= {n: one.threshold for n, one in chosen.items() if one.threshold is not None}
        return replace(
            self,
            models={**self.models, **models},
            thresholds={**self.thresholds, **thresholds},
            chosen=chosen,
        )

    def border(self, name: str) -> float:
        """Distance by which the edge of the mask of an analysis is moved, mm."""
        if not catalog.analysis(name).has_border:
            return 0.0
        asked = self.chosen.get(name, choices.NOTHING).border
        return self.settings.border if asked is None else asked

    def precision(self, name: str) -> Precision:
        """Give the precision that is asked for the network of an analysis.

        A model without ranges for int8 runs in float32 then, which is also what ``auto`` means for
        it.
        """
        asked = self.chosen.get(name, choices.NOTHING).precision or self.settings.precision
        only_float32 = asked in ("float32", "int8") and not self.models[name].ranges
        return "auto" if only_float32 else cast("Precision", asked)

    def network(self, name: str) -> str:
        """Name the network of an analysis by its model and precision."""
        return f"{name} {self.models[name].sha256} {self.precision(name)}"

    def every_model(self) -> list[Model]:
        """List the models of all images."""
        found = {model.sha256: model for model in self.models.values()}
        for plan in self.plans:
            found |= {one.model.sha256: one.model for one in plan.choices.values() if one.model}
        return list(found.values())

    def needed(self, plan: ScanPlan) -> tuple[str, ...]:
        """List the analyses of a scan in order: its own, and those that they need."""
        asked = set(plan.analyses)
        for name in plan.analyses:
            asked |= set(catalog.analysis(name).needs(self.models.get(name)))
        return tuple(name for name in catalog.names() if name in asked)

    def models_of(self, plan: ScanPlan) -> list[Model]:
        """List the models that a scan is processed with."""
        run = self.of(plan)
        return [run.models[name] for name in run.needed(plan) if name in run.models]

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
            if border := self.border(name):
                found["Border"] = border
            expected = (self.settings.min_brain_volume, self.settings.max_brain_volume)
            if name == "brain" and expected != EXPECTED_ML:
                found["ExpectedVolume"] = list(expected)
            if self.settings.overlap and model.block:
                found["Overlap"] = True
            if self.settings.lesion_copies and catalog.analysis(name).candidates:
                found["LesionCopies"] = self.settings.lesion_copies
            if self.settings.tta or model.flips:
                found["TestTimeFlips"] = True
            if self.precision(name) != Settings.precision:
                found["Precision"] = self.precision(name)
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
    plans = choose(rated(plans, settings), settings, models)
    ownership.check_unclaimed(settings, ((plan.scan.participant, plan.claims) for plan in plans))
    needed = {name for plan in plans for name in plan.analyses}
    if not needed:
        raise NothingToDo(
            f"{settings.bids_dir}: none of {len(plans)} images is contrast-enhanced: expected a "
            "ce- entity, or ContrastBolusIngredient in the sidecar. --force-contrast treats all "
            "images as contrast-enhanced."
        )
    for name in tuple(needed):
        chosen = [plan.choices[name].model for plan in plans if name in plan.choices]
        for model in (models.get(name), *chosen):
            for other in catalog.analysis(name).needs(model):
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


def rated(plans: list[ScanPlan], settings: Settings) -> list[ScanPlan]:
    """Keep the scans with a verdict of ``--only``, if ratings are given.

    Raises
    ------
    UsageError, NothingToDo
        ``--only`` without ratings, a table that cannot be read, or no such scan.
    """
    if not settings.from_ratings:
        if settings.only != Settings.only:
            raise UsageError("--only needs ratings. Give their tables with --from-ratings.")
        return plans
    from bids_brainmask.dataset import readback
    from bids_brainmask.reports import ratings

    results = readback.read(settings.output_dir, settings.participant_label)
    said = ratings.decide(ratings.read(settings.from_ratings, results, "--from-ratings"))
    found = [plan for plan in plans if said.get(plan.scan.key) in settings.only]
    if not found:
        raise NothingToDo(
            f"--from-ratings: none of {len(plans)} images is rated {' or '.join(settings.only)}. "
            "Ratings of masks that have changed since do not count."
        )
    return found


def choose(
    plans: list[ScanPlan], settings: Settings, models: Mapping[str, Model]
) -> list[ScanPlan]:
    """Add what is asked for each scan: by the command, by ``--choices``, or by earlier runs.

    Raises
    ------
    UsageError
        The table of choices cannot be read.
    """
    now = choices.given(settings, named_models(settings), thresholds_asked(settings))
    memory = choices.Memory()
    rows: choices_table.Rows = {}
    if settings.choices:
        rows = choices_table.read(settings.choices, settings.bids_dir, memory)
    chosen = []
    for plan in plans:
        found: dict[str, Choice] = {}
        kept = []
        for name in catalog.with_model():
            path, before = plan.path(catalog.analysis(name).main), choices.NOTHING
            if not settings.reset_choices:
                before = memory.read(name, storage.sidecar(path), plan.record)
            before = choices_table.combine(rows.get((plan.scan.relative, name)), before)
            found[name] = before.updated(now[name], models.get(name))
            if said := found[name].words(now[name], models.get(name)):
                which = "" if name == catalog.names()[0] else f"{name} "
                kept.append(f"kept, as asked on {found[name].time[:10]}: {which}{said}")
        found = {name: one for name, one in found.items() if one}
        chosen.append(replace(plan, choices=found, kept="; ".join(kept)))
    return chosen


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
    """Name the figures of a scan: those of its analyses, and the viewer's images if wanted.

    These are wanted if the viewer is requested, or if they are there and it is not refused.
    """
    found: dict[str, Path] = {}
    folder = settings.output_dir / catalog.figure_folder(scan.prefix)
    for row in catalog.FIGURES:
        if not (settings.reports and analyses and row.made_by in ("", *analyses)):
            continue
        paths = {name: folder / row.file(scan.prefix, scan.suffix, name) for name in row.files}
        stays = settings.viewer is None and any(map(os.path.lexists, paths.values()))
        if settings.viewer or stays or not row.viewer:
            found |= paths
    return found
