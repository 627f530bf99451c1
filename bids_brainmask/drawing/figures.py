# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks over their image, as bytes of WebP, and the volumes of a 3D viewer.

How heads are cut and turned is said in `bids_brainmask.drawing.slices`: left is left. The same
values give the same bytes, whatever Matplotlib's settings and the fonts of the machine.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_brainmask.drawing import slices
from bids_brainmask.drawing.slices import Frame, Sheet
from bids_brainmask.voxels import UNCERTAIN
from bids_brainmask.voxels.image import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = Frame(width=1480, shortest=0, tallest=1600, header=36, caption=22, gap=6)
THUMBNAIL = Frame(width=240, shortest=80, tallest=80, header=0, caption=0, gap=2)

MOSAIC_BYTES, UNCERTAINTY_BYTES, TUMORS_BYTES, THUMBNAIL_BYTES = 250_000, 150_000, 150_000, 6_000
"""Most that each picture takes: one of much noise is stored at a lower quality to that end."""

QUALITIES = (84, 75, 60, 45, 30, 15, 5, 0)
"""Of WebP, from the one wanted down."""

BRAIN, TUMOR = "#00e5ff", "#ff5a1f"
PLAIN, FAINT, ALARM = "#f0f2f5", "#a8b0bb", "#ffc21a"
"""Colors of outlines and of words."""

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

MISSING = "\N{WHITE SQUARE}"
"""Stands for a letter that the font lacks."""


@dataclass(frozen=True)
class Outline:
    """A mask whose outline is drawn."""

    mask: np.ndarray  # (I, J, K) bool, along the view's axes
    color: str
    width: float = 1.2  # pixels


@dataclass(frozen=True)
class Words:
    """A line of text."""

    text: str
    x: float  # pixels from the top left
    y: float
    color: str = FAINT
    align: str = "center"
    width: float = np.inf  # pixels at most: a longer one loses its middle
    ground: str = "none"  # color behind it


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
    picture = _draw(page, page.colors(), [Outline(mask, BRAIN)], _captions(page), key, title)
    return _webp(picture, MOSAIC_BYTES)


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
    colors[unsure] = _band_colors(found[unsure])
    line, start, end = PAGE.header // 2, PAGE.width - 200, PAGE.width - 46
    colors[line - 6 : line + 6, start:end] = _band_colors(np.linspace(*UNCERTAIN, end - start))
    words = [*_captions(page), Words(f"{UNCERTAIN[1]:g}", end + 8, line, PLAIN, "left")]
    key = [
        LEFT,
        _of_brain(mask),
        (f"probability of brain, where uncertain: {UNCERTAIN[0]:g}", PLAIN),
    ]
    outline = Outline(mask, BRAIN, width=0.7)  # thin: the band lies along it
    picture = _draw(page, colors, [outline], words, key, title, start - 8)
    return _webp(picture, UNCERTAINTY_BYTES)


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
    picture = _draw(page, page.colors(), outlines, _captions(page), key, title, lines=drawn)
    return _webp(picture, TUMORS_BYTES)


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
    return _webp(_draw(page, page.colors(), [Outline(mask, BRAIN, 0.9)]), THUMBNAIL_BYTES)


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
                words.append(Words(side, *place, ALARM, ground="#000000b0"))
    return words


def _band_colors(probability: np.ndarray) -> np.ndarray:
    """Colors of probabilities in `UNCERTAIN`, (..., 3) uint8.

    Perceptually uniform, told apart by the color-blind, and without the darkest, which would be
    lost on the image.
    """
    import matplotlib

    share = (probability - UNCERTAIN[0]) / (UNCERTAIN[1] - UNCERTAIN[0])
    return matplotlib.colormaps["plasma"](0.3 + 0.7 * share, bytes=True)[..., :3]


def _draw(
    page: Sheet,
    colors: np.ndarray,
    outlines: Sequence[Outline],
    words: Sequence[Words] = (),
    key: Sequence[tuple[str, str]] = (),
    title: str = "",
    key_end: float = PAGE.width - 2 * PAGE.gap,
    lines: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Draw outlines and words over a page's colors.

    Parameters
    ----------
    page : Sheet
    colors : (height, width, 3) uint8 array
    outlines : sequence of Outline
        The last is uppermost.
    words : sequence of Words
    key : sequence of (text, color)
        What colors mean, written in them, in the page's header.
    title : str
        In what room the key leaves.
    key_end : float
        Where the key ends, pixels from the left.
    lines : sequence of (2, 2) array
        End points, pixels from the top left: across, down.

    Returns
    -------
    (height, width, 3) uint8 array
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = colors.shape[:2]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # At 72 to the inch, Matplotlib's points are pixels.
        canvas = FigureCanvasAgg(Figure(figsize=(width / 72, height / 72), dpi=72))
        axes = canvas.figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(colors, interpolation="nearest", aspect="auto")
        for outline in outlines:
            covered = page.coverage(outline.mask)
            if covered.max() > 127:  # else there is no line, of which Matplotlib would warn
                axes.contour(covered, [127.5], colors=[outline.color], linewidths=outline.width)
        for ends in lines:
            axes.plot(*ends.T, color=ALARM, linewidth=1.2, marker="+", markersize=6)
        for one in words:
            _write(axes, one)
        line = page.frame.header / 2
        for text, color in reversed(key):
            key_end = _write(axes, Words(text, key_end, line, color, "right")) - 18
        room = key_end - 3 * PAGE.gap
        _write(axes, Words(title, 2 * PAGE.gap, line, PLAIN, "left", width=room))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _write(axes: Axes, words: Words) -> float:
    """Write words literally, in one line; return where they start, pixels from the left."""
    import matplotlib
    from matplotlib.font_manager import FontProperties, get_font

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    known = get_font(path).get_charmap()
    text = " ".join(words.text.split())
    text = "".join(c if c.isprintable() and ord(c) in known else MISSING for c in text)
    label = axes.text(
        *(words.x, words.y, text),
        color=words.color,
        horizontalalignment=words.align,
        verticalalignment="center",
        fontproperties=FontProperties(fname=path, size=12.5),
        bbox={"facecolor": words.ground, "linewidth": 0, "pad": 1},
        parse_math=False,
    )
    while (extent := label.get_window_extent()).width > words.width and len(text) > 3:
        kept = max(int(len(text) * words.width / extent.width) // 2 - 1, 1)
        text = f"{text[:kept]}\N{HORIZONTAL ELLIPSIS}{text[-kept:]}"
        label.set_text(text)
    return float(extent.x0)


def _webp(picture: np.ndarray, most: int) -> bytes:
    """Encode a picture, (height, width, 3) uint8, at the best quality that fits into bytes."""
    from PIL import Image

    content = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "WEBP", quality=quality, method=4)
        content = stream.getvalue()
        if len(content) <= most:
            break
    return content
