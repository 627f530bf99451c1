# SPDX-License-Identifier: Apache-2.0
"""A real head under a header that turns it, and with inverted contrast: a second look finds it."""

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask.analyses import brain
from bids_brainmask.models import registry
from bids_brainmask.voxels import agreement, image
from bids_brainmask.voxels.looks import inverted

MODEL = registry.models()["embedded"]


@pytest.fixture(scope="module")
def head(shared):
    """A head, (R, A, S), within 20 mm of its brain, and its brain by another program."""
    folder = shared / "data/heads"
    path = "sub-pumi/anat/sub-pumi"
    picture = nb.as_closest_canonical(nb.load(folder / f"{path}_T1w.nii.gz"))
    mask = nb.load(folder / f"derivatives/deepbet/{path}_desc-brain_mask.nii.gz")
    brain = np.asanyarray(nb.as_closest_canonical(mask).dataobj) > 0
    reach = np.ceil(20 / np.array(picture.header.get_zooms()[:3])).astype(int)
    places = np.argwhere(brain)
    first = np.maximum(places.min(0) - reach, 0)
    box = tuple(map(slice, first, places.max(0) + reach))
    return picture.slicer[box], brain[box]


@pytest.mark.slow
def test_a_head_on_its_side_under_its_header(head, network):
    picture, reference = head
    affine = np.diag([*np.array(picture.header.get_zooms()[:3])[[2, 1, 0]], 1.0])
    data = picture.get_fdata(dtype=np.float32).transpose(2, 1, 0)[:, :, ::-1]
    source = image.Source(image.Volume(data, affine), nb.Nifti1Image(data, affine))
    found = brain.extract(source, MODEL, network, 0.5)
    assert found.look.orientation == "IAR"  # right of the head at I of the header, top at R
    assert found.look.orientation in found.warning
    assert agreement.dice(found.mask, reference.transpose(2, 1, 0)[:, :, ::-1]) > 0.975
    record = found.record()
    assert (record["HeadOrientation"], record["IntensitiesShown"]) == ("IAR", "as they are")


def test_a_head_whose_contrast_is_inverted(head, network):
    picture, reference = head
    data = inverted(picture.get_fdata(dtype=np.float32))
    source = image.Source(image.Volume(data, picture.affine), nb.Nifti1Image(data, picture.affine))
    found = brain.extract(source, MODEL, network, 0.5)
    assert (found.look.orientation, found.look.intensities) == ("RAS", "inverted")
    assert not found.warning
    assert agreement.dice(found.mask, reference) > 0.975
