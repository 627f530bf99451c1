# SPDX-License-Identifier: Apache-2.0
"""Jobs of a batch system, in which the workers of `bids_brainmask.execution.driver` run.

dask-jobqueue submits the jobs. This module finds jobs that have ended, and replaces them.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from bids_brainmask.errors import UsageError, to_install
from bids_brainmask.plan import Run
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)

SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
}
"""Class in dask-jobqueue of each batch system."""

QUEUED = {"slurm": ("squeue", "--noheader", "--format=%A", "--jobs")}
"""Commands that print which of the given jobs wait or run, for the systems they were tested on."""

GRACE = 20.0
"""Seconds without workers after which a job counts as ended; workers may restart before."""

EVERY = 5.0
"""Seconds between two checks of the jobs."""

AGAIN = 30.0
"""Seconds between two queries of the queue, and before a failed submission is repeated."""

LONG = 600.0
"""Seconds between two warnings that there is no worker."""

LIMIT = 3
"""Jobs in a row that end before they have a worker, or are refused; the run then stops."""


class ClusterConfig(msgspec.Struct):
    """The file of ``--cluster-config``; it may hold other keys of dask."""

    jobqueue: dict[str, Any]


def check(settings: Settings) -> None:
    """Raise a `UsageError` if options exclude each other, or the batch system cannot be used.

    It needs Linux, or macOS where its commands are installed, and dask-jobqueue.
    """
    if settings.executor not in SYSTEMS:
        if settings.cluster_config:
            raise UsageError(
                f"--cluster-config: is for {', '.join(SYSTEMS)}; --executor is {settings.executor}"
            )
    elif sys.platform == "win32":
        raise UsageError(
            f"--executor {settings.executor}: batch systems cannot be used on Windows. Run the "
            "command on the cluster's login node, or use --executor local."
        )
    elif not find_spec("dask_jobqueue"):
        raise UsageError(
            f"--executor {settings.executor}: dask-jobqueue is not installed: "
            f"{to_install('cluster')}"
        )


def noise(settings: Settings) -> int:
    """Level from which dask's own messages are shown; this package reports what users need."""
    return (logging.CRITICAL, logging.WARNING, logging.INFO)[min(settings.verbose, 2)]


def import_jobqueue() -> ModuleType:
    """Import dask-jobqueue and keep it from writing its defaults into the home folder."""
    import dask.config

    before, dask.config.PATH = dask.config.PATH, os.devnull
    try:
        import dask_jobqueue
    finally:
        dask.config.PATH = before
    return dask_jobqueue


def read_config(settings: Settings) -> dict:
    """Read the configuration of the jobs: dask's own, updated by the file.

    Returns
    -------
    dict
        All of dask-jobqueue's keys for the system, with dashes.

    Raises
    ------
    UsageError
        The file cannot be read, is not of the form ``jobqueue: {system: {key: value}}``, or has
        a key that dask-jobqueue does not know.
    """
    import dask.config
    import yaml

    import_jobqueue()
    system, path = settings.executor, settings.cluster_config
    config = dict(dask.config.get(f"jobqueue.{system}"))
    if not path:
        return config
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--cluster-config: {path} cannot be read as YAML: {error}") from error
    try:
        jobqueue = msgspec.convert(content, ClusterConfig).jobqueue
        asked = msgspec.convert(jobqueue.get(system), dict[str, Any])
    except msgspec.ValidationError as error:
        raise UsageError(
            f"--cluster-config: {path}: expected `jobqueue:`, below it `{system}:`, and below "
            f"that what to ask for, such as `cores: 4` and `memory: 8GB` ({error})"
        ) from error
    asked = {key.replace("_", "-"): value for key, value in asked.items()}
    if unknown := sorted(asked.keys() - config.keys()):
        raise UsageError(
            f"--cluster-config: {path}: jobqueue.{system}: unknown key {', '.join(unknown)}; "
            f"expected among {', '.join(sorted(config))}"
        )
    return config | asked


