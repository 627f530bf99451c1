# SPDX-License-Identifier: Apache-2.0
"""The command lines of training: ``brainmask train`` and ``brainmask finetune``.

Nothing heavy is imported before the arguments are known to be good.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bids_brainmask.analyses import catalog
from bids_brainmask.cli import model_options, values
from bids_brainmask.errors import UsageError, to_install
from bids_brainmask.train.choices import FINETUNING, Loss

if TYPE_CHECKING:
    from bids_brainmask.train.config import Config

PACKAGES = ("tensorboardX", "yaml")
"""Packages of the extra ``train``."""


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add ``brainmask train``: it makes a model as a configuration says."""
    train = commands.add_parser("train", help="train a network as a configuration says")
    train.add_argument(
        "config", help="a YAML file, or the name of a recipe in the package: brain, seed"
    )
    train.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the training; the same command resumes a training in it",
    )
    train.add_argument(
        "--bids-dir", metavar="DIR", help="dataset of the images; replaces the configuration's"
    )
    train.add_argument(
        "--labels", metavar="DIR", help="dataset of the labels; replaces the configuration's"
    )
    train.add_argument(
        "--label-maps", metavar="DIR", help="label maps of heads; replaces the configuration's"
    )
    train.add_argument(
        "--workers",
        type=values.positive(int),
        default=0,
        metavar="N",
        help="processes that read heads and make samples (default: the training does both)",
    )
    train.add_argument(
        "--show",
        type=values.positive(int),
        metavar="N",
        help="draw the first N samples and their labels into DIR/samples.png, and stop",
    )
    train.add_argument(
        "--lay-out",
        action="store_true",
        help="write the images' arrays into DIR/heads and stop; "
        "DIR can then be copied to another machine",
    )
    train.add_argument("-v", "--verbose", action="count", default=0, help="show more messages")
    train.set_defaults(command=run_train)


def add_finetune(commands: argparse._SubParsersAction) -> None:
    """Add ``brainmask finetune``: it trains a model further on the user's images and labels."""
    tune = commands.add_parser("finetune", help="train a model further on your images and labels")
    tune.add_argument(
        "bids_dir",
        type=Path,
        nargs="?",
        help="dataset of the images; with --manual, that of OUTPUT_DIR if not given",
    )
    tune.add_argument("labels_dir", type=Path, nargs="?", help="derivative dataset of the labels")
    tune.add_argument(
        "--manual",
        type=Path,
        metavar="OUTPUT_DIR",
        help="use as labels the masks in this output of bids-brainmask that a person corrected",
    )
    tune.add_argument(
        "--from",
        dest="start",
        required=True,
        metavar="MODEL",
        help="embedded, brainy, ams, a folder of a training, or a file (.npz, .h5, .keras)",
    )
    model_options.add_unverified(tune)
    tune.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the training; the same command resumes a training in it",
    )
    add_target(tune.add_argument_group("the target"))
    add_learning(tune.add_argument_group("the training"))
    tune.add_argument("-v", "--verbose", action="count", default=0, help="show more messages")
    tune.set_defaults(command=run_finetune)


def add_target(group: argparse._ActionsContainer) -> None:
    """Options about the labels."""
    group.add_argument(
        "--labels",
        type=int,
        nargs="+",
        default=(),
        metavar="N",
        help="values of the target "
        "in the label images, for example of an aparc+aseg (default: all but 0)",
    )
    group.add_argument(
        "--ending",
        default="mask",
        metavar="TEXT",
        help="how the names of label files end, "
        "without extension, such as desc-brain_mask or dseg (default: mask)",
    )
    group.add_argument(
        "--allow-empty", action="store_true", help="include images without the target"
    )
    group.add_argument(
        "--exclude",
        nargs="+",
        type=values.label("sub-"),
        default=(),
        metavar="LABEL",
        help="participants to leave out, with or without sub-",
    )
    group.add_argument(
        "--task",
        choices=catalog.with_model(),
        default="brain",
        help="what the new model's mask is of (default: brain)",
    )
    group.add_argument("--name", help="name of the new model (default: the folder's name)")


def add_learning(group: argparse._ActionsContainer) -> None:
    """Options about the training."""
    positive = values.positive
    group.add_argument(
        "--epochs",
        type=positive(int),
        default=20,
        metavar="N",
        help="epochs at most (default: 20)",
    )
    group.add_argument(
        "--steps",
        type=positive(int),
        default=50,
        metavar="N",
        help="steps of an epoch (default: 50)",
    )
    group.add_argument(
        "--batch",
        type=positive(int),
        default=2,
        metavar="N",
        help="windows of a step (default: 2)",
    )
    group.add_argument(
        "--window",
        type=positive(int),
        default=128,
        metavar="N",
        help="side of the windows in voxels, a multiple of 32 (default: 128)",
    )
    group.add_argument(
        "--rate",
        type=positive(float),
        default=2e-4,
        metavar="R",
        help="highest learning rate of Adam (default: 0.0002)",
    )
    group.add_argument(
        "--loss",
        choices=get_args(Loss),
        default="dice+crossentropy",
        help="(default: dice+crossentropy)",
    )
    group.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share of the participants for validation; 0: none (default: 0.2; with --folds: 0)",
    )
    group.add_argument(
        "--folds",
        type=fold_count,
        default=0,
        metavar="K",
        help="first hold out each participant once, in K folds, for masks and scores of all; then "
        "train on all",
    )
    group.add_argument(
        "--patience",
        type=int,
        default=8,
        metavar="N",
        help="epochs without a better validation Dice after which to stop; 0: never (default: 8)",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


def fold_count(text: str) -> int:
    """Parse a number of folds."""
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"expected 2 folds or more, found {text}")
    return number


