# SPDX-License-Identifier: Apache-2.0
"""Options about candidate lesions; their defaults are those of `Settings`."""

from __future__ import annotations

import argparse

from bids_brainmask.cli.values import positive
from bids_brainmask.settings import Settings

FEWEST, MOST = 2, 20
"""Copies of an image from which a standard deviation is taken."""


def copies(text: str) -> int:
    """Parse a number of copies; 0 for none."""
    number = int(text)
    if number and not FEWEST <= number <= MOST:
        raise argparse.ArgumentTypeError(f"expected 0, or {FEWEST} to {MOST} copies, found {text}")
    return number


def add_lesions(group: argparse._ActionsContainer) -> None:
    """Add the options for the uncertainty and the growth of lesions."""
    group.add_argument(
        "--lesion-copies",
        type=copies,
        metavar="N",
        help="for images with candidate lesions, run the network also on N shifted and rotated "
        f"copies ({FEWEST} to {MOST}), for the uncertainty of their volumes; default: no copies",
    )
    group.add_argument(
        "--growth-percent",
        type=positive(float),
        metavar="PERCENT",
        help="group level: growth of a lesion's volume from one session to the next from which "
        f"it has grown, in per cent; default: {Settings.growth_percent:g}",
    )
    group.add_argument(
        "--growth-mm",
        type=positive(float),
        metavar="MM",
        help="group level: growth of its longest axial diameter from which it has grown, mm; "
        f"default: {Settings.growth_mm:g}",
    )
