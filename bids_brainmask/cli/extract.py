# SPDX-License-Identifier: Apache-2.0
"""The command ``brainmask extract``: image files and folders of them, without BIDS."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brainmask.cli import model_options, other_programs
from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.voxels import NIFTI, stem

if TYPE_CHECKING:
    from bids_brainmask.voxels.image import Source

BESIDE = ""
"""Value of ``--mask`` without a name: the mask lies beside the brain image."""


def add_extract(commands: argparse._SubParsersAction) -> None:
    """``brainmask extract``: files, no BIDS."""
    extract = commands.add_parser(
        "extract",
        help="extract the brain from NIfTI files",
        usage="brainmask extract IMAGE OUTPUT [options]\n"
        "       brainmask extract IMAGE [-o BRAIN] [-m [MASK]] [-p PROBABILITY] [options]\n"
        "       brainmask extract IMAGE_OR_FOLDER ... -o FOLDER [options]",
        description="Extract the brain from T1-weighted images. A folder as output gets "
        "NAME_brain.nii.gz and NAME_brain_mask.nii.gz for each image.",
        same=other_programs.EXTRACT_SAME,
        answers=other_programs.EXTRACT_ANSWERS,
    )
    extract.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGE",
        help="images of heads, .nii or .nii.gz, or folders of them. A second name that does not "
        "exist is the output: the skull-stripped image, or the mask if the name ends in mask",
    )
    extract.add_argument(
        "-i", "--image", type=Path, nargs="+", default=[], help="the same as IMAGE"
    )
    extract.add_argument(
        "-m",
        "--mask",
        nargs="?",
        const=BESIDE,
        help="output file of the mask; without a name, BRAIN_mask beside the brain image",
    )
    extract.add_argument(
        "-o",
        "--brain",
        type=Path,
        metavar="OUTPUT",
        help="output file of the skull-stripped image, or a folder for brain images and masks",
    )
    extract.add_argument("-p", "--probability", type=Path, help="output file of the probabilities")
    model_options.add_model(extract)
    extract.add_argument("-v", "--verbose", action="count", default=0, help="more messages")
    extract.set_defaults(command=run_extract)


def run_extract(args: argparse.Namespace) -> int:
    """Extract brains; an image that fails does not stop the others."""
    wanted = places(args)
    first = next(iter(wanted))
    with ThreadPoolExecutor(1) as reader:
        ahead = {first: reader.submit(read, first)}  # while all else is imported and loaded
        from bids_brainmask import api

        for image, files in wanted.items():
            api.check_places(str(image), *files.values())
        extractor = api.Extractor(
            args.model,
            threshold=args.threshold,
            border=args.border,
            expected_ml=(args.min_brain_volume, args.max_brain_volume),
            threads=args.n_cpus,
            engine=args.engine,
            precision=args.precision,
            allow_unverified=args.allow_unverified,
        )
    status = 0
    for image, files in wanted.items():
        started = time.perf_counter()
        try:
            reading = ahead.pop(image, None)
            source = reading.result() if reading else read(image)
            brain = extractor.of_source(str(image), source)
            for path in brain.save(**files):
                print(path)
        except ImageError as error:
            print(f"brainmask: error: {error}", file=sys.stderr)
            status = 1
            continue
        seconds = time.perf_counter() - started
        model = f"{extractor.model.name} {extractor.model.version} on {extractor.engine}"
        said = f"{brain.volume_ml:.1f} mL, {model}, {seconds:.1f} s"
        print("; ".join(filter(None, (said, brain.remarks))), file=sys.stderr)
    return status


def read(path: Path) -> Source:
    """Import what reads an image, and read one."""
    from bids_brainmask.voxels import image

    return image.read(path)


def places(args: argparse.Namespace) -> dict[Path, dict[str, Path | None]]:
    """Name the files to write for each image, by the parameters of `Brain.save`.

    Raises
    ------
    UsageError
        There is no image or no output, or two images would have the same output.
    """
    given, brain, mask = [*args.images, *args.image], args.brain, args.mask
    if not given:
        raise UsageError("no image is given. Write brainmask extract IMAGE -o BRAIN.")
    if not (brain or args.probability or mask) and (mask is None or len(given) > 1):
        given, brain, mask = positional_output(given, mask)
    images = list(found(given))
    if brain and not brain.name.endswith(NIFTI):
        return in_folder(images, brain, args)
    if len(images) > 1:
        raise UsageError(
            f"{len(images)} images and no output folder. Write -o FOLDER, whose name does not end "
            "in .nii or .nii.gz."
        )
    if mask == BESIDE and brain:
        mask = brain.with_name(f"{stem(brain.name)}_mask.nii.gz")
    elif mask == BESIDE:
        raise UsageError("-m without a name needs -o BRAIN: the mask is written beside it.")
    files = {"mask": mask and Path(mask), "brain": brain, "probability": args.probability}
    return {images[0]: files}


def positional_output(
    given: Sequence[Path], mask: str | None
) -> tuple[list[Path], Path | None, str | None]:
    """Split ``IMAGE OUTPUT``, as BET and HD-BET take it, into images, brain and mask."""
    *images, last = given
    if not images:
        raise UsageError("no output file is given. Add -m MASK, -o BRAIN or -p PROBABILITY.")
    if len(images) > 1 or last.exists():
        raise UsageError(
            f"{last}: an output or an image? Write -o FOLDER to process all {len(given)} images, "
            "or -o BRAIN or -m MASK for the output of one."
        )
    if stem(last.name).endswith("mask"):
        return images, None, str(last)
    return images, last, mask


def in_folder(
    images: Sequence[Path], folder: Path, args: argparse.Namespace
) -> dict[Path, dict[str, Path | None]]:
    """Name a brain image and a mask in a folder for each image."""
    if folder.is_file():
        raise UsageError(f"{folder}: a file; expected a folder, or a name that ends in .nii.gz.")
    if args.mask or args.probability:
        raise UsageError(
            f"-o {folder} is a folder, which gets the masks, too. Remove -m MASK and -p, or give "
            "-o the name of a file that ends in .nii.gz."
        )
    if same := [image for image in images if image.parent.resolve() == folder.resolve()]:
        raise UsageError(
            f"-o {folder}: {same[0].name} lies in it. Choose another output folder, or its images "
            "and the results cannot be told apart in the next run."
        )
    wanted: dict[Path, dict[str, Path | None]] = {}
    names: dict[str, Path] = {}
    for image in images:
        name = stem(image.name)
        if name in names:
            raise UsageError(
                f"{image} and {names[name]}: both would be written as {name}_brain.nii.gz. Use "
                "another output folder for one of them."
            )
        names[name] = image
        wanted[image] = {
            "mask": folder / f"{name}_brain_mask.nii.gz",
            "brain": folder / f"{name}_brain.nii.gz",
        }
    return wanted


def found(given: Sequence[Path]) -> list[Path]:
    """List the images: those that are given, and those in folders that are given."""
    images = []
    for path in given:
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.name.endswith(NIFTI))
            if not inside:
                raise UsageError(f"{path}: no image in this folder; expected .nii or .nii.gz.")
        images += inside
    return images
