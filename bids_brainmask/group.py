# SPDX-License-Identifier: Apache-2.0
"""The group level: tables over all participants, from the derivatives alone.

It may run any number of times, while participants still run elsewhere: it reads sidecars, which
are written last, and passes over what is not whole.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_brainmask import derivatives
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.settings import Settings

log = logging.getLogger(__name__)

SIDECARS = "sub-*/**/*_label-tumor_desc-meningioma_mask.json"
"""Sidecars of the tumour masks, in an output folder."""

VOLUMES = "group_desc-meningioma_volumes"
"""Name, without extension, of the table of tumour volumes."""

FIRST = "the first session of the same participant, kind of image, model and threshold"

COLUMNS: dict[str, dict[str, str]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a where the dataset has none"},
    "image": {"Description": "Tumour mask, in this dataset"},
    "model": {"Description": "Model and its version"},
    "lesions": {"Description": "Meningiomas of at least the smallest volume that counts"},
    "volume_ml": {"Description": "Volume of all of them", "Units": "mL"},
    "change_ml": {"Description": f"Volume less that of {FIRST}", "Units": "mL"},
    "change_percent": {
        "Description": f"Change over the volume of {FIRST}; n/a where that is 0",
        "Units": "%",
    },
    "since_last_ml": {"Description": "Volume less that of the session before", "Units": "mL"},
    "since_last_percent": {
        "Description": "That over the volume of the session before; n/a where that is 0",
        "Units": "%",
    },
}
"""The table's columns. Sessions come in the order of their labels, 2 before 10."""


@dataclass(frozen=True)
class Measured:
    """The meningiomas of one image, as its sidecar has them."""

    image: str  # path of the mask in the output folder
    entities: tuple[tuple[str, str], ...]
    parameters: str  # JSON
    model: str
    lesions: int
    volume_ml: float

    @property
    def session(self) -> str:
        """Label of the session, without ``ses-``; empty for none."""
        return dict(self.entities).get("ses", "")

    @property
    def series(self) -> tuple:
        """What images of several sessions share that can be compared."""
        return (*(pair for pair in self.entities if pair[0] != "ses"), self.parameters)


def write(settings: Settings) -> list[Path]:
    """Write the tables of a derivative dataset.

    Returns
    -------
    list of Path
        Files that were written.

    Raises
    ------
    UsageError
        There is no such folder.
    NothingToDo
        It holds no result that a table is made of.
    """
    root = settings.output_dir
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; run the participant level first.")
    found = read(root, settings.participant_label)
    if not found:
        raise NothingToDo(
            f"{root}: holds no meningioma masks of the participants asked for, and tables are "
            "made of them. Run the participant level on contrast-enhanced images first."
        )
    table, columns = root / f"{VOLUMES}.tsv", root / f"{VOLUMES}.json"
    derivatives.write_bytes(table, text(rows(found)).encode())
    derivatives.write_json(columns, COLUMNS)
    return [table, columns]


def read(root: Path, participants: Iterable[str] = ()) -> list[Measured]:
    """Read every sidecar of a tumour mask; those that are not whole are told of and passed over.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    participants : iterable of str
        Labels without ``sub-``; none: all.
    """
    wanted = {f"sub-{label}" for label in participants}
    found = []
    for path in sorted(root.glob(SIDECARS)):
        relative = path.relative_to(root)
        if wanted and relative.parts[0] not in wanted:
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append(measured(relative, record))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: passed over, not a whole record: %r", path, error)
    return found


def measured(relative: Path, record: Mapping) -> Measured:
    """Take what a table wants from one sidecar."""
    pairs = [tuple(part.split("-", 1)) for part in relative.name.split("_")[:-1]]
    parameters = record["Parameters"]
    return Measured(
        image=relative.with_suffix(".nii.gz").as_posix(),
        entities=tuple(pair for pair in pairs if pair[0] not in ("label", "desc")),
        parameters=json.dumps(parameters, sort_keys=True),
        model=f"{parameters['Model']} {parameters['ModelVersion']}",
        lesions=int(record["LesionCount"]),
        volume_ml=float(record["LesionVolume"]),
    )


def rows(found: Iterable[Measured]) -> list[dict[str, str]]:
    """Compare every image with those of earlier sessions; one row an image."""
    table = []
    before: dict[tuple, list[Measured]] = {}
    ordered = sorted(found, key=lambda one: (one.entities[0], natural(one.session), one.image))
    for one in ordered:
        series = before.setdefault(one.series, [])
        first, last = (series[0], series[-1]) if series else (None, None)
        table.append(
            {
                "participant_id": f"sub-{dict(one.entities)['sub']}",
                "session_id": f"ses-{one.session}" if one.session else "n/a",
                "image": one.image,
                "model": one.model,
                "lesions": str(one.lesions),
                "volume_ml": f"{one.volume_ml:.3f}",
                **change(one, first, "change"),
                **change(one, last, "since_last"),
            }
        )
        series.append(one)
    return table


def change(one: Measured, other: Measured | None, name: str) -> dict[str, str]:
    """Say how a volume differs from an earlier one, in mL and in % of it."""
    difference = one.volume_ml - other.volume_ml if other else None
    percent = 100 * difference / other.volume_ml if other and other.volume_ml else None
    return {
        f"{name}_ml": "n/a" if difference is None else f"{difference:.3f}",
        f"{name}_percent": "n/a" if percent is None else f"{percent:.1f}",
    }


def natural(label: str) -> list:
    """Key that sorts labels with numbers by their values: 2 before 10."""
    parts = re.split(r"(\d+)", label)
    return [(int(part) if part.isdigit() else -1, part) for part in parts]


def text(table: list[dict[str, str]]) -> str:
    """Lay rows out as tab-separated values under a header."""
    lines = [COLUMNS, *(row.values() for row in table)]
    return "".join("\t".join(line) + "\n" for line in lines)
