# SPDX-License-Identifier: Apache-2.0
"""Configuration of a training: one value, read from YAML and checked key by key."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bids_brainmask.analyses import catalog
from bids_brainmask.errors import UsageError
from bids_brainmask.models import unet
from bids_brainmask.models.model import check_height, check_names
from bids_brainmask.models.unet import Architecture
from bids_brainmask.train.choices import Loss
from bids_brainmask.train.ranges import Part, Share, Synthesis
from bids_brainmask.train.transforms.geometry import Geometry
from bids_brainmask.train.transforms.steps import STEPS
from bids_brainmask.voxels import rows

Count = Annotated[int, Meta(ge=1)]


class Data(Part):
    """Images for training, and the part of their labels that is the target."""

    bids_dir: str
    """Dataset of the images; relative to the configuration's folder."""

    labels: str
    """Dataset of the labels; relative to `bids_dir`. Its files are named after the images."""

    manual: str = ""
    """Name of an analysis: its masks in `labels` that a person corrected are the labels, and no
    other file. Empty: the files with the ending."""

    ending: str = "mask"
    """How the names of label files end, without extension, as in ``desc-brain_mask``."""

    values: tuple[int, ...] = ()
    """Values of the labels that are the target; none: all but 0."""

    allow_empty: bool = False
    """Include images without the target."""

    interpolation: Literal["linear", "nearest"] = "linear"
    """Of the labels. Linear ones have soft edges, which show where between voxels an edge is."""

    select: dict[str, str] = {}
    """Columns of participants.tsv, and the value that a participant must have there."""

    exclude: tuple[str, ...] = ()
    """Participants to leave out, without ``sub-``."""

    often: dict[str, Annotated[float, Meta(gt=0)]] = {}
    """Weight of a participant in the draw, if not 1; for example those of rare scanners."""

    validation: Share = 0.1
    """Share of the participants for validation; 0: none."""


class LabelMaps(Part):
    """Label maps of whole heads, from which images are made."""

    folder: str
    """Files ``*_dseg.nii.gz``; relative to the configuration's folder."""

    table: str = ""
    """What each label is; relative to the configuration's folder. Empty: the package's table, for
    the label maps of SynthSeg's repository."""

    exclude: tuple[str, ...] = ()
    """Names to leave out: the part before ``_dseg``."""


class Variant(Part):
    """One kind of augmentation."""

    geometry: Geometry = Geometry()
    steps: dict[str, Share] = {}
    """Probabilities of the steps of `bids_brainmask.train.transforms.steps`, and of ``noise``."""

    gain: Annotated[float, Meta(ge=0)] = 0.0
    """Standard deviation of the logarithm of a factor on all intensities."""

    def __post_init__(self) -> None:
        known = [*STEPS, "noise"]
        if unknown := sorted(set(self.steps) - set(known)):
            raise ValueError(f"unknown steps {unknown}; expected among {known}")


class Stage(Part):
    """Part of a training with its own optimizer."""

    epochs: Count
    rate: tuple[float, float]
    """Learning rate of Adam, from and to, along a cosine; it rises over the first twentieth."""

    steps: Count = 100
    """Steps of an epoch; with blocks, their number decides instead."""

    batch: Count = 2
    window: tuple[Count, Count, Count] = (128, 128, 128)
    """Size of the input in voxels."""

    windows: Literal["random", "blocks"] = "random"
    """Random windows around the label, or cubes that tile each conformed volume."""

    reach: Annotated[float, Meta(ge=0)] = 35.0
    """Largest distance of a random window's middle from the label's along each axis, mm."""

    near: Share = 0.0
    """Share of the random windows whose middle lies within reach of a grown lesion."""

    looks: Count = 1
    """Windows taken of each augmented head; `batch` is a multiple of it."""

    neck: Share = 0.0
    """Share of the random windows whose middle lies 40 to 100 mm below the label's."""

    synthetic: Share = 0.0
    """Share of the samples that are made from label maps."""

    variants: dict[str, Share] = {}
    """Names of variants, and their shares of the examples; the rest is not augmented."""

    normalise: bool = False
    """With batch normalization; a later stage without it folds it into the convolutions."""

    exclude: tuple[str, ...] = ()
    """Participants that this stage leaves out, for a test on unseen sources."""

    architecture: dict[str, Any] = {}
    """A narrower network than the final one; the next stage starts from it, widened."""

    def __post_init__(self) -> None:
        if sum(self.variants.values()) > 1 + 1e-6:
            raise ValueError("the shares of the variants sum to more than 1")
        if self.batch % self.looks:
            raise ValueError(f"looks: {self.looks} does not divide batch: {self.batch}")
        if min(self.rate) < 0 or self.rate[0] <= 0:
            raise ValueError(
                f"rate: found {self.rate}, expected a start above 0 and an end of 0 or more"
            )


