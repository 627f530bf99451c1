# SPDX-License-Identifier: Apache-2.0
"""Meningiomas found in synthetic heads by two generators, whole and as clinical slices.

python benchmarks/meningioma.py DATA --folder FOLDER [--model embedded-meningioma FILE ...]
    [--quick] [--sets heads label-maps ...] [--markdown docs/meningioma.md]
    [--picture docs/meningioma.png]

DATA holds `heads` and `label_maps`. FOLDER keeps the cases, which are made once; `--make` makes
them and measures nothing. A model is a registered name, the folder of a training, or a file of
weights. `tumor_cases` has the sets.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import document
import numpy as np
import tumor_cases
import tumor_picture
from scipy import ndimage
from tumor_cases import CLEAR, SETS, TUMORS, Brains, Case, Cases

from bids_brainmask.analyses import catalog, lesions
from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.analyses.lesions import Lesions
from bids_brainmask.analyses.meningioma import find_meningiomas
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import agreement
from bids_brainmask.voxels.image import Source

FOUND = 0.1
"""Share of a true lesion's voxels that must be in the predicted mask for it to be found."""

BANDS = {"0.3 to 1": (0.3, 1), "over 1": (1, np.inf), "over 3": (3, np.inf)}
"""Volumes of true lesions, mL: more than the first, and no more than the second."""

FINE_BANDS = {
    "up to 0.3": (0, 0.3),
    "0.3 to 1": (0.3, 1),
    "1 to 3": (1, 3),
    "3 to 10": (3, 10),
    "10 to 30": (10, 30),
    "over 30": (30, np.inf),
}
"""Volumes of the table by volume, as in `BANDS`."""

WHOLE = {
    "found, 0.3 to 1 mL": (0.6, 1),
    "found, over 1 mL": (0.9, 1),
    "false per tumor head": (0, 0.3),
    "false per clear head": (0, 0.2),
    "median Dice": (0.85, 1),
}

CLINICAL = {
    "found, over 3 mL": (0.85, 1),
    "false per tumor head": (0, 0.4),
    "false per clear head": (0, 0.3),
    "median Dice": (0.75, 1),
}
"""Least and most of each measure that is to be reached, in whole heads and in clinical slices."""

WORST = 10
"""Cases of the least Dice that are listed."""

SHOWN = 12
"""Cases in the picture, spread evenly over all."""

QUICK = 12
"""Cases with tumors, and clear ones, of each set in the quick choice."""

WHAT = """\
# Meningiomas

Accuracy on synthetic meningiomas in heads that no network was trained on. **The tumors are
synthetic, and so is the contrast agent**, by the generators that the embedded network was trained
with, on other heads.
"""

MEASURES = f"""\
There are four sets, each of heads with tumors and of clear ones:

- `heads`: real healthy heads of the split `dev`, into which contrast agent and one to three
  meningiomas of 0.2 to 60 mL are drawn. Two in ten have metastases, which count as background.
  Three in ten have a bias field, and three in ten have noise.
- `label-maps`: heads that are drawn from the label maps {", ".join(tumor_cases.MAPS)}, with one to
  three meningiomas of 0.2 to 60 mL, and with what is taken for one: veins, sinuses, thick dura,
  mucosa, schwannomas, metastases, gliomas, cavities after surgery. Each by its chance in the
  recipe `{tumor_cases.RECIPE}`.
- `heads-clinical` and `label-maps-clinical`: the same cases in axial slices of
  {tumor_cases.SLICES[0]:g} to {tumor_cases.SLICES[1]:g} mm. The field of view ends up to
  {tumor_cases.CUT_TOP[1]:g} mm below the brain's top in seven of ten, and up to
  {tumor_cases.CUT_BOTTOM[1]:g} mm above its lowest point in five of ten.

If there are more cases than heads, a head is used several times, with other tumors.

The truth is every voxel that a tumor fills by at least half. True lesions are the connected
components of the truth (faces, edges or corners touch), so tumors that touch are one lesion. The
prediction is what the app counts: candidate lesions that are likely, of at least
{lesions.SMALLEST_ML:g} mL, by the model's own threshold and rules, near the brain mask of
`embedded`. Unlikely candidates are in columns of their own: those with a voxel of truth, and the
others. A true lesion is found if {FOUND:.0%} of its voxels are predicted. A false lesion is a
predicted one without a voxel of truth. A mask of all voxels would find every lesion, so read the
share of lesions that are found together with Dice. Dice is of all lesions of a head together; its
median is over the heads with tumors.
"""

