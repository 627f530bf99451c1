# SPDX-License-Identifier: Apache-2.0
"""Meningiomas found in development heads into which synthetic ones were grown, and in clear ones.

python benchmarks/meningioma.py HEADS [--model embedded-meningioma FILE ...] [--cases 60]
    [--clear 60] [--markdown docs/meningioma.md] [--picture docs/meningioma.png]

A case depends on its number, its head and the seed, and on nothing else: not on the model.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import document
import heads
import nibabel as nb
import numpy as np
from scipy import ndimage

from bids_brainmask.analyses import catalog, lesions
from bids_brainmask.analyses.brain import extract
from bids_brainmask.analyses.meningioma import find_meningiomas
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.train import dataset
from bids_brainmask.train.transforms import augment
from bids_brainmask.train.transforms.augment import Example
from bids_brainmask.train.transforms.steps import STEPS
from bids_brainmask.voxels import agreement, grid, image
from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.scaling import scale_robustly

REFERENCE = "deepbet"
"""Whose masks say where the brain is, for tumours to be grown on its outside."""

CHANCES = {"contrast": 1.0, "metastases": 0.2, "meningiomas": 1.0, "shade": 0.3}
"""Chances of the steps, in the order in which they are taken; clear heads get no meningiomas."""

NOISY = 0.3
"""Chance of noise, which comes last."""

TRIES = 20
"""Draws of tumours until one has room to grow."""

FOUND = 0.1
"""Share of a true lesion's voxels that must be in the predicted mask for it to be found."""

TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels at a face, an edge or a corner are of one true lesion."""

BANDS = {"up to 1": (0, 1), "1 to 5": (1, 5), "5 to 20": (5, 20), "over 20": (20, np.inf)}
"""Volumes of true lesions, mL: more than the first, and no more than the second."""

GOALS = {
    "sensitivity, over 1 mL": "at least 0.90",
    "false lesions per tumor head": "at most 0.5",
    "median Dice": "at least 0.85",
    "false lesions per clear head": "at most 0.3",
}
"""What is asked of the measures that have a goal."""

WORST = 5
"""Cases of the least Dice that are listed."""

SHOWN = 12
"""Cases in the picture, spread evenly over all."""

WHAT = """\
# Meningiomas

Accuracy on meningiomas that were synthesized in {number} healthy heads, those of the split
`{split}`. **The tumors are synthetic, and so is the contrast agent**: they are from the generator
that the embedded network was trained with, on other heads.
"""

MEASURES = f"""\
A tumor head has one to three meningiomas of 0.2 to 60 mL; a clear head has none. Both have
synthetic contrast agent. Two in ten have metastases, which count as background. Three in ten have
a bias field, and three in ten have noise. If there are more cases than heads, a head is used
several times, with other tumors.

The truth is every voxel that a tumor fills by at least half. True lesions are the connected
components of the truth (faces, edges or corners touch), so tumors that touch are one lesion. The
prediction is that of the app: the probability at the model's threshold, without components under
{lesions.SMALLEST_ML:g} mL. For models with these rules, it is also without components that have no
voxel of a higher probability, and without components far from the brain mask of `embedded`.
Candidates that the app calls unlikely are left out. A true lesion is found if {FOUND:.0%} of its
voxels are predicted. A false lesion is a predicted one without a voxel of truth. A mask of all
voxels would find every lesion, so read sensitivity together with Dice. Dice and volumes are of all
lesions of a head together.
"""

MEANING = """\
## Interpretation

The figures show how well a network finds the generator's tumors in new heads. They compare
networks, and show which volumes and errors need work.

