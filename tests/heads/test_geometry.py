# SPDX-License-Identifier: Apache-2.0
"""A real head, stored in every way there is: the mask lands on the same anatomy."""

import nibabel as nb
import numpy as np
import pytest
from conftest import AXCODES
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.processing import resample_from_to
from scipy.spatial.transform import Rotation

from bids_brainmask.analyses import brain as brains
from bids_brainmask.models import registry
from bids_brainmask.voxels import cleanup, image
from bids_brainmask.voxels.agreement import dice

MODEL = registry.models()["embedded"]


@pytest.fixture(scope="module")
def head(shared):
    return nb.load(shared / "data/heads/sub-pumi/anat/sub-pumi_T1w.nii.gz")


@pytest.fixture(scope="module")
def extract(network, tmp_path_factory):
    """Write an image, read it as the app does, and give its mask on its grid."""
    path = tmp_path_factory.mktemp("heads") / "t1.nii"

    def run(picture):
        nb.save(picture, path)
        source = image.read(path)
        brain = brains.extract(source, MODEL, network, 0.5)
        content = image.to_bytes(image.mask_like(source, brain.mask), compress=False)
        mask = nb.Nifti1Image.from_bytes(content)
        raw = nb.load(path)
        np.testing.assert_array_equal(mask.affine, raw.affine)
        assert mask.shape == raw.shape[:3]
        return mask

    return run


@pytest.fixture(scope="module")
def reference(extract, head):
    return extract(head)


def agreement(mask, reference):
    """Dice on the grid of `mask`, to which the reference is brought by nibabel."""
    there = resample_from_to(reference, mask, order=1).get_fdata() > 0.5
    return dice(np.asanyarray(mask.dataobj) > 0, there)


@pytest.mark.parametrize("codes", AXCODES)
def test_every_orientation(codes, head, extract, reference):
    turn = ornt_transform(io_orientation(head.affine), axcodes2ornt(tuple(codes)))
    turned = head.as_reoriented(turn)
    assert nb.aff2axcodes(turned.affine) == tuple(codes)
    assert agreement(extract(turned), reference.as_reoriented(turn)) >= 0.98


def oblique(head):
    """Resample the head as if the slices had been turned by 20 degrees about two axes."""
    matrix = Rotation.from_euler("xy", [20, 20], degrees=True).as_matrix()
    middle = (head.affine @ [*(np.array(head.shape) - 1) / 2, 1])[:3]
    affine = np.eye(4)
    affine[:3, :3] = matrix * 2
    shape = (110, 140, 140)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return resample_from_to(head, (shape, affine), order=1)


def turned_header(head):
    """Say of the same voxels that the head was tilted by 20 degrees about two axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xy", [20, 20], degrees=True).as_matrix()
    return nb.Nifti1Image(np.asanyarray(head.dataobj), matrix @ head.affine)


def test_oblique_slices(head, extract, reference):
    assert agreement(extract(oblique(head)), reference) >= 0.98


def test_oblique_header(head, extract, reference):
    mask = extract(turned_header(head))
    found = np.asanyarray(mask.dataobj) > 0
    assert dice(found, np.asanyarray(reference.dataobj) > 0) >= 0.98


def test_thick_slices(head, extract, reference):
    affine = head.affine.copy()
    affine[:3, :3] = head.affine[:3, :3] / 2 @ np.diag([1, 1, 3])
    shape = (head.shape[0] * 2, head.shape[1] * 2, head.shape[2] * 2 // 3)
    thick = resample_from_to(head, (shape, affine), order=1)
    np.testing.assert_allclose(nb.affines.voxel_sizes(thick.affine), [1, 1, 3])
    assert agreement(extract(thick), reference) >= 0.95


def test_transforms_that_disagree(head, extract, reference):
    """The sform rules, as everywhere in the field; the qform is carried along untouched."""
    data = np.asanyarray(head.dataobj)
    other = nb.Nifti1Image(data, head.affine)
    shifted = head.affine.copy()
    shifted[:3, 3] += [10, -20, 30]
    other.set_qform(shifted, 1)
    other.set_sform(head.affine, 2)
    mask = extract(other)
    np.testing.assert_allclose(mask.get_qform(), shifted, atol=1e-4)
    assert agreement(mask, reference) >= 0.98


def stored(head, dtype, *, slope=None, inter=0.0, order="<", shape=None):
    """Store the head's intensities in another way."""
    data = head.get_fdata()
    header = nb.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    if np.dtype(dtype).itemsize == 1:
        data = data / data.max() * 255
    if slope:
        data = (data - inter) / slope
    if np.dtype(dtype).kind in "iu":
        data = np.round(data)
    made = nb.Nifti1Image(data.astype(dtype).reshape(shape or data.shape), None, header)
    made.set_sform(head.affine, 1)
    made.set_qform(head.affine, 1)
    if slope:
        made.header.set_slope_inter(slope, inter)
    return made


STORAGE = {
    "one frame": {"dtype": np.int16, "shape": (96, 128, 128, 1)},
    "slope and intercept": {"dtype": np.int16, "slope": 0.05, "inter": 100.0},
    "float64": {"dtype": np.float64},
    "uint8": {"dtype": np.uint8},
    "big-endian": {"dtype": np.int16, "order": ">"},
}


@pytest.mark.parametrize("kind", STORAGE)
def test_every_storage(kind, head, extract, reference):
    assert agreement(extract(stored(head, **STORAGE[kind])), reference) >= 0.98


def test_the_reference_agrees_with_that_of_another_tool(reference, shared):
    path = shared / "data/heads/derivatives/deepbet/sub-pumi/anat/sub-pumi_desc-brain_mask.nii.gz"
    truth = image.read_mask(path)
    assert dice(np.asanyarray(reference.dataobj) > 0, truth) > 0.96


def test_a_head_in_noise_of_a_fifth_of_white_matter_is_found(head, reference, extract):
    """Where the air is grey, and ends with the field of view."""
    data = head.get_fdata(dtype=np.float32)
    inside = np.asanyarray(reference.dataobj) > 0
    deviation = 0.2 * np.percentile(data[inside], 90)
    real, imaginary = np.random.default_rng(0).normal(0, deviation, (2, *data.shape))
    noisy = nb.Nifti1Image(np.hypot(data + real, imaginary).astype(np.float32), head.affine)
    assert agreement(extract(noisy), reference) > 0.97


@pytest.mark.parametrize("name", ["sub-01", "sub-27"])
def test_a_stripped_brain_comes_back_whole(shared, network, name):
    path = shared / f"data/stripped/{name}/anat/{name}_T1w.nii.gz"
    source = image.read(path)
    brain = brains.extract(source, MODEL, network, 0.5)
    assert brain.stripped
    assert dice(brain.mask, source.volume.data != 0) > 0.9999
    assert brain.remarks.startswith("already skull-stripped, kept whole")
    alone = cleanup.brain(brain.probability >= 0.5).mask
    assert dice(alone, source.volume.data != 0) > 0.95


def test_a_head_is_not_taken_for_a_stripped_brain(head, network, tmp_path):
    nb.save(head, tmp_path / "t1.nii")
    brain = brains.extract(image.read(tmp_path / "t1.nii"), MODEL, network, 0.5)
    assert not brain.stripped
    assert "stripped" not in brain.remarks
