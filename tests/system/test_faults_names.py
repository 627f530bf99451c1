# SPDX-License-Identifier: Apache-2.0
"""Results that cannot be looked for: names that are too long, folders that are closed."""

import csv
import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from conftest import Dataset
from light import scale

from bids_brainmask.cli import bids_app
from bids_brainmask.dataset import readback
from bids_brainmask.models import backends

NOBODY = 65534
LONG = f"sub-02_acq-{'x' * (250 - len('sub-02_acq-_T1w.nii.gz'))}_T1w.nii.gz"


@pytest.fixture
def nobody():
    """Make this process nobody's, from whom root can keep something."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    if os.geteuid():
        yield folder
        return
    os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(0)


@pytest.fixture(autouse=True)
def _light_network(monkeypatch):
    """Replace every network by one comparison."""
    monkeypatch.setattr(backends, "load", backends.load)  # so that it is put back
    scale.dask_setup(None)


def level(root, out, name, *words):
    return bids_app.main([str(root), str(out), name, *words])


def images(out):
    """Images that the group level's table has."""
    with (out / "group_desc-brain_qc.tsv").open(newline="", encoding="utf-8") as file:
        return [row["image"] for row in csv.DictReader(file, delimiter="\t")]


def test_a_name_that_is_too_long_for_results_fails_alone(tmp_path, capsys, caplog):
    data, out = Dataset(tmp_path / "bids"), tmp_path / "out"
    data.add("sub-01_T1w.nii.gz", scale.head(1))
    assert len(data.add(LONG, scale.head(2)).name) == 250
    for counted in ("1 done, 0 skipped, 1 failed", "0 done, 1 skipped, 1 failed"):
        assert level(data.root, out, "participant") == 1
        said = capsys.readouterr().out
        assert counted in said
        row = re.search(r"^sub-02/\S+ +failed +(.*)$", said, re.M)[1]
        assert "File name too long" in row
        assert row.endswith("Shorten the labels in the name of the image.")
    records = list(out.glob("logs/sub-02/*_crash-*.json"))
    assert len(records) == 2
    assert json.loads(records[0].read_text())["Source"].endswith(LONG)
    assert "1 image failed" in (out / "sub-02.html").read_text()

    caplog.clear()
    assert level(data.root, out, "group") == 0
    assert images(out) == ["sub-01/anat/sub-01_desc-brain_mask.nii.gz"]
    assert f"1 failed images are missing in the tables: sub-02/anat/{LONG}" in caplog.text
    assert LONG in (out / "group_desc-brain.html").read_text()


def test_a_folder_of_results_that_may_not_be_entered_fails_its_scans_alone(nobody, capsys, caplog):
    data, out = Dataset(nobody / "bids"), nobody / "out"
    for number in (1, 2):
        data.add(f"sub-0{number}_T1w.nii.gz", scale.head(number))
    assert level(data.root, out, "participant") == 0
    closed = out / "sub-02"
    closed.chmod(0)
    try:
        capsys.readouterr()
        assert level(data.root, out, "participant") == 1
        said = capsys.readouterr().out
        assert "0 done, 1 skipped, 1 failed" in said
        assert re.search(r"sub-02_T1w.nii.gz +failed .*Permission denied.*permissions\.", said)
        assert level(data.root, out, "group") == 1
        assert f"{closed}: its results are missing in the tables: Permission denied" in caplog.text
        assert images(out) == ["sub-01/anat/sub-01_desc-brain_mask.nii.gz"]
    finally:
        closed.chmod(0o755)
    assert level(data.root, out, "participant") == 0
    assert level(data.root, out, "group") == 0
    assert len(images(out)) == 2


@pytest.mark.parametrize("folder", ["sub-01", "sub-01/ses-1", "sub-01/ses-1/anat"])
def test_closed_folders_are_listed(folder, nobody):
    (nobody / "sub-01/ses-1/anat").mkdir(parents=True)
    (nobody / "sub-02/anat").mkdir(parents=True)
    (nobody / "sub-03").write_text("a file")
    assert not readback.unreadable(nobody)
    (nobody / folder).chmod(0)
    try:
        (error,) = readback.unreadable(nobody)
        assert str(error.filename) == str(nobody / folder)
        assert readback.unreadable(nobody, ["02"]) == []
    finally:
        (nobody / folder).chmod(0o755)
