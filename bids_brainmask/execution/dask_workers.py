# SPDX-License-Identifier: Apache-2.0
"""The worker processes of a run: where they come from, and what each does."""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brainmask import __version__
from bids_brainmask.errors import BrainMaskError, UsageError, WorkerError
from bids_brainmask.execution import batch_system
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.settings import Settings

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds without any worker after which local ones and those of an address are given up."""

NONE = (
    "there has been no worker for {:.0f} s. Finished scans are kept; look at what the workers' "
    "logs say, and give the same command again."
)
"""What is said then."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it is used
"""Where files can be put for a while, if not where temporary files belong."""

LOOK = 1.0
"""Longest time between two looks at which workers there are, s."""


@dataclass
class Task:
    """What a worker does at a time: a scan, or the page of a participant."""

    what: ScanPlan | str
    ends: int = 0
    """Workers that ended over it so far."""

    last: str = ""
    """Where the last of them was."""


class Workers:
    """The worker processes that there are, and what each of them is doing.

    Parameters
    ----------
    client : distributed.Client
    share : str
        Name of what they have been sent.
    keep : callable
        Is told how many tasks there are, and sees to it that there are workers.
    patience : float
        Seconds without any worker after which there is no more hope.
    """

    def __init__(self, client: Client, share: str, keep: Callable[[int], None], patience: float):
        self.client, self.share, self.keep, self.patience = client, share, keep, patience
        self.busy: dict[str, tuple[Task, Future]] = {}
        self.there: set[str] = set()
        self.since = time.monotonic()  # when there was a worker last
        self.woken: queue.SimpleQueue = queue.SimpleQueue()

    def give(self, tasks: deque[Task]) -> None:
        """Give the first tasks to the workers that have none."""
        from bids_brainmask.execution import dask_tasks

        for address in sorted(self.there - self.busy.keys())[: len(tasks)]:
            task = tasks.popleft()
            do, what, more = dask_tasks.write_page, task.what, {}
            if isinstance(task.what, ScanPlan):
                do, what, more = dask_tasks.do_scan, _portable(task.what), {"again": task.ends > 0}
            future = self.client.submit(
                do, self.share, what, **more, workers=[address], pure=False
            )
            self.busy[address] = task, future
            future.add_done_callback(self.woken.put)

    def results(self) -> Iterator[tuple[Task, object]]:
        """Wait a little, and give the tasks that have ended, with their results.

        Yields
        ------
        task : Task
        result : object
            None where the worker has ended over it.
        """
        with suppress(queue.Empty):
            self.woken.get(timeout=LOOK)
            while True:
                self.woken.get_nowait()
        self.look()
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
                log.warning("the worker at %s ended while it worked on %s", address, what)
            yield task, result

    def look(self) -> None:
        """See which workers there are.

        Raises
        ------
        WorkerError
            There has been none for too long, or the scheduler is gone.
        """
        try:
            self.there = set(self.client.nthreads())
        except (OSError, RuntimeError) as error:
            raise WorkerError(f"the scheduler is gone ({error}). Finished scans stay.") from error
        if self.there:
            self.since = time.monotonic()
        elif time.monotonic() - self.since > self.patience:
            raise WorkerError(NONE.format(self.patience))

    def fetch(self, future: Future, address: str):
        """Give the result of a task that has ended; None where it went with its worker.

        Raises
        ------
        BrainMaskError
            As raised by the worker, of what concerns all scans.
        WorkerError
            The worker cannot do it at all.
        """
        from distributed import CancelledError, KilledWorker

        try:
            return future.result(timeout=PATIENCE)
        except (KilledWorker, CancelledError, TimeoutError):
            return None
        except Exception as error:
            raise cannot(error, f"the worker at {address}") from error


def cannot(error: Exception, who: str) -> BrainMaskError:
    """Say why workers cannot do scans, unless the error says it well."""
    if isinstance(error, BrainMaskError):
        return error
    return WorkerError(
        f"{who} cannot do scans: {type(error).__name__}: {error}. "
        f"It wants bids-brainmask {__version__}, as is here, and its dependencies."
    )


