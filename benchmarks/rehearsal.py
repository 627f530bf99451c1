# SPDX-License-Identifier: Apache-2.0
"""A rehearsal of the way from a wrong mask to a better network, with the commands of a lab.

python benchmarks/rehearsal.py HEADS WORK [--markdown FILE]

HEADS is the dataset of heads with masks of deepbet. In WORK, the embedded network is first spoilt:
it learns eroded masks of two heads. It then extracts eight heads; `brainmask select` names five;
deepbet's masks take the place of a person's corrections; `brainmask finetune --manual` learns from
them. The heads that it is measured on take no part in any of this. KERAS_BACKEND chooses what
trains; the same command goes on where it stopped.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import document
import heads
import nibabel as nb
import numpy as np
from scipy import ndimage

import bids_brainmask
from bids_brainmask.reports.select import select
from bids_brainmask.voxels import agreement, image

SPOIL = ("sub-ixi033", "sub-ixi039")
LAB = (
    *("sub-ldh01", "sub-ldh02", "sub-ldh03", "sub-ldh04", "sub-ldh08"),
    *("sub-ixi014", "sub-ixi015", "sub-spmnb"),
)
TEST = (
    *("sub-ldh09", "sub-ldh10"),
    *("sub-ixi013", "sub-ixi034", "sub-pumi", "sub-xa30", "sub-elition"),
)
"""Participants whose masks are spoilt, of the lab, and for the test; the last are of `dev`."""

DEPTH = 6.0
"""How much the wrong masks are eroded, mm."""

SIZE = ("--batch", "1", "--window", "96", "--epochs", "1", "--validation", "0")
SPOILING = (*SIZE, "--steps", "25", "--rate", "0.001")
LEARNING = (*SIZE, "--steps", "60", "--rate", "0.001")


def tool(module: str, *words: str | Path) -> None:
    """Run a command line of the package in a process of its own; show it."""
    print(f"$ {module} {' '.join(map(str, words))}", flush=True)
    program = f"from bids_brainmask.cli.{module} import main; raise SystemExit(main())"
    subprocess.run([sys.executable, "-c", program, *map(str, words)], check=True)


def dataset(root: Path, found: list[heads.Head]) -> Path:
    """Copy the images of some heads into a dataset."""
    for head in found:
        path = root / head.name / "anat" / head.image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(head.image, path)
    text = '{"Name": "Rehearsal", "BIDSVersion": "1.10.0", "DatasetType": "raw"}\n'
    (root / "dataset_description.json").write_text(text)
    return root


def erode(path: Path, to: Path) -> None:
    """Write a mask without the voxels near its surface."""
    file = nb.load(path)
    mask = np.asanyarray(file.dataobj) > 0
    depth = ndimage.distance_transform_edt(mask, file.header.get_zooms())
    to.parent.mkdir(parents=True, exist_ok=True)
    nb.save(nb.Nifti1Image((depth > DEPTH).astype(np.uint8), file.affine), to)


def spoil(data: Path, work: Path) -> Path:
    """Teach the embedded network wrong masks; the folder of the new one."""
    found = [heads.head(data, name) for name in SPOIL]
    root, wrong = dataset(work / "wrong", found), work / "wrong/derivatives/wrong"
    for head in found:
        path = head.references["deepbet"]
        erode(path, wrong / head.name / "anat" / path.name)
    tool(
        "brainmask",
        "finetune",
        root,
        wrong,
        "--from",
        "embedded",
        "--out",
        work / "spoilt",
        *SPOILING,
    )
    return work / "spoilt"


def correct(data: Path, work: Path, model: Path, count: int) -> list[str]:
    """Extract the heads of the lab, and correct the masks that `select` names; their names."""
    root = dataset(work / "lab", [heads.head(data, name) for name in LAB])
    out = work / "lab/derivatives/bids_brainmask"
    run = (root, out, "participant", "--no-reports", "--executor", "serial")
    tool("bids_app", *run, "--model", model)
    names = [Path(pick.image).parts[0] for pick in select(out, count)]
    masks = [heads.head(data, name).references["deepbet"] for name in names]
    tool("brainmask", "adopt", out, *masks, "--editor", "deepbet")
    tool("bids_app", *run)  # with the model that is remembered
    return names


def measure(data: Path, models: dict[str, str | Path]) -> dict[str, list[float]]:
    """Dice of each model with deepbet's mask of each head of the test."""
    found = {}
    for name, model in models.items():
        extract = bids_brainmask.Extractor(model)
        found[name] = []
        for head in (heads.head(data, each) for each in TEST):
            mask = np.asanyarray(extract(head.image).mask.dataobj) > 0
            truth = image.read_mask(head.references["deepbet"])
            found[name].append(agreement.dice(mask, truth))
    return found


def report(found: dict[str, list[float]], corrected: list[str], seconds: float) -> str:
    """Write the figures as Markdown."""
    rows = [
        [name.removeprefix("sub-"), *(f"{each[number]:.3f}" for each in found.values())]
        for number, name in enumerate(TEST)
    ]
    middle = ["**median**", *(f"**{np.median(each):.3f}**" for each in found.values())]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return (
        f"Corrected: {', '.join(sorted(corrected))}. {seconds / 60:.0f} minutes of processor time "
        f"in all, on {backend}.\n\n" + document.table(["head", *found], [*rows, middle])
    )


def main() -> None:
    """Rehearse, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=5, metavar="N", help="masks to correct")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    spoilt, learnt = spoil(args.heads, args.work), args.work / "learnt"
    corrected = correct(args.heads, args.work, spoilt, args.count)
    out = args.work / "lab/derivatives/bids_brainmask"
    tool("brainmask", "finetune", "--manual", out, "--from", spoilt, "--out", learnt, *LEARNING)
    models = {"embedded": "embedded", "spoilt": spoilt, "after five corrections": learnt}
    found = measure(args.heads, models)
    times = os.times()
    text = report(
        found, corrected, time.process_time() + times.children_user + times.children_system
    )
    print(text)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
