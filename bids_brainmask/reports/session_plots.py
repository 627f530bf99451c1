# SPDX-License-Identifier: Apache-2.0
"""Volumes over the sessions of each participant, for the plots of the group report."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from bids_brainmask.analyses.measures import Value
from bids_brainmask.dataset.session_order import Sessions, natural


@dataclass(frozen=True)
class Volume:
    """Volume of one image."""

    image: str
    """Name of the image."""

    model: str
    """Name of the model; empty if it is not told apart."""

    session: str
    """With ``ses-``; empty for none."""

    ml: float | int | None
    index: int
    """Of the image in the report; -1: it is not there."""


def plot(
    title: str, measured: Iterable[Volume], sessions: Sessions
) -> tuple[dict | None, list[str]]:
    """Lay out volumes over the sessions of participants who have several.

    Returns
    -------
    dict or None
        ``title`` and ``units``, ``sessions`` from left to right, and ``lines``: ``name``, and
        ``points`` of session, volume and index of the image. None: there is no line.
    list of str
        Sentences about participants without a line, because the order of their sessions is
        unknown.
    """
    lines, unordered = join(measured, sessions)
    if not lines:
        return None, unordered
    orders = [[point[0] for point in line["points"]] for line in lines]
    return {"title": title, "units": "mL", "sessions": axis(orders), "lines": lines}, unordered


def join(measured: Iterable[Volume], sessions: Sessions) -> tuple[list[dict], list[str]]:
    """Join what differs only in its session; images with a single session are left out."""
    joined: dict[tuple[str, str], list[Volume]] = {}
    for one in measured:
        series = "_".join(part for part in one.image.split("_") if not part.startswith("ses-"))
        if one.session and one.ml is not None:
            joined.setdefault((series, one.model), []).append(one)
    lines, unordered = [], []
    for (name, model), found in joined.items():
        labels = {one.session.removeprefix("ses-") for one in found}
        if len(labels) < 2:
            continue
        participant = name.partition("_")[0].removeprefix("sub-")
        order = sessions.order(participant, labels)
        if not order.is_known:
            unordered.append(order.sentence(participant))
            continue
        place = {f"ses-{label}": index for index, label in enumerate(order.labels)}
        found.sort(key=lambda one: place[one.session])
        points = [[one.session, one.ml, one.index] for one in found]
        lines.append({"name": ", ".join(filter(None, (name, model))), "points": points})
    return lines, unordered


def axis(orders: Iterable[Sequence[str]]) -> list[str]:
    """Merge the orders of participants; by label where they leave a choice or disagree."""
    graph: dict[str, set[str]] = {}
    for order in orders:
        for before, after in zip([None, *order], order, strict=False):
            graph.setdefault(after, set()).update(filter(None, [before]))
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError:
        return sorted(graph, key=natural)
    merged: list[str] = []
    ready: list[tuple[list, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (natural(name), name))
        _, name = heapq.heappop(ready)
        merged.append(name)
        sorter.done(name)
    return merged


def of_tumors(rows: Iterable[Mapping[str, Value]], where: Mapping[str, int]) -> list[Volume]:
    """Read the volumes in the table of meningiomas.

    Parameters
    ----------
    rows : iterable of mapping
        ``image``, ``model``, ``session_id`` and ``volume_ml``, a number or its text.
    where : mapping of str to int
        Index of each image in the report.
    """
    found = []
    for row in rows:
        image = str(row["image"]).rpartition("/")[2].partition("_label-")[0]
        volume = row["volume_ml"]
        ml = None if volume in (None, "n/a") else float(volume)
        session = str(row["session_id"] or "")
        found.append(Volume(image, str(row["model"]), session, ml, where.get(image, -1)))
    return found
