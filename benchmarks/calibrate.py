# SPDX-License-Identifier: Apache-2.0
"""Fit the prediction of Dice from a mask's probabilities, on degraded development heads.

python benchmarks/calibrate.py HEADS [--model embedded] [--contrast FOLDER] [--only HEAD ...]
    [--reported] [--processes 2] [--folder docs]

Prints the line for the registry, and writes confidence.md, .png and .tsv into the folder.
"""

import argparse
import csv
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import document
import heads
import nibabel as nb
import numpy as np
from degrade import DEGRADATIONS, case
from evaluate_brain import CONTRAST_HEADS
from matplotlib.figure import Figure
from robustness import REFERENCE, steps
from scipy import stats

from bids_brainmask.analyses import confidence
from bids_brainmask.analyses.brain import extract
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import agreement, image

COMMAND = "python benchmarks/calibrate.py HEADS --folder docs"

LEAST = 0.002
"""One less Dice is taken to be at least this, so that its logarithm is finite."""

COLUMNS = (
    "head",
    "degradation",
    "dice",
    "predicted",
    "expected",
    "boundary",
    "roughness",
    "removed",
)


def measure(found, model, network, *, grades: bool = True) -> list[dict]:
    """Degrade every head in every way (and grade); a mask's confidence and its Dice."""
    rows = []
    for head in found:
        if REFERENCE not in head.references:
            continue
        source, brain = image.read(head.image), heads.masks(head)[REFERENCE]
        whole = case(source.volume, brain, seed=zlib.crc32(head.name.encode()))
        for name, step in steps(grades=grades):
            now = step(whole)
            file = nb.Nifti1Image(now.image.data, now.image.affine)
            try:
                source = image.Source(now.image, file)
                mask = extract(source, model, network, model.threshold)
            except ImageError:
                continue  # fails in the app, and is no mask to be trusted or not
            row = {"head": head.name, "degradation": name, "confidence": mask.confidence}
            rows.append(row | {"dice": agreement.dice(mask.mask, now.brain)})
            print(head.name, name, f"{rows[-1]['dice']:.4f}", flush=True)
    return rows


def measure_one(head: heads.Head, name: str, threads: int, *, grades: bool) -> list[dict]:
    """Measure one head in a process of its own."""
    model = registry.resolve(name, allow_unverified=True)
    return measure([head], model, backends.load(model, "auto", threads), grades=grades)


def find(args: argparse.Namespace) -> Iterator[heads.Head]:
    """Heads of the split, and the contrast-enhanced ones, that the command line asks for."""
    chosen = heads.find(args.heads, args.split)
    if args.contrast:
        chosen += [heads.head(args.contrast, *names) for names in CONTRAST_HEADS]
    return (head for head in chosen if not args.only or head.name in args.only)


def fit(rows: list[dict]) -> np.ndarray:
    """Intercept and weights by least squares of the logarithm of one less Dice."""
    features = np.array([row["confidence"].features for row in rows])
    wanted = np.log(np.maximum(1 - np.array([row["dice"] for row in rows]), LEAST))
    return np.linalg.lstsq(np.c_[np.ones(len(rows)), features], wanted, rcond=None)[0]


def predict_unseen(rows: list[dict]) -> None:
    """Predict each head's Dice by a fit to all the other heads."""
    for name in dict.fromkeys(row["head"] for row in rows):
        weights = fit([row for row in rows if row["head"] != name])
        for row in rows:
            if row["head"] == name:
                row["predicted"] = row["confidence"].predicted_dice(weights)


def figures(rows: list[dict]) -> dict[str, float]:
    """How well the unseen Dice was predicted."""
    dice = np.array([row["dice"] for row in rows])
    predicted = np.array([row["predicted"] for row in rows])
    bad, flagged = dice < confidence.DOUBTFUL, predicted < confidence.DOUBTFUL
    return {
        "masks": len(rows),
        "rank correlation": stats.spearmanr(dice, predicted).statistic,
        "median error": float(np.median(abs(dice - predicted))),
        "masks under 0.90": int(bad.sum()),
        "flagged of these": int((bad & flagged).sum()),
        "flagged of the others": int((flagged & ~bad).sum()),
    }


