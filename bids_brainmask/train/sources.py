# SPDX-License-Identifier: Apache-2.0
"""Data of a training, real heads and label maps, as arrays in its folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bids_brainmask.train import dataset, label_maps
from bids_brainmask.train.config import Config
from bids_brainmask.train.dataset import Head
from bids_brainmask.train.label_maps import LabelMap, LabelTable


@dataclass(frozen=True)
class Sources:
    """Heads and label maps whose arrays are written."""

    heads: list[Head]
    label_maps: list[LabelMap]
    table: LabelTable | None

    def without(self, participants: tuple[str, ...]) -> Sources:
        """Leave out some participants, and label maps of these names."""
        heads = [head for head in self.heads if head.participant not in participants]
        maps = [head for head in self.label_maps if head.name not in participants]
        return replace(self, heads=heads, label_maps=maps)


def lay_out(config: Config, root: Path, out: Path, workers: int = 0) -> Sources:
    """Read images and label maps into the folder of a training, unless they are there.

    Raises
    ------
    UsageError, ImageError, WorkerError
        As `dataset.lay_out` and `label_maps.lay_out`.
    """
    heads = dataset.lay_out(config, root, out / "heads", workers)
    if not (asked := config.label_maps):
        return Sources(heads, [], None)
    table = label_maps.read_table(root / asked.table if asked.table else None)
    folder = out / "label_maps"
    maps = label_maps.lay_out(root / asked.folder, table, asked.exclude, folder, workers)
    return Sources(heads, maps, table)
