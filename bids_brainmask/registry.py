# SPDX-License-Identifier: Apache-2.0
"""The models: what is known of each, and where its file is.

A file is used only when it is, byte for byte, the registered one. Nothing is fetched here: see
`bids_brainmask.fetch`.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import logging
import os
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bids_brainmask.errors import ModelError

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "BIDS_BRAINMASK_MODELS"
"""Environment variable that names the folder of downloaded models."""

NOWHERE = Path(os.devnull) / "bids_brainmask"
"""Stands for the cache of a user without a home: holds nothing, and nothing can be put there."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is known of a model without opening its file."""

    name: str
    """What the user calls it."""

    version: str
    """Of the weights, as published; ``local`` for a file of the user's."""

    task: Literal["brain", "meningioma"]
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

    divisor: int = 1
    """Every axis of what a ``keras`` model is given divides by this; the others know theirs."""

    confidence: list[float] = field(default_factory=list)
    """Calibration of the predicted Dice, see `bids_brainmask.confidence`; empty: none."""

    path: Path | None = None
    """Its file, for a model that was given as one; None: `find` knows."""


OWN_FILE, OWN_TABLE = "model.keras", "model.toml"
"""Names, in the folder that a training leaves, of the model and of its table."""

LOCAL = {
    ".h5": ("seed", "fsconform", "zscore", 128, 0.3, 4.0),
    ".hdf5": ("seed", "fsconform", "zscore", 128, 0.3, 4.0),
    ".keras": ("keras", "fsconform", "zscore", 128, 0.3, 8.0),
    ".npz": ("compact", "head", "brain", 0, 0.5, 2.0),
}
"""What is assumed of a user's file, by its suffix: architecture, grid, intensities, block,
threshold, memory."""

RULES = {
    "file": (lambda value: Path(value).name == value, "a file name without a folder"),
    "url": (lambda value: is_url(value) or not value, "an http or https address"),
    "size": (lambda value: value > 0, "a number of bytes above 0"),
    "sha256": (lambda value: re.fullmatch("[0-9a-f]{64}", value), "64 lower-case hex digits"),
    "block": (lambda value: value >= 0, "a number of voxels, or 0"),
    "divisor": (lambda value: value > 0, "a number of voxels above 0"),
    "memory_gb": (lambda value: value > 0, "a number of GB above 0"),
    "threshold": (lambda value: 0 < value < 1, "a probability in (0, 1)"),
}
"""What a value must fulfil beside its type, and that in words."""


def models() -> dict[str, Model]:
    """Read the registered models, by name, from the package's ``models.toml``."""
    return parse(_packaged("models.toml").read_text(encoding="utf-8"))


def parse(text: str, where: str = "models.toml") -> dict[str, Model]:
    """Read a registry.

    Parameters
    ----------
    text : str
        TOML, one table a model.
    where : str
        What errors call it.

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
    return {name: _model(f"{where}: [{name}]", name, table) for name, table in tables.items()}


def _model(where: str, name: str, table: Any) -> Model:
    """Check one table of the registry, and make it a model."""
    if not isinstance(table, dict):
        raise ModelError(f"{where}: found {table!r}, expected a table")
    allowed = {one.name: one for one in fields(Model) if one.name not in ("name", "path")}
    for key in table:
        if key not in allowed:
            raise ModelError(f"{where}: unknown key {key!r}; expected among {list(allowed)}")
    for key, one in allowed.items():
        if key not in table and one.default is one.default_factory is MISSING:
            raise ModelError(f"{where}: key {key!r} is missing")
    hints = get_type_hints(Model)
    for key, value in table.items():
        if wanted := _fault(key, value, hints[key]):
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


def cache_dir() -> Path:
    """Folder of downloaded models; it need not exist.

    ``$BIDS_BRAINMASK_MODELS``, else ``bids_brainmask`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    `NOWHERE` for a user without a home folder, as in some containers.
    """
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():  # a relative one is to be ignored, says the XDG specification
        return shared / "bids_brainmask"
    try:
        return Path.home() / ".cache" / "bids_brainmask"
    except RuntimeError:
        return NOWHERE


def find(name: str, model_dir: Path | None = None) -> Path:
    """Path of a registered model's verified file. Nothing is fetched.

    Parameters
    ----------
    name : str
        A registered model.
    model_dir : Path, optional
        Folder to look in rather than the cache: files by their names, or a DataLad clone.

    Raises
    ------
    ModelError
        The name is unknown, the file is absent, or it is not the registered one.
    """
    model = registered(name)
    folder = cache_dir() if model_dir is None else Path(model_dir)
    candidates = places(folder, model) if model.url else [_packaged(model.file)]
    for path in candidates:
        if is_file(path):
            verify(path, model)
            return path
    if not model.url:
        raise ModelError(f"{candidates[0]}: the package is incomplete. Install it again.")
    prefix = "" if model_dir is None else f"{FOLDER_VARIABLE}={folder} "
    raise ModelError(
        f"model {name}: {model.file} is not in {folder}. Fetch it once: "
        f"{prefix}brainmask models get {name}"
    )


def resolve(name_or_path: str | Path, model_dir: Path | None = None) -> Model:
    """Tell which model is meant.

    Parameters
    ----------
    name_or_path : str or Path
        A registered name; ``auto``: `brainy` where its file has been fetched, else the embedded
        model; a folder that a training left; or a ``.h5``, ``.hdf5``, ``.keras`` or ``.npz``
        file. One that is byte for byte a registered model is that model, whatever its name.
    model_dir : Path, optional
        As in `find`, for ``auto``.

    Raises
    ------
    ModelError
        There is no such model or file.
    """
    known = models()
    text = str(name_or_path)
    if text == "auto":
        return known[_automatic(model_dir)]
    if text in known:
        return known[text]
    path = Path(name_or_path)
    for folder in (path, path.parent) if path.name == OWN_FILE else (path,):
        if is_file(folder / OWN_TABLE):
            return _trained(folder)
    if path.suffix.lower() not in LOCAL:
        if os.path.isdir(path):  # noqa: PTH112 - no for a name that is too long, too
            raise ModelError(f"{path}: holds no {OWN_TABLE}: not a finished training's folder.")
        raise ModelError(
            f"unknown model {text!r}; expected auto, {', '.join(known)}, a folder that `brainmask "
            f"train` left, or the path of a {', '.join(LOCAL)} file"
        )
    if not is_file(path):
        raise ModelError(f"{path}: there is no such model file. Check the path.")
    return _local(path, known)


