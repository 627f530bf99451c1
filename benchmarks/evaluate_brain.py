# SPDX-License-Identifier: Apache-2.0
"""Dice of brain networks on every set of heads that they are judged by, and what is wanted there.

python benchmarks/evaluate_brain.py DATA [--model embedded FILE FOLDER ...] [--quick]
    [--masks FOLDER [--peers VENV/bin/python]] [--colin FOLDER] [--also sub-rigs ...]
    [--precision int8] [--markdown docs/evaluation.md]

A model is a registered name, the folder of a training, a ``.keras`` file, or a ``.npz`` file of
named arrays. DATA holds `heads`, `contrast` and `stripped`; FOLDER of Colin 27 holds ch2.nii.gz
and ch2bet.nii.gz, from Debian's package mricron-data. Heads without a reference are compared with
deepbet's mask in the folder of masks, which `--peers` makes where it is missing.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import accuracy
import document
import heads
import numpy as np

from bids_brainmask.analyses import brain as brains
from bids_brainmask.demo import phantom_dataset
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.settings import Precision
from bids_brainmask.voxels import agreement, cleanup, image

IXI, OTHERS, CONTRAST, STRIPPED, COLIN, PHANTOMS, ALSO = (
    "IXI",
    "other sources",
    "contrast-enhanced",
    "stripped",
    "Colin 27",
    "phantoms",
    "named by --also",
)

CONTRAST_HEADS = (
    ("sub-vs01", "_ce-gadolinium"),
    ("sub-cts01", "_ce-gadolinium"),
    ("sub-cts02", "_ce-gadolinium"),
    ("sub-cts03", ""),
    ("sub-cts03", "_ce-gadolinium"),
)
"""Participants of the contrast-enhanced heads, and what follows in the names of their images."""

QUICK = {IXI: 6, OTHERS: None, CONTRAST: None, ALSO: None}
"""Sets of the quick choice, and how many of their heads are measured; None: all."""

COMMAND = "python benchmarks/evaluate_brain.py DATA --masks FOLDER --colin FOLDER"

READING = """\
Masks are those of the network alone, cleaned as the app cleans them, also of brains that were
stripped before. A head in which no brain is found counts as 0. The volume ratio is that of the
mask to the reference; its mean is over the set. Only the phantoms' references are known to be
true.
"""


@dataclass(frozen=True)
class Wanted:
    """A figure to reach."""

    group: str
    reference: str
    measure: str  # of MEASURES
    least: float
    most: float = np.inf

    def words(self) -> str:
        """Say it."""
        return f"{self.least:g} to {self.most:g}" if self.most < np.inf else f"{self.least:g}"


@dataclass(frozen=True)
class Score:
    """How one network did on one head, by one reference."""

    group: str
    head: str
    reference: str
    dice: float
    ratio: float  # of the mask's volume to the reference's


MEASURES: dict[str, Callable[[Sequence[Score]], float]] = {
    "median": lambda scores: float(np.median([one.dice for one in scores])),
    "mean": lambda scores: float(np.mean([one.dice for one in scores])),
    "minimum": lambda scores: min(one.dice for one in scores),
    "volume ratio": lambda scores: float(np.mean([one.ratio for one in scores])),
}
"""What is said of a set, by name."""

WANTED = (
    Wanted(IXI, "deepbet", "median", 0.985),
    Wanted(IXI, "dlmuse", "median", 0.980),
    Wanted(OTHERS, "deepbet", "minimum", 0.970),
    Wanted(OTHERS, "deepbet", "median", 0.982),
    Wanted(OTHERS, "deepbet", "volume ratio", 0.99, 1.01),
    Wanted(OTHERS, "hdbet", "median", 0.975),
    Wanted(CONTRAST, "deepbet", "minimum", 0.960),
    Wanted(CONTRAST, "deepbet", "mean", 0.967),
    Wanted(CONTRAST, "hdbet", "minimum", 0.960),
    Wanted(CONTRAST, "hdbet", "mean", 0.967),
)
"""Figures that a network for all scanners is to reach; other sets: no worse than the last one."""


@dataclass(frozen=True)
class Member:
    """A head, and the set that it belongs to."""

    group: str
    head: heads.Head


def members(
    data: Path, masks: Path | None, colin: Path | None, also: Sequence[str]
) -> Iterator[Member]:
    """List the heads that rest on files, set by set.

    Parameters
    ----------
    data : Path
        Holds the datasets `heads`, `contrast` and `stripped`.
    masks : Path or None
        Folder of deepbet's masks of heads without a reference of their own.
    colin : Path or None
    also : sequence of str
        Further participants of `heads`, of any split.
    """
    for head in heads.find(data / "heads", "dev"):
        yield Member(IXI if head.name.startswith("sub-ixi") else OTHERS, head)
    for name in also:
        yield Member(ALSO, heads.head(data / "heads", name))
    for name, entities in CONTRAST_HEADS:
        head = heads.head(data / "contrast", name, entities)
        yield Member(CONTRAST, with_made(head, masks, name))
    for path in sorted((data / "stripped").glob("sub-*/anat/*_T1w.nii.gz")):
        yield Member(STRIPPED, heads.Head(path.name.split("_")[0], path, {"itself": path}))
    if colin:
        head = heads.Head("Colin 27", colin / "ch2.nii.gz", {"published": colin / "ch2bet.nii.gz"})
        yield Member(COLIN, with_made(head, masks, "Colin 27"))


def with_made(head: heads.Head, masks: Path | None, name: str) -> heads.Head:
    """Give a head without deepbet's mask the one that is in, or goes into, a folder of masks."""
    if masks is None or "deepbet" in head.references:
        return head
    made, _ = accuracy.peer_files(masks, "deepbet", name)
    return heads.Head(head.name, head.image, {"deepbet": made, **head.references})


