# SPDX-License-Identifier: Apache-2.0
"""What this program has made, and what belongs to others and is never overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from bids_brainmask.dataset import storage
from bids_brainmask.errors import OutputError, UsageError
from bids_brainmask.settings import Settings

NAME = "bids_brainmask"
"""Name of this program in ``GeneratedBy`` and in ``Software``."""

DESCRIPTION = "dataset_description.json"

Claims = Iterable[tuple[Path, Path]]
"""Files, each with the sidecar that says who made it."""


def check_output_dir(settings: Settings) -> None:
    """Check before anything is written that the output folder is ours, new, or without a dataset.

    Raises
    ------
    UsageError
        The folder has the description of another dataset, or is a participant's folder of another
        dataset. Or it lies within the raw dataset, but not under ``derivatives/``.
    """
    raw = Path(os.path.realpath(settings.bids_dir))
    out = Path(os.path.realpath(settings.output_dir))
    advice = f"Choose another folder, such as {settings.bids_dir / 'derivatives' / NAME}."
    if raw in out.parents and out.relative_to(raw).parts[0] != "derivatives":
        raise UsageError(
            f"{settings.output_dir}: the output folder is within the raw dataset, which must not "
            f"be changed. {advice}"
        )
    check_folder(settings.output_dir, advice)


def check_folder(place: Path, advice: str) -> None:
    """Check that a folder is not one of another BIDS dataset: its root, or a participant's.

    Raises
    ------
    UsageError
        It is; the message ends with the advice.
    """
    path = Path(os.path.realpath(place))
    for folder in (path, *path.parents):
        if not os.path.lexists(folder / DESCRIPTION):
            continue
        inside = path.relative_to(folder).parts
        if (not inside or inside[0].startswith("sub-")) and (found := other_dataset(folder)):
            raise UsageError(
                f"{place}: the folder belongs to {found}, which must not be changed. {advice}"
            )
        return


def other_dataset(folder: Path) -> str:
    """Say whose dataset a folder is, by its description; empty if it is ours.

    Returns
    -------
    str
        For example ``a dataset of fMRIPrep 24.1``.
    """
    path = folder / DESCRIPTION
    try:
        content = storage.read_json(path)
    except (OSError, ValueError) as error:
        return f"a dataset whose {DESCRIPTION} is not readable ({error})"
    if not isinstance(content, dict):
        return f"a dataset whose {DESCRIPTION} is not a JSON object"
    makers = _makers(content)
    if any(one.get("Name") == NAME for one in makers):
        return ""
    named = [" ".join(str(m[key]) for key in ("Name", "Version") if m.get(key)) for m in makers]
    if any(named):
        return f"a dataset of {', '.join(filter(None, named))}"
    kind = str(content.get("DatasetType", "raw"))
    return f"the {kind} dataset {str(content.get('Name', folder.name))!r}"


def _makers(content: Mapping) -> list[Mapping]:
    """Entries of ``GeneratedBy``, or of ``PipelineDescription``, which BIDS had before 1.4."""
    found = content.get("GeneratedBy")
    entries = found if isinstance(found, list) else [found, content.get("PipelineDescription")]
    return [entry for entry in entries if isinstance(entry, dict)]


def is_described(folder: Path) -> bool:
    """Tell whether a folder has our description."""
    return os.path.lexists(folder / DESCRIPTION) and not other_dataset(folder)


def maker(sidecar: Path) -> str:
    """Say who made a file, by its sidecar: `NAME`, another; empty if there is no whole sidecar."""
    content = storage.read_object(sidecar)
    if not content:
        return ""
    software = content.get("Software")
    if isinstance(software, dict) and NAME in software:
        return NAME
    named = [str(one["Name"]) for one in _makers(content) if one.get("Name")]
    return ", ".join(named) or "another program"


def check_unclaimed(settings: Settings, claims: Iterable[tuple[str, Claims]]) -> None:
    """Check that a folder without our description has no file in the place of a result.

    A folder with our description may have files without a sidecar: a run was stopped there.

    Parameters
    ----------
    settings : Settings
    claims : iterable of (str, list of (Path, Path))
        For each scan its participant, and the results that are to be written with the sidecars
        that say that we made them.

    Raises
    ------
    UsageError
        There is such a file, and its sidecar does not say that we made it.
    """
    out = settings.output_dir
    if not os.path.lexists(out) or is_described(out):
        return
    of_participant: dict[str, list[Path]] = {}
    for label, found in claims:
        for path, sidecar in found:
            _check_claim(path, sidecar)
            of_participant.setdefault(label, []).append(sidecar)
    for label, sidecars in of_participant.items():
        if settings.reports:
            sidecar = next(filter(os.path.lexists, sidecars), sidecars[0])
            _check_claim(out / f"sub-{label}.html", sidecar)


def _check_claim(path: Path, sidecar: Path) -> None:
    if _is_file(path) and maker(sidecar) != NAME:
        raise UsageError(
            f"{path}: would be overwritten, and no sidecar says that {NAME} made it. Choose "
            "another output folder, or move the file away."
        )


def check_owners(claims: Claims) -> None:
    """Raise an `OutputError` if another program made one of the files of a scan."""
    for path, sidecar in claims:
        other = maker(sidecar)
        if other and other != NAME:
            raise OutputError(
                f"{path}: exists already, and its sidecar says that {other} made it. Move both "
                "away, or choose another output folder."
            )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered: the scan will fail
        return False


def check_file(path: Path) -> None:
    """Check that a file to write does not replace one of another BIDS dataset.

    Raises
    ------
    UsageError
        The file exists, and lies in a dataset that is not ours.
    """
    if not os.path.lexists(path):
        return
    for folder in Path(os.path.realpath(path)).parents:
        if os.path.lexists(folder / DESCRIPTION):
            if found := other_dataset(folder):
                raise UsageError(
                    f"{path}: exists already in {found}, which must not be changed. Choose "
                    "another name."
                )
            return
