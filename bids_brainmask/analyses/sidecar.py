# SPDX-License-Identifier: Apache-2.0
"""What the sidecar of each result says: what it was made of, with what, and what was found."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import bids_brainmask
from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.analyses.meningioma import Tumors
from bids_brainmask.analyses.outputs import ANALYSES, Kind
from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.settings import Analysis

RESEARCH_ONLY = "For research only; not a medical device."


def of_scan(file: dict, seconds: float, *, contrast: bool) -> dict:
    """Say what is the same for all results of a scan."""
    return {
        "SourceFile": file,
        "ContrastEnhanced": contrast,
        "Seconds": round(seconds, 2),
        "IntendedUse": RESEARCH_ONLY,
    }


def of_file(
    kind: Kind,
    parameters: Mapping,
    command: Sequence[str],
    models: Mapping[Analysis, Model],
    networks: Mapping[Analysis, Network],
    brain: Extraction | None,
    tumours: Tumors | None,
) -> dict:
    """Say how one file of a scan came to be, for its sidecar."""
    made_by = ANALYSES[kind]
    used = [models[analysis] for analysis in made_by]
    warnings = {"brain": brain and brain.warning, "meningioma": tumours and tumours.remarks}
    found = {
        "Parameters": parameters,
        **(of_brain(brain) if "brain" in made_by else {}),
        **(of_tumours(tumours) if "meningioma" in made_by else {}),
        "Command": shlex.join(command),
        "Warning": "; ".join(filter(None, (warnings[analysis] for analysis in made_by))),
        "ModelCitation": "; ".join(filter(None, (model.citation for model in used))),
        "ModelNotice": "; ".join(filter(None, (model.notice for model in used))),
        "Software": software_versions(networks[made_by[0]]),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def of_brain(brain: Extraction) -> dict:
    """Say what was found of a brain, for a sidecar."""
    return {
        "BrainVolume": round(brain.volume_ml, 3),
        "BrainVolumeUnits": "mL",
        "BoundaryUncertainty": round(brain.confidence.boundary, 4),
        "PredictedDice": brain.predicted_dice and round(brain.predicted_dice, 4),
        "AlreadyStripped": brain.stripped,
        "Quality": brain.quality,
    }


def of_tumours(tumours: Tumors) -> dict:
    """Say what was found of meningiomas, for a sidecar."""
    return {
        "LesionCount": tumours.lesions.count,
        "LesionVolume": round(tumours.lesions.volume_ml, 3),
        "LesionVolumeUnits": "mL",
    }


def software_versions(network: Network) -> dict[str, str]:
    """Versions of what made a result."""
    name, _, number = network.engine.partition(" ")
    return {"bids_brainmask": bids_brainmask.__version__, name: number, **_packages()}


@functools.cache
def _packages() -> dict[str, str]:
    """Versions of the libraries; each is looked up in files, which takes longer than a mask's."""
    return {package: version(package) for package in ("nibabel", "numpy", "pybids", "scipy")}
