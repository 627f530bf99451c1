# SPDX-License-Identifier: Apache-2.0
"""Record of a training after each epoch: a log, scalars for TensorBoard, checkpoints."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import keras

from bids_brainmask.train import losses

log = logging.getLogger(__name__)

CHECKPOINT = re.compile(r"checkpoint-(\d+)\.keras")


class Record(keras.callbacks.Callback):
    """Record each epoch, so that a killed training is resumed after its last checkpoint.

    The row of the log is written first, then the checkpoint under its final name. A row without
    its checkpoint is dropped at the next start.

    Parameters
    ----------
    out : Path
        Folder of the training.
    patience : int
        Epochs without a better validation Dice after which to stop; 0: never.
    """

    def __init__(self, out: Path, patience: int):
        super().__init__()
        self.out, self.patience = out, patience
        self.log_file = out / "log.csv"
        self.epochs = max(self._checkpoints(), default=0)
        self.rows = self._read()[: self.epochs]
        self._write()

    def _checkpoints(self) -> dict[int, Path]:
        names = ((CHECKPOINT.fullmatch(path.name), path) for path in self.out.glob("*.keras"))
        return {int(name[1]): path for name, path in names if name}

    def _read(self) -> list[dict[str, float]]:
        if not self.log_file.exists():
            return []
        with self.log_file.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(v) for key, v in row.items()} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]

    def _write(self) -> None:
        if not self.rows:
            self.log_file.unlink(missing_ok=True)
            return
        temporary = self.log_file.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.log_file)

    @property
    def stopped(self) -> bool:
        """Whether the validation Dice has not improved for `patience` epochs."""
        return bool(self.patience) and len(self.rows) - self.best_epoch > self.patience

    @property
    def best_epoch(self) -> int:
        """Epoch, from 1, of the best validation Dice; the last one without validation."""
        scores = [row["val_dice"] for row in self.rows if "val_dice" in row]
        return 1 + scores.index(max(scores)) if scores else len(self.rows)

    def last(self, custom: dict) -> keras.Model | None:
        """Load the last checkpoint with its optimizer; None if there is none."""
        found = self._checkpoints()
        if not found:
            return None
        log.info("resuming after %d epochs", self.epochs)
        custom = {**custom, **vars(losses)}
        return keras.models.load_model(found[self.epochs], custom_objects=custom)

    def best(self) -> keras.Model | None:
        """Load the network of the best validation Dice; None without validation."""
        path = self.out / "best.keras"
        return keras.models.load_model(path, compile=False) if path.exists() else None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Record an epoch; Keras calls this."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch, **values})
        log.info("epoch %d: %s", epoch + 1, ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
        self._write()
        self._scalars(epoch, values)
        if "val_dice" in values and self.best_epoch == len(self.rows):
            self._save(self.out / "best.keras")
        older = self._checkpoints().values()
        self.epochs = epoch + 1
        self._save(self.out / f"checkpoint-{self.epochs:04d}.keras")
        for path in older:
            path.unlink()
        if self.stopped:
            log.info("no better validation Dice in %d epochs: training stops", self.patience)
            self.model.stop_training = True

    def _save(self, path: Path) -> None:
        temporary = path.with_name(f"partial-{path.name}")
        self.model.save(temporary)
        temporary.replace(path)

    def _scalars(self, epoch: int, values: dict[str, float]) -> None:
        from tensorboardX import SummaryWriter

        with SummaryWriter(str(self.out / "tensorboard"), purge_step=epoch) as writer:
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)
