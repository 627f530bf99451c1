# SPDX-License-Identifier: Apache-2.0
"""What the sidecar of each result says: what it was made of, with what, and what was found."""

from __future__ import annotations

import functools
import shlex
from importlib.metadata import version
from typing import TYPE_CHECKING

import bids_brainmask
from bids_brainmask import derivatives
from bids_brainmask.derivatives import Job, Kind

if TYPE_CHECKING:
    from bids_brainmask.app import Extraction, Tumours
    from bids_brainmask.engine import Network
    from bids_brainmask.planning import Run

RESEARCH_ONLY = "For research only; not a medical device."


def of_scan(job: Job, file: dict, seconds: float) -> dict:
    """Say what is the same for all results of a scan."""
    return {
        "SourceFile": file,
        "ContrastEnhanced": job.scan.contrast,
        "Seconds": round(seconds, 2),
        "IntendedUse": RESEARCH_ONLY,
    }


def of_file(
    kind: Kind, job: Job, run: Run, networks, brain: Extraction | None, tumours: Tumours | None
) -> dict:
    """Say how one file of a scan came to be, for its sidecar."""
    made_by = derivatives.ANALYSES[kind]
    models = [run.models[analysis] for analysis in made_by]
    warnings = {"brain": brain and brain.warning, "meningioma": tumours and tumours.remarks}
    found = {
        "Parameters": run.parameters(job)[kind],
        **(of_brain(brain) if "brain" in made_by else {}),
        **(of_tumours(tumours) if "meningioma" in made_by else {}),
        "Command": shlex.join(run.command),
        "Warning": "; ".join(filter(None, (warnings[analysis] for analysis in made_by))),
        "ModelCitation": "; ".join(filter(None, (model.citation for model in models))),
        "ModelNotice": "; ".join(filter(None, (model.notice for model in models))),
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


def of_tumours(tumours: Tumours) -> dict:
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
