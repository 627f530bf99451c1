# SPDX-License-Identifier: Apache-2.0
"""Processes beside that of a training: they lay heads out, and make samples."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from bids_brainmask.errors import WorkerError

Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables for the number of threads in linear algebra."""


@contextmanager
def pool(
    count: int, initializer: Callable | None = None, initargs: tuple = ()
) -> Iterator[ProcessPoolExecutor]:
    """Run processes while the context lasts; parameters as for `ProcessPoolExecutor`.

    Each has one thread for linear algebra, so that N processes use N cores, and ends when this
    process ends, even if it is killed. Calls that wait at the end are not made.
    """
    kept = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, "1")
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(count, context, _begin, (initializer, initargs)) as running:
            try:
                yield running
            finally:
                running.shutdown(cancel_futures=True)
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(initializer: Callable | None, initargs: tuple) -> None:
    """Start a process of a pool."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    if initializer:
        initializer(*initargs)


def _end_after(parent: BaseProcess) -> None:
    """Wait for the end of a process, then end this one."""
    parent.join()
    os._exit(1)


def each(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], count: int
) -> Iterator[Result]:
    """Call a function with each of some arguments; yield the results in their order.

    Parameters
    ----------
    function : callable
        Of a module, so that another process can import it.
    calls : sequence of tuple
        The arguments of each call.
    count : int
        Processes; below 2: this one.

    Raises
    ------
    WorkerError
        A process ended unexpectedly.
    """
    count = min(count, len(calls))
    if count < 2:
        for arguments in calls:
            yield function(*arguments)
        return
    with pool(count) as running:
        waiting = [running.submit(function, *arguments) for arguments in calls]
        try:
            for one in waiting:
                yield one.result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "A process that lays out heads ended unexpectedly. Memory may have run out: give "
                "fewer --workers. The same command starts again."
            ) from error
