# SPDX-License-Identifier: Apache-2.0
"""Convert the download of BraTS-MEN-RT to BIDS, with its outlines as derivatives.

The dataset (LaBella et al. 2024, https://arxiv.org/abs/2405.18383) has one contrast-enhanced
T1-weighted image a case, of a defaced head on the scanner's grid, and for the training cases the
gross tumor volume: ``BraTS-MEN-RT-0002-1/BraTS-MEN-RT-0002-1_t1c.nii.gz`` and ``..._gtv.nii.gz``.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import bids_brainmask
from bids_brainmask import tables
from bids_brainmask.dataset import storage
from bids_brainmask.errors import ImageError, NothingToDo, UsageError
from bids_brainmask.voxels import image

log = logging.getLogger(__name__)

FILE = re.compile(r"BraTS-MEN-RT-(\d+)-(\d+)_(t1c|gtv)\.nii(\.gz)?")
"""Names of the files: participant, session and kind."""

LABELS = "derivatives/brats"
"""Folder of the outlines in the BIDS dataset."""

LICENSE = "the terms of BraTS-MEN-RT, as accepted when it was downloaded from Synapse"

REFERENCE = "https://arxiv.org/abs/2405.18383"


@dataclass(frozen=True)
class Case:
    """Files of a case; None: there is no outline."""

    participant: str
    session: str
    image: Path
    outline: Path | None

    @property
    def prefix(self) -> str:
        """Beginning of its files' names in BIDS."""
        return f"sub-{self.participant}_ses-{self.session}_ce-gadolinium"

    @property
    def folder(self) -> str:
        """Folder of its files in a BIDS dataset."""
        return f"sub-{self.participant}/ses-{self.session}/anat"


@dataclass(frozen=True)
class Import:
    """What was imported, and why the rest was not, by name."""

    cases: tuple[Case, ...]
    failed: dict[str, str]

    @property
    def status(self) -> int:
        """Exit status: 1 if a case could not be imported, else 0."""
        return 1 if self.failed else 0


def convert(source: Path, bids_dir: Path) -> Import:
    """Write a BIDS dataset; files are copied byte for byte, and the download stays as it is.

    Parameters
    ----------
    source : Path
        The unpacked download; folders within folders are searched.
    bids_dir : Path
        New or empty folder.

    Raises
    ------
    UsageError
        There is no such folder, or `bids_dir` is not empty.
    NothingToDo
        No case, or none that can be imported.
    """
    if not source.is_dir():
        raise UsageError(f"{source}: no such folder; expected the unpacked download.")
    if bids_dir.exists() and (not bids_dir.is_dir() or any(bids_dir.iterdir())):
        raise UsageError(
            f"{bids_dir}: is not an empty folder. Nothing is overwritten; name another."
        )
    found, failed = find(source)
    if not found and not failed:
        raise NothingToDo(f"{source}: no file BraTS-MEN-RT-*_t1c.nii.gz in it or in its folders.")
    good = []
    for case in found:
        try:
            check(case)
        except ImageError as error:
            failed[case.image.name] = str(error)
        else:
            good.append(case)
    for reason in failed.values():
        log.error("%s", reason)
    if not good:
        raise NothingToDo(
            f"{source}: no case can be imported; the first: {next(iter(failed.values()))}"
        )
    write(good, bids_dir)
    return Import(tuple(good), failed)


