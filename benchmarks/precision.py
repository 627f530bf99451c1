# SPDX-License-Identifier: Apache-2.0
"""What a number format of the network changes on heads, as they are and degraded.

python benchmarks/precision.py DATA [--precision int8] [--only HEAD ...] [--degraded HEAD ...]
    --records FILE [--markdown FILE]

DATA is as for evaluate_brain.py. Every head of it is compared as it is, and those of `--degraded`
in every way of robustness.py as well. Both networks see an image in the look that the app keeps in
float32: what is compared is the network, not the search among looks. Images in the file of records
are not measured again.
"""

import argparse
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import degrade
import document
import evaluate_brain
import heads
import nibabel as nb
import numpy as np
import robustness
from scipy import stats

from bids_brainmask.analyses import brain as brains
from bids_brainmask.analyses import confidence, second_look
from bids_brainmask.analyses.probability import Answers
from bids_brainmask.models import backends, registry
from bids_brainmask.settings import Precision
from bids_brainmask.voxels import agreement, cleanup, image
from bids_brainmask.voxels.inference import Options
from bids_brainmask.voxels.looks import AS_IT_IS, Look

COMMAND = "python benchmarks/precision.py DATA --records FILE"

READING = """\
Dice is that with the set's first reference, by `benchmarks/evaluate_brain.py`, or with deepbet's
mask of the degraded head, by `benchmarks/robustness.py`. An image without a mask counts as 0. Both
networks see the image in the look that the app keeps in float32. Differences are those of an
image, in the other number format less in float32.
"""

STEPS = {
    "the darker look and the mirror image": second_look.SURE,
    "other looks": second_look.UNSURE,
    "the flag": confidence.DOUBTFUL,
    "a head at all": second_look.HOPELESS,
}
"""Predicted Dice at which the app decides, by what it decides about."""


@dataclass(frozen=True)
class Pair:
    """What is found in one image in float32, and in the other number format."""

    group: str
    head: str
    dice: tuple[float, float]
    predicted: tuple[float, float]
    first: tuple[float, float]
    """Predicted Dice of the first look, which decides whether there is another one."""

    between: float
    """Dice of the two masks with each other."""


def cases(
    members: Iterable[evaluate_brain.Member], degraded: Sequence[str]
) -> Iterator[tuple[str, str, Callable[[], tuple[image.Source, np.ndarray]]]]:
    """Yield the set, the head, and what reads the image and its reference mask.

    Heads without a reference mask are left out.
    """
    for member in (one for one in members if one.head.references):
        yield member.group, member.head.name, partial(read, member.head)
        if member.head.name in degraded:
            for name, step in robustness.steps(grades=False):
                if name != robustness.UNCHANGED:
                    yield name, member.head.name, partial(worse, member.head, step)


def read(head: heads.Head) -> tuple[image.Source, np.ndarray]:
    """Read an image and its first reference mask, (I, J, K) bool."""
    reference = next(iter(head.references.values()))
    return image.read(head.image), image.read(reference).volume.data != 0


def worse(
    head: heads.Head, step: Callable[[degrade.Case], degrade.Case]
) -> tuple[image.Source, np.ndarray]:
    """Degrade an image, as `robustness.measure` does, and its mask with it."""
    source, brain = read(head)
    now = step(degrade.case(source.volume, brain, seed=zlib.crc32(head.name.encode())))
    return image.Source(now.image, nb.Nifti1Image(now.image.data, now.image.affine)), now.brain


def seen(
    answer: Answers, look: Look, source: image.Source, model: registry.Model, *, mirrored: bool
) -> tuple[np.ndarray, float]:
    """Find the mask in one look, (I, J, K) bool, and its predicted Dice; 0 without one."""
    found = (answer(look) + answer(look.mirrored)) / 2 if mirrored else answer(look)
    cleaned = cleanup.brain(found >= model.threshold)
    if not cleaned.mask.any():
        return cleaned.mask, 0.0
    trust = confidence.of(cleaned.mask, found, source.volume.spacing, cleaned.removed)
    return cleaned.mask, trust.predicted_dice(model.confidence) or 0.0


def compare(
    source: image.Source,
    brain: np.ndarray,
    model: registry.Model,
    networks: Sequence[backends.Network],
) -> dict:
    """Compare two networks, the first of which chooses the look, on one image."""
    each = [Answers(source, model, network, Options()) for network in networks]
    found = [seen(answer, AS_IT_IS, source, model, mirrored=False) for answer in each]
    first = tuple(predicted for _, predicted in found)
    if first[0] < second_look.SURE:
        kept = brains.extract(source, model, networks[0], model.threshold)
        if kept.mirrored:  # otherwise it is the first look
            found = [seen(answer, kept.look, source, model, mirrored=True) for answer in each]
    (one, _), (other, _) = found
    return {
        "dice": (agreement.dice(one, brain), agreement.dice(other, brain)),
        "predicted": tuple(predicted for _, predicted in found),
        "first": first,
        "between": agreement.dice(one, other),
    }


