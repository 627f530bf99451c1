# SPDX-License-Identifier: Apache-2.0
"""Extract the brain of one phantom head, and compare it with the truth: on any system."""

import sys
import tempfile
from pathlib import Path

import bids_brainmask
from bids_brainmask.demo import phantom
from bids_brainmask.voxels import image
from bids_brainmask.voxels.agreement import dice

GOOD = 0.9

if __name__ == "__main__":
    head, truth = phantom.head(spacing=2.0)[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.nii.gz"
        bids_brainmask.extract(head, model="embedded").save(mask=path)
        found = dice(image.read_mask(path), image.read_mask(truth))
    print(f"{sys.platform}: Dice {found:.3f}")
    sys.exit(int(found < GOOD))
