# SPDX-License-Identifier: Apache-2.0
"""Scans in several processes share the memory: a large one waits until it is alone."""

from collections import deque

import pytest

from bids_brainmask.execution.task import Task, take_fitting


def simulate(sizes, workers, given):
    """Run tasks of some sizes, GB, one ending at each step; the sets that ran at a time."""
    tasks, running, seen = deque(map(Task, sizes)), [], []
    while tasks or running:
        while len(running) < workers:
            used = sum(task.gb for task in running)
            task = take_fitting(tasks, used, given, lambda task: float(task.what))
            if task is None:
                break
            running.append(task)
        seen.append([task.what for task in running])
        running.pop(0)
    return seen


def test_a_large_scan_is_run_alone_after_the_others():
    seen = simulate([5, 1, 1, 7, 1, 1], workers=3, given=6)
    assert all(sum(sizes) <= 6 or len(sizes) == 1 for sizes in seen)
    assert [7] in seen
    assert seen[0] == [5, 1], "what fits beside the first is not held up"
    assert {size for sizes in seen for size in sizes} == {1, 5, 7}


def test_what_fits_is_run_in_order():
    assert simulate([1, 2, 3], workers=2, given=10) == [[1, 2], [2, 3], [3]]


@pytest.mark.parametrize("given", [0.5, 100])
def test_every_scan_is_run_once(given):
    ended = [sizes[0] for sizes in simulate([3, 2, 1, 4], workers=2, given=given)]
    assert sorted(ended) == [1, 2, 3, 4]
