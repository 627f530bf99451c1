# SPDX-License-Identifier: Apache-2.0
"""Label maps of whole heads as arrays on disk, from which images are made fast.

A table gives for each label its tissue, whether it belongs to the target, and its partner: the
label of the same structure on the other side of the body.
"""

from __future__ import annotations

import csv
import importlib.resources
import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from scipy import ndimage

from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.train import processes, records
from bids_brainmask.train.dataset import depth_of
from bids_brainmask.train.tissues import TISSUES
from bids_brainmask.voxels import grid, image
from bids_brainmask.voxels.image import Volume

log = logging.getLogger(__name__)

WIDEST_FISSURE = 12.0
"""Largest distance of the falx from the cortex of each hemisphere, mm."""

BELOW_CEREBELLUM = 5.0
"""Distance of the foramen magnum, where a brain mask ends, below the cerebellum, mm."""


ARRAYS = ("labels", "depth", "skin", "falx", "tentorium", "sheet")
"""Names of the arrays of a label map."""

FALX, TENTORIUM = 1, 2
"""Values of the array ``sheet``."""


@dataclass(frozen=True)
class LabelTable:
    """Labels of a set of label maps.

    Raises
    ------
    UsageError
        A label is not the partner of its partner.
    """

    path: str
    names: tuple[str, ...]
    tissues: tuple[str, ...]
    values: np.ndarray  # (N,) int, value of each label in the label maps
    target: np.ndarray  # (N,) bool, whether it belongs to the target
    partner: np.ndarray  # (N,) int, position in this table of its mirror image

    def __post_init__(self) -> None:
        wrong = np.flatnonzero(self.partner[self.partner] != np.arange(len(self.values)))
        if wrong.size:
            where = [self.names[number] for number in wrong]
            raise UsageError(
                f"{self.path}: the partner of {', '.join(where)} does not name it as its own "
                "partner. A label of the midline is its own partner."
            )

    def of(self, *tissues: str) -> np.ndarray:
        """Which labels are of the given tissues, (N,) bool."""
        return np.isin(self.tissues, tissues)


