# SPDX-License-Identifier: Apache-2.0
"""Tab-separated values, as BIDS has them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def tsv(rows: Iterable[Iterable[object]]) -> str:
    """Text of a table; the first row is the header."""
    return "".join("\t".join(map(cell, row)) + "\n" for row in rows)


def cell(value: object) -> str:
    """Text of a value, without tabs and newlines: ``n/a`` for None, six digits for a float."""
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())


def quoted_tsv(rows: Iterable[Iterable[object]]) -> str:
    """Text of a table as `tsv`, with values that hold a quotation mark quoted.

    For what persons write: readers of CSV would else take an odd quotation mark for the start of
    a value that reaches over lines.
    """
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(map(cell, row) for row in rows)
    return text.getvalue()
