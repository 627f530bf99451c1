# SPDX-License-Identifier: Apache-2.0
"""Train a network as a configuration says; a training that was killed is resumed.

The output folder holds ``config.json``, the arrays of the heads, ``log.csv``, ``tensorboard/``,
and the last and the best checkpoint. The number of epochs in the last checkpoint's name alone
decides where training is resumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import keras
import msgspec

from bids_brainmask.analyses import catalog
from bids_brainmask.errors import ModelError, UsageError
from bids_brainmask.models import registry, unet, weights
from bids_brainmask.models.unet import Architecture, fold_normalization, unet3d
from bids_brainmask.train import dataset, losses
from bids_brainmask.train.batches import Batches
from bids_brainmask.train.checkpoints import Record
from bids_brainmask.train.config import Config, Stage, network_of, remember
from bids_brainmask.train.dataset import Head
from bids_brainmask.train.samples import BlockSampler, Sampler
from bids_brainmask.train.sources import Sources, lay_out
from bids_brainmask.train.surgery import widen, with_normalization, with_tissues

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """Result of a training."""

    model: keras.Model
    """Network of the epoch with the best validation Dice; of the last epoch without validation."""

    training: list[Head]
    validation: list[Head]

    record: Record


def train(config: Config, root: Path, out: Path, workers: int = 0) -> Trained:
    """Train, or resume a training.

    Parameters
    ----------
    config : Config
    root : Path
        Folder that a relative ``bids_dir`` starts from.
    out : Path
        Folder of the training.
    workers : int
        Processes that lay heads out and make samples; 0: this one, with two threads for the
        samples. The samples are the same.

    Raises
    ------
    WorkerError
        One of these processes ended unexpectedly.
    UsageError
        `out` holds another training, or the data cannot be used.
    ImageError
        A label does not fit its image.
    """
    remember(config, out)
    sources = lay_out(config, root, out, workers)
    training, validation = dataset.split(sources.heads, config.data.validation, config.seed)
    return learn(config, replace(sources, heads=training), validation, out, workers)


def learn(
    config: Config, sources: Sources, validation: list[Head], out: Path, workers: int = 0
) -> Trained:
    """Train on some sources, or resume it; parameters as for `train`.

    Raises
    ------
    WorkerError
        A process that makes samples ended unexpectedly.
    """
    training, maps = sources.heads, len(sources.label_maps)
    log.info(
        "training: %d heads and %d label maps; validation: %d heads",
        *(len(training), maps, len(validation)),
    )
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_global_policy(config.policy)
    loss = losses.loss_of(config.loss, config.crossentropy, config.tissues)
    record = Record(out, config.patience)
    model: Any = record.last({loss.__name__: loss})
    for number, start, stage in remaining(config, record.epochs):
        if record.stopped:
            break
        some = sources.without(stage.exclude)
        if record.epochs == start:
            model = stage_network(model, config, number, some)
            model = with_tissues(model) if config.tissues else model
        windows = batches(config, stage, some, config.seed + number, workers)
        if record.epochs == start:
            compile_for(model, stage, len(windows), loss)
        windows.epoch = record.epochs
        with windows.running():
            model.fit(
                windows,
                validation_data=validation_batches(config, stage, validation),
                initial_epoch=record.epochs,
                epochs=start + stage.epochs,
                shuffle=False,  # otherwise the order depends on what ran before in the process
                verbose=0,
                callbacks=[record],
            )
    return Trained(record.best() or model, training, validation, record)


def remaining(config: Config, done: int) -> Iterator[tuple[int, int, Stage]]:
    """Yield number, first epoch and value of each stage that is not finished."""
    start = 0
    for number, stage in enumerate(config.stages):
        if done < start + stage.epochs:
            yield number, start, stage
        start += stage.epochs


def batches(
    config: Config, stage: Stage, sources: Sources, seed: int, workers: int = 0
) -> Batches:
    """Batches of a stage; they are made while the network trains."""
    if stage.windows == "blocks":
        return Batches(BlockSampler(sources.heads, config, stage, seed), workers)
    return Batches(Sampler(config, stage, seed, **vars(sources)), workers)


def validation_batches(config: Config, stage: Stage, heads: list[Head]) -> Batches | None:
    """Batches for validation: the same in every epoch, of unchanged heads."""
    if not heads:
        return None
    count = -(-len(heads) // stage.batch)
    changes = {"variants": {}, "looks": 1, "neck": 0.0, "reach": 0.0, "synthetic": 0.0}
    plain = msgspec.structs.replace(stage, **changes, steps=count)
    if stage.windows == "blocks":
        return Batches(BlockSampler(heads, config, plain, config.seed, still=True))
    return Batches(Sampler(config, plain, config.seed, heads, still=True))


def stage_network(
    before: keras.Model | None, config: Config, number: int, sources: Sources
) -> keras.Model:
    """Network at the start of a stage: that of the stage before, or the initial one.

    If the stage has batch normalization and the network has none, it is added with the
    statistics of a few batches.

    Raises
    ------
    UsageError
        Batch normalization cannot be added: the network is not one of `unet3d`, or one of its
        convolutions is constant.
    """
    stage = config.stages[number]
    wanted = network_of(config, stage)
    if before is None and not config.start:
        model = unet3d(cast("Architecture", wanted), normalize=stage.normalise)
        kernel, bias = model.get_layer("logits").get_weights()
        model.get_layer("logits").set_weights([kernel, bias - 1])  # most voxels are background
        return model
    model = initial_network(config) if before is None else before
    there = network_of(config, config.stages[number - 1]) if number else wanted
    if there == wanted and has_normalization(model) == stage.normalise:
        return model
    if there is None or wanted is None:
        raise UsageError(
            "stages: normalise: batch normalization cannot be added to a Keras model of your own. "
            "Leave normalise out."
        )
    arrays = fold_normalization(model, there)
    if there != wanted:
        arrays = widen(arrays, there, wanted, config.seed + number)
    plain = weights.into_keras(wanted, arrays)
    if not stage.normalise:
        return plain
    windows = batches(config, stage, sources, config.seed + number)
    return with_normalization(plain, wanted, [windows[n][0] for n in range(min(6, len(windows)))])


def start_of(config: Config) -> tuple[registry.Model, Path]:
    """Model whose weights are the `start`, and its file.

    Raises
    ------
    ModelError
        There is no such model, or its file is not at hand.
    """
    known = catalog.analysis("brain").model(config.start, allow_unverified=config.allow_unverified)
    return known, known.path or registry.find(known.name)


def initial_network(config: Config) -> keras.Model:
    """Network with the weights given as `start`.

    Raises
    ------
    ModelError, UsageError
        There is no such model, or its architecture is another one.
    """
    known, path = start_of(config)
    architecture = unet.named(known.architecture).architecture
    if architecture is None:
        if config.architecture != unet.KERAS:
            raise UsageError(
                f"start: {config.start} is a whole Keras model; found architecture: "
                f"{config.architecture!r}, expected keras"
            )
        return without_sigmoid(weights.load_keras(path), path)
    if architecture != network_of(config):
        raise UsageError(
            f"start: {config.start} holds weights of the network {known.architecture!r}; found "
            f"architecture: {config.architecture!r}. Give the same architecture."
        )
    return weights.into_keras(architecture, weights.read(path, architecture))


def without_sigmoid(model: keras.Model, path: Path) -> keras.Model:
    """Make a model return logits, which the losses need."""
    if not weights.ends_in_sigmoid(model):
        return model
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.sigmoid:
        raise ModelError(
            f"{path}: ends in a sigmoid inside another model; training needs logits. Save the "
            "model without the sigmoid."
        )
    last.activation = keras.activations.linear
    return model


def has_normalization(model: keras.Model) -> bool:
    """Whether a network of `unet3d` has batch normalization."""
    return any(layer.name.endswith("_norm") for layer in model.layers)


def compile_for(model: keras.Model, stage: Stage, steps: int, loss: Callable) -> None:
    """Compile a network with the optimizer of a stage, the loss and the metrics."""
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
