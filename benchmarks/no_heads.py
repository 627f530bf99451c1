# SPDX-License-Identifier: Apache-2.0
"""How many images that are no heads are flagged or refused, and how many good heads are.

python benchmarks/no_heads.py DATA [--model embedded] [--draws 1] [--half fitted held-out]
    [--fit] [--markdown docs/plausibility.md]

DATA holds `heads`, `contrast`, `stripped` and `label_maps`. `--fit` measures training heads, too,
and prints limits for `bids_brainmask.analyses.plausibility` from those with a good mask, and how
many of each source are flagged by limits that the other sources give.
"""

import argparse
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bodies
import broken_heads
import degrade
import document
import evaluate_brain
import heads
import hollow_heads
import nibabel as nb
import numpy as np
import objects
from robustness import REFERENCE

from bids_brainmask.analyses import plausibility
from bids_brainmask.analyses.brain import Extraction, extract
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.settings import EXPECTED_ML
from bids_brainmask.voxels import agreement, cleanup, grid, image
from bids_brainmask.voxels.image import Volume

FITTED, HELD_OUT = "fitted", "held-out"

HELD_OUT_KINDS = frozenset(
    {
        *("gaussian_noise", "speckles", "clouds", "clouds_in_a_ball", "empty", "radial_gradient"),
        *("checkerboard", "two_halves", "cube", "cylinder", "cone", "onion", "tubes"),
        *("quality_phantom", "random_ellipsoids", "page_of_text", "orange", "walnut", "egg"),
        *("thighs", "chest", "fingers", "breasts", "spine", "front_half", "lower_half", "back_40"),
        *("slab", "corner", "skull_cap", "brain_of_one_value", "brain_of_clouds"),
        *("large_scrambled_blocks", "interleaved_wrongly", "random_phases", "two_heads_stacked"),
        *("mirrored_top", "mirrored_tiles", "shrunk", "flattened", "swirled", "mask_itself"),
        "noise_in_a_mask",
    }
)
"""Kinds that the limits are not chosen on; fixed before any was measured."""

MATERIAL = {
    FITTED: (("sub-adi", "head01"), ("sub-rigs", "head03")),
    HELD_OUT: (("sub-mycon", "head06"), ("sub-head16", "head11")),
}
"""Of each half: the real heads, and the label maps, that broken heads are made of, in turn."""

GOOD = 0.95
"""A mask whose Dice with its reference is at least this is good; below `BAD` it is bad."""

BAD = 0.90

TRAINING, TRAINING_CHANGED = 25, ("sub-ldh02", "sub-ror", "sub-ixi014")
"""Limits are fitted to every so many-th IXI head for training, all others, and these degraded."""

LYING = ("sub-pumi", "sub-ldh10", "sub-ixi057")
"""Development heads that are turned and mirrored while the header stays."""

CHANGED = ("sub-child3y", "sub-pumi", "sub-ldh09", "sub-hfs", "sub-ixi013", "sub-ixi034")
"""Good heads that are measured degraded, too, at the strengths that are reported."""

MARGIN = 0.25
"""Limits lie this far beyond the lowest and highest value of good heads, over what is between."""

COMMAND = "python benchmarks/no_heads.py DATA"

EXPLAINED = """\
A network finds a brain in almost anything. A mask is therefore also measured without the network's
probabilities. A measure beyond its limits makes the mask doubtful; the reason is in the sidecar
(`Doubts`, `Warning`), in the closing table, on the participant's page, in the group's table and in
the group report.

| measure | what it is |
| --- | --- |
| volume | of the mask; its limits are options, `--min-brain-volume` and `--max-brain-volume` |
| border | share of the mask's surface that is the edge of the image |
| fill | volume over that of the ellipsoid with the same second moments; 1 for an ellipsoid |
| elongation, width | longest and middle axis of that ellipsoid over the shortest |
| roughness | surface over that of a sphere of the same volume; 1.5 for a sphere of many voxels |
| removed | volume of the components that clean-up removed, over that of the mask |
| mirror, point | Dice of the mask and its mirror image along its longest axis, and its point \
reflection |
| gyri | standard deviation of intensities, averaged in blocks of 3 mm, about their smooth part \
(Gaussian, 6 mm), over their mean |
| halves | correlation of the image in the mask with its mirror image, without noise (Gaussian, \
3 mm) and bias (20 mm), along the axis for which it is largest |
| depth | share of the variance of the blocks' intensities that their distance to the mask's \
surface explains |
| noise | median difference of adjacent voxels over their mean, along the axis for which it is \
smallest |

"""

