# SPDX-License-Identifier: Apache-2.0
"""Images and their labels as arrays on disk, from which windows are read fast.

Each head has three arrays in the training's folder, which are mapped into memory: a thousand
heads need no more memory than ten.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from scipy import linalg, ndimage

from bids_brainmask.dataset import folders, query, readback
from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.settings import Settings
from bids_brainmask.train import processes, records
from bids_brainmask.train.config import Config, Data
from bids_brainmask.train.transforms.augment import Example
from bids_brainmask.voxels import grid, image, rows
from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.scaling import scale_robustly

log = logging.getLogger(__name__)

FINEST = 0.9
"""Images with smaller voxels, mm, are averaged to about 1 mm, the resolution of the networks."""


@dataclass(frozen=True)
class Pair:
    """An image and the file with its label."""

    scan: query.Scan
    label: Path


@dataclass(frozen=True)
class Head:
    """A head with its arrays on disk; their axes are those nearest to R, A and S."""

    participant: str
    relative: str  # path of the image in its dataset
    image: Path
    labels: Path
    folder: Path  # of its arrays
    affine: np.ndarray  # (4, 4), to RAS+ mm
    axes: np.ndarray  # (3, 3), directions of the axes of the windows into it
    middle: np.ndarray  # (3,), of the label, or of the image if that is empty, mm
    weight: float  # weight in the draw

    def example(self) -> Example:
        """Read its arrays: image scaled by `scale_robustly`, label, and depth in mm."""
        image, label, depth = (
            np.load(self.folder / f"{name}.npy", mmap_mode="r").astype(np.float32)
            for name in ("image", "label", "depth")
        )
        return Example(image, self.affine, label, self.affine, depth / 4)


def find_pairs(data: Data, root: Path) -> list[Pair]:
    """Images of the chosen participants that have a label, sorted by path.

    Parameters
    ----------
    data : Data
    root : Path
        Folder that a relative `bids_dir` starts from.

    Raises
    ------
    UsageError, NothingToDo
        No such dataset or participant, an ambiguous label, or no pair.
    """
    bids_dir = (root / data.bids_dir).absolute()
    labels = bids_dir / data.labels
    if not labels.is_dir():
        raise UsageError(f"labels: {labels}: no such folder; expected a dataset with labels.")
    chosen = query.select_participants(bids_dir, data.select) if bids_dir.is_dir() else []
    named = {*data.exclude, *data.often}
    if unknown := sorted(named - set(folders.participants(bids_dir))):
        raise UsageError(f"exclude, often: no participants {', '.join(unknown)} in {bids_dir}")
    settings = Settings(
        bids_dir=bids_dir,
        output_dir=labels,
        analysis_level="participant",
        participant_label=tuple(set(chosen) - set(data.exclude)),
        suffix=("all",) if data.manual else Settings.suffix,
        skip_bids_validation=True,
    )
    scans = query.find_scans(settings)
    if data.manual:
        return manual_pairs(scans, labels, data.manual)
    pairs = [(scan, find_label(scan, labels, data.ending)) for scan in scans]
    found = [Pair(scan, label) for scan, label in pairs if label]
    if not found:
        raise UsageError(
            f"{labels}: no file that ends in {data.ending}.nii[.gz] belongs to any of "
            f"{len(scans)} images, such as {scans[0].prefix}_T1w. Check the ending."
        )
    if len(found) < len(pairs):
        log.warning("%d of %d images have no label; left out", len(pairs) - len(found), len(pairs))
    return found


def manual_pairs(scans: list[query.Scan], labels: Path, analysis: str) -> list[Pair]:
    """Pair images with the masks that a person corrected, by the sources in their sidecars.

    Parameters
    ----------
    scans : list of Scan
    labels : Path
        Derivative dataset of the masks.
    analysis : str
        What the masks are of.

    Raises
    ------
    UsageError
        There is no such mask of these images.
    """
    masks = {
        one.source: labels / one.main(analysis)
        for one in readback.read(labels)
        if one.records.get(analysis, {}).get("Manual") is True
    }
    found = [Pair(scan, masks.pop(scan.relative)) for scan in scans if scan.relative in masks]
    if not found:
        raise UsageError(
            f"--manual: {labels} has no corrected mask of {analysis} for any of {len(scans)} "
            "images. Run the participant level, which takes edited masks, or brainmask adopt."
        )
    if masks:
        log.warning("%d corrected masks are of no image of the run; left out", len(masks))
    return found


def find_label(scan: query.Scan, labels: Path, ending: str) -> Path | None:
    """Find the label of a scan in a dataset of labels, by the scan's name.

    Parameters
    ----------
    scan : query.Scan
    labels : Path
        Dataset of labels, with the folders of the raw dataset.
    ending : str
        How the names end, without extension, such as ``desc-brain_mask`` or ``dseg``.

    Returns
    -------
    Path or None
        None if there is none.

    Raises
    ------
    UsageError
        There are several.
    """
    names = (f"{scan.prefix}_*{ending}.nii*", f"{scan.prefix}_{ending}.nii*")
    paths = {path for name in names for path in (labels / scan.folder).glob(name)}
    extra = re.compile(r"_(?!(space|res|den|label|seg|desc|hemi|atlas|scale)-)[a-z]+-")
    found = sorted(path for path in paths if not extra.search(path.name[len(scan.prefix) :]))
    if len(found) > 1:
        raise UsageError(
            f"{scan.relative}: several labels end in {ending!r}: "
            f"{', '.join(path.name for path in found)}. Give a longer ending."
        )
    return found[0] if found else None


class HeadRecord(msgspec.Struct, frozen=True):
    """A head in ``heads.json``; matrices are lists of rows."""

    participant: str
    relative: str
    image: str
    labels: str
    folder: str
    values: list[float]
    affine: list[list[float]]
    axes: list[list[float]]
    middle: list[float]


def lay_out(config: Config, root: Path, folder: Path, workers: int = 0) -> list[Head]:
    """Write the arrays of every image and label, unless they exist.

    A folder that has them is used without the dataset: it can be copied to another machine.

    Parameters
    ----------
    config : Config
    root : Path
        Folder that a relative ``bids_dir`` starts from.
    folder : Path
        Folder of the arrays.
    workers : int
        Processes that share the work; below 2: this one.

    Raises
    ------
    WorkerError
        One of the processes ended unexpectedly.
    ImageError
        A label is on another grid than its image, or lacks the target.
    UsageError
        No label has one of the values; or as `find_pairs`.
    """
    index = folder / "heads.json"
    if index.exists():
        return [_head(one, config.data, folder) for one in records.read(index, HeadRecord)]
    pairs = find_pairs(config.data, root)
    calls = [(pair, config, folder / pair.scan.prefix) for pair in pairs]
    found = []
    for pair, record in zip(pairs, processes.each(_lay_out, calls, workers), strict=True):
        found.append(record)
        log.info("[%d/%d] %s", len(found), len(pairs), pair.scan.relative)
    held = sorted({value for record in found for value in record.values})
    if absent := sorted(set(config.data.values) - set(held)):
        raise UsageError(f"values: {absent} are in none of {len(pairs)} labels; found {held}")
    records.write(index, found)
    return [_head(record, config.data, folder) for record in found]


def _head(record: HeadRecord, data: Data, folder: Path) -> Head:
    """Head of a record."""
    return Head(
        participant=record.participant,
        relative=record.relative,
        image=Path(record.image),
        labels=Path(record.labels),
        folder=folder / record.folder,
        affine=np.array(record.affine),
        axes=np.array(record.axes),
        middle=np.array(record.middle),
        weight=data.often.get(record.participant, 1.0),
    )


def _lay_out(pair: Pair, config: Config, place: Path) -> HeadRecord:
    """Read one pair and write its arrays; return their record."""
    volume = image.read(pair.scan.path).volume
    labels = image.read_labels(pair.label)
    check_grid(pair, volume, labels)
    values = np.unique(labels.data)
    target = target_of(labels.data, config.data)
    if not target.any() and not config.data.allow_empty:
        wanted = f"one of {list(config.data.values)}" if config.data.values else "other than 0"
        raise ImageError(
            f"{pair.label}: no voxel is {wanted}; found the values {values[:20].tolist()}. Leave "
            "the participant out (exclude), or set allow_empty."
        )
    volume, target = on_training_grid(volume, target, config)
    arrays = {"image": scale_robustly(volume.data).astype(np.float16), "label": target}
    arrays["depth"] = (4 * depth_of(target, volume.spacing)).clip(-127, 127).astype(np.int8)
    place.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", np.ascontiguousarray(array))
    where = np.argwhere(target).mean(0) if target.any() else np.array(target.shape) / 2
    row = rows.grid(config.grid)
    if row.in_training:
        axes = row.make(volume, 1).affine[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
    else:
        axes = linalg.polar(volume.affine[:3, :3] / volume.spacing)[0]
    return HeadRecord(
        participant=pair.scan.participant,
        relative=pair.scan.relative,
        image=str(pair.scan.path),
        labels=str(pair.label),
        folder=place.name,
        values=values.tolist(),
        affine=volume.affine.tolist(),
        axes=axes.tolist(),
        middle=(volume.affine @ [*where, 1])[:3].tolist(),
    )


def check_grid(pair: Pair, volume: Volume, labels: Volume) -> None:
    """Raise an `ImageError` unless a label is on its image's grid."""
    if volume.data.shape == labels.data.shape and np.allclose(
        volume.affine, labels.affine, atol=1e-2
    ):
        return
    raise ImageError(
        f"{pair.label}: found shape {labels.data.shape} and affine "
        f"{labels.affine.round(3).tolist()}; expected those of {pair.scan.relative}, "
        f"{volume.data.shape} and {volume.affine.round(3).tolist()}. Resample the label."
    )


