# SPDX-License-Identifier: Apache-2.0
"""The candidate lesions of an image in a few words, by a sidecar.

Importing this module is quick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def words(record: Mapping[str, Any]) -> str:
    """Count the candidates of each kind: likely ones always, the others where there are some.

    Parameters
    ----------
    record : mapping of str to object
        With ``CandidateCount``, ``LesionCount`` and ``Decisions``, as the sidecar of the tumor
        mask has them.

    Returns
    -------
    str
        Empty if the numbers are not known.
    """
    counted, found = record.get("LesionCount"), record.get("CandidateCount")
    decisions = record.get("Decisions")
    if not isinstance(counted, int) or not isinstance(found, int):
        return ""
    said = Counter(map(str, decisions.values()) if isinstance(decisions, Mapping) else ())
    numbers = {
        "likely": counted - said["accepted"],
        "unlikely": found - counted - said["rejected"],
        "accepted": said["accepted"],
        "rejected": said["rejected"],
    }
    return ", ".join(
        f"{number} {kind}" for kind, number in numbers.items() if number or kind == "likely"
    )
