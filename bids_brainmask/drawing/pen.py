# SPDX-License-Identifier: Apache-2.0
"""Outlines, lines and words over the colors of a sheet, and its bytes as WebP.

Outlines are drawn from the coverage of pixels by a mask: the distance of a pixel from the line
where the mask covers a half is the coverage's difference from a half over its gradient. That takes
a tenth of the time of Matplotlib's contours, whose colormap and font are used.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_brainmask.drawing.slices import Sheet
from bids_brainmask.voxels import UNCERTAIN

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

BRAIN, TUMOR = "#00e5ff", "#ff5a1f"
PLAIN, FAINT, ALARM = "#f0f2f5", "#a8b0bb", "#ffc21a"
"""Colors of outlines and of words."""

QUALITIES = (84, 75, 60, 45, 30, 15, 5, 0)
"""Of WebP, from the one wanted down."""

EFFORT = 2
"""Of WebP's encoder: 3 % larger than with 4, in less than half of the time."""

FONT_SIZE = 12.5
"""Pixels."""

LINE, CROSS = 1.2, 6.0
"""Width of a line, and size of the crosses at its ends, pixels."""

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
    ground: float = 0.0  # how much a black ground behind it hides, in [0, 1]


def draw(
    page: Sheet,
    colors: np.ndarray,
    outlines: Sequence[Outline],
    words: Sequence[Words] = (),
    key: Sequence[tuple[str, str]] = (),
    title: str = "",
    key_end: float = np.inf,
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
        Where the key ends, pixels from the left, if not at the page's end.
    lines : sequence of (2, 2) array
        End points, pixels from the top left: across, down.

    Returns
    -------
    (height, width, 3) uint8 array
    """
    drawn = colors.copy()
    for outline in outlines:
        _outline(drawn, page.coverage(outline.mask), outline)
    for start, end in lines:
        _stroke(drawn, start, end, LINE)
        for place in (start, end):
            for across in ((CROSS / 2, 0), (0, CROSS / 2)):
                _stroke(drawn, place - across, place + across, 1.0)
    if not (words or key or title):
        return drawn
    gap, line = page.frame.gap, page.frame.header / 2
    key_end = min(key_end, page.frame.width - 2 * gap)
    placed = list(words)
    for text, color in reversed(key):
        placed.append(Words(text, key_end, line, color, "right"))
        key_end -= _length(text) + 18
    placed.append(Words(title, 2 * gap, line, PLAIN, "left", width=key_end - 3 * gap))
    return _write(drawn, placed)


def rgb(color: str) -> list[int]:
    """Red, green and blue of a color such as #00e5ff."""
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]


def band_colors(probability: np.ndarray) -> np.ndarray:
    """Colors of probabilities in `UNCERTAIN`, (..., 3) uint8.

    Perceptually uniform, told apart by the color-blind, and without the darkest, which would be
    lost on the image.
    """
    import matplotlib

    share = (probability - UNCERTAIN[0]) / (UNCERTAIN[1] - UNCERTAIN[0])
    return matplotlib.colormaps["plasma"](0.3 + 0.7 * share, bytes=True)[..., :3]


def webp(picture: np.ndarray, most: int) -> bytes:
    """Encode a picture, (height, width, 3) uint8, at the best quality that fits into bytes."""
    from PIL import Image

    content = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "WEBP", quality=quality, method=EFFORT)
        content = stream.getvalue()
        if len(content) <= most:
            break
    return content


