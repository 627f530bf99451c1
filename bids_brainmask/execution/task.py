# SPDX-License-Identifier: Apache-2.0
"""Tasks that wait for a worker, and which of them fits into memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bids_brainmask.plan import ScanPlan


@dataclass
class Task:
    """One task of a worker: a scan, or the page of a participant."""

    what: ScanPlan | str
    ends: int = 0
    """Workers that have crashed on it."""

    last: str = ""
    """Address of the last of them."""

    gb: float | None = None
    """Memory that it is predicted to need, GB; None: not yet predicted."""


def take_fitting(
    tasks: deque[Task], used: float, given: float, predict: Callable[[Task], float]
) -> Task | None:
    """Take the first task that fits into memory beside those that run; None if none does.

    A large one therefore waits until it is alone. Alone, each is tried: the worker refuses one
    that does not fit at all.

    Parameters
    ----------
    tasks : deque of Task
        From which it is taken.
    used, given : float
        Memory of the tasks that run, 0 if none does; and of the run, GB.
    predict : callable
        Memory of a task, GB.
    """
    for place, task in enumerate(tasks):
        if task.gb is None:
            task.gb = predict(task)
        if not used or used + task.gb <= given:
            del tasks[place]
            return task
    return None
