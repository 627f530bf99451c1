# SPDX-License-Identifier: Apache-2.0
"""Results of images that are not in the dataset any more: told of, and removed if asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bids_brainmask.dataset import currency, decisions, ownership, readback, shared_tables, storage
from bids_brainmask.dataset.currency import Dataset, Present
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import some_of
from bids_brainmask.reports import participant_page
from bids_brainmask.results import files, standing
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import NIFTI


def settle(settings: Settings) -> list[str]:
    """Find the results of images that have left the dataset; remove them if that was asked for.

    Without ``--remove-orphans``, a run of some participants does not look for them.

    Returns
    -------
    list of str
        What was found, removed and kept, in words.
    """
    if settings.participant_label and not settings.remove_orphans:
        return []
    root, labels = settings.output_dir, settings.participant_label
    dataset = Dataset(root, settings.bids_dir)
    found = [one for one in readback.named(root, labels) if _is_orphan(dataset, one)]
    names = [one.key for one in found]
    if not settings.remove_orphans:
        if not found:
            return []
        return [
            f"{len(found)} images with results are not in the dataset any more: {some_of(names)}. "
            "The group level does not show them. --remove-orphans removes their results."
        ]
    said = [line for one in found for line in _remove(dataset, one)]
    for record in readback.failures(root, labels):
        if not dataset.has(str(record["Source"])):
            recovered(root / record["Log"])
    _tidy(settings, {one.participant for one in found})
    return said


def recovered(crash: Path) -> None:
    """Rename a crash record of an image that is in order, or gone: pages do not show it then."""
    with suppress(OSError):  # another process may have done so
        crash.rename(crash.with_name(crash.name.replace("_crash-", "_recovered-")))


def _is_orphan(dataset: Dataset, one: Result) -> bool:
    ends = (f"{one.folder}/{one.prefix}_{one.suffix}{end}" for end in NIFTI)
    if dataset.raw is None or any(map(dataset.has, ends)):
        return False  # without a look at the sidecars, which takes longer
    return not dataset.present(one).is_listed


def _remove(dataset: Dataset, one: Result) -> Iterator[str]:
    """Remove the results of an image if the sidecars prove that all of them are the program's own.

    A manual mask, or a file that was changed, keeps all of them.
    """
    present = dataset.present(one)
    if reason := _of_others(dataset, one, present):
        yield f"kept, though {currency.LEFT}: {one.key}, {reason}"
        return
    listed = {name for record in present.records.values() for name in record.get("Files", ())}
    paths = [path for name, path in present.compared.items() if name in listed]
    for path in (*paths, *map(storage.sidecar, paths)):  # what proves that they are ours is last
        with storage.output_errors(path):
            path.unlink(missing_ok=True)
    yield f"removed, because {currency.LEFT}: {one.key}"


def _of_others(dataset: Dataset, one: Result, present: Present) -> str:
    """Say which file of an image is not, or may not be, the program's own; empty if all are."""
    listed: dict[str, str] = {}
    for kind, record in present.records.items():
        path = present.path(kind)
        if not record:
            continue
        if ownership.maker(storage.sidecar(path)) != ownership.NAME:
            return f"{path.name} is of another program"
        if record.get("Manual") is True:
            return f"{path.name} is a manual mask"
        listed |= record.get("Files", {})
    for path, verdict in standing.of_image(dataset, one):
        if verdict.reason in (currency.NO_SIDECAR, standing.UNLISTED) or path.name not in listed:
            return f"{path.name} has no sidecar of {ownership.NAME}"
        for person in (currency.uncompressed(path), decisions.beside(path)):
            if person and person != path and person.is_file():
                return f"{person.name} is of a person"
    for name, path in present.compared.items():
        if name in listed and not files.as_written(path, {"Files": listed}, present.times):
            return f"{name} has changed"
    return ""


def _tidy(settings: Settings, participants: set[str]) -> None:
    """Remove empty folders, and pages without results; bring the other pages up to date."""
    root = settings.output_dir
    for label in participants:
        folder = root / f"sub-{label}"
        for path in sorted(folder.glob("**/"), reverse=True):
            with suppress(OSError):  # it is not empty
                path.rmdir()
        page = root / f"sub-{label}.html"
        if readback.named(root, [label]):
            if page.is_file():
                participant_page.write(root, label, raw=settings.bids_dir)
        else:
            page.unlink(missing_ok=True)
    if participants and (root / "participants.tsv").is_file():
        shared_tables.copy_participants(settings)
