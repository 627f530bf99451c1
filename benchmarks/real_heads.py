# SPDX-License-Identifier: Apache-2.0
"""Candidate meningiomas in real heads in which none is known: all that is found is false.

python benchmarks/real_heads.py DATA [--model embedded-meningioma ams FILE ...] [--quick]
    [--folder FOLDER] [--markdown docs/real-heads.md]

DATA holds `heads` and `contrast`. Every image is taken as contrast-enhanced, as with
`--force-contrast`. FOLDER keeps the brain masks of `embedded`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import document
import heads
import meningioma
import tumor_cases

from bids_brainmask.analyses.lesions import Lesions
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import image

CONTRAST, PLAIN, TUMOR = "contrast", "plain", "schwannoma"

CONTRAST_HEADS = (
    (CONTRAST, "sub-cts01", "_ce-gadolinium"),
    (CONTRAST, "sub-cts02", "_ce-gadolinium"),
    (CONTRAST, "sub-cts03", ""),
    (CONTRAST, "sub-cts03", "_ce-gadolinium"),
    (TUMOR, "sub-vs01", "_ce-gadolinium"),
)
"""Set, participant and entities of the images in the dataset `contrast`."""

LARGE_ML = 0.5
"""Volume over which a false lesion counts in the contrast heads, mL."""

MOST_PLAIN = 2
"""Most false lesions that are wanted in all plain heads together."""

QUICK = 6
"""Plain heads of the quick choice."""

READING = f"""\
Every image is taken as contrast-enhanced, and searched as the app does it. No meningioma is known
in any of these heads, so every candidate is false, with one exception: `sub-vs01` has a vestibular
schwannoma, which is no meningioma, and is reported alone. `sub-cts01` and `sub-cts02` have other
lesions that enhance, within the brain; `sub-cts03` has a glioma. Wanted: no likely candidate over
{LARGE_ML:g} mL in the set `{CONTRAST}`, and at most {MOST_PLAIN} likely ones in all of the set
`{PLAIN}`.
"""


@dataclass(frozen=True)
class Found:
    """What a model found in a head."""

    group: str
    head: str
    likely_ml: tuple[float, ...]  # the largest first
    unlikely: tuple[tuple[float, str], ...]  # mL, and why


def members(data: Path, *, quick: bool) -> list[tuple[str, heads.Head]]:
    """List the heads, each with its set; those with contrast agent first."""
    found = [
        (group, heads.head(data / "contrast", name, entities))
        for group, name, entities in CONTRAST_HEADS
    ]
    plain = heads.find(data / "heads", "dev")
    return found + [(PLAIN, head) for head in plain[: QUICK if quick else None]]


def told(group: str, head: str, lesions: Lesions) -> Found:
    """Sum up the candidates of a head."""
    unlikely = (each for each in lesions.candidates if not each.is_counted)
    return Found(
        group,
        head,
        tuple(each.volume_ml for each in lesions.counted),
        tuple((each.volume_ml, ", ".join(each.reasons)) for each in unlikely),
    )


def table(found: Sequence[Found]) -> str:
    """One row a head in which there is a candidate, and one for the others of a set."""
    rows = []
    for group in dict.fromkeys(one.group for one in found):
        some = [one for one in found if one.group == group]
        shown = [one for one in some if one.likely_ml or one.unlikely]
        for one in shown:
            likely = ", ".join(f"{volume:.2f}" for volume in one.likely_ml)
            unlikely = "; ".join(f"{volume:.2f} ({why})" for volume, why in one.unlikely)
            rows.append([group, one.head, likely or "none", unlikely or "none"])
        if len(shown) < len(some):
            rows.append([group, f"{len(some) - len(shown)} others", "none", "none"])
    return document.table(["set", "head", "likely, mL", "unlikely, mL"], rows)


def verdict(found: Sequence[Found]) -> str:
    """One row a set, with what is wanted."""
    contrast = [one for one in found if one.group == CONTRAST]
    plain = [one for one in found if one.group == PLAIN]
    large = sum(volume > LARGE_ML for one in contrast for volume in one.likely_ml)
    number = sum(len(one.likely_ml) for one in plain)
    rows = [
        [CONTRAST, str(len(contrast)), f"likely, over {LARGE_ML:g} mL", "0", str(large)],
        [PLAIN, str(len(plain)), "likely", f"at most {MOST_PLAIN}", str(number)],
    ]
    return document.table(["set", "heads", "candidates", "wanted", "found"], rows)


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=["embedded-meningioma"])
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK} plain heads")
    parser.add_argument("--folder", type=Path, help="keeps the brain masks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    brain = registry.resolve("embedded")
    finder = (brain, backends.load(brain, "auto", args.threads))
    loaded = meningioma.load_models(list(dict.fromkeys(args.model)), args.threads)
    named: dict[str, list[Found]] = {name: [] for name in loaded}
    for group, head in members(args.data, quick=args.quick):
        source = image.read(head.image)
        kept = args.folder and args.folder / head.name
        mask = tumor_cases.brain_of(source, kept, finder)
        for name, one in loaded.items():
            named[name].append(
                done := told(group, head.name, meningioma.predict(source, mask, *one))
            )
            print(name, head.name, done.likely_ml, done.unlikely, flush=True)
    parts = (f"## {name}\n\n{verdict(some)}\n{table(some)}" for name, some in named.items())
    command = f"python benchmarks/real_heads.py DATA --model {' '.join(loaded)}"
    origin = document.origin(command + " --quick" * args.quick, list(loaded.values()))
    text = f"# Meningiomas in real heads\n\n{READING}\n{origin}\n" + "\n".join(parts)
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
