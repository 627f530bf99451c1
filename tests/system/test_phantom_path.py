# SPDX-License-Identifier: Apache-2.0
"""The main path on phantoms, as the command line goes it: nothing is needed beside the checkout.

A dataset, masks and brains that agree with the truth, tumors looked for, pages, the group level.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask.cli import bids_app
from bids_brainmask.demo import phantom, phantom_dataset
from bids_brainmask.voxels import agreement, image

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
SCANS = ("sub-phantom01", "sub-phantom02_ses-1", "sub-phantom02_ses-1_ce-gadolinium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a raw dataset of three phantoms at 2 mm, `bids`, and of its results, `out`."""
    folder = tmp_path_factory.mktemp("phantoms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIDS_BRAINMASK_MODELS", str(folder / "models"))
        patch.setattr(phantom, "head", partial(phantom.head, spacing=2.0))
        phantom_dataset.write_dataset(folder / "bids")
        places = [str(folder / "bids"), str(folder / "out")]
        assert bids_app.main([*places, "participant", "--executor", "serial"]) == 0
        assert bids_app.main([*places, "group"]) == 0
    return folder


def anat(scan: str) -> Path:
    """Folder of a scan in a dataset."""
    return Path(*[part for part in scan.split("_") if not part.startswith("ce-")], "anat")


@pytest.mark.parametrize("scan", SCANS)
def test_masks_are_the_true_ones_and_brains_lie_in_them(folder, scan):
    name = f"{scan}_desc-brain_mask.nii.gz"
    mask = image.read_mask(folder / "out" / anat(scan) / name)
    truth = image.read_mask(folder / "bids/derivatives/truth" / anat(scan) / name)
    assert agreement.dice(mask, truth) > 0.95
    raw = nb.load(folder / "bids" / anat(scan) / f"{scan}_T1w.nii.gz")
    brain = nb.load(folder / "out" / anat(scan) / f"{scan}_desc-brain_T1w.nii.gz")
    np.testing.assert_array_equal(brain.affine, raw.affine)
    np.testing.assert_array_equal(
        np.asanyarray(brain.dataobj)[mask], np.asanyarray(raw.dataobj)[mask]
    )


@pytest.mark.parametrize("scan", SCANS)
def test_meningiomas_are_looked_for_where_there_is_contrast(folder, scan):
    found = list((folder / "out" / anat(scan)).glob(f"{scan}_label-tumor_*mask.json"))
    assert len(found) == ("ce-" in scan)
    for sidecar in found:
        assert json.loads(sidecar.read_text())["LesionCount"] >= 0


def test_everyone_has_a_page_and_all_have_one(folder):
    pages = {path.name for path in (folder / "out").glob("*.html")}
    assert pages == {"sub-phantom01.html", "sub-phantom02.html", "group_desc-brain.html"}
    rows = (folder / "out/group_desc-brain_qc.tsv").read_text().splitlines()
    assert len(rows) == 1 + len(SCANS)


def test_the_validator_is_silent(folder):
    done = subprocess.run(
        [VALIDATOR, folder / "out", "--ignoreWarnings"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
