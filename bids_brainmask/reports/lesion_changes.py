# SPDX-License-Identifier: Apache-2.0
"""Lesions of two sessions on one grid: which are the same, and how they changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bids_brainmask.settings import Settings

Kind = Literal["new", "gone", "grown", "shrunk", "stable", "merged", "split", "merged and split"]

SHARED = 0.1
"""Share of the smaller of two lesions that both must have for them to be the same one."""

GROWTH_PERCENT, GROWTH_MM = Settings.growth_percent, Settings.growth_mm
"""Least growth by default. 40 % of the volume stands for the 25 % of the product of diameters of
RANO for meningiomas (Huang et al. 2019, https://doi.org/10.1093/neuonc/noy137); the two
thresholds went with survival in the post-hoc analysis of EORTC-BTG 1320."""


COLUMNS: dict[str, dict] = {
    "participant_id": {"LongName": "Participant", "Description": "Participant"},
    "lesion": {
        "LongName": "Lesion",
        "Description": "Number of the lesion through all sessions of the participant, in the "
        "order in which lesions appear. A merged one has the lowest number of its parts; of a "
        "split one, the largest part keeps it",
    },
    "session_before": {"LongName": "Before", "Description": "Earlier session"},
    "session_after": {"LongName": "After", "Description": "Next session"},
    "image_before": {"LongName": "Image before", "Description": "Index image of the earlier one"},
    "image_after": {"LongName": "Image after", "Description": "Index image of the next session"},
    "indices_before": {
        "LongName": "Indices before",
        "Description": "Its indices in the earlier index image, separated by commas; n/a if new",
    },
    "indices_after": {
        "LongName": "Indices after",
        "Description": "Its indices in the next index image, separated by commas; n/a if gone",
    },
    "change": {
        "LongName": "Change",
        "Description": "What became of the lesion. Lesions are the same if the smaller one "
        f"shares at least {SHARED:g} of its voxels with the other, after a rigid registration of "
        "the two brains; n/a if that failed",
        "Levels": {
            "new": "It has no counterpart in the earlier session",
            "gone": "It has no counterpart in the next session",
            "grown": "Its volume or its longest diameter has grown by the thresholds or more",
            "shrunk": "Either has shrunk so much that the reverse would be growth",
            "stable": "Neither",
            "merged": "Several lesions have become one",
            "split": "One lesion has become several",
            "merged and split": "Several lesions have become several others, which overlap",
        },
    },
    "volume_before_ml": {
        "LongName": "Volume before",
        "Description": "Volume in the earlier session, of all parts",
        "Units": "mL",
    },
    "volume_after_ml": {
        "LongName": "Volume after",
        "Description": "Volume in the next session, of all parts",
        "Units": "mL",
    },
    "change_ml": {"LongName": "Change of volume", "Description": "Difference", "Units": "mL"},
    "change_percent": {
        "LongName": "Change of volume, %",
        "Description": "Difference over the volume before; n/a if that is 0",
        "Units": "%",
    },
    "change_longest_mm": {
        "LongName": "Change of the diameter",
        "Description": "Change of the longest axial diameter, of the longest part",
        "Units": "mm",
    },
    "uncertainty_ml": {
        "LongName": "Uncertainty",
        "Description": "Change of volume that 95 % of two scans of an unchanged lesion stay "
        "within, as far as the network is concerned: 1.96 times the root of the sum of both "
        "variances over shifted and rotated copies of each image; n/a if they were not made "
        "(--lesion-copies)",
        "Units": "mL",
    },
    "certain": {
        "LongName": "Certain",
        "Description": "Whether the change of volume exceeds the uncertainty",
        "Levels": {
            "yes": "It does",
            "within the uncertainty": "It does not: it may be none, whatever `change` says",
            "n/a": "It is unknown",
        },
    },
    "overlap": {
        "LongName": "Overlap of the brains",
        "Description": "Dice of the two brain masks after the registration",
    },
    "remark": {"LongName": "Remark", "Description": "Why there is no comparison; else n/a"},
}


@dataclass(frozen=True)
class Size:
    """What the table of lesions says of one."""

    ml: float
    longest_mm: float
    sd_ml: float | None = None  # over copies of the image


@dataclass(frozen=True)
class Change:
    """One lesion of two sessions: the indices of its parts."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def match(before: np.ndarray, after: np.ndarray) -> list[Change]:
    """Find which lesions of two sessions are the same.

    Parameters
    ----------
    before, after : (I, J, K) int array
        Indices on one grid, 0 elsewhere.

    Returns
    -------
    list of Change
        Every lesion is in one; those of before first, by their smallest index.
    """
    sizes = [np.bincount(labels.ravel()) for labels in (before, after)]
    both = (before > 0) & (after > 0)
    pairs, counts = np.unique(np.stack([before[both], after[both]]), axis=1, return_counts=True)
    groups: list[tuple[set[int], set[int]]] = []
    groups += [({int(index)}, set()) for index in np.flatnonzero(sizes[0][1:]) + 1]
    groups += [(set(), {int(index)}) for index in np.flatnonzero(sizes[1][1:]) + 1]
    for (one, other), count in zip(pairs.T, counts, strict=True):
        if count < SHARED * min(sizes[0][one], sizes[1][other]):
            continue
        joined = [group for group in groups if one in group[0] or other in group[1]]
        groups = [group for group in groups if group not in joined]
        own, others = zip(*joined, strict=True)
        groups.append((set().union(*own), set().union(*others)))
    found = [Change(tuple(sorted(own)), tuple(sorted(other))) for own, other in groups]
    return sorted(found, key=lambda each: (not each.before, each.before or each.after))


def kind(
    change: Change,
    before: Mapping[int, Size],
    after: Mapping[int, Size],
    percent: float = GROWTH_PERCENT,
    mm: float = GROWTH_MM,
) -> Kind:
    """Say what became of a lesion; thresholds above 0."""
    many = len(change.before) > 1, len(change.after) > 1
    if any(many):
        return "merged and split" if all(many) else "merged" if many[0] else "split"
    if not change.before:
        return "new"
    if not change.after:
        return "gone"
    old, new = before[change.before[0]], after[change.after[0]]
    if _is_growth(old, new, percent, mm):
        return "grown"
    return "shrunk" if _is_growth(new, old, percent, mm) else "stable"


def _is_growth(old: Size, new: Size, percent: float, mm: float) -> bool:
    """Compare as the tables have the numbers: to 0.001 mL and 0.1 mm."""
    wider = round(new.longest_mm - old.longest_mm, 6) >= mm
    return wider or round(new.ml, 6) >= round(old.ml * (1 + percent / 100), 6)


def numbers(
    change: Change, before: Mapping[int, Size], after: Mapping[int, Size]
) -> dict[str, str]:
    """Write the measured changes of a lesion, by their columns."""
    old, new = [before[each] for each in change.before], [after[each] for each in change.after]
    sizes = [sum(each.ml for each in part) for part in (old, new)]
    lengths = [max((each.longest_mm for each in part), default=0.0) for part in (old, new)]
    difference = sizes[1] - sizes[0]
    uncertain = _uncertainty([*old, *new])
    certain = "n/a" if uncertain is None else "yes"
    if uncertain is not None and abs(difference) <= uncertain:
        certain = "within the uncertainty"
    return {
        "volume_before_ml": f"{sizes[0]:.3f}",
        "volume_after_ml": f"{sizes[1]:.3f}",
        "change_ml": f"{difference:z.3f}",
        "change_percent": f"{100 * difference / sizes[0]:z.1f}" if sizes[0] else "n/a",
        "change_longest_mm": f"{lengths[1] - lengths[0]:z.1f}",
        "uncertainty_ml": "n/a" if uncertain is None else f"{uncertain:.3f}",
        "certain": certain,
    }


def _uncertainty(parts: Sequence[Size]) -> float | None:
    known = [each.sd_ml for each in parts if each.sd_ml is not None]
    if len(known) < len(parts) or not parts:
        return None
    return float(1.96 * np.sqrt(sum(sd**2 for sd in known)))


class Tracks:
    """Numbers of lesions through the sessions of a participant."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}  # number of each index of the last session
        self._count = 0

    def number(self, changes: Sequence[Change], after: Mapping[int, Size]) -> list[int]:
        """Give the lesions of the next two sessions their numbers, in the order of `match`."""
        found, following = [], {}
        for change in changes:
            own = [self._known.get(index) or self._new() for index in change.before]
            number = min(own) if own else self._new()
            found.append(number)
            largest = max(change.after, key=lambda index: after[index].ml, default=0)
            for index in change.after:
                following[index] = number if index == largest else 0
        self._known = {index: number or self._new() for index, number in following.items()}
        return found

    def _new(self) -> int:
        self._count += 1
        return self._count
