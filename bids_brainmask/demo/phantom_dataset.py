# SPDX-License-Identifier: Apache-2.0
"""The demonstration's dataset: phantom heads in BIDS, and their known masks beside them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb

import bids_brainmask
from bids_brainmask.demo import phantom
from bids_brainmask.errors import OutputError

README = """\
A synthetic head, to try brain extraction on. It is a phantom, and no scan of anyone.

The brain is the ICBM 152 nonlinear template of 2009 (MNI152) as nilearn ships it; skull, scalp,
face and neck are modelled around it. Hence the brain mask is known without error: it is under
derivatives/truth. The ce-gadolinium image imitates one with a contrast agent.

Made by bids_brainmask. The template is copyright (C) 1993-2009 Louis Collins, McConnell
Brain Imaging Centre, Montreal Neurological Institute, McGill University, whose permission to
use, copy, modify and distribute it asks that this notice appears in all copies.
"""


def write_dataset(folder: Path) -> Path:
    """Write a BIDS dataset of two heads, one with and without contrast, and the true masks.

    Parameters
    ----------
    folder : Path
        Absent, or empty.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        The folder is not empty, or is a file.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise OutputError(f"{folder}: not an empty folder. Name another, or empty it first.")
    truth = folder / "derivatives" / "truth"
    _describe(folder, truth)
    for name, seed, contrast in (
        ("sub-phantom01", 1, False),
        ("sub-phantom02_ses-1", 2, False),
        ("sub-phantom02_ses-1_ce-gadolinium", 2, True),
    ):
        image, mask = phantom.head(seed, contrast=contrast)
        place = Path(*name.removesuffix("_ce-gadolinium").split("_"), "anat")
        scan = (place / f"{name}_T1w.nii.gz").as_posix()
        sidecar: dict[str, object] = {"Modality": "MR", "BodyPart": "HEAD"}
        if contrast:
            sidecar["ContrastBolusIngredient"] = "GADOLINIUM"
        _save(image, folder / scan, sidecar)
        sidecar = {"Type": "Brain", "Manual": False, "Sources": [f"bids:raw:{scan}"]}
        _save(mask, truth / place / f"{name}_desc-brain_mask.nii.gz", sidecar)
    return folder


def _describe(folder: Path, truth: Path) -> None:
    """Write the descriptions of the raw dataset and its derivative."""
    truth.mkdir(parents=True)
    authors = ["The bids_brainmask developers"]
    common: dict[str, object] = {
        "BIDSVersion": "1.10.0",
        "License": "That of the ICBM 152 template: see README",
        "Authors": authors,
    }
    maker = {
        "Name": "bids_brainmask.demo.phantom",
        "Version": bids_brainmask.__version__,
        "CodeURL": bids_brainmask.CODE_URL,
    }
    raw: dict[str, object] = {
        "Name": "Head phantom of bids_brainmask",
        "DatasetType": "raw",
        **common,
    }
    derived: dict[str, object] = {
        "Name": "True brain masks of the head phantom",
        "DatasetType": "derivative",
    }
    derived |= {**common, "GeneratedBy": [maker], "DatasetLinks": {"raw": "../.."}}
    _write_json(folder / "dataset_description.json", raw)
    _write_json(truth / "dataset_description.json", derived)
    (folder / "README").write_text(README, encoding="utf-8")
    (truth / "README").write_text(README, encoding="utf-8")
    participants = "participant_id\nsub-phantom01\nsub-phantom02\n"
    (folder / "participants.tsv").write_text(participants, encoding="utf-8")


def _save(image: nb.Nifti1Image, path: Path, sidecar: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.save(image, path)
    _write_json(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
