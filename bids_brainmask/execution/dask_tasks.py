# SPDX-License-Identifier: Apache-2.0
"""Tasks of a dask worker for `bids_brainmask.execution.driver`: scans and participants' pages.

Imported only when dask is used.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from distributed import Worker, WorkerPlugin, get_worker

from bids_brainmask import __version__, app, machine
from bids_brainmask.errors import WorkerError
from bids_brainmask.models import registry
from bids_brainmask.models.model import Model
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.results import files
from bids_brainmask.settings import LOG_LEVELS

log = logging.getLogger(__name__)

AGAIN = "finished by a worker that ended before it reported"
"""Detail of a scan that a worker had finished before it crashed."""


class Share(WorkerPlugin):
    """Data that all scans of a run share, sent once to each worker process.

    Parameters
    ----------
    run : Run
        Its scans are left out; its paths must exist on the workers.
    own : bool
        The workers were started for this run only.
    """

    def __init__(self, run: Run, *, own: bool):
        self.name = f"bids-brainmask-{uuid.uuid4().hex}"  # several runs may share a scheduler
        self.version = __version__
        self.run = replace(run, plans=[])
        self.own = own
        self.networks: dict = {}
        self.ready = False

    def setup(self, worker: Worker) -> None:
        """Store the worker's number of threads, tune it, and switch off unused functions of dask.

        A backend keeps its memory for the next scan, so a worker must not pause when memory is
        full; its nanny ends it if it exceeds its limit. dask's profiler samples a hundred times
        a second, and its result is not used.
        """
        self.threads = worker.state.nthreads
        if self.own:
            machine.tune_python()
            machine.keep_freed_memory()
            worker.memory_manager.memory_pause_fraction = False
            worker.memory_manager.memory_spill_fraction = False
            for name in ("profile", "profile-cycle"):
                if callback := worker.periodic_callbacks.pop(name, None):
                    callback.stop()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver

    def prepare(self) -> None:
        """Prepare this process for the run, once.

        Raises
        ------
        WorkerError
            Another version of this package is installed here.
        UsageError
            The work folder cannot be made.
        """
        if self.version != __version__:
            raise WorkerError(
                f"bids_brainmask is {__version__} on {platform.node()}; expected {self.version}, "
                "the driver's. Install the same version on both."
            )
        if self.ready:
            return
        if self.run.settings.work_dir:
            app.use_work_dir(self.run.settings.work_dir)
        settings = replace(self.run.settings, n_cpus=self.threads)
        models = {name: _found_here(model) for name, model in self.run.models.items()}
        self.run = replace(self.run, settings=settings, models=models)
        quiet(LOG_LEVELS[min(settings.verbose, 2)])
        self.ready = True


def _found_here(model: Model) -> Model:
    """Drop the path of a registered model's file if it does not exist on this machine."""
    there = model.path and model.path.is_file()
    return model if there or model.name not in registry.models() else replace(model, path=None)


def quiet(level: int) -> None:
    """Send messages to the logs of the scans only; the driver writes to the terminal."""
    logging.captureWarnings(capture=True)
    for name in ("bids_brainmask", "py.warnings"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
    logging.getLogger("bids_brainmask").setLevel(level)
    log.setLevel(min(logging.INFO, level))


def do_scan(share: str, plan: ScanPlan, *, again: bool) -> tuple[str, str]:
    """Process a scan on this worker.

    Parameters
    ----------
    share : str
        Name of the `Share` of its run.
    plan : ScanPlan
    again : bool
        Another worker crashed on it, and may have finished it.

    Returns
    -------
    status, detail : str
        As in `app.Outcome`.
    """
    mine = _prepared(share)
    run = mine.run
    with messages_to(plan.log):
        words = "started again" if again else "started"
        log.info("%s on %s, process %d", words, platform.node(), os.getpid())
        kept = again and not run.settings.overwrite
        if kept and files.outdated(plan, run.of(plan)) is None:
            return "done", AGAIN
        outcome = app.process_scan(plan, run, mine.networks)
        log.log(
            logging.ERROR if outcome.status == "failed" else logging.INFO,
            "%s: %s",
            outcome.status,
            outcome.detail,
        )
    return outcome.status, outcome.detail


def _prepared(name: str) -> Share:
    """Find the `Share` of a run on this worker, and prepare this process for it."""
    share = cast("Share", get_worker().plugins[name])
    share.prepare()
    return share


class Log(logging.FileHandler):
    """Log of a scan; if the disk is full, messages are lost and the scan goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: D102, N802 - as logging calls it
        pass

    def close(self) -> None:  # noqa: D102 - as logging says
        with suppress(OSError):
            super().close()


@contextmanager
def messages_to(path: Path) -> Iterator[None]:
    """Write this package's messages and Python's warnings to a log while a scan is processed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = Log(path, encoding="utf-8")
    except OSError as error:
        log.error("%s: the log cannot be written: %s", path, error)
        yield
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("bids_brainmask", "py.warnings")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def write_page(share: str, participant: str) -> str:
    """Write a participant's page on this worker; return the error message, or an empty text."""
    return app.write_report(participant, _prepared(share).run.settings)
