# SPDX-License-Identifier: Apache-2.0
"""Start the worker processes of a run, assign tasks to them, and collect results."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brainmask import __version__, machine
from bids_brainmask.errors import BrainMaskError, UsageError, WorkerError
from bids_brainmask.execution import batch_system
from bids_brainmask.execution.task import Task, take_fitting
from bids_brainmask.models import memory
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.settings import HERE, Settings
from bids_brainmask.signals import postponed

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

log = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds without any worker after which a run stops, unless it is in a batch system."""

NONE = (
    "there has been no worker for {:.0f} s. Finished scans are kept. Check the workers' logs, and "
    "run the same command again."
)
"""Error message in that case."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it is used
"""Folder for temporary files if the usual one cannot be written to."""

POLL = 1.0
"""Longest time between two checks of the workers, s."""


class Workers:
    """The present worker processes and their tasks.

    Parameters
    ----------
    client : distributed.Client
    share : str
        Name of the `Share` that they have.
    keep : callable
        Called with the number of tasks; starts workers for them.
    patience : float
        Seconds without any worker after which a WorkerError is raised.
    given : float
        Memory that they share, GB; infinite where each has its own.
    predict : callable
        Memory that a task needs, GB.
    """

    def __init__(
        self,
        client: Client,
        share: str,
        keep: Callable[[int], None],
        patience: float,
        given: float = float("inf"),
        predict: Callable[[Task], float] = lambda _: 0.0,
    ):
        self.client, self.share, self.keep, self.patience = client, share, keep, patience
        self.given, self.predict = given, predict
        self.busy: dict[str, tuple[Task, Future]] = {}
        self.there: set[str] = set()
        self.since = time.monotonic()  # time of the last worker
        self.woken: queue.SimpleQueue = queue.SimpleQueue()

    def give(self, tasks: deque[Task]) -> None:
        """Give the first tasks that fit into memory to the idle workers."""
        from bids_brainmask.execution import dask_tasks

        for address in sorted(self.there - self.busy.keys()):
            used = sum(task.gb or 0 for task, _ in self.busy.values())
            task = take_fitting(tasks, used, self.given, self.predict)
            if task is None:
                return
            do: Callable[..., object] = dask_tasks.write_page
            what, more = task.what, {}
            if isinstance(task.what, ScanPlan):
                do, what, more = dask_tasks.do_scan, _portable(task.what), {"again": task.ends > 0}
            with _answers():
                future = self.client.submit(
                    do, self.share, what, **more, workers=[address], pure=False
                )
            self.busy[address] = task, future
            future.add_done_callback(self.woken.put)

    def results(self) -> Iterator[tuple[Task, Any]]:
        """Wait up to `POLL` seconds; yield the tasks that have ended, with their results.

        Yields
        ------
        task : Task
        result : object
            None if the worker has crashed.
        """
        with suppress(queue.Empty):
            self.woken.get(timeout=POLL)
            while True:
                self.woken.get_nowait()
        self.update()
        for address, (task, future) in list(self.busy.items()):
            result = None
            if future.done():
                result = self.fetch(future, address)
            elif address in self.there:
                continue
            del self.busy[address]
            if result is None:
                future.cancel()
                task.ends, task.last = task.ends + 1, address
                what = task.what.scan.relative if isinstance(task.what, ScanPlan) else task.what
                log.warning("the worker at %s ended while it processed %s", address, what)
            yield task, result

    def update(self) -> None:
        """Update the set of workers.

        Raises
        ------
        WorkerError
            There has been none for too long, or the scheduler does not answer.
        """
        with _answers():
            self.there = set(self.client.nthreads())
        if self.there:
            self.since = time.monotonic()
        elif time.monotonic() - self.since > self.patience:
            raise WorkerError(NONE.format(self.patience))

    def fetch(self, future: Future, address: str) -> Any:
        """Get the result of a task that has ended; None if it was lost with its worker.

        Raises
        ------
        BrainMaskError
            Raised by the worker; it concerns all scans.
        WorkerError
            The worker cannot run tasks of this package.
        """
        from distributed import CancelledError, KilledWorker

        try:
            return future.result(timeout=PATIENCE)
        except (KilledWorker, CancelledError, TimeoutError):
            return None
        except Exception as error:
            raise cannot(error, f"the worker at {address}") from error


def show_from(level: int) -> None:
    """Set the level from which messages of dask are shown; some of its loggers have their own."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(level)


@contextmanager
def _answers() -> Iterator[None]:
    """Report any error of the client as a scheduler that is gone.

    A client that cannot connect again closes itself, whatever its caller does meanwhile. Then it
    raises errors of several kinds, `AttributeError` among them.
    """
    try:
        yield
    except Exception as error:
        # The client is closing itself, and logs a traceback if it is closed meanwhile.
        show_from(logging.CRITICAL)
        raise WorkerError(
            f"the scheduler does not answer ({error}). Finished scans are kept."
        ) from error


def cannot(error: Exception, who: str) -> BrainMaskError:
    """Error for workers that cannot process scans; errors of this package stay as they are."""
    if isinstance(error, BrainMaskError):
        return error
    return WorkerError(
        f"{who} cannot process scans: {type(error).__name__}: {error}. Install bids-brainmask "
        f"{__version__}, the version of the driver, with its dependencies there."
    )


