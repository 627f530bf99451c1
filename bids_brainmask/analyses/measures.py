# SPDX-License-Identifier: Apache-2.0
"""One measure of a mask: how it is called, computed, read back, and compared."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Metric:
    """Comparison of one measure with that of similar images."""

    words: str
    """Its name in a reason."""

    side: Literal["low", "high", "both"]
    """Values on which side of the median count as bad."""

    floor: float
    """Least scaled MAD, in the metric's unit; on a logarithmic scale, about a share."""

    unit: str = ""

    scale: Literal["plain", "log", "loss"] = "plain"
    """As it is; the logarithm of it plus `offset`, for what is skewed; or less the logarithm of 1
    less it plus `offset`, for what piles up below 1."""

    offset: float = 0.0

    cap: float = math.inf
    """More counts as this."""

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Put values on the scale on which they are compared; NaN stays NaN."""
        import numpy as np  # planning imports this module, and has no use for it

        if self.scale == "log":
            return np.log(np.maximum(values, 0) + self.offset)
        if self.scale == "loss":
            return -np.log(np.maximum(1 - values, 0) + self.offset)
        return np.minimum(values, self.cap)


@dataclass(frozen=True)
class Reading:
    """What the derivatives hold of one analysis of one image."""

    record: Mapping[str, Any]
    """The sidecar of its main output."""

    rows: Sequence[Mapping[str, str]] = ()
    """Its table, for an analysis that has one."""

    others: Collection[str] = ()
    """Names of the analyses of the same image that have a sidecar."""

    @property
    def quality(self) -> Mapping[str, Any]:
        """The measures that the sidecar holds; none where it has no such entry."""
        quality = self.record.get("Quality")
        return quality if isinstance(quality, Mapping) else {}


def known_number(value: object) -> float | int | None:
    """Take a finite number as it is, and anything else for unknown."""
    if type(value) is int:
        return value if abs(value) <= sys.float_info.max else None
    return value if type(value) is float and math.isfinite(value) else None


def number(value: object) -> float | int:
    """Take a finite number, or the text of one, which must be there.

    Raises
    ------
    ValueError
        It is anything else.
    """
    if isinstance(value, str):
        value = float(value)
    found = known_number(value)
    if found is None:
        raise ValueError(f"expected a finite number, found {str(value)[:40]}")
    return found


@dataclass(frozen=True)
class Measure:
    """One measure of a mask, for tables, reports and comparison."""

    name: str
    """Column of the group's table."""

    column: Mapping[str, str]
    """Data dictionary: ``LongName``, ``Description`` and, of a quantity, ``Units``."""

    metric: Metric | None = None
    """Comparison with similar images; None: it is not compared."""

    compute: Callable[[Any], float | int | None] | None = None
    """Its value, from what the analysis measures of (of the brain, a `quality.Sample`), for
    ``Quality`` in the sidecar; None: the sidecar has it elsewhere."""

    read: Callable[[Reading], Value] | None = None
    """Its value, from what was written; None: that in ``Quality``."""

    rank: int = 0
    """Its place, from 1, among the measures that the group's page plots first; 0: after them."""

    is_doubt: bool = False
    """Whether its value says why the mask may be wrong, in words with semicolons between them. The
    group's page shows them with the image, and such images first."""

    def value(self, reading: Reading) -> Value:
        """Read the measure from the written files; None if it is unknown."""
        return self.read(reading) if self.read else known_number(reading.quality.get(self.name))
