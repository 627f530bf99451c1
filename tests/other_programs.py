# SPDX-License-Identifier: Apache-2.0
"""An environment of other programs that take our files; they are no dependency of ours."""

import fcntl
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, missing

PACKAGES = ("smriprep==0.19.5", "SimpleITK==2.5.3", "bids2table==2.3.1")

FOLDER = ROOT / "build" / "programs"


def python() -> Path:
    """Python of the environment; made once for a checkout, or again if the packages changed."""
    stamp = FOLDER / "packages.txt"
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "programs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test files run side by side
        if not stamp.is_file() or stamp.read_text() != " ".join(PACKAGES):
            for command in (
                [sys.executable, "-m", "venv", "--clear", FOLDER],
                [FOLDER / "bin/python", "-m", "pip", "install", "--quiet", "uv"],
                [FOLDER / "bin/uv", "pip", "install", "--quiet", "--python", FOLDER, *PACKAGES],
            ):
                _run(command)
            stamp.write_text(" ".join(PACKAGES))
    return FOLDER / "bin/python"


def _run(command: list) -> None:
    """Carry out one step; without PyPI, the test is skipped with the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    except subprocess.TimeoutExpired as error:
        missing(f"{PACKAGES} cannot be installed from PyPI: {error}")
    if done.returncode:
        missing(f"{PACKAGES} cannot be installed from PyPI: {done.stderr[-500:]}")
