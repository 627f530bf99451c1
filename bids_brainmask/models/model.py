# SPDX-License-Identifier: Apache-2.0
"""The registry entry of a model, and how a registry of them is read and checked."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from bids_brainmask.errors import ModelError
from bids_brainmask.models import unet
from bids_brainmask.voxels import rows


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered model: all that is known without its file."""

    name: str
    """Name on the command line."""

    version: str
    """Of the weights, as published; ``local`` for a file of the user's."""

    task: str
    """Name of the analysis that it was trained for."""

    file: Annotated[
        str, Meta(pattern=r"^(?!\.\.?\Z)[^/]+\Z", description="a file name without a folder")
    ]
    """Name of its file: in the package's ``data/weights`` for one without `url`, else in the
    cache."""

    url: Annotated[
        str, Meta(pattern=r"^(https?://.*)?\Z", description="an http or https address")
    ] = ""
    """Address of the published file. Empty: it ships in the package, or is the user's."""

    datalad: str = ""
    """Path of its file in the DataLad dataset of published models."""

    size: Annotated[int, Meta(gt=0, description="a number of bytes above 0")]
    """Bytes of the file; a truncated one is found without its hash."""

    sha256: Annotated[
        str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 lower-case hex digits")
    ]
    """Hash of the file, 64 lower-case hexadecimal digits."""

    license: str
    """Terms of the weights, for the record; empty when not known."""

    architecture: str
    """Network that the weights belong to: a row of `bids_brainmask.models.unet.ARCHITECTURES`."""

    grid: str
    """Voxels it was trained on: a row of `bids_brainmask.voxels.rows.GRIDS`."""

    intensities: str
    """Scaling of the intensities that it was trained on: a row of
    `bids_brainmask.voxels.rows.SCALINGS`."""

    block: Annotated[int, Meta(ge=0, description="a number of voxels, or 0")]
    """Side of its input cubes in voxels; 0: the whole volume at once."""

    height: Annotated[int, Meta(ge=0, description="a number of voxels, or 0")] = 0
    """Voxels along the third axis that it is given at most, from the top of its grid; 0: all. The
    network is not run on what lies below."""

    threshold: Annotated[float, Meta(gt=0, lt=1, description="a probability in (0, 1)")]
    """Probability from which a voxel belongs to the mask, in (0, 1)."""

    memory_gb: Annotated[float, Meta(gt=0, description="a number of GB above 0")]
    """Largest memory measured for one scan of up to `memory.USUAL` voxels, GB, rounded up."""

    citation: str
    """What to cite; empty when not known."""

    near_brain: Annotated[float, Meta(ge=0, description="a number of mm, or 0")] = 0.0
    """Lesions farther than this from the brain, mm, are dropped; 0: none is."""

    peak: Annotated[float, Meta(ge=0, lt=1, description="a probability in [0, 1)")] = 0.0
    """Lesions whose largest probability is below this, in [0, 1), are dropped; 0: none is."""

    flips: bool = False
    """Probabilities are always averaged with those of the mirror image."""

    divisor: Annotated[int, Meta(gt=0, description="a number of voxels above 0")] = 1
    """Axes of the input of a ``keras`` model are multiples of this; other architectures have their
    own."""

    notice: str = ""
    """What a user of its results must know; it goes into every sidecar."""

    confidence: Annotated[tuple[float, ...], Meta(description="five numbers, or none")] = ()
    """Calibration of the predicted Dice, see `bids_brainmask.analyses.confidence`; empty: none."""

    ranges: Annotated[
        str, Meta(pattern=r"^(?!\.\.?\Z)[^/]*\Z", description="a file name without a folder")
    ] = ""
    """Name of the file in the package's ``data/weights`` with the intervals for int8, see
    `bids_brainmask.models.int8`; empty: the model has no int8."""

    path: Path | None = None
    """Its file, if the user named one; None: `find` finds it."""

    def __post_init__(self) -> None:
        if len(self.confidence) not in (0, 5):
            raise ValueError(
                f"key 'confidence' is {[*self.confidence]}, expected five numbers, or none"
            )
        check_names(self.architecture, self.grid, self.intensities)
        check_height(self.height, self.architecture, self.divisor)


def check_height(height: int, name: str, divisor: int) -> None:
    """Raise ValueError for a height that the architecture of a name cannot have.

    `divisor` is that of a network that its file describes.
    """
    architecture = unet.named(name).architecture
    step = architecture.divisor if architecture else divisor
    if height % step:
        raise ValueError(f"key 'height' is {height}, expected a multiple of {step}, or 0")


def check_names(architecture: str, grid: str, intensities: str) -> None:
    """Raise ValueError for a name of an architecture, a grid or a scaling that has no row."""
    for key, name, known in (
        ("architecture", architecture, unet.names()),
        ("grid", grid, rows.grids()),
        ("intensities", intensities, rows.scalings()),
    ):
        if name not in known:
            raise ValueError(f"key {key!r} is {name!r}, expected {' or '.join(known)}")


def parse(text: str, where: str = "models.toml", *, unverified: bool = False) -> dict[str, Model]:
    """Read a registry.

    Parameters
    ----------
    text : str
        TOML, one table a model.
    where : str
        Name of the text in error messages.
    unverified : bool
        Accept tables without a hash, too: it is empty then, and the size 0 if there is none.

    Returns
    -------
    dict of str to Model
        In the order of the tables.

    Raises
    ------
    ModelError
        The text is not TOML, or a key is unknown, missing, or not of its type or range.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{where}: not valid TOML: {error}") from error
    return {
        name: _model(f"{where}: [{name}]", name, table, unverified=unverified)
        for name, table in tables.items()
    }


def _model(where: str, name: str, table: Any, *, unverified: bool) -> Model:
    """Check one table of the registry and convert it to a model."""
    if not isinstance(table, dict):
        raise ModelError(f"{where}: found {table!r}, expected a table")
    allowed = [one.name for one in fields(Model) if one.name not in ("name", "path")]
    if unknown := [key for key in table if key not in allowed]:
        raise ModelError(f"{where}: unknown key {unknown[0]!r}; expected among {allowed}")
    unknown_hash = unverified and not table.get("sha256")
    valid = {"size": 1} | table | {"sha256": "0" * 64} if unknown_hash else table
    try:
        model = msgspec.convert({"name": name} | valid, Model)
    except msgspec.ValidationError as error:
        raise ModelError(f"{where}: {_fault(error, table)}") from error
    return replace(model, sha256="", size=table.get("size", 0)) if unknown_hash else model


def _fault(error: msgspec.ValidationError, table: dict) -> str:
    """Name the key of a table that is wrong, what was found, and what was expected."""
    said, _, place = str(error).partition(" - at `$.")
    key = re.split(r"[`.[]", place)[0]
    if key not in table:  # it is missing
        return said
    hint = get_type_hints(Model, include_extras=True)[key]
    metadata = getattr(hint, "__metadata__", None)
    expected = metadata[0].description if metadata else " or ".join(map(str, get_args(hint)))
    return f"key {key!r} is {table[key]!r}, expected {expected or f'of type {hint.__name__}'}"


def is_url(text: str | Path) -> bool:
    """Whether a text is an http or https address."""
    return isinstance(text, str) and text.startswith(("http://", "https://"))
