# SPDX-License-Identifier: Apache-2.0
"""Masks for FSL and ANTs: a mask and a brain for each image, with their names and orientation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_brainmask.dataset import storage
from bids_brainmask.errors import ImageError
from bids_brainmask.export import heads
from bids_brainmask.export.heads import Head
from bids_brainmask.voxels import image


def write_fsl(found: Sequence[Head], dest: Path) -> tuple[list[Path], str]:
    """Write an image, its brain and its mask with the names of ``bet``, oriented as MNI152.

    FSL's MNI152 is stored L, A, S, to which ``fslreorient2std`` brings images.

    Parameters
    ----------
    found : sequence of Head
        One.
    dest : Path

    Returns
    -------
    files : list of Path
        ``*_T1w``, ``*_T1w_brain`` and ``*_T1w_brain_mask``.
    note : str

    Raises
    ------
    ImageError
        As `heads.check` and `heads.load`; or a file exists.
    """
    (head,) = found
    heads.check(head)
    source, mask = heads.load(head)
    start = f"{head.scan.prefix}_{head.scan.suffix}"
    files = {
        start: image.brain_like(source, np.ones(mask.shape, bool)),
        f"{start}_brain": image.brain_like(source, mask),
        f"{start}_brain_mask": image.mask_like(source, mask),
    }
    turned = {name: image.reoriented(file, "LAS") for name, file in files.items()}
    return _write(turned, dest / head.scan.folder.parent), ""


def write_ants(found: Sequence[Head], dest: Path) -> tuple[list[Path], str]:
    """Write a mask and a brain with the names of ``antsBrainExtraction.sh``, on the image's grid.

    Where the transforms of the image's header differ, ITK may place it elsewhere than NIfTI says.
    Then the image is written too, with the affine that the mask was made with.

    Parameters
    ----------
    found : sequence of Head
        One.
    dest : Path

    Returns
    -------
    files : list of Path
        ``*_BrainExtractionMask``, ``*_BrainExtractionBrain``, and perhaps ``*_T1w``.
    note : str

    Raises
    ------
    ImageError
        As `write_fsl`.
    """
    (head,) = found
    heads.check(head)
    source, mask = heads.load(head)
    files = {
        f"{head.scan.prefix}_BrainExtractionMask": image.mask_like(source, mask),
        f"{head.scan.prefix}_BrainExtractionBrain": image.brain_like(source, mask),
    }
    note = ""
    if not heads.only_one_place(source):
        whole = image.brain_like(source, np.ones(mask.shape, bool))
        files[f"{head.scan.prefix}_{head.scan.suffix}"] = whole
        note = "the transforms of the image's header differ; use the image that is written"
    kept = {name: image.reoriented(file) for name, file in files.items()}
    return _write(kept, dest / head.scan.folder.parent), note


def _write(files: dict, folder: Path) -> list[Path]:
    """Write images that are not there yet."""
    paths = {folder / f"{name}.nii.gz": file for name, file in files.items()}
    if there := [path for path in paths if path.exists()]:
        raise ImageError(f"{there[0]}: already there. Remove it, or choose another folder.")
    for path, file in paths.items():
        storage.write_bytes(path, image.to_bytes(file, compress=True))
    return list(paths)
