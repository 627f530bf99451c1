# SPDX-License-Identifier: Apache-2.0
"""What was asked for an image, in the sidecars of its masks."""

from __future__ import annotations

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import currency, storage
from bids_brainmask.plan import ScanPlan


def records(plan: ScanPlan) -> dict[str, dict]:
    """Entries for the sidecars of the main masks of a scan, by kind of file."""
    mains = {catalog.analysis(name).main: one for name, one in plan.choices.items()}
    return {kind: {"Chosen": one.record()} for kind, one in mains.items() if kind in plan.files}


def remember(plan: ScanPlan) -> None:
    """Write what is asked for a scan whose masks are current, if its sidecars say otherwise."""
    wanted = records(plan)
    for name in plan.analyses:
        kind = catalog.analysis(name).main
        record, now = currency.read_record(plan.path(kind)), wanted.get(kind, {})
        if record and record.get("Chosen") != now.get("Chosen"):
            kept = {key: value for key, value in record.items() if key != "Chosen"}
            storage.write_json(storage.sidecar(plan.path(kind)), kept | now)
