# SPDX-License-Identifier: Apache-2.0
"""Processes beside that of a training."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
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


def of_one(side):
    return np.ones((side, side), np.float16), np.full((side, 2), 3, np.int8)


def make(side, folder):
    return processes.put(of_one(side), folder)


def same(found, expected):
    return all(
        one.dtype == other.dtype and np.array_equal(one, other)
        for one, other in zip(found, expected, strict=True)
    )


def test_arrays_pass_through_files_in_memory_that_are_removed():
    with processes.memory() as folder, processes.pool(1) as running:
        sent = running.submit(make, 50, folder).result()
        assert all(isinstance(one, str) for one in sent)
        found = processes.take(sent)
        assert not list(folder.iterdir())
        assert same(found, of_one(50))
        found[0][:] = 2  # of this process alone, and no view of a file that is gone
        assert found[0].sum() == 5000
    assert not folder.exists()


def test_arrays_go_through_the_pipe_where_memory_has_no_files(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "MEMORY", tmp_path / "none")
    with processes.memory() as folder, processes.pool(1) as running:
        assert folder is None
        assert same(processes.take(running.submit(make, 50, folder).result()), of_one(50))


def limited(side, folder, size):
    """Make arrays where no file may be larger than some bytes, as where memory is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return make(side, folder)


def test_arrays_for_which_there_is_no_room_go_through_the_pipe():
    with processes.memory() as folder, processes.pool(1) as running:
        sent = running.submit(limited, 200, folder, 10_000).result()
        assert same(processes.take(sent), of_one(200))
        assert not list(folder.iterdir())


def wait_in(folder):
    (folder / "one").touch()
    time.sleep(60)


def test_files_in_memory_are_removed_with_a_process_that_is_killed():
    code = (
        "from bids_brainmask.train import processes\n"
        "import test_training_processes as test\n"
        "if __name__ == '__main__':\n"
        "    with processes.memory() as folder, processes.pool(1, folder=folder) as running:\n"
        "        print(folder, flush=True)\n"
        "        running.submit(test.wait_in, folder).result()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        folder = Path(parent.stdout.readline().strip())
        deadline = time.monotonic() + 60
        while not (folder / "one").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        parent.kill()
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