They are not valid for patients. Real meningiomas, scanners and contrast agents differ from
synthetic ones in unknown ways. Metastases are the only other disease here, and no head had
surgery. Training and test use the same generator, so the figures are too favorable. The accuracy
on real scans must be measured on real scans, with outlines drawn by radiologists.
"""


@dataclass(frozen=True)
class Case:
    """A synthetic head; its axes run along R, A, S as far as can be."""

    number: int
    head: str
    image: Volume  # float32
    truth: np.ndarray  # (I, J, K) bool; no voxel of a clear head
    box: tuple[slice, slice, slice]  # the brain and 12 mm around it


@dataclass(frozen=True)
class Score:
    """How a model did on one case."""

    number: int
    head: str
    tumors: tuple[tuple[float, bool], ...]  # mL, and whether it was found; the largest first
    false: int  # predicted lesions without a voxel of truth
    dice: float
    predicted_ml: float
    seconds: float

    @property
    def true_ml(self) -> float:
        """Volume of all true lesions, mL."""
        return sum(volume for volume, _ in self.tumors)

    @property
    def found(self) -> str:
        """How many lesions were found, and how many were false, in words."""
        found = sum(found for _, found in self.tumors)
        return f"{found} of {len(self.tumors)}, {self.false} false"


Brains = tuple[registry.Model, backends.Network, float]
"""What finds the brain for models whose lesions are to be near it, and its threshold."""

Scores = dict[str, list[Score]]
"""By model, of all cases."""


def cases(found: Sequence[heads.Head], number: int, clear: int, seed: int) -> Iterator[Case]:
    """Make the cases, one after the other: with tumours and clear in turn, from the same head."""
    for index in range(max(number, clear)):
        head = found[index % len(found)]
        example = read(head)
        if index < number:
            yield grow(example, index, head.name, np.random.default_rng([seed, index]))
        if index < clear:  # the 1 is last, since NumPy takes [seed, 1, 0] for [seed, 1]
            rng = np.random.default_rng([seed, index, 1])
            yield grow(example, index, head.name, rng, clear=True)


def read(head: heads.Head) -> Example:
    """Read a head on its own voxels, labelled with its brain by `REFERENCE`."""
    if REFERENCE not in head.references:
        raise ImageError(f"{head.image}: tumours grow on a brain; no mask by {REFERENCE} is there")
    source = image.read(head.image).volume
    brain = Volume(image.read_mask(head.references[REFERENCE]), source.affine)
    volume, brain = grid.canonical(source), grid.canonical(brain).data
    depth = dataset.depth_of(brain, volume.spacing)
    data, label = scale_robustly(volume.data), brain.astype(np.float32)
    return Example(data, volume.affine, label, volume.affine, depth)


def grow(
    example: Example, number: int, head: str, rng: np.random.Generator, *, clear: bool = False
) -> Case:
    """Make a case of a head, one step of `CHANCES` after the other."""
    around = np.ceil(12 / example.spacing).astype(int)
    low, high = augment.bounds(example.label > 0.5)
    box = tuple(slice(max(a, 0), b) for a, b in zip(low - around, high + around, strict=True))
    for name, chance in CHANCES.items():
        if rng.random() < chance * (name != "meningiomas" or not clear):
            step = meningiomas if name == "meningiomas" else STEPS[name]
            example = step(example, rng)
    data = augment.noise(example.image, rng) if rng.random() < NOISY else example.image
    truth = np.zeros(data.shape, bool) if clear else example.lesion >= 0.5
    return Case(number, head, Volume(data.astype(np.float32), example.affine), truth, box)


def meningiomas(example: Example, rng: np.random.Generator) -> Example:
    """Grow at least one meningioma: one that has no room is drawn again, up to `TRIES` times."""
    for _ in range(TRIES):
        grown = STEPS["meningiomas"](example, rng)
        if grown.lesion is not None and (grown.lesion >= 0.5).any():
            return grown
    raise ImageError(f"no meningioma grows in {TRIES} draws. Look at the head's brain mask.")


def predict(case: Case, model: registry.Model, network: backends.Network, brains: Brains):
    """Find the candidate lesions of a case as the app does, and say the seconds that it takes.

    The seconds are of the lesions alone, without those of finding the brain.
    """
    source = image.Source(case.image, nb.Nifti1Image(case.image.data, case.image.affine))
    brain = extract(source, *brains) if model.near_brain else None
    started = time.perf_counter()
    found = find_meningiomas(source, model, network, model.threshold, brain)
    return found.lesions, time.perf_counter() - started


def score(case: Case, labels: np.ndarray, seconds: float) -> Score:
    """Compare predicted lesions, (I, J, K) int, 0 where there is none, with the truth."""
    voxel_ml = float(abs(np.linalg.det(case.image.affine[:3, :3]))) / 1000
    predicted = labels > 0
    pieces, count = ndimage.label(case.truth, TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    hits = np.bincount(pieces[predicted], minlength=count + 1)[1:]
    volumes = np.round(sizes * voxel_ml, 6).tolist()
    tumors = zip(volumes, (hits / sizes >= FOUND).tolist(), strict=True)
    return Score(
        number=case.number,
        head=case.head,
        tumors=tuple(sorted(tumors, reverse=True)),
        false=np.unique(labels[predicted]).size - np.unique(labels[case.truth & predicted]).size,
        dice=float(agreement.dice(predicted, case.truth)),
        predicted_ml=float(np.count_nonzero(predicted) * voxel_ml),
        seconds=seconds,
    )


def summarise(values: Sequence[float], function: Callable, form: str) -> str:
    """Write a figure of values; n/a of none."""
    return form.format(function(values)) if len(values) else "n/a"


def proportion(yes: Sequence[bool]) -> str:
    """Write a share with its counts."""
    return f"{summarise(yes, np.mean, '{:.2f}')} ({sum(yes)} of {len(yes)})"


def found_between(scores: Sequence[Score], low: float, high: float) -> list[bool]:
    """Tell of each true lesion of these volumes, mL, whether it was found."""
    return [found for one in scores for volume, found in one.tumors if low < volume <= high]


def figures(scores: Sequence[Score]) -> dict[str, str]:
    """Write a model's measures."""
    with_tumors = [one for one in scores if one.tumors]
    dice, false = [one.dice for one in with_tumors], [one.false for one in with_tumors]
    errors = [100 * (one.predicted_ml / one.true_ml - 1) for one in with_tumors]
    clear = [one.false for one in scores if not one.tumors]
    quartiles = [summarise(dice, lambda v, q=q: np.percentile(v, q), "{:.3f}") for q in (25, 75)]
    return {
        "sensitivity, over 1 mL": proportion(found_between(scores, 1, np.inf)),
        "false lesions per tumor head": summarise(false, np.mean, "{:.2f}"),
        "median Dice": summarise(dice, np.median, "{:.3f}"),
        "mean Dice": summarise(dice, np.mean, "{:.3f}"),
        "quartiles of Dice": " to ".join(quartiles),
        "median volume error, %": summarise(errors, np.median, "{:+.1f}"),
        "median volume error, % without sign": summarise(np.abs(errors), np.median, "{:.1f}"),
        "false lesions per clear head": summarise(clear, np.mean, "{:.2f}"),
        "clear heads with a false lesion": proportion([number > 0 for number in clear]),
        "median seconds per head": summarise([s.seconds for s in scores], np.median, "{:.1f}"),
    }


