# SPDX-License-Identifier: Apache-2.0
"""Read back what the participant level wrote: sidecars, tables of lesions, crash records.

The group level and the reports are made of this alone, so that the raw dataset may be gone. Other
participants may be running: sidecars are written last, and what is not whole is passed over.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_brainmask.dataset import storage

log = logging.getLogger(__name__)

Figure = Literal[
    "brain", "uncertainty", "meningioma", "thumbnail", "viewer_image", "viewer_labels"
]
"""What a picture, or a volume for the viewer, shows."""

FIGURES: dict[Figure, str] = {
    "brain": "desc-brain_T1w.webp",
    "uncertainty": "desc-uncertainty_T1w.webp",
    "meningioma": "desc-meningioma_T1w.webp",
    "thumbnail": "desc-thumbnail_T1w.webp",
    "viewer_image": "desc-viewer_T1w.nii.gz",
    "viewer_labels": "desc-viewer_dseg.nii.gz",
}
"""How the name of each ends, behind the source's; all lie in ``sub-<label>/figures``."""

BRAIN = "_desc-brain_mask.json"
TUMOUR = "_label-tumor_desc-meningioma_mask.json"
"""How the names of the sidecars end that say what was found."""


@dataclass(frozen=True, eq=False)
class Result:
    """What the participant level left of one image."""

    prefix: str
    """Name of the source image up to ``_T1w``."""

    folder: str
    """Of its masks, in the output folder, with forward slashes."""

    brain: Mapping | None = None
    """Sidecar of the brain mask; None where no brain was extracted."""

    tumour: Mapping | None = None
    """Sidecar of the tumour mask; None where meningiomas were not looked for."""

    @property
    def entities(self) -> tuple[tuple[str, str], ...]:
        """Key-value pairs of the source's name."""
        return tuple((key, value) for key, _, value in map(_split, self.prefix.split("_")))

    @property
    def participant(self) -> str:
        """Label, without ``sub-``."""
        return dict(self.entities)["sub"]

    @property
    def session(self) -> str:
        """Label, without ``ses-``; empty for none."""
        return dict(self.entities).get("ses", "")

    @property
    def brain_mask(self) -> str:
        """Path of the brain mask in the output folder."""
        return f"{self.folder}/{self.prefix}{BRAIN}".removesuffix(".json") + ".nii.gz"

    @property
    def tumour_mask(self) -> str:
        """Path of the tumour mask in the output folder."""
        return f"{self.folder}/{self.prefix}{TUMOUR}".removesuffix(".json") + ".nii.gz"

    @property
    def figures(self) -> dict[Figure, str]:
        """Path in the output folder of every figure, whether it is there or not."""
        return {kind: figure(self.prefix, kind) for kind in FIGURES}


def _split(pair: str) -> tuple[str, str, str]:
    return pair.partition("-")


def figure(prefix: str, kind: Figure) -> str:
    """Path of a figure in the output folder, of the image whose name begins with `prefix`."""
    return f"{prefix.split('_')[0]}/figures/{prefix}_{FIGURES[kind]}"


def read(root: Path, participants: Iterable[str] = ()) -> list[Result]:
    """Read what there is of every image.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    participants : iterable of str
        Labels without ``sub-``; none: all.

    Returns
    -------
    list of Result
        By participant, session (2 before 10) and name. Sidecars that are not whole are told of
        and passed over.
    """
    wanted = [f"sub-{label}" for label in participants] or ["sub-*"]
    found: dict[tuple[str, str], dict] = {}
    for folder in wanted:
        for ending, part in ((BRAIN, "brain"), (TUMOUR, "tumour")):
            for path in root.glob(f"{folder}/**/anat/sub-*{ending}"):
                if (record := _record(path)) is not None:
                    place = path.parent.relative_to(root).as_posix()
                    prefix = path.name.removesuffix(ending)
                    found.setdefault((place, prefix), {})[part] = record
    results = [Result(prefix, place, **parts) for (place, prefix), parts in found.items()]
    return sorted(results, key=lambda one: (one.participant, natural(one.session), one.prefix))


def _record(path: Path) -> dict | None:
    """Content of a sidecar; None, with a warning, for what is not a record of this program."""
    try:
        record = storage.read_json(path)
        if not isinstance(record["Parameters"], dict):
            raise TypeError(f"Parameters is {record['Parameters']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: passed over, not a whole record: %r", path, error)
        return None
    return record


def lesions(root: Path, result: Result) -> list[dict[str, str]]:
    """Rows of an image's table of lesions; none where there is no table that can be read."""
    path = root / result.folder / f"{result.prefix}_desc-meningioma_lesions.tsv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        log.warning("%s: passed over: %s", path, error)
        return []
    return [row for row in rows if None not in row and None not in row.values()]


def failures(root: Path, participants: Iterable[str] = ()) -> list[dict]:
    """Read the newest crash record of every image that has failed and not been done since.

    Parameters
    ----------
    root, participants
        As in `read`.

    Returns
    -------
    list of dict
        Records under ``logs/``, sorted by image; ``Log`` is the record's path in the output
        folder.
    """
    newest: dict[str, dict] = {}
    for folder in [f"sub-{label}" for label in participants] or ["sub-*"]:
        for path in sorted(root.glob(f"logs/{folder}/*_crash-*.json")):
            try:
                record = storage.read_json(path)
                source = str(record["Source"])
                record = record | {"Log": path.relative_to(root).as_posix()}
                str(record["Time"]), str(record["Message"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s: passed over, not a whole record: %r", path, error)
                continue
            if not _done_since(root, source, path):
                newest[source] = record  # names of records grow with time
    return [newest[source] for source in sorted(newest)]


def _done_since(root: Path, source: str, crash: Path) -> bool:
    """Tell whether a mask of an image is newer than a crash record of it."""
    stem = re.sub(r"_T1w\.nii(\.gz)?$", "", source)
    masks = [root / f"{stem}{ending}" for ending in (BRAIN, TUMOUR)]
    try:
        return any(m.is_file() and m.stat().st_mtime > crash.stat().st_mtime for m in masks)
    except OSError:
        return False


def natural(label: str) -> list:
    """Key that sorts labels with numbers by their values: 2 before 10."""
    parts = re.split(r"(\d+)", label)
    return [(int(part) if part.isdigit() else -1, part) for part in parts]
