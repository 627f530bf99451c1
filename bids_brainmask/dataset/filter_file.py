# SPDX-License-Identifier: Apache-2.0
"""Filters of images by their entities: files in fMRIPrep's format, and filters in messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from bids_brainmask.analyses.rows import DEFAULT_SUFFIX, SUFFIXES
from bids_brainmask.dataset import storage
from bids_brainmask.errors import UsageError, did_you_mean
from bids_brainmask.voxels import NIFTI

log = logging.getLogger(__name__)

OTHER_FILTERS = {"fmap", "bold", "sbref", "roi", *(suffix.lower() for suffix in SUFFIXES)}
"""Keys of fMRIPrep's filter files for other images."""

FIXED = {"datatype": "anat", "extension": [*NIFTI]}
"""Values, by pybids' names, that no filter may change."""


def read(path: Path, known: Iterable[str], suffix: str = DEFAULT_SUFFIX) -> dict:
    """Read the filters for images of a suffix from a filter file in fMRIPrep's format.

    Parameters
    ----------
    path : Path
        JSON: ``{"t1w": {"acquisition": "mprage", "session": null, "run": "*"}}``, where null
        means "the entity is absent" and ``"*"`` means "it is present, with any value".
    known : iterable of str
        pybids' names of entities. Others are ignored with a warning.
    suffix : str
        Its lower-case form is the key in the file.

    Raises
    ------
    UsageError
        The file is not readable, not JSON, or has another structure.
    """
    from bids.layout import Query

    try:
        content = storage.read_json(path, pipe=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"--bids-filter-file: {path} cannot be read as JSON: {error}") from error
    own = suffix.lower()
    asked = content.get(own, {}) if isinstance(content, dict) else None
    if not isinstance(asked, dict):
        raise UsageError(
            f'--bids-filter-file: {path}: expected {{"{own}": {{"entity": value}}}}, '
            f"found {content}"
        )
    for key in sorted(set(content) - {own}):
        level = logging.INFO if key in OTHER_FILTERS else logging.WARNING
        guess = "" if key in OTHER_FILTERS else did_you_mean(key, [own])
        log.log(level, "%s: key %r is not for %s images; ignored.%s", path, key, suffix, guess)
    special = {None: Query.NONE, "*": Query.ANY}
    filters = {}
    for entity, value in asked.items():
        if entity in (*FIXED, "suffix") or entity not in known:
            guess = did_you_mean(entity, known)
            log.warning("%s: %r is not a known entity; ignored.%s", path, entity, guess)
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str | int | None) for v in values):
            raise UsageError(
                f"--bids-filter-file: {path}: {entity}: expected text, a number, null or a list "
                f"of them, found {value}"
            )
        values = list(dict.fromkeys(special.get(v, v) for v in values))  # pybids heeds one null
        filters[entity] = values if isinstance(value, list) else values[0]
    return filters


def in_words(asked: Mapping) -> str:
    """Write the values that entities must have for a message."""
    from bids.layout import Query

    words = {Query.NONE: "absent", Query.ANY: "present"}
    parts = []
    for entity, value in asked.items():
        values = value if isinstance(value, list) else [value]
        said = [words.get(v, str(v)) if isinstance(v, Query) else str(v) for v in values]
        parts.append(f"{entity} {' or '.join(said)}")
    return ", ".join(parts)