def summary(scores: Scores) -> str:
    """One row a measure, with its goal, and one column a model."""
    columns = [figures(some) for some in scores.values()]
    rows = [[name, GOALS.get(name, ""), *(one[name] for one in columns)] for name in columns[0]]
    return document.table(["measure", "goal", *scores], rows)


def band_table(scores: Scores) -> str:
    """One row a band of volumes, one column a model."""
    rows = [
        [band, *(proportion(found_between(some, *limits)) for some in scores.values())]
        for band, limits in BANDS.items()
    ]
    return document.table(["true lesions, mL", *(f"found, {name}" for name in scores)], rows)


def worst_table(scores: Sequence[Score]) -> str:
    """List the cases of the least Dice, the worst first."""
    worst = sorted((one for one in scores if one.tumors), key=lambda one: one.dice)[:WORST]
    rows = []
    for one in worst:
        numbers = [f"{number:.2f}" for number in (one.dice, one.true_ml, one.predicted_ml)]
        rows.append([str(one.number), one.head, *numbers, one.found])
    return document.table(["case", "head", "Dice", "true mL", "predicted mL", "found"], rows)


def report(scores: Scores, what: str, origin: str, picture: str = "") -> str:
    """Write the whole document; `picture` is its path as seen from there."""
    worst = "".join(f"{name}:\n\n{worst_table(some)}\n" for name, some in scores.items())
    first, *_ = scores
    number = sum(bool(one.tumors) for one in scores[first])
    shown = (
        f"## Cases\n\n![Cases with tumors]({picture})\n\nUp to {SHOWN} evenly spaced cases, "
        "in the axial and coronal slices where the largest true lesion is widest, with the volume "
        f"of all true lesions. Red: truth; cyan: {first}. The subject's left is on the left.\n\n"
    )
    return (
        f"{what}\n{origin}\n{MEASURES}\n## Summary\n\n{number} tumor heads and "
        f"{len(scores[first]) - number} clear ones.\n\n{summary(scores)}\n## By volume\n\n"
        f"{band_table(scores)}\n## The worst cases\n\n{worst}{shown if picture else ''}{MEANING}"
    )


