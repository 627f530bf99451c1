# SPDX-License-Identifier: Apache-2.0
"""All that decides a training, as one value; read from YAML, checked key by key."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bids_brainmask.errors import UsageError
from bids_brainmask.models.model import ArchitectureName, GridName, Intensities, Task
from bids_brainmask.models.unet import COMPACT, SEED, Architecture
from bids_brainmask.train.choices import Loss
from bids_brainmask.train.ranges import Part, Share, Synthesis
from bids_brainmask.train.transforms.geometry import Geometry
from bids_brainmask.train.transforms.steps import STEPS

Count = Annotated[int, Meta(ge=1)]

ARCHITECTURES = {"seed": SEED, "compact": COMPACT}

FINETUNING = {
    "mild": {
        "geometry": {"turn": 5, "scale": 0.06, "stretch": 0.03, "flip": 0.5},
        "steps": {"gamma": 0.4, "shade": 0.3, "noise": 0.3, "sharpen": 0.2},
        "gain": 0.05,
    },
    "wild": {
        "geometry": {"turn": 12, "scale": 0.15, "stretch": 0.05, "bend": 4, "flip": 0.5},
        "steps": {"gamma": 0.6, "shade": 0.6, "noise": 0.5, "sharpen": 0.4, "thicken": 0.2},
        "gain": 0.08,
    },
}
"""Variants for any target: none of them takes the label to be a brain."""


class Data(Part):
    """Which images are learned from, and what of their labels."""

    bids_dir: str
    """Dataset of the images; relative to the configuration's folder."""

    labels: str
    """Dataset of the labels; relative to `bids_dir`. Its files are named after the images."""

    ending: str = "mask"
    """How the names of label files end, without extension, as in ``desc-brain_mask``."""

    values: tuple[int, ...] = ()
    """Values of the labels that are the target; none: all but 0."""

    allow_empty: bool = False
    """Take images without the target, too."""

    interpolation: Literal["linear", "nearest"] = "linear"
    """Of the labels. Linear ones have soft edges, which says where between voxels an edge is."""

    select: dict[str, str] = {}
    """Columns of participants.tsv, and the value that a participant must have there."""

    exclude: tuple[str, ...] = ()
    """Participants to leave out, without ``sub-``."""

    often: dict[str, Annotated[float, Meta(gt=0)]] = {}
    """How often a participant is drawn, where not once; those of rare scanners, say."""

    validation: Share = 0.1
    """Share of the participants that are kept apart to tell when to stop; 0: none."""


class LabelMaps(Part):
    """Label maps of whole heads, from which images are made."""

    folder: str
    """Files ``*_dseg.nii.gz``; relative to the configuration's folder."""

    table: str = ""
    """What each label is; relative to the configuration's folder. Empty: the package's table, for
    the label maps of SynthSeg's repository."""

    exclude: tuple[str, ...] = ()
    """Names to leave out: what precedes ``_dseg``."""


class Variant(Part):
    """One way of changing an example."""

    geometry: Geometry = Geometry()
    steps: dict[str, Share] = {}
    """Chances of the steps of `bids_brainmask.train.transforms.steps`, and of ``noise``."""

    gain: Annotated[float, Meta(ge=0)] = 0.0
    """Standard deviation of the logarithm of a factor on all intensities."""

    def __post_init__(self) -> None:
        known = [*STEPS, "noise"]
        if unknown := sorted(set(self.steps) - set(known)):
            raise ValueError(f"unknown steps {unknown}; expected among {known}")


class Stage(Part):
    """A part of a training, with an optimizer of its own."""

    epochs: Count
    rate: tuple[float, float]
    """Learning rate of Adam, from and to, along a cosine; it rises over the first twentieth."""

    steps: Count = 100
    """Steps of an epoch. An epoch of blocks has as many as there are."""

    batch: Count = 2
    window: tuple[Count, Count, Count] = (128, 128, 128)
    """Voxels seen at once."""

    windows: Literal["random", "blocks"] = "random"
    """Drawn about the label, or cubes that tile each conformed volume."""

    reach: Annotated[float, Meta(ge=0)] = 35.0
    """How far the middle of a random window lies from that of the label along each axis, mm."""

    near: Share = 0.0
    """Share of the random windows whose middle lies within reach of a lesion that was grown."""

    looks: Count = 1
    """Windows into each head of a batch, once it is changed; a batch divides by it."""

    neck: Share = 0.0
    """Share of the random windows that look 40 to 100 mm below the label."""

    synthetic: Share = 0.0
    """Share of the samples that are made from label maps."""

    variants: dict[str, Share] = {}
    """Names of variants, and their shares of the examples; the rest are left as they are."""

    normalise: bool = False
    """With batch normalization; in the first stage without, what it had learned is folded in."""

    exclude: tuple[str, ...] = ()
    """Participants that this stage does without, as a proof on unseen sources wants it."""

    architecture: dict[str, Any] = {}
    """A narrower network than the one that comes out; the next stage goes on with it widened."""

    def __post_init__(self) -> None:
        if sum(self.variants.values()) > 1 + 1e-6:
            raise ValueError("the shares of the variants sum to more than 1")
        if self.batch % self.looks:
            raise ValueError(f"looks: {self.looks} do not divide a batch of {self.batch}")
        if min(self.rate) < 0 or self.rate[0] <= 0:
            raise ValueError(
                f"rate: expected a start above 0 and an end of 0 or more, {self.rate}"
            )