@dataclass(frozen=True)
class LabelMap:
    """A label map with its arrays on disk; their axes are those nearest to R, A and S."""

    name: str
    folder: Path  # of its arrays
    affine: np.ndarray  # (4, 4), to RAS+ mm
    middle: np.ndarray  # (3,), of the target, mm

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of one shape, (I, J, K), mapped into memory.

        ``labels``: uint8, positions in the `LabelTable`. ``depth``: int8, signed distance from
        the target's surface in quarters of a mm, positive inside. ``skin``: uint8, distance from
        the air around the head, mm. ``falx`` and ``tentorium``: int8, signed distances as
        `sheets` returns them, in quarters of a mm. ``sheet``: uint8, 1 at the falx, 2 at the
        tentorium.
        """
        return {name: np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}


class LabelMapRecord(msgspec.Struct, frozen=True):
    """A label map in ``label_maps.json``; the affine is a list of rows."""

    name: str
    affine: list[list[float]]
    middle: list[float]


class Label(msgspec.Struct, frozen=True):
    """A row of a table of labels."""

    index: int
    name: str
    tissue: str
    target: bool
    partner: int

    def __post_init__(self) -> None:
        if self.tissue not in (*TISSUES, "soft"):
            raise ValueError(
                f"tissue {self.tissue!r} is unknown; expected one of {sorted([*TISSUES, 'soft'])}"
            )


COLUMNS = Label.__struct_fields__
"""Columns that a table of labels must have."""


def read_table(path: Path | None = None) -> LabelTable:
    """Read a table of labels.

    Parameters
    ----------
    path : Path, optional
        TSV with the columns of `COLUMNS`; that of the package, for the label maps of SynthSeg's
        repository, if not given.

    Raises
    ------
    UsageError
        The file cannot be read, a column is missing, or a value is not of its type.
    """
    place = path or Path(str(importlib.resources.files("bids_brainmask.data") / "tissues.tsv"))
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{place}: the table of labels cannot be read: {error}") from error
    reader = csv.DictReader(text.splitlines(), delimiter="\t")
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise UsageError(f"{place}: no column {', '.join(missing)}; expected {list(COLUMNS)}")
    rows = [_label(place, number, row) for number, row in enumerate(reader, 2)]
    values = np.array([row.index for row in rows])
    target = np.array([row.target for row in rows])
    position = {row.index: number for number, row in enumerate(rows)}
    if unknown := sorted({row.partner for row in rows} - set(position)):
        raise UsageError(f"{place}: partner {unknown} is no index of the table")
    if len(position) != len(rows) or len(rows) > 256 or not target.any():
        raise UsageError(
            f"{place}: expected up to 256 labels, each once, and one or more of the target; found "
            f"{len(rows)} rows, {len(position)} labels, {target.sum()} of the target"
        )
    names = tuple(row.name for row in rows)
    tissues = tuple(row.tissue for row in rows)
    partner = np.array([position[row.partner] for row in rows])
    return LabelTable(str(place), names, tissues, values, target, partner)


def _label(place: Path, number: int, row: dict[str, str]) -> Label:
    """Check a row of a table of labels."""
    try:
        return msgspec.convert({name: row[name] for name in COLUMNS}, Label, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}, line {number}: {error}. Found {row}.") from error


def lay_out(
    source: Path, table: LabelTable, exclude: tuple[str, ...], folder: Path, workers: int = 0
) -> list[LabelMap]:
    """Write the arrays of every label map in a folder, unless they exist.

    Parameters
    ----------
    source : Path
        Folder of files ``*_dseg.nii.gz``, sorted by name.
    table : LabelTable
    exclude : tuple of str
        Names to leave out: the part before ``_dseg``.
    folder : Path
        Folder of the arrays.
    workers : int
        Processes that share the work; below 2: this one.

    Raises
    ------
    WorkerError
        One of the processes ended unexpectedly.
    ImageError
        A label map is damaged, or holds a label that the table lacks.
    UsageError
        There is no such folder, no label map in it, or no label map with an excluded name.
    """
    index = folder / "label_maps.json"
    if index.exists():
        there = [_label_map(one, folder) for one in records.read(index, LabelMapRecord)]
        if all((one.folder / f"{name}.npy").exists() for one in there for name in ARRAYS):
            return there
    found = {path.name.split("_dseg.nii")[0]: path for path in source.rglob("*_dseg.nii*")}
    if unknown := sorted(set(exclude) - set(found)):
        raise UsageError(f"label_maps: exclude: {', '.join(unknown)}: not in {source}")
    chosen = sorted(set(found) - set(exclude))
    if not chosen:
        raise UsageError(f"label_maps: no file *_dseg.nii.gz in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    calls = [(name, found[name], table, folder / name) for name in chosen]
    laid_out = []
    for name, record in zip(chosen, processes.each(_lay_out, calls, workers), strict=True):
        laid_out.append(record)
        log.info("label map %s", name)
    records.write(index, laid_out)
    return [_label_map(record, folder) for record in laid_out]


def _label_map(record: LabelMapRecord, folder: Path) -> LabelMap:
    """Label map of a record."""
    affine, middle = np.array(record.affine), np.array(record.middle)
    return LabelMap(record.name, folder / record.name, affine, middle)


def _lay_out(name: str, path: Path, table: LabelTable, place: Path) -> LabelMapRecord:
    """Read one label map and write its arrays; return their record."""
    volume = grid.canonical(image.read_labels(path))
    labels = positions(volume.data, table, path)
    inside = target(Volume(labels, volume.affine), table)
    if not inside.any():
        raise ImageError(f"{path}: no voxel is of the target of {table.path}. Exclude it.")
    spacing = volume.spacing
    place.mkdir(parents=True, exist_ok=True)
    skin = ndimage.distance_transform_edt(~outside(labels, table), spacing)
    falx, tentorium, sheet = sheets(labels, inside, table, spacing)
    arrays = {
        "labels": labels,
        "depth": _quarters(depth_of(inside, spacing)),
        "skin": np.round(skin).clip(0, 255).astype(np.uint8),
        "falx": _quarters(falx),
        "tentorium": _quarters(tentorium),
        "sheet": sheet,
    }
    for key, array in arrays.items():
        np.save(place / f"{key}.npy", np.ascontiguousarray(array))
    middle = volume.affine @ [*np.argwhere(inside).mean(0), 1]
    return LabelMapRecord(name, volume.affine.tolist(), middle[:3].tolist())


def _quarters(millimeters: np.ndarray) -> np.ndarray:
    """Convert to quarters of a mm, int8; at most 127."""
    return np.round(4 * millimeters).clip(-127, 127).astype(np.int8)


def sheets(
    labels: np.ndarray, inside: np.ndarray, table: LabelTable, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find falx and tentorium: fluid or vein as near to one part of the brain as to the other.

    Parameters
    ----------
    labels : (I, J, K) uint8 array
        Positions in the table.
    inside : (I, J, K) bool array
        The target.
    table : LabelTable
    spacing : (3,) array
        Voxel sizes, mm.

    Returns
    -------
    falx : (I, J, K) float32 array
        Distance from the cortex of one hemisphere less that from the other's, mm.
    tentorium : (I, J, K) float32 array
        Distance from the cerebellum less that from the cerebral cortex, mm.
    sheet : (I, J, K) uint8 array
        `FALX`, `TENTORIUM`, or 0. All 0 for labels without hemispheres or cerebellum.
    """
    number = np.arange(len(table.values))
    cortex, far = table.of("cortex"), []
    parts = (cortex & (number < table.partner), cortex & (number > table.partner))
    for part in (*parts, table.of("cerebellum")):
        where = part[labels]
        distance = ndimage.distance_transform_edt(~where, spacing) if where.any() else None
        far.append(np.full(labels.shape, 1e3) if distance is None else distance)
    one, other, below = (distance.astype(np.float32) for distance in far)
    falx, tentorium = one - other, below - np.minimum(one, other)
    fluid = table.of("csf", "vein")[labels]
    near_both = np.maximum(one, other) < WIDEST_FISSURE
    sheet = np.where(fluid & near_both & (np.abs(falx) < 1.5), FALX, 0).astype(np.uint8)
    thin = np.maximum(below, np.minimum(one, other)) < WIDEST_FISSURE / 2
    thin &= (np.abs(tentorium) < 1.5) & (inside | fluid)
    sheet[thin] = TENTORIUM
    return falx, tentorium, sheet


