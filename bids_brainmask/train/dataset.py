# SPDX-License-Identifier: Apache-2.0
"""Heads and their masks, read once, and batches of random windows drawn from them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import keras
import nibabel as nb
import numpy as np

from bids_brainmask.predict import scale_robustly
from bids_brainmask.train import augment


@dataclass(frozen=True)
class Head:
    """A head and its brain, on one grid."""

    participant: str
    image: np.ndarray  # (I, J, K) float32, scaled by predict.scale_robustly
    label: np.ndarray  # (I, J, K) float32, 0 or 1
    affine: np.ndarray  # (4, 4), to RAS+ mm
    weight: float  # how often it is drawn, relative to the others


def read_heads(bids_dir: Path, labels: str, split: str, favoured: dict[str, float]) -> list[Head]:
    """Read the heads of one split, in the order of participants.tsv.

    Parameters
    ----------
    bids_dir : Path
        A dataset whose participants.tsv has a column `split`.
    labels : str
        Folder under its derivatives/ with ``desc-brain_mask`` files.
    split : str
        Value of that column.
    favoured : dict of str to float
        How often a participant is drawn, relative to the others.
    """
    heads = []
    with (bids_dir / "participants.tsv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == split]
    for row in rows:
        name = row["participant_id"]
        image = nb.load(bids_dir / name / "anat" / f"{name}_T1w.nii.gz")
        mask = nb.load(
            bids_dir / "derivatives" / labels / name / "anat" / f"{name}_desc-brain_mask.nii.gz"
        )
        heads.append(
            Head(
                name,
                scale_robustly(image.get_fdata(dtype=np.float32)),
                (np.asanyarray(mask.dataobj) > 0).astype(np.float32),
                image.affine,
                favoured.get(name, 1.0),
            )
        )
    return heads


class Windows(keras.utils.PyDataset):
    """Batches of random windows: (N, I, J, K, 1) images and labels.

    A batch is a function of the seed and its number alone, whichever worker draws it.

    Parameters
    ----------
    heads : list of Head
    window : tuple of 3 int
        Voxels of 1 mm.
    batch, steps : int
        Windows a batch, batches an epoch.
    seed : int
    neck : float
        Share of the windows, in [0, 1], that look at the neck and the lower face.
    """

    def __init__(self, heads, window, batch, steps, seed, *, neck=0.0, **kwargs):
        super().__init__(**kwargs)
        self.neck = neck
        self.heads, self.window, self.batch, self.steps = heads, tuple(window), batch, steps
        self.seed, self.epoch = seed, 0
        self.share = np.array([head.weight for head in heads])
        self.share /= self.share.sum()
        self.middles = [
            (head.affine @ [*np.argwhere(head.label > 0).mean(0), 1])[:3] for head in heads
        ]

    def __len__(self):
        return self.steps

    def __getitem__(self, number):
        rng = np.random.default_rng([self.seed, self.epoch, number])
        examples = [self._example(rng) for _ in range(self.batch)]
        images, labels = (np.stack(values)[..., None] for values in zip(*examples, strict=True))
        return images, labels

    def on_epoch_end(self):
        """Go on to the next epoch's windows; Keras calls this."""
        self.epoch += 1

    def _example(self, rng):
        index = rng.choice(len(self.heads), p=self.share)
        head = self.heads[index]
        centre = self.middles[index] + rng.uniform(-45, 45, 3)
        if rng.random() < self.neck:
            centre[2] = self.middles[index][2] - rng.uniform(45, 130)
        image, label = augment.sample(
            head.image, head.label, head.affine, centre, self.window, rng
        )
        image, label = augment.strip(image, label, rng)
        image, label = augment.cut_field_of_view(image, label, rng)
        image = augment.degrade(image, rng)
        image = augment.recolour(image, rng)
        return scale_robustly(image), label
