# SPDX-License-Identifier: Apache-2.0
"""Masks that a person has corrected: found, checked, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import currency, storage
from bids_brainmask.errors import ImageError
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.results import files
from bids_brainmask.voxels import image, masks


@dataclass(frozen=True)
class Correction:
    """A mask that a person made or changed, in the place of an automatic one."""

    mask: np.ndarray  # (I, J, K) bool, on the grid of the source
    time: str
    """When the person saved it: UTC, ISO 8601."""

    editor: str = ""
    """Name of the person; empty: unknown."""

    @property
    def words(self) -> str:
        """A few words for the line about the scan."""
        return _words(self.time, self.editor)

    def record(self) -> dict:
        """Entries for the sidecar of the mask."""
        found = {"Manual": True, "Corrected": self.time}
        return found | ({"CorrectedBy": self.editor} if self.editor else {})


def read(plan: ScanPlan, run: Run, source: image.Source) -> dict[str, Correction]:
    """Find the corrected masks of a scan, by analysis.

    A mask is a person's if its sidecar says so, or if its voxels are not those of its sidecar.

    Raises
    ------
    ImageError
        A changed mask does not fit the image, or has more than two values, or there are two.
    OutputError
        The folder of the masks cannot be looked into.
    """
    found: dict[str, Correction] = {}
    if run.settings.overwrite_manual:
        return found
    with storage.output_errors(plan.folder):  # which may be closed to us
        for name in plan.analyses:
            row = catalog.analysis(name)
            if row.correctable and (one := _of_mask(plan, name, run, source)):
                found[name] = one
    return found


def _of_mask(plan: ScanPlan, analysis: str, run: Run, source: image.Source) -> Correction | None:
    """Find the correction of one mask; None if it is the program's own, damaged or absent."""
    path, times = plan.path(catalog.analysis(analysis).main), files.read_times(plan)
    record = currency.read_record(path) or _remembered(plan, analysis)
    by_hand, plain = record.get("Manual") is True, currency.uncompressed(path)
    edited = {}
    for each in filter(None, (path, plain)):
        if each == plain or ("Files" in record and not files.as_written(each, record, times)):
            mask = _fitting(each, source, analysis)
            if mask is not None and masks.digest(mask) != record.get("VoxelsSHA256"):
                edited[each] = mask
    if len({masks.digest(mask) for mask in edited.values()}) > 1:
        raise ImageError(
            f"{path} and {plain} are two different corrections of one mask. Remove one of them."
        )
    for each, mask in edited.items():
        saved = datetime.fromtimestamp(each.stat().st_mtime, UTC)
        return Correction(mask, saved.isoformat(timespec="seconds"), run.settings.editor)
    mask = _fitting(path, source, analysis) if by_hand and path.is_file() else None
    if mask is None:
        return None
    return Correction(mask, str(record.get("Corrected", "")), str(record.get("CorrectedBy", "")))


def _remembered(plan: ScanPlan, analysis: str) -> dict:
    """Say what is known of a mask whose sidecar is lost: that it is a person's, or nothing.

    The record under ``logs/`` tells it of the file that was written then. Of another file, the
    automatic mask, or its sidecar, does: it is beside a corrected one only.
    """
    path = plan.path(catalog.analysis(analysis).main)
    said = storage.read_object(plan.record).get("Manual")
    if isinstance(said, dict) and files.is_recorded(path, plan):
        known = said.get(analysis)
        return known if isinstance(known, dict) else {}
    automatic = _automatic(path, analysis)
    is_beside = automatic.is_file() or storage.sidecar(automatic).is_file()
    return {"Manual": True} if is_beside else {}


def keep_unknown(plan: ScanPlan, run: Run, content: Mapping[str, bytes]) -> list[str]:
    """Copy the masks to ``logs/`` that are to be replaced and may be a person's.

    A mask is the program's own if a sidecar or the record of the last run tells so, or if it has
    the content that is to be written, as after a run that was killed.

    Parameters
    ----------
    plan : ScanPlan
    run : Run
        With ``--overwrite-manual``, nothing is copied.
    content : mapping of str to bytes
        Of the files that are to be written, by output.

    Returns
    -------
    list of str
        What was copied, in words.
    """
    said = []
    for row in map(catalog.analysis, () if run.settings.overwrite_manual else plan.analyses):
        path = plan.path(row.main)
        if not row.correctable or currency.read_record(path) or files.is_recorded(path, plan):
            continue
        with storage.output_errors(path):
            there = path.read_bytes() if path.is_file() else b""
        if there and there != content[row.main]:
            name = f"{plan.log.stem}_{row.main}-{hashlib.sha256(there).hexdigest()[:16]}.nii.gz"
            copy = plan.log.with_name(name)
            storage.write_bytes(copy, there)
            place = f"{copy.parent.name}/{name}"
            said.append(f"replaced a mask without a sidecar, which is kept as logs/{place}")
    return said


def _automatic(path: Path, analysis: str) -> Path:
    """Path of the automatic mask beside a corrected one."""
    main = catalog.output(catalog.analysis(analysis).main)
    desc, auto = (f"_desc-{main.entities['desc']}{more}" for more in ("", "auto"))
    return path.with_name(path.name.replace(desc, auto))


def _fitting(path: Path, source: image.Source, analysis: str) -> np.ndarray | None:
    """Read a mask that a person may have changed; None if it is damaged, or a brain of no voxel.

    Raises
    ------
    ImageError
        It does not fit the image; or a file that the program does not write is damaged.
    """
    try:
        volume = image.read_binary(path)
    except ImageError as error:
        if error.damaged and path.suffix == ".gz":
            return None
        raise
    image.check_same_grid((f"{path}", "its image"), (volume, source.volume))
    if analysis == "brain" and not volume.data.any():
        if path.suffix == ".gz":
            return None
        raise ImageError(f"{path}: the mask is empty; expected a brain. Draw it again.")
    return volume.data


def take_over(plan: ScanPlan, run: Run, findings: Mapping) -> None:
    """Remove the masks that a person saved as ``.nii``, after they are written as ``.nii.gz``.

    One that was saved meanwhile stays for the next run.
    """
    for name in plan.analyses:
        row = catalog.analysis(name)
        plain = currency.uncompressed(plan.path(row.main)) if row.correctable else None
        if plain and (
            run.settings.overwrite_manual
            or masks.digest(image.read_binary(plain).data) == files.mask_digest(name, findings)
        ):
            with storage.output_errors(plain):
                plain.unlink()


def kept(plan: ScanPlan) -> list[str]:
    """Say which masks of a scan were taken from a person before."""
    records = files.read_records(plan)
    names = files.manual(plan, records)
    found = [records[catalog.analysis(name).main] for name in names]
    return [_words(record.get("Corrected"), record.get("CorrectedBy")) for record in found]


def _words(time: object, editor: object) -> str:
    on, by = f" of {str(time)[:10]}" if time else "", f" by {editor}" if editor else ""
    return f"manual mask{on}{by}"


def count(run: Run) -> int:
    """Count the images of a run with a manual mask, taken or not yet taken."""
    return sum(
        bool(files.manual(plan, files.read_records(plan)) or _edited(plan))
        for plan in run.plans
        if plan.analyses
    )


def _edited(plan: ScanPlan) -> bool:
    """Tell whether a mask of a scan has been changed since it was written."""
    for row in map(catalog.analysis, plan.analyses):
        path = plan.path(row.main)
        if row.correctable and currency.uncompressed(path):
            return True
        record = currency.read_record(path) if row.correctable else {}
        if "Files" in record and not files.as_written(path, record, files.read_times(plan)):
            return True
    return False