class Card(Part):
    """Texts for the model card."""

    license: str = ""
    """License of the weights."""

    citation: str = ""
    intended_use: str = "Research on images like those it was trained on."
    sources: tuple[str, ...] = ()
    """The data, each with its license."""


class Config(Part):
    """Configuration of a training."""

    name: str
    """Name of the model; letters, digits, ``_`` and ``-``."""

    data: Data
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    label_maps: LabelMaps | None = None
    synthesis: Synthesis | None = None
    """Ranges for images made from the label maps."""

    task: str = "brain"
    """Analysis that the network is for."""

    target: Literal["label", "lesion"] = "label"
    """Target of the network: the label, or the lesions that the step ``meningiomas`` grows in
    heads whose label is the brain."""

    architecture: str | dict[str, Any] = "compact"
    """A name; the fields of `bids_brainmask.models.unet.Architecture`; or ``keras``: the network
    in the file `start`."""

    divisor: Count = 32
    """Axes of an input are multiples of this; for the architecture ``keras``."""

    start: str = ""
    """Registered model or file with the initial weights; empty: random weights."""

    allow_unverified: bool = False
    """Allow a `start` folder whose ``model.toml`` has no hash of the model."""

    grid: str = "head"
    """Grid of the network in use; with ``fsconform``, also in training."""

    intensities: str = "robust"
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    height: Annotated[int, Meta(ge=0)] = 0
    """In use, voxels of the grid that the network is given at most, from the top; 0: all."""
    near_brain: Annotated[float, Meta(ge=0)] = 0.0
    """In use, lesions farther than this from the brain, mm, are dropped; 0: none is. Not used in
    training."""

    peak: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """In use, lesions whose largest probability is below this are dropped; 0: none is."""

    flips: bool = False
    """In use, average the probabilities with those of the mirror image."""

    loss: Loss = "dice+crossentropy"
    crossentropy: Annotated[float, Meta(gt=0)] = 2.0
    """Weight of the cross-entropy in a sum."""

    tissues: Annotated[float, Meta(ge=0)] = 0.0
    """Weight of an auxiliary loss, in synthetic samples: the cross-entropy of the groups of
    tissues, which another output tells apart. It is dropped after the training. 0: none."""

    variants: dict[str, Variant] = {}
    patience: Annotated[int, Meta(ge=0)] = 0
    """Epochs without a better validation Dice after which to stop; 0: never."""

    folds: Annotated[int, Meta(ge=0)] = 0
    """Folds by participant of a cross-validation before the training on all; 0: none."""

    seed: int = 0
    policy: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    card: Card = Card()

    def __post_init__(self) -> None:
        name = self.architecture if isinstance(self.architecture, str) else unet.KERAS
        check_names(name, self.grid, self.intensities)
        check_height(self.height, name, self.divisor)
        if self.task not in (known := catalog.with_model()):
            raise ValueError(f"key 'task' is {self.task!r}, expected {' or '.join(known)}")
        in_training = [row.name for row in rows.GRIDS if row.in_training]
        bounded = [row.name for row in rows.SCALINGS if row.is_bounded]
        for number, stage in enumerate(self.stages):
            if unknown := sorted(set(stage.variants) - set(self.variants)):
                raise ValueError(
                    f"stages[{number}]: unknown variants {unknown}; expected among "
                    f"{[*self.variants]}"
                )
            if stage.windows == "blocks" and self.grid not in in_training:
                raise ValueError(
                    f"stages[{number}]: windows: blocks needs grid: {' or '.join(in_training)}"
                )
            if stage.synthetic and not (self.label_maps and self.synthesis):
                raise ValueError(f"stages[{number}]: synthetic needs label_maps and synthesis")
            if stage.synthetic and self.intensities not in bounded:
                raise ValueError(
                    f"stages[{number}]: synthetic needs intensities: {' or '.join(bounded)}"
                )
            if stage.synthetic and stage.windows == "blocks":
                raise ValueError(f"stages[{number}]: synthetic needs windows: random")
            if stage.near and self.target != "lesion":
                raise ValueError(f"stages[{number}]: near needs target: lesion")
        self._check_tumors()
        self._check_tissues()
        if self.data.validation and self.target == "lesion":
            raise ValueError(
                "target: lesion needs data.validation: 0; its lesions differ in every window"
            )
        if self.data.validation and any(stage.architecture for stage in self.stages):
            raise ValueError("stages with an architecture need data.validation: 0")
        if self.architecture == unet.KERAS and not self.start:
            raise ValueError("architecture: keras needs start: a file of a Keras model")
        if self.patience and not (self.data.validation or self.folds):
            raise ValueError("patience needs data.validation above 0, or folds")
        self._check_folds()

    def _check_folds(self) -> None:
        """Check that a cross-validation fits the rest."""
        if not self.folds:
            return
        if self.folds < 2:
            raise ValueError("folds: found 1; expected 2 or more, or 0 for none")
        if self.data.validation:
            raise ValueError("folds needs data.validation: 0; each fold is validated on")
        if self.target == "lesion" or any(stage.architecture for stage in self.stages):
            raise ValueError("folds needs target: label, and stages without an architecture")

    def _check_tissues(self) -> None:
        """Check that there are samples whose tissues are known, and a network to add them to."""
        if not self.tissues:
            return
        if not all(stage.synthetic for stage in self.stages):
            raise ValueError("tissues needs synthetic above 0 in every stage")
        if self.architecture == unet.KERAS or any(stage.architecture for stage in self.stages):
            raise ValueError("tissues needs one architecture for all stages, and not keras")

    def _check_tumors(self) -> None:
        """Check that the label maps' target is that of the network."""
        if not (self.synthesis and any(stage.synthetic for stage in self.stages)):
            return
        if (self.target == "lesion") != bool(self.synthesis.tumors):
            raise ValueError(
                "synthetic with target: lesion needs synthesis.tumors, and target: label none"
            )
        if self.target == "lesion" and rows.scaling(self.intensities).again:
            raise ValueError(
                f"synthetic with target: lesion: found intensities: {self.intensities}, which "
                f"need a brain; expected {rows.scaling(self.intensities).without_brain}"
            )


