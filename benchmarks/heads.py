# SPDX-License-Identifier: Apache-2.0
"""The heads that the benchmarks measure on: a BIDS dataset with masks as derivatives."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_brainmask.voxels import image

REFERENCES = ("deepbet", "dlmuse", "hdbet")
"""Derivatives that hold a mask of each head, or of some."""


@dataclass(frozen=True)
class Head:
    """A head, and where its files are."""

    name: str
    image: Path
    references: dict[str, Path]  # by derivative, only those there are


def find(root: Path, split: str) -> list[Head]:
    """List the heads of one split of ``participants.tsv``, in its order."""
    with (root / "participants.tsv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [head(root, row["participant_id"]) for row in rows if row["split"] == split]


def head(root: Path, name: str, entities: str = "") -> Head:
    """Find the files of one head.

    Parameters
    ----------
    root : Path
        BIDS dataset.
    name : str
        Of the participant, with ``sub-``.
    entities : str
        What follows it in the names of the files, such as ``_ce-gadolinium``.
    """
    places = {
        reference: root.joinpath(
            "derivatives", reference, name, "anat", f"{name}{entities}_desc-brain_mask.nii.gz"
        )
        for reference in REFERENCES
    }
    there = {reference: path for reference, path in places.items() if path.exists()}
    path = root / name / "anat" / f"{name}{entities}_T1w.nii.gz"
    return Head(f"{name}{entities}", path, there)


def masks(head: Head) -> dict[str, np.ndarray]:
    """Read the reference masks, (I, J, K) bool, by derivative."""
    return {reference: image.read_mask(path) for reference, path in head.references.items()}
