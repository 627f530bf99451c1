# SPDX-License-Identifier: Apache-2.0
"""The options about single images: choices that are remembered, and ratings."""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_brainmask.settings import VERDICTS


def add(group: argparse._ActionsContainer) -> None:
    """Add the options about what earlier runs were asked for single images, and about ratings."""
    group.add_argument(
        "--reset-choices",
        action="store_true",
        help="forget --model, --threshold, --border and --precision of earlier runs for these "
        "images; otherwise they are kept",
    )
    group.add_argument(
        "--choices",
        type=Path,
        metavar="FILE",
        help="table of models, thresholds and so on for single images, such as an edited "
        "OUTPUT_DIR/choices.tsv, which the group level writes",
    )
    group.add_argument(
        "--from-ratings",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="process only images that are rated as --only says in these tables of ratings",
    )
    group.add_argument(
        "--only",
        nargs="+",
        choices=[*VERDICTS, "conflict"],
        metavar="VERDICT",
        help="verdicts for --from-ratings: accept, unsure, exclude, or conflict, if raters "
        "differ (default: exclude unsure)",
    )
