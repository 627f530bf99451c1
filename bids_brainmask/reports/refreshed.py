# SPDX-License-Identifier: Apache-2.0
"""Participants' reports, brought up to date with the tables of all images.

A page is made again and written only if it differs. Many pages are made by several processes.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bids_brainmask import machine
from bids_brainmask.reports import cohort, participant_page
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)

FEW = 200
"""Pages that one process makes before others have started."""

AT_A_TIME = 50
"""Pages that a process is given at a time."""


@dataclass(frozen=True)
class Pages:
    """Makes the pages of participants; what all of them need is read once."""

    root: Path
    raw: Path
    everybody: cohort.Cohort

    def update(self, label: str) -> tuple[int, str]:
        """Bring a page up to date.

        Returns
        -------
        changed : int
            1 if it was written.
        trouble : str
            Why it could not be; empty if it could.
        """
        try:
            changed = participant_page.write(
                self.root, label, raw=self.raw, everybody=self.everybody
            )
        except Exception as error:  # noqa: BLE001 - of one participant; the others are written
            path = self.root / f"sub-{label}.html"
            return 0, f"{path}: the report cannot be brought up to date: {error!r}"
        return int(changed), ""


_pages: Pages | None = None
"""In a process that makes pages: what it makes them with."""


def _begin(root: Path, raw: Path) -> None:
    global _pages
    _pages = Pages(root, raw, cohort.read(root))


def _update(label: str) -> tuple[int, str]:
    assert _pages  # noqa: S101 - `_begin` ran before
    return _pages.update(label)


def update(settings: Settings) -> int:
    """Bring the participants' reports up to date, and log those that could not be.

    Returns
    -------
    int
        Number of reports that changed.
    """
    root, wanted = settings.output_dir, settings.participant_label
    labels = [path.stem.removeprefix("sub-") for path in sorted(root.glob("sub-*.html"))]
    labels = [label for label in labels if not wanted or label in wanted]
    processes = min(settings.n_cpus or machine.cpus(), len(labels) // FEW + 1)
    changed = 0
    for count, trouble in _made(labels, root, settings.bids_dir, processes):
        changed += count
        if trouble:
            log.error(trouble)
    return changed


def _made(labels: Sequence[str], root: Path, raw: Path, processes: int) -> list[tuple[int, str]]:
    if processes < 2:
        pages = Pages(root, raw, cohort.read(root))
        return [pages.update(label) for label in labels]
    # Not forked: this process may have threads of libraries.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, _begin, (root, raw)) as pool:
        return list(pool.map(_update, labels, chunksize=AT_A_TIME))
