# SPDX-License-Identifier: Apache-2.0
"""Candidate lesions on the group report, where a person accepts and rejects them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.measures import number
from bids_brainmask.dataset import currency, readback
from bids_brainmask.dataset.readback import Result

FIELDS = ("index", "volume_ml", "longest_mm", "side", "candidate", "reasons", "decision")
"""Columns of the table of lesions that the page shows."""

NUMBERS = FIELDS[:3]

log = logging.getLogger(__name__)


def read(root: Path, result: Result) -> dict | None:
    """Read the candidates of an image; None if it has none that can be decided about.

    Returns
    -------
    dict or None
        ``image``, the path of the index image; ``sha256``, the hash of its voxels, which a
        decision is about; ``found``, a list of the values of `FIELDS` for each candidate.
    """
    for name, record in result.records.items():
        kind = catalog.analysis(name).candidates
        if not kind or record.get("Manual") is True:  # a person's mask has no candidates
            continue
        digest = currency.read_record(root / result.output(kind)).get("VoxelsSHA256")
        try:
            found = [_fields(row) for row in readback.table(root, result, name)]
        except (KeyError, ValueError) as error:
            log.warning("%s: candidate lesions not shown: %r", result.output(kind), error)
            continue
        if digest and found:
            return {"image": result.output(kind), "sha256": str(digest), "found": found}
    return None


def _fields(row: Mapping[str, str]) -> list:
    """Give a row of the table of lesions; what is not known is None."""
    values = [None if row.get(name) in (None, "", "n/a") else row[name] for name in FIELDS]
    index, *measures = (number(row[name]) for name in NUMBERS)
    return [int(index), *measures, *values[len(NUMBERS) :]]
