# SPDX-License-Identifier: Apache-2.0
"""Which scanner images come from, by the sidecars of the raw dataset."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from bids_brainmask.dataset import storage
from bids_brainmask.dataset.inheritance import Sidecars
from bids_brainmask.dataset.readback import Result

FIELDS: dict[str, dict[str, str]] = {
    "Manufacturer": {
        "name": "manufacturer",
        "LongName": "Manufacturer",
        "Description": "Manufacturer of the scanner, by the sidecar of the source",
    },
    "ManufacturersModelName": {
        "name": "scanner_model",
        "LongName": "Scanner model",
        "Description": "Model of the scanner, by the sidecar of the source",
    },
    "MagneticFieldStrength": {
        "name": "field_strength",
        "LongName": "Field strength",
        "Description": "Field strength of the scanner, by the sidecar of the source",
        "Units": "T",
    },
    "InstitutionName": {
        "name": "institution",
        "LongName": "Institution",
        "Description": "Institution of the scanner, by the sidecar of the source",
    },
}
"""Keys of sidecars that tell scanners apart, and the columns that show them."""

LONGEST = 60
"""Most characters of a value."""


def read(raw: Path, results: Iterable[Result]) -> dict[str, dict[str, str]]:
    """Read what the sidecars of images say of their scanners.

    Parameters
    ----------
    raw : Path
        Raw dataset, which may be absent.
    results : iterable of Result

    Returns
    -------
    dict
        Values by the keys of `FIELDS`, by `Result.key`; an image without any is absent.
    """
    if not raw.is_dir():
        return {}
    sidecars, content = Sidecars(raw), functools.cache(_content)
    found = {}
    for one in results:
        folder, said = raw / one.folder, dict[str, str]()
        for sidecar in sidecars.of(folder, one.prefix.split("_"), one.suffix):
            # Those beside images are of one image each: to keep them would fill memory.
            beside = sidecar.parent == folder
            said = (_content(sidecar) if beside else content(sidecar)) | said
        if said:
            found[one.key] = said
    return found


def name(said: Mapping[str, str]) -> str:
    """Name a scanner; empty if nothing is known."""
    words = [said[key] + (" T" if "Field" in key else "") for key in FIELDS if said.get(key)]
    return " ".join(words)


def _content(sidecar: Path) -> dict[str, str]:
    """Read the fields of a sidecar; none if it is not readable."""
    content = storage.read_object(sidecar)  # the participant level tells of one that is damaged
    texts = {key: _text(content.get(key)) for key in FIELDS}
    return {key: text for key, text in texts.items() if text}


def _text(value: object) -> str:
    """Write a value in one line; a number in its shortest form, anything else is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float | int):
        return f"{round(value, 1):g}" if math.isfinite(value) else ""
    return " ".join(value.split())[:LONGEST]
