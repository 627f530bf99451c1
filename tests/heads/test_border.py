# SPDX-License-Identifier: Apache-2.0
"""The edge of the brain mask, moved by an exact distance, from the command line to the page."""

import json

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset
from scipy import ndimage

import bids_brainmask
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.errors import UsageError


@pytest.fixture(scope="module")
def head(near_brain_file):
    return near_brain_file


def read(path):
    file = nb.load(path)
    return np.asanyarray(file.dataobj) > 0, file.header.get_zooms()


@pytest.fixture(scope="module")
def plain(head, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "mask.nii.gz"
    assert brainmask.main(["extract", str(head), "-m", str(path)]) == 0
    return read(path)


def moved(mask, spacing, border):
    """The same by SciPy, over the whole volume."""
    if border > 0:
        return ndimage.distance_transform_edt(~mask, spacing) <= border
    return ndimage.distance_transform_edt(mask, spacing) > -border


@pytest.mark.parametrize("border", [3.0, -2.5])
def test_extract_moves_the_edge(head, plain, tmp_path, border):
    path = tmp_path / "mask.nii.gz"
    command = ["extract", str(head), "-m", str(path), "--border", str(border)]
    assert brainmask.main(command) == 0
    np.testing.assert_array_equal(read(path)[0], moved(*plain, border))


def test_the_app_records_the_border_and_does_another_again(head, plain, tmp_path, capsys):
    data = Dataset(tmp_path / "bids")
    data.add("sub-01_T1w.nii.gz", nb.load(head))
    out = tmp_path / "out"

    def run(*options):
        command = [str(data.root), str(out), "participant", *options]
        assert bids_app.main(command) == 0
        return capsys.readouterr().out

    anat = out / "sub-01" / "anat"
    run("--border", "4")
    found, spacing = read(anat / "sub-01_desc-brain_mask.nii.gz")
    np.testing.assert_array_equal(found, moved(*plain, 4))
    record = json.loads((anat / "sub-01_desc-brain_mask.json").read_text())
    assert record["Parameters"]["Border"] == 4
    assert record["BrainVolume"] == pytest.approx(found.sum() * np.prod(spacing) / 1000, abs=0.01)
    assert "moved by 4" in " ".join((out / "sub-01.html").read_text().split())
    assert "skipped" in run("--border", "4")
    assert "skipped" in run()  # what was asked for an image stays
    assert "1 done" in run("--reset-choices")
    np.testing.assert_array_equal(read(anat / "sub-01_desc-brain_mask.nii.gz")[0], plain[0])
    record = json.loads((anat / "sub-01_desc-brain_mask.json").read_text())
    assert "Border" not in record["Parameters"]


def test_a_border_that_leaves_nothing_is_an_error(head, tmp_path, capsys):
    command = ["extract", str(head), "-m", str(tmp_path / "m.nii"), "--border", "-100"]
    assert brainmask.main(command) == 1
    assert "the brain mask is empty with a border of -100 mm" in capsys.readouterr().err


@pytest.mark.parametrize("border", ["x", "101", "nan"])
def test_a_border_that_is_no_distance_is_refused(head, tmp_path, capsys, border):
    with pytest.raises(SystemExit, match="2"):
        brainmask.main(["extract", str(head), "-m", str(tmp_path / "m.nii"), "--border", border])
    assert "--border" in capsys.readouterr().err


def test_the_python_api_moves_the_edge(head, plain):
    brain = bids_brainmask.extract(head, model="embedded", border=3.0)
    np.testing.assert_array_equal(np.asanyarray(brain.mask.dataobj) > 0, moved(*plain, 3))


def test_a_border_without_end_is_refused():
    with pytest.raises(UsageError, match="border inf: expected a distance in mm"):
        bids_brainmask.Extractor(border=np.inf)
