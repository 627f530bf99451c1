# SPDX-License-Identifier: Apache-2.0
"""The options of the command lines: names, parsers and help texts.

Their defaults are those of `Settings`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bids_brainmask import __version__
from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import SUFFIXES
from bids_brainmask.cli import choice_options, other_programs
from bids_brainmask.cli.lesion_options import add_lesions
from bids_brainmask.cli.model_options import (
    MODEL,
    add_border,
    add_brain_volume,
    add_engine,
    add_unverified,
)
from bids_brainmask.cli.parser import Parser
from bids_brainmask.cli.values import (
    executor,
    label,
    positive,
    threshold,
)
from bids_brainmask.settings import LEVELS, RESEARCH_ONLY, Settings

EPILOG = f"""\
exit status:
  0  all images are done, in this run or before
  1  some images failed; the others are written, and logs/ has the reasons
  2  the command cannot be carried out as given
  3  there is nothing to do
  129, 130, 143  stopped by SIGHUP, Ctrl-C or SIGTERM; the same command resumes

{RESEARCH_ONLY} The program works offline: it sends no data,
and only `brainmask models get` downloads files.
"""


def parser() -> Parser:
    """Build the command line. Every option is a field of `Settings`, which has the defaults."""
    top = Parser(
        prog="bids-brainmask",
        usage="bids-brainmask BIDS_DIR OUTPUT_DIR {participant,group} ... [options]",
        description="Extract the brain from every T1-weighted image of a BIDS dataset, and "
        "segment meningiomas on contrast-enhanced ones.",
        epilog=EPILOG,
        same=other_programs.APP_SAME,
        answers=other_programs.APP_ANSWERS,
    )
    top.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="the BIDS dataset to read")
    top.add_argument(
        "output_dir", type=Path, metavar="OUTPUT_DIR", help="the derivative dataset to write"
    )
    top.add_argument(
        "analysis_level",
        nargs="+",
        choices=LEVELS,
        metavar="LEVEL",
        help="participant: process the images; group: compare the results of all participants, "
        "which reads only OUTPUT_DIR; participant group: both",
    )
    top.add_version(f"bids-brainmask {__version__}")
    add_selection(top.add_argument_group("selection of images"))
    add_extraction(top.add_argument_group("processing"))
    add_resources(top.add_argument_group("resources"))
    top.set_defaults(
        **{
            action.dest: getattr(Settings, action.dest)
            for action in top._actions
            if action.option_strings and hasattr(Settings, action.dest)
        }
    )
    return top


def add_selection(group: argparse._ActionsContainer) -> None:
    """Add the options that select images."""
    group.add_argument(
        "--participant-label",
        nargs="+",
        type=label("sub-"),
        metavar="LABEL",
        help="participants to process, with or without sub-; all if not given",
    )
    group.add_argument(
        "--session-label",
        nargs="+",
        type=label("ses-"),
        metavar="LABEL",
        help="sessions to process, with or without ses-; all if not given",
    )
    group.add_argument(
        "--run-id",
        nargs="+",
        type=label("run-"),
        metavar="RUN",
        help="runs to process; all if not given",
    )
    group.add_argument(
        "--acquisition",
        nargs="+",
        type=label("acq-"),
        metavar="LABEL",
        help="values of acq- to process; all if not given",
    )
    group.add_argument(
        "--suffix",
        nargs="+",
        choices=[*SUFFIXES, "all"],
        metavar="SUFFIX",
        help=f"BIDS suffixes of the images to process: {', '.join(SUFFIXES)}, or all of these. "
        "Meningiomas are segmented in T1w images only",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help='JSON filters in the format of fMRIPrep, such as {"t1w": {"session": null, '
        '"acquisition": "*"}}; null: the entity is absent, "*": it is present',
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="do not check dataset_description.json and file names",
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="save pybids' index of the whole dataset in this folder, and reuse it",
    )
    group.add_argument(
        "--reset-database",
        action="store_true",
        help="make the index in --bids-database-dir anew, after the dataset has changed",
    )


def add_extraction(group: argparse._ActionsContainer) -> None:
    """Add the options that determine the result."""
    group.add_argument(
        "--analyses",
        nargs="+",
        choices=["auto", *catalog.names()],
        help="analyses to run; auto: brain for every image, meningioma for contrast-enhanced "
        "images. If meningioma is given by name, images without contrast are refused",
    )
    group.add_argument(
        "--force-contrast",
        action="store_true",
        help="treat every image as contrast-enhanced, whatever its name and sidecar say",
    )
    group.add_argument(
        "--model",
        nargs="+",
        metavar="[ANALYSIS=]MODEL",
        help=f"one model per analysis: {MODEL}. auto: brainy and ams if they are installed, else "
        "the embedded models. A plain .h5, .keras or .npz file is for the brain, or for "
        "meningioma if it is the only analysis",
    )
    add_unverified(group)
    group.add_argument(
        "--threshold",
        nargs="+",
        type=threshold,
        metavar="[ANALYSIS=]P",
        help="lowest probability of a voxel in the mask, for the brain, or for meningioma if it "
        "is the only analysis; the model's own if not given",
    )
    add_border(group)
    add_brain_volume(group)
    add_engine(group)
    group.add_argument(
        "--overlap",
        action="store_true",
        help="models that process blocks: blocks overlap by half, with Gaussian weights; about "
        "3.4 times the network's time. No effect on models that process the whole head",
    )
    group.add_argument(
        "--tta",
        action="store_true",
        help="average the probabilities with those of the mirrored image, as "
        "embedded-meningioma always does, and embedded where it is not sure; twice the network's "
        "time",
    )
    add_lesions(group)
    group.add_argument(
        "--outputs",
        nargs="+",
        choices=catalog.options(),
        help="which images to write",
    )
    group.add_argument(
        "--no-reports",
        dest="reports",
        action="store_false",
        help="do not write reports and figures",
    )
    group.add_argument(
        "--viewer",
        action="store_true",
        help="add an interactive viewer to each participant's report; adds 1 MB per report and 3 "
        "to 5 MB per image. Later runs keep it",
    )
    group.add_argument(
        "--no-viewer",
        dest="viewer",
        action="store_false",
        help="remove the viewer from the reports of these participants",
    )
    group.add_argument(
        "--ratings",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="group level: tables of ratings that the group report exports, also of several "
        "raters, or those of MRIQC and Qoala-T. Excluded images take no part in the comparison",
    )
    group.add_argument(
        "--single-file",
        action="store_true",
        help="group level: put the thumbnails into the report, so that it can be mailed alone",
    )
    group.add_argument("--overwrite", action="store_true", help="process finished images again")
    choice_options.add(group)
    manual = "replace also masks that a person corrected"
    group.add_argument("--overwrite-manual", action="store_true", help=manual)
    group.add_argument(
        "--editor",
        metavar="NAME",
        help="person who corrected the masks that this run finds changed, for their sidecars",
    )
    group.add_argument(
        "--verify",
        action="store_true",
        help="compare finished results by hash, not by size and modification time",
    )
    group.add_argument(
        "--remove-orphans",
        action="store_true",
        help="remove the results, but for corrected masks, of images that left the dataset",
    )
    group.add_argument("--dry-run", action="store_true", help="print the planned work, and stop")


def add_resources(group: argparse._ActionsContainer) -> None:
    """Add the options for resources and messages."""
    group.add_argument(
        "--executor",
        type=executor,
        metavar="WHERE",
        help="where scans are processed: serial, in this process; local, in several processes of "
        "this machine; slurm, pbs, sge, lsf, htcondor, in jobs of that batch system; or the "
        "address of a dask scheduler. auto: local if several processes are faster, else serial",
    )
    group.add_argument(
        "--cluster-config",
        type=Path,
        metavar="FILE",
        help="YAML file in dask-jobqueue's format: resources to request from the batch system",
    )
    group.add_argument(
        "--max-jobs",
        type=positive(int),
        metavar="N",
        help="largest number of batch jobs at a time, waiting or running",
    )
    group.add_argument(
        "--mem-gb",
        type=positive(float),
        metavar="GB",
        help="available memory; a model that needs more is refused",
    )
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="folder for temporary files",
    )
    group.add_argument("-v", "--verbose", action="count", help="more messages; -vv: all messages")
    group.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="print only warnings, errors, and the images that failed or are doubtful",
    )


def dashed(argv: Sequence[str]) -> list[str]:
    """Replace underscores in option names: ``--participant_label`` is ``--participant-label``."""
    spelled = []
    for word in argv:
        name, equals, value = word.partition("=")
        spelled.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return spelled


def each_level(args: argparse.Namespace) -> list[Settings]:
    """Make the settings of each requested level; lists become tuples."""
    given = {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in vars(args).items()
    }
    levels = [level for level in LEVELS if level in given["analysis_level"]]
    return [
        Settings.from_args(argparse.Namespace(**given | {"analysis_level": level}))
        for level in levels
    ]
