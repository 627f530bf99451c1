# SPDX-License-Identifier: Apache-2.0
"""The command ``brainmask``: extract, evaluate, adopt, select, export, train, models and more."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_brainmask import __version__, machine
from bids_brainmask.cli import (
    bids_app,
    corrections,
    export,
    extract,
    imports,
    options,
    rate,
    training,
    values,
)
from bids_brainmask.cli.parser import Parser
from bids_brainmask.errors import BrainMaskError, ModelError, UsageError
from bids_brainmask.settings import RESEARCH_ONLY, Settings


def parser() -> Parser:
    """Build the command line."""
    top = Parser(
        prog="brainmask",
        description="Tools for single files, evaluation, training and models.",
        epilog=RESEARCH_ONLY,
    )
    top.add_version(f"brainmask {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    extract.add_extract(commands)
    add_evaluate(commands)
    corrections.add_adopt(commands)
    corrections.add_select(commands)
    corrections.add_status(commands)
    rate.add_rate(commands)
    export.add_export(commands)
    imports.add_import(commands)
    training.add_train(commands)
    training.add_finetune(commands)
    add_models(commands)
    demo = commands.add_parser(
        "demo", help="write a small dataset of phantom heads and extract their brains"
    )
    demo.add_argument("out", type=Path, help="folder to write; must not exist or must be empty")
    demo.set_defaults(command=run_demo)
    add_descriptor(commands)
    return top


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """``brainmask evaluate``: masks against references."""
    evaluate = commands.add_parser(
        "evaluate",
        help="compare masks with references: overlap, volume, surface distance",
        description="Compare masks with references. The exit status is 1 if a reference has no "
        "prediction, or if a pair cannot be compared.",
    )
    evaluate.add_argument("predictions", type=Path, help="a derivative dataset, or a NIfTI file")
    evaluate.add_argument("references", type=Path, help="the same kind, with the reference masks")
    evaluate.add_argument(
        "--labels",
        nargs="+",
        type=int,
        default=(),
        metavar="N",
        help="values of the structure, in both; all but 0 if not given",
    )
    evaluate.add_argument(
        "--mask",
        default="_mask",
        metavar="NAME-ENDING",
        help="ending of the file names to compare, such as desc-brain_mask or dseg; _mask if not "
        "given",
    )
    evaluate.add_argument(
        "--reference-mask",
        default="",
        metavar="NAME-ENDING",
        help="the same for the references, if their ending differs",
    )
    evaluate.add_argument(
        "--tsv",
        type=Path,
        metavar="OUT.tsv",
        help="write a table of all scans; OUT.json describes the columns",
    )
    evaluate.add_argument(
        "--json", type=Path, metavar="OUT.json", help="write all scans and the summary"
    )
    evaluate.add_argument(
        "--lesions",
        action="store_true",
        help="also compare lesion by lesion: sensitivity, precision and F1 by volume, and Dice "
        "and HD95 by the rule of BraTS",
    )
    evaluate.add_argument(
        "--lesions-tsv",
        type=Path,
        metavar="OUT.tsv",
        help="write a table of all lesions; OUT.json describes the columns",
    )
    evaluate.add_argument(
        "--minimum-iou",
        type=values.probability,
        default=0.1,
        metavar="SHARE",
        help="least intersection over union of a matched pair of lesions (default: 0.1)",
    )
    evaluate.set_defaults(command=run_evaluate)


def add_models(commands: argparse._SubParsersAction) -> None:
    """``brainmask models``: list, download and verify."""
    models = commands.add_parser("models", help="list, download, verify the models")
    verbs = models.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="list all models and show which are installed").set_defaults(
        command=run_models_list
    )
    get = verbs.add_parser("get", help="download a model into the cache and verify it")
    get.add_argument("name")
    get.add_argument(
        "--from",
        dest="source",
        metavar="FILE|DIR|URL",
        help="the source: the file, a folder or DataLad clone that has it, or a mirror",
    )
    get.set_defaults(command=run_models_get)
    for verb, text, command in (
        ("verify", "compare an installed model with its hash", run_models_verify),
        ("path", "print the path of a model's file", run_models_path),
    ):
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument("name")
        sub.set_defaults(command=command)


def add_descriptor(commands: argparse._SubParsersAction) -> None:
    """``brainmask descriptor``: a machine-readable description of ``bids-brainmask``."""
    descriptor = commands.add_parser(
        "descriptor", help="print the BIDS App's Boutiques descriptor, as JSON"
    )
    descriptor.add_argument(
        "--container",
        default="",
        metavar="IMAGE",
        help="container image that runs it, such as docker://name/of-image:tag; the installed "
        "program if not given",
    )
    descriptor.set_defaults(command=run_descriptor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool and return its exit status: 0 done, 1 failed, 2 usage."""
    machine.tune_python()
    top = parser()
    args = top.parse_args(options.dashed(sys.argv[1:] if argv is None else argv))
    bids_app.start_logging(getattr(args, "verbose", 0))
    try:
        return args.command(args)
    except BrainMaskError as error:
        print(f"{top.prog}: error: {error}", file=sys.stderr)
        return bids_app.exit_status(error)


