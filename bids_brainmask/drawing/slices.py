# SPDX-License-Identifier: Apache-2.0
"""Slices of a head, laid out side by side on a sheet of pixels.

They lie across the image axes nearest to the world's (right, anterior, superior), each of which
grows to the right or upwards: left is left. A cut shows one slice as it is, an oblique one too; in
its plane, pixels are square in mm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.masks import air_level, bounds

if TYPE_CHECKING:
    from PIL import Image

MARGIN = 15.0
"""mm of the head that are shown around a mask."""

SMALLEST_FIELD = 60.0
"""mm that are shown along any axis, as far as the image goes, however small the mask."""

LARGEST_SCALE = 3.0
"""Pixels of a mm at most."""

BRIGHTEST = 1.25
"""What is shown as white, relative to the brightest of the brain: fat that is brighter must not
leave the brain dark, as under surface coils."""

BACKGROUND = (14, 17, 22)
"""Color of a sheet between its cuts."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Frame:
    """What a sheet leaves to its cuts, pixels."""

    width: int
    shortest: int
    tallest: int
    header: int  # above the cuts, for the title
    caption: int  # under each row, for the places
    gap: int  # around each cut, at least


@dataclass(frozen=True)
class Cut:
    """A slice to be shown."""

    axis: int  # that it lies across, of R, A, S
    index: int
    caption: str


