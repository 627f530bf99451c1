# SPDX-License-Identifier: Apache-2.0
"""Write the result of a training: the model for the app, its card, scores and curve."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import dataclass, fields
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
    entry = write_model(model, config, out)
    network = network_of_keras(model, entry)
    scores = [
        score(head, predict(head, network, entry, config), config)
        for head in trained.validation
        if head.image.exists()
    ]
    write_scores(scores, out / "scores.tsv")
    write_card(trained, config, entry, account(trained, scores), out)
    return entry


def write_model(model: keras.Model, config: Config, out: Path) -> registry.Model:
    """Write a network of `plain` and its registry entry."""
    export(model, config, out)
    entry = registry_entry(out / registry.OWN_FILE, config)
    (out / registry.OWN_TABLE).write_text(toml(entry), encoding="utf-8")
    return registry.resolve(out)


def write_card(
    trained: Trained, config: Config, entry: registry.Model, account: Account, out: Path
) -> None:
    """Write the card and the curve."""
    draw_curve(trained.record.rows, trained.record.best_epoch, out / "curve.png")
    (out / "README.md").write_text(card(trained, config, entry, account), encoding="utf-8")


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
        height=config.height,
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


def network_of_keras(model: keras.Model, entry: registry.Model) -> Network:
    """Make a network, as the app runs it, of a Keras model that returns logits."""

    def run(block: np.ndarray) -> np.ndarray:
        logits = model(block[None, ..., None], training=False)
        return keras.ops.convert_to_numpy(keras.ops.sigmoid(logits))[0, ..., 0]

    return Network(run, "keras", entry.divisor)


def predict(head: Head, network: Network, entry: registry.Model, config: Config) -> np.ndarray:
    """Mask that the app makes of an image, bool; no lesion is dropped for its distance."""
    found = probability_map(image.read(head.image), entry, network)
    mask = found >= config.threshold
    if config.task == "brain":
        return cleanup.brain(mask).mask
    return cleanup.with_peak(mask, found, config.peak) if config.peak else mask


def truth_of(head: Head, config: Config) -> np.ndarray:
    """Label of an image on its grid, bool."""
    return target_of(image.read_labels(head.labels).data, config.data)


def score(head: Head, mask: np.ndarray, config: Config) -> dict:
    """Dice of an image's label and a mask."""
    row = {"image": head.relative, "dice": agreement.dice(mask, truth_of(head, config))}
    log.info("%s: Dice %.4f", *row.values())
    return row


def write_scores(scores: list[dict], path: Path) -> None:
    """Write a table of the images that were held out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        header = list(scores[0]) if scores else ["image", "dice"]
        writer = csv.DictWriter(file, header, delimiter="\t")
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


@dataclass(frozen=True)
class Account:
    """Parts of the card that depend on how participants were held out."""

    split: str
    """Who was held out, in Markdown."""

    choice: str
    """How the number of epochs was chosen."""

    scores: str


def account(trained: Trained, scores: list[dict]) -> Account:
    """Tell of a training and its validation."""
    learned, kept = participants(trained.training), participants(trained.validation)
    best = trained.record.best_epoch
    return Account(
        "Split by participant:\n\n"
        f"- training ({len(learned)}): {', '.join(learned)}\n"
        f"- validation ({len(kept)}): {', '.join(kept) or 'none'}",
        f"of which {f'number {best} was chosen' if kept else 'the last was chosen'}",
        score_text(scores),
    )


def participants(heads: list[Head]) -> list[str]:
    """Participants of some heads, sorted."""
    return sorted({head.participant for head in heads})


def card(trained: Trained, config: Config, entry: registry.Model, account: Account) -> str:
    """Model card in Markdown (Mitchell et al. 2019, https://doi.org/10.1145/3287560.3287596)."""
    data, epochs = config.data, len(trained.record.rows)
    values = f"values {', '.join(map(str, data.values))}" if data.values else "all values but 0"
    sources = "".join(f"- {source}\n" for source in config.card.sources)
    start = f"The weights of `{config.start}`" if config.start else "Random weights"
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

{account.split}

## Training

{start}; loss {config.loss}, Adam, seed {config.seed}, {config.policy}; {epochs} epochs, \
{account.choice}. The whole configuration is in `config.json`.

{stage_table(config)}

bids_brainmask {bids_brainmask.__version__}, Keras {version("keras")} on {keras.backend.backend()}.

![Loss and Dice against epochs](curve.png)

## Scores

{account.scores}
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
    text = (
        f"Dice of {len(scores)} validation images: the label and the mask that the app makes; "
        f"{summary(scores)}. The epoch was chosen by these images; expect less on new ones."
    )
    return f"{text}\n\n{score_table(scores)}"


def summary(scores: list[dict]) -> str:
    """Median, mean and extremes of the Dice, in words."""
    values = [row["dice"] for row in scores]
    return (
        f"median {np.median(values):.4f}, mean {np.mean(values):.4f}, minimum {min(values):.4f}, "
        f"maximum {max(values):.4f}"
    )


def score_table(scores: list[dict]) -> str:
    """Table of the Dice of each image."""
    rows = [f"| {row['image']} | {row['dice']:.4f} |" for row in scores]
    return "\n".join(["| image | Dice |", "|---|---|", *rows])
