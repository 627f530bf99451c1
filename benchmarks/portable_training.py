# SPDX-License-Identifier: Apache-2.0
"""Train on another machine for some minutes, and go on from its weights here.

    python benchmarks/portable_training.py pack DATA BUNDLE [--recipe FILE] [--wheels FOLDER]
    python BUNDLE/portable_training.py run OUT --minutes 10     # there; BUNDLE has been copied
    python benchmarks/portable_training.py run OUT --minutes 10 --bundle BUNDLE    # here, to go on

A bundle is a folder of at most 60 MiB: the package's code, the heads of the training as arrays
(image in 85 levels, and label), the label maps, the recipe and, where the other machine lacks
packages, wheels; it needs no pybids there. The training writes a checkpoint after each epoch. It
is ended after the minutes given; the same command goes on from the last checkpoint, on whichever
machine OUT is.
"""

from __future__ import annotations

import argparse
import bz2
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
LIMIT = 60 * 2**20
"""Bytes of a bundle."""
STEP = 2 / 84
"""Between two levels of a packed image, whose values are in [0, 2]."""
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
    import msgspec
    import yaml

    from bids_brainmask.train import config, dataset

    args.bundle.mkdir(parents=True)
    package = HERE.parents[1] / "bids_brainmask"
    ignored = shutil.ignore_patterns("__pycache__", "web")
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
    data = msgspec.structs.replace(asked.data, bids_dir=str(args.data / "heads"))
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder)
        dataset.lay_out(msgspec.structs.replace(asked, data=data), Path(), arrays, os.cpu_count())
        packed, asked_for = pack_heads(arrays, asked.data.often, args.bundle / "heads", left)
    size = size_of(args.bundle) / 2**20
    print(f"{args.bundle}: {size:.1f} MiB, {packed} of {asked_for} heads")
    return int(not packed)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def pack_heads(arrays: Path, often: dict[str, float], target: Path, limit: int) -> tuple[int, int]:
    """Compress the heads of a training until a number of bytes is reached.

    Heads that the recipe shows more often than others come first, then every fourth of the
    others, so that each source has its part.

    Returns
    -------
    packed, selected : int
        Number of heads.
    """
    import numpy as np

    records = json.loads((arrays / "heads.json").read_text())
    order = [number for start in range(4) for number in range(start, len(records), 4)]
    order.sort(key=lambda number: -often.get(records[number]["participant"], 1))
    packed = []
    for number in order:
        record = records[number]
        image = np.load(arrays / record["folder"] / "image.npy").astype(np.float32)
        label = np.load(arrays / record["folder"] / "label.npy")
        parts = {
            "image": compressed(np.rint(np.clip(image, 0, 2) / STEP).astype(np.uint8)),
            "label": compressed(label),
        }
        limit -= sum(map(len, parts.values())) + len(json.dumps(record))
        if limit < 0:
            break
        place = target / record["folder"]
        place.mkdir(parents=True)
        for name, part in parts.items():
            (place / f"{name}.npy.bz2").write_bytes(part)
        packed.append(record)
    if packed:
        (target / "heads.json").write_text(json.dumps(packed))
    return len(packed), len(records)


def compressed(array) -> bytes:
    """Bytes of an array as a compressed file of NumPy's format."""
    import numpy as np

    file = io.BytesIO()
    np.save(file, array)
    return bz2.compress(file.getvalue())


def unpack(source: Path, target: Path) -> None:
    """Write the arrays of the heads of a bundle as a training has them, unless they are there."""
    from bids_brainmask.train import processes

    if (target / "heads.json").exists():
        return
    records = json.loads((source / "heads.json").read_text())
    calls = [(source / one["folder"], target / one["folder"], one["affine"]) for one in records]
    list(processes.each(unpack_head, calls, os.cpu_count() or 1))
    (target / "heads.json").write_text(json.dumps(records))


def unpack_head(source: Path, target: Path, affine: list[list[float]]) -> None:
    """Write the arrays of one head."""
    import numpy as np

    from bids_brainmask.train import dataset

    image, label = (
        np.load(io.BytesIO(bz2.decompress((source / f"{name}.npy.bz2").read_bytes())))
        for name in ("image", "label")
    )
    spacing = np.linalg.norm(np.array(affine)[:3, :3], axis=0)
    arrays = {"image": (image * np.float32(STEP)).astype(np.float16), "label": label}
    arrays["depth"] = (4 * dataset.depth_of(label, spacing)).clip(-127, 127).astype(np.int8)
    target.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(target / f"{name}.npy", array)


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
    sys.path[:0] = paths
    unpack(bundle / "heads", args.out / "heads")
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
