# SPDX-License-Identifier: Apache-2.0
"""The files that a scan becomes: their names, what makes them, and their sidecars' fields."""

from __future__ import annotations

from typing import Literal

from bids_brainmask.settings import Analysis, Output

Kind = Literal["mask", "brain", "probseg", "tumor", "tumor_probseg", "lesions", "brainandtumor"]
"""What a derivative holds."""

NAMES: dict[Kind, tuple[dict[str, str], str]] = {
    "mask": ({"desc": "brain"}, "mask.nii.gz"),
    "brain": ({"desc": "brain"}, "T1w.nii.gz"),
    "probseg": ({"label": "brain"}, "probseg.nii.gz"),
    "tumor": ({"label": "tumor", "desc": "meningioma"}, "mask.nii.gz"),
    "tumor_probseg": ({"label": "tumor", "desc": "meningioma"}, "probseg.nii.gz"),
    "lesions": ({"desc": "meningioma"}, "lesions.tsv"),
    "brainandtumor": ({"desc": "brainandtumor"}, "mask.nii.gz"),
}
"""Of each kind: the entities that follow the source's, the suffix and the extension."""

ANALYSES: dict[Kind, tuple[Analysis, ...]] = {
    "mask": ("brain",),
    "brain": ("brain",),
    "probseg": ("brain",),
    "tumor": ("meningioma",),
    "tumor_probseg": ("meningioma",),
    "lesions": ("meningioma",),
    "brainandtumor": ("brain", "meningioma"),
}
"""The analyses that each kind is made by."""

ASKED: dict[Kind, Output] = {
    "mask": "mask",
    "brain": "brain",
    "probseg": "probseg",
    "tumor_probseg": "probseg",
    "brainandtumor": "mask",
}
"""The output by which each kind is asked for; what is not here is always made."""

FIELDS: dict[Kind, dict] = {
    "mask": {
        "Type": "Brain",
        "Description": "Brain mask on the grid of the source image",
        "Manual": False,
    },
    "brain": {
        "SkullStripped": True,
        "Description": "The source image inside the brain mask, blank outside",
    },
    "probseg": {
        "Description": "Probability of brain, in [0, 1], on the grid of the source image",
        "Manual": False,
    },
    "tumor": {
        "Type": "Lesion",
        "Description": "Meningiomas, on the grid of the source image",
        "Manual": False,
    },
    "tumor_probseg": {
        "Description": "Probability of meningioma, in [0, 1], on the grid of the source image",
        "Manual": False,
    },
    "lesions": {},  # its keys are the table's columns
    "brainandtumor": {
        "Type": "ROI",
        "Description": "Union of the brain mask and the meningiomas: what to keep of the head of "
        "a patient whose tumour lies outside the brain",
        "Manual": False,
    },
}
"""What the sidecar of each kind always says."""