@contextmanager
def start(run: Run, count: int, threads: int) -> Iterator[Workers]:
    """Start workers, or connect to running ones, and send them the `Share` of the run.

    Parameters
    ----------
    run : Run
    count, threads : int
        Processes on this machine, and threads of each, for a local executor.

    Raises
    ------
    UsageError
        There is no such batch system, scheduler or configuration.
    WorkerError
        Processes cannot be started, or cannot process scans.
    """
    import dask.config
    from distributed import Client

    from bids_brainmask.execution import dask_tasks

    run, executor = portable(run), run.settings.executor
    keep, patience, own = lambda _: None, PATIENCE, ":" not in executor
    given = float("inf")
    if executor in HERE:
        given = machine.memory_gb() if run.settings.mem_gb is None else run.settings.mem_gb

    with ExitStack() as stack:
        show_from(batch_system.noise(run.settings))
        folder = stack.enter_context(scratch(run.settings))
        config = {
            "temporary-directory": str(folder),  # of this process
            "distributed.scheduler.http.routes": [],  # pages that show the names of scans
        }
        stack.enter_context(dask.config.set(config))
        if executor in batch_system.SYSTEMS:
            with postponed():
                jobs = stack.enter_context(closing(batch_system.Jobs(run)))
            there, keep, patience = jobs.cluster, jobs.keep, float("inf")
        elif own:
            there = stack.enter_context(local(run.settings, count, threads))
        else:
            there = executor
        try:
            client = stack.enter_context(Client(there, set_as_default=False))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--executor {executor}: the scheduler does not answer: {error}"
            ) from error
        share = dask_tasks.Share(run, own=own)
        try:
            if not own:  # registering fails only on workers that are present
                client.wait_for_workers(1, timeout=PATIENCE)
            client.register_plugin(share)
        except TimeoutError as error:
            raise WorkerError(NONE.format(PATIENCE)) from error
        except Exception as error:
            raise cannot(error, "a worker") from error
        try:
            yield Workers(client, share.name, keep, patience, given, partial(needed_gb, run))
        finally:
            if not own:
                with suppress(OSError, RuntimeError):  # the scheduler may have ended
                    client.unregister_worker_plugin(share.name)


def needed_gb(run: Run, task: Task) -> float:
    """Predict the memory of a task by the models of its image, GB; a page needs next to none."""
    if not isinstance(task.what, ScanPlan):
        return 0.0
    return memory.of_scan(task.what.scan.path, run.models_of(task.what))


@contextmanager
def local(settings: Settings, count: int, threads: int) -> Iterator[LocalCluster]:
    """Start processes on this machine; only they can connect to each other.

    Raises
    ------
    WorkerError
        The machine lacks shared memory or a loopback interface, for example.
    """
    check_shared_memory()
    from distributed import LocalCluster
    from distributed.security import Security

    log.info("%d processes, %d threads each", count, threads)
    started = None
    try:
        with ExitStack() as stack:
            # A signal during the constructor would leave its scheduler behind, and its files.
            with postponed():
                cluster = LocalCluster(
                    n_workers=0,  # they start below, where a signal is heard
                    threads_per_worker=threads,
                    host="127.0.0.1",
                    dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                    security=Security.temporary(),  # other users of this machine must not connect
                    memory_limit=None,  # the machine's: a large scan may need it all
                    silence_logs=batch_system.noise(settings),
                )
                stack.enter_context(cluster)
            cluster.scale(count)
            cluster.sync(cluster._correct_state)
            started = cluster
            yield cluster
    except (OSError, RuntimeError) as error:
        if started:
            raise
        raise WorkerError(f"no processes can be started on this machine: {error}") from error


def check_shared_memory() -> None:
    """Raise a `WorkerError` if processes cannot share a lock, which is in shared memory."""
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        raise WorkerError(
            f"no processes can be started on this machine: {SHARED_MEMORY} cannot be used "
            f"({error}). Mount it writable into the container, or add --executor serial."
        ) from error


@contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """Make a folder for dask's files, in the first place that can be written to.

    Raises
    ------
    WorkerError
        None of the places can be written to.
    """
    places = [SHARED_MEMORY, settings.output_dir]
    usual = None
    with suppress(FileNotFoundError):  # no folder for temporary files can be written to
        places.insert(0, usual := Path(tempfile.gettempdir()))
    for place in places:
        with suppress(OSError):
            folder = tempfile.TemporaryDirectory(
                prefix="bids_brainmask-", dir=place, ignore_cleanup_errors=True
            )
            break
    else:
        raise WorkerError(
            f"no folder can be made in {', '.join(map(str, places))}: free disk space"
        )
    with folder as name:
        if usual:
            yield Path(name)
            return
        # dask writes the keys of its connections to the temporary folder, in every process.
        before = os.environ.get("TMPDIR", "")
        os.environ["TMPDIR"] = tempfile.tempdir = name
        try:
            yield Path(name)
        finally:
            os.environ["TMPDIR"], tempfile.tempdir = before, None


def portable(run: Run) -> Run:
    """Make the paths of a run absolute, for processes with another working directory."""
    given = run.settings
    settings = replace(
        given,
        bids_dir=given.bids_dir.absolute(),
        output_dir=given.output_dir.absolute(),
        work_dir=given.work_dir and given.work_dir.absolute(),
    )
    models = {
        name: replace(model, path=model.path and model.path.absolute())
        for name, model in run.models.items()
    }
    return replace(run, settings=settings, models=models)


def _portable(plan: ScanPlan) -> ScanPlan:
    """Make the paths of a scan absolute."""
    files, figures = (
        {kind: path.absolute() for kind, path in paths.items()}
        for paths in (plan.files, plan.figures)
    )
    folder, log = plan.folder.absolute(), plan.log.absolute()
    return replace(plan, files=files, figures=figures, folder=folder, log=log)
