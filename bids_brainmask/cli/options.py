# SPDX-License-Identifier: Apache-2.0
"""The options of the command lines: how each is spelt, read and explained.

Their defaults are those of `Settings`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from bids_brainmask import __version__
from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import SUFFIXES
from bids_brainmask.settings import EXECUTORS, Settings

EPILOG = """\
exit status:
  0  all images are done, now or before
  1  some images failed; the others are written, and logs/ says why
  2  the command cannot be carried out as given
  3  nothing to do was found

For research only; not a medical device. Nothing is sent anywhere, and nothing is
downloaded unless you ask for it with `brainmask models get`.
"""


class Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, and the epilog as it is."""

    def _get_help_string(self, action):
        if action.default in (None, (), False, 0):
            return action.help  # the help says what absence means
        return super()._get_help_string(action)


def label(prefix: str):
    """Make a parser of labels that takes them with or without ``sub-`` or ``ses-``."""

    def parse(text: str) -> str:
        bare = text.removeprefix(prefix)
        if not re.fullmatch("[A-Za-z0-9+]+", bare):
            raise argparse.ArgumentTypeError(f"{text!r} is not a label: letters and digits only")
        return bare

    return parse


def positive(kind):
    """Make a parser of numbers above zero."""

    def parse(text: str):
        number = kind(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"expected more than 0, found {text}")
        return number

    parse.__name__ = kind.__name__
    return parse


LARGEST_BORDER = 100
"""Largest distance by which the edge of a mask can be moved, mm."""


