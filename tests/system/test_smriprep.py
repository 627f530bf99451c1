# SPDX-License-Identifier: Apache-2.0
"""Exported masks in sMRIPrep's own code, which has an environment of its own."""

import json
import subprocess
from pathlib import Path

import nibabel as nb
import numpy as np
import other_programs
import pytest
from conftest import ROOT, head_phantom
from export_phantoms import ExportedDataset, places, turned

pytestmark = pytest.mark.slow

ORIENTATIONS = {"01": "RAS", "02": "LAS", "03": "PIR", "04": "LPI", "05": "ASR", "06": "SLP"}


@pytest.fixture(scope="module")
def python():
    """Python of an environment with sMRIPrep."""
    return other_programs.python("smriprep", other_programs.SMRIPREP)


@pytest.fixture(scope="module")
def taken(python, tmp_path_factory):
    """What sMRIPrep makes of every participant, and the dataset."""
    folder = tmp_path_factory.mktemp("smriprep")
    data = ExportedDataset(folder)
    for label, codes in ORIENTATIONS.items():
        data.add(f"sub-{label}", turned(codes, tilt=0 if label < "04" else 11.3))
    data.add("sub-07_run-1", turned("LPS"))
    data.add("sub-07_run-2", turned("RAS", 5))
    data.add("sub-08_acq-plain", turned("RIP"))
    data.add("sub-08_ce-gad", head_phantom())
    crooked = turned("PSR", 8)
    moved = crooked.affine.copy()
    moved[2, 3] += 4
    crooked.set_qform(moved, 1)
    data.add("sub-09", crooked)
    data.add("sub-10_ses-1", turned("LAS"))
    data.add("sub-10_ses-2", turned("RAS", 3))
    wanted = [f"{number:02}" for number in range(1, 11)]
    assert data.export("fmriprep", folder / "whole") == 0
    assert data.export("fmriprep", folder / "each", "--per", "session") == 0
    found = {}
    for name, words in (("whole", wanted), ("each", ["10/1", "10/2"])):
        script = ROOT / "tests/system/smriprep_reference.py"
        command = [python, script, data.raw.root, folder / name, folder / f"work-{name}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
        found |= json.loads(done.stdout.splitlines()[-1])
    return data, found


@pytest.mark.parametrize("label", [*ORIENTATIONS, "07", "08", "09", "10", "10/1", "10/2"])
def test_the_mask_is_on_the_reference(taken, label):
    """sMRIPrep finds one mask, accepts its grid, and keeps the brain's voxels where they were."""
    data, found = taken
    assert "error" not in found[label], found[label]
    mask, masked = nb.load(found[label]["mask"]), nb.load(found[label]["masked"])
    assert found[label]["codes"] == ["R", "A", "S"]
    assert mask.shape == masked.shape
    name = Path(found[label]["mask"]).name.replace("desc-brain_mask", "T1w")
    (raw,) = data.raw.root.rglob(name)
    # by the sform, with which the mask was made
    np.testing.assert_allclose(places(masked, 100), places(nb.load(raw), 100), atol=0.01)


def test_it_takes_the_written_image_where_there_are_several(taken):
    _, found = taken
    references = {
        label: one["preproc"] and Path(one["preproc"]).name for label, one in found.items()
    }
    assert {label for label, name in references.items() if name} == {"07", "08", "09", "10"}
    assert references["07"] == "sub-07_run-1_desc-preproc_T1w.nii.gz"
    assert references["08"] == "sub-08_acq-plain_desc-preproc_T1w.nii.gz"
    assert [len(found[label]["images"]) for label in ("01", "07", "08", "10", "10/1")] == [
        *(1, 2, 2, 2, 1)
    ]


def test_another_grid_would_be_found_out(python, taken, tmp_path):
    """Its check of the grid is at work: a mask as the app writes it fails unless it is RAS."""
    data, _ = taken
    script = ROOT / "tests/system/smriprep_reference.py"
    command = [python, script, data.raw.root, data.out, tmp_path / "work", "01", "03"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert "error" not in found["01"]
    assert "Image and mask" in found["03"]["error"]


def test_the_exported_dataset_is_valid(taken, issues):
    data, _ = taken
    assert not issues(data.out.parent / "whole")
