# SPDX-License-Identifier: Apache-2.0
"""Dice of a model with the true mask of heads that are drawn from label maps, by contrast.

python benchmarks/label_maps.py DATA [--model embedded FILE ...] [--draws 50]
    [--maps head05 head10 head20] [--contrasts T1w FLAIR ...] [--recipe brain]
    [--markdown docs/label-maps.md]

DATA holds `label_maps`. Heads are drawn as `brainmask train` draws them for a recipe, whole ones
rather than patches. A draw is the same whatever else is drawn.
"""

import argparse
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import document
import nibabel as nb
import numpy as np
from no_heads import own_mask

from bids_brainmask.analyses.brain import extract
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.train import config, label_maps, synthesis
from bids_brainmask.voxels import agreement, image
from bids_brainmask.voxels.image import Volume

MAPS = ("head05", "head10", "head20")
"""Label maps that no recipe learns from."""

SHAPE = (224, 224, 224)
"""Voxels of 1 mm that are drawn: a large brain, however it is turned, and what is around it."""

MEDIAN, LEAST = 0.97, 0.93
"""Median and lowest Dice that are wanted in every contrast."""

COMMAND = "python benchmarks/label_maps.py DATA"

READING = """\
Every range is that of the recipe: turned, bent, thick slices, noise up to 30 %, fields of view
that end anywhere, defaced, stripped with a border, 8 bit. The true mask ends where the field of
view does. A head in which no brain is found counts as 0. The intensities of the contrasts are
priors, not measurements: real images are in [accuracy](accuracy.md).
"""


@dataclass(frozen=True)
class Draw:
    """A head that was drawn."""

    name: str
    contrast: str
    volume: Volume
    brain: np.ndarray  # (I, J, K) bool


@dataclass(frozen=True)
class Score:
    """How a model did on a draw."""

    name: str
    contrast: str
    dice: float


def draws(
    maps: Sequence[label_maps.LabelMap],
    table: label_maps.LabelTable,
    ranges: synthesis.Synthesis,
    contrasts: Sequence[str],
    count: int,
    shape: tuple[int, int, int] = SHAPE,
) -> Iterator[Draw]:
    """Draw heads of each contrast, of the label maps in turn."""
    for contrast in contrasts:
        for number in range(count):
            head = maps[number % len(maps)]
            rng = np.random.default_rng([zlib.crc32(contrast.encode()), number])
            how = (head, table, ranges, head.middle, shape, rng)
            data, label, _ = synthesis.draw(*how, contrast=contrast)
            seen = image.bounds(data != 0)
            if not seen or not (label[seen] >= 0.5).any():
                continue  # the field of view ends before the brain
            affine = np.eye(4)
            affine[:3, 3] = [side.start for side in seen]
            volume = Volume(np.ascontiguousarray(data[seen]), affine)
            yield Draw(f"{head.name}, draw {number}", contrast, volume, label[seen] >= 0.5)


def measure(draw: Draw, model: registry.Model, network: backends.Network) -> Score:
    """Compare a network's own mask with the true one; 0 where it finds no brain."""
    source = image.Source(draw.volume, nb.Nifti1Image(draw.volume.data, draw.volume.affine))
    try:
        found = extract(source, model, network, model.threshold)
    except ImageError:
        return Score(draw.name, draw.contrast, 0.0)
    return Score(draw.name, draw.contrast, agreement.dice(own_mask(found, model), draw.brain))


def summary(scores: Sequence[Score]) -> str:
    """One row a contrast."""
    rows = []
    for contrast in dict.fromkeys(one.contrast for one in scores):
        some = [one for one in scores if one.contrast == contrast]
        values = [one.dice for one in some]
        worst = min(some, key=lambda one: one.dice)
        figures = [f"{function(values):.4f}" for function in (np.median, np.mean, np.min)]
        under = sum(value < LEAST for value in values)
        reached = np.median(values) >= MEDIAN and not under
        row = [contrast, str(len(some)), *figures, worst.name, str(under)]
        rows.append([*row, "yes" if reached else "no"])
    columns = ["contrast", "draws", "median", "mean", "minimum", "worst", f"under {LEAST:g}"]
    return document.table([*columns, f"median {MEDIAN:g} and minimum {LEAST:g}"], rows)


def report(named: dict[str, Sequence[Score]], origin: str) -> str:
    """Write the whole document."""
    parts = [f"## {name}\n\n{summary(scores)}" for name, scores in named.items()]
    return (
        f"# Heads drawn from label maps\n\nDice with the true mask.\n\n{origin}\n{READING}\n"
        + "\n".join(parts)
    )


def lay_out(data: Path, names: Sequence[str], folder: Path):
    """Read some label maps, and the table of their labels."""
    source, table = data / "label_maps", label_maps.read_table()
    known = {path.name.split("_dseg.nii")[0] for path in source.glob("*_dseg.nii*")}
    return label_maps.lay_out(source, table, tuple(sorted(known - set(names))), folder), table


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=["embedded"])
    parser.add_argument("--draws", type=int, default=50, help="of each contrast")
    parser.add_argument("--maps", nargs="+", default=MAPS)
    parser.add_argument("--contrasts", nargs="+", help="all that have priors, if not given")
    parser.add_argument("--recipe", default="brain", help="a name or a YAML file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    ranges = config.read(args.recipe).synthesis
    contrasts = args.contrasts or [n for n, kind in ranges.contrasts.items() if kind.tissues]
    models = [registry.resolve(name, allow_unverified=True) for name in args.model]
    loaded = [(model, backends.load(model, "auto", args.threads)) for model in models]
    named: dict[str, list[Score]] = {}
    names = document.names(loaded)
    with tempfile.TemporaryDirectory() as folder:
        maps, table = lay_out(args.data, args.maps, Path(folder))
        for draw in draws(maps, table, ranges, contrasts, args.draws):
            for name, one in zip(names, loaded, strict=True):
                named.setdefault(name, []).append(score := measure(draw, *one))
                print(name, draw.contrast, draw.name, f"{score.dice:.4f}", flush=True)
    text = report(named, document.origin(f"{COMMAND} --draws {args.draws}", loaded))
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
