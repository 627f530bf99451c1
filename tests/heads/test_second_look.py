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


@pytest.mark.slow
def test_a_head_on_its_side_under_its_header(near_brain, network):
    picture, reference = near_brain
    affine = np.diag([*np.array(picture.header.get_zooms()[:3])[[2, 1, 0]], 1.0])
    data = picture.get_fdata(dtype=np.float32).transpose(2, 1, 0)[:, :, ::-1]
    source = image.Source(image.Volume(data, affine), nb.Nifti1Image(data, affine))
    found = brain.extract(source, MODEL, network, 0.5)
    assert found.look.orientation == "IAR"  # right of the head at I of the header, top at R
    assert found.look.orientation in found.warning
    assert agreement.dice(found.mask, reference.transpose(2, 1, 0)[:, :, ::-1]) > 0.975
    record = found.record()
    assert (record["HeadOrientation"], record["IntensitiesShown"]) == ("IAR", "as they are")
    assert record["AveragedWithMirrorImage"] is True


def test_a_head_whose_contrast_is_inverted(near_brain, network):
    picture, reference = near_brain
    data = inverted(picture.get_fdata(dtype=np.float32))
    source = image.Source(image.Volume(data, picture.affine), nb.Nifti1Image(data, picture.affine))
    found = brain.extract(source, MODEL, network, 0.5)
    assert (found.look.orientation, found.look.intensities) == ("RAS", "inverted")
    assert not found.warning
    assert agreement.dice(found.mask, reference) > 0.975