def _trained(folder: Path) -> Model:
    """Describe the model that a training left in a folder."""
    table = folder / OWN_TABLE
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{table}: cannot be read: {error}") from error
    found = parse(text, str(table))
    if len(found) != 1:
        raise ModelError(f"{table}: expected one table, found {len(found)}")
    model = replace(next(iter(found.values())), path=folder / OWN_FILE)
    if fault := mismatch(model.path, model):
        raise ModelError(f"{model.path}: {fault} ({table}). Train again, or mend the table.")
    return model


def _automatic(model_dir: Path | None) -> str:
    """Name the model that ``auto`` stands for."""
    model = registered("brainy")
    folder = cache_dir() if model_dir is None else Path(model_dir)
    if not any(is_file(path) for path in places(folder, model)):
        log.info("model: embedded (brainy has not been fetched into %s)", folder)
        return "embedded"
    try:
        path = find("brainy", model_dir)
    except ModelError as error:
        log.warning("model: embedded, since brainy cannot be used: %s", error)
        return "embedded"
    log.info("model: brainy (%s)", path)
    return "brainy"


def _local(path: Path, known: dict[str, Model]) -> Model:
    """Describe a file of the user's."""
    found = _sha256(path)
    for model in known.values():
        if model.sha256 == found:
            log.info("%s is the registered model %s", path, model.name)
            return replace(model, path=path)
    architecture, grid, intensities, block, threshold, memory_gb = LOCAL[path.suffix.lower()]
    return Model(
        name=path.stem,
        version="local",
        task="brain",
        file=path.name,
        size=path.stat().st_size,
        sha256=found,
        license="",
        architecture=architecture,
        grid=grid,
        intensities=intensities,
        block=block,
        threshold=threshold,
        memory_gb=memory_gb,
        citation="",
        path=path,
    )


def verify(path: Path, model: Model) -> None:
    """Raise unless a file is, byte for byte, the one the registry names.

    Raises
    ------
    ModelError
        Its size or hash differs, or it cannot be read.
    """
    if fault := mismatch(path, model):
        advice = "Fetch it again" if model.url else "Install the package again"
        command = f": brainmask models get {model.name}" if model.url else ""
        raise ModelError(f"{path}: {fault}. {advice}{command}")


def registered(name: str) -> Model:
    """Look up a model by name."""
    known = models()
    if name not in known:
        raise ModelError(f"unknown model {name!r}; expected one of {', '.join(known)}")
    return known[name]


def places(folder: Path, model: Model) -> list[Path]:
    """Paths at which a folder may hold a model's file."""
    return [folder / place for place in (model.file, model.datalad) if place]


def _packaged(file: str) -> Path:
    """Path of a file that ships in the package."""
    return Path(str(importlib.resources.files("bids_brainmask.data") / file))


def mismatch(path: Path, model: Model) -> str:
    """Say in what a file is not the registered one; empty when it is."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if size != model.size:
        return f"found {size} bytes, expected {model.size}"
    found = _sha256(path)
    return "" if found == model.sha256 else f"found SHA-256 {found}, expected {model.sha256}"


def _sha256(path: Path) -> str:
    """Hash a file, whatever its size."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def is_file(path: Path) -> bool:
    """Tell whether there is a file; no, when the folder may not be looked into."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_url(text: str | Path) -> bool:
    """Tell an http or https address from a path."""
    return isinstance(text, str) and text.startswith(("http://", "https://"))