def processes(config: dict, run: Run) -> int:
    """Count the worker processes of a job: as configured, or as many as fit its memory.

    Raises
    ------
    UsageError
        The configuration lacks cores or memory, or they are too small for one process.
    """
    from dask.utils import parse_bytes

    where = f"--cluster-config: jobqueue.{run.settings.executor}"
    try:
        cores, memory = int(config["cores"]), parse_bytes(str(config["memory"])) / 1e9
        count = int(config["processes"] or 0)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{where}: expected `cores`, `memory` such as 8GB, and optionally `processes`; found "
            f"{config['cores']}, {config['memory']} and {config['processes']}"
        ) from error
    model = max(run.every_model(), key=lambda model: model.memory_gb)
    count = count or max(1, min(cores, int(memory / model.memory_gb)))
    if memory / count < model.memory_gb:
        raise UsageError(
            f"{where}: {memory:.1f} GB for {count} processes, but {model.name} needs "
            f"{model.memory_gb:g} GB in each. Set more memory, or fewer processes."
        )
    return count


class Jobs:
    """The batch jobs of a run: as many as it needs; jobs that end are replaced.

    Parameters
    ----------
    run : Run

    Raises
    ------
    UsageError
        The configuration is not usable, or this machine has no command to submit jobs.
    """

    def __init__(self, run: Run):
        settings = run.settings
        self.system, self.most = settings.executor, settings.max_jobs
        config = read_config(settings)
        self.processes = processes(config, run)
        self.logs = Path(config["log-directory"] or settings.output_dir / "logs/jobs")
        self.refused: list[
            tuple[str, str]
        ] = []  # names of jobs, with the error of the batch system
        with ExitStack() as stack:
            self.cluster = stack.enter_context(self._start(config, settings))
            self.close = stack.pop_all().close  # cancels the jobs, and ends the scheduler
        self.seen: dict[str, float] = {}  # names of jobs, with the time of their last worker
        self.fruitless = 0  # failed jobs since the last worker
        self.check = self.submit = self.query = 0.0  # times of the next ones
        self.complain = time.monotonic() + LONG

    @contextmanager
    def _start(self, config: dict, settings: Settings) -> Iterator:
        """Start a scheduler in this process, with no job yet."""
        import dask.config

        base = getattr(import_jobqueue(), SYSTEMS[self.system])
        command = base.job_cls.submit_command.split()[0]
        if not shutil.which(command):
            raise UsageError(
                f"--executor {self.system}: the command {command} is not found. Start the program "
                "on a machine that submits jobs, not in a container without the command."
            )
        if config["name"] == "dask-worker":  # dask-jobqueue's default
            config["name"] = "bids-brainmask"
        config["log-directory"] = str(self.logs)
        config["local-directory"] = config["local-directory"] or (
            settings.work_dir and str(settings.work_dir)
        )
        self.logs.mkdir(parents=True, exist_ok=True)
        with (
            dask.config.set({f"jobqueue.{self.system}": config}),
            certificates(self.logs) as security,
        ):
            try:
                cluster = base(
                    job_cls=self._job(base.job_cls),
                    processes=self.processes,
                    security=security,
                    scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"}
                    | (config["scheduler-options"] or {}),
                    silence_logs=noise(settings),
                )
            except (AttributeError, OSError, RuntimeError, TypeError, ValueError) as error:
                raise UsageError(
                    f"--cluster-config: jobqueue.{self.system}: dask-jobqueue cannot use it: "
                    f"{error}"
                ) from error
            with cluster:
                log.debug("%s", cluster.job_script())
                yield cluster

    def _job(self, base: type) -> type:
        """Make a job class of dask-jobqueue that records when a job is refused.

        An exception would be lost in the event loop.
        """
        from distributed.core import Status

        refused = self.refused

        class Job(base):
            async def start(self) -> None:
                try:
                    await super().start()
                    log.info("submitted batch job %s", self.job_id)
                except Exception as error:  # noqa: BLE001 - any error is reported
                    refused.append((self.name, " ".join(str(error).split())))
                    self.status = Status.running

            async def close(self) -> None:
                await super().close()
                self.status = Status.closed

        return Job

    def keep(self, tasks: int) -> None:
        """Remove jobs that have ended, and submit as many as the tasks need.

        Raises
        ------
        UsageError
            The batch system refuses jobs, or they end before they have a worker.
        """
        now = time.monotonic()
        if now < self.check:
            return
        self.check = now + EVERY
        there = {worker.name for worker in list(self.cluster.scheduler.workers.values())}
        if self.processes > 1:  # names are JOB-0, JOB-1
            there = {name.rpartition("-")[0] for name in there}
        self.seen |= dict.fromkeys(there, now)
        if there:
            self.fruitless, self.complain = 0, now + LONG
        gone = {name for name, when in self.seen.items() if now - when > GRACE}
        gone |= self._refused(now) | self._vanished(now)
        if gone:
            log.info("batch jobs that have ended or were refused: %d", len(gone))
            self.cluster.sync(self.cluster.scale_down, gone)
            self.seen = {name: when for name, when in self.seen.items() if name not in gone}
        wanted = min(self.most, -(-tasks // self.processes))
        if wanted > len(self.cluster.worker_spec) and now >= self.submit:
            self.cluster.scale(jobs=wanted)
        if now > self.complain:
            self.complain = now + LONG
            ids = [job.job_id for job in list(self.cluster.workers.values())]
            log.warning(
                "no worker from jobs %s yet: check the queue, and the logs in %s", ids, self.logs
            )

    def _refused(self, now: float) -> set[str]:
        """Names of jobs that the batch system refused."""
        names = set()
        while self.refused:
            name, why = self.refused.pop()
            names.add(name)
            self.submit = now + AGAIN
            self._fruitless(f"no job can be submitted: {why}", at_once=not self.seen)
        return names

    def _vanished(self, now: float) -> set[str]:
        """Names of jobs that ended before they had a worker, if the system has a query command."""
        unseen = {
            job.job_id: name
            for name, job in list(self.cluster.workers.items())
            if name not in self.seen and job.job_id
        }
        if not unseen or self.system not in QUEUED or now < self.query:
            return set()
        self.query = now + AGAIN
        names = set()
        for number in sorted(unseen.keys() - queued(self.system, unseen)):
            names.add(unseen[number])
            last = [line for path in self.logs.glob(f"*{number}.err") for line in tail(path)]
            words = " ".join(last) or "its log is empty"
            self._fruitless(f"job {number} ended before it had a worker: {words} ({self.logs})")
        return names

    def _fruitless(self, why: str, *, at_once: bool = False) -> None:
        """Count a job without a worker; raise after `LIMIT` in a row."""
        self.fruitless += 1
        if at_once or self.fruitless >= LIMIT:
            raise UsageError(f"--executor {self.system}: {why}")
        log.warning("%s", why)


@contextmanager
def certificates(folder: Path) -> Iterator:
    """Make certificates for the scheduler and its workers in a temporary hidden folder.

    A scheduler runs any code that it is sent, so only users who can read the certificates may
    connect.

    Yields
    ------
    distributed.security.Security
    """
    from distributed.security import Security

    made = Security.temporary()
    with tempfile.TemporaryDirectory(prefix=".certificates-", dir=folder) as hidden:
        paths = {name: str(Path(hidden, f"{name}.pem")) for name in ("ca_file", "cert", "key")}
        for name, content in zip(
            paths, (made.tls_ca_file, made.tls_worker_cert, made.tls_worker_key), strict=True
        ):
            Path(paths[name]).write_text(content)
        roles = {
            f"tls_{role}_{name}": paths[name]
            for role in ("client", "scheduler", "worker")
            for name in ("cert", "key")
        }
        yield Security(require_encryption=True, tls_ca_file=paths["ca_file"], **roles)


def queued(system: str, numbers: Iterable[str]) -> set[str]:
    """Jobs that wait or run, among the given ones; all of them if the query fails."""
    numbers = set(numbers)
    command = [*QUEUED[system], ",".join(sorted(numbers))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return numbers
    unknown = "Invalid job id" in done.stderr  # the message if none of the jobs is known any more
    return numbers if done.returncode and not unknown else numbers & set(done.stdout.split())


def tail(path: Path) -> list[str]:
    """Last lines of a log; none if it cannot be read."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
    return []