MEANING = """\
## Interpretation

The figures show how well a network finds the generators' tumors in new heads. They compare
networks, and show which volumes and errors need work.

They are not valid for patients. Real meningiomas, scanners and contrast agents differ from
synthetic ones in unknown ways. Training and test use the same generators, so the figures are too
favorable. The accuracy on real scans must be measured on real scans, with outlines drawn by
radiologists.
"""


@dataclass(frozen=True)
class Score:
    """How a model did on one case."""

    group: str  # of `SETS`
    number: int
    head: str
    tumors: tuple[tuple[float, bool], ...]  # mL, and whether it was found; the largest first
    false: int  # likely lesions without a voxel of truth
    unlikely: tuple[int, int]  # with a voxel of truth, and without
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


Scores = dict[str, list[Score]]
"""By model, of all cases."""


def predict(
    source: Source, brain: Extraction | None, model: registry.Model, network: backends.Network
) -> Lesions:
    """Find candidate lesions as the app does: none where it needs a brain and finds none."""
    if model.near_brain and brain is None:
        return Lesions(np.zeros(source.volume.data.shape, np.int32), ())
    return find_meningiomas(source, model, network, model.threshold, brain).lesions


def score(group: str, case: Case, found: Lesions, seconds: float) -> Score:
    """Compare candidate lesions with the truth."""
    voxel_ml = float(abs(np.linalg.det(case.image.affine[:3, :3]))) / 1000
    pieces, count = ndimage.label(case.truth, tumor_cases.TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    hits = np.bincount(pieces[found.mask], minlength=count + 1)[1:]
    volumes = np.round(sizes * voxel_ml, 6).tolist()
    tumors = zip(volumes, (hits / sizes >= FOUND).tolist(), strict=True)
    true = set(np.unique(found.labels[case.truth]).tolist())
    out = [each.index in true for each in found.candidates if not each.is_counted]
    return Score(
        group=group,
        number=case.number,
        head=case.head,
        tumors=tuple(sorted(tumors, reverse=True)),
        false=sum(each.index not in true for each in found.counted),
        unlikely=(sum(out), len(out) - sum(out)),
        dice=float(agreement.dice(found.mask, case.truth)),
        predicted_ml=found.volume_ml,
        seconds=seconds,
    )


def summarise(values: Sequence[float], function: Callable, form: str) -> str:
    """Write a figure of values; n/a of none."""
    return form.format(function(values)) if len(values) else "n/a"


def found_between(scores: Sequence[Score], low: float, high: float) -> list[bool]:
    """Tell of each true lesion of these volumes, mL, whether it was found."""
    return [found for one in scores for volume, found in one.tumors if low < volume <= high]


def figures(scores: Sequence[Score]) -> dict[str, tuple[float | None, str]]:
    """Give a set's measures: their values, None where there is none, and in words."""
    with_tumors = [one for one in scores if one.tumors]
    clear = [one.false for one in scores if not one.tumors]
    made: dict[str, tuple[float | None, str]] = {}
    for name, limits in BANDS.items():
        told = found_between(scores, *limits)
        share = float(np.mean(told)) if told else None
        words = "n/a" if share is None else f"{share:.2f} ({sum(told)} of {len(told)})"
        made[f"found, {name} mL"] = share, words
    averages = {
        "false per tumor head": ([one.false for one in with_tumors], np.mean, "{:.2f}"),
        "false per clear head": (clear, np.mean, "{:.2f}"),
        "median Dice": ([one.dice for one in with_tumors], np.median, "{:.3f}"),
    }
    for name, (values, function, form) in averages.items():
        value = float(function(values)) if values else None
        made[name] = value, summarise(values, function, form)
    return made


def missed(group: str, found: dict[str, tuple[float | None, str]]) -> str:
    """Name the measures of a set that are not what is wanted."""
    wanted = CLINICAL if SETS[group][1] else WHOLE
    values = {name: (found[name][0], limits) for name, limits in wanted.items()}
    out = [
        name
        for name, (value, (low, high)) in values.items()
        if value is None or not low <= value <= high
    ]
    return f"not {'; '.join(out)}" if out else "all"


def summary(scores: Sequence[Score]) -> str:
    """One row a set, with the measures, and which of those wanted are not reached."""
    rows = []
    for group in dict.fromkeys(one.group for one in scores):
        some = [one for one in scores if one.group == group]
        found = figures(some)
        clear = sum(not one.tumors for one in some)
        unlikely = " and ".join(str(sum(one.unlikely[k] for one in some)) for k in (0, 1))
        row = [group, f"{len(some) - clear} and {clear}", *(words for _, words in found.values())]
        seconds = summarise([one.seconds for one in some], np.median, "{:.1f}")
        rows.append([*row, unlikely, seconds, missed(group, found)])
    names = list(figures([]))
    columns = ["set", "with tumors and clear", *names, "unlikely, true and false"]
    return document.table([*columns, "seconds, median", "reached"], rows)


def goals() -> str:
    """One row a kind of set, with what is wanted."""
    rows = []
    for name, wanted in (("whole heads", WHOLE), ("clinical slices", CLINICAL)):
        words = {
            key: f"at least {low:g}" if low else f"at most {high:g}"
            for key, (low, high) in wanted.items()
        }
        rows.append([name, *(words.get(key, "") for key in figures([]))])
    return document.table(["wanted", *figures([])], rows)


def band_table(scores: Scores) -> str:
    """One row a set and band of volumes, one column a model."""
    rows = []
    groups = dict.fromkeys(one.group for some in scores.values() for one in some)
    for group in groups:
        for band, limits in FINE_BANDS.items():
            cells = []
            for some in scores.values():
                told = found_between([one for one in some if one.group == group], *limits)
                share = summarise(told, np.mean, "{:.2f}")
                cells.append(f"{share} ({sum(told)} of {len(told)})")
            rows.append([group, band, *cells])
    names = (f"found, {name}" for name in scores)
    return document.table(["set", "true lesions, mL", *names], rows)


def worst_table(scores: Sequence[Score]) -> str:
    """List the cases of the least Dice, the worst first."""
    worst = sorted((one for one in scores if one.tumors), key=lambda one: one.dice)[:WORST]
    rows = []
    for one in worst:
        numbers = [f"{number:.2f}" for number in (one.dice, one.true_ml, one.predicted_ml)]
        rows.append([one.group, str(one.number), one.head, *numbers, one.found])
    columns = ["set", "case", "head", "Dice", "true mL", "predicted mL", "found"]
    return document.table(columns, rows)


def report(scores: Scores, origin: str, picture: str = "") -> str:
    """Write the whole document; `picture` is its path as seen from there."""
    parts = [f"## {name}\n\n{summary(some)}" for name, some in scores.items()]
    worst = "".join(f"{name}:\n\n{worst_table(some)}\n" for name, some in scores.items())
    first, *_ = scores
    shown = (
        f"## Cases\n\n![Cases with tumors]({picture})\n\nUp to {SHOWN} evenly spaced cases, "
        "in the axial and coronal slices where the largest true lesion is widest, with the volume "
        f"of all true lesions. Red: truth; cyan: {first}. The subject's left is on the left.\n\n"
    )
    return (
        f"{WHAT}\n{origin}\n{MEASURES}\n## Wanted\n\n{goals()}\n"
        + "\n".join(parts)
        + f"\n## By volume\n\n{band_table(scores)}\n## The worst cases\n\n{worst}"
        + f"{shown if picture else ''}{MEANING}"
    )


def measure(
    cases: Cases, groups: Sequence[str], numbers: dict[str, int], loaded: dict, finder: Brains
) -> tuple[Scores, list]:
    """Score every model on every case; also give what a picture shows of the first model."""
    scores: Scores = {name: [] for name in loaded}
    every = [(group, number) for group in groups for number in range(max(numbers.values()))]
    tumors = [one for one in every if one[1] < numbers[TUMORS]]
    shown = {tumors[int(n)] for n in np.linspace(0, len(tumors) - 1, SHOWN).round()}
    views = []
    for group, number in every:
        for kind in (kind for kind, count in numbers.items() if number < count):
            case = cases.of(group, number, kind)
            brain = cases.brain(group, case, kind, finder)
            for place, (name, one) in enumerate(loaded.items()):
                started = time.perf_counter()
                found = predict(case.source, brain, *one)
                done = score(group, case, found, time.perf_counter() - started)
                scores[name].append(done)
                where = f"{name} {group} {number} {case.head}"
                print(f"{where}: Dice {done.dice:.3f}, found {done.found}", flush=True)
                if not place and kind == TUMORS and (group, number) in shown:
                    title = f"{case.head}: {done.true_ml:.1f} mL, Dice {done.dice:.2f}"
                    views.append((title, tumor_picture.view(case, found.mask)))
    return scores, views


def make(cases: Cases, groups: Sequence[str], numbers: dict[str, int], finder: Brains) -> None:
    """Make the cases that are not in the folder, and their brain masks."""
    for group in groups:
        for kind, count in numbers.items():
            for number in range(count):
                cases.brain(group, cases.of(group, number, kind), kind, finder)


def load_models(asked: Sequence[str], threads: int) -> dict:
    """Load models, by the shortest of their names that tells them apart."""
    models = [catalog.analysis("meningioma").model(name) for name in asked]
    short = [Path(name).name for name in asked]
    names = short if len(set(short)) == len(short) else asked
    loaded = ((model, backends.load(model, "auto", threads)) for model in models)
    return dict(zip(names, loaded, strict=True))


def main() -> None:
    """Print the tables, and write them and the picture where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="keeps the cases")
    parser.add_argument("--make", action="store_true", help="make the cases, measure nothing")
    parser.add_argument("--model", nargs="+", default=["embedded-meningioma"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} and {QUICK} of each set")
    parser.add_argument("--cases", type=int, default=60, help="number of heads with tumors")
    parser.add_argument("--clear", type=int, default=60, help="number of heads without tumors")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of the first model")
    args = parser.parse_args()
    numbers = {TUMORS: args.cases, CLEAR: args.clear}
    if args.quick:
        numbers = {kind: min(count, QUICK) for kind, count in numbers.items()}
    if args.cases < 1 or args.clear < 0:
        parser.error(f"{args.cases} cases, {args.clear} clear: too few")
    cases = Cases(args.data, args.folder, args.seed, args.split)
    if any(SETS[group][0] == "heads" for group in args.sets) and not cases.found:
        parser.error(f"{args.data / 'heads'}: no head of the split {args.split!r}")
    brain = registry.resolve("embedded")
    finder = (brain, backends.load(brain, "auto", args.threads))
    if args.make:
        make(cases, args.sets, numbers, finder)
        return
    loaded = load_models(list(dict.fromkeys(args.model)), args.threads)
    scores, views = measure(cases, args.sets, numbers, loaded, finder)
    if args.picture:
        tumor_picture.draw(views, next(iter(loaded)), args.picture)
    command = f"python benchmarks/meningioma.py DATA --folder FOLDER --model {' '.join(loaded)}"
    command += f" --sets {' '.join(args.sets)} --cases {numbers[TUMORS]} --clear {numbers[CLEAR]}"
    command += f" --seed {args.seed} --split {args.split}"
    base = args.markdown.parent if args.markdown else "."
    picture = os.path.relpath(args.picture, base) if args.picture else ""
    text = report(scores, document.origin(command, list(loaded.values())), picture)
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
