# SPDX-License-Identifier: Apache-2.0
"""Volumes of meningiomas over the sessions of a participant, from the sidecars."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bids_brainmask.analyses.measures import number
from bids_brainmask.dataset.readback import Result
from bids_brainmask.dataset.session_order import Order, Sessions

log = logging.getLogger(__name__)

FIRST = "the first session of the same participant, kind of image, model and threshold"

COLUMNS: dict[str, dict[str, str]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a if the dataset has none"},
    "image": {"Description": "Path of the tumor mask in this dataset"},
    "model": {"Description": "Model and its version"},
    "lesions": {"Description": "Number of candidate lesions that count"},
    "volume_ml": {"Description": "Volume of the candidate lesions that count", "Units": "mL"},
    "change_ml": {"Description": f"Volume minus the volume of {FIRST}", "Units": "mL"},
    "change_percent": {
        "Description": f"Change divided by the volume of {FIRST}; n/a if that is 0",
        "Units": "%",
    },
    "since_last_ml": {
        "Description": "Volume minus the volume of the previous session",
        "Units": "mL",
    },
    "since_last_percent": {
        "Description": "This change over the volume of the previous session; n/a if that is 0",
        "Units": "%",
    },
    "session_order": {
        "Description": "What the compared sessions are ordered by: acq_time in scans.tsv, "
        "acq_time in sessions.tsv, dates in sidecars, numbers in labels; unknown: the changes are "
        "n/a; n/a: there is one session"
    },
}
"""The table's columns. Sessions come in their order in time, as `Sessions.order` finds it."""


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
    def participant(self) -> str:
        """Label, without ``sub-``."""
        return dict(self.entities)["sub"]

    @property
    def session(self) -> str:
        """Label of the session, without ``ses-``; empty for none."""
        return dict(self.entities).get("ses", "")

    @property
    def series(self) -> tuple:
        """Key that comparable images of several sessions share."""
        return (*(pair for pair in self.entities if pair[0] != "ses"), self.parameters)


def measured(result: Result) -> Measured:
    """Read the values of the table from the sidecar of a tumor mask.

    Raises
    ------
    KeyError, TypeError, ValueError
        It lacks a key, or holds something else there.
    """
    record = result.records["meningioma"]
    parameters = record["Parameters"]
    return Measured(
        image=result.main("meningioma"),
        entities=result.entities,
        parameters=json.dumps(parameters, sort_keys=True),
        model=f"{parameters['Model']} {parameters['ModelVersion']}",
        lesions=int(number(record["LesionCount"])),
        volume_ml=float(number(record["LesionVolume"])),
    )


def rows(found: Iterable[Measured], sessions: Sessions) -> list[dict[str, str]]:
    """Compare every image with those of earlier sessions; one row an image.

    If the order of the sessions is unknown, there are no changes, and a warning says why.
    """
    series: dict[tuple, list[Measured]] = {}
    people: dict[str, set[str]] = {}
    for one in found:
        series.setdefault(one.series, []).append(one)
        people.setdefault(one.participant, set()).add(one.session)
    placed = []
    for group in series.values():
        participant = group[0].participant
        order = sessions.order(participant, {one.session for one in group})
        if not order.is_known:
            log.warning("%s Changes of volumes are n/a.", order.sentence(participant))
        group.sort(key=lambda one: order.labels.index(one.session))
        placed += [(one, row) for one, row in zip(group, _compare(group, order), strict=True)]
    ranks = {label: sessions.order(label, each).labels for label, each in people.items()}
    placed.sort(
        key=lambda pair: (
            pair[0].participant,
            ranks[pair[0].participant].index(pair[0].session),
            pair[0].image,
        )
    )
    return [row for _, row in placed]


def _compare(group: Sequence[Measured], order: Order) -> list[dict[str, str]]:
    """Rows of comparable images, one a session, in the order of their sessions."""
    basis = order.basis or ("n/a" if order.is_known else "unknown")
    table = []
    for place, one in enumerate(group):
        is_compared = place and order.is_known
        table.append(
            {
                "participant_id": f"sub-{one.participant}",
                "session_id": f"ses-{one.session}" if one.session else "n/a",
                "image": one.image,
                "model": one.model,
                "lesions": str(one.lesions),
                "volume_ml": f"{one.volume_ml:.3f}",
                **change(one, group[0] if is_compared else None, "change"),
                **change(one, group[place - 1] if is_compared else None, "since_last"),
                "session_order": basis,
            }
        )
    return table


def change(one: Measured, other: Measured | None, name: str) -> dict[str, str]:
    """Write the change of a volume from an earlier one, in mL and in % of it."""
    difference = percent = None
    if other:
        difference = one.volume_ml - other.volume_ml
        percent = 100 * difference / other.volume_ml if other.volume_ml else None
    return {
        f"{name}_ml": "n/a" if difference is None else f"{difference:.3f}",
        f"{name}_percent": "n/a" if percent is None else f"{percent:.1f}",
    }
