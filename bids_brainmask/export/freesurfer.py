# SPDX-License-Identifier: Apache-2.0
"""Masks for FreeSurfer: ``brainmask.mgz`` where ``recon-all -autorecon2`` looks for it.

``recon-all -autorecon1 -noskullstrip`` writes ``T1.mgz``, on a grid of 256^3 voxels of 1 mm and
with normalized intensities. ``brainmask.mgz`` is that image inside the brain. Where there is no
``T1.mgz`` yet, one is made from the source, on the same grid, but not normalized.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_brainmask.dataset import storage
from bids_brainmask.errors import ImageError
from bids_brainmask.export import fmriprep, heads
from bids_brainmask.export.heads import Head
from bids_brainmask.voxels import grid, mgh
from bids_brainmask.voxels.image import Volume

SAME_PLACE = 0.01
"""Largest difference of FreeSurfer's grid from ours, mm."""


def write(found: Sequence[Head], dest: Path) -> tuple[list[Path], str]:
    """Write ``brainmask.mgz``, and ``T1.mgz`` if it is absent, for one participant or session.

    Parameters
    ----------
    found : sequence of Head
    dest : Path
        FreeSurfer's SUBJECTS_DIR.

    Returns
    -------
    files : list of Path
    note : str
        The image, and the source of the intensities.

    Raises
    ------
    ImageError
        As `fmriprep.choose` and `heads.load`; ``brainmask.mgz`` exists; the brain is partly
        outside of FreeSurfer's grid; or ``T1.mgz`` is on another grid than that of the image.
    """
    head = fmriprep.choose(found)
    mri = dest / subject(found) / "mri"
    if (mri / "brainmask.mgz").exists():
        raise ImageError(
            f"{mri / 'brainmask.mgz'}: already there, perhaps edited by hand. Remove it to have "
            "it written."
        )
    source, mask = heads.load(head)
    target = grid.fsconform(source.volume)
    inside = grid.resample(Volume(mask.astype(np.float32), source.volume.affine), target) >= 0.5
    expected = mask.sum() * np.prod(source.volume.spacing)
    if inside.sum() < 0.98 * expected:
        raise ImageError(
            f"{head.scan.relative}: the brain is partly outside of FreeSurfer's grid of 256 mm "
            "about the middle of the image. Crop the image about the head."
        )
    contents = {}
    if (mri / "T1.mgz").exists():
        head_image, said = _of_recon_all(mri / "T1.mgz", target), "recon-all's T1.mgz"
    else:
        head_image = mgh.conform(source.volume, target)
        contents["T1.mgz"] = head_image
        said = "a T1.mgz that is not normalized; recon-all makes a better one"
    contents["brainmask.mgz"] = np.where(inside, head_image, head_image.dtype.type(0))
    for name, data in contents.items():
        storage.write_bytes(mri / name, mgh.to_bytes(Volume(data, target.affine)))
    return [mri / name for name in contents], f"{head.scan.path.name}, {said}"


def subject(found: Sequence[Head]) -> str:
    """Name of the subject: the participant's, and the session's if there is only one."""
    sessions = {head.session for head in found}
    session = f"_ses-{next(iter(sessions))}" if len(sessions) == 1 and sessions != {""} else ""
    return f"sub-{found[0].scan.participant}{session}"


def _of_recon_all(path: Path, target: grid.Grid) -> np.ndarray:
    """Read recon-all's image, and check that it is on our grid."""
    volume = mgh.read(path)
    same = volume.data.shape == target.shape and np.allclose(
        volume.affine, target.affine, rtol=0, atol=SAME_PLACE
    )
    if not same:
        raise ImageError(
            f"{path}: shape {volume.data.shape}, affine {volume.affine.round(3).tolist()}; "
            f"expected {target.shape}, {target.affine.round(3).tolist()}. recon-all had another "
            "image, several images, or -hires. Run it with this image alone."
        )
    return volume.data
