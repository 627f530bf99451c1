# SPDX-License-Identifier: Apache-2.0
"""Which results of a derivative dataset are current, stale, manual, failed or orphaned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import currency, folders, readback, storage
from bids_brainmask.dataset.currency import Dataset, State, Verdict
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import UsageError
from bids_brainmask.results import files

UNLISTED = "no sidecar lists it"


@dataclass(frozen=True)
class Standing:
    """State of one file, or of an image without results."""

    path: str
    """In the output folder; of a failed image, in its dataset."""

    state: State
    reason: str = ""


def read(root: Path, *, verify: bool = False) -> Iterator[Standing]:
    """Yield the state of each image file of a derivative dataset, and of each failed image.

    Figures and tables are told of where no sidecar lists them. The parameters of a later run are
    not known here: results are compared with their sidecars, with each other, and with the source
    dataset if it is there.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    verify : bool
        Compare hashes, also of files of the same size and time.
    """
    dataset = Dataset(root, raw_folder(root), verify=verify)
    for result in readback.named(root):
        for path, verdict in of_image(dataset, result):
            yield Standing(path.relative_to(root).as_posix(), verdict.state, verdict.reason)
    for record in readback.failures(root):
        source = str(record["Source"])
        if dataset.has(source):
            yield Standing(source, "failed", str(record["Message"]))
        else:
            yield Standing(source, "orphaned", currency.LEFT)


def raw_folder(root: Path) -> Path | None:
    """Folder of the source dataset, if it is there, by the description of the results."""
    try:
        return folders.raw_dataset(root)
    except UsageError:
        return None


def of_image(dataset: Dataset, result: Result) -> Iterator[tuple[Path, Verdict]]:
    """Yield the verdict on each image file of one image, and on what no sidecar lists."""
    present = dataset.present(result)
    for row in catalog.OUTPUTS:
        path = present.path(row.name)
        there = path.is_file() or storage.sidecar(path).is_file()
        if files.is_image(row.name) and there:
            yield path, currency.judge(present, row.name)
    images = {present.path(row.name) for row in catalog.OUTPUTS if row.sidecar}
    listed = {name for record in present.records.values() for name in record.get("Files", ())}
    for name, path in present.compared.items():
        if path not in images and name not in listed and path.is_file():
            yield path, Verdict("stale" if present.is_listed else "orphaned", UNLISTED)
