# SPDX-License-Identifier: Apache-2.0
"""Scans in several processes: of this machine, of a batch system, or of a dask that runs.

The driver, this process, knows the whole: what is finished, what is next, what became of it. The
workers do scans. Each has one at a time, chosen for it by the driver, so that a worker's end is
laid to the scan that it worked on and to no other. Importing this imports no dask.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack

from bids_brainmask import app, machine
from bids_brainmask.app import Outcome
from bids_brainmask.errors import WorkerError
from bids_brainmask.execution import batch_system, dask_workers
from bids_brainmask.execution.dask_workers import Task, Workers
from bids_brainmask.models import backends
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.settings import HERE, Settings

log = logging.getLogger(__name__)

TRIES = 2
"""Workers that may end over one scan; it is then taken to be the reason."""

SCANS_EACH = 4
"""Scans that a process must have to do before ``auto`` starts it: it takes seconds to start."""


def process(run: Run) -> Generator[Outcome, None, None]:
    """Do every scan that is not done yet, wherever the settings want it done.

    Yields
    ------
    Outcome
        One a scan, as they end.

    Raises
    ------
    UsageError
        There is no such batch system, scheduler or configuration, or no workers come of it.
    WorkerError
        The workers cannot do scans, or there are none any more.
    """
    settings = run.settings
    batch_system.check(settings)
    auto = settings.executor == "auto"
    if settings.executor == "serial" or (auto and processes(run, len(run.plans)) == 1):
        yield from app.process(run)
        return
    app.begin(settings)
    settled = list(app.settle(run))
    left = sum(outcome is None for _, outcome in settled)
    log.info("%d of %d images are to be done", left, len(settled))
    count = processes(run, left)
    with ExitStack() as stack:
        workers = None
        if left and not (auto and count == 1):
            try:
                workers = stack.enter_context(
                    dask_workers.start(run, count, threads(run) // count)
                )
            except WorkerError as error:
                if not auto:
                    raise
                log.warning("%s: this process does the work", error)
        yield from work(run, settled, workers) if workers else app.process(run, settled)


def threads(run: Run) -> int:
    """Tell how many processor threads a run may take of this machine."""
    return run.settings.n_cpus or machine.cpus()


def processes(run: Run, scans: int) -> int:
    """Tell in how many processes of this machine some scans are done: one, or more.

    As many as there are processors, scans, and pieces of memory that the largest model fits in;
    ``auto`` wants several scans for each, and leaves a GPU to one.
    """
    settings = run.settings
    if settings.executor == "auto":
        if settings.engine != "openvino" and backends.gpu_present():
            return 1
        scans //= SCANS_EACH
    memory = machine.memory_gb() if settings.mem_gb is None else settings.mem_gb
    fit = int(memory / max(model.memory_gb for model in run.models.values()))
    return max(1, min(threads(run), fit, scans))


def work(run: Run, settled: list, workers: Workers) -> Iterator[Outcome]:
    """Have the workers do what is left to do, and a participant's page after its last scan."""
    for model in run.models.values():
        if model.notice:
            log.warning("%s: %s", model.name, model.notice)
    pages = app.Pages(run)
    tasks: deque[Task] = deque(Task(plan) for plan, outcome in settled if not outcome)

    def end(outcome: Outcome, add=tasks.appendleft) -> Outcome:
        if participant := pages.due(outcome):
            add(Task(participant))
        return outcome

    yield from (end(outcome, tasks.append) for _, outcome in settled if outcome)
    while tasks or workers.busy:
        workers.keep(len(tasks) + len(workers.busy))
        workers.give(tasks)
        for task, result in workers.results():
            scan = isinstance(task.what, ScanPlan)
            if result is None and task.ends < TRIES:
                tasks.appendleft(task)
            elif scan and result is None:
                yield end(app.failure(task.what, lost(task, run.settings), run))
            elif scan:
                yield end(Outcome(task.what, *result))
            elif result is None or result:
                log.error("sub-%s: %s", task.what, result or lost(task, run.settings))


def lost(task: Task, settings: Settings) -> WorkerError:
    """Say that workers have ended over a task, and what may help."""
    help_ = "ask for more memory or time in --cluster-config"
    if settings.executor in HERE:
        help_ = "let fewer run at once: a smaller --n-cpus, or --executor serial"
    elif settings.executor not in batch_system.SYSTEMS:
        help_ = "start workers that have more"
    return WorkerError(
        f"{task.ends} workers ended while they worked on it, the last at {task.last}. Usually it "
        f"takes more memory than they have, or their job's time was over: {help_}. The same "
        "command tries again."
    )
