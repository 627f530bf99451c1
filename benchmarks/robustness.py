# SPDX-License-Identifier: Apache-2.0
"""Dice of a model on degraded development heads: thick slices, rotation, noise and so on.

python benchmarks/robustness.py HEADS [--model embedded] [--grades]
    [--markdown docs/robustness.md]

`--grades` adds milder and stronger degradations than the reported ones.
"""

import argparse
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import degrade
import document
import heads
import nibabel as nb
import numpy as np

from bids_brainmask.analyses.brain import extract
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import agreement, image

REFERENCE = "deepbet"

UNCHANGED = "as it is"

COMMAND = "python benchmarks/robustness.py HEADS"

READING = """\
Dice is with deepbet's mask of the head before the degradation; if voxels move, the mask moves
with them. A head without a detected brain counts as 0. The degradations (`benchmarks/degrade.py`):

- resampled: axial slices, each the mean over its thickness;
- turned: the content is rotated about an oblique axis through the brain's center; the grid is
  unchanged;
- defaced: zero beyond a plane that slopes by 45 degrees through the lower front of the brain; the
  brain and 2 mm around it are kept;
- neck, top, side cut: the field of view ends there. A negative distance is inside the brain; at
  the neck, it is inside the cerebellum;
- bias field: the exponential of a random quadratic, with this factor between its extremes in the
  head;
- noise: Rician, with this standard deviation in each channel;
- contrast inverted: the head's largest value minus the value, inside the head; the air stays dark.
"""

WANTED = {
    "resampled to 1x1x5 mm": 0.982,
    "turned by 90 degrees": 0.975,
    "neck cut -15 mm below brain": 0.97,
    "top cut -10 mm above brain": 0.97,
    "side cut -10 mm beside brain": 0.97,
    "noise, 10% of white matter": 0.985,
    "noise, 30% of white matter": 0.94,
    "contrast inverted by 100%": 0.975,
}
"""Mean Dice to reach, by degradation."""

Scores = dict[str, dict[str, float]]
"""Dice by degradation, then by head."""


def steps(*, grades: bool) -> Iterator[tuple[str, Callable[[degrade.Case], degrade.Case]]]:
    """Name every degradation, and give what does it."""
    yield UNCHANGED, lambda case: case
    for degradation in degrade.DEGRADATIONS:
        for strength in degradation.grades if grades else degradation.reported:
            yield (
                degradation.label(strength),
                lambda case, one=degradation, how=strength: one.step(case, how),
            )


def measure(
    found: Sequence[heads.Head], model: registry.Model, network: backends.Network, *, grades: bool
) -> Scores:
    """Degrade every head in every way, and compare the model's mask with the reference."""
    scores: Scores = {name: {} for name, _ in steps(grades=grades)}
    for head in found:
        source = image.read(head.image)
        brain = heads.masks(head)[REFERENCE]
        whole = degrade.case(source.volume, brain, seed=zlib.crc32(head.name.encode()))
        for name, step in steps(grades=grades):
            scores[name][head.name] = dice(step(whole), model, network)
            print(head.name, name, f"{scores[name][head.name]:.4f}", flush=True)
    return scores


def dice(case: degrade.Case, model: registry.Model, network: backends.Network) -> float:
    """Compare the model's mask of a head with its reference; 0 where no brain is found."""
    file = nb.Nifti1Image(case.image.data, case.image.affine)
    try:
        brain = extract(image.Source(case.image, file), model, network, model.threshold)
    except ImageError:
        return 0.0
    return agreement.dice(brain.mask, case.brain)


def summary(scores: Scores) -> str:
    """One row a degradation."""
    rows = []
    for name, by_head in scores.items():
        values = list(by_head.values())
        row = [f"{function(values):.4f}" for function in (np.mean, np.median, np.min)]
        wanted = f"{WANTED[name]:g}" if name in WANTED else ""
        rows.append([name, *row, min(by_head, key=by_head.get), wanted])
    columns = ["degradation", "mean", "median", "minimum", "worst head", "mean, goal"]
    return document.table(columns, rows)


def worst(scores: Scores) -> str:
    """One row a head: how it is unchanged, and where it is worst."""
    rows = []
    for head, unchanged in scores[UNCHANGED].items():
        name = min(scores, key=lambda name: scores[name][head])
        rows.append([head, f"{unchanged:.4f}", f"{scores[name][head]:.4f}", name])
    return document.table(["head", UNCHANGED, "worst", "degradation"], rows)


def report(scores: Scores, origin: str) -> str:
    """Write the whole document."""
    number = len(scores[UNCHANGED])
    return (
        f"# Robustness\n\nBrain masks of {number} development heads, degraded one way at a time, "
        f"compared with reference masks by Dice.\n\n{origin}\n{READING}\n## Summary\n\n"
        f"{summary(scores)}\n## Worst degradation of each head\n\n{worst(scores)}"
    )


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--only", nargs="+", metavar="HEAD", help="only these heads of the split")
    parser.add_argument("--grades", action="store_true", help="also milder, stronger ones")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    found = heads.find(args.heads, args.split)
    found = [head for head in found if not args.only or head.name in args.only]
    model = registry.resolve(args.model)
    network = backends.load(model, "auto", args.threads)
    scores = measure(found, model, network, grades=args.grades)
    command = COMMAND + " --grades" * args.grades
    if args.only:
        command += f" --only {' '.join(args.only)}"
    text = report(scores, document.origin(command, [(model, network)]))
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