def find(source: Path) -> tuple[list[Case], dict[str, str]]:
    """Find the cases, by participant and session, and what belongs to none or to two."""
    files: dict[tuple[str, str], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(source.rglob("BraTS-MEN-RT-*.nii*")):
        if match := FILE.fullmatch(path.name):
            files[match[1], match[2]][match[3]].append(path)
        else:
            log.warning("%s: not a file of the dataset; left out", path)
    cases, failed = [], {}
    for (participant, session), kinds in sorted(files.items()):
        name = f"BraTS-MEN-RT-{participant}-{session}"
        images, outlines = kinds["t1c"], kinds["gtv"]
        for same in (images, outlines):
            if len(same) > 1:
                failed[name] = (
                    f"{name}: found more than once: {', '.join(map(str, same))}. Remove all but "
                    "the corrected one."
                )
        if name in failed:
            continue
        if not images:
            failed[name] = f"{outlines[0]}: an outline without its image {name}_t1c.nii.gz"
            continue
        outline = outlines[0] if outlines else None
        cases.append(Case(f"menrt{participant}", session, images[0], outline))
    return cases, failed


def check(case: Case) -> None:
    """Read the files of a case.

    Raises
    ------
    ImageError
        One is damaged, the outline is empty, or it is on another grid than its image.
    """
    volume = image.read(case.image).volume
    if case.outline is None:
        log.warning("%s: no outline; imported without one", case.image)
        return
    outline = image.read_structure(case.outline)
    image.check_same_grid((str(case.image), str(case.outline)), (volume, outline))
    if not outline.data.any():
        raise ImageError(f"{case.outline}: the outline is empty; expected a tumor")


def write(cases: list[Case], bids_dir: Path) -> None:
    """Write the dataset of some cases, and the derivatives of those with outlines."""
    labels = bids_dir / LABELS
    for case in cases:
        place = _copy(case.image, bids_dir / case.folder / f"{case.prefix}_T1w")
        storage.write_json(storage.sidecar(place), {"ContrastBolusIngredient": "GADOLINIUM"})
        if case.outline:
            name = f"{case.prefix}_label-tumor_mask"
            outline = _copy(case.outline, labels / case.folder / name)
            relative = place.relative_to(bids_dir).as_posix()
            record = {"Type": "Lesion", "Manual": True, "Sources": [f"bids:raw:{relative}"]}
            storage.write_json(storage.sidecar(outline), record)
    people = {case.participant: case.outline is not None for case in cases}
    for case in cases:
        people[case.participant] |= case.outline is not None
    rows = [["participant_id", "outlined"]]
    rows += [[f"sub-{name}", "yes" if there else "no"] for name, there in sorted(people.items())]
    storage.write_bytes(bids_dir / "participants.tsv", tables.tsv(rows).encode())
    storage.write_json(
        bids_dir / "participants.json",
        {"outlined": {"Description": "Whether a session has an outline of the tumor (yes, no)"}},
    )
    _describe(bids_dir, labels)


def _copy(source: Path, stem: Path) -> Path:
    """Copy an image, compressed or not, under another name."""
    place = stem.with_name(stem.name + (".nii.gz" if source.suffix == ".gz" else ".nii"))
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    return place


def _describe(bids_dir: Path, labels: Path) -> None:
    """Write the descriptions of both datasets."""
    common = {"BIDSVersion": "1.10.0", "License": LICENSE, "ReferencesAndLinks": [REFERENCE]}
    made = {"Name": "bids_brainmask", "Version": bids_brainmask.__version__}
    raw = {"Name": "BraTS-MEN-RT", "DatasetType": "raw", **common, "GeneratedBy": [made]}
    storage.write_json(bids_dir / "dataset_description.json", raw)
    text = (
        "BraTS-MEN-RT: heads of patients with meningiomas, defaced, contrast-enhanced, as their\n"
    )
    text += f"scanners made them; converted to BIDS. {REFERENCE}\nUse it under {LICENSE}.\n"
    storage.write_bytes(bids_dir / "README", text.encode())
    if labels.exists():
        derived = {
            "Name": "Outlines of BraTS-MEN-RT",
            "DatasetType": "derivative",
            **common,
            "GeneratedBy": [{"Name": "BraTS-MEN-RT", "Description": "gross tumor volumes"}],
            "DatasetLinks": {"raw": "../.."},
        }
        storage.write_json(labels / "dataset_description.json", derived)
