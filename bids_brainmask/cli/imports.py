# SPDX-License-Identifier: Apache-2.0
"""``brainmask import``: other layouts to BIDS."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_import(commands: argparse._SubParsersAction) -> None:
    """``brainmask import``: a dataset of another layout to BIDS, with its outlines."""
    bring = commands.add_parser("import", help="convert a dataset of another layout to BIDS")
    layouts = bring.add_subparsers(required=True, metavar="LAYOUT")
    brats = layouts.add_parser(
        "brats-men-rt",
        help="BraTS-MEN-RT: contrast-enhanced heads with outlines of meningiomas",
        description="Convert the unpacked download of BraTS-MEN-RT. The exit status is 1 if a "
        "case could not be imported; the others are.",
    )
    brats.add_argument("source", type=Path, metavar="DIR", help="the unpacked download")
    brats.add_argument("bids_dir", type=Path, help="new or empty folder for the BIDS dataset")
    brats.set_defaults(command=run_brats)


def run_brats(args: argparse.Namespace) -> int:
    """Convert, and say how many cases there are."""
    from bids_brainmask import brats

    found = brats.convert(args.source, args.bids_dir)
    outlined = sum(case.outline is not None for case in found.cases)
    print(f"imported: {len(found.cases)}, with outlines: {outlined}, failed: {len(found.failed)}")
    return found.status
