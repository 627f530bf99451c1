# SPDX-License-Identifier: Apache-2.0
"""A training, from its configuration to the network that did best; a killed one goes on.

The output folder holds ``config.json``, the heads laid out, ``log.csv`` and ``tensorboard/``, the
last checkpoint and the best. A checkpoint's name says how many epochs it has seen, and that alone
decides where to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import msgspec

from bids_brainmask.errors import ModelError, UsageError
from bids_brainmask.models import registry, weights
from bids_brainmask.models.unet import fold_normalization, unet3d
from bids_brainmask.train import dataset, losses
from bids_brainmask.train.batches import Batches
from bids_brainmask.train.checkpoints import Record
from bids_brainmask.train.config import ARCHITECTURES, Config, Stage, network_of, remember
from bids_brainmask.train.dataset import Head
from bids_brainmask.train.samples import BlockSampler, Sampler
from bids_brainmask.train.sources import Sources, lay_out
from bids_brainmask.train.surgery import widen, with_normalization

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a training leaves."""

    model: keras.Model
    """The network of the best validation Dice, or the last where there is no validation."""

    learned: list[Head]
    kept: list[Head]
    """Heads of the validation."""

    record: Record


def train(config: Config, root: Path, out: Path, workers: int = 0) -> Trained:
    """Train, or go on training.

    Parameters
    ----------
    config : Config
    root : Path
        Folder that a relative ``bids_dir`` starts from.
    out : Path
        Folder of the training.
    workers : int
        Processes that make samples; 0: two threads of this one do. The samples are the same.

    Raises
    ------
    WorkerError
        A process that makes samples ended by itself.
    UsageError
        `out` holds another training, or the data cannot be used.
    ImageError
        A label does not fit its image.
    """
    remember(config, out)
    sources = lay_out(config, root, out)
    learned, kept = dataset.split(sources.heads, config.data.validation, config.seed)
    sources = replace(sources, heads=learned)
    maps = len(sources.label_maps)
    log.info(
        "%d heads and %d label maps to learn from, %d heads to validate on",
        *(len(learned), maps, len(kept)),
    )
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_global_policy(config.policy)
    loss = losses.loss_of(config.loss, config.crossentropy)
    record = Record(out, config.patience)
    model = record.last({"total": loss})
    for number, start, stage in remaining(config, record.epochs):
        if record.stopped:
            break
        some = sources.without(stage.exclude)
        if record.epochs == start:
            model = network(model, config, number, some)
        windows = batches(config, stage, some, config.seed + number, workers)
        if record.epochs == start:
            compile_for(model, stage, len(windows), loss)
        windows.epoch = record.epochs
        with windows.running():
            model.fit(
                windows,
                validation_data=checks(config, stage, kept),
                initial_epoch=record.epochs,
                epochs=start + stage.epochs,
                shuffle=False,  # else the order would depend on what ran before in the process
                verbose=0,
                callbacks=[record],
            )
    return Trained(record.best() or model, learned, kept, record)


def remaining(config: Config, done: int) -> Iterator[tuple[int, int, Stage]]:
    """List number, first epoch and value of each stage not over after some epochs."""
    start = 0
    for number, stage in enumerate(config.stages):
        if done < start + stage.epochs:
            yield number, start, stage
        start += stage.epochs


def batches(
    config: Config, stage: Stage, sources: Sources, seed: int, workers: int = 0
) -> Batches:
    """Batches of a stage, made while the network learns."""
    if stage.windows == "blocks":
        return Batches(BlockSampler(sources.heads, config, stage, seed), workers)
    return Batches(Sampler(config, stage, seed, **vars(sources)), workers)


def checks(config: Config, stage: Stage, heads: list[Head]) -> Batches | None:
    """Batches to validate on: the same in every epoch, and of heads as they are."""
    if not heads:
        return None
    count = -(-len(heads) // stage.batch)
    changes = {"variants": {}, "looks": 1, "neck": 0.0, "reach": 0.0, "synthetic": 0.0}
    plain = msgspec.structs.replace(stage, **changes, steps=count)
    if stage.windows == "blocks":
        return Batches(BlockSampler(heads, config, plain, config.seed, still=True))
    return Batches(Sampler(config, plain, config.seed, heads, still=True))


def network(
    before: keras.Model | None, config: Config, number: int, sources: Sources
) -> keras.Model:
    """Network that a stage begins with: of the stage before, or the weights to start from.

    Batch normalization that the stage wants, and they came without, is put in by the statistics
    of a few batches.

    Raises
    ------
    UsageError
        It is wanted for a network that is not ours, or is dead in a part.
    """
    stage = config.stages[number]
    wanted = network_of(config, stage)
    if before is None and not config.start:
        model = unet3d(wanted, normalize=stage.normalise)
        kernel, bias = model.get_layer("logits").get_weights()
        model.get_layer("logits").set_weights([kernel, bias - 1])  # most voxels are background
        return model
    model = started(config) if before is None else before
    there = network_of(config, config.stages[number - 1]) if number else wanted
    if there == wanted and has_normalization(model) == stage.normalise:
        return model
    if there is None:
        raise UsageError("stages: batch normalization cannot be put into a network of one's own.")
    arrays = fold_normalization(model, there)
    if there != wanted:
        arrays = widen(arrays, there, wanted, config.seed + number)
    plain = weights.into_keras(wanted, arrays)
    if not stage.normalise:
        return plain
    windows = batches(config, stage, sources, config.seed + number)
    return with_normalization(plain, wanted, [windows[n][0] for n in range(min(6, len(windows)))])


def started(config: Config) -> keras.Model:
    """Network with the weights that a training starts from.

    Raises
    ------
    ModelError, UsageError
        No such model, or of another architecture than asked for.
    """
    known = registry.resolve(config.start, allow_unverified=config.allow_unverified)
    path = known.path or registry.find(known.name)
    if known.architecture == "keras":
        if config.architecture != "keras":
            raise UsageError(f"start: {config.start} brings its own network: architecture: keras")
        return without_sigmoid(weights.load_keras(path), path)
    architecture = ARCHITECTURES[known.architecture]
    if architecture != network_of(config):
        raise UsageError(
            f"start: {config.start} holds weights of the network {known.architecture!r}, and the "
            f"architecture asked for is {config.architecture!r}. Ask for the same."
        )
    return weights.into_keras(architecture, weights.read(path, architecture))


def without_sigmoid(model: keras.Model, path: Path) -> keras.Model:
    """Have a model give logits, which the losses want."""
    if not weights.ends_in_sigmoid(model):
        return model
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.sigmoid:
        raise ModelError(
            f"{path}: ends in a sigmoid inside another model, and training wants logits. Save it "
            "without."
        )
    last.activation = keras.activations.linear
    return model


def has_normalization(model: keras.Model) -> bool:
    """Tell whether a network of `unet3d` has batch normalization."""
    return any(layer.name.endswith("_norm") for layer in model.layers)


def compile_for(model: keras.Model, stage: Stage, steps: int, loss) -> None:
    """Give a network the optimizer of a stage, the loss and the metrics."""
    first, last = stage.rate
    total = stage.epochs * steps
    rate = keras.optimizers.schedules.CosineDecay(
        first / 100,
        max(1, total - total // 20),
        alpha=last / first,
        warmup_target=first,
        warmup_steps=total // 20,
    )
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0),
        loss,
        metrics=[losses.dice, losses.jaccard],
        jit_compile=False,
    )
