# SPDX-License-Identifier: Apache-2.0
"""``brainmask adopt``, ``select`` and ``status``: masks of persons, and the state of results."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict, astuple, fields
from pathlib import Path

from bids_brainmask.cli import values
from bids_brainmask.errors import UsageError


def add_adopt(commands: argparse._SubParsersAction) -> None:
    """``brainmask adopt``: corrected masks into a derivative dataset."""
    adopt = commands.add_parser(
        "adopt",
        help="put corrected masks into a derivative dataset",
        description="Put corrected masks in the place of the automatic ones, which are kept "
        "beside them. Then run the participant level again.",
    )
    adopt.add_argument("output_dir", type=Path, help="the derivative dataset")
    adopt.add_argument(
        "masks",
        nargs="*",
        type=Path,
        metavar="MASK",
        help="files named as the masks they replace",
    )
    adopt.add_argument("--editor", default="", metavar="NAME", help="who corrected the masks")
    adopt.add_argument(
        "--for",
        dest="image",
        default="",
        metavar="IMAGE",
        help="name of the image whose brain mask MASK is, for a MASK of any name",
    )
    adopt.add_argument("--list", action="store_true", help="list the manual masks, and stop")
    adopt.add_argument(
        "--revert",
        nargs="+",
        default=(),
        metavar="NAME",
        help="names of manual masks in whose place the automatic ones are brought back",
    )
    adopt.add_argument(
        "--lesions",
        type=Path,
        metavar="FILE",
        help="decisions about candidate lesions: tab-separated, with the columns image, index and "
        "decision (accepted, rejected, or n/a)",
    )
    adopt.set_defaults(command=run_adopt)


def run_adopt(args: argparse.Namespace) -> int:
    """Adopt, revert or list masks; the paths are printed."""
    from bids_brainmask.results import adoption, lesion_decisions

    if args.list:
        for path, record in adoption.manual(args.output_dir):
            print(path, record.get("Corrected", ""), record.get("CorrectedBy", ""), sep="\t")
        return 0
    if not (args.masks or args.revert or args.lesions) or (args.image and len(args.masks) > 1):
        raise UsageError(
            "adopt: expected MASK files, and with --for exactly one, or --lesions FILE."
        )
    for name in args.revert:
        print(adoption.revert(args.output_dir, name))
    if args.lesions:
        for path in lesion_decisions.adopt(args.output_dir, args.lesions, editor=args.editor):
            print(path)
    given = {"editor": args.editor, "image_name": args.image}
    for mask in args.masks:
        print(adoption.adopt(args.output_dir, mask, **given))
    return 0


def add_status(commands: argparse._SubParsersAction) -> None:
    """``brainmask status``: which results are current."""
    status = commands.add_parser(
        "status",
        help="list which results are current, manual, stale, failed or orphaned",
        description="List the state of each result. The exit status is 1 if a result is stale, "
        "failed or orphaned.",
    )
    status.add_argument("output_dir", type=Path, help="the derivative dataset")
    status.add_argument(
        "--format",
        choices=["text", "tsv", "json"],
        default="text",
        help="text: what needs work, and counts; tsv, json: every file",
    )
    status.add_argument("--verify", action="store_true", help="compare all files by hash")
    status.set_defaults(command=run_status)


def run_status(args: argparse.Namespace) -> int:
    """Print the state of each result; 1 if one of them needs work."""
    from bids_brainmask.dataset import currency
    from bids_brainmask.results import standing
    from bids_brainmask.tables import tsv

    if not args.output_dir.is_dir():
        raise UsageError(f"{args.output_dir}: no such folder. Name the folder of the results.")
    found = list(standing.read(args.output_dir, verify=args.verify))
    if args.format == "json":
        print(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
    elif args.format == "tsv":
        print(tsv([("path", "state", "reason"), *map(astuple, found)]), end="")
    else:
        for each in found:
            if each.state != "current":
                print(each.state, each.path, each.reason, sep="\t")
        counts = Counter(each.state for each in found)
        print(", ".join(f"{counts[state]} {state}" for state in currency.STATES))
    return int(any(each.state not in currency.GOOD for each in found))


def add_select(commands: argparse._SubParsersAction) -> None:
    """``brainmask select``: which masks to correct next."""
    select = commands.add_parser(
        "select",
        help="list the images whose correction would teach a network most",
        description="List the images whose correction would teach a network most: low predicted "
        "Dice, outliers, spread over scanners. Corrected masks are left out.",
    )
    select.add_argument("output_dir", type=Path, help="the derivative dataset")
    select.add_argument(
        "-n",
        "--count",
        type=values.positive(int),
        default=20,
        metavar="N",
        help="images to list at most (default: 20)",
    )
    select.add_argument(
        "--format",
        choices=["text", "tsv", "json"],
        default="text",
        help="text: mask and reason; tsv, json: everything",
    )
    select.set_defaults(command=run_select)


def run_select(args: argparse.Namespace) -> int:
    """Print the images to correct, the best first."""
    from bids_brainmask.reports import select
    from bids_brainmask.tables import tsv

    found = select.select(args.output_dir, args.count)
    if args.format == "json":
        print(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
    elif args.format == "tsv":
        header = [field.name for field in fields(select.Pick)]
        print(tsv([header, *map(astuple, found)]), end="")
    else:
        for each in found:
            print(each.mask, each.reason, sep="\t")
    return 0
