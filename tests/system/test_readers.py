# SPDX-License-Identifier: Apache-2.0
"""Exported files as the libraries of FSL and ANTs read them, in an environment of their own."""

import json
import shutil
import subprocess

import other_programs
import pytest
from conftest import ROOT
from export_phantoms import ExportedDataset, turned

MIDDLE = (7, -3, 11)
"""Of the phantom's brain, in RAS."""


@pytest.mark.slow
def test_fsl_and_ants_find_the_brain_where_it_is(tmp_path):
    python = other_programs.python("readers", other_programs.READERS)
    data = ExportedDataset(tmp_path)
    raw = data.add("sub-01", turned("PIR", 12))
    shutil.copy(raw, tmp_path / "head.nii.gz")
    for program in ("fsl", "ants"):
        assert data.export(program, tmp_path / program) == 0
    command = [python, ROOT / "tests/system/readers_reference.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (len(found["fsl"]), len(found["ants"])) == (3, 2)
    for file in found["fsl"].values():
        assert file["axes"] == ["ORIENT_R2L", "ORIENT_P2A", "ORIENT_I2S"]  # as MNI152 of FSL
        assert file["radiological"]
        assert file["middle"] == pytest.approx(MIDDLE, abs=0.01)
    for file in found["ants"].values():
        assert file["same_space"]  # antsCorticalThickness.sh wants the image's own grid
        assert file["middle"] == pytest.approx(MIDDLE, abs=0.01)
