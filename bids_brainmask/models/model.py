# SPDX-License-Identifier: Apache-2.0
"""What is known of a model without opening its file, and how a registry of them is read."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bids_brainmask.errors import ModelError

Task = Literal["brain", "meningioma"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is known of a model without opening its file."""

    name: str
    """What the user calls it."""

    version: str
    """Of the weights, as published; ``local`` for a file of the user's."""

    task: Task
    """What its mask holds."""

    file: str
    """Name of its file: in the package's data for one without `url`, else in the cache."""

    url: str = ""
    """Where it is published. Empty: it ships in the package, or is the user's."""

    datalad: str = ""
    """Path of its file in the DataLad dataset that publishes it, too."""

    size: int
    """Bytes of the file: a truncated one is told at once."""

    sha256: str
    """Hash of the file, 64 lower-case hexadecimal digits."""

    license: str
    """Terms of the weights, for the record; empty when not known."""

    architecture: Literal["seed", "compact", "keras"]
    """Network that the weights belong to; ``keras``: the file describes its own."""

    grid: Literal["fsconform", "head"]
    """Voxels it was trained on: 256^3 of 1 mm, or 1 mm over the head."""

    intensities: Literal["zscore", "robust", "brain"]
    """How it was trained to see them."""

    block: int
    """Side, in voxels, of the cubes it is given; 0: the volume at once."""

    threshold: float
    """Probability from which a voxel belongs to the mask, in (0, 1)."""

    memory_gb: float
    """Most memory that a run of one scan was seen to take, in GB, rounded up."""

    citation: str
    """What to cite; empty when not known."""

    near_brain: float = 0.0
    """Lesions that come nowhere within this distance of the brain, mm, are dropped; 0: none is."""

    peak: float = 0.0
    """Lesions none of whose voxels is as probable as this, in [0, 1), are dropped; 0: none is."""

    flips: bool = False
    """What is found is always averaged with what is found in the mirror image."""

    divisor: int = 1
    """Every axis of what a ``keras`` model is given divides by this; the others know theirs."""

    notice: str = ""
    """What a user of its results must know; it goes into every sidecar."""

    confidence: list[float] = field(default_factory=list)
    """Calibration of the predicted Dice, see `bids_brainmask.analyses.confidence`; empty: none."""

    path: Path | None = None
    """Its file, for a model that was given as one; None: `find` knows."""


RULES = {
    "file": (lambda value: Path(value).name == value, "a file name without a folder"),
    "url": (lambda value: is_url(value) or not value, "an http or https address"),
    "size": (lambda value: value > 0, "a number of bytes above 0"),
    "sha256": (lambda value: re.fullmatch("[0-9a-f]{64}", value), "64 lower-case hex digits"),
    "block": (lambda value: value >= 0, "a number of voxels, or 0"),
    "divisor": (lambda value: value > 0, "a number of voxels above 0"),
    "memory_gb": (lambda value: value > 0, "a number of GB above 0"),
    "near_brain": (lambda value: value >= 0, "a number of mm, or 0"),
    "peak": (lambda value: 0 <= value < 1, "a probability in [0, 1)"),
    "threshold": (lambda value: 0 < value < 1, "a probability in (0, 1)"),
}
"""What a value must fulfil beside its type, and that in words."""


def parse(text: str, where: str = "models.toml", *, unverified: bool = False) -> dict[str, Model]:
    """Read a registry.

    Parameters
    ----------
    text : str
        TOML, one table a model.
    where : str
        What errors call it.
    unverified : bool
        Take tables without a hash, too: theirs is empty, and the size 0 where there is none.

    Returns
    -------
    dict of str to Model
        In the order of the tables.

    Raises
    ------
    ModelError
        The text is no TOML, or a key is unknown, missing, or not of its type or range.
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
    """Check one table of the registry, and make it a model."""
    if not isinstance(table, dict):
        raise ModelError(f"{where}: found {table!r}, expected a table")
    without = {}
    if unverified and not table.get("sha256"):
        without = {"sha256": "", **({} if "size" in table else {"size": 0})}
        table = table | without
    allowed = {one.name: one for one in fields(Model) if one.name not in ("name", "path")}
    for key in table:
        if key not in allowed:
            raise ModelError(f"{where}: unknown key {key!r}; expected among {list(allowed)}")
    for key, one in allowed.items():
        if key not in table and one.default is one.default_factory is MISSING:
            raise ModelError(f"{where}: key {key!r} is missing")
    hints = get_type_hints(Model)
    for key, value in table.items():
        if key not in without and (wanted := _fault(key, value, hints[key])):
            raise ModelError(f"{where}: key {key!r} is {value!r}, expected {wanted}")
    return Model(name=name, **table)


def _fault(key: str, value: Any, hint: Any) -> str:
    """Say what was expected of a value; empty when it is as expected."""
    if get_origin(hint) is list:
        good = isinstance(value, list) and all(type(number) in (int, float) for number in value)
        return "" if good and len(value) in (0, 5) else "five numbers, or none"
    if choices := get_args(hint):
        return "" if value in choices else " or ".join(choices)
    if type(value) not in ((int, float) if hint is float else (hint,)):
        return f"of type {hint.__name__}"
    fulfils, wanted = RULES.get(key, (lambda _: True, ""))
    return "" if fulfils(value) else wanted


def is_url(text: str | Path) -> bool:
    """Tell an http or https address from a path."""
    return isinstance(text, str) and text.startswith(("http://", "https://"))
