# SPDX-License-Identifier: Apache-2.0
"""A head and a network that take no time: what follows from a row does not depend on them."""

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask.models import backends


@pytest.fixture
def phantom(monkeypatch) -> nb.Nifti1Image:
    """A bright ball in a dim one, 16^3 voxels of 3 mm; bright is brain for every network."""

    def run(block):
        return np.clip(block - 0.2, 0, 1).astype(np.float32)

    monkeypatch.setattr(backends, "load", lambda *_: backends.Network(run, "arithmetic 1", 16))
    radius = 3 * np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0)
    noise = np.random.default_rng(0).integers(0, 4, radius.shape)
    data = np.select([radius < 15, radius < 20], [100, 40], 0) + noise
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -22.5
    image = nb.Nifti1Image(data.astype(np.int16), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image
