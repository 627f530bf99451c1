# SPDX-License-Identifier: Apache-2.0
"""The benchmark of commands that do no work: whole processes, seen to be right, are measured."""

import sys

import pytest
from bench import load

startup = load("speed_startup")


def test_a_dataset_is_made_once_and_found(tmp_path):
    root = startup.make_dataset(tmp_path / "data", participants=3, sessions=2)
    assert len(list(root.glob("sub-*/ses-*/anat/*_T1w.nii.gz"))) == 6
    assert startup.make_dataset(root, participants=9) == root
    assert len(list(root.glob("sub-*"))) == 3
    command = [sys.executable, "-m", "bids_brainmask", root, tmp_path / "out", "participant"]
    name, *cells = startup.row("all", [*command, "--dry-run"], runs=1, lines=7)
    assert name == "all"
    assert all(float(cell) > 0 for cell in cells)


def test_what_a_process_takes_is_its_own():
    code = (
        "x = bytearray(200_000_000)\nwhile __import__('time').process_time() < 0.5: pass\nprint()"
    )
    seconds, cpu, memory = startup.measure([sys.executable, "-c", code], lines=1)
    assert seconds >= cpu >= 0.5
    assert memory > 200


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print(1)"])
def test_a_command_that_is_not_right_is_not_measured(code):
    with pytest.raises(SystemExit, match="expected 2"):
        startup.measure([sys.executable, "-c", code], lines=2)