def phantoms(folder: Path) -> Iterator[Member]:
    """Write the demonstration's heads, and list them with their true masks."""
    root = phantom_dataset.write_dataset(folder / "demo")
    for path in sorted(root.glob("sub-*/**/*_T1w.nii.gz")):
        name = path.name.removesuffix("_T1w.nii.gz")
        place = path.parent.relative_to(root)
        truth = root / "derivatives" / "truth" / place / f"{name}_desc-brain_mask.nii.gz"
        yield Member(PHANTOMS, heads.Head(name, path, {"truth": truth}))


def quick(found: Sequence[Member]) -> list[Member]:
    """Choose the heads of the quick sets."""
    sets = {group: [one for one in found if one.group == group] for group in QUICK}
    return [one for group, most in QUICK.items() for one in sets[group][:most]]


def measure(member: Member, model: registry.Model, network: backends.Network) -> list[Score]:
    """Compare a network's mask of a head with each of its references."""
    head, scores = member.head, []
    mask = extract(head, model, network)
    for reference, path in head.references.items():
        truth = image.read(path).volume.data != 0
        found = np.zeros_like(truth) if mask is None else mask
        ratio = float(found.sum() / truth.sum())
        scores.append(
            Score(member.group, head.name, reference, agreement.dice(found, truth), ratio)
        )
    return scores


def extract(
    head: heads.Head, model: registry.Model, network: backends.Network
) -> np.ndarray | None:
    """Find the brain by the network alone, (I, J, K) bool; None: there is none."""
    try:
        brain = brains.extract(image.read(head.image), model, network, model.threshold)
    except ImageError:
        return None
    return (
        cleanup.brain(brain.probability >= model.threshold).mask if brain.stripped else brain.mask
    )


def summary(scores: Sequence[Score]) -> str:
    """One row a set and reference, with what is wanted beside what is found."""
    columns = ["set", "reference", "heads", *MEASURES, "wanted", "reached"]
    rows = []
    for group, reference in dict.fromkeys((one.group, one.reference) for one in scores):
        some = [one for one in scores if (one.group, one.reference) == (group, reference)]
        found = {name: function(some) for name, function in MEASURES.items()}
        goals = [w for w in WANTED if (w.group, w.reference) == (group, reference)]
        missed = [w.measure for w in goals if not w.least <= found[w.measure] <= w.most]
        words = ", ".join(f"{w.measure} {w.words()}" for w in goals)
        reached = ("all" if not missed else f"not {', '.join(missed)}") if goals else ""
        row = [group, reference, str(len(some)), *(f"{value:.4f}" for value in found.values())]
        rows.append([*row, words, reached])
    return document.table(columns, rows)


def by_head(named: dict[str, Sequence[Score]]) -> str:
    """One row a head and reference, and two columns a model: Dice and volume ratio."""
    columns = ["set", "head", "reference"]
    columns += [f"{name}{what}" for name in named for what in ("", ", volume ratio")]
    rows = []
    for places in zip(*named.values(), strict=True):
        row = [places[0].group, places[0].head, places[0].reference]
        rows.append([*row, *(f"{x:.4f}" for one in places for x in (one.dice, one.ratio))])
    return document.table(columns, rows)


def report(named: dict[str, Sequence[Score]], origin: str) -> str:
    """Write the whole document."""
    parts = [f"## {name}\n\n{summary(scores)}" for name, scores in named.items()]
    return (
        "# Evaluation of brain networks\n\nDice with reference masks on heads that no network "
        f"was trained on, unless it is said.\n\n{origin}\n{READING}\n"
        + "\n".join(parts)
        + f"\n## Head by head\n\n{by_head(named)}"
    )


def evaluate(found: Sequence[Member], loaded: Sequence) -> dict[str, list[Score]]:
    """Run every model over every head. Models of one name are told apart by a number."""
    named: dict[str, list[Score]] = {}
    for number, (model, network) in enumerate(loaded, 1):
        name = f"{model.name} {number}" if model.name in named else model.name
        named[name] = []
        for member in found:
            scores = measure(member, model, network)
            named[name] += scores
            words = (f"{one.reference} {one.dice:.4f} ({one.ratio:.3f})" for one in scores)
            print(name, member.head.name, *words, flush=True)
    return named


def lacking(found: Sequence[Member]) -> list[heads.Head]:
    """Heads whose deepbet mask is yet to be made."""
    paths = ((one.head, one.head.references.get("deepbet")) for one in found)
    return [head for head, path in paths if path and not path.exists()]


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=["embedded"])
    parser.add_argument("--quick", action="store_true", help="20 heads, for use during a training")
    parser.add_argument("--also", nargs="+", default=[], metavar="HEAD", help="of any split")
    parser.add_argument("--colin", type=Path, metavar="FOLDER")
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help="deepbet's, made here")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="has deepbet")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    models = [registry.resolve(name, allow_unverified=True) for name in args.model]
    loaded = [
        (model, backends.load(model, "auto", args.threads, args.precision)) for model in models
    ]
    found = list(members(args.data, args.masks, args.colin, args.also))
    if args.quick:
        found = quick(found)
    if (heads_left := lacking(found)) and not args.peers:
        parser.error(f"{heads_left[0].references['deepbet']} is not there: --peers makes it")
    for head in heads_left:
        accuracy.run_peer("deepbet", args.peers, head.image, head.references["deepbet"])
    with tempfile.TemporaryDirectory() as folder:
        found += [] if args.quick else phantoms(Path(folder))
        named = evaluate(found, loaded)
    command = COMMAND + " --quick" * args.quick
    if args.precision != "float32":
        command += f" --precision {args.precision}"
    text = report(named, document.origin(command, loaded))
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