def view(case: Case, predicted: np.ndarray) -> list[tuple]:
    """Cut a case, axially and coronally, where its largest true lesion is widest.

    Each cut is image, truth, prediction, (across, up), and the height of a voxel over its width.
    """
    pieces, _ = ndimage.label(case.truth, TOUCHING)
    largest = pieces == np.bincount(pieces[case.truth]).argmax()
    cuts = []
    for axis in (2, 1):
        place = list(case.box)
        place[axis] = int(largest.sum(tuple({0, 1, 2} - {axis})).argmax())
        across, up = np.delete(case.image.spacing, axis)
        parts = (part[tuple(place)].copy() for part in (case.image.data, case.truth, predicted))
        cuts.append((*parts, float(up / across)))
    return cuts


def draw(views: Sequence[tuple[str, list[tuple]]], name: str, path: Path) -> None:
    """Draw cases with their titles, four in a row: a PNG 1600 pixels wide, of 256 colours."""
    from matplotlib.figure import Figure
    from PIL import Image

    rows = -(-len(views) // 4)
    figure = Figure((16, 2.75 * rows + 0.3), dpi=100, facecolor="#101014", layout="constrained")
    panels = figure.subplots(rows, 8, squeeze=False).reshape(-1, 2)
    for axes in panels.ravel():
        axes.set_axis_off()
    for pair, (title, cuts) in zip(panels, views, strict=False):
        pair[0].set_title(title, color="white", fontsize=11, loc="left")
        for axes, (data, truth, predicted, aspect) in zip(pair, cuts, strict=True):
            bright = {"vmin": 0, "vmax": max(float(np.percentile(data, 99)), 1e-3)}
            options = {"origin": "lower", "aspect": aspect, "interpolation": "bilinear"}
            axes.imshow(data.T, cmap="gray", **bright, **options)
            for mask, colour in ((truth, "#ff4040"), (predicted, "#30e8ff")):
                if mask.any() and not mask.all():
                    axes.contour(mask.T, [0.5], colors=colour, linewidths=1)
    words = f"red: truth   cyan: {name}   synthetic tumors; left is left"
    figure.supxlabel(words, color="white", fontsize=11)
    figure.savefig(path, format="png")
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
    small.save(path, format="PNG", optimize=True)


def measure(
    found: Sequence[heads.Head], loaded: Sequence, names: Sequence[str], brains: Brains, args
):
    """Score every model on every case; where a picture is asked for, also give what it shows."""
    scores: Scores = {name: [] for name in names}
    shown = np.linspace(0, args.cases - 1, SHOWN).round() if args.picture else ()
    views = []
    for case in cases(found, args.cases, args.clear, args.seed):
        for name, one in zip(names, loaded, strict=True):
            predicted, seconds = predict(case, *one, brains)
            counted = np.where(predicted.mask, predicted.labels, 0)
            done = score(case, counted, seconds)
            scores[name].append(done)
            where = f"{name} {case.number} {case.head}"
            print(f"{where}: Dice {done.dice:.3f}, found {done.found}", flush=True)
            if done.tumors and name == names[0] and case.number in shown:
                title = f"{case.head}: {done.true_ml:.1f} mL, Dice {done.dice:.2f}"
                views.append((title, view(case, predicted.mask)))
    return scores, views


def main() -> None:
    """Print the tables, and write them and the picture where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--model", nargs="+", default=["embedded-meningioma"])
    parser.add_argument("--cases", type=int, default=60, help="number of heads with tumors")
    parser.add_argument("--clear", type=int, default=60, help="number of heads without tumors")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of the first model")
    args = parser.parse_args()
    found = heads.find(args.heads, args.split)
    if not found or args.cases < 1 or args.clear < 0:
        parser.error(f"{len(found)} heads, {args.cases} cases, {args.clear} clear: too few")
    found = found[: max(args.cases, args.clear)]
    asked = list(dict.fromkeys(args.model))
    models = [catalog.analysis("meningioma").model(name) for name in asked]
    loaded = [(model, backends.load(model, "auto", args.threads)) for model in models]
    brain = registry.resolve("embedded")
    brains = (brain, backends.load(brain, "auto", args.threads), brain.threshold)
    short = [Path(name).name for name in asked]
    names = short if len(set(short)) == len(short) else asked
    scores, views = measure(found, loaded, names, brains, args)
    if args.picture:
        draw(views, names[0], args.picture)
    command = f"python benchmarks/meningioma.py HEADS --model {' '.join(names)}"
    command += "".join(
        f" --{name} {getattr(args, name)}" for name in ("cases", "clear", "seed", "split")
    )
    what = WHAT.format(split=args.split, number=len(found))
    base = args.markdown.parent if args.markdown else "."
    picture = os.path.relpath(args.picture, base) if args.picture else ""
    text = report(scores, what, document.origin(command, loaded), picture)
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
