# SPDX-License-Identifier: Apache-2.0
"""Images that are no heads, or not all of one: a mask, flagged or not, or a refusal, and no more.

Whether such a mask is flagged is a matter of the network; that nothing crashes or hangs is not.
"""

import json

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset, head_phantom
from scipy import ndimage

from bids_brainmask.cli import bids_app
from bids_brainmask.voxels import agreement, image

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SIDE = 48


def radius():
    """Distance of each voxel from the middle, mm."""
    middle = (SIDE - 1) / 2
    return 3 * np.linalg.norm(np.indices((SIDE,) * 3).T - middle, axis=-1).T


def uniform(rng):
    return rng.random((SIDE,) * 3)


def gaussian(rng):
    return rng.normal(0, 100, (SIDE,) * 3)


def speckles(rng):
    return 1000.0 * (rng.random((SIDE,) * 3) > 0.999)


def sphere(rng):
    return 100.0 * (radius() < 60)


def cube(rng):
    data = np.zeros((SIDE,) * 3)
    data[8:-8, 8:-8, 8:-8] = 100
    return data


def ramp(rng):
    return np.indices((SIDE,) * 3).sum(0).astype(float)


def stripes(rng):
    return 100.0 * (np.indices((SIDE,) * 3)[0] // 4 % 2)


def tomogram(rng):
    """Hounsfield units: air, skin, skull, brain."""
    units = np.select([radius() < r for r in (55, 62, 67)], [35, 1000, 50], -1000)
    return units + rng.normal(0, 5, units.shape)


def negative(rng):
    return -np.asanyarray(head_phantom((SIDE,) * 3).dataobj, dtype=float)


NO_HEADS = (uniform, gaussian, speckles, sphere, cube, ramp, stripes, tomogram, negative)


@pytest.fixture(scope="module")
def run(near_brain, tmp_path_factory):
    """Exit status, closing table and folders of one run over all of them."""
    folder = tmp_path_factory.mktemp("no_heads")
    data = Dataset(folder / "bids")
    rng = np.random.default_rng(1)
    for make in NO_HEADS:
        made = nb.Nifti1Image(make(rng).astype(np.float32), AFFINE)
        data.add(f"sub-{make.__name__}_T1w.nii.gz", made)
    picture, brain = near_brain
    voxels = picture.get_fdata(dtype=np.float32)
    brain = ndimage.binary_dilation(brain)
    stripped = nb.Nifti1Image(np.where(brain, voxels, 0), picture.affine)
    data.add("sub-stripped_T1w.nii.gz", stripped)
    data.add("sub-half_T1w.nii.gz", picture.slicer[: picture.shape[0] // 2])
    status = bids_app.main(
        [str(data.root), str(folder / "out"), "participant", "--analyses", "brain"]
    )
    return status, data.root, folder / "out"


NAMES = [*(make.__name__ for make in NO_HEADS), "stripped", "half"]


def sidecar(out, name):
    return json.loads((out / f"sub-{name}/anat/sub-{name}_desc-brain_mask.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_or_a_refusal(name, run):
    status, _, out = run
    assert status in (0, 1)
    mask = out / f"sub-{name}/anat/sub-{name}_desc-brain_mask.nii.gz"
    crashes = list((out / f"logs/sub-{name}").glob("*_crash-*.json"))
    assert mask.is_file() != bool(crashes)
    if crashes:
        record = json.loads(crashes[0].read_text())
        assert record["Error"] == "ImageError"
        assert "no brain was found" in record["Message"]
        return
    assert image.read_mask(mask).any()
    record = sidecar(out, name)
    assert record.get("Warning", "").startswith("doubtful") == bool(record["Doubts"])
    assert any("predicted Dice" in why for why in record["Doubts"]) == (
        record["PredictedDice"] < 0.9
    )
    assert record["Doubts"] or name == "stripped"


def test_a_brain_without_a_skull_is_kept_whole(run):
    _, root, out = run
    assert sidecar(out, "stripped")["AlreadyStripped"] is True
    there = image.read(root / "sub-stripped/anat/sub-stripped_T1w.nii.gz").volume.data != 0
    found = image.read_mask(out / "sub-stripped/anat/sub-stripped_desc-brain_mask.nii.gz")
    assert agreement.dice(found, there) > 0.99


def test_half_a_head_has_half_a_brain(run, near_brain):
    _, brain = near_brain
    found = image.read_mask(run[2] / "sub-half/anat/sub-half_desc-brain_mask.nii.gz")
    assert agreement.dice(found, brain[: len(brain) // 2]) > 0.85
