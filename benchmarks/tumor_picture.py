# SPDX-License-Identifier: Apache-2.0
"""A picture of synthetic heads with tumors, cut where the largest tumor is widest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage
from tumor_cases import TOUCHING, Case


def view(case: Case, predicted: np.ndarray) -> list[tuple]:
    """Cut a case, axially and coronally, where its largest true lesion is widest.

    Each cut is image, truth, prediction, (across, up), and the height of a voxel over its width.
    """
    pieces, _ = ndimage.label(case.truth, TOUCHING)
    largest = pieces == np.bincount(pieces[case.truth]).argmax()
    cuts = []
    for axis in (2, 1):
        place = list(case.box)
        place[axis] = int(largest.sum(tuple({0, 1, 2} - {axis})).argmax())
        across, up = np.delete(case.image.spacing, axis)
        parts = (part[tuple(place)].copy() for part in (case.image.data, case.truth, predicted))
        cuts.append((*parts, float(up / across)))
    return cuts


def draw(views: Sequence[tuple[str, list[tuple]]], name: str, path: Path) -> None:
    """Draw cases with their titles, four in a row: a PNG 1600 pixels wide, of 256 colours."""
    from matplotlib.figure import Figure
    from PIL import Image

    rows = -(-len(views) // 4)
    figure = Figure((16, 2.75 * rows + 0.3), dpi=100, facecolor="#101014", layout="constrained")
    panels = figure.subplots(rows, 8, squeeze=False).reshape(-1, 2)
    for axes in panels.ravel():
        axes.set_axis_off()
    for pair, (title, cuts) in zip(panels, views, strict=False):
        pair[0].set_title(title, color="white", fontsize=11, loc="left")
        for axes, (data, truth, predicted, aspect) in zip(pair, cuts, strict=True):
            bright = {"vmin": 0, "vmax": max(float(np.percentile(data, 99)), 1e-3)}
            options = {"origin": "lower", "aspect": aspect, "interpolation": "bilinear"}
            axes.imshow(data.T, cmap="gray", **bright, **options)
            for mask, colour in ((truth, "#ff4040"), (predicted, "#30e8ff")):
                if mask.any() and not mask.all():
                    axes.contour(mask.T, [0.5], colors=colour, linewidths=1)
    words = f"red: truth   cyan: {name}   synthetic tumors; left is left"
    figure.supxlabel(words, color="white", fontsize=11)
    figure.savefig(path, format="png")
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
    small.save(path, format="PNG", optimize=True)
