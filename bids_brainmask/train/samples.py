# SPDX-License-Identifier: Apache-2.0
"""Samples for training: windows of augmented real heads and of synthetic heads.

Keras is not imported, so that the processes that make samples start fast and use little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
from scipy import ndimage

from bids_brainmask.train import processes, synthesis
from bids_brainmask.train.config import Config, Stage, Variant
from bids_brainmask.train.dataset import Head
from bids_brainmask.train.label_maps import LabelMap, LabelTable
from bids_brainmask.train.ranges import Synthesis
from bids_brainmask.train.tissues import UNKNOWN
from bids_brainmask.train.transforms import augment, steps
from bids_brainmask.train.transforms.augment import Example
from bids_brainmask.train.transforms.geometry import crop
from bids_brainmask.voxels import rows
from bids_brainmask.voxels.inference import tiles
from bids_brainmask.voxels.scaling import scale_robustly

SIDE = 256
"""Voxels of the conformed grid along each axis."""


@dataclass(frozen=True)
class Sampler:
    """Batches of random windows, (N, I, J, K, 1) images and labels.

    Labels have a second channel where the training has a loss on tissues: the number of the group
    of tissues, `UNKNOWN` in real heads.

    A batch depends on the seed, the epoch and its number only, not on the process that makes it.
    Augmenting a head takes longer than cropping it, so a stage may take several windows of each
    (`looks`).
    """

    config: Config
    stage: Stage
    seed: int
    heads: list[Head]
    label_maps: Sequence[LabelMap] = ()
    table: LabelTable | None = None
    still: bool = False
    """Take one head after the other; for validation, whose stage has no variants."""

    def batch(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Make one batch, float32."""
        rng = np.random.default_rng([self.seed, epoch, number])
        count = self.stage.batch // self.stage.looks
        if self.still:
            first = number * self.stage.batch
            heads: list[Head | LabelMap] = [*self.heads[first : first + self.stage.batch]]
        elif self.stage.synthetic:
            heads = self._mixed(count, rng)
        else:
            heads = self._heads(count, rng)
        return stack(window for head in heads for window in self._draw(head, rng))

    def _mixed(self, count: int, rng: np.random.Generator) -> list[Head | LabelMap]:
        """Draw heads and label maps."""
        heads: list[Head | LabelMap] = []
        for _ in range(count):
            if rng.random() < self.stage.synthetic:
                heads.append(self.label_maps[int(rng.integers(len(self.label_maps)))])
            else:
                heads += self._heads(1, rng)
        return heads

    def _heads(self, count: int, rng: np.random.Generator) -> list[Head | LabelMap]:
        """Draw heads by their weights."""
        weights = np.array([head.weight for head in self.heads])
        drawn = rng.choice(len(self.heads), count, p=weights / weights.sum())
        return [self.heads[number] for number in drawn]

    def _draw(
        self, head: Head | LabelMap, rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        centers = [self._center(head, rng) for _ in range(self.stage.looks)]
        if isinstance(head, LabelMap):
            level = self.config.intensities == "brain"
            table, shape = cast("LabelTable", self.table), self.stage.window
            ranges = cast("Synthesis", self.config.synthesis)
            for center in centers:
                how = (head, table, ranges, center, shape, rng)
                image, label, groups = synthesis.draw(*how, level=level)
                yield image, self._with_groups(label, groups)
            return
        variant = choose(self.config, self.stage, rng)
        example = changed(head, variant, self.config, rng)
        for center in centers:
            image, label = cropped(example, head, center, self.stage, variant, self.config, rng)
            yield image, self._with_groups(label, UNKNOWN)

    def _with_groups(self, label: np.ndarray, groups: np.ndarray | np.int8) -> np.ndarray:
        """Join label and groups of tissues as channels, if the training has a loss on these."""
        if not self.config.tissues:
            return label
        return np.stack(np.broadcast_arrays(label, groups), -1, dtype=np.float32)

    def _center(self, head: Head | LabelMap, rng: np.random.Generator) -> np.ndarray:
        center = head.middle + rng.uniform(-self.stage.reach, self.stage.reach, 3)
        if rng.random() < self.stage.neck:
            center[2] = head.middle[2] - rng.uniform(40, 100)
        return center


@dataclass
class BlockSampler:
    """Batches of the cubes that tile conformed heads; the order of heads changes each epoch.

    The cube is the stage's window; its side divides 256.
    """

    heads: list[Head]
    config: Config
    stage: Stage
    seed: int
    still: bool = False

    def __post_init__(self) -> None:
        self.places = list(tiles((SIDE,) * 3, self.stage.window[0]))
        self.drawn: tuple = (None, None)  # the last augmented head, for its other cubes

    def count(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.heads) * len(self.places) // self.stage.batch)

    def batch(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Make one batch, float32."""
        first = number * self.stage.batch
        last = min(first + self.stage.batch, len(self.heads) * len(self.places))
        return stack([self._block(epoch, index) for index in range(first, last)])

    def _block(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        turn, place = divmod(index, len(self.places))
        key = (epoch, turn)
        found, volume = self.drawn
        if found != key:
            volume = self._volume(*key)
            self.drawn = (key, volume)
        image, label = volume
        return image[self.places[place]], label[self.places[place]]

    def _volume(self, epoch: int, turn: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.heads))
        rng = np.random.default_rng([self.seed, epoch, turn])
        head = self.heads[order[turn]]
        center = (head.affine @ [*[(SIDE - 1) / 2] * 3, 1])[:3]
        variant = choose(self.config, self.stage, rng)
        whole = msgspec.structs.replace(self.stage, window=(SIDE,) * 3, near=0.0)
        return draw(head, center, whole, variant, self.config, rng)


held: tuple[Sampler | BlockSampler, Path | None] | None = None
"""The one sampler of a process that makes samples, and the folder of `processes.memory`."""


def hold(sampler: Sampler | BlockSampler, folder: Path | None) -> None:
    """Keep a sampler and a folder for `make`, in a process that makes samples."""
    global held
    held = sampler, folder


def make(epoch: int, number: int) -> tuple[np.ndarray, ...] | tuple[str, ...]:
    """Make a batch with the sampler of this process, and hand it over by `processes.put`."""
    sampler, folder = cast("tuple[Sampler | BlockSampler, Path | None]", held)
    return processes.put(sampler.batch(epoch, number), folder)


def choose(config: Config, stage: Stage, rng: np.random.Generator) -> Variant:
    """Draw one of a stage's variants; the rest of their shares to 1 is the unchanged head."""
    names = list(stage.variants)
    bounds = np.cumsum([stage.variants[name] for name in names])
    number = int(np.searchsorted(bounds, rng.random(), side="right"))
    return config.variants[names[number]] if number < len(names) else Variant()


def draw(
    head: Head,
    center: np.ndarray,
    stage: Stage,
    variant: Variant,
    config: Config,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Augment a head and take one window of it: `changed`, then `cropped`."""
    example = changed(head, variant, config, rng)
    return cropped(example, head, center, stage, variant, config, rng)


def changed(head: Head, variant: Variant, config: Config, rng: np.random.Generator) -> Example:
    """Apply a variant's steps to a head, and scale it by its own statistics, as in use."""
    example = steps.change(head.example(), variant.steps, rng)
    gain = np.float32(np.exp(rng.normal(0, variant.gain)))
    image = scale_robustly(example.image) * gain
    again = rows.scaling(config.intensities).again
    if again and rng.random() < 0.5:
        image = level(image, example.label, again)
    label = lesion_of(example) if config.target == "lesion" else example.label
    return replace(example, image=image, label=label)


def cropped(
    example: Example,
    head: Head,
    center: np.ndarray,
    stage: Stage,
    variant: Variant,
    config: Config,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Take one window of an augmented head, add noise, and scale it as in use.

    Parameters
    ----------
    center : (3,) array
        World position, mm, of the window's middle, unless the window is to be near a lesion.

    Returns
    -------
    image, label : window float32 arrays
        The label is in [0, 1].
    """
    if config.target == "lesion" and example.label.any() and rng.random() < stage.near:
        reach = min(stage.reach, min(stage.window) / 3)  # so that the lesion is in the window
        center = middle(example, rng) + rng.uniform(-reach, reach, 3)
    how, order = config.data.interpolation, head.axes
    image, label = crop(
        *(example, center, stage.window, variant.geometry, rng), axes=order, interpolation=how
    )
    if rng.random() < variant.steps.get("noise", 0):
        image = augment.noise(image, rng)
    return rows.scaling(config.intensities).scale_part(image, example.image), label


def lesion_of(example: Example) -> np.ndarray:
    """Lesions grown in an example, on the label's grid; zeros if there are none."""
    return np.zeros_like(example.label) if example.lesion is None else example.lesion


def middle(example: Example, rng: np.random.Generator) -> np.ndarray:
    """World position of the center of a random component of the label, (3,), mm."""
    components, number = ndimage.label(example.label > 0)
    one = ndimage.center_of_mass(components == rng.integers(1, number + 1))
    return (example.label_affine @ [*one, 1])[:3]


def level(
    image: np.ndarray,
    label: np.ndarray,
    again: Callable[[np.ndarray, np.ndarray], np.ndarray | None],
) -> np.ndarray:
    """Scale an image as for the network's second pass.

    An image of thick slices is on another grid than its label and stays as it is.
    """
    if image.shape != label.shape:
        return image
    second = again(image, label > 0.5)
    return np.clip(image, 0, 2) if second is None else second


def stack(examples: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Stack examples into a batch; an axis for the channel is added where there is none."""
    images, labels = (np.stack(values) for values in zip(*examples, strict=True))
    return images[..., None], labels if labels.ndim > images.ndim else labels[..., None]
