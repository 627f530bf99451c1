# SPDX-License-Identifier: Apache-2.0
"""Environments of other programs that tests compare with; they are no dependency of ours."""

import fcntl
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, missing

SMRIPREP = ("smriprep==0.19.5", "SimpleITK==2.5.3", "bids2table==2.3.1")

READERS = ("antspyx==0.6.3", "fslpy==3.29.1")

PANOPTICA = ("panoptica==2.1.7",)
"""Its dependencies are older than ours: NumPy under 2.3 and pandas under 3."""


def uv() -> Path:
    """Installer of this environment; several times as fast as pip."""
    program = Path(sys.executable).with_name("uv")
    if not program.exists():
        missing("uv is not installed: pip install uv")
    return program


def python(name: str, packages: tuple[str, ...]) -> Path:
    """Python of an environment; made once for a checkout, or again if its packages changed."""
    folder = ROOT / "build" / name
    stamp, wanted = folder / "packages.txt", " ".join(packages)
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test files run side by side
        if not stamp.is_file() or stamp.read_text() != wanted:
            for command in (
                [uv(), "venv", "--quiet", "--clear", "--python", sys.executable, folder],
                [uv(), "pip", "install", "--quiet", "--python", folder, *packages],
            ):
                _run(command, wanted)
            stamp.write_text(wanted)
    return folder / "bin/python"


def _run(command: list, packages: str) -> None:
    """Carry out one step; without PyPI, the test is skipped with the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    except subprocess.TimeoutExpired as error:
        missing(f"{packages} cannot be installed from PyPI: {error}")
    if done.returncode:
        missing(f"{packages} cannot be installed from PyPI: {done.stderr[-500:]}")
