# SPDX-License-Identifier: Apache-2.0
"""Rigid registration of two images of one head, by SimpleITK, and how well it fits.

SimpleITK is Insight Software Consortium's, well kept, one wheel without dependencies, and gives
the same answer for the same images. Yaniv et al. 2018, https://doi.org/10.1007/s10278-017-0037-8.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import scipy

from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.voxels import agreement
from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.masks import bounds

if TYPE_CHECKING:
    import SimpleITK

TO_LPS = np.diag([-1.0, -1, 1, 1])
"""ITK's world is LPS+."""

MARGIN_MM = 8.0
"""Kept around the brain."""

LEAST_OVERLAP = 0.9
"""Dice of two brain masks under which a registration has failed. Masks of one brain by one
network overlap by 0.95 and more; two brains that are not aligned, by less than 0.9."""

MOST_SKEW = 1e-3
"""Cosine between axes up to which a grid is taken to have right angles."""


def rigid(
    fixed: Volume, moving: Volume, fixed_brain: np.ndarray, moving_brain: np.ndarray
) -> np.ndarray:
    """Find the motion that takes each place of one image to the same place of another.

    The brains alone are compared, by mutual information (Mattes 2003,
    https://doi.org/10.1109/TMI.2003.809072), from the centers of their masks on.

    Parameters
    ----------
    fixed, moving : Volume
        Images of one head.
    fixed_brain, moving_brain : (I, J, K) bool array
        Their brain masks.

    Returns
    -------
    (4, 4) array
        World coordinates, mm, RAS+, of the fixed image to those of the moving one.

    Raises
    ------
    UsageError
        SimpleITK is not installed.
    ImageError
        A mask is empty, axes are not at right angles, or the optimizer fails.
    """
    sitk = library()
    for mask in (fixed_brain, moving_brain):
        if not mask.any():
            raise ImageError("registration: a brain mask is empty")
    middles = [_middle(v, m) for v, m in ((fixed, fixed_brain), (moving, moving_brain))]
    images = [_cut(v, m) for v, m in ((fixed, fixed_brain), (moving, moving_brain))]
    one, other = (_itk(sitk, volume) for volume, _ in images)
    inside = _itk(sitk, images[0][1])
    start = sitk.Euler3DTransform()
    start.SetCenter((TO_LPS[:3, :3] @ middles[0]).tolist())
    start.SetTranslation((TO_LPS[:3, :3] @ (middles[1] - middles[0])).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in another order are not the same to the last bit
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(inside > 0.5)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([0.5, 0.2], 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 150, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(one, other)
    except RuntimeError as error:
        said = str(error).splitlines()[-1].rpartition("): ")[2].strip()  # without an address
        raise ImageError(f"registration: the optimizer fails: {said}") from error
    turn, center = np.array(start.GetMatrix()).reshape(3, 3), np.array(start.GetCenter())
    found = np.eye(4)
    found[:3, :3] = turn
    found[:3, 3] = center + np.array(start.GetTranslation()) - turn @ center
    return TO_LPS @ found @ TO_LPS


def check_overlap(motion: np.ndarray, fixed: Volume, moving: Volume) -> float:
    """Give the Dice of two brain masks after a registration.

    Parameters
    ----------
    motion : (4, 4) array
        As of `rigid`.
    fixed, moving : Volume
        Brain masks, bool.

    Raises
    ------
    ImageError
        It is under `LEAST_OVERLAP`.
    """
    moved = onto(fixed, moving, motion)
    dice = float(agreement.dice(fixed.data, moved))
    if dice < LEAST_OVERLAP:
        raise ImageError(
            f"registration: after it, the brain masks overlap with a Dice of {dice:.2f} only, "
            f"expected {LEAST_OVERLAP:g}. Check both brain masks, and that the images are of one "
            "head."
        )
    return dice


def onto(fixed: Volume, moving: Volume, motion: np.ndarray, order: int = 0) -> np.ndarray:
    """Sample a moving image on the grid of a fixed one; 0 outside of its field of view.

    Parameters
    ----------
    fixed, moving : Volume
    motion : (4, 4) array
        As of `rigid`.
    order : int
        Of the splines: 0 for labels, 1 for intensities.
    """
    matrix = np.linalg.inv(moving.affine) @ motion @ fixed.affine
    data = moving.data.astype(np.uint8) if moving.data.dtype == bool else moving.data
    where = (matrix[:3, :3], matrix[:3, 3])
    found = scipy.ndimage.affine_transform(data, *where, fixed.data.shape, order=order)
    return found.astype(moving.data.dtype)


def library() -> ModuleType:
    """Import SimpleITK.

    Raises
    ------
    UsageError
        It is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise UsageError(
            "lesions are followed over sessions with SimpleITK, which is not installed: "
            "pip install SimpleITK."
        ) from error
    return SimpleITK


def _middle(volume: Volume, mask: np.ndarray) -> np.ndarray:
    middle = np.argwhere(mask).mean(0)
    return volume.affine[:3, :3] @ middle + volume.affine[:3, 3]


def _cut(volume: Volume, mask: np.ndarray) -> tuple[Volume, Volume]:
    """Cut an image and its mask to the brain and a margin."""
    box = bounds(mask) or ()
    steps = np.ceil(MARGIN_MM / volume.spacing).astype(int)
    wide = tuple(
        slice(max(side.start - step, 0), side.stop + step)
        for side, step in zip(box, steps, strict=True)
    )
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in wide]
    return Volume(volume.data[wide], affine), Volume(mask[wide], affine)


def _itk(sitk: ModuleType, volume: Volume) -> SimpleITK.Image:
    """Make an image of SimpleITK, float32; its arrays have the axes in reverse order."""
    affine = TO_LPS @ volume.affine
    axes = affine[:3, :3] / volume.spacing
    if abs(axes.T @ axes - np.eye(3)).max() > MOST_SKEW:
        raise ImageError("registration: the axes of an image are not at right angles")
    left, _, right = np.linalg.svd(axes)
    made = sitk.GetImageFromArray(volume.data.astype(np.float32).transpose())
    made.SetSpacing(volume.spacing.tolist())
    made.SetOrigin(affine[:3, 3].tolist())
    made.SetDirection((left @ right).ravel().tolist())
    return made