def probability(text: str) -> float:
    """Parse a number strictly between 0 and 1."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text}")
    return number


def distance(text: str) -> float:
    """Parse a distance in mm, of either sign, that a head can hold."""
    number = float(text)
    if not -LARGEST_BORDER <= number <= LARGEST_BORDER:
        raise argparse.ArgumentTypeError(
            f"expected mm between -{LARGEST_BORDER} and {LARGEST_BORDER}, found {text}"
        )
    return number


def threshold(text: str) -> tuple[str, float]:
    """Parse a probability, with the analysis that it is for where that is said."""
    analysis, equals, number = text.rpartition("=")
    if equals and analysis not in catalog.names():
        named = ", ".join(f"{name}=P" for name in catalog.names())
        raise argparse.ArgumentTypeError(f"expected {named} or P, found {text}")
    return analysis, probability(number)


def executor(text: str) -> str:
    """Parse where scans are done: a name, or the address of a scheduler."""
    if text not in EXECUTORS and not re.fullmatch(r"(\w+://)?\S+:\d+", text):
        raise argparse.ArgumentTypeError(
            f"expected {', '.join(EXECUTORS)} or a scheduler's address such as "
            f"tcp://host:8786, found {text!r}"
        )
    return text


def parser() -> argparse.ArgumentParser:
    """Build the command line. Every option is a field of `Settings`, which has the defaults."""
    top = argparse.ArgumentParser(
        prog="bids-brainmask",
        description="Extract the brain from every T1-weighted image of a BIDS dataset, and "
        "segment meningiomas on contrast-enhanced ones.",
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    top.add_argument("bids_dir", type=Path, help="the dataset to read; never written to")
    top.add_argument("output_dir", type=Path, help="the derivative dataset to write")
    top.add_argument("analysis_level", choices=["participant", "group"])
    top.add_argument("--version", action="version", version=f"bids-brainmask {__version__}")
    add_selection(top.add_argument_group("which images"))
    add_extraction(top.add_argument_group("how"))
    add_resources(top.add_argument_group("with what"))
    top.set_defaults(
        **{
            action.dest: getattr(Settings, action.dest)
            for action in top._actions
            if hasattr(Settings, action.dest)
        }
    )
    return top


def add_selection(group: argparse._ActionsContainer) -> None:
    """Options that choose images."""
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
        help=f"BIDS suffixes of the images to process: {', '.join(SUFFIXES)}, or all that are "
        "there. Meningiomas are searched for in T1w images only",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help='JSON in fMRIPrep\'s form, such as {"t1w": {"session": null, "acquisition": "*"}}; '
        'null: has none, "*": has any',
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="take the dataset as it is: no check of its description and of file names",
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="keep pybids' index of the whole dataset here, and use it if it is there",
    )


def add_extraction(group: argparse._ActionsContainer) -> None:
    """Options that decide the result."""
    group.add_argument(
        "--analyses",
        nargs="+",
        choices=["auto", *catalog.names()],
        help="what to do; auto: brain on every image, meningioma on contrast-enhanced ones. "
        "Meningioma asked for by name is refused for images without contrast",
    )
    group.add_argument(
        "--force-contrast",
        action="store_true",
        help="take every image to be contrast-enhanced, whatever its name and sidecar say",
    )
    group.add_argument(
        "--model",
        nargs="+",
        metavar="[ANALYSIS=]MODEL",
        help=f"one for each analysis: {MODEL}; auto is brainy and ams where they have been "
        "downloaded, else the embedded ones. A bare .h5, .keras or .npz file is for brain, or "
        "for meningioma where that alone is asked for",
    )
    add_unverified(group)
    group.add_argument(
        "--threshold",
        nargs="+",
        type=threshold,
        metavar="[ANALYSIS=]P",
        help="probability from which a voxel is in the mask: of the brain, or of meningioma "
        "where that alone is asked for; the model's own if not given",
    )
    add_border(group)
    add_engine(group)
    group.add_argument(
        "--overlap",
        action="store_true",
        help="models that see blocks: let them overlap by half, with Gaussian weights; about 3.4 "
        "times the network's time. Without effect on models that see the whole head",
    )
    group.add_argument(
        "--tta",
        action="store_true",
        help="average with what is found in the mirror image, as embedded-meningioma always does: "
        "twice the network's time",
    )
    group.add_argument(
        "--outputs",
        nargs="+",
        choices=catalog.options(),
        help="what to write of each image",
    )
    group.add_argument(
        "--no-reports",
        dest="reports",
        action="store_false",
        help="write no pages and figures to look at",
    )
    group.add_argument(
        "--viewer",
        action="store_true",
        help="put a viewer to scroll through each image into its page; 1 MB a page and 3 to 5 MB "
        "an image more",
    )
    group.add_argument("--overwrite", action="store_true", help="do finished images again")
    group.add_argument("--dry-run", action="store_true", help="print the table of images and stop")


MODEL = "a name that `brainmask models list` shows, a training's folder, or a file"
"""What a model may be given as."""


def add_model(group: argparse._ActionsContainer) -> None:
    """Options about the one network of a tool."""
    group.add_argument(
        "--model",
        default="auto",
        help=f"{MODEL} (.h5, .keras, .npz); auto is brainy where it has been downloaded, else "
        "embedded",
    )
    add_unverified(group)
    group.add_argument(
        "--threshold",
        type=probability,
        metavar="P",
        help="probability from which a voxel is brain; the model's own if not given",
    )
    add_border(group)
    add_engine(group)


def add_unverified(group: argparse._ActionsContainer) -> None:
    """Option about models that cannot be verified."""
    group.add_argument(
        "--allow-unverified",
        action="store_true",
        help="take a training's folder whose model.toml has no hash of the model; else it is "
        "refused",
    )


def add_border(group: argparse._ActionsContainer) -> None:
    """Option about the edge of the brain mask."""
    group.add_argument(
        "--border",
        type=distance,
        default=Settings.border,
        metavar="MM",
        help="move the edge of the brain mask by this distance in mm; above 0 outward, below 0 "
        "inward (default: 0)",
    )


def add_engine(group: argparse._ActionsContainer) -> None:
    """Options about what runs a network."""
    group.add_argument(
        "--engine",
        choices=["auto", "openvino", "tensorflow"],
        default=Settings.engine,
        help="what runs the network; auto is TensorFlow on a GPU, else OpenVINO",
    )
    group.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default=Settings.precision,
        help="what the network computes in; bfloat16 takes a third of the network's time where "
        "the processor has it (AMX), and moves a few voxels of the mask's edge. OpenVINO only",
    )
    group.add_argument(
        "--n-cpus",
        type=positive(int),
        metavar="N",
        help="processor threads; if not given, what affinity, control group and SLURM allow",
    )


def add_resources(group: argparse._ActionsContainer) -> None:
    """Options about the machine and the messages."""
    group.add_argument(
        "--executor",
        type=executor,
        metavar="WHERE",
        help="where scans are done: serial, in this process; local, in processes of this machine; "
        "slurm, pbs, sge, lsf, htcondor, in jobs of that batch system; or the address of a dask "
        "scheduler. auto is local where several processes pay, else serial",
    )
    group.add_argument(
        "--cluster-config",
        type=Path,
        metavar="FILE",
        help="YAML in dask-jobqueue's form: what to ask the batch system for",
    )
    group.add_argument(
        "--max-jobs",
        type=positive(int),
        metavar="N",
        help="batch jobs at once, waiting or running",
    )
    group.add_argument(
        "--mem-gb",
        type=positive(float),
        metavar="GB",
        help="memory that may be taken; a model that wants more is refused",
    )
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where temporary files go",
    )
    group.add_argument("-v", "--verbose", action="count", help="say more; twice: say everything")


def dashed(argv: Sequence[str]) -> list[str]:
    """Spell the options with dashes: ``--participant_label`` is ``--participant-label``."""
    spelled = []
    for word in argv:
        name, equals, value = word.partition("=")
        spelled.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return spelled


def settings_of(args: argparse.Namespace) -> Settings:
    """Turn parsed arguments into settings: lists become tuples."""
    for name, value in vars(args).items():
        if isinstance(value, list):
            setattr(args, name, tuple(dict.fromkeys(value)))
    return Settings.from_args(args)
