# SPDX-License-Identifier: Apache-2.0
"""Contrast agents in the sidecars of images."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from bids_brainmask.dataset import storage
from bids_brainmask.dataset.inheritance import Sidecars

log = logging.getLogger(__name__)

NO_AGENT = ("", "none", "n/a", "na", "no", "false", "0", "[]", "{}")
"""Values of ``ContrastBolusIngredient``, in lower case, that say that there was no agent."""


class Finder:
    """Tells which images of a dataset are contrast-enhanced.

    Parameters
    ----------
    root : Path
        Raw dataset.
    """

    def __init__(self, root: Path):
        self.root = root
        self.sidecars = Sidecars(root)

    def of(self, relative: str) -> bool:
        """Tell it of an image, by its ``ce-`` entity or its sidecar's ``ContrastBolusIngredient``.

        Parameters
        ----------
        relative : str
            Path of the image in the dataset, with forward slashes.
        """
        path = self.root / relative
        *pairs, suffix = path.name.split(".")[0].split("_")
        nearest = self.sidecars.of(path.parent, pairs, suffix)
        return any(pair.startswith("ce-") for pair in pairs) or bool(_agent(nearest))


def _agent(sidecars: Iterable[Path]) -> str:
    """Value of ``ContrastBolusIngredient`` in the first sidecar that has it; empty if none has."""
    for sidecar in sidecars:
        try:
            content = storage.read_json(sidecar)
        except (OSError, ValueError) as error:
            log.warning("%s: not readable as JSON (%s); treated as empty", sidecar, error)
            continue
        if isinstance(content, dict) and "ContrastBolusIngredient" in content:
            return _named(content["ContrastBolusIngredient"])
    return ""


def _named(value: object) -> str:
    """Write the agents of a value; empty if it names none."""
    values = value if isinstance(value, list) else [value]
    words = [str(each).strip() for each in values if each]
    return ", ".join(each for each in words if each.lower() not in NO_AGENT)