def kind_of(label: str) -> str:
    """Name the kind of a degradation, whatever its strength."""
    for degradation in DEGRADATIONS:
        if label in map(degradation.label, degradation.grades):
            return degradation.step.__name__.replace("_", " ")
    return label


def scatter(rows: list[dict], path: Path) -> None:
    """Draw Dice against predicted Dice, a colour a kind of degradation."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(kind_of(row["degradation"]) for row in rows):
        some = [row for row in rows if kind_of(row["degradation"]) == kind]
        axes.plot(
            [row["predicted"] for row in some], [row["dice"] for row in some], ".", label=kind
        )
    low = min(0.6, *(row["dice"] for row in rows))
    axes.plot([low, 1], [low, 1], color="0.5", linewidth=1)
    axes.axvline(confidence.DOUBTFUL, color="0.5", linewidth=1, linestyle=":")
    axes.set(xlabel="predicted Dice, of a head left out of the fit", ylabel="Dice")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def write_table(rows: list[dict], path: Path) -> None:
    """Write every mask's numbers."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            values = row | vars(row["confidence"])
            writer.writerow(
                [v if isinstance(v := values[key], str) else f"{v:.5f}" for key in COLUMNS]
            )


def report(rows: list[dict], weights: np.ndarray, origin: str) -> str:
    """Write the document."""
    found = figures(rows)
    names = ["1", "log(1 - expected)", "boundary", "log(roughness)", "log(removed + 0.001)"]
    cells = [[name, f"{weight:.4f}"] for name, weight in zip(names, weights, strict=True)]
    numbers = [
        [name, f"{value:.3f}" if isinstance(value, float) else str(value)]
        for name, value in found.items()
    ]
    return f"""# Confidence

The reliability of a mask is estimated without a reference, from the network's probabilities.

`BoundaryUncertainty` in the sidecar is the share of the mask's boundary voxels with a \
probability between 0.25 and 0.75.

`PredictedDice` is 1 minus the exponential of a weighted sum. A mask with less than 0.90 is \
flagged. The terms are: `expected`, the expected Dice with a truth that is sampled voxel by voxel \
from the probabilities; `boundary`, as above; `roughness`, the mask's surface divided by that of \
a sphere of the same volume; `removed`, the volume of the components removed by clean-up, \
divided by the mask's volume.

{origin}
{document.table(["term", "weight"], cells)}
The weights are fitted to masks of development heads with degradations of several kinds and \
strengths, with `deepbet`'s masks as the reference. The figures and the plot are from \
leave-one-head-out cross-validation:

{document.table(["", ""], numbers)}
![Dice against predicted Dice](confidence.png)

The prediction is valid only for these degradations. For images that are no heads it is often \
high. Therefore the mask is also checked without the probabilities, by its volume, its shape, its \
contact with the edge of the image and the intensities in it: see \
[plausibility](plausibility.md), which has the share that is flagged. Neither check finds every \
wrong mask. Check your masks.
"""


def main() -> None:
    """Measure, fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--only", nargs="+", metavar="HEAD", help="only these heads of the split")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--contrast", type=Path, help="dataset of the contrast-enhanced heads")
    parser.add_argument("--reported", action="store_true", help="one strength of each kind")
    parser.add_argument("--processes", type=int, default=1, help="a head in each at a time")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    model = registry.resolve(args.model, allow_unverified=True)
    network = backends.load(model, "auto", args.threads)
    each = partial(measure_one, name=args.model, threads=args.threads, grades=not args.reported)
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as processes:
        rows = [row for some in processes.map(each, find(args)) for row in some]
    if model.confidence:
        for row in rows:
            row["predicted"] = row["confidence"].predicted_dice(model.confidence)
        print("with the registered weights:", figures(rows))
    predict_unseen(rows)
    weights = fit(rows)
    print("with weights fitted to the other heads:", figures(rows))
    print(f"confidence = {[round(float(weight), 4) for weight in weights]}")
    scatter(rows, args.folder / "confidence.png")
    write_table(rows, args.folder / "confidence.tsv")
    command = COMMAND.replace("HEADS", "HEADS --contrast CONTRAST") if args.contrast else COMMAND
    origin = document.origin(command, [(model, network)])
    (args.folder / "confidence.md").write_text(report(rows, weights, origin))


if __name__ == "__main__":
    main()