READING = """\
A kind of image is flagged if its mask is doubtful: predicted Dice under 0.90, or a measure beyond
its limits. It is refused if no brain is found. Held-out kinds are made of other heads than fitted
ones, and limits are not chosen on them.

Limits are chosen on fitted kinds and on good masks of training heads and of some development
heads: the share of flagged good masks is not independent of them.

Masks of heads are good if their Dice with the reference is at least 0.95; heads without a
reference count as good. `degraded` heads are cut, turned, noisy and so on by
`benchmarks/degrade.py`. `turned` heads are turned by 90 or 180 degrees or mirrored, while the
header says that they are not. Masks with a Dice under 0.90 are bad.
"""


@dataclass(frozen=True)
class Case:
    """An image, and what is known of it."""

    name: str
    group: str  # a half of the kinds, or a source of good heads
    volume: Volume
    truth: np.ndarray | None = None  # (I, J, K) bool, of a head


@dataclass(frozen=True)
class Finding:
    """What a model and its warnings make of an image."""

    name: str
    group: str
    refusal: str
    doubts: tuple[str, ...]
    likeness: dict[str, float]
    dice: float | None  # with the truth, if there is one; 0 where nothing is found

    @property
    def told(self) -> bool:
        """Whether the user is told that something is wrong."""
        return bool(self.refusal or self.doubts)

    @property
    def words(self) -> str:
        """What the user is told."""
        return f"refused: {self.refusal}" if self.refusal else ", ".join(self.doubts)


def half_of(name: str) -> str:
    """Half that a kind belongs to."""
    return HELD_OUT if name in HELD_OUT_KINDS else FITTED


def material(data: Path, head: str, labels: str) -> broken_heads.Material:
    """Read a real head and a label map."""
    found = heads.head(data / "heads", head)
    whole = degrade.case(
        image.read(found.image).volume, image.read_mask(found.references[REFERENCE])
    )
    stored = grid.canonical(image.read_labels(data / "label_maps" / f"{labels}_dseg.nii.gz"))
    volume = Volume(np.round(stored.data).astype(np.uint8), stored.affine)
    return broken_heads.Material(volume, whole.image, whole.brain)


def no_heads(data: Path, halves: Sequence[str], draws: int) -> Iterator[Case]:
    """Make every kind of the halves, so many times."""
    for half in halves:
        stuff = [material(data, *one) for one in MATERIAL[half]]
        for draw in range(draws):
            for kind in (*objects.KINDS, *bodies.KINDS):
                if half_of(kind.__name__) == half:
                    made = kind(generator(kind.__name__, draw))
                    affine = np.diag([*[objects.SPACING] * 3, 1.0])
                    yield Case(kind.__name__, half, Volume(made, affine))
            for number, kind in enumerate((*broken_heads.KINDS, *hollow_heads.KINDS)):
                if half_of(kind.__name__) == half:
                    one = stuff[(number + draw) % len(stuff)]
                    made = kind(generator(kind.__name__, draw), one)
                    yield Case(kind.__name__, half, made)


def generator(name: str, draw: int) -> np.random.Generator:
    """Random numbers of one draw of a kind, whatever else is drawn."""
    return np.random.default_rng([zlib.crc32(name.encode()), draw])


def good_heads(data: Path) -> Iterator[Case]:
    """Read every development head, plain, degraded and turned."""
    for member in evaluate_brain.members(data, None, None, ()):
        path = member.head.references.get(REFERENCE) or member.head.references.get("itself")
        truth = image.read(path).volume.data != 0 if path else None
        volume = image.read(member.head.image).volume
        yield Case(member.head.name, member.group, volume, truth)
        if truth is None:
            continue
        whole = degrade.case(volume, truth, zlib.crc32(member.head.name.encode()))
        if member.head.name in CHANGED:
            yield from degraded(member.head.name, whole)
        if member.head.name in LYING:
            yield from turned(member.head.name, whole)


