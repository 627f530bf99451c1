# SPDX-License-Identifier: Apache-2.0
"""Write the result of a training: the model for the app, its card, scores and curve."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

import bids_brainmask
from bids_brainmask.analyses.probability import probability_map
from bids_brainmask.dataset import folders
from bids_brainmask.hashes import sha256
from bids_brainmask.models import registry
from bids_brainmask.models.backends import Network
from bids_brainmask.models.unet import KERAS, fold_normalization, unet3d
from bids_brainmask.settings import RESEARCH_ONLY
from bids_brainmask.train.config import Config, network_of
from bids_brainmask.train.dataset import Head, target_of
from bids_brainmask.train.fit import Trained
from bids_brainmask.voxels import agreement, cleanup, image, rows

log = logging.getLogger(__name__)


def write(trained: Trained, config: Config, out: Path) -> registry.Model:
    """Write ``model.keras``, ``model.toml``, ``scores.tsv``, ``curve.png`` and the card.

    Run it with ``bids-brainmask ... --model OUT``.

    Parameters
    ----------
    trained : Trained
    config : Config
    out : Path

    Returns
    -------
    registry.Model
    """
    model = plain(trained.model, config)
    export(model, config, out)
    entry = registry_entry(out / registry.OWN_FILE, config)
    (out / registry.OWN_TABLE).write_text(toml(entry), encoding="utf-8")
    entry = registry.resolve(out)
    scores = [
        score(head, model, entry, config) for head in trained.validation if head.image.exists()
    ]
    write_scores(scores, out / "scores.tsv")
    draw_curve(trained.record.rows, trained.record.best_epoch, out / "curve.png")
    text = card(trained, config, entry, scores)
    (out / "README.md").write_text(text, encoding="utf-8")
    return entry


def plain(model: keras.Model, config: Config) -> keras.Model:
    """Convert a network to full precision, and fold its batch normalization."""
    keras.mixed_precision.set_global_policy("float32")
    architecture = network_of(config)
    if architecture is None:
        return model
    found = unet3d(architecture)
    for name, array in _layers(fold_normalization(model, architecture)).items():
        found.get_layer(name).set_weights(array)
    return found


def _layers(weights: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Kernel and bias of each layer."""
    names = dict.fromkeys(key.split("/")[0] for key in weights)
    return {name: [weights[f"{name}/kernel"], weights[f"{name}/bias"]] for name in names}


def export(model: keras.Model, config: Config, out: Path) -> None:
    """Save a network for Keras, and one of `unet3d` also as named arrays in half precision."""
    model.save(out / registry.OWN_FILE)
    if architecture := network_of(config):
        arrays = fold_normalization(model, architecture)
        half = {name: array.astype(np.float16) for name, array in arrays.items()}
        np.savez_compressed(out / "weights.npz", allow_pickle=False, **half)


def registry_entry(path: Path, config: Config) -> registry.Model:
    """Registry entry of a trained model."""
    return registry.Model(
        name=config.name,
        version=f"{datetime.now(UTC):%Y%m%d}",
        task=config.task,
        file=path.name,
        size=path.stat().st_size,
        sha256=sha256(path),
        license=config.card.license,
        architecture=KERAS,
        grid=config.grid,
        intensities=config.intensities,
        block=rows.grid(config.grid).block,
        divisor=divisor(config),
        threshold=config.threshold,
        near_brain=config.near_brain,
        peak=config.peak,
        flips=config.flips,
        memory_gb=rows.grid(config.grid).memory_gb,
        citation=config.card.citation,
    )


def divisor(config: Config) -> int:
    """Get the number that divides every axis of the network's input."""
    architecture = network_of(config)
    return architecture.divisor if architecture else config.divisor


def toml(model: registry.Model) -> str:
    """Write a model as a table of the registry."""
    keys = (field.name for field in fields(model) if field.name not in ("name", "path"))
    lines = [f"{key} = {json.dumps(getattr(model, key), ensure_ascii=False)}" for key in keys]
    return "\n".join([f"[{json.dumps(model.name)}]", *lines]) + "\n"


