# SPDX-License-Identifier: Apache-2.0
"""The options about a model, its backend and its mask: of the app, and of `brainmask extract`."""

from __future__ import annotations

import argparse
from typing import get_args

from bids_brainmask.cli.values import distance, positive, probability
from bids_brainmask.settings import Engine, Precision, Settings

MODEL = "a name from `brainmask models list`, the folder of a training, or a file"
"""Possible values of ``--model``, for help texts."""


def add_model(group: argparse._ActionsContainer) -> None:
    """Add the options for the network of ``brainmask extract``."""
    group.add_argument(
        "--model",
        default="auto",
        help=f"{MODEL} (.h5, .keras, .npz). auto: brainy if it is installed, else embedded",
    )
    add_unverified(group)
    group.add_argument(
        "--threshold",
        type=probability,
        metavar="P",
        help="lowest probability of a brain voxel; the model's own if not given",
    )
    add_border(group)
    add_brain_volume(group)
    add_engine(group)


def add_unverified(group: argparse._ActionsContainer) -> None:
    """Add the option for models that cannot be verified."""
    group.add_argument(
        "--allow-unverified",
        action="store_true",
        help="also accept the folder of a training whose model.toml has no hash",
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


def add_brain_volume(group: argparse._ActionsContainer) -> None:
    """Add the options for the volumes that are expected."""
    group.add_argument(
        "--min-brain-volume",
        type=positive(float),
        default=Settings.min_brain_volume,
        metavar="ML",
        help="warn of brain masks with a smaller volume, in mL; 250 for newborns "
        "(default: %(default)g)",
    )
    group.add_argument(
        "--max-brain-volume",
        type=positive(float),
        default=Settings.max_brain_volume,
        metavar="ML",
        help="warn of brain masks with a larger volume, in mL (default: %(default)g)",
    )


def add_engine(group: argparse._ActionsContainer) -> None:
    """Add the options for the backend."""
    group.add_argument(
        "--engine",
        choices=get_args(Engine),
        default=Settings.engine,
        help="backend that runs the network; auto: TensorFlow on a GPU, else OpenVINO",
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        default=Settings.precision,
        help="number format of the network's computation. auto: int8 for the model embedded on "
        "processors with VNNI or AMX, else float32, the reference, which every processor has. "
        "bfloat16 is fast with AMX, int8 with VNNI; both change a few voxels. OpenVINO only",
    )
    group.add_argument(
        "--n-cpus",
        type=positive(int),
        metavar="N",
        help="processor threads; if not given, the number that affinity, control group and SLURM "
        "allow",
    )