@contextmanager
def start(run: Run, count: int, threads: int) -> Iterator[Workers]:
    """Start workers, or find those that there are, and send them what all scans need.

    Parameters
    ----------
    run : Run
    count, threads : int
        Processes on this machine, and threads of each, where they are to be on this machine.

    Raises
    ------
    UsageError
        There is no such batch system, scheduler or configuration.
    WorkerError
        Processes cannot be started here, or cannot do scans there.
    """
    import dask.config
    from distributed import Client

    from bids_brainmask.execution import dask_tasks

    run, executor = portable(run), run.settings.executor
    keep, patience, own = lambda _: None, PATIENCE, ":" not in executor
    with ExitStack() as stack:
        logging.getLogger("distributed").setLevel(batch_system.noise(run.settings))
        folder = stack.enter_context(scratch(run.settings))
        config = {
            "temporary-directory": str(folder),  # of this process
            "distributed.scheduler.http.routes": [],  # pages that tell the names of scans
        }
        stack.enter_context(dask.config.set(config))
        if executor in batch_system.SYSTEMS:
            jobs = stack.enter_context(closing(batch_system.Jobs(run)))
            there, keep, patience = jobs.cluster, jobs.keep, float("inf")
        elif own:
            there = stack.enter_context(local(run.settings, count, threads))
        else:
            there = executor
        try:
            client = stack.enter_context(Client(there, set_as_default=False))
        except (OSError, ValueError) as error:
            raise UsageError(f"--executor {executor}: no scheduler answers: {error}") from error
        share = dask_tasks.Share(run, own=own)
        try:
            if not own:  # whether they can take it is told by those that are there
                client.wait_for_workers(1, timeout=PATIENCE)
            client.register_plugin(share)
        except TimeoutError as error:
            raise WorkerError(NONE.format(PATIENCE)) from error
        except Exception as error:
            raise cannot(error, "a worker") from error
        try:
            yield Workers(client, share.name, keep, patience)
        finally:
            if not own:
                with suppress(OSError, RuntimeError):  # where the scheduler is gone, too
                    client.unregister_worker_plugin(share.name)


def local(settings: Settings, count: int, threads: int):
    """Start processes on this machine, which listen to none but each other.

    Raises
    ------
    WorkerError
        It has no place for them, such as shared memory or a loopback interface.
    """
    from distributed import LocalCluster
    from distributed.security import Security

    log.info("%d processes, %d threads each", count, threads)
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=threads,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            security=Security.temporary(),  # other users of this machine must not get in
            memory_limit=None,  # the machine's, as for one process; a big scan may need it
            silence_logs=batch_system.noise(settings),
        )
    except (OSError, RuntimeError) as error:
        raise WorkerError(f"no processes can be started here: {error}") from error


@contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """Make a folder for what dask puts on the disk, wherever one can be made.

    Raises
    ------
    WorkerError
        It can be made nowhere.
    """
    places = [SHARED_MEMORY, settings.output_dir]
    usual = None
    with suppress(FileNotFoundError):  # no place for temporary files can be written to
        places.insert(0, usual := Path(tempfile.gettempdir()))
    for place in places:
        with suppress(OSError):
            folder = tempfile.TemporaryDirectory(
                prefix="bids_brainmask-", dir=place, ignore_cleanup_errors=True
            )
            break
    else:
        raise WorkerError(f"no folder can be made in {', '.join(map(str, places))}: make room")
    with folder as name:
        if usual:
            yield Path(name)
            return
        # dask writes the keys of its connections to the usual place, in every process.
        before = os.environ.get("TMPDIR", "")
        os.environ["TMPDIR"] = tempfile.tempdir = name
        try:
            yield Path(name)
        finally:
            os.environ["TMPDIR"], tempfile.tempdir = before, None


def portable(run: Run) -> Run:
    """Make the paths of a run hold in processes that have another working directory."""
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
    """Make the paths of a scan hold there, too."""
    files, figures = (
        {kind: path.absolute() for kind, path in paths.items()}
        for paths in (plan.files, plan.figures)
    )
    return replace(plan, files=files, figures=figures)
