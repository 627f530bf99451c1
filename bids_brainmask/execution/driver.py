# SPDX-License-Identifier: Apache-2.0
"""Run scans in several processes: of this machine, of a batch system, or of a dask scheduler.

This process is the driver: it plans the scans, assigns them and collects the outcomes. Each worker
has one scan at a time, assigned by the driver, so that a crash can be attributed to the scan in
progress. Importing this module does not import dask.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

from bids_brainmask import app, machine
from bids_brainmask.app import Outcome
from bids_brainmask.errors import WorkerError
from bids_brainmask.execution import batch_system, dask_workers
from bids_brainmask.execution.dask_workers import Workers
from bids_brainmask.execution.task import Task
from bids_brainmask.models import backends
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.settings import HERE, Settings

log = logging.getLogger(__name__)

TRIES = 2
"""Workers that crash on one scan before the scan counts as failed."""

SCANS_EACH = 4
"""Scans for each process with ``auto``: a process takes seconds to start."""


def process(run: Run) -> Generator[Outcome, None, None]:
    """Process every scan that is not finished, with the executor of the settings.

    Yields
    ------
    Outcome
        One for each scan, in the order in which they end.

    Raises
    ------
    UsageError
        There is no such batch system, scheduler or configuration, or it provides no workers.
    WorkerError
        The workers cannot process scans, or there are none any more.
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
    log.info("%d of %d images are to be processed", left, len(settled))
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
                log.warning("%s: the scans run in this process", error)
        yield from work(run, settled, workers) if workers else app.process(run, settled)


def workers(run: Run, scans: int) -> str:
    """Say where some scans are processed."""
    settings = run.settings
    if settings.executor in batch_system.SYSTEMS:
        return f"up to {settings.max_jobs} jobs of {settings.executor}"
    if settings.executor not in HERE:
        return f"workers of {settings.executor}"
    count = 1 if settings.executor == "serial" else processes(run, scans)
    each = threads(run) // count
    return f"{count} process{'es' * (count > 1)} of {each} thread{'s' * (each > 1)}"


def threads(run: Run) -> int:
    """Count the processor threads that a run may use on this machine."""
    return run.settings.n_cpus or machine.cpus()


def processes(run: Run, scans: int) -> int:
    """Count the processes on this machine for some scans.

    Limited by the threads, the scans, and the memory of the largest model in each process.
    ``auto`` also requires `SCANS_EACH` scans for each process, and uses a GPU with one process.
    """
    settings = run.settings
    if settings.executor == "auto":
        if settings.engine != "openvino" and backends.gpu_present():
            return 1
        scans //= SCANS_EACH
    memory = machine.memory_gb() if settings.mem_gb is None else settings.mem_gb
    fit = int(memory / max(model.memory_gb for model in run.every_model()))
    return max(1, min(threads(run), fit, scans))


def work(
    run: Run, settled: list[tuple[ScanPlan, Outcome | None]], workers: Workers
) -> Iterator[Outcome]:
    """Give the workers the open scans, and a participant's page after its last scan."""
    for model in run.models.values():
        if model.notice:
            log.warning("%s: %s", model.name, model.notice)
    pages = app.Pages(run)
    tasks: deque[Task] = deque(Task(plan) for plan, outcome in settled if not outcome)

    def end(outcome: Outcome, add: Callable[[Task], None] = tasks.appendleft) -> Outcome:
        if participant := pages.due(outcome):
            add(Task(participant))
        return outcome

    yield from (end(outcome, tasks.append) for _, outcome in settled if outcome)
    while tasks or workers.busy:
        workers.keep(len(tasks) + len(workers.busy))
        workers.give(tasks)
        for task, result in workers.results():
            plan = task.what if isinstance(task.what, ScanPlan) else None
            if result is None and task.ends < TRIES:
                tasks.appendleft(task)
            elif plan and result is None:
                yield end(app.failure(plan, lost(task, run.settings), run))
            elif plan:
                yield end(Outcome(plan, *result))
            elif result is None or result:
                log.error("sub-%s: %s", task.what, result or lost(task, run.settings))


def lost(task: Task, settings: Settings) -> WorkerError:
    """Error for a task on which workers have crashed, with advice."""
    help_ = "set more memory or time in --cluster-config"
    if settings.executor in HERE:
        help_ = "run fewer at once with a smaller --n-cpus, or --executor serial"
    elif settings.executor not in batch_system.SYSTEMS:
        help_ = "start workers with more memory"
    return WorkerError(
        f"{task.ends} workers ended while they processed it, the last at {task.last}. Usually "
        f"memory or the time of the job runs out: {help_}. The same command tries again."
    )