def run_evaluate(args: argparse.Namespace) -> int:
    """Compare masks with references, print the table, write the files."""
    from bids_brainmask import evaluation, lesion_evaluation

    evaluation.check_outputs(args.tsv, args.json)
    evaluation.check_outputs(args.lesions_tsv, args.json)
    if args.tsv and args.lesions_tsv and args.tsv.resolve() == args.lesions_tsv.resolve():
        raise UsageError(f"{args.tsv}: is named for --tsv and for --lesions-tsv. Name two files.")
    pairing = evaluation.find_pairs(
        args.predictions, args.references, args.mask, args.reference_mask
    )
    found = evaluation.evaluate(pairing, args.labels)
    print(evaluation.table(found))
    asked: dict[str, object] = {
        "Predictions": str(args.predictions),
        "References": str(args.references),
        "Labels": list(args.labels) or "all but 0",
    }
    if args.lesions or args.lesions_tsv:
        lesions = lesion_evaluation.evaluate(found, args.labels, args.minimum_iou)
        print(f"\n{lesion_evaluation.table(lesions)}")
        asked["LesionWise"] = lesion_evaluation.report(lesions)
        if args.lesions_tsv:
            lesion_evaluation.write(lesions, args.lesions_tsv)
    evaluation.write(found, args.tsv, args.json, asked)
    return found.status


def run_models_list(args: argparse.Namespace) -> int:
    """Print the registry, tab-separated, with the path of each installed model."""
    del args
    from bids_brainmask.models import registry

    print("name", "version", "task", "MB", "license", "installed", sep="\t")
    for name, model in registry.models().items():
        try:
            where = str(registry.find(name))
        except ModelError:
            where = f"no: brainmask models get {name}"
        print(
            name,
            model.version,
            model.task,
            f"{model.size / 1e6:.1f}",
            model.license,
            where,
            sep="\t",
        )
    return 0


def run_models_get(args: argparse.Namespace) -> int:
    """Download a model and print its path."""
    from bids_brainmask.models import download

    print(download.get(args.name, args.source))
    return 0


def run_models_verify(args: argparse.Namespace) -> int:
    """Compare a model with its registered hash."""
    from bids_brainmask.models import registry

    path = registry.find(args.name)
    print(f"{path}: verified, SHA-256 {registry.models()[args.name].sha256}")
    return 0


def run_models_path(args: argparse.Namespace) -> int:
    """Print the path of a model."""
    from bids_brainmask.models import registry

    print(registry.find(args.name))
    return 0


def run_demo(args: argparse.Namespace) -> int:
    """Make the phantom dataset, run the app on it, and compare with the known masks."""
    from bids_brainmask.dataset import ownership
    from bids_brainmask.demo import phantom_dataset
    from bids_brainmask.plan import prepare
    from bids_brainmask.voxels import image
    from bids_brainmask.voxels.agreement import dice

    ownership.check_folder(args.out, "Choose another folder.")
    print("Making phantom heads (generated from the MNI152 template; no scans) ...")
    dataset = phantom_dataset.write_dataset(args.out / "bids")
    output = dataset / "derivatives" / "bids_brainmask"
    settings = Settings(
        bids_dir=dataset,
        output_dir=output,
        analysis_level="participant",
        analyses=("brain",),
        model=("embedded",),
    )
    status = bids_app.run(settings)
    plan = prepare(settings)
    print("\nDice with the true mask, and the path of the mask:")
    for scan in plan.plans:
        path = scan.files["mask"]
        truth = dataset / "derivatives" / "truth" / path.relative_to(output)
        agreement = dice(image.read_mask(path), image.read_mask(truth))
        print(f"{agreement:.3f}  {path}")
    return status


def run_descriptor(args: argparse.Namespace) -> int:
    """Print the descriptor."""
    from bids_brainmask.cli import descriptor

    print(json.dumps(descriptor.boutiques(args.container), indent=2))
    return 0
