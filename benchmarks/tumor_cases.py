# SPDX-License-Identifier: Apache-2.0
"""Synthetic heads with meningiomas and without, by two generators, kept in a folder.

A case depends on its set, its number and the seed, and on nothing else: not on the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import degrade
import heads
import label_maps as whole_heads
import msgspec
import nibabel as nb
import numpy as np

from bids_brainmask.analyses import brain as brains
from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends
from bids_brainmask.models.model import Model
from bids_brainmask.train import config, dataset, label_maps, synthesis, windows
from bids_brainmask.train.transforms import augment
from bids_brainmask.train.transforms.augment import Example
from bids_brainmask.train.transforms.steps import STEPS
from bids_brainmask.voxels import grid, image
from bids_brainmask.voxels.image import Volume
from bids_brainmask.voxels.scaling import scale_robustly

MAPS = whole_heads.MAPS
"""Label maps that no recipe learns from."""

REFERENCE = "deepbet"
"""Whose masks say where the brain is, for tumors to be grown on its outside."""

CHANCES = {"contrast": 1.0, "metastases": 0.2, "meningiomas": 1.0, "shade": 0.3}
"""Chances of the steps in real heads, in the order in which they are taken; clear heads get no
meningiomas."""

NOISY = 0.3
"""Chance of noise, which comes last."""

TRIES = 20
"""Draws of tumors until one has room to grow."""

RECIPE, CONTRAST = "meningioma-label-maps", "T1wGd"
"""Recipe by whose ranges heads are drawn from label maps, and its contrast."""

COUNTS = (0.0, 0.6, 0.3, 0.1)
"""Chances of no tumor, of one, of two and of three, in label maps' heads with tumors."""

VOLUMES = (0.2, 60.0)
"""Volumes of the tumors in label maps, mL."""

SLICES = (5.0, 6.5)
"""Thickness of clinical slices, mm."""

CUT_TOP, CUT_BOTTOM = (0.7, 25.0), (0.5, 30.0)
"""Chance that a clinical field of view ends within the brain, and by how much at most, mm."""

MARGIN = 12.0
"""What is around the brain in `Case.box`, mm."""

TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels at a face, an edge or a corner are of one true lesion."""

TUMORS, CLEAR = "tumors", "clear"
"""Kinds of cases."""


@dataclass(frozen=True)
class Case:
    """A synthetic head; its axes run along R, A, S as far as can be."""

    number: int
    head: str
    image: Volume  # float32
    truth: np.ndarray  # (I, J, K) bool; no voxel of a clear head
    box: tuple[slice, slice, slice]  # the brain and `MARGIN` around it

    @property
    def source(self) -> image.Source:
        """As what is read from a file."""
        return image.Source(self.image, nb.Nifti1Image(self.image.data, self.image.affine))


@dataclass(frozen=True)
class Cases:
    """The cases of all sets; each is made once, and read from the folder after that.

    Parameters
    ----------
    data : Path
        Holds `heads` and `label_maps`.
    folder : Path
    seed : int
    split : str
        Of the heads.
    shape : tuple of 3 int
        Voxels of 1 mm of the heads from label maps.
    """

    data: Path
    folder: Path
    seed: int
    split: str = "dev"
    shape: tuple[int, int, int] = whole_heads.SHAPE

    @cached_property
    def found(self) -> list[heads.Head]:
        """Real heads."""
        return heads.find(self.data / "heads", self.split)

    @cached_property
    def maps(self) -> tuple[list[label_maps.LabelMap], label_maps.LabelTable]:
        """Label maps that no recipe learns from, and the table of their labels."""
        return whole_heads.lay_out(self.data, MAPS, self.folder / "label_maps")

    def of(self, name: str, number: int, kind: str) -> Case:
        """Read a case of one of `SETS`, or make it."""
        path = self._path(name, number, kind)
        if path.exists():
            return load(path)
        generator, clinical = SETS[name]
        if clinical:
            rng = np.random.default_rng([self.seed, number, 5 + (kind == CLEAR)])
            case = in_slices(self.of(generator, number, kind), rng)
        elif generator == "heads":
            case = self._grown(number, kind)
        else:
            case = self._drawn(number, kind)
        save(case, path)
        return load(path)

    def brain(self, name: str, case: Case, kind: str, finder: Brains) -> Extraction | None:
        """Read the brain that the app finds in a case, or find it; None: it finds none."""
        return brain_of(case.source, self._path(name, case.number, kind).with_suffix(""), finder)

    def _path(self, name: str, number: int, kind: str) -> Path:
        return self.folder / f"seed-{self.seed}" / name / f"{number:03}-{kind}.npz"

    def _grown(self, number: int, kind: str) -> Case:
        head = self.found[number % len(self.found)]
        clear = kind == CLEAR
        # The 1 is last, since NumPy takes [seed, 1, 0] for [seed, 1].
        rng = np.random.default_rng([self.seed, number, 1] if clear else [self.seed, number])
        return grow(read(head), number, head.name, rng, clear=clear)

    def _drawn(self, number: int, kind: str) -> Case:
        maps, table = self.maps
        head = maps[number % len(maps)]
        for turn in range(1, TRIES + 1):
            seed = [self.seed, number, 3 + (kind == CLEAR), turn]
            case = draw(head, table, number, seed, self.shape, clear=kind == CLEAR)
            if kind == CLEAR or case.truth.any():
                return case
        raise ImageError(f"{head.name}: no meningioma grows in {TRIES} draws")


Brains = tuple[Model, backends.Network]
"""What finds the brain, as the app does before it looks for lesions."""

SETS: dict[str, tuple[str, bool]] = {
    "heads": ("heads", False),
    "label-maps": ("label-maps", False),
    "heads-clinical": ("heads", True),
    "label-maps-clinical": ("label-maps", True),
}
"""Generator of each set, which is the name of its set of whole heads, and whether its cases are
clinical slices of those."""


def brain_of(source: image.Source, place: Path | None, finder: Brains) -> Extraction | None:
    """Find the brain of a head, as the app does; None: it finds none.

    Parameters
    ----------
    source : Source
    place : Path or None
        Where the mask is kept: a folder, and the name without its suffixes; None: it is not.
    finder : tuple
    """
    model, network = finder
    shape, size = source.volume.data.shape, source.volume.data.size
    path = place and place.with_name(f"{place.name}.{model.sha256[:12]}.npy")
    if path and path.exists():
        mask = np.unpackbits(np.load(path), count=size).reshape(shape).astype(bool)
    else:
        try:
            mask = brains.extract(source, model, network, model.threshold).mask
        except ImageError:
            mask = np.zeros(shape, bool)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.packbits(mask))
    nothing = np.zeros((1, 1, 1), np.float32)
    return Extraction(mask, nothing, 0.0, None, None) if mask.any() else None


def save(case: Case, path: Path) -> None:
    """Write a case; what is written is float16, if that is what it was rounded to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = case.image.data.astype(np.float16)
    data = half if (half == case.image.data).all() else case.image.data
    part = path.with_suffix(".part")
    box = [[side.start, side.stop] for side in case.box]
    with part.open("wb") as file:
        np.savez(
            file,
            data=data,
            affine=case.image.affine,
            truth=np.packbits(case.truth),
            box=np.array(box),
            number=case.number,
            head=case.head,
        )
    part.replace(path)


def load(path: Path) -> Case:
    """Read a case."""
    with np.load(path) as file:
        volume = Volume(file["data"].astype(np.float32), file["affine"])
        count = volume.data.size
        truth = np.unpackbits(file["truth"], count=count).reshape(volume.data.shape).astype(bool)
        box = tuple(slice(*map(int, side)) for side in file["box"])
        return Case(int(file["number"]), str(file["head"]), volume, truth, box)


