# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks write: Markdown tables, and what the figures were made with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import bids_brainmask
from bids_brainmask.models.backends import Network
from bids_brainmask.models.registry import Model


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows of words out as a Markdown table.

    Raises
    ------
    ValueError
        A row that has more cells than there are columns, or fewer.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(
                f"expected {len(columns)} cells in each row, found {len(row)}: {list(row)}"
            )
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def origin(command: str, models: Sequence[tuple[Model, Network]]) -> str:
    """Say when the figures were made, with what, and how to make them again."""
    day = datetime.now(UTC).date().isoformat()
    lines = [f"Made on {day} by\n\n    {command} --markdown FILE\n"]
    lines.append(f"- bids_brainmask {bids_brainmask.__version__}")
    for model, network in models:
        lines.append(
            f"- model `{model.name}` {model.version} on {network.engine}, threshold "
            f"{model.threshold:g}, SHA-256 `{model.sha256}`"
        )
    return "\n".join(lines) + "\n"


def names(models: Sequence[tuple[Model, Network]]) -> list[str]:
    """Name models by their files, or as the registry does; by paths where files are alike."""
    short = [model.path.stem if model.path else model.name for model, _ in models]
    if len(set(short)) == len(short):
        return short
    return [str(model.path or model.name) for model, _ in models]
