# SPDX-License-Identifier: Apache-2.0
"""The Python API: one image in, its brain or its meningiomas out, as nibabel images.

The command lines and the BIDS App are made of the same functions, so that all three give the same
masks. What is here is offered as ``bids_brainmask.extract`` and so on; see ``docs/python.md``.
"""

from bids_brainmask.analyses.lesions import Lesion
from bids_brainmask.api.comparison import evaluate, evaluate_lesions
from bids_brainmask.api.extractors import (
    BrainOptions,
    Extractor,
    MeningiomaFinder,
    NetworkOptions,
    extract,
    find_meningiomas,
)
from bids_brainmask.api.findings import Brain, Meningiomas, check_places
from bids_brainmask.voxels.agreement import Agreement
from bids_brainmask.voxels.lesion_agreement import LesionAgreement

__all__ = [
    "Agreement",
    "Brain",
    "BrainOptions",
    "Extractor",
    "Lesion",
    "LesionAgreement",
    "MeningiomaFinder",
    "Meningiomas",
    "NetworkOptions",
    "check_places",
    "evaluate",
    "evaluate_lesions",
    "extract",
    "find_meningiomas",
]
