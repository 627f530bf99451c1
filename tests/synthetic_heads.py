# SPDX-License-Identifier: Apache-2.0
"""A label map whose every distance is known: balls within balls, in 64^3 voxels of 1 mm."""

import nibabel as nb
import numpy as np

from bids_brainmask.train import label_maps
from bids_brainmask.train.ranges import Acquisition, Anatomy, FieldOfView
from bids_brainmask.train.tissues import TISSUES

AFFINE = np.array([[1.0, 0, 0, -40], [0, 1, 0, -10], [0, 0, 1, 20], [0, 0, 0, 1]])

NOTHING = {
    "anatomy": Anatomy(thin_table=0, dura=0, texture=(0, 0), lesion=0, fat=(9, 9)),
    "field_of_view": FieldOfView(ends=0, deface=0, strip=0, zero_air=0),
    "acquisition": Acquisition(
        bias=(0, 0), gamma=0, blur=(0, 0), thick=0, in_plane=(1, 1), noise=0, motion=0, ghost=0,
        clip=0, eight_bit=0,
    ),
    "gain": 0.0,
}  # fmt: skip
"""Ranges in which a head is given the means of its tissues, and nothing else happens."""

RAMP = {name: (0.1 + number / 40,) * 2 for number, name in enumerate(TISSUES) if name != "white"}
"""Of each tissue but white matter, its one intensity."""


def label_map():
    """Labels of the package's table: skin, soft tissue, bone, CSF, cortex, white matter."""
    radius = np.sqrt(((np.indices((64, 64, 64)) - 32) ** 2).sum(0))
    left = np.indices((64, 64, 64))[0] < 32
    labels = np.zeros((64, 64, 64), np.uint8)
    for limit, label in [(28, 48), (26, 45), (22, 51), (18, 16)]:
        labels[radius < limit] = label
    labels[radius < 15] = np.where(left, 2, 22)[radius < 15]
    labels[radius < 11] = np.where(left, 1, 21)[radius < 11]
    return labels


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.save(nb.Nifti1Image(values, AFFINE), path)


def head_with_sheets():
    """A ball with two hemispheres and a cerebellum, and fluid between them, in 96^3 voxels.

    Bone begins 40 mm from the middle, skin at 45. The falx is the plane ``i = 48``; the tentorium
    is the plane ``k = 30``.
    """
    i, _, k = np.indices((96, 96, 96)) - 48
    radius = np.sqrt(((np.indices((96, 96, 96)) - 48.0) ** 2).sum(0))
    labels = np.zeros((96, 96, 96), np.uint8)
    for limit, label in [(47, 48), (45, 51), (40, 16)]:
        labels[radius < limit] = label
    above, below = k > -17, k < -19
    brain = (radius < 38) & ((np.abs(i) > 1) | below) & (above | below)
    labels[brain & above] = np.where(i < 0, 2, 22)[brain & above]
    labels[brain & above & (radius < 32) & (np.abs(i) > 5) & (k > -12)] = 1
    labels[brain & above & (radius < 32) & (i > 5) & (k > -12)] = 21
    labels[brain & below] = np.where(i < 0, 6, 26)[brain & below]
    return labels


def laid_out(folder, values, table):
    """The only head of a folder of label maps."""
    write(folder / "one_dseg.nii.gz", values)
    return label_maps.lay_out(folder, table, (), folder / "out")[0]
