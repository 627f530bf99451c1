# SPDX-License-Identifier: Apache-2.0
"""The command ``brainmask export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_export(commands: argparse._SubParsersAction) -> None:
    """``brainmask export``: masks for other programs."""
    # The names stand here too, so that `brainmask --help` need not load what reads images.
    export = commands.add_parser(
        "export",
        help="write masks as fMRIPrep, FreeSurfer, FSL or ANTs take them",
        description="Write the masks of an output folder as another program takes them. What "
        "would not be exact is refused, with the reason; the exit status is then 1. Existing "
        "files are never replaced.",
    )
    export.add_argument("output_dir", type=Path, help="output folder of bids-brainmask")
    export.add_argument(
        "dest", type=Path, help="folder to write; for freesurfer, its SUBJECTS_DIR"
    )
    export.add_argument(
        "--for",
        dest="program",
        required=True,
        choices=("fmriprep", "freesurfer", "fsl", "ants"),
        help="the program that will take the masks",
    )
    export.add_argument(
        "--bids-dir",
        type=Path,
        metavar="DIR",
        help="the raw dataset; the one that the output folder names if not given",
    )
    for option, what, prefix in (
        ("--participant-label", "participants", "sub-"),
        ("--session-label", "sessions", "ses-"),
    ):
        export.add_argument(
            option,
            nargs="+",
            default=(),
            metavar="LABEL",
            type=lambda word, prefix=prefix: word.removeprefix(prefix),
            help=f"{what} to export, with or without {prefix}; all if not given",
        )
    export.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="the filter file that fMRIPrep will be given: only images that it selects count",
    )
    export.add_argument(
        "--per",
        choices=("participant", "session"),
        default="participant",
        help="for fmriprep and freesurfer: what has one mask. session is for fMRIPrep's "
        "--subject-anatomical-reference sessionwise; participant if not given",
    )
    export.set_defaults(command=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Export, print what was written and refused; 1 if anything was refused."""
    from bids_brainmask.dataset import folders
    from bids_brainmask.export import heads, targets

    row = targets.target(args.program)
    bids_dir = args.bids_dir or folders.raw_dataset(args.output_dir)
    found = heads.find(
        args.output_dir,
        bids_dir,
        args.participant_label,
        args.session_label,
        args.bids_filter_file,
    )
    outcomes = []
    for outcome in targets.export(row, found, args.dest, args.per):
        outcomes.append(outcome)
        for path in outcome.files:
            print(path)
        said = f"refused: {outcome.refused}" if outcome.refused else outcome.note
        if said:
            print(f"{outcome.name}: {said}", file=sys.stderr)
    refused = sum(bool(outcome.refused) for outcome in outcomes)
    if refused < len(outcomes):
        if row.describe:
            row.describe(args.dest, bids_dir, args.output_dir)
        command = row.command.format(dest=args.dest, bids_dir=bids_dir)
        print(f"{len(outcomes) - refused} exported. Next: {command}", file=sys.stderr)
    if refused:
        print(f"{refused} of {len(outcomes)} refused, with the reasons above", file=sys.stderr)
    return int(bool(refused))
