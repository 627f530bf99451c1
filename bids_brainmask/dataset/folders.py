# SPDX-License-Identifier: Apache-2.0
"""Checks of the folders that a run is given: the first one is a raw BIDS dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from bids_brainmask.dataset import storage
from bids_brainmask.errors import UsageError
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import NIFTI


def participants(bids_dir: Path) -> list[str]:
    """Labels of the participants that have a folder, sorted, without ``sub-``."""
    try:
        entries = [entry for entry in os.scandir(bids_dir) if entry.name.startswith("sub-")]
    except OSError:
        return []
    # Only links are followed, because each check takes time on a network disk.
    folder = (e for e in entries if e.is_dir(follow_symlinks=False) or Path(e).is_dir())
    return sorted(entry.name[4:] for entry in folder)


def has_participant(bids_dir: Path) -> bool:
    """Tell whether a folder has a participant, without listing all of them."""
    try:
        with os.scandir(bids_dir) as entries:
            return any(entry.name.startswith("sub-") for entry in entries)
    except OSError:
        return False


def description(root: Path) -> dict:
    """Read dataset_description.json; empty if it is absent or unreadable."""
    return storage.read_object(root / "dataset_description.json")


def is_derivative(root: Path) -> bool:
    """Tell whether a folder is a derivative dataset, by its description."""
    return description(root).get("DatasetType") == "derivative"


def is_raw(root: Path) -> bool:
    """Tell whether a folder is a described raw dataset with participants."""
    described = description(root)
    kind = described.get("DatasetType", "raw")
    return "BIDSVersion" in described and kind == "raw" and bool(participants(root))


def check_order(settings: Settings) -> None:
    """Raise a `UsageError` if the dataset and the output folder are swapped."""
    root, out = settings.bids_dir, settings.output_dir
    if is_raw(out) and not is_raw(root):
        raise UsageError(
            f"{root} is not a raw BIDS dataset, but {out} is. The folders are swapped: write "
            f"bids-brainmask {out} {root} {settings.analysis_level}."
        )


def check_folders(settings: Settings) -> None:
    """Raise unless the input is a BIDS dataset, and not the output folder.

    Raises
    ------
    UsageError
        The folder does not exist. Or, unless validation is skipped, dataset_description.json is
        absent, not JSON, or without Name and BIDSVersion.
    """
    root = settings.bids_dir
    if root.is_file():
        advice = f"Give the folder of the dataset that it is in, not {root.name}."
        if root.name.endswith(NIFTI):
            advice = f"For a single image: brainmask extract {root} -o BRAIN.nii.gz."
        raise UsageError(f"{root}: a file; expected the folder of a BIDS dataset. {advice}")
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; expected the folder of a BIDS dataset.")
    if os.path.realpath(settings.output_dir) == os.path.realpath(root):
        raise UsageError(
            f"{root}: the output folder is the dataset itself, which must not be changed. "
            f"Choose another folder, such as {root / 'derivatives' / 'bids_brainmask'}."
        )
    if not settings.skip_bids_validation:
        check_description(root)


def check_description(root: Path) -> None:
    """Raise a `UsageError` unless a dataset has its description, with the required keys."""
    path = root / "dataset_description.json"
    hint = "Correct it, or add --skip-bids-validation."
    if not path.is_file():
        raise UsageError(
            f"{path}: not found; a BIDS dataset must have it. Check the order of the folders, or "
            "add --skip-bids-validation."
        )
    try:
        content = storage.read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not JSON ({error}). {hint}") from error
    missing = {"Name", "BIDSVersion"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise UsageError(
            f"{path}: required keys are missing: {', '.join(sorted(missing))}. {hint}"
        )


def of_derivative(root: Path) -> UsageError:
    """Error for a derivative dataset that was given as the raw one."""
    content = description(root)
    makers = _named(content.get("GeneratedBy"), "Name")
    sources = _named(content.get("SourceDatasets"), "URL")
    made_by = f" of {', '.join(makers)}" if makers else ""
    source = f": {sources[0]}" if sources else ""
    return UsageError(
        f"{root}: a derivative dataset{made_by}, without raw images. Give as BIDS_DIR the raw "
        f"dataset that it was made from{source}."
    )


def _named(entries: object, key: str) -> list[str]:
    """List the values of a key in a list of mappings."""
    found = entries if isinstance(entries, list) else []
    return [str(entry[key]) for entry in found if isinstance(entry, Mapping) and entry.get(key)]


def raw_dataset(output_dir: Path) -> Path:
    """Find the raw dataset of a derivative dataset, by the link ``raw`` in its description.

    Raises
    ------
    UsageError
        There is no such link, or no dataset where it leads.
    """
    links = description(output_dir).get("DatasetLinks")
    link = links.get("raw") if isinstance(links, dict) else None
    if not isinstance(link, str):
        raise UsageError(
            f"{output_dir}: dataset_description.json has no DatasetLinks with 'raw'; expected an "
            "output folder of bids-brainmask, in its dataset or beside it. Give the raw dataset "
            "with --bids-dir."
        )
    root = (output_dir / unquote(link.removeprefix("file://"))).resolve()
    if not root.is_dir():
        raise UsageError(
            f"{root}: no such folder; it is the raw dataset by the description of {output_dir}. "
            "Give the raw dataset with --bids-dir."
        )
    return root
