# SPDX-License-Identifier: Apache-2.0
"""What a worker process of dask does for `bids_brainmask.execution.driver`: scans, and pages.

Imported where dask is in use, and nowhere else.
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

from distributed import WorkerPlugin, get_worker

from bids_brainmask import __version__, app
from bids_brainmask.errors import WorkerError
from bids_brainmask.models import registry
from bids_brainmask.plan import Run, ScanPlan, finished
from bids_brainmask.settings import LEVELS

log = logging.getLogger(__name__)

AGAIN = "finished by a worker that ended before it could say so"
"""Said of a scan that is there when another worker is about to do it again."""


class Share(WorkerPlugin):
    """What all scans of a run need, sent to each worker process once.

    Parameters
    ----------
    run : Run
        Its scans are left out; its paths must hold on the workers.
    own : bool
        The workers were started for this run, and do nothing else.
    """

    def __init__(self, run: Run, *, own: bool):
        self.name = f"bids-brainmask-{uuid.uuid4().hex}"  # several runs may share a scheduler
        self.version = __version__
        self.run = replace(run, plans=[])
        self.own = own
        self.networks: dict = {}
        self.ready = False

    def setup(self, worker) -> None:
        """Note the worker's threads, and leave out what dask does beside for its own sake.

        An engine keeps its memory for the next scan, so a full memory is no reason to pause: the
        worker's nanny ends it where it has more than it was given. And nobody asks what dask's
        profiler finds, which looks at a scan a hundred times a second.
        """
        self.threads = worker.state.nthreads
        if self.own:
            worker.memory_manager.memory_pause_fraction = False
            worker.memory_manager.memory_spill_fraction = False
            for name in ("profile", "profile-cycle"):
                if callback := worker.periodic_callbacks.pop(name, None):
                    callback.stop()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver

    def prepare(self) -> None:
        """Make this process fit for the run, once.

        Raises
        ------
        WorkerError
            Another version of this package is installed here.
        UsageError
            The work folder cannot be made.
        """
        if self.version != __version__:
            raise WorkerError(
                f"bids_brainmask is {__version__} on {platform.node()}, and {self.version} where "
                "the run was started: install one version in both places."
            )
        if self.ready:
            return
        if self.run.settings.work_dir:
            app.use_work_dir(self.run.settings.work_dir)
        settings = replace(self.run.settings, n_cpus=self.threads)
        models = {name: _found_here(model) for name, model in self.run.models.items()}
        self.run = replace(self.run, settings=settings, models=models)
        quiet(LEVELS[min(settings.verbose, 2)])
        self.ready = True


def _found_here(model):
    """Forget where a registered model's file is, where that is another machine's place."""
    there = model.path and model.path.is_file()
    return model if there or model.name not in registry.models() else replace(model, path=None)


def quiet(level: int) -> None:
    """Keep messages for the logs of the scans: the terminal is the driver's."""
    logging.captureWarnings(capture=True)
    for name in ("bids_brainmask", "py.warnings"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
    logging.getLogger("bids_brainmask").setLevel(level)
    log.setLevel(min(logging.INFO, level))


def do_scan(share: str, plan: ScanPlan, *, again: bool) -> tuple[str, str]:
    """Do a scan on this worker.

    Parameters
    ----------
    share : str
        Name of the `Share` of its run.
    plan : ScanPlan
    again : bool
        A worker before has ended over it, and may have finished it.

    Returns
    -------
    status, detail : str
        As in `app.Outcome`.
    """
    mine = get_worker().plugins[share]
    mine.prepare()
    run = mine.run
    with messages_to(run.log(plan)):
        words = "begun again" if again else "begun"
        log.info("%s on %s, process %d", words, platform.node(), os.getpid())
        kept = again and not run.settings.overwrite
        if kept and finished(plan, run.parameters(plan)):
            return "done", AGAIN
        outcome = app.process_scan(plan, run, mine.networks)
        log.log(
            logging.ERROR if outcome.status == "failed" else logging.INFO,
            "%s: %s",
            outcome.status,
            outcome.detail,
        )
    return outcome.status, outcome.detail


class Log(logging.FileHandler):
    """The log of a scan. Where its disk is full a message is lost, and no scan."""

    def handleError(self, record) -> None:  # noqa: D102, N802 - as logging calls it
        pass

    def close(self) -> None:  # noqa: D102 - as logging says
        with suppress(OSError):
            super().close()


@contextmanager
def messages_to(path: Path) -> Iterator[None]:
    """Add this package's messages, and Python's warnings, to a log while a scan is done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = Log(path, encoding="utf-8")
    except OSError as error:
        log.error("%s: no log can be written: %s", path, error)
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
    """Write a participant's page on this worker, and say what went wrong, if anything did."""
    mine = get_worker().plugins[share]
    mine.prepare()
    return app.write_report(participant, mine.run.settings)
