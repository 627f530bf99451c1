# SPDX-License-Identifier: Apache-2.0
"""Brain extraction as a task of Pydra 0.25 (``pip install '.[workflows]'``)."""

from pathlib import Path
from typing import Any

import pydra

import bids_brainmask
from bids_brainmask.voxels import stem


@pydra.mark.task
@pydra.mark.annotate(
    {
        "return": {
            "mask_file": Path,
            "out_file": Path,
            "volume_ml": float,
            "predicted_dice": Any,
            "warning": str,
        }
    }
)
def brain_extraction(
    in_file: Path,
    model: str = "auto",
    threshold: Any = None,
    border: float = 0.0,
    num_threads: int = 1,
) -> tuple[Path, Path, float, float | None, str]:
    """Extract the brain from an image, as `bids_brainmask.extract` does.

    The files are written to the folder of the task.

    Parameters
    ----------
    in_file : Path
        T1-weighted image of a head.
    model : str
        Name or file of a model.
    threshold : float, optional
        Lowest probability in the mask, in (0, 1); the model's own if None.
    border : float
        Distance by which the edge of the mask is moved, mm.
    num_threads : int

    Returns
    -------
    mask_file, out_file : Path
        The mask, and the image inside it.
    volume_ml : float
    predicted_dice : float or None
    warning : str
        What to know before the mask is used; empty for nothing.
    """
    brain = bids_brainmask.extract(
        in_file, model=model, threshold=threshold, border=border, threads=num_threads
    )
    start = stem(Path(in_file).name)
    names = (f"{start}_brain_mask.nii.gz", f"{start}_brain.nii.gz")
    mask, out = brain.save(*(Path.cwd() / name for name in names))
    return mask, out, float(brain.volume_ml), brain.predicted_dice, brain.warning
