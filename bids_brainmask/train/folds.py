# SPDX-License-Identifier: Apache-2.0
"""Cross-validation by participant, and then one network that is trained on all.

The app runs one network, and a mean of weights is not sound: networks that were trained apart may
compute the same by other channels. So the networks of the folds give masks and scores of images
that they have not seen, and the number of epochs after which to stop; the model is trained on all
participants for the mean of these numbers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import msgspec
import numpy as np

import bids_brainmask
from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import derivatives, storage
from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry
from bids_brainmask.train import export, fit
from bids_brainmask.train.config import Config, remember
from bids_brainmask.train.dataset import Head
from bids_brainmask.train.sources import Sources, lay_out
from bids_brainmask.voxels import image, lesion_agreement, stem
from bids_brainmask.voxels.lesion_agreement import LesionAgreement

log = logging.getLogger(__name__)

MASKS = "out-of-fold"
"""Derivative dataset in the folder of a training: each mask is by a network that has not learned
from its participant."""

FOLDER = "fold-{}"
"""Folder of the training of a fold."""


@dataclass(frozen=True)
class Fold:
    """Result of the training without some participants."""

    participants: list[str]
    best_epoch: int
    scores: list[dict]
    lesions: list[LesionAgreement]
    """Of each image; empty for brains."""


def train(config: Config, root: Path, out: Path, workers: int = 0) -> registry.Model:
    """Train a network for each fold, and then the model on all; what is done is not done again.

    Parameters
    ----------
    config : Config
        With `folds`.
    root, out, workers
        As for `fit.train`.

    Returns
    -------
    registry.Model

    Raises
    ------
    UsageError
        There are fewer participants than folds; or as `fit.train`.
    WorkerError, ImageError
        As `fit.train`.
    """
    remember(config, out)
    sources = lay_out(config, root, out, workers)
    groups = divide(export.participants(sources.heads), config.folds, config.seed)
    describe(config, root, out / MASKS)
    found = []
    for number, group in enumerate(groups, 1):
        log.info("fold %d of %d, without %s", number, len(groups), ", ".join(group))
        found.append(train_fold(config, sources, number, group, out, workers))
    keras.utils.clear_session()
    log.info("training on all")
    final = of_all(config, found)
    trained = fit.learn(final, sources, [], out, workers)
    entry = export.write_model(export.plain(trained.model, final), final, out)
    export.write_scores([row for fold in found for row in fold.scores], out / "scores.tsv")
    export.write_card(trained, final, entry, account(found), out)
    return entry


def divide(participants: list[str], count: int, seed: int) -> list[list[str]]:
    """Divide participants at random into folds whose sizes differ by one at most.

    Raises
    ------
    UsageError
        There are fewer participants than folds.
    """
    if len(participants) < count:
        raise UsageError(
            f"folds: found {count} folds and {len(participants)} participants with labels "
            f"({', '.join(participants)}); expected a participant or more for each fold."
        )
    mixed = np.random.default_rng(seed).permutation(sorted(participants))
    return [sorted(part.tolist()) for part in np.array_split(mixed, count)]


def train_fold(
    config: Config, sources: Sources, number: int, group: list[str], out: Path, workers: int
) -> Fold:
    """Train without some participants, and make and score the masks of their images."""
    keras.utils.clear_session()
    folder = out / FOLDER.format(number)
    folder.mkdir(exist_ok=True)
    config = msgspec.structs.replace(config, name=f"{config.name}-fold{number}")
    kept = [head for head in sources.heads if head.participant in group]
    rest = replace(sources, heads=[head for head in sources.heads if head not in kept])
    trained = fit.learn(config, rest, kept, folder, workers)
    model = export.plain(trained.model, config)
    entry = export.write_model(model, config, folder)
    network = export.network_of_keras(model, entry)
    scores, lesions = [], []
    for head in (head for head in kept if head.image.exists()):
        path = out / MASKS / mask_name(head, config)
        if not path.exists():
            write_mask(export.predict(head, network, entry, config), head, path, entry)
        mask = image.read_mask(path)
        row = export.score(head, mask, config)
        scores.append({"image": row["image"], "fold": number, "dice": row["dice"]})
        if config.task != "brain":
            spacing, truth = image.read(head.image).volume.spacing, export.truth_of(head, config)
            lesions.append(lesion_agreement.lesion_agreement(mask, truth, spacing))
    return Fold(group, trained.record.best_epoch, scores, lesions)


def of_all(config: Config, found: list[Fold]) -> Config:
    """Cut the stages at the mean of the folds' epochs, for the training on all."""
    left = max(1, round(float(np.mean([fold.best_epoch for fold in found]))))
    stages = []
    for stage in config.stages:
        if left:
            epochs = min(left, stage.epochs)
            stages.append(msgspec.structs.replace(stage, epochs=epochs))
            left -= epochs
    return msgspec.structs.replace(config, stages=tuple(stages), folds=0, patience=0)