def network_of(config: Config, stage: Stage | None = None) -> Architecture | None:
    """Architecture of a stage, or of the final network; None for a Keras file.

    Raises
    ------
    UsageError
        The fields are not those of an `Architecture`.
    """
    asked = (stage and stage.architecture) or config.architecture
    if isinstance(asked, str):
        return unet.named(asked).architecture
    try:
        return msgspec.convert(asked, Architecture)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"architecture: {error}") from error


def read(path: Path | str, label_maps: str = "", **replacements: str) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : Path
        YAML; or the name of a recipe in the package, without suffix.
    label_maps : str
        Folder of label maps; replaces that in the file.
    replacements
        Fields of `Data`; they replace those in the file.

    Raises
    ------
    UsageError
        It cannot be read, is not YAML, or a key is unknown, missing, or not of its type or range.
    """
    import yaml

    text = text_of(path)
    try:
        content = yaml.safe_load(text)
        if not isinstance(content, dict):
            raise UsageError(f"{path}: expected a mapping of keys to values, found {content!r}")
        if isinstance(content.get("data"), dict):
            content["data"] |= replacements
        if label_maps:
            content["label_maps"] = (content.get("label_maps") or {}) | {"folder": label_maps}
        return msgspec.convert(content, Config)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: not a configuration of a training: {error}") from error


def remember(config: Config, out: Path) -> None:
    """Write the configuration into the folder of its training; refuse another one there.

    Raises
    ------
    UsageError
        The folder holds another configuration.
    """
    path = out / "config.json"
    text = msgspec.json.format(msgspec.json.encode(config)).decode() + "\n"
    if path.exists() and not _holds(path, config):
        raise UsageError(
            f"{out}: holds a training with another configuration ({path}). Choose another "
            "folder, or give the same configuration to resume the training."
        )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _holds(path: Path, config: Config) -> bool:
    """Tell whether a file has a configuration; a key that it lacks has its default."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config) == config
    except msgspec.DecodeError:
        return False


def recipes() -> dict[str, Path]:
    """Find the configurations in the package, by name."""
    folder = Path(str(importlib.resources.files("bids_brainmask.data") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def text_of(path: Path | str) -> str:
    """Content of a file, or of the package's recipe of that name."""
    shipped = recipes()
    place = shipped.get(str(path), Path(path))
    try:
        return place.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}). Give a YAML file, or the name of a "
            f"recipe: {', '.join(shipped)}."
        ) from error