def training_heads(data: Path) -> Iterator[Case]:
    """Read heads that limits may be chosen on, plain and degraded."""
    found = heads.find(data / "heads", "train")
    ixi = [head for head in found if head.name.startswith("sub-ixi")]
    for head in [one for one in found if one not in ixi or one in ixi[::TRAINING]]:
        volume, truth = image.read(head.image).volume, image.read_mask(head.references[REFERENCE])
        yield Case(head.name, "IXI" if head in ixi else head.name[:7], volume, truth)
        if head.name in TRAINING_CHANGED:
            yield from degraded(head.name, degrade.case(volume, truth))


def degraded(name: str, whole: degrade.Case) -> Iterator[Case]:
    """Degrade a head in every way that is reported."""
    for one in degrade.DEGRADATIONS:
        for strength in one.reported:
            worse = one.step(whole, strength)
            yield Case(f"{name}, {one.label(strength)}", "degraded", worse.image, worse.brain)


def turned(name: str, whole: degrade.Case) -> Iterator[Case]:
    """Turn and mirror a head, 13 times, under a header that says R, A, S."""
    moves = {"mirrored along all axes": (np.flip, (0, 1, 2))}
    for axis, word in enumerate(("right", "anterior", "superior")):
        moves[f"mirrored along {word}"] = partial(np.flip, axis=axis), (0, 1, 2)
        plane = tuple(other for other in range(3) if other != axis)
        for quarters in (1, 2, 3):
            order = list(range(3))
            if quarters != 2:
                order[plane[0]], order[plane[1]] = plane[::-1]
            words = f"turned by {90 * quarters} degrees about {word}"
            moves[words] = partial(np.rot90, k=quarters, axes=plane), tuple(order)
    for words, (move, order) in moves.items():
        data, brain = (np.ascontiguousarray(move(a)) for a in (whole.image.data, whole.brain))
        affine = np.diag([*whole.image.spacing[list(order)], 1.0])
        yield Case(f"{name}, {words}", "turned", Volume(data, affine), brain)


def examine(case: Case, model: registry.Model, network: backends.Network) -> Finding:
    """Run a model over an image as the app does."""
    file = nb.Nifti1Image(case.volume.data.astype(np.float32), case.volume.affine)
    try:
        found = extract(image.Source(case.volume, file), model, network, model.threshold)
    except ImageError as error:
        refusal = str(error).partition(":")[0]
        return Finding(case.name, case.group, refusal, (), {}, None if case.truth is None else 0.0)
    dice = None if case.truth is None else agreement.dice(own_mask(found, model), case.truth)
    return Finding(case.name, case.group, "", found.doubts, dict(found.likeness), dice)


def own_mask(found: Extraction, model: registry.Model) -> np.ndarray:
    """Mask of the network itself, also where all of a stripped brain was kept."""
    if not found.stripped:
        return found.mask
    return cleanup.brain(found.probability >= model.threshold).mask


def is_good(finding: Finding) -> bool:
    """Tell whether a head's mask is good, or there is no saying."""
    return finding.dice is None or finding.dice >= GOOD


def fit(findings: Sequence[Finding]) -> dict[str, tuple[float, float]]:
    """Limits of every measure but the volume, from good heads."""
    limits = {}
    for name in plausibility.LIMITS:
        values = [f.likeness[name] for f in findings if name in f.likeness]
        if values:
            reach = MARGIN * (max(values) - min(values))
            limits[name] = (min(values) - reach, max(values) + reach)
    return limits


def beyond(finding: Finding, limits: dict[str, tuple[float, float]]) -> list[str]:
    """Measures that lie beyond limits."""
    pairs = ((name, finding.likeness.get(name), limit) for name, limit in limits.items())
    return [name for name, value, (low, high) in pairs if value and not low <= value <= high]


