# SPDX-License-Identifier: Apache-2.0
"""Slices of a head in square tiles, and its mask apart from them, for the view of one image.

The script of the group report puts the tiles together, as large as the window allows, with or
without the mask: `data/templates/group_view.js` has the same order of tiles.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from bids_brainmask.drawing import slices
from bids_brainmask.drawing.pen import ALARM, BRAIN, EFFORT, QUALITIES, TUMOR, band_colors, rgb
from bids_brainmask.drawing.slices import Cut, View
from bids_brainmask.voxels import UNCERTAIN
from bids_brainmask.voxels.image import Volume

SIDE = 5
"""Tiles in a row, and rows."""

TILE = 320
"""Pixels of a tile's side, about 1.5 of a mm: more than a voxel of 1 mm."""

COUNTS = ((2, 9), (1, 9), (0, 7))
"""Axes that slices lie across, and their numbers: axial, coronal, sagittal."""

WINDOW = (0.5, 99.5)
"""Percentiles of the intensities within the mask that are black and white."""

BRIGHTER = 1.15
"""White is this far up from the first to the second of them: fat is brighter than the brain."""

SAMPLED = 1_000_000
"""Voxels from which on the window is taken from a quarter of them."""

LEVELS = 5
"""Steps of coverage and of uncertainty: with the clear ground, they are 12 colors, in 4 bits."""

STEPS = np.round(np.arange(256) / 255 * LEVELS).astype(np.uint8)
"""Of a coverage of 0 to 255."""

SLICES_BYTES = 300_000
"""Most that the picture of the slices takes."""


def pictures(volume: Volume, mask: np.ndarray, probability: np.ndarray) -> tuple[bytes, bytes]:
    """Draw the slices, and what is shown over them.

    Parameters
    ----------
    volume : Volume
        Finite intensities, axes in any order and direction.
    mask : (I, J, K) bool array
        May be empty: then the slices go over the head.
    probability : (I, J, K) float array
        Of brain, in [0, 1].

    Returns
    -------
    slices : bytes
        WebP of ``SIDE`` by ``SIDE`` tiles: intensities, cropped to the mask and 15 mm around it.
    overlays : bytes
        PNG of a palette with transparency, of the same width and twice the height: the mask,
        and below it the uncertain voxels, whose probability is in `UNCERTAIN`.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    view, (mask, probability) = slices.look(volume, mask, probability)
    window = _window(view, mask)
    scale = TILE / max(view.extent(axis).max() for axis in range(3))
    gray = np.zeros((SIDE * TILE, SIDE * TILE), np.uint8)
    covered, unsure = np.zeros((2, *gray.shape), np.uint8)  # steps; 0 is clear
    low, high = UNCERTAIN
    for cut, place in _places(view, scale):
        shades = slices.gray(view.plane(view.volume.data, cut), window)
        gray[place] = _resized(shades, place, "BICUBIC")
        cover = _resized(view.plane(mask, cut) * np.uint8(255), place, "BILINEAR")
        covered[place] = np.take(STEPS, cover)
        # Voxel by voxel: interpolated, a step from 0 to 1 would pass through the band.
        chance = view.plane(probability, cut).astype(np.float32)
        steps = np.round((chance - low) / (high - low) * LEVELS) + (LEVELS + 1)
        found = np.where((chance > low) & (chance < high), steps, 0).astype(np.uint8)
        unsure[place] = _resized(found, place, "NEAREST")
    alphas = np.arange(LEVELS + 1) * (255 // LEVELS)
    palette = [[*rgb(BRAIN), alpha] for alpha in alphas.tolist()]
    band = band_colors(np.linspace(low, high, LEVELS + 1))
    palette += [[*color, 255] for color in band.tolist()]
    return _lossy(gray), _png(np.concatenate([covered, unsure]), palette)


def lesion_overlays(
    volume: Volume, mask: np.ndarray, counted: np.ndarray, others: np.ndarray
) -> bytes:
    """Draw candidate lesions on the same tiles as `pictures` does.

    Parameters
    ----------
    volume, mask
        As in `pictures`, for the same tiles.
    counted, others : (I, J, K) bool array
        Candidate lesions that count, and those that do not.

    Returns
    -------
    bytes
        PNG of a palette with transparency, of the size of the slices' picture.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    view, (mask, counted, others) = slices.look(volume, mask, counted, others)
    scale = TILE / max(view.extent(axis).max() for axis in range(3))
    overlay = np.zeros((SIDE * TILE, SIDE * TILE), np.uint8)
    palette = [[0, 0, 0, 0], [*rgb(ALARM), 255], [*rgb(TUMOR), 255]]
    for color, array in ((1, others), (2, counted)):
        for cut, place in _places(view, scale):
            plane = view.plane(array, cut)
            if plane.any():
                inside = _resized(plane * np.uint8(255), place, "BILINEAR") > 127
                overlay[place][inside] = color
    return _png(overlay, palette)


def _window(view: View, mask: np.ndarray) -> tuple[float, float]:
    """Intensities shown as black and as white: of the brain, so that fat does not set them."""
    # Every 2nd row of the mask's, where it is large: the percentiles need no more.
    step = 2 if mask[view.shown].size > SAMPLED else 1
    some = np.s_[:, ::step, ::step]
    values = view.volume.data[view.shown][some][mask[view.shown][some]]
    if not values.size or values.min() == values.max():
        return view.window
    low, high = np.percentile(values[:: max(1, values.size // 100_000)], WINDOW)
    return min(0.0, float(low)), float(low + BRIGHTER * (high - low))


def _places(view: View, scale: float) -> list[tuple[Cut, tuple[slice, slice]]]:
    """Cuts, and the rows and columns of the picture for each; an axis with few slices has less."""
    found, number = [], 0
    for axis, count in COUNTS:
        across, up = np.maximum((scale * view.extent(axis)).astype(int), 1).tolist()
        for offset, cut in enumerate(view.spread(axis, count)):
            row, column = divmod(number + offset, SIDE)
            x, y = column * TILE + (TILE - across) // 2, row * TILE + (TILE - up) // 2
            found.append((cut, (slice(y, y + up), slice(x, x + across))))
        number += count
    return found


def _resized(plane: np.ndarray, place: tuple[slice, slice], method: str) -> np.ndarray:
    rows, columns = place
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return np.asarray(slices.resized(plane, *size, method))


def _lossy(gray: np.ndarray) -> bytes:
    """Encode the slices at the best quality that fits into `SLICES_BYTES`."""
    from PIL import Image

    content = b""
    for quality in QUALITIES[1:]:
        stream = io.BytesIO()
        Image.fromarray(gray).convert("RGB").save(stream, "WEBP", quality=quality, method=EFFORT)
        content = stream.getvalue()
        if len(content) <= SLICES_BYTES:
            break
    return content


def _png(colors: np.ndarray, palette: Sequence[Sequence[int]]) -> bytes:
    """Encode a picture of at most 16 colors: a sixth of the time of lossless WebP."""
    from PIL import Image

    table = np.array(palette, np.uint8)
    picture = Image.fromarray(colors)
    picture.putpalette(table[:, :3].tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", bits=4, transparency=table[:, 3].tobytes())
    return stream.getvalue()
