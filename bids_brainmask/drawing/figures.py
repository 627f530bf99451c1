# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks over their image, as bytes of WebP, and the volumes of a 3D viewer.

How heads are cut and turned is said in `bids_brainmask.drawing.slices`: left is left. The same
values give the same bytes, whatever Matplotlib's settings and the fonts of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_brainmask.drawing import slices
from bids_brainmask.drawing.pen import (
    ALARM,
    BRAIN,
    FAINT,
    PLAIN,
    TUMOR,
    Outline,
    Words,
    band_colors,
    draw,
    webp,
)
from bids_brainmask.drawing.slices import Frame, Sheet
from bids_brainmask.voxels import UNCERTAIN
from bids_brainmask.voxels.image import Volume

PAGE = Frame(width=1480, shortest=0, tallest=1600, header=36, caption=22, gap=6)
THUMBNAIL = Frame(width=240, shortest=80, tallest=80, header=0, caption=0, gap=2)

MOSAIC_BYTES, UNCERTAINTY_BYTES, TUMORS_BYTES, THUMBNAIL_BYTES = 250_000, 180_000, 150_000, 6_000
"""Most that each picture takes: one of much noise is stored at a lower quality to that end."""

DIMMED = 0.8
"""How bright the image is under the colors of the band."""

SHOWN = 5
"""Lesions that a picture shows at most."""

Line = Sequence[Sequence[float]]
"""Two end points, mm, RAS+."""

SIDES = ("PASI", "LRSI", "LRAP")
"""Left, right, top and bottom of a cut across the axes R, A and S."""

LEFT = ("left is left", FAINT)
"""Says how heads are turned, and in which color."""


def mosaic(volume: Volume, mask: np.ndarray, *, title: str = "") -> bytes:
    """Draw a mask's outline on axial, coronal and sagittal cuts all over it.

    Parameters
    ----------
    volume : Volume
        Finite intensities, axes in any order and direction.
    mask : (I, J, K) bool array
        May be empty: then the cuts go over the head, and the picture says so.
    title : str
        Any text, shown literally in one line.

    Returns
    -------
    bytes
        WebP, ``PAGE.width`` pixels wide, at most `MOSAIC_BYTES`.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    view, (mask,) = slices.look(volume, mask)
    page = slices.lay_out(view, [view.spread(2, 9), view.spread(1, 9), view.spread(0, 7)], PAGE)
    key = [LEFT, _of_brain(mask)]
    picture = draw(page, page.colors(), [Outline(mask, BRAIN)], _captions(page), key, title)
    return webp(picture, MOSAIC_BYTES)


def uncertainty(
    volume: Volume, mask: np.ndarray, probability: np.ndarray, *, title: str = ""
) -> bytes:
    """Color the voxels whose probability of brain is in `UNCERTAIN`, under the mask's outline.

    Parameters
    ----------
    volume, mask, title
        As in `mosaic`.
    probability : (I, J, K) float array
        Of brain, in [0, 1].

    Returns
    -------
    bytes
        WebP, ``PAGE.width`` pixels wide, at most `UNCERTAINTY_BYTES`.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    view, (mask, probability) = slices.look(volume, mask, probability)
    page = slices.lay_out(view, [view.spread(2, 6), view.spread(1, 6), view.spread(0, 5)], PAGE)
    colors = (page.colors() * np.float32(DIMMED)).astype(np.uint8)
    # Voxel by voxel: interpolated, a step from 0 to 1 would pass through the band.
    found = page.compose(probability, np.float32, "NEAREST")
    unsure = (found > UNCERTAIN[0]) & (found < UNCERTAIN[1])
    colors[unsure] = band_colors(found[unsure])
    line, start, end = PAGE.header // 2, PAGE.width - 200, PAGE.width - 46
    colors[line - 6 : line + 6, start:end] = band_colors(np.linspace(*UNCERTAIN, end - start))
    words = [*_captions(page), Words(f"{UNCERTAIN[1]:g}", end + 8, line, PLAIN, "left")]
    key = [
        LEFT,
        _of_brain(mask),
        (f"probability of brain, where uncertain: {UNCERTAIN[0]:g}", PLAIN),
    ]
    outline = Outline(mask, BRAIN, width=0.7)  # thin: the band lies along it
    picture = draw(page, colors, [outline], words, key, title, start - 8)
    return webp(picture, UNCERTAINTY_BYTES)