def target_of(labels: np.ndarray, data: Data) -> np.ndarray:
    """Voxels of the target, bool: those with the given values, or all but 0."""
    return np.isin(labels, data.values) if data.values else labels != 0


def on_training_grid(
    volume: Volume, target: np.ndarray, config: Config
) -> tuple[Volume, np.ndarray]:
    """Resample an image and its target to the grid of their arrays.

    Returns
    -------
    volume : Volume
        Float32, along R, A and S: on the conformed grid for a network that has it; otherwise on
        the image's own grid, or one of about 1 mm if its voxels are smaller.
    target : (I, J, K) bool array
    """
    share = grid.canonical(Volume(target.astype(np.float32), volume.affine))
    row = rows.grid(config.grid)
    if row.in_training:
        place = row.make(volume, 1)
        image, label = grid.resample(volume, place), grid.resample(share, place)
        volume = grid.canonical(Volume(image, place.affine))
        return volume, grid.canonical(Volume(label, place.affine)).data >= 0.5
    volume = grid.canonical(volume)
    if volume.spacing.min() >= FINEST:
        return volume, share.data > 0
    size = np.maximum(volume.spacing, 1.0)
    affine = volume.affine.copy()
    affine[:3, :3] *= size / volume.spacing
    shape = np.floor(np.array(volume.data.shape) * volume.spacing / size).astype(int)
    i, j, k = shape.tolist()
    place = grid.Grid((i, j, k), affine)
    smooth = ndimage.gaussian_filter(volume.data, 0.4 * np.sqrt((size / volume.spacing) ** 2 - 1))
    image = grid.resample(Volume(smooth, volume.affine), place)
    return Volume(image, affine), grid.resample(share, place) >= 0.5


def depth_of(target: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Signed distance of each voxel's center from the target's surface, mm; positive inside.

    The surface lies half a voxel from the center of the outermost voxel. Without a target, every
    distance is minus infinity.
    """
    if not target.any():
        return np.full(target.shape, -np.inf, np.float32)
    inside = ndimage.distance_transform_edt(np.pad(target, 1), spacing)[1:-1, 1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~target, spacing)
    half = float(np.mean(spacing)) / 2
    return np.where(target, inside - half, half - outside).astype(np.float32)


def split(heads: list[Head], share: float, seed: int) -> tuple[list[Head], list[Head]]:
    """Split heads by participant, at random, into training and validation.

    Raises
    ------
    UsageError
        The share is above 0, and there are fewer than two participants.
    """
    names = sorted({head.participant for head in heads})
    if not share:
        return heads, []
    if len(names) < 2:
        raise UsageError(
            f"validation: {share:g} of one participant ({names[0]}); expected two or more. Add "
            "participants, or set validation to 0."
        )
    count = min(len(names) - 1, max(1, round(share * len(names))))
    kept = set(np.random.default_rng(seed).permutation(names)[:count])
    return (
        [head for head in heads if head.participant not in kept],
        [head for head in heads if head.participant in kept],
    )
