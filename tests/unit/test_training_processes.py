# SPDX-License-Identifier: Apache-2.0
"""Processes beside that of a training."""

import os
import signal
import time

import pytest

from bids_brainmask.errors import ImageError, WorkerError
from bids_brainmask.train import processes


def test_results_come_in_order_from_other_processes():
    calls = [(2, n) for n in range(5)]
    assert list(processes.each(pow, calls, 2)) == [1, 2, 4, 8, 16]
    pids = set(processes.each(os.getpid, [()] * 4, 2))
    assert os.getpid() not in pids
    assert set(processes.each(os.getpid, [()] * 4, 1)) == {os.getpid()}
    assert set(processes.each(os.getpid, [()], 8)) == {os.getpid()}  # one call needs no other
    assert list(processes.each(pow, [], 2)) == []


def refuse(number):
    raise ImageError(f"head {number}: damaged")


def test_an_error_is_that_of_the_first_call_that_fails():
    for count in (0, 2):
        with pytest.raises(ImageError, match="head 3: damaged"):
            list(processes.each(refuse, [(3,), (4,)], count))


def test_a_process_that_is_killed_is_an_error_that_says_what_to_do():
    with pytest.raises(WorkerError, match=r"lays out heads ended unexpectedly.*fewer --workers"):
        list(processes.each(signal.raise_signal, [(signal.SIGKILL,)] * 2, 2))


def test_threads_are_one_in_each_process_and_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    names = [("OMP_NUM_THREADS",), ("MKL_NUM_THREADS",)]
    assert list(processes.each(os.getenv, names, 2)) == ["1", "1"]
    assert [os.getenv(*name) for name in names] == ["7", None]


def note_down(path, seconds):
    """Write a file, after some time."""
    time.sleep(seconds)
    path.touch()


def give_up(folder):
    """Ask for twelve files, and end with an error at once."""
    with processes.pool(1) as running:
        for number in range(12):
            running.submit(note_down, folder / str(number), 0.2)
        raise KeyError


def test_calls_that_wait_are_not_made_after_an_error(tmp_path):
    with pytest.raises(KeyError):
        give_up(tmp_path)
    assert len(list(tmp_path.iterdir())) < 6  # the executor hands over a few ahead