def tumors(
    volume: Volume,
    tumor: np.ndarray,
    brain: np.ndarray | None,
    lesions: Sequence[tuple[Sequence[float], str]],
    *,
    diameters: Sequence[Sequence[Line]] = (),
    title: str = "",
) -> bytes:
    """Draw the outlines of candidate lesions, and of the brain, on three cuts through each.

    Parameters
    ----------
    volume, title
        As in `mosaic`.
    tumor : (I, J, K) bool array
    brain : (I, J, K) bool array or None
    lesions : sequence of (place, name)
        Places in mm, RAS+, through which they are cut; the largest lesion first, five at most.
        None: the picture says so, and shows the middle of the brain, or of the head.
    diameters : sequence of sequence of line
        For each lesion, lines to draw on its axial cut: two end points each, mm, RAS+.

    Returns
    -------
    bytes
        WebP, ``PAGE.width`` pixels wide, at most `TUMORS_BYTES`.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    masks = [tumor] if brain is None else [tumor, brain]
    slices.check_shapes(volume, *masks)
    view, (_, *masks) = slices.look(volume, np.any(masks, axis=0), *masks)
    key = [LEFT, ("━ candidate lesion", TUMOR), *map(_of_brain, masks[1:])]
    if lesions:
        rows = [view.through(*one) for one in lesions[:SHOWN]]
        if len(lesions) > SHOWN:
            key.insert(0, (f"and {len(lesions) - SHOWN} more, not shown", ALARM))
    else:
        rows = [view.middle()]
        key[1] = ("no candidate lesion", PLAIN)
    page = slices.lay_out(view, rows, PAGE)
    outlines = [*(Outline(mask, BRAIN, 1.0) for mask in masks[1:]), Outline(masks[0], TUMOR, 1.6)]
    axial = [panel for panel in page.panels if panel.first]
    pairs = zip(axial, diameters, strict=False)
    drawn = [page.line(panel, ends) for panel, lines in pairs for ends in lines]
    picture = draw(page, page.colors(), outlines, _captions(page), key, title, lines=drawn)
    return webp(picture, TUMORS_BYTES)


def thumbnail(volume: Volume, mask: np.ndarray) -> bytes:
    """Draw the mask's outline on one cut across each axis, small and without words.

    Parameters
    ----------
    volume, mask
        As in `mosaic`.

    Returns
    -------
    bytes
        WebP of the `THUMBNAIL`'s size, at most `THUMBNAIL_BYTES`.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    view, (mask,) = slices.look(volume, mask)
    page = slices.lay_out(view, [view.middle()], THUMBNAIL)
    return webp(draw(page, page.colors(), [Outline(mask, BRAIN, 0.9)]), THUMBNAIL_BYTES)


def lesion_thumbnail(
    volume: Volume,
    mask: np.ndarray,
    counted: np.ndarray,
    others: np.ndarray,
    place: Sequence[float] | None,
) -> bytes:
    """Draw a thumbnail with the outlines of the brain and of candidate lesions.

    Parameters
    ----------
    volume, mask
        As in `mosaic`.
    counted, others : (I, J, K) bool array
        Candidate lesions that count, and those that do not.
    place : sequence of float or None
        Through which it is cut, mm, RAS+; None: through the middle.

    Returns
    -------
    bytes
        WebP of the `THUMBNAIL`'s size, at most `THUMBNAIL_BYTES`.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    slices.check_shapes(volume, mask, counted, others)
    view, (_, *masks) = slices.look(volume, mask | counted | others, mask, others, counted)
    cuts = view.middle() if place is None else view.through(place, "")
    page = slices.lay_out(view, [cuts], THUMBNAIL)
    pens = ((BRAIN, 0.9), (ALARM, 1.1), (TUMOR, 1.1))
    outlines = [Outline(each, *pen) for each, pen in zip(masks, pens, strict=True)]
    return webp(draw(page, page.colors(), outlines), THUMBNAIL_BYTES)


def viewer(
    volume: Volume, mask: np.ndarray, tumor: np.ndarray | None, *, margin_mm: float = 12.0
) -> tuple[Volume, Volume]:
    """Cut out what a viewer needs to show: the masks, or the head where they are empty.

    Parameters
    ----------
    volume, mask
        As in `mosaic`.
    tumor : (I, J, K) bool array or None
    margin_mm : float
        Kept around the masks, as far as the image goes.

    Returns
    -------
    image, labels : Volume
        uint8, along the image's own axes. Intensities from black to white as in the pictures;
        1 in the brain, 2 in a meningioma, inside the brain or not, and 0 elsewhere.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    masks = [mask] if tumor is None else [mask, tumor]
    slices.check_shapes(volume, *masks)
    box = slices.widen(slices.around(volume, np.any(masks, axis=0)), volume, margin_mm)
    affine = volume.affine.copy()
    affine[:3, 3] = affine[:3] @ [*(side.start for side in box), 1]
    labels = mask[box].astype(np.uint8)
    if tumor is not None:
        labels[tumor[box]] = 2
    gray = slices.gray(volume.data[box], slices.window(volume, box))
    return Volume(gray, affine), Volume(labels, affine)


def _of_brain(mask: np.ndarray) -> tuple[str, str]:
    """Explain the outline of a brain, in its color."""
    return ("━ brain mask", BRAIN) if mask.any() else ("empty mask", ALARM)


def _captions(page: Sheet) -> list[Words]:
    """Say where each cut is, and the sides of the first of each row."""
    words = []
    for panel in page.panels:
        across, down = panel.x + panel.width / 2, panel.y + panel.height / 2
        right, bottom = panel.x + panel.width, panel.y + panel.height
        below = bottom + page.frame.caption / 2
        words.append(Words(panel.cut.caption, across, below, width=panel.width))
        if panel.first:
            places: list[tuple[float, float]] = [(panel.x + 9, down), (right - 9, down)]
            places += [(across, panel.y + 10), (across, bottom - 10)]
            for side, place in zip(SIDES[panel.cut.axis], places, strict=True):
                words.append(Words(side, *place, ALARM, ground=0.69))
    return words