def fitted(good: Sequence[Finding], bad: Sequence[Finding]) -> str:
    """Say what limits the good heads give, and what sources and kinds lie beyond them."""
    limits = fit(good)
    rows = [[name, f"{low:.3f}", f"{high:.3f}"] for name, (low, high) in limits.items()]
    text = document.table(["measure", "low", "high"], rows)
    rows = []
    for group in dict.fromkeys(one.group for one in good):
        own = [one for one in good if one.group == group]
        other = fit([one for one in good if one.group != group])
        said = {one.name: beyond(one, other) for one in own}
        names = [f"{name} ({', '.join(what)})" for name, what in said.items() if what]
        rows.append([group, str(len(own)), str(len(names)), "; ".join(names)])
    columns = ["source", "heads", "beyond the limits of the others", "which"]
    text += f"\n{document.table(columns, rows)}"
    own = [one for one in bad if one.group == FITTED and not one.refusal]
    missed = [one.name for one in own if not beyond(one, limits)]
    return text + f"\nfitted kinds within all limits: {', '.join(missed) or 'none'}\n"


def summary(bad: Sequence[Finding], good: Sequence[Finding]) -> str:
    """One row a half of the kinds, and one a source of heads."""
    rows = []
    for group in dict.fromkeys(one.group for one in bad):
        some = [one for one in bad if one.group == group]
        rows.append([f"no heads, {group}", *counts(some)])
    for group in dict.fromkeys(one.group for one in good):
        some = [one for one in good if one.group == group]
        rows.append([f"good masks, {group}", *counts([one for one in some if is_good(one)])])
    rows.append(["good masks, all", *counts([one for one in good if is_good(one)])])
    rows.append(["bad masks", *counts([o for o in good if o.dice is not None and o.dice < BAD])])
    columns = ["images", "number", "refused", "flagged", "refused or flagged", "not told of"]
    return document.table(columns, rows)


def counts(some: Sequence[Finding]) -> list[str]:
    """How many there are, and of how many the user is told, in words."""
    refused = sum(bool(one.refusal) for one in some)
    told = sum(one.told for one in some)
    share = f"{told / len(some):.1%}" if some else "n/a"
    return [str(len(some)), str(refused), str(told - refused), share, str(len(some) - told)]


def one_by_one(findings: Sequence[Finding]) -> str:
    """One row an image: what the user is told of it."""
    rows = [
        [one.group, one.name, "n/a" if one.dice is None else f"{one.dice:.4f}", one.words or "-"]
        for one in findings
    ]
    return document.table(["set", "image", "Dice", "what the user is told"], rows)


def report(bad: Sequence[Finding], good: Sequence[Finding], origin: str) -> str:
    """Write the whole document."""
    told = [one for one in good if one.told or not is_good(one)]
    return (
        f"# Plausibility\n\n{EXPLAINED}{limits()}\n## Images that are no heads, and good heads\n\n"
        f"{kinds()} kinds of images are no heads, or not all of one.\n\n{origin}\n{READING}\n"
        f"{summary(bad, good)}\n## No heads, one by one\n\n{one_by_one(bad)}\n"
        f"## Heads that are flagged, or whose mask is not good\n\n{one_by_one(told)}"
    )


def limits() -> str:
    """Table of the limits in use."""
    rows = [["volume_ml", f"{EXPECTED_ML[0]:g}", f"{EXPECTED_ML[1]:g}"]]
    rows += [[name, f"{one.low:g}", f"{one.high:g}"] for name, one in plausibility.LIMITS.items()]
    return document.table(["measure", "low", "high"], rows)


def kinds() -> int:
    """How many kinds there are."""
    return sum(len(one.KINDS) for one in (objects, bodies, broken_heads, hollow_heads))


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--draws", type=int, default=1, help="of each kind")
    parser.add_argument(
        "--half", nargs="*", choices=(FITTED, HELD_OUT), default=(FITTED, HELD_OUT)
    )
    parser.add_argument("--no-good", action="store_true", help="leave the good heads out")
    parser.add_argument("--fit", action="store_true", help="print limits from training heads")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    model = registry.resolve(args.model, allow_unverified=True)
    network = backends.load(model, "auto", args.threads)

    def examined(cases: Iterator[Case]) -> list[Finding]:
        found = []
        for case in cases:
            found.append(examine(case, model, network))
            print(case.group, case.name, found[-1].dice, found[-1].words, flush=True)
        return found

    bad = examined(no_heads(args.data, args.half, args.draws))
    good = [] if args.no_good else examined(good_heads(args.data))
    text = report(bad, good, document.origin(COMMAND, [(model, network)]))
    print(f"\n{text}")
    if args.fit:
        known = examined(training_heads(args.data))
        print(fitted([one for one in known if is_good(one)], bad))
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
