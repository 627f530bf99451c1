# SPDX-License-Identifier: Apache-2.0
"""Which mask the numbers about a brain are measured of."""

from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from bids_brainmask.analyses import brain, confidence, plausibility, rows
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import cleanup, image
from bids_brainmask.voxels.inference import Options

MODEL = replace(registry.models()["embedded"], intensities="robust")


def inside(block):
    """Probability 0.9 in what is bright, but for a rim of 3 mm."""
    return np.float32(0.9) * ndimage.binary_erosion(block > 0.3, iterations=3)


@pytest.fixture
def stripped(phantom, tmp_path):
    """A bright ball in nothing: an image that holds a brain alone."""
    data = np.asanyarray(phantom.dataobj).copy()
    data[data == 40] = 0
    path = tmp_path / "stripped.nii"
    nb.save(nb.Nifti1Image(data, phantom.affine), path)
    return image.read(path)


def test_quality_is_of_the_mask_that_is_written_and_confidence_of_the_networks_own(stripped):
    found = brain.extract(stripped, MODEL, backends.Network(inside, "arithmetic 1", 16), 0.5)
    own = cleanup.brain(found.probability >= 0.5)
    assert found.stripped
    assert (found.mask == (stripped.volume.data > 0)).all()
    assert own.mask.sum() < found.mask.sum()
    assert found.quality["volume_ml"] == pytest.approx(found.volume_ml, abs=1e-3)

    def measured(mask):
        return confidence.of(mask, found.probability, stripped.volume.spacing, own.removed)

    assert found.confidence == measured(own.mask) != measured(found.mask)
    assert found.predicted_dice == measured(own.mask).predicted_dice(MODEL.confidence)


def test_the_options_reach_the_network(stripped):
    blocks = []

    def network(block):
        blocks.append(block)
        return inside(block)

    ready = backends.Network(network, "arithmetic 1", 16)
    brain.extract(stripped, replace(MODEL, confidence=()), ready, 0.5, Options(flips=True))
    assert len(blocks) == 2
    assert (blocks[0] == blocks[1][::-1]).all()


def test_a_mask_that_is_not_sure_is_the_mean_with_that_of_the_mirror_image(stripped, monkeypatch):
    """The network is a fifth less sure of the half of an image that comes first."""
    monkeypatch.setattr(plausibility, "is_object", lambda *_: False)  # a ball is no head
    seen = []

    def network(block):
        seen.append(block)
        left = np.where(np.arange(len(block)) < len(block) / 2, np.float32(0.8), np.float32(1))
        return inside(block) * left[:, None, None]

    ready = backends.Network(network, "arithmetic 1", 16)
    found = brain.extract(stripped, MODEL, ready, 0.5)
    assert found.mirrored
    assert found.record()["AveragedWithMirrorImage"] is True
    assert any(np.array_equal(block, seen[0][::-1]) for block in seen[1:])
    assert set(found.probability.round(3).ravel()) == {np.float32(0), np.float32(0.81)}


def test_the_name_of_a_scan_is_its_prefix_and_a_suffix_that_is_not_t1w():
    assert rows.scan_key("sub-01_ses-1", "T1w") == "sub-01_ses-1"
    assert rows.scan_key("sub-01_ses-1", "T2w") == "sub-01_ses-1_T2w"


def test_a_threshold_of_ones_own_does_not_change_how_the_image_is_seen(stripped):
    seen = []

    def network(block):
        seen.append(block)
        return inside(block) * np.float32(0.5)  # 0.45 inside: no brain at the model's threshold

    ready = backends.Network(network, "arithmetic 1", 16)
    assert brain.extract(stripped, MODEL, ready, 0.4).mask.any()
    assert len(seen) == 1


def test_no_brain_at_a_threshold_of_ones_own_is_refused(stripped):
    """Also where the model's own threshold would leave doubts that ask for a second look."""
    ready = backends.Network(inside, "arithmetic 1", 16)
    assert 0.75 < brain.extract(stripped, MODEL, ready, 0.5).predicted_dice < 0.97
    with pytest.raises(ImageError, match=r"probability is 0\.90, the threshold is 0\.95"):
        brain.extract(stripped, MODEL, ready, 0.95)