def measure(
    found: Iterable,
    model: registry.Model,
    networks: Sequence[backends.Network],
    records: Path,
) -> list[Pair]:
    """Compare the two networks image by image, and add what is found to the records."""
    lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    known = {(one.group, one.head): one for one in (Pair(**json.loads(line)) for line in lines)}
    pairs = []
    for group, head, make in found:
        if (group, head) not in known:
            pair = Pair(group, head, **compare(*make(), model, networks))
            known[group, head] = pair
            with records.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(pair)) + "\n")
            print(group, head, *pair.dice, *pair.predicted, flush=True)
        pairs.append(known[group, head])
    return pairs


def summary(pairs: Sequence[Pair], name: str) -> str:
    """One row a set or degradation."""
    columns = [
        "images",
        "number",
        "median, float32",
        f"median, {name}",
        "least, largest difference",
    ]
    columns += ["Dice of the masks with each other, least"]
    rows = []
    for group in dict.fromkeys(one.group for one in pairs):
        some = [one for one in pairs if one.group == group]
        medians = np.median([one.dice for one in some], axis=0)
        changes = [one.dice[1] - one.dice[0] for one in some]
        row = [group, str(len(some)), *(f"{value:.4f}" for value in medians)]
        row += [f"{min(changes):.4f}, {max(changes):.4f}"]
        rows.append([*row, f"{min(one.between for one in some):.4f}"])
    return document.table(columns, rows)


def calibration(pairs: Sequence[Pair], name: str) -> str:
    """What the number format does to the predicted Dice."""
    dice = np.array([one.dice for one in pairs])
    predicted = np.array([one.predicted for one in pairs])
    first = np.array([one.first for one in pairs])
    changes = predicted[:, 1] - predicted[:, 0]
    columns = ["predicted Dice", "float32", name]
    rows = [
        ["median", *(f"{value:.4f}" for value in np.median(predicted, axis=0))],
        [
            "rank correlation with Dice",
            *(f"{_rank(dice[:, n], predicted[:, n]):.3f}" for n in (0, 1)),
        ],
        ["median error", *(f"{np.median(abs(dice - predicted)[:, n]):.4f}" for n in (0, 1))],
    ]
    for what, step in STEPS.items():
        rows.append([f"first look under {step:g}: {what}", *map(str, (first < step).sum(axis=0))])
    far = max(pairs, key=lambda one: abs(one.predicted[1] - one.predicted[0]))
    crossed = [
        f"{one.head} ({one.group}): {one.first[0]:.4f}, {one.first[1]:.4f}"
        for one in pairs
        if any((one.first[0] < step) != (one.first[1] < step) for step in STEPS.values())
    ]
    return (
        f"{document.table(columns, rows)}\n"
        f"Of the two with each other: rank correlation {_rank(*predicted.T):.4f}, median "
        f"difference {np.median(changes):.4f}, largest {far.predicted[1] - far.predicted[0]:.4f} "
        f"({far.head}, {far.group}). On two sides of one of these steps: "
        f"{'; '.join(crossed) or 'none'}.\n"
    )


def _rank(one: np.ndarray, other: np.ndarray) -> float:
    return float(stats.spearmanr(one, other).statistic)


def report(pairs: Sequence[Pair], name: str, origin: str) -> str:
    """Write the whole document."""
    return (
        f"# What {name} changes\n\n{origin}\n{READING}\n{summary(pairs, name)}\n"
        f"## Predicted Dice\n\n{calibration(pairs, name)}"
    )


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--precision", choices=get_args(Precision), default="int8")
    parser.add_argument("--only", nargs="+", metavar="HEAD", help="only these heads")
    parser.add_argument("--degraded", nargs="+", default=[], metavar="HEAD")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--records", type=Path, required=True, help="JSON lines, added to")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    model = registry.resolve(args.model, allow_unverified=True)
    networks = [
        backends.load(model, "openvino", args.threads, one) for one in ("float32", args.precision)
    ]
    found = evaluate_brain.members(args.data, None, None, [])
    found = [one for one in found if not args.only or one.head.name in args.only]
    pairs = measure(cases(found, args.degraded), model, networks, args.records)
    command = f"{COMMAND} --precision {args.precision}"
    if args.only:
        command += f" --only {' '.join(args.only)}"
    if args.degraded:
        command += f" --degraded {' '.join(args.degraded)}"
    text = report(pairs, args.precision, document.origin(command, [(model, networks[0])]))
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