def around(brain: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice, slice]:
    """Box of a brain and `MARGIN` around it."""
    reach = np.ceil(MARGIN / spacing).astype(int)
    low, high = augment.bounds(brain)
    low, high = np.maximum(low - reach, 0), np.minimum(high + reach, brain.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def read(head: heads.Head) -> Example:
    """Read a head on its own voxels, labelled with its brain by `REFERENCE`."""
    if REFERENCE not in head.references:
        raise ImageError(f"{head.image}: tumors grow on a brain; no mask by {REFERENCE} is there")
    source = image.read(head.image).volume
    brain = Volume(image.read_mask(head.references[REFERENCE]), source.affine)
    volume, brain = grid.canonical(source), grid.canonical(brain).data
    depth = dataset.depth_of(brain, volume.spacing)
    data, label = scale_robustly(volume.data), brain.astype(np.float32)
    return Example(data, volume.affine, label, volume.affine, depth)


def grow(
    example: Example, number: int, head: str, rng: np.random.Generator, *, clear: bool = False
) -> Case:
    """Make a case of a real head, one step of `CHANCES` after the other."""
    box = around(example.label > 0.5, example.spacing)
    for name, chance in CHANCES.items():
        if rng.random() < chance * (name != "meningiomas" or not clear):
            step = meningiomas if name == "meningiomas" else STEPS[name]
            example = step(example, rng)
    data = augment.noise(example.image, rng) if rng.random() < NOISY else example.image
    truth = np.zeros(data.shape, bool) if clear else example.lesion >= 0.5
    return Case(number, head, Volume(data.astype(np.float32), example.affine), truth, box)


def meningiomas(example: Example, rng: np.random.Generator) -> Example:
    """Grow at least one meningioma: one that has no room is drawn again, up to `TRIES` times."""
    for _ in range(TRIES):
        grown = STEPS["meningiomas"](example, rng)
        if grown.lesion is not None and (grown.lesion >= 0.5).any():
            return grown
    raise ImageError(f"no meningioma grows in {TRIES} draws. Look at the head's brain mask.")


def ranges(*, clear: bool) -> synthesis.Synthesis:
    """Give the ranges of `RECIPE`, for whole heads of voxels of about 1 mm."""
    change = msgspec.structs.replace
    found = config.read(RECIPE).synthesis
    counts = (1.0,) if clear else COUNTS
    return change(
        found,
        tumors=change(found.tumors, count=counts, volume=VOLUMES),
        field_of_view=change(found.field_of_view, ends=0.0, strip=0.0),
        acquisition=change(found.acquisition, thick=0.0),
    )


def draw(
    head: label_maps.LabelMap,
    table: label_maps.LabelTable,
    number: int,
    seed: Sequence[int],
    shape: tuple[int, int, int],
    *,
    clear: bool,
) -> Case:
    """Draw a whole head from a label map, cropped to what is not 0; rounded to float16."""
    how = (head, table, ranges(clear=clear), head.middle, shape)
    data, label, _ = synthesis.draw(*how, np.random.default_rng(seed), contrast=CONTRAST)
    # A window is what is drawn first, so that this one is the same.
    brain = windows.crop(*how, np.random.default_rng(seed)).depth > 0
    seen = image.bounds((data != 0) | brain)
    affine = np.eye(4)
    affine[:3, 3] = [side.start for side in seen]
    data = np.ascontiguousarray(data[seen]).astype(np.float16).astype(np.float32)
    box = around(brain[seen], np.ones(3))
    return Case(number, head.name, Volume(data, affine), label[seen] >= 0.5, box)


def in_slices(case: Case, rng: np.random.Generator) -> Case:
    """Acquire axial slices of `SLICES`; the field of view may end within the brain.

    The truth is what is tumor by half of a slice or more. The field of view of a case with tumors
    is drawn until it holds some of that.
    """
    for _ in range(TRIES):
        made = _in_slices(case, rng)
        if made.truth.any() or not case.truth.any():
            return made
    raise ImageError(f"{case.head}, case {case.number}: no tumor is left in {TRIES} draws")


def _in_slices(case: Case, rng: np.random.Generator) -> Case:
    step, axial = float(case.image.spacing[2]), case.box[2]
    reach = round(MARGIN / step)
    low, high = max(0, axial.start - 2 * reach), min(case.truth.shape[2], axial.stop + reach)
    if rng.random() < CUT_TOP[0]:
        high = axial.stop - reach - round(rng.uniform(0, CUT_TOP[1]) / step)
    if rng.random() < CUT_BOTTOM[0]:
        low = axial.start + reach + round(rng.uniform(0, CUT_BOTTOM[1]) / step)
    thick = float(rng.uniform(*SLICES))
    weights = degrade.averaging(high - low, step, thick)
    weights = weights[weights.sum(1) > 0.999]  # slices that lie within the field of view
    data, share = (
        np.ascontiguousarray(array[:, :, low:high].astype(np.float32) @ weights.T)
        for array in (case.image.data, case.truth)
    )
    place = np.diag([1.0, 1.0, thick / step, 1.0])
    place[2, 3] = low + float(weights[0] @ np.arange(high - low)) / float(weights[0].sum())
    box = (*case.box[:2], slice(0, data.shape[2]))
    return replace(
        case, image=Volume(data, case.image.affine @ place), truth=share >= 0.5, box=box
    )