def run_train(args: argparse.Namespace) -> int:
    """Train as a configuration says."""
    check_packages()
    from bids_brainmask.train import config, show, sources

    folders = {
        name: str(Path(folder).resolve())
        for name, folder in (
            ("bids_dir", args.bids_dir),
            ("labels", args.labels),
            ("label_maps", args.label_maps),
        )
        if folder
    }
    asked = config.read(Path(args.config), **folders)
    root = Path(args.config).parent
    if args.lay_out or args.show:
        config.remember(asked, args.out)
        found = sources.lay_out(asked, root, args.out, args.workers)
        print(f"{len(found.heads)} heads in {args.out / 'heads'}")
        if args.show:
            print(show.samples(asked, found, args.show, args.out / "samples.png"))
        return 0
    return fit(asked, root, args.out, args.workers)


def run_finetune(args: argparse.Namespace) -> int:
    """Train from a model's weights."""
    check_packages()
    return fit(finetuning(args), Path(), args.out)


def finetuning(args: argparse.Namespace) -> Config:
    """Make the configuration of a fine-tuning; grid and scaling stay those of the model.

    Raises
    ------
    UsageError
        An option does not fit the others.
    """
    import msgspec

    from bids_brainmask.models import unet
    from bids_brainmask.train import config
    from bids_brainmask.voxels import rows

    model = catalog.analysis("brain").model(args.start, allow_unverified=args.allow_unverified)
    architecture = unet.named(model.architecture).architecture
    divisor = architecture.divisor if architecture else model.divisor
    if args.window % divisor:
        raise UsageError(
            f"--window: {args.window} is not a multiple of {divisor}, which {model.name} needs."
        )
    content = {
        "name": args.name or args.out.resolve().name,
        "task": args.task,
        "start": str(Path(args.start).resolve()) if model.path else model.name,
        "allow_unverified": args.allow_unverified,
        "architecture": model.architecture,
        "divisor": divisor,
        "grid": model.grid,
        # The scaling `brain` needs a mask of the brain.
        "intensities": rows.scaling(model.intensities).without_brain or model.intensities,
        "threshold": model.threshold,
        "height": model.height if args.task == model.task else 0,
        "near_brain": model.near_brain if args.task == model.task else 0.0,
        "peak": model.peak if args.task == model.task else 0.0,
        "flips": model.flips,
        "loss": args.loss,
        "patience": args.patience if args.folds or validation_of(args) else 0,
        "folds": args.folds,
        "seed": args.seed,
        "variants": FINETUNING,
        "stages": [stage_of(args)],
        "data": data_of(args),
    }
    try:
        return msgspec.convert(content, config.Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"finetune: {error}") from error


def folders_of(args: argparse.Namespace) -> tuple[Path, Path]:
    """Give the datasets of the images and of the labels.

    Raises
    ------
    UsageError
        There are too few or too many folders, or the images' cannot be found.
    """
    if args.manual is None:
        if args.bids_dir is None or args.labels_dir is None:
            raise UsageError("finetune: expected BIDS_DIR LABELS_DIR, or --manual OUTPUT_DIR.")
        return args.bids_dir, args.labels_dir
    if args.labels_dir is not None:
        raise UsageError("finetune: found LABELS_DIR and --manual; expected one of them.")
    if not args.manual.is_dir():
        raise UsageError(f"--manual: {args.manual}: no such folder. Name the output folder.")
    if args.bids_dir is None:
        from bids_brainmask.dataset import folders

        try:
            return folders.raw_dataset(args.manual), args.manual
        except UsageError as error:
            raise UsageError(
                f"--manual: the dataset of {args.manual} is not known or not there. Name it: "
                f"brainmask finetune BIDS_DIR --manual {args.manual}"
            ) from error
    return args.bids_dir, args.manual


def stage_of(args: argparse.Namespace) -> dict:
    """Fill in the one stage of a fine-tuning."""
    return {
        "epochs": args.epochs,
        "rate": (args.rate, 0.0),
        "steps": args.steps,
        "batch": args.batch,
        "window": (args.window,) * 3,
        "variants": {"mild": 0.5, "wild": 0.4},
    }


def validation_of(args: argparse.Namespace) -> float:
    """Share of the participants for validation; with folds, each is held out once instead."""
    if args.validation is None:
        return 0.0 if args.folds else 0.2
    return args.validation


def data_of(args: argparse.Namespace) -> dict:
    """Fill in the data of a fine-tuning."""
    images, labels = folders_of(args)
    return {
        "bids_dir": str(images.resolve()),
        "labels": str(labels.resolve()),
        "manual": args.task if args.manual else "",
        "ending": args.ending,
        "values": args.labels,
        "allow_empty": args.allow_empty,
        "exclude": args.exclude,
        "validation": validation_of(args),
    }


def fit(config: Config, root: Path, out: Path, workers: int = 0) -> int:
    """Train, write the result, and print how to use it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("bids_brainmask").setLevel(logging.INFO)
    from bids_brainmask.train import export, fit, folds

    if config.start and not out.exists():
        fit.start_of(config)  # raises now, and not after the heads are laid out
    if config.folds:
        model = folds.train(config, root, out, workers)
    else:
        model = export.write(fit.train(config, root, out, workers), config, out)
    print(f"{model.path}\n{out / 'README.md'}")
    print(f"Run it: bids-brainmask BIDS_DIR OUTPUT_DIR participant --model {out}")
    return 0


def check_packages() -> None:
    """Raise a `UsageError` unless the packages of the extra ``train`` are installed."""
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}: {to_install('train')}")