def score(head: Head, model: keras.Model, entry: registry.Model, config: Config) -> dict:
    """Dice of a validation image's label and the mask that the app makes of the image."""

    def run(block: np.ndarray) -> np.ndarray:
        logits = model(block[None, ..., None], training=False)
        return keras.ops.convert_to_numpy(keras.ops.sigmoid(logits))[0, ..., 0]

    network = Network(run, "keras", entry.divisor)
    found = probability_map(image.read(head.image), entry, network) >= config.threshold
    if config.task == "brain":
        found = cleanup.brain(found).mask
    truth = target_of(image.read_labels(head.labels).data, config.data)
    row = {"image": head.relative, "dice": agreement.dice(found, truth)}
    log.info("%s: Dice %.4f", *row.values())
    return row


def write_scores(scores: list[dict], path: Path) -> None:
    """Write a table of the validation images."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "dice"], delimiter="\t")
        writer.writeheader()
        writer.writerows(scores)


def draw_curve(rows: list[dict], best: int, path: Path) -> None:
    """Draw loss and Dice against epochs, of training and validation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "dice"), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            points = [(row["epoch"] + 1, row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=label)
        axes.axvline(best, color="0.7", linewidth=1, zorder=0)
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend()
    figure.savefig(path, dpi=120)


def card(trained: Trained, config: Config, entry: registry.Model, scores: list[dict]) -> str:
    """Model card in Markdown (Mitchell et al. 2019, https://doi.org/10.1145/3287560.3287596)."""
    data, best, epochs = config.data, trained.record.best_epoch, len(trained.record.rows)
    learned, kept = (
        sorted({head.participant for head in heads})
        for heads in (trained.training, trained.validation)
    )
    values = f"values {', '.join(map(str, data.values))}" if data.values else "all values but 0"
    sources = "".join(f"- {source}\n" for source in config.card.sources)
    start = f"The weights of `{config.start}`" if config.start else "Random weights"
    choice = f"number {best} was chosen" if kept else "the last was chosen"
    return f"""\
# {entry.name}

`{entry.file}`, version {entry.version}, SHA-256 `{entry.sha256}`. License of the weights: \
{entry.license or "not stated"}.

## Intended use

{config.card.intended_use} {RESEARCH_ONLY} Task: {config.task}. Run it \
with `bids-brainmask BIDS_DIR OUTPUT_DIR participant --model DIR`, where DIR is this folder.

## Data

Images of {data_name(config)}; labels of `{data.labels}`, files that end in `{data.ending}`, \
{values}.

{sources or "Sources and licenses: not stated."}

Split by participant:

- training ({len(learned)}): {", ".join(learned)}
- validation ({len(kept)}): {", ".join(kept) or "none"}

## Training

{start}; loss {config.loss}, Adam, seed {config.seed}, {config.policy}; {epochs} epochs, of which \
{choice}. The whole configuration is in `config.json`.

{stage_table(config)}

bids_brainmask {bids_brainmask.__version__}, Keras {version("keras")} on {keras.backend.backend()}.

![Loss and Dice against epochs](curve.png)

## Scores

{score_text(scores)}
"""


def stage_table(config: Config) -> str:
    """Table of the stages."""
    rows = ["| stage | epochs | windows a step | learning rate |", "|---|---|---|---|"]
    for number, stage in enumerate(config.stages):
        size = "x".join(map(str, stage.window))
        rows.append(
            f"| {number + 1} | {stage.epochs} | {stage.batch} of {size}, {stage.windows} | "
            f"{stage.rate[0]:g} to {stage.rate[1]:g} |"
        )
    return "\n".join(rows)


def data_name(config: Config) -> str:
    """Name of a dataset from its description, else of its folder."""
    folder = Path(config.data.bids_dir)
    return str(folders.description(folder).get("Name") or folder.name)


def score_text(scores: list[dict]) -> str:
    """Summary of the validation, and each image."""
    if not scores:
        return "None: there was no validation."
    values = [row["dice"] for row in scores]
    lines = [
        f"Dice of {len(values)} validation images: the label and the mask that the app makes; "
        f"median {np.median(values):.4f}, mean {np.mean(values):.4f}, minimum {min(values):.4f}, "
        f"maximum {max(values):.4f}. The epoch was chosen by these images; expect less "
        "on new ones.",
        "",
        "| image | Dice |",
        "|---|---|",
        *(f"| {row['image']} | {row['dice']:.4f} |" for row in scores),
    ]
    return "\n".join(lines)