@dataclass(frozen=True)
class Panel:
    """A cut's place on a sheet, pixels from the top left."""

    cut: Cut
    x: int
    y: int
    width: int
    height: int
    first: bool  # of its row

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the sheet."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True)
class View:
    """An image along its axes nearest to R, A and S, and what of it is shown."""

    volume: Volume
    core: Box  # over which cuts are spread
    shown: Box  # what each cut shows
    window: tuple[float, float]  # intensities shown as black and as white

    def spread(self, axis: int, count: int) -> list[Cut]:
        """Cuts at equal distances over the core, or beyond where that has fewer slices."""
        side = self.core[axis]
        middle, extent = (side.start + side.stop - 1) / 2, side.stop - 1 - side.start
        half = max(0.45 * extent, (count - 1) / 2)  # the outermost slices show little
        places = np.floor(np.linspace(middle - half, middle + half, count) + 0.5)
        last = self.volume.data.shape[axis] - 1
        return [self.cut(axis, index) for index in np.unique(places.clip(0, last))]

    def middle(self) -> list[Cut]:
        """Cuts through the middle of the core: axial, coronal, sagittal."""
        places = [(side.start + side.stop - 1) // 2 for side in self.core]
        return [self.cut(axis, places[axis]) for axis in (2, 1, 0)]

    def through(self, place: Sequence[float], name: str) -> list[Cut]:
        """Cuts through a place in mm, RAS+: axial with a name, coronal, sagittal."""
        index = np.linalg.inv(self.volume.affine) @ [*place, 1]
        index = np.round(index[:3]).clip(0, np.array(self.volume.data.shape) - 1)
        return [self.cut(axis, index[axis], name if axis == 2 else "") for axis in (2, 1, 0)]

    def cut(self, axis: int, index: float, name: str = "") -> Cut:
        """Cut at an index. An oblique one's coordinate is that of the middle of what it shows."""
        where = np.array([(side.start + side.stop - 1) / 2 for side in self.shown])
        where[axis] = index
        place = float(self.volume.affine[axis] @ [*where, 1])
        place = round(round(place, 3))  # so that the order of sums does not decide a tie
        caption = f"{'xyz'[axis]} = {place} mm".replace("-", "\N{MINUS SIGN}")
        return Cut(axis, int(index), f"{name} \N{MIDDLE DOT} {caption}" if name else caption)

    def plane(self, array: np.ndarray, cut: Cut) -> np.ndarray:
        """Rows, from the top, of what a cut shows of an array that lies along the view's axes."""
        box: list = list(self.shown)
        box[cut.axis] = cut.index
        return array[tuple(box)].T[::-1]

    def extent(self, axis: int) -> np.ndarray:
        """Width and height of the cuts across an axis, mm."""
        counts = np.array([side.stop - side.start for side in self.shown])
        return np.delete(counts * self.volume.spacing, axis)


@dataclass(frozen=True)
class Sheet:
    """Cuts laid out side by side."""

    view: View
    frame: Frame
    height: int
    panels: list[Panel]

    def compose(self, array: np.ndarray, shade: Callable, method: str) -> np.ndarray:
        """Put the cuts of an array on the sheet, at the size of its pixels.

        Parameters
        ----------
        array : (I, J, K) array
            Along the view's axes.
        shade : callable
            Makes a plane of it uint8 or float32.
        method : {"NEAREST", "BILINEAR", "BICUBIC"}
            How Pillow resizes; the latter two average where pixels are larger than voxels.

        Returns
        -------
        (height, width) array
            0 between the cuts.
        """
        sheet = np.zeros((self.height, self.frame.width), shade(array[:1, 0]).dtype)
        for panel in self.panels:
            plane = shade(self.view.plane(array, panel.cut))
            sheet[panel.pixels] = resized(plane, panel.width, panel.height, method)
        return sheet

    def colors(self) -> np.ndarray:
        """Draw the image's cuts in gray on the background, (height, width, 3) uint8."""
        from PIL import Image

        sheet = Image.new("RGB", (self.frame.width, self.height), BACKGROUND)
        for panel in self.panels:
            shades = gray(self.view.plane(self.view.volume.data, panel.cut), self.view.window)
            cut = resized(shades, panel.width, panel.height, "BICUBIC")
            sheet.paste(cut.convert("RGB"), (panel.x, panel.y))
        return np.array(sheet)

    def line(self, panel: Panel, ends: Sequence[Sequence[float]]) -> np.ndarray:
        """Place two points in mm, RAS+, on a panel: pixels from the top left, (2, 2)."""
        points = np.c_[np.array(ends), np.ones(2)]
        voxels = np.delete(
            points @ np.linalg.inv(self.view.volume.affine)[:3].T, panel.cut.axis, 1
        )
        sides = [side for axis, side in enumerate(self.view.shown) if axis != panel.cut.axis]
        starts = np.array([side.start for side in sides])
        counts = np.array([side.stop - side.start for side in sides])
        across, up = ((voxels - starts + 0.5) / counts * [panel.width, panel.height]).T
        # Matplotlib's pixel centers are whole numbers.
        return np.stack([panel.x + across, panel.y + panel.height - up], 1) - 0.5

    def coverage(self, mask: np.ndarray) -> np.ndarray:
        """Tell how much of each pixel a mask covers, 0 to 255; its outline is where half is."""
        return self.compose(mask, lambda plane: plane * np.uint8(255), "BILINEAR")


def look(volume: Volume, mask: np.ndarray, *others: np.ndarray) -> tuple[View, list[np.ndarray]]:
    """Look at an image along R, A and S, around a mask, or around the head if that is empty.

    Parameters
    ----------
    volume : Volume
        Finite intensities, axes in any order and direction.
    mask : (I, J, K) bool array
    *others : (I, J, K) array
        On the image's grid, too.

    Returns
    -------
    view : View
    arrays : list of array
        The mask and the others along the view's axes; nothing is copied.

    Raises
    ------
    ValueError
        Arrays of different shapes.
    """
    check_shapes(volume, mask, *others)
    order = io_orientation(volume.affine)
    data, *arrays = (apply_orientation(array, order) for array in (volume.data, mask, *others))
    along = Volume(data, volume.affine @ inv_ornt_aff(order, volume.data.shape))
    core = around(along, arrays[0])
    shown = widen(core, along, MARGIN, SMALLEST_FIELD)
    return View(along, core, shown, window(along, shown, arrays[0])), arrays


def check_shapes(volume: Volume, *arrays: np.ndarray) -> None:
    """Raise a ValueError unless all arrays have the image's shape."""
    for array in arrays:
        if array.shape != volume.data.shape:
            shapes = f"{volume.data.shape} and {array.shape}"
            raise ValueError(f"image and mask, or probability: expected one shape, found {shapes}")


def around(volume: Volume, mask: np.ndarray) -> Box:
    """Smallest box around a mask; around the head, if it is empty; all, if there is none."""
    if there := bounds(mask):
        return there
    shape = volume.data.shape
    steps = np.clip(np.round(4 / volume.spacing), 1, shape).astype(int).tolist()
    coarse = volume.data[tuple(slice(None, None, step) for step in steps)]
    smooth = ndimage.uniform_filter(coarse.astype(np.float32), 3)
    bright = smooth > air_level(smooth)
    sides = []
    for axis, (step, size) in enumerate(zip(steps, shape, strict=True)):
        found = np.flatnonzero(bright.mean(tuple({0, 1, 2} - {axis})) > 0.01)
        start, stop = (found[0], found[-1] + 1) if len(found) else (0, size)
        sides.append(slice(int(start) * step, min(int(stop) * step, size)))
    i, j, k = sides
    return i, j, k


def widen(box: Box, volume: Volume, margin: float, smallest: float = 0.0) -> Box:
    """Widen a box by a margin, and to a smallest extent, mm, as far as the image goes."""
    wide = []
    for side, size, spacing in zip(box, volume.data.shape, volume.spacing, strict=True):
        lacking = (smallest - (side.stop - side.start) * spacing) / 2
        more = int(np.ceil(max(margin, lacking) / spacing))
        wide.append(slice(max(side.start - more, 0), min(side.stop + more, size)))
    i, j, k = wide
    return i, j, k


def window(volume: Volume, box: Box, mask: np.ndarray | None = None) -> tuple[float, float]:
    """Percentiles 0.5 and 99.5 of the head in a box, from every 3rd mm.

    With a brain mask, (I, J, K) bool, white is at most `BRIGHTEST` times the percentile 99.5
    within it. A quarter of the head at most is then white, wherever the mask lies.
    """
    steps = np.maximum(np.round(3 / volume.spacing), 1).astype(int).tolist()
    some = tuple(slice(None, None, step) for step in steps)
    values = volume.data[box][some]
    bright = values > air_level(values)
    head = values[bright] if bright.any() else values
    low, quarter, high = np.percentile(head, (0.5, 75, 99.5))
    inside = values[mask[box][some]] if mask is not None else values[:0]
    if inside.size:
        white = BRIGHTEST * np.percentile(inside, 99.5)
        high = min(high, max(white, quarter))
    return float(low if low < high else values.min()), float(high)


def resized(plane: np.ndarray, width: int, height: int, method: str) -> Image.Image:
    """Resize a plane of uint8 or float32 to pixels, by one of Pillow's methods."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(plane))
    return picture.resize((width, height), Image.Resampling[method])


def gray(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Intensities as uint8, from black to white over a window; black if they are all the same."""
    low, high = window
    scaled = (values - np.float32(low)) * np.float32(255 / (high - low or 1))
    return (np.clip(scaled, 0, 255) + np.float32(0.5)).astype(np.uint8)


def lay_out(view: View, rows: Sequence[Sequence[Cut]], frame: Frame) -> Sheet:
    """Place rows of cuts under each other, all of one scale, as large as the frame allows."""
    extents = [np.array([view.extent(cut.axis) for cut in row]) for row in rows]
    tall = frame.tallest - frame.header - len(rows) * (frame.gap + frame.caption) - frame.gap
    scale = min(
        LARGEST_SCALE,
        tall / sum(mm[:, 1].max() for mm in extents),
        *((frame.width - frame.gap * (len(mm) + 1)) / mm[:, 0].sum() for mm in extents),
    )
    sizes = [np.maximum((scale * mm).astype(int), 1) for mm in extents]
    used = sum(size[:, 1].max() + frame.caption + frame.gap for size in sizes) + frame.gap
    height = max(frame.header + int(used), frame.shortest)
    floor = frame.header + (height - frame.header - int(used)) // 2
    panels = []
    for row, size in zip(rows, sizes, strict=True):
        floor += frame.gap + int(size[:, 1].max())
        slack = frame.width - int(size[:, 0].sum())
        between = min(slack // (len(row) + 1), 6 * frame.gap)
        x = (slack - between * (len(row) - 1)) // 2
        for cut, (across, up) in zip(row, size.tolist(), strict=True):
            panels.append(Panel(cut, x, floor - up, across, up, first=cut is row[0]))
            x += across + between
        floor += frame.caption
    return Sheet(view, frame, height, panels)
