# SPDX-License-Identifier: Apache-2.0
"""What a run prints: at its start what it will do, at its end what to look at and to do next."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import bids_brainmask
from bids_brainmask.app import Outcome
from bids_brainmask.execution import driver
from bids_brainmask.models import backends
from bids_brainmask.plan import Run
from bids_brainmask.settings import HERE, RESEARCH_ONLY

ORDER = ("failed", "refused", "done", "skipped")
"""Statuses in the order of the closing table."""


def at_start(run: Run) -> list[str]:
    """Describe a run in lines: version, input, output, models, engine and workers."""
    settings, plans = run.settings, run.plans
    kinds = Counter(
        f"{plan.scan.suffix}{' with contrast agent' * plan.scan.contrast}" for plan in plans
    )
    images = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    people = len({plan.scan.participant for plan in plans})
    before = sum(all(map(os.path.lexists, plan.files.values())) for plan in plans)
    kept = f"{many(before, 'image')} with results from an earlier run"
    if before:
        kept += "; they are made again" if settings.overwrite else "; what is up to date is kept"
    models = [f"{name}: {model.name} {model.version}" for name, model in run.models.items()]
    chosen = sum(bool(plan.kept) for plan in plans)
    remembered = [f"choices: {many(chosen, 'image')} as asked in earlier runs"] if chosen else []
    return [
        f"bids-brainmask {bids_brainmask.__version__}",
        f"input: {settings.bids_dir}, {many(people, 'participant')}, images: {images}",
        f"output: {settings.output_dir}, {kept}",
        f"models for {', '.join(models)}",
        f"engine: {engine(run)}; {driver.workers(run, len(plans) - before)}",
        *remembered,
    ]


def engine(run: Run) -> str:
    """Name the backend and its precision, without importing it."""
    settings = run.settings
    name: str = settings.engine
    if settings.executor not in HERE:
        name = "chosen by each worker" if name == "auto" else name
        return f"{name}, precision {settings.precision}"
    if name == "auto":
        name = "tensorflow" if backends.gpu_present() else "openvino"
    used = {
        key: backends.precision_of(model, name, run.precision(key))
        for key, model in run.models.items()
    }
    if len(set(used.values())) == 1:
        return f"{name}, {next(iter(used.values()))}"
    return f"{name}, " + ", ".join(f"{precision} for {key}" for key, precision in used.items())


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """List the images to look at: those that failed or were refused, then those with a remark."""
    shown = [outcome for outcome in outcomes if outcome.remarkable]
    shown.sort(key=lambda outcome: (ORDER.index(outcome.status), outcome.plan.scan.relative))
    if not shown:
        return []
    width = max(len(outcome.plan.scan.relative) for outcome in shown)
    rows = [(outcome.plan.scan.relative, outcome.status, outcome.detail) for outcome in shown]
    return [
        f"{name:{width}}  {status:7}  {' '.join(detail.split())}"
        for name, status, detail in [("image", "status", "detail"), *rows]
    ]


def counts(outcomes: Iterable[Outcome]) -> str:
    """Count the images by what became of them."""
    found: Counter[str] = Counter(outcome.status for outcome in outcomes)
    shown = [s for s in ("done", "skipped", "failed", "refused") if found[s] or s != "refused"]
    return ", ".join(f"{found[status]} {status}" for status in shown)


def after_participants(run: Run, outcomes: Sequence[Outcome]) -> list[str]:
    """Say where the pages are, and which command comes next."""
    settings, lines = run.settings, []
    out = settings.output_dir
    if settings.reports:
        labels = sorted({plan.scan.participant for plan in run.plans})
        pages = [path for label in labels if os.path.lexists(path := out / f"sub-{label}.html")]
        more = f" and {len(pages) - 1} more" if len(pages) > 1 else ""
        lines += [f"reports: {path}{more}" for path in pages[:1]]  # on a full disk there are none
    failed = any(outcome.status == "failed" for outcome in outcomes)
    if failed:
        lines.append(f"next: read the reasons above or in {out / 'logs'}, and run it again")
    elif len(outcomes) > 1:
        lines.append(f"next: {command(settings.bids_dir, out, 'group')}")
    return lines


def after_group(written: Sequence[Path]) -> list[str]:
    """List the files that the group level wrote, and say what to open."""
    pages = [path for path in written if path.suffix == ".html"]
    return [*map(str, written), *(f"next: open {path} in a browser" for path in pages)]


def at_end(run: Run, outcomes: Sequence[Outcome]) -> list[str]:
    """Lines for the end of the participant level; with ``--quiet`` only the table."""
    shown = table(outcomes)
    if run.settings.quiet:
        return shown
    return [
        "",
        *shown,
        RESEARCH_ONLY,
        counts(outcomes),
        *after_participants(run, outcomes),
    ]


def command(*words: str | Path) -> str:
    """Spell a command of the app for a shell."""
    return shlex.join(["bids-brainmask", *map(str, words)])


def many(count: int, noun: str) -> str:
    """Count things: 1 image, 2 images."""
    return f"{count} {noun}{'s' * (count != 1)}"