def positions(values: np.ndarray, table: LabelTable, path: Path) -> np.ndarray:
    """Convert the values of a label map to positions in the table, uint8.

    Raises
    ------
    ImageError
        A value is not in the table.
    """
    order = np.argsort(table.values)
    place = np.searchsorted(table.values[order], values).clip(0, len(order) - 1)
    found = order[place]
    if (wrong := table.values[found] != values).any():
        unknown, counts = np.unique(values[wrong], return_counts=True)
        shown = ", ".join(f"{v} ({n} voxels)" for v, n in zip(unknown[:20], counts, strict=False))
        raise ImageError(
            f"{path}: the labels {shown} are not in {table.path}. Add a row for each, or exclude "
            "the label map."
        )
    return found.astype(np.uint8)


def target(labels: Volume, table: LabelTable) -> np.ndarray:
    """Mask of the target: its largest component, closed and filled, down to the foramen magnum.

    Parameters
    ----------
    labels : Volume
        Positions in the table; axes along R, A, S.
    table : LabelTable

    Returns
    -------
    (I, J, K) bool array
    """
    padded = np.pad(table.target[labels.data], 3)
    closed = ndimage.binary_closing(padded, iterations=2)[3:-3, 3:-3, 3:-3]
    closed |= table.target[labels.data]
    cerebellum = np.flatnonzero(table.of("cerebellum")[labels.data].any((0, 1)))
    if cerebellum.size:
        below = round(BELOW_CEREBELLUM / labels.spacing[2])
        closed[:, :, : max(0, cerebellum[0] - below)] = False
    components, number = ndimage.label(closed)
    if number > 1:
        closed = components == 1 + np.bincount(components.ravel())[1:].argmax()
    return ndimage.binary_fill_holes(closed)


def outside(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Air around the head, bool: the component of air that reaches the edge of the array."""
    air = np.pad(table.of("air")[labels], 1, constant_values=True)
    components, _ = ndimage.label(air)
    return (components == components[0, 0, 0])[1:-1, 1:-1, 1:-1]
