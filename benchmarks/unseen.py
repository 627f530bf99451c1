# SPDX-License-Identifier: Apache-2.0
"""Agreement on heads of sources that a network never saw, and on brains stripped before.

python benchmarks/unseen.py DATA --model FILE [FILE ...] --masks FOLDER [--peers VENV/bin/python]
    [--colin FOLDER] [--markdown docs/unseen.md]

DATA holds `heads`, `contrast` and `stripped`; FOLDER of Colin 27 holds ch2.nii.gz and
ch2bet.nii.gz, from Debian's package mricron-data. Where a head has no reference mask, deepbet's is
made, in the environment of `benchmarks/accuracy.py`, and kept.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import accuracy
import document
import heads
import left_out
import numpy as np

from bids_brainmask.analyses.brain import extract
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import agreement, cleanup, image

SOURCES = {
    "sub-ldh01": "OpenfMRI ds000011, face cut off by a box",
    "sub-ldh02": "OpenfMRI ds000011",
    "sub-ldh03": "OpenfMRI ds000011",
    "sub-ldh04": "OpenfMRI ds000011",
    "sub-ldh08": "OpenfMRI ds000011",
    "sub-ldh09": "OpenfMRI ds000011",
    "sub-ldh10": "OpenfMRI ds000011",
    "sub-rigs": "Siemens Prisma 3T, full face",
    "sub-mycon": "MyConnectome, Siemens Skyra 3T, full face",
    "sub-child3y": "Siemens Skyra 3T, three years old",
    "sub-elition": "Philips Elition X 3T, full face and neck",
    "sub-pumi": "Siemens Skyra 3T, 2 mm",
    "sub-utah": "with subdural electrodes",
    "sub-xa30": "Siemens XA30, strong bias field",
    "sub-hfs": "Siemens Prisma 3T, slices of 4.8 mm",
    "sub-hfp": "the same person, prone",
}
"""Heads that are not of IXI, and what each is."""

LEARNT = tuple(f"sub-{name}" for name in left_out.LEFT_OUT)
"""Heads that the embedded network has learnt from, and `left-out` has not."""

UNSEEN = (*LEARNT, "sub-ldh09", "sub-ldh10")
"""Heads of the three sources that `left-out` has not seen."""

READING = """\
`left-out` is trained as `benchmarks/left_out.py` says: without OpenfMRI ds000011, the Prisma
(`sub-rigs`) and MyConnectome. `embedded` has learnt from the heads of these three that are marked.
Neither has learnt from any other head of the table. `left-out` had 16 epochs after version 0.3.0,
its start, and `embedded` 66.
"""

STRIPPED = """\
The app recognizes these images and keeps every voxel that is not 0. The table has the results of
the networks alone. The voxels that they lose are at the edge of the brain.

"""

COMMAND = (
    "python benchmarks/unseen.py DATA --model embedded FILE FILE --masks FOLDER --colin FOLDER"
)


def sources(data: Path, colin: Path | None, masks: Path) -> list[tuple[heads.Head, str]]:
    """List the heads, with what each is; deepbet's mask of those without reference is in `masks`.

    Colin 27 has a second reference, its published brain.
    """
    found = [(heads.head(data / "heads", name), words) for name, words in SOURCES.items()]
    contrast = data / "contrast/sub-vs01/anat/sub-vs01_ce-gadolinium_T1w.nii.gz"
    further = [("sub-vs01", contrast, "with gadolinium, vestibular schwannoma", {})]
    if colin:
        published = {"published": colin / "ch2bet.nii.gz"}
        further.append(("Colin 27", colin / "ch2.nii.gz", "mean of 27 scans", published))
    for name, path, words, references in further:
        mask, _ = accuracy.peer_files(masks, "deepbet", name)
        found.append((heads.Head(name, path, {"deepbet": mask, **references}), words))
    return found


def stripped(data: Path) -> list[heads.Head]:
    """List the brains that were stripped before: each is its own reference, where it is not 0."""
    paths = sorted((data / "stripped").glob("sub-*/anat/*_T1w.nii.gz"))
    return [heads.Head(path.name.split("_")[0], path, {"itself": path}) for path in paths]


def dice(head: heads.Head, reference: str, model: registry.Model, network) -> float:
    """Compare a network's mask of a head with one of its references.

    The app keeps all of a brain that was stripped before; here the network has the word.
    """
    brain = extract(image.read(head.image), model, network, model.threshold)
    truth = image.read(head.references[reference]).volume.data != 0
    found = agreement.dice(cleanup.brain(brain.probability >= model.threshold).mask, truth)
    print(model.path or model.name, head.name, reference, f"{found:.4f}", flush=True)
    return found


def source_table(found: Sequence[tuple[heads.Head, str]], loaded: Sequence) -> str:
    """One row a head and reference, one column a model, and the summaries below."""
    rows: list[list[str]] = []
    scores: dict[str, list[float]] = {}
    for head, words in found:
        for reference in head.references:
            values = [dice(head, reference, *one) for one in loaded]
            learnt = "yes" if head.name in LEARNT else ""
            rows.append([head.name, words, learnt, reference, *map("{:.4f}".format, values)])
            if reference == "deepbet":
                scores[head.name] = values
    groups = {
        "the three sources": [s for name, s in scores.items() if name in UNSEEN],
        "the others": [s for name, s in scores.items() if name not in UNSEEN],
    }
    for group, some in groups.items():
        for name, function in (("median", np.median), ("minimum", np.min)):
            cells = [f"{value:.4f}" for value in function(some, axis=0)]
            rows.append([f"**{name}**", group, "", "deepbet", *cells])
    columns = ["head", "what it is", "`embedded` has learnt from it", "reference"]
    return document.table([*columns, *document.names(loaded)], rows)


def stripped_table(found: Sequence[heads.Head], loaded: Sequence) -> str:
    """One row a summary of the stripped brains, one column a model."""
    scores = [[dice(head, "itself", *one) for one in loaded] for head in found]
    rows = [
        [f"**{name}** of {len(found)}", *(f"{value:.4f}" for value in function(scores, axis=0))]
        for name, function in (("median", np.median), ("minimum", np.min))
    ]
    return document.table(["Dice with the voxels that are not 0", *document.names(loaded)], rows)


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=["embedded"])
    parser.add_argument("--colin", type=Path, metavar="FOLDER")
    parser.add_argument("--masks", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="Python with deepbet")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    found = sources(args.data, args.colin, args.masks)
    for head, _ in found:
        if not head.references["deepbet"].exists():
            accuracy.run_peer("deepbet", args.peers, head.image, head.references["deepbet"])
    models = [registry.resolve(name) for name in args.model]
    loaded = [(model, backends.load(model, "auto", args.threads)) for model in models]
    text = (
        "# Unseen sources\n\nBrain masks of heads from scanners, ages and fields of view that a "
        "network was not trained on, compared with reference masks by Dice.\n\n"
        f"{document.origin(COMMAND, loaded)}\n{READING}\n{source_table(found, loaded)}\n"
        f"## Skull-stripped brains\n\n{STRIPPED}{stripped_table(stripped(args.data), loaded)}"
    )
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