def mask_name(head: Head, config: Config) -> str:
    """Path of a head's mask in the dataset of masks, as the app names it."""
    path = Path(head.relative)
    prefix, _, suffix = stem(path.name).rpartition("_")
    row = catalog.output(catalog.analysis(config.task).main)
    return f"{path.parent.as_posix()}/{row.file(prefix, suffix)}"


def write_mask(mask: np.ndarray, head: Head, path: Path, entry: registry.Model) -> None:
    """Write a mask, bool on its image's grid, and its sidecar; the mask last."""
    record = {
        **catalog.output(catalog.analysis(entry.task).main).sidecar,
        "Sources": [f"bids:raw:{head.relative}"],
        "Parameters": {
            "Model": entry.name,
            "ModelSHA256": entry.sha256,
            "Threshold": entry.threshold,
        },
    }
    storage.write_json(storage.sidecar(path), record)
    file = image.mask_like(image.read(head.image), mask)
    storage.write_bytes(path, image.to_bytes(file, compress=True))


def describe(config: Config, root: Path, folder: Path) -> None:
    """Write the description of the dataset of masks."""
    made = {"Name": "bids_brainmask", "Version": bids_brainmask.__version__}
    content = {
        "Name": f"Out-of-fold masks of {config.name}",
        "BIDSVersion": derivatives.BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made],
        "DatasetLinks": derivatives.links(
            (root / config.data.bids_dir).resolve(), folder.resolve()
        ),
    }
    storage.write_json(folder / "dataset_description.json", content)
    storage.write_bytes(folder / ".bidsignore", derivatives.ignored().encode())
    text = "Each mask is by a network that has not learned from its participant.\n"
    storage.write_bytes(folder / "README.md", text.encode())


def account(found: list[Fold]) -> export.Account:
    """Tell of a cross-validation in the card."""
    lines = [
        f"- fold {number} ({len(fold.participants)}): {', '.join(fold.participants)}; best epoch "
        f"{fold.best_epoch}"
        for number, fold in enumerate(found, 1)
    ]
    return export.Account(
        "The model has learned from all participants. Before, each was held out once:\n\n"
        + "\n".join(lines),
        "the mean of the folds' best epochs",
        score_text(found),
    )


def score_text(found: list[Fold]) -> str:
    """Scores of all images out of fold."""
    scores = [row for fold in found for row in fold.scores]
    if not scores:
        return "None: the images were not there."
    text = (
        f"Dice of {len(scores)} images out of fold: the label and the mask by the network of the "
        f"fold that held the participant out; {export.summary(scores)}. The epoch of each network "
        f"was chosen by these images; expect less on new ones. The masks are in `{MASKS}`. The "
        "model itself has seen all of these images: its own masks of them prove nothing."
    )
    if cases := [case for fold in found for case in fold.lesions]:
        text += f"\n\n{lesion_text(cases)}"
    return f"{text}\n\n{export.score_table(scores)}"


def lesion_text(cases: list[LesionAgreement]) -> str:
    """Agreement of the lesions out of fold, in words."""
    rates = lesion_agreement.rates(cases)
    said = ", ".join(
        f"{name} {'n/a' if np.isnan(rates[key]) else f'{rates[key]:.3f}'}"
        for key, name in (("sensitivity", "sensitivity"), ("precision", "precision"), ("f1", "F1"))
    )
    dice, distance = (
        float(np.mean([getattr(case, key) for case in cases]))
        for key in ("brats_dice", "brats_hd95_mm")
    )
    return (
        f"Lesions, one to one by an intersection over union of "
        f"{lesion_agreement.MINIMUM_IOU:g} or more: {said} ({rates['reference']} in the labels, "
        f"{rates['prediction']} in the masks). By the rule of BraTS, means over images: Dice "
        f"{dice:.3f}, HD95 {distance:.1f} mm."
    )