def _outline(colors: np.ndarray, covered: np.ndarray, outline: Outline) -> None:
    """Draw the line where a mask covers half of a pixel, (height, width) uint8."""
    inside = covered > 127
    near = np.zeros_like(inside)  # pixels that are close enough for the line to reach them
    for axis in (0, 1):
        step = np.diff(inside, axis=axis)
        for side in (np.s_[:-1], np.s_[1:]):
            near[side if axis == 0 else (slice(None), side)] |= step
    for axis in (0, 1):  # and their neighbors
        wide = near.copy()
        wide[_from(axis, 1)] |= near[_from(axis, 0, -1)]
        wide[_from(axis, 0, -1)] |= near[_from(axis, 1)]
        near = wide
    rows, columns = np.nonzero(near)
    if not len(rows):
        return
    values = np.pad(covered, 1, mode="edge").astype(np.float32)
    here = values[rows + 1, columns + 1]
    squares = np.zeros_like(here)
    for down, right in ((1, 0), (0, 1)):
        ahead = values[rows + 1 + down, columns + 1 + right] - here
        behind = here - values[rows + 1 - down, columns + 1 - right]
        squares += np.maximum(abs(ahead), abs(behind)) ** 2
    away = abs(here - np.float32(127.5)) / np.sqrt(np.maximum(squares, 1e-3))
    _blend(colors, (rows, columns), (outline.width + 1) / 2 - away, rgb(outline.color))


def _from(axis: int, start: int, stop: int | None = None) -> tuple[slice, slice]:
    part, whole = slice(start, stop), slice(None)
    return (part, whole) if axis == 0 else (whole, part)


def _stroke(colors: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    """Draw a line between two points, pixels: across, down."""
    reach = width / 2 + 1
    low = np.maximum(np.floor(np.minimum(start, end) - reach), 0).astype(int)
    high = np.ceil(np.maximum(start, end) + reach).astype(int) + 1
    rows, columns = np.mgrid[
        low[1] : min(high[1], colors.shape[0]), low[0] : min(high[0], colors.shape[1])
    ]
    along = np.subtract(end, start, dtype=float)
    across, down = columns - start[0], rows - start[1]
    share = (across * along[0] + down * along[1]) / max(float(along @ along), 1e-9)
    share = share.clip(0, 1)
    away = np.hypot(across - share * along[0], down - share * along[1])
    _blend(colors, (rows, columns), (width + 1) / 2 - away, rgb(ALARM))


def _blend(
    colors: np.ndarray, where: tuple[np.ndarray, np.ndarray], much: np.ndarray, color: list[int]
) -> None:
    """Mix a color into pixels, as much of it as is said, in [0, 1] once clipped."""
    share = much.clip(0, 1)[..., None].astype(np.float32)
    mixed = colors[where] * (1 - share) + np.array(color, np.float32) * share
    colors[where] = (mixed + np.float32(0.5)).astype(np.uint8)


def _write(colors: np.ndarray, words: Iterable[Words]) -> np.ndarray:
    """Write words literally, each in one line."""
    from PIL import Image, ImageDraw

    for one in words:
        if one.ground:
            text = _fitted(one)
            half = _length(text) / 2 + 1
            x, y = one.x, one.y
            box = np.s_[int(y - 8) : int(y + 9), int(x - half) : int(x + half + 1)]
            colors[box] = (colors[box] * (1 - one.ground)).astype(np.uint8)
    picture = Image.fromarray(colors)
    pen = ImageDraw.Draw(picture)
    for one in words:
        anchor = {"left": "lm", "center": "mm", "right": "rm"}[one.align]
        place = (one.x, one.y)
        pen.text(place, _fitted(one), fill=one.color, font=_font(), anchor=anchor)
    return np.asarray(picture)


def _fitted(words: Words) -> str:
    """Text that the font can write in one line, without its middle where that is too long."""
    text = " ".join(words.text.split())
    text = "".join(c if c.isprintable() and ord(c) in _letters() else MISSING for c in text)
    while (length := _length(text)) > words.width and len(text) > 3:
        kept = max(int(len(text) * words.width / length) // 2 - 1, 1)
        text = f"{text[:kept]}\N{HORIZONTAL ELLIPSIS}{text[-kept:]}"
    return text


def _length(text: str) -> float:
    return float(_font().getlength(text))


def _path() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@cache
def _font() -> FreeTypeFont:
    """Matplotlib's own font: the same on every machine."""
    from PIL import ImageFont

    return ImageFont.truetype(_path(), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)


@cache
def _letters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_path())).get_charmap())
