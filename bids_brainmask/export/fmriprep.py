# SPDX-License-Identifier: Apache-2.0
"""Masks for fMRIPrep and sMRIPrep, as their ``--derivatives`` takes them.

sMRIPrep looks for one ``desc-brain_mask`` without ``space-`` a participant (or a session, if it
processes sessions one by one), and multiplies its anatomical reference with it; the two must be on
the same grid. With one T1w image the reference is that image, its axes reordered to R, A, S. With
several it is an average that does not exist yet, unless a ``desc-preproc_T1w`` is there too, which
sMRIPrep then takes for the reference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

import bids_brainmask
from bids_brainmask.dataset import storage
from bids_brainmask.dataset.derivatives import BIDS_VERSION, links
from bids_brainmask.errors import ImageError
from bids_brainmask.export import heads
from bids_brainmask.export.heads import Head
from bids_brainmask.voxels import image

WITHOUT_INU = "sMRIPrep does not correct its intensities again, nor average several images"


def choose(found: Sequence[Head]) -> Head:
    """Choose the image whose grid the mask has: of plain ones with a mask, the finest, the first.

    Raises
    ------
    ImageError
        All are contrast-enhanced, or none has a mask.
    """
    plain = [head for head in found if not head.scan.contrast]
    if not plain:
        raise ImageError(
            f"{found[0].scan.relative}: contrast-enhanced, and there is no plain T1w image. "
            "fMRIPrep's templates are of plain images."
        )
    masked, reasons = [], []
    for head in plain:
        try:
            heads.check(head)
            masked.append(head)
        except ImageError as error:
            reasons.append(str(error))
    if not masked:
        raise ImageError(reasons[0])
    return min(masked, key=_voxel_volume) if len(masked) > 1 else masked[0]


def _voxel_volume(head: Head) -> float:
    """Volume of a voxel, mm^3, rounded, so that equal images stay in their order."""
    return round(float(np.prod(image.read(head.scan.path).volume.spacing)), 3)


def write(found: Sequence[Head], dest: Path) -> tuple[list[Path], str]:
    """Write the mask of a participant or session, and the image where only that makes it exact.

    Parameters
    ----------
    found : sequence of Head
        Every T1w image that sMRIPrep will take for one reference.
    dest : Path
        The derivative dataset to write.

    Returns
    -------
    files : list of Path
    note : str
        Which image was taken, and what follows from it; empty if there is nothing to say.

    Raises
    ------
    ImageError
        `choose`, `heads.load`; or `dest` has files of the same participant that sMRIPrep would
        find.
    """
    head = choose(found)
    others = sorted((dest / head.scan.folder).parent.glob("**/*_desc-brain_mask.nii*"))
    others += sorted((dest / head.scan.folder).parent.glob("**/*_desc-preproc_T1w.nii*"))
    if others:
        raise ImageError(
            f"{others[0]}: already there; expected no mask of this participant. Remove it, or "
            "choose another folder."
        )
    source, mask = heads.load(head)
    files = {"desc-brain_mask": (image.mask_like(source, mask), _of_mask(head))}
    note = ""
    unsure = len(source.file.shape) > 3 or not heads.only_one_place(source)
    if len(found) > 1 or unsure:
        whole = image.brain_like(source, np.ones(mask.shape, bool))
        files["desc-preproc_T1w"] = (whole, _of_image(head))
        why = (
            f"one of {len(found)} T1w images"
            if len(found) > 1
            else "of four axes, or with transforms that differ"
        )
        note = f"{head.scan.path.name} ({why}) is written as the reference: {WITHOUT_INU}"
    written = []
    for name, (file, record) in files.items():
        path = dest / head.scan.folder / f"{head.scan.prefix}_{name}.nii.gz"
        content = image.to_bytes(image.reoriented(file, "RAS"), compress=True)
        storage.write_bytes(path, content)
        storage.write_json(path.with_name(f"{head.scan.prefix}_{name}.json"), record)
        written.append(path)
    return written, note


def _of_mask(head: Head) -> dict:
    """Make the sidecar of the mask."""
    raw = quote(head.scan.relative)
    mask = quote((head.scan.folder / head.mask.name).as_posix())
    return {
        "Type": "Brain",
        "Description": "Brain mask, its axes reordered to R, A, S",
        "Sources": [f"bids:raw:{raw}", f"bids:brainmask:{mask}"],
        "SpatialReference": f"bids:raw:{raw}",
        "Manual": False,
    }


def _of_image(head: Head) -> dict:
    """Make the sidecar of the image."""
    return {
        "Description": "The source image, its axes reordered to R, A, S; intensities unchanged",
        "Sources": [f"bids:raw:{quote(head.scan.relative)}"],
        "SkullStripped": False,
    }


def describe(dest: Path, bids_dir: Path, output_dir: Path) -> None:
    """Write ``dataset_description.json`` of the exported dataset."""
    here = dest.resolve()
    content = {
        "Name": "Brain masks for fMRIPrep",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "bids_brainmask",
                "Version": bids_brainmask.__version__,
                "Description": "brainmask export --for fmriprep",
                "CodeURL": bids_brainmask.CODE_URL,
            }
        ],
        "DatasetLinks": {
            name: link
            for name, root in (("raw", bids_dir), ("brainmask", output_dir))
            for link in links(root.resolve(), here).values()
        },
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    storage.write_changed(dest / "dataset_description.json", text.encode())
    readme = b"# Brain masks for fMRIPrep\n\nGive this folder to --derivatives of fMRIPrep.\n"
    storage.write_changed(dest / "README.md", readme)
