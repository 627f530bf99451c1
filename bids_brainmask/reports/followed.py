# SPDX-License-Identifier: Apache-2.0
"""Lesions of each participant followed over the sessions: registered, matched, compared, shown."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_brainmask import __version__
from bids_brainmask.analyses.measures import number
from bids_brainmask.dataset import readback
from bids_brainmask.dataset.readback import Result
from bids_brainmask.dataset.session_order import Sessions
from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.reports import lesion_changes, templates, tumor_growth
from bids_brainmask.reports.lesion_changes import Change, Size, Tracks
from bids_brainmask.settings import Settings

if TYPE_CHECKING:
    from bids_brainmask.voxels.image import Volume

log = logging.getLogger(__name__)

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What the page may do: no scripts, and no requests."""


@dataclass(frozen=True)
class Line:
    """One lesion of two sessions: its row of the table, and its picture, if it could be drawn."""

    row: Mapping[str, str]
    picture: bytes = b""

    @property
    def address(self) -> str:
        """The picture as a data: address; empty for none."""
        code = base64.b64encode(self.picture).decode()
        return f"data:image/webp;base64,{code}" if code else ""


@dataclass(frozen=True)
class Session:
    """The counted lesions of one image."""

    result: Result
    sizes: Mapping[int, Size]  # by index

    @property
    def label(self) -> str:
        """With ``ses-``."""
        return f"ses-{self.result.session}"


def follow(settings: Settings, found: Iterable[Result], sessions: Sessions) -> list[Line]:
    """Compare each image with that of the next session; one line a lesion.

    Images are compared as volumes over sessions are: those whose entities, but for the session,
    and parameters are the same, in the order of their sessions. Where neither has a lesion that
    counts, or the order is unknown, there is no line.
    """
    series: dict[tuple, list[Session]] = {}
    for result in found:
        try:
            key = tumor_growth.measured(result).series
            one = Session(result, _sizes(settings.output_dir, result))
        except (KeyError, TypeError, ValueError) as error:
            log.warning("%s: lesions are not followed: %r", result.prefix, error)
            continue
        series.setdefault(key, []).append(one)
    lines = []
    for group in series.values():
        order = sessions.order(group[0].result.participant, {one.result.session for one in group})
        if order.is_known and len(group) > 1:
            group.sort(key=lambda one: order.labels.index(one.result.session))
            lines += list(_of_series(settings, group))
    return lines


def _sizes(root: Path, result: Result) -> dict[int, Size]:
    """Read the lesions that count, by index, from the table of an image."""
    found = {}
    for row in readback.table(root, result, "meningioma"):
        if row["counted"] == "yes":
            sd = row["volume_sd_ml"]
            ml, mm = (float(number(row[name])) for name in ("volume_ml", "longest_mm"))
            known = None if sd == "n/a" else float(number(sd))
            found[int(row["index"])] = Size(ml, mm, known)
    return found


def _of_series(settings: Settings, group: Sequence[Session]) -> Iterator[Line]:
    tracks = Tracks()
    for before, after in pairwise(group):
        if not before.sizes and not after.sizes:
            tracks.number([], {})
            continue
        named = {
            "participant_id": f"sub-{before.result.participant}",
            "session_before": before.label,
            "session_after": after.label,
            "image_before": before.result.output("lesion_indices"),
            "image_after": after.result.output("lesion_indices"),
        }
        try:
            yield from _compare(settings, before, after, tracks, named)
        except (ImageError, UsageError) as error:
            said = str(error).replace(f"{settings.output_dir}/", "")
            log.warning("%s, %s and %s: %s", *list(named.values())[:3], said)
            yield Line(dict.fromkeys(lesion_changes.COLUMNS, "n/a") | named | {"remark": said})
            tracks = Tracks()


