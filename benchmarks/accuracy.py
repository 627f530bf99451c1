# SPDX-License-Identifier: Apache-2.0
"""Dice of a model's masks on the development heads, head by head, and a summary.

python benchmarks/accuracy.py ../shared/data/heads [--model embedded] [--markdown docs/FILE.md]
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from bids_brainmask import app, engine, image, metrics, registry, resources

REFERENCES = ("deepbet", "dlmuse")


def score(heads: Path, split: str, model: registry.Model, threads: int) -> list[dict]:
    """Dice with every reference there is, brain volume and seconds of each head of a split."""
    network = engine.load(model, "auto", threads)
    with (heads / "participants.tsv").open(newline="") as file:
        names = [
            row["participant_id"]
            for row in csv.DictReader(file, delimiter="\t")
            if row["split"] == split
        ]
    rows = []
    for name in names:
        started = time.perf_counter()
        source = image.read(heads / name / "anat" / f"{name}_T1w.nii.gz")
        brain = app.extract(source, model, network, model.threshold)
        row = {"head": name, "mL": f"{brain.volume_ml:.0f}"}
        row["seconds"] = f"{time.perf_counter() - started:.2f}"
        for reference in REFERENCES:
            path = heads.joinpath(
                "derivatives", reference, name, "anat", f"{name}_desc-brain_mask.nii.gz"
            )
            if path.exists():
                row[reference] = metrics.dice(brain.mask, image.read_mask(path))
        rows.append(row)
        print(row, flush=True)
    return rows


def table(rows: list[dict]) -> str:
    """Lay the scores out as Markdown, with the summary the published models give."""
    lines = ["| head | mL | Dice, deepbet | Dice, dlmuse |", "|---|---|---|---|"]
    for row in rows:
        cells = [f"{row[r]:.4f}" if r in row else "n/a" for r in REFERENCES]
        lines.append(f"| {row['head']} | {row['mL']} | {' | '.join(cells)} |")
    for name, function in (
        ("median", np.median),
        ("mean", np.mean),
        ("minimum", np.min),
        ("maximum", np.max),
    ):
        values = [[row[r] for row in rows if r in row] for r in REFERENCES]
        cells = [f"{function(v):.4f}" for v in values]
        lines.append(f"| **{name}** of {len(rows)} | | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    model = registry.resolve(args.model)
    text = table(score(args.heads, args.split, model, resources.cpus()))
    print(f"\n{model.name} {model.version}, SHA-256 {model.sha256}\n\n{text}")
    if args.markdown:
        args.markdown.write_text(text)


if __name__ == "__main__":
    main()
