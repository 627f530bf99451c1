# SPDX-License-Identifier: Apache-2.0
"""Draw samples of a training into one picture, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bids_brainmask.train.config import Config
from bids_brainmask.train.samples import BlockSampler, Sampler
from bids_brainmask.train.sources import Sources

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 4
"""Samples side by side."""


def samples(config: Config, sources: Sources, count: int, path: Path) -> Path:
    """Draw the first samples of a training's first stage, three slices each, with their labels.

    Parameters
    ----------
    config : Config
    sources : Sources
    count : int
        Samples to draw.
    path : Path
        PNG to write.

    Returns
    -------
    Path
    """
    from matplotlib.figure import Figure

    stage = msgspec.structs.replace(config.stages[0], batch=1, looks=1)
    sampler: Sampler | BlockSampler
    if stage.windows == "blocks":
        sampler = BlockSampler(sources.heads, config, stage, config.seed)
    else:
        sampler = Sampler(config, stage, config.seed, **vars(sources))
    rows = -(-count // ACROSS)
    figure = Figure(figsize=(4.5 * ACROSS, 1.5 * rows), layout="constrained", facecolor="black")
    axes = figure.subplots(rows, 3 * ACROSS, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for number in range(count):
        image, label = (values[0, ..., 0] for values in sampler.batch(0, number))
        row, column = divmod(number, ACROSS)
        for axis in range(3):
            draw(axes[row, 3 * column + axis], image, label, axis)
    figure.savefig(path, dpi=100)
    return path


def draw(panel: Axes, image: np.ndarray, label: np.ndarray, axis: int) -> None:
    """Draw the middle slice along one axis, and the label's contour at 0.5."""
    middle = image.shape[axis] // 2
    panel.imshow(image.take(middle, axis).T, cmap="gray", vmin=0, vmax=1.3, origin="lower")
    outline = label.take(middle, axis).T
    if outline.min() < 0.5 < outline.max():
        panel.contour(outline, [0.5], colors="tab:red", linewidths=0.8)
