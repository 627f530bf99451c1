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


@dataclass(frozen=True)
class Stage:
    """A part of a training."""

    epochs: int
    window: tuple[int, int, int]
    """Voxels of 1 mm seen at once."""
    neck: float
    """Share of the windows that look at the neck and the lower face."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the result of a training, beside the data."""

    labels: str = "deepbet"
    """Folder under derivatives/ with the reference masks."""
    stages: tuple[Stage, ...] = (
        Stage(13, (128, 128, 128), 0.0),  # many small windows: tissue and edge
        Stage(14, (128, 128, 128), 0.35),  # what lies below and is no brain
        Stage(4, (160, 192, 160), 0.1),  # a whole brain and what surrounds it
    )
    steps: int = 100
    """Steps of an epoch."""
    batch: int = 2
    learning_rate: float = 2e-3
    """Of Adam; rises over a twentieth of the steps, then falls to nothing along a cosine."""
    seed: int = 20261123
    policy: str = "mixed_bfloat16"
    favoured: tuple[tuple[str, float], ...] = (("sub-adi", 22.0), ("sub-forrest", 22.0))
    """Participants drawn more often than the others: the few that come from another scanner."""


def compiled(recipe: Recipe):
    """Build the network with batch normalisation, and its optimiser."""
    model = unet3d(COMPACT, normalise=True)
    last_bias = np.full(1, -1.0, np.float32)  # three voxels in four are not brain
    kernel, _ = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, last_bias])
    steps = sum(stage.epochs for stage in recipe.stages) * recipe.steps
    warm_up = steps // 20
    rate = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 100,
        steps - warm_up,
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        dice_cross_entropy_loss,
        metrics=[dice],
        jit_compile=False,
    )
    return model


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
    model = (
        keras.models.load_model(
            checkpoint,
            custom_objects={"dice_cross_entropy_loss": dice_cross_entropy_loss, "dice": dice},
        )
        if done
        else compiled(recipe)
    )
    heads = read_heads(bids_dir, recipe.labels, "train", dict(recipe.favoured))
    log.info("%d heads, %d parameters, %d epochs done", len(heads), model.count_params(), done)
    end = 0
    for number, stage in enumerate(recipe.stages):
        end += stage.epochs
        if done >= end:
            continue
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
