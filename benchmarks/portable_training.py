# SPDX-License-Identifier: Apache-2.0
"""Train on another machine for some minutes, and go on from its weights here.

    python benchmarks/portable_training.py pack DATA BUNDLE [--recipe FILE] [--wheels FOLDER]
    python BUNDLE/portable_training.py run OUT --minutes 10     # there; BUNDLE has been copied
    python benchmarks/portable_training.py run OUT --minutes 10 --bundle BUNDLE    # here, to go on

A bundle is a folder of at most 60 MiB: the package's code, the heads of the training (64 levels,
voxels of at least 1 mm) with their masks, the label maps, the recipe and, where the other machine
lacks packages, wheels. The training writes a checkpoint after each epoch. It is ended after the
minutes given; the same command goes on from the last checkpoint, on whichever machine OUT is.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
LIMIT = 60 * 2**20
"""Bytes of a bundle."""
PROGRAM = """
if __name__ == "__main__":
    from bids_brainmask.cli.brainmask import main

    raise SystemExit(main())
"""


def pack(args: argparse.Namespace) -> int:
    """Write a bundle.

    Returns
    -------
    int
        Exit status: 0, or 1 if the bundle is larger than its limit.
    """
    import yaml

    from bids_brainmask.train import config

    args.bundle.mkdir(parents=True)
    package = HERE.parents[1] / "bids_brainmask"
    ignored = shutil.ignore_patterns("__pycache__", "web", "*meningioma*")
    shutil.copytree(package, args.bundle / "code" / "bids_brainmask", ignore=ignored)
    shutil.copy(HERE, args.bundle)
    (args.bundle / "brainmask.py").write_text(PROGRAM)  # a file, which worker processes can read
    if args.wheels:
        shutil.copytree(args.wheels, args.bundle / "wheels")
    asked = config.read(Path(args.recipe))
    shutil.copytree(args.data / "label_maps", args.bundle / "label_maps")
    recipe = yaml.safe_load(config.text_of(args.recipe))
    recipe["data"]["bids_dir"] = "heads"
    recipe["label_maps"]["folder"] = "label_maps"
    (args.bundle / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    left = LIMIT - size_of(args.bundle)
    packed, asked_for = pack_heads(args.data / "heads", asked.data, args.bundle / "heads", left)
    size = size_of(args.bundle) / 2**20
    print(f"{args.bundle}: {size:.1f} MiB, {packed} of {asked_for} heads")
    return int(not packed)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def pack_heads(source: Path, data, target: Path, limit: int) -> tuple[int, int]:
    """Copy the heads that a recipe selects, smaller, until a number of bytes is reached.

    Heads that the recipe shows more often than others come first.

    Returns
    -------
    packed, selected : int
        Number of heads.
    """
    with (source / "participants.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    chosen = [row for row in rows if all(row[k] == v for k, v in data.select.items())]
    chosen.sort(key=lambda row: -data.often.get(row["participant_id"].removeprefix("sub-"), 1))
    for place in (source, source / data.labels):
        folder = target / place.relative_to(source)
        folder.mkdir(parents=True, exist_ok=True)
        if (description := place / "dataset_description.json").exists():
            shutil.copy(description, folder)
    packed = []
    for row in chosen:
        files = [
            smaller(path, target / path.relative_to(source), mask=place != source)
            for place in (source, source / data.labels)
            for path in sorted((place / row["participant_id"]).rglob("*.nii.gz"))
        ]
        limit -= sum(path.stat().st_size for path in files)
        if limit < 0:
            for path in files:
                path.unlink()
            break
        packed.append(row)
    with (target / "participants.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(packed)
    return len(packed), len(chosen)


def smaller(path: Path, into: Path, *, mask: bool) -> Path:
    """Write an image with 64 levels and voxels of at least 1 mm; a mask keeps its values."""
    import nibabel as nb
    import numpy as np
    from nibabel.processing import resample_to_output

    image = nb.squeeze_image(nb.load(path))
    sizes = np.maximum(image.header.get_zooms()[:3], 1.0)
    if not np.allclose(sizes, image.header.get_zooms()[:3], atol=0.05):
        image = resample_to_output(image, sizes, order=0 if mask else 1)
    data = image.get_fdata(dtype=np.float32)
    if not mask:
        top = max(float(np.percentile(data, 99.95)), 1e-6)
        data = np.rint(np.clip(data, 0, top) * (63 / top))
    into.parent.mkdir(parents=True, exist_ok=True)
    nb.save(nb.Nifti1Image(data.astype(np.uint8), image.affine), into)
    return into


def run(args: argparse.Namespace) -> int:
    """Train from a bundle until the minutes are over.

    Returns
    -------
    int
        Exit status: 0 if the training ended or the time was up, else that of the training.
    """
    bundle = args.bundle or HERE.parent
    wheels = sorted(map(str, (bundle / "wheels").glob("*.whl")))
    paths = [str(bundle / "code"), str(bundle / "installed")]
    if wheels and not (bundle / "installed").exists():
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
        subprocess.run([sys.executable, *install, paths[1], *wheels], check=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "torch"),
    }
    command = [sys.executable, bundle / "brainmask.py", "train"]
    command += [bundle / "recipe.yaml", "--out", args.out, "--workers", str(args.workers), "-v"]
    process = subprocess.Popen(command, env=environment)
    try:
        return process.wait(args.minutes * 60)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
    found = sorted(path.name for path in args.out.glob("checkpoint-*.keras"))
    print(f"{args.out}: {args.minutes:g} minutes are over; last checkpoint: {found[-1:]}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Pack or run, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help="write a bundle")
    packing.add_argument("data", type=Path, help="folder with heads/ and label_maps/")
    packing.add_argument("bundle", type=Path, help="folder to write; it must not exist")
    packing.add_argument("--recipe", default="brain", help="recipe (default: brain)")
    packing.add_argument("--wheels", type=Path, help="folder of wheels that are wanted there")
    packing.set_defaults(command=pack)
    running = commands.add_parser("run", help="train from a bundle, or go on")
    running.add_argument("out", type=Path, help="folder of the training")
    running.add_argument("--bundle", type=Path, help="default: the folder of this program")
    running.add_argument("--minutes", type=float, default=10, help="at most (default: 10)")
    running.add_argument("--workers", type=int, default=os.cpu_count(), help="default: all cores")
    running.set_defaults(command=run)
    args = parser.parse_args(argv)
    return args.command(args)


if __name__ == "__main__":
    raise SystemExit(main())