class Card(Part):
    """What the model card says beside the figures."""

    license: str = ""
    """Of the weights."""

    citation: str = ""
    intended_use: str = "Research on images like those it was trained on."
    sources: tuple[str, ...] = ()
    """The data, each with its license."""


class Config(Part):
    """All that decides a training."""

    name: str
    """What the model will be called; letters, digits, ``_`` and ``-``."""

    data: Data
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    label_maps: LabelMaps | None = None
    synthesis: Synthesis | None = None
    """Ranges from which images are made of the label maps."""

    task: Task = "brain"
    target: Literal["label", "lesion"] = "label"
    """What is learned: the label, or what the step ``meningiomas`` grows in heads whose label is
    the brain."""

    architecture: ArchitectureName | dict[str, Any] = "compact"
    """A named one; the fields of `bids_brainmask.models.unet.Architecture`; or ``keras``: that of
    the file that the training starts from."""

    divisor: Count = 32
    """What the axes of an input divide by, for an architecture of ``keras``."""

    start: str = ""
    """Registered model or file whose weights the training starts from; empty: from none."""

    allow_unverified: bool = False
    """Start from a training's folder whose ``model.toml`` has no hash of the model."""

    grid: GridName = "head"
    """Voxels the network will see in use; ``fsconform`` is also what it is trained on."""

    intensities: Intensities = "robust"
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    near_brain: Annotated[float, Meta(ge=0)] = 0.0
    """In use, lesions that come nowhere within this distance of the brain, mm, are dropped; 0:
    none is. Training knows nothing of it."""

    peak: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """In use, lesions none of whose voxels is as probable as this are dropped; 0: none is."""

    flips: bool = False
    """In use, average with what is found in the mirror image."""

    loss: Loss = "dice+crossentropy"
    crossentropy: Annotated[float, Meta(gt=0)] = 2.0
    """Weight of the cross-entropy in a sum."""

    variants: dict[str, Variant] = {}
    patience: Annotated[int, Meta(ge=0)] = 0
    """Epochs without a better validation Dice after which to stop; 0: never."""

    seed: int = 0
    policy: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    card: Card = Card()

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages):
            if unknown := sorted(set(stage.variants) - set(self.variants)):
                raise ValueError(
                    f"stages[{number}]: unknown variants {unknown}; there are {[*self.variants]}"
                )
            if stage.windows == "blocks" and self.grid != "fsconform":
                raise ValueError(f"stages[{number}]: blocks tile a conformed grid: fsconform")
            if stage.synthetic and not (self.label_maps and self.synthesis):
                raise ValueError(f"stages[{number}]: synthetic wants label_maps and synthesis")
            if stage.synthetic and (self.target != "label" or self.intensities == "zscore"):
                raise ValueError(
                    f"stages[{number}]: synthetic wants a target of label, and intensities of "
                    "robust or brain"
                )
            if stage.synthetic and stage.windows == "blocks":
                raise ValueError(f"stages[{number}]: synthetic wants random windows")
            if stage.near and self.target != "lesion":
                raise ValueError(f"stages[{number}]: near wants a target of lesion")
        if self.data.validation and self.target == "lesion":
            raise ValueError("lesions are grown anew for every window: a validation of 0")
        if self.data.validation and any(stage.architecture for stage in self.stages):
            raise ValueError("stages of another architecture want a validation of 0")
        if self.architecture == "keras" and not self.start:
            raise ValueError("an architecture of keras wants a file to start from: start")
        if self.patience and not self.data.validation:
            raise ValueError("patience wants a validation share above 0")


def network_of(config: Config, stage: Stage | None = None) -> Architecture | None:
    """Architecture of a stage, or of what comes out; None for that of a Keras file.

    Raises
    ------
    UsageError
        Its fields are not those of one.
    """
    asked = (stage and stage.architecture) or config.architecture
    if asked == "keras":
        return None
    if isinstance(asked, str):
        return ARCHITECTURES[asked]
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
        Folder of label maps, in place of that in the file.
    replacements
        Fields of `Data` to put in place of those in the file.

    Raises
    ------
    UsageError
        It cannot be read, is not YAML, or a key is unknown, missing, or not of its type or range.
    """
    import yaml

    text = _text(path)
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
    """Keep a configuration in the folder of its training, and refuse another there.

    Raises
    ------
    UsageError
        The folder holds a training with another configuration.
    """
    path = out / "config.json"
    text = msgspec.json.format(msgspec.json.encode(config)).decode() + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{out}: holds a training with another configuration ({path}). Choose another "
            "folder, or give the same one to go on."
        )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def recipes() -> dict[str, Path]:
    """List the configurations that ship in the package, by name."""
    folder = Path(str(importlib.resources.files("bids_brainmask.data")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _text(path: Path | str) -> str:
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
