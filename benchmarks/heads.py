# SPDX-License-Identifier: Apache-2.0
"""The heads that the benchmarks measure on: a BIDS dataset with masks as derivatives."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_brainmask import image

REFERENCES = ("deepbet", "dlmuse")
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


def head(root: Path, name: str) -> Head:
    """Find the files of one head."""
    places = {
        reference: root.joinpath(
            "derivatives", reference, name, "anat", f"{name}_desc-brain_mask.nii.gz"
        )
        for reference in REFERENCES
    }
    there = {reference: path for reference, path in places.items() if path.exists()}
    return Head(name, root / name / "anat" / f"{name}_T1w.nii.gz", there)


def masks(head: Head) -> dict[str, np.ndarray]:
    """Read the reference masks, (I, J, K) bool, by derivative."""
    return {reference: image.read_mask(path) for reference, path in head.references.items()}
