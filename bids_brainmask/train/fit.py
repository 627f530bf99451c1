# SPDX-License-Identifier: Apache-2.0
"""Train the embedded brain network: ``python -m bids_brainmask.train.fit BIDS_DIR OUT``.

The folder OUT holds the last checkpoint and a CSV log; the same command continues from them after
a kill. Any Keras backend will do (``KERAS_BACKEND=torch`` is the fastest on a CPU).
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from bids_brainmask.network import COMPACT, fold_normalisation, unet3d
from bids_brainmask.train.dataset import Windows, read_heads
from bids_brainmask.train.losses import dice, dice_cross_entropy_loss

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a training, with an optimiser of its own."""

    epochs: int
    rate: tuple[float, float]
    """Learning rate of Adam, from and to, along a cosine; it rises over the first twentieth."""
    window: tuple[int, int, int] = (128, 128, 128)
    """Voxels of 1 mm seen at once."""
    neck: float = 0.0
    """Share of the windows that look at the neck and the lower face."""
    normalise: bool = True
    """Train with batch normalisation; once without, what it had learnt is folded in."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the result of a training, beside the data.

    Batch normalisation learns fast, and deceives: two windows a batch are normalised by their own
    statistics, and a head in use by the average ones. So the second half goes without.
    """

    labels: str = "deepbet"
    """Folder under derivatives/ with the reference masks."""
    stages: tuple[Stage, ...] = (
        Stage(epochs=13, rate=(2e-3, 1.3e-3)),  # tissue and edge
        Stage(epochs=12, rate=(1.3e-3, 2e-4), neck=0.35),  # what lies below and is no brain
        Stage(epochs=12, rate=(5e-4, 5e-5), neck=0.2, normalise=False),
        Stage(epochs=3, rate=(1e-4, 0.0), window=(160, 192, 160), normalise=False),
    )
    steps: int = 100
    """Steps of an epoch."""
    batch: int = 2
    seed: int = 20261123
    policy: str = "mixed_bfloat16"
    favoured: tuple[tuple[str, float], ...] = (("sub-adi", 22.0), ("sub-forrest", 22.0))
    """Participants drawn more often than the others: the few that come from another scanner."""


def network(normalise: bool, before=None):  # noqa: FBT001 - a stage's own field
    """Build the network of a stage, with the weights of the stage before."""
    if before is not None and normalise == has_normalisation(before):
        return before
    model = unet3d(COMPACT, normalise=normalise)
    if before is not None:
        model.set_weights(list(fold_normalisation(before, COMPACT).values()))
        return model
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, bias - 1])  # three voxels in four are no brain
    return model


def has_normalisation(model) -> bool:
    """Tell whether a network has batch normalisation."""
    return any(layer.name.endswith("_norm") for layer in model.layers)


def compile_for(model, stage: Stage, steps: int) -> None:
    """Give a network the optimiser, the loss and the metric of a stage."""
    first, last = stage.rate
    total = stage.epochs * steps
    rate = keras.optimizers.schedules.CosineDecay(
        first / 100,
        total - total // 20,
        alpha=last / first,
        warmup_target=first,
        warmup_steps=total // 20,
    )
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        dice_cross_entropy_loss,
        metrics=[dice],
        jit_compile=False,
    )


def epochs_done(log_file: Path) -> int:
    """Whole epochs that the CSV log holds."""
    if not log_file.exists():
        return 0
    with log_file.open(newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def train(bids_dir: Path, out: Path, recipe: Recipe) -> None:
    """Train, or go on training, and leave ``weights.npz`` and ``recipe.json`` in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_global_policy(recipe.policy)
    checkpoint, log_file = out / "checkpoint.keras", out / "log.csv"
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    done = epochs_done(log_file)
    model = None
    if done:
        custom = {"dice_cross_entropy_loss": dice_cross_entropy_loss, "dice": dice}
        model = keras.models.load_model(checkpoint, custom_objects=custom)
    heads = read_heads(bids_dir, recipe.labels, "train", dict(recipe.favoured))
    log.info("%d heads, %d epochs done", len(heads), done)
    end = 0
    for number, stage in enumerate(recipe.stages):
        start, end = end, end + stage.epochs
        if done >= end:
            continue
        model = network(stage.normalise, model)
        if done == start:
            compile_for(model, stage, recipe.steps)
        windows = Windows(
            heads,
            stage.window,
            recipe.batch,
            recipe.steps,
            recipe.seed + number,
            neck=stage.neck,
            workers=2,
            max_queue_size=6,
        )
        windows.epoch = done
        model.fit(
            windows,
            initial_epoch=done,
            epochs=end,
            shuffle=False,  # else the order would depend on what ran before in the process
            verbose=2,
            callbacks=[
                keras.callbacks.ModelCheckpoint(str(checkpoint)),
                keras.callbacks.CSVLogger(str(log_file), append=True),
            ],
        )
        done = end
    export(model, out / "weights.npz")


def export(model, path: Path) -> None:
    """Save the folded weights in half precision, by name."""
    weights = fold_normalisation(model, COMPACT)
    np.savez_compressed(path, **{name: w.astype(np.float16) for name, w in weights.items()})
    log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


def main(argv=None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(args.bids_dir, args.out, Recipe())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
