# SPDX-License-Identifier: Apache-2.0
"""Processes beside that of a training: they lay heads out, and make samples.

Arrays pass through a pipe at about 0.35 GB/s, too slowly for a GPU. Files in memory have no such
limit; where there are none, or no room for them, arrays go through the pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bids_brainmask.errors import WorkerError

Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables for the number of threads in linear algebra."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in it is made by `tempfile`
"""Folder whose files are in memory, on Linux; 64 MiB in a container unless it was given more."""

Arrays = tuple[np.ndarray, ...]


@contextmanager
def memory() -> Iterator[Path | None]:
    """Make a folder for files in memory while the context lasts; None where there is none."""
    if not os.access(MEMORY, os.W_OK):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bids_brainmask-", dir=MEMORY) as folder:
        yield Path(folder)


def put(arrays: Arrays, folder: Path | None) -> Arrays | tuple[str, ...]:
    """Write arrays to files in memory, for `take`; return their paths.

    The arrays are returned instead where there is no folder, or no room in it.
    """
    if folder is None:
        return arrays
    paths: list[str] = []
    try:
        for array in arrays:
            handle, path = tempfile.mkstemp(dir=folder)
            paths.append(path)
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
    except OSError:
        for path in paths:
            Path(path).unlink()
        return arrays
    return tuple(paths)


def take(found: Arrays | tuple[str, ...]) -> Arrays:
    """Arrays that `put` left in memory, or returned; their files are removed."""
    arrays = []
    for one in found:
        if isinstance(one, str):
            arrays.append(np.asarray(np.load(one, mmap_mode="c")))
            Path(one).unlink()  # the array stays in memory until nothing refers to it
        else:
            arrays.append(one)
    return tuple(arrays)


@contextmanager
def pool(
    count: int,
    initializer: Callable | None = None,
    initargs: tuple = (),
    folder: Path | None = None,
) -> Iterator[ProcessPoolExecutor]:
    """Run processes while the context lasts; parameters as for `ProcessPoolExecutor`.

    Each has one thread for linear algebra, so that N processes use N cores, and ends when this
    process ends, even if it is killed; then the folder of `memory` is removed, if one is given.
    Calls that wait at the end are not made.
    """
    kept = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, "1")
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(
            count, context, _begin, (initializer, initargs, folder)
        ) as running:
            try:
                yield running
            finally:
                running.shutdown(cancel_futures=True)
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(initializer: Callable | None, initargs: tuple, folder: Path | None) -> None:
    """Start a process of a pool."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent, folder), daemon=True).start()
    if initializer:
        initializer(*initargs)


def _end_after(parent: BaseProcess, folder: Path | None) -> None:
    """Wait for the end of a process, remove a folder, then end this process."""
    parent.join()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
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
