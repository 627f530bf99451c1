# SPDX-License-Identifier: Apache-2.0
"""Doubts about a real head's mask, from the command line to the sidecar and the page."""

import json

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset

import bids_brainmask
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.errors import UsageError


@pytest.fixture(scope="module")
def head(near_brain_file):
    return near_brain_file


def test_a_volume_that_is_not_expected_is_said_everywhere(head, tmp_path, capsys):
    data, out = Dataset(tmp_path / "bids"), tmp_path / "out"
    data.add("sub-01_T1w.nii.gz", nb.load(head))
    command = [str(data.root), str(out), "participant", "--analyses", "brain"]
    anat = out / "sub-01" / "anat"
    assert bids_app.main(command) == 0
    record = json.loads((anat / "sub-01_desc-brain_mask.json").read_text())
    assert record["Doubts"] == []
    assert "Warning" not in record
    assert "ExpectedVolume" not in record["Parameters"]
    assert "doubtful" not in capsys.readouterr().out
    assert bids_app.main([*command, "--max-brain-volume", "900"]) == 0  # it is done again
    record = json.loads((anat / "sub-01_desc-brain_mask.json").read_text())
    why = f"volume of {record['BrainVolume']:.0f} mL is large"
    assert record["Doubts"] == [why]
    assert record["Warning"] == f"doubtful, {why}: check the mask"
    assert record["Parameters"]["ExpectedVolume"] == [600, 900]
    assert record["Warning"] in capsys.readouterr().out
    assert why in (out / "sub-01.html").read_text()


def test_half_a_head_is_doubtful(head):
    half = nb.load(head).slicer[:, :, 46:]  # of 10 to 81
    brain = bids_brainmask.extract(half, model="embedded")
    assert "shape too flat" in brain.warning


def test_extract_takes_the_volumes(head, tmp_path, capsys):
    command = ["extract", str(head), "-m", str(tmp_path / "m.nii"), "--min-brain-volume", "2000"]
    assert brainmask.main(command) == 0
    assert "mL is small: check the mask" in capsys.readouterr().err


def test_a_smallest_volume_above_the_largest_is_refused(head, tmp_path, capsys):
    words = ["--min-brain-volume", "900", "--max-brain-volume", "600"]
    assert brainmask.main(["extract", str(head), "-m", str(tmp_path / "m.nii"), *words]) == 2
    assert "expected two volumes, the lower first" in capsys.readouterr().err
    command = [str(tmp_path), str(tmp_path / "out"), "participant", *words]
    assert bids_app.main(command) == 2
    assert "--min-brain-volume 900 is not below --max-brain-volume 600" in capsys.readouterr().err


@pytest.mark.parametrize("volumes", [(900, 600), (-1, 5), (np.nan, 5)])
def test_the_python_api_refuses_them(volumes):
    with pytest.raises(UsageError, match="expected two volumes, the lower first"):
        bids_brainmask.Extractor(expected_ml=volumes)
