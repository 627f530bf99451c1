# SPDX-License-Identifier: Apache-2.0
"""Results that the group level shows: those of the present image and mask."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_brainmask.dataset import currency
from bids_brainmask.dataset.currency import Dataset
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import NothingToDo, some_of
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)


def keep(settings: Settings, found: Sequence[Result]) -> tuple[list[Result], list[dict[str, str]]]:
    """Keep the results that are of the present image and mask.

    The raw dataset is compared if it is at hand. Files that are absent, as in a clone without
    content, are not missed.

    Returns
    -------
    list of Result
        Without the records of analyses that are stale or orphaned.
    list of dict
        Those that are left out, like crash records: ``Source`` and ``Message``.
    """
    dataset = Dataset(settings.output_dir, settings.bids_dir)
    kept, left_out = [], []
    for one, verdicts in currency.out_of_date(dataset, found).items():
        records = {name: each for name, each in one.records.items() if name not in verdicts}
        if records:
            kept.append(replace(one, records=records))
        for name, verdict in verdicts.items():
            left_out.append(
                {"Source": one.main(name), "Message": f"not shown: {currency.advice(verdict)}"}
            )
    if left_out:
        log.warning(
            "%d results are not shown, because they are not current: %s",
            len(left_out),
            some_of([f"{each['Source']}: {each['Message']}" for each in left_out]),
        )
    return kept, left_out


def nothing(root: Path, left_out: Sequence) -> NothingToDo:
    """Error for a folder without a result to show."""
    if left_out:
        return NothingToDo(
            f"{root}: none of {len(left_out)} results is current. Run the participant level again."
        )
    return NothingToDo(
        f"{root}: no masks of the requested participants were found. Run the participant level "
        "first."
    )
