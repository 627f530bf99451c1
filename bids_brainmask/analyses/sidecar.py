# SPDX-License-Identifier: Apache-2.0
"""What the sidecar of each result says: what it was made of, with what, and what was found."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import bids_brainmask
from bids_brainmask.analyses.rows import Findings, Output
from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.settings import RESEARCH_ONLY


def of_scan(file: dict, seconds: float, *, contrast: bool) -> dict:
    """Say what is the same for all results of a scan."""
    return {
        "SourceFile": file,
        "ContrastEnhanced": contrast,
        "Seconds": round(seconds, 2),
        "IntendedUse": RESEARCH_ONLY,
    }


def of_file(
    output: Output,
    parameters: Mapping,
    command: Sequence[str],
    models: Mapping[str, Model],
    networks: Mapping[str, Network],
    findings: Findings,
) -> dict:
    """Say how one file of a scan came to be, for its sidecar.

    Parameters
    ----------
    output : Output
    parameters : mapping
        All that decides the file, beside the source image.
    command : sequence of str
    models, networks, findings : mapping
        By the names of analyses.
    """
    made_by = [findings[name] for name in output.made_by]
    used = [models[name] for name in output.made_by if name in models]
    found: dict[str, Any] = {"Parameters": parameters}
    for finding in made_by:
        found |= finding.record()
    found |= {
        "Command": shlex.join(command),
        "Warning": "; ".join(filter(None, (finding.warning for finding in made_by))),
        "ModelCitation": "; ".join(filter(None, (model.citation for model in used))),
        "ModelNotice": "; ".join(filter(None, (model.notice for model in used))),
        "Precision": precision_of(networks.get(output.made_by[0])),
        "Software": software_versions(networks.get(output.made_by[0])),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def precision_of(network: Network | None) -> str:
    """Say what the network computed in: ``auto`` depends on the processor; empty without one."""
    return network.precision if network else ""


def software_versions(network: Network | None) -> dict[str, str]:
    """Versions of what made a result; None: no network did."""
    found = {"bids_brainmask": bids_brainmask.__version__}
    if network:
        name, _, number = network.engine.partition(" ")
        found[name] = number
    return found | _packages()


@functools.cache
def _packages() -> dict[str, str]:
    """Versions of the libraries; each is looked up in files, which takes longer than a mask's."""
    return {package: version(package) for package in ("nibabel", "numpy", "pybids", "scipy")}
