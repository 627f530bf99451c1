# SPDX-License-Identifier: Apache-2.0
"""A mask against a reference."""

from __future__ import annotations

from collections.abc import Sequence

from bids_brainmask.voxels import image as images
from bids_brainmask.voxels import nifti
from bids_brainmask.voxels.agreement import Agreement, agreement
from bids_brainmask.voxels.lesion_agreement import (
    MINIMUM_IOU,
    LesionAgreement,
    lesion_agreement,
)
from bids_brainmask.voxels.nifti import ImageLike


def evaluate(prediction: ImageLike, reference: ImageLike, labels: Sequence[int] = ()) -> Agreement:
    """Compare a mask with a reference, as ``brainmask evaluate`` does.

    Parameters
    ----------
    prediction, reference : path or nibabel image
        Masks or label maps on one grid, (I, J, K): whole numbers.
    labels : sequence of int
        Values that count as the structure, in both; all but 0 if empty.

    Returns
    -------
    Agreement
        Dice and Jaccard coefficients, sensitivity and precision, in [0, 1]; volume error in mL
        and in %; 95th percentile of the Hausdorff distance, and average symmetric surface
        distance, in mm. NaN is a measure without a value.

    Raises
    ------
    ImageError
        An image cannot be read, holds fractions, or is on another grid than the other.

    Examples
    --------
    Two boxes of 10 x 10 x 10 voxels of 8 mm³, one voxel apart.

    >>> import bids_brainmask
    >>> import nibabel
    >>> import numpy
    >>> data = numpy.zeros((32, 32, 32), "uint8")
    >>> data[10:20, 10:20, 10:20] = 1
    >>> affine = numpy.diag([2.0, 2.0, 2.0, 1.0])
    >>> reference = nibabel.Nifti1Image(data, affine)
    >>> prediction = nibabel.Nifti1Image(numpy.roll(data, 1, axis=0), affine)
    >>> found = bids_brainmask.evaluate(prediction, reference)
    >>> found.dice
    0.9
    >>> found.volume_error_ml
    0.0
    >>> found.hd95_mm
    2.0
    """
    names = nifti.name(prediction), nifti.name(reference)
    one, other = (images.read_structure(each, labels) for each in (prediction, reference))
    images.check_same_grid(names, (one, other))
    return agreement(one.data, other.data, other.spacing)


def evaluate_lesions(
    prediction: ImageLike,
    reference: ImageLike,
    labels: Sequence[int] = (),
    minimum_iou: float = MINIMUM_IOU,
) -> LesionAgreement:
    """Compare the lesions of a mask with those of a reference, as ``evaluate --lesions`` does.

    Parameters
    ----------
    prediction, reference : path or nibabel image
        Masks or label maps on one grid, (I, J, K): whole numbers.
    labels : sequence of int
        Values that count as a lesion, in both; all but 0 if empty.
    minimum_iou : float
        Least intersection over union of a matched pair, in (0, 1].

    Returns
    -------
    LesionAgreement
        Lesions of both with volumes, Dice and HD95; sensitivity, precision and F1; Dice and HD95
        by the rule of BraTS.

    Raises
    ------
    ImageError
        An image cannot be read, holds fractions, or is on another grid than the other.
    ValueError
        `minimum_iou` is outside of (0, 1].

    Examples
    --------
    A lesion of 8 mL that is found, and one that is missed.

    >>> import bids_brainmask
    >>> import nibabel
    >>> import numpy
    >>> data = numpy.zeros((32, 32, 32), "uint8")
    >>> data[4:14, 4:14, 4:14] = 1
    >>> affine = numpy.diag([2.0, 2.0, 2.0, 1.0])
    >>> prediction = nibabel.Nifti1Image(data.copy(), affine)
    >>> data[20:24, 20:24, 20:24] = 1
    >>> reference = nibabel.Nifti1Image(data, affine)
    >>> found = bids_brainmask.evaluate_lesions(prediction, reference)
    >>> found.sensitivity
    0.5
    >>> found.brats_dice
    0.5
    >>> [lesion.reference_ml for lesion in found.lesions]
    [8.0, 0.512]
    """
    names = nifti.name(prediction), nifti.name(reference)
    one, other = (images.read_structure(each, labels) for each in (prediction, reference))
    images.check_same_grid(names, (one, other))
    return lesion_agreement(one.data, other.data, other.spacing, minimum_iou)
