# SPDX-License-Identifier: Apache-2.0
"""How long commands take that do no work: help, and finding images in large datasets.

Whole processes, from their start to their exit. The datasets are made of empty images and of
sidecars of one key, and stay there for the next time. This module imports little, for a process is
never seen to hold less memory than the one that started it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LARGE = 10
"""How many times as many participants the largest dataset has as the others."""


def make_dataset(root: Path, participants: int, sessions: int = 0) -> Path:
    """Write a dataset with an image of each session of each participant, unless it is there.

    Parameters
    ----------
    root : Path
    participants : int
        From sub-00001.
    sessions : int
        Of each participant; 0: folders without sessions, one image each.
    """
    if (root / "dataset_description.json").is_file():
        return root
    for number in range(1, participants + 1):
        name = f"sub-{number:05}"
        for session in [f"ses-{index + 1}" for index in range(sessions)] or [""]:
            anat = root / name / session / "anat"
            anat.mkdir(parents=True)
            prefix = "_".join(filter(None, (name, session)))
            (anat / f"{prefix}_T1w.nii.gz").touch()
            (anat / f"{prefix}_T1w.json").write_text('{"EchoTime": 0.003}\n')
    description = {"Name": "Empty images", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def measure(command: Sequence, lines: int) -> tuple[float, float, float]:
    """Run a command, and see that it prints as many lines as it should, or more.

    Returns
    -------
    tuple of float
        Seconds from its start to its exit, seconds of processors, and the most memory, in MB.
    """
    started = time.perf_counter()
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE) as running:
        printed = running.stdout.read().count(b"\n")
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if status or printed < lines:
        raise SystemExit(f"{command}: status {status}, {printed} lines, expected {lines}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def row(name: str, command: Sequence, runs: int, lines: int) -> list[str]:
    """Measure a command after a run that does not count; the cells of its row."""
    measure(command, lines)
    found = [measure(command, lines) for _ in range(runs)]
    seconds, cpu, memory = map(statistics.median, zip(*found, strict=True))
    return [name, f"{seconds:.2f}", f"{cpu:.2f}", f"{memory:.0f}"]


def measure_startup(work: Path, runs: int, participants: int) -> list[list[str]]:
    """Measure help, and the planning of one and of all participants; the rows of the table."""
    programs = Path(sys.executable).parent
    app = programs / "bids-brainmask"
    commands = [
        ("`bids-brainmask --help`", [app, "--help"], 50),
        ("`bids-brainmask --version`", [app, "--version"], 1),
        ("`brainmask --help`", [programs / "brainmask", "--help"], 10),
    ]
    for count, sessions in ((participants, 0), (participants, 2), (LARGE * participants, 0)):
        root = make_dataset(work / f"{count}-{sessions}", count, sessions)
        dry = [app, root, work / "out", "participant", "--dry-run"]
        kind = f"{count:,} participants" + f", {sessions} sessions each" * bool(sessions)
        one = [*dry, "--participant-label", "00001"]
        commands.append((f"one of {kind}", one, 1 + (sessions or 1)))
        commands.append((f"all of {kind}", dry, 1 + count * (sessions or 1)))
    return [row(name, command, runs, lines) for name, command, lines in commands]
