# SPDX-License-Identifier: Apache-2.0
"""Runs of the app in processes of its own, which tests watch, disturb and end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import psutil
from conftest import LITTLE, Dataset, head_phantom

BEGUN = re.compile(r"INFO (started|started again) on \S+, process (\d+)")


def heads(root: Path, count: int, *, quick: bool = False) -> Dataset:
    """Make a dataset of participants with the same phantom head, from 01.

    The head is cut close, for 0.6 of the time. If it may be `quick`, the network takes 0.4 s of
    processor time instead of 1.6: too little to disturb a process at work.
    """
    data = Dataset(root)
    data.add("sub-01_T1w.nii.gz", head_phantom((46, 46, 46), **(LITTLE if quick else {})))
    content = next(root.glob("sub-01/anat/*.nii.gz")).read_bytes()
    for number in range(2, count + 1):
        data.add(f"sub-{number:02}_T1w.nii.gz", content)
    return data


def poison(path: Path, side: int = 900) -> None:
    """Write a sound image that takes 6 GB to read, and next to nothing on the disk."""
    header = nb.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).header
    header.set_data_shape([side] * 3)
    with path.open("wb") as file:
        header.write_to(file)
        file.truncate(352 + 2 * side**3)


class Process:
    """The app at work in a process of its own."""

    def __init__(self, data: Path, out: Path, *words: str, prefix=(), python=(), **environment):
        out.parent.mkdir(parents=True, exist_ok=True)
        self.out = out
        self.messages = out.with_name(f"{out.name}-{time.monotonic_ns()}.txt")
        command = [sys.executable, *python, "-m", "bids_brainmask", data, out, "participant"]
        with self.messages.open("w") as file:
            self.popen = subprocess.Popen(
                [*prefix, *command, *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=out.parent,
                start_new_session=True,  # so that signals to all of it reach nobody else
            )

    def wait(self, seconds: float = 600) -> int:
        """Exit status, when it has ended."""
        return self.popen.wait(seconds)

    @property
    def said(self) -> str:
        """Everything that it has printed so far."""
        return self.messages.read_text()

    @property
    def status(self) -> dict[str, str]:
        """Status of each participant, by the lines of the images."""
        rows = re.findall(r"\] sub-(\w+)/\S+: (done|skipped|failed|refused): ", self.said)
        return dict(rows)

    def begun(self, label: str = "*") -> list[int]:
        """Worker processes that have begun a participant's scan, in order."""
        logs = self.out.glob(f"logs/sub-{label}/*_T1w.log")
        return [int(pid) for path in logs for _, pid in BEGUN.findall(path.read_text())]

    def done(self) -> int:
        """Scans that are finished."""
        return len(list(self.out.glob("sub-*/anat/*_desc-brain_T1w.json")))

    def until(self, condition: Callable[[], object], seconds: float = 300):
        """Wait until something holds, and give it; the process must run meanwhile."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert self.popen.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.1)
        return found

    def kill_worker(self, label: str, nth: int) -> None:
        """Kill the process that works on a participant's scan, at the attempt of some index."""
        pid = self.until(lambda: self.begun(label)[nth:])[0]
        os.kill(pid, signal.SIGSTOP)  # to look whether it is at it still
        log = next(self.out.glob(f"logs/sub-{label}/*_T1w.log")).read_text()
        os.kill(pid, signal.SIGKILL)
        assert " done: " not in log, "this test came too late: is the machine overloaded?"

    def family(self) -> list[psutil.Process]:
        """The process and all that it has started."""
        own = psutil.Process(self.popen.pid)
        return [own, *own.children(recursive=True)]

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self.popen.kill()
        self.popen.wait()