def _compare(
    settings: Settings, before: Session, after: Session, tracks: Tracks, named: Mapping[str, str]
) -> Iterator[Line]:
    """Register two images, and give a line for each lesion.

    Raises
    ------
    ImageError, UsageError
        They cannot be read or registered.
    """
    from bids_brainmask.voxels import image, registration

    registration.library()
    root = settings.output_dir
    brains, labels, heads = ([_read(kind, settings, s) for s in (before, after)] for kind in KINDS)
    for three in zip(brains, labels, heads, strict=True):
        if len({each.data.shape for each in three}) > 1:
            raise ImageError("the image, its brain mask and its index image are not on one grid")
    masks = [brain.data > 0 for brain in brains]
    motion = registration.rigid(heads[0], heads[1], masks[0], masks[1])
    pairs = zip(masks, brains, strict=True)
    fixed, moving = (image.Volume(mask, brain.affine) for mask, brain in pairs)
    overlap = registration.check_overlap(motion, fixed, moving)
    own = np.where(np.isin(labels[0].data, list(before.sizes)), labels[0].data, 0)
    other = np.where(np.isin(labels[1].data, list(after.sizes)), labels[1].data, 0)
    moved = registration.onto(labels[0], image.Volume(other, labels[1].affine), motion)
    changes = _with_lost(lesion_changes.match(own, moved), after.sizes)
    there = image.Volume(registration.onto(heads[0], heads[1], motion, order=1), heads[0].affine)
    numbers = tracks.number(changes, after.sizes)
    limits = (settings.growth_percent, settings.growth_mm)
    for track, change in zip(numbers, changes, strict=True):
        sizes = (before.sizes, after.sizes)
        row = {
            **named,
            "lesion": str(track),
            "indices_before": ",".join(map(str, change.before)) or "n/a",
            "indices_after": ",".join(map(str, change.after)) or "n/a",
            "change": lesion_changes.kind(change, *sizes, *limits),
            **lesion_changes.numbers(change, *sizes),
            "overlap": f"{overlap:.3f}",
            "remark": "n/a",
        }
        parts = np.isin(own, change.before), np.isin(moved, change.after)
        yield Line(row, _picture(heads[0], there, *parts) if settings.reports else b"")
    log.debug("%s: followed in %s", named["participant_id"], root)


def _with_lost(changes: list[Change], after: Mapping[int, Size]) -> list[Change]:
    """Add new lesions that lie outside of the field of view of the earlier image."""
    seen = {index for change in changes for index in change.after}
    return [*changes, *(Change((), (index,)) for index in after if index not in seen)]


def _picture(head: Volume, there: Volume, before: np.ndarray, after: np.ndarray) -> bytes:
    from bids_brainmask.drawing import changes

    if not before.any() and not after.any():
        return b""
    return changes.before_and_after(head, there, before, after)


KINDS = ("brain", "labels", "head")


def _read(kind: str, settings: Settings, session: Session) -> Volume:
    """Read the brain mask, the index image or the head of a session.

    The head is the source image if its dataset is there, else the image of the brain alone.
    """
    from bids_brainmask.voxels import image

    root, result = settings.output_dir, session.result
    if kind == "labels":
        return image.read_labels(root / result.output("lesion_indices"))
    if kind == "brain":
        return image.read_labels(root / result.main("brain"))
    named = readback.source_of(result.records["meningioma"])
    raw = settings.bids_dir / named
    path = raw if named and raw.is_file() else root / result.output("brain")
    return image.read(path).volume


def page(lines: Sequence[Line], settings: Settings) -> str:
    """Make the page: a line per lesion, before and after side by side."""
    made = templates.environment()
    shown = {
        name: column
        for name, column in lesion_changes.COLUMNS.items()
        if name not in ("image_before", "image_after", "participant_id")
    }
    people: dict[str, list[Line]] = {}
    for line in lines:
        people.setdefault(line.row["participant_id"], []).append(line)
    return made.get_template("changes.html").render(
        people=people,
        columns=shown,
        percent=f"{settings.growth_percent:g}",
        mm=f"{settings.growth_mm:g}",
        policy=POLICY,
        styles=[templates.packaged("templates/report.css")],
        version=__version__,
    )
