# SPDX-License-Identifier: Apache-2.0
"""The registered models, and where their files are.

A file is used only if its size and hash are the registered ones. Nothing is fetched here: see
`bids_brainmask.models.download`.
"""

from __future__ import annotations

import functools
import importlib.resources
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bids_brainmask.errors import ModelError, did_you_mean
from bids_brainmask.hashes import sha256
from bids_brainmask.models.model import Model, parse

if TYPE_CHECKING:
    from bids_brainmask.models import int8

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "BIDS_BRAINMASK_MODELS"
"""Environment variable that names the folder of downloaded models."""

NOWHERE = Path(os.devnull) / "bids_brainmask"
"""The cache of a user without a home folder: holds no file, and none can be written there."""


UNVERIFIED = "its registry entry has no hash, so that its file could not be verified"
"""Notice in the results of such a model."""

OWN_FILE, OWN_TABLE = "model.keras", "model.toml"
"""Names of the model's file and of its table in the folder of a finished training."""

LOCAL: dict[str, tuple[str, str, str, int, float, float]] = {
    ".h5": ("seed", "fsconform", "zscore", 128, 0.3, 4.0),
    ".hdf5": ("seed", "fsconform", "zscore", 128, 0.3, 4.0),
    ".keras": ("keras", "fsconform", "zscore", 128, 0.3, 8.0),
    ".npz": ("compact", "head", "brain", 0, 0.5, 2.0),
}
"""Defaults for a user's file, by its suffix: architecture, grid, intensities, block, threshold,
memory in GB."""


def models() -> dict[str, Model]:
    """Read the registered models, by name, from the package's ``models.toml``."""
    return dict(_parsed(_packaged("models.toml").read_text(encoding="utf-8")))


@functools.cache
def _parsed(text: str) -> dict[str, Model]:
    """Parse the registry once: a run asks for it several times."""
    return parse(text)


def cache_dir() -> Path:
    """Folder of downloaded models; it need not exist.

    ``$BIDS_BRAINMASK_MODELS``, else ``bids_brainmask`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    `NOWHERE` for a user without a home folder, as in some containers.
    """
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():  # the XDG specification ignores a relative one
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
        Folder to search instead of the cache: it holds files by their names, or is a DataLad
        clone.

    Raises
    ------
    ModelError
        The name is unknown, the file is absent, or it is not the registered one.
    """
    model = registered(name)
    folder = cache_dir() if model_dir is None else Path(model_dir)
    candidates = places(folder, model) if model.url else [_packaged("weights") / model.file]
    for path in candidates:
        if is_file(path):
            verify(path, model)
            return path
    if not model.url:
        raise ModelError(
            f"{candidates[0]}: this file of the package is missing. Install the package again."
        )
    prefix = "" if model_dir is None else f"{FOLDER_VARIABLE}={folder} "
    raise ModelError(
        f"model {name}: {model.file} is not in {folder}. Fetch it once: "
        f"{prefix}brainmask models get {name}"
    )


def intervals(model: Model) -> int8.Intervals:
    """Read the intervals of a model's activations for int8.

    Raises
    ------
    ModelError
        The model has none, or as `int8.read`.
    """
    from bids_brainmask.models import int8, unet  # NumPy, without which a run is planned

    architecture = unet.named(model.architecture).architecture
    if not model.ranges or architecture is None:
        able = [name for name, one in models().items() if one.ranges]
        raise ModelError(
            f"--precision int8: the model {model.name} has no ranges for it; found them for "
            f"{', '.join(able) or 'none'}. Leave --precision out."
        )
    return int8.read(_packaged("weights") / model.ranges, architecture, model.sha256)


def resolve(
    name_or_path: str | Path,
    model_dir: Path | None = None,
    *,
    task: str = "brain",
    automatic: Sequence[str] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
    allow_unverified: bool = False,
) -> Model:
    """Find the model that a name, a folder or a file means.

    `bids_brainmask.analyses.rows.Analysis.model` does so for an analysis.

    Parameters
    ----------
    name_or_path : str or Path
        A registered name; ``auto``: the first of `automatic` whose file has been fetched; the
        folder of a finished training; or a ``.h5``,
        ``.hdf5``, ``.keras`` or ``.npz`` file. A file with the hash of a registered model is that
        model, whatever its name.
    model_dir : Path, optional
        As in `find`, for ``auto``.
    task : str
        Analysis that a file of weights without a table is for.
    automatic : sequence of str
        Registered models that ``auto`` means; the last one ships in the package.
    defaults : mapping
        Fields of the model of a ``.npz`` file that differ from those in `LOCAL`.
    allow_unverified : bool
        Accept the folder of a training whose table has no hash, too. A file that is named itself
        needs none.

    Raises
    ------
    ModelError
        There is no such model or file, or its hash is missing or not the registered one.
    """
    known = models()
    text = str(name_or_path)
    if text == "auto" and automatic:
        return known[_automatic(model_dir, automatic)]
    if text in known:
        return known[text]
    path = Path(name_or_path)
    for folder in (path, path.parent) if path.name == OWN_FILE else (path,):
        if is_file(folder / OWN_TABLE):
            return _trained(folder, allow_unverified=allow_unverified)
    if path.suffix.lower() not in LOCAL:
        if os.path.isdir(path):  # noqa: PTH112 - no for a name that is too long, too
            raise ModelError(
                f"{path}: found no {OWN_TABLE} in it; expected the folder of a finished training."
            )
        raise ModelError(
            f"unknown model {text!r}; expected {'auto, ' * bool(automatic)}{', '.join(known)}, a "
            "folder that `brainmask "
            f"train` left, or the path of a {', '.join(LOCAL)} file.{did_you_mean(text, known)}"
        )
    if not is_file(path):
        raise ModelError(f"{path}: there is no such model file. Check the path.")
    return _local(path, known, task, defaults)


def _trained(folder: Path, *, allow_unverified: bool) -> Model:
    """Read the table of the model in the folder of a finished training."""
    table = folder / OWN_TABLE
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{table}: cannot be read: {error}") from error
    found = parse(text, str(table), unverified=True)
    if len(found) != 1:
        raise ModelError(f"{table}: expected one table, found {len(found)}")
    path = folder / OWN_FILE
    model = replace(next(iter(found.values())), path=path)
    if not model.sha256:
        if not allow_unverified:
            raise ModelError(
                f"{table}: found no sha256; expected that of {OWN_FILE}, which shows that the "
                "file is the one that was trained. Add it, or pass --allow-unverified."
            )
        model = replace(
            model,
            sha256=_sha256(path),
            size=model.size or path.stat().st_size,
            notice="; ".join(filter(None, (model.notice, UNVERIFIED))),
        )
    if fault := mismatch(path, model):
        raise ModelError(f"{path}: {fault} ({table}). Train again, or correct the table.")
    return model


def _automatic(model_dir: Path | None, names: Sequence[str]) -> str:
    """Name of the model that ``auto`` means."""
    folder = cache_dir() if model_dir is None else Path(model_dir)
    *published, embedded = names
    for name in published:
        if not any(is_file(path) for path in places(folder, registered(name))):
            log.info("model: %s (%s has not been fetched into %s)", embedded, name, folder)
            continue
        try:
            path = find(name, model_dir)
        except ModelError as error:
            log.warning("model: %s, because %s cannot be used: %s", embedded, name, error)
            continue
        log.info("model: %s (%s)", name, path)
        return name
    return embedded


def _local(path: Path, known: dict[str, Model], task: str, defaults: Mapping[str, Any]) -> Model:
    """Model of a user's file: a registered one by its hash, else one with the defaults."""
    found = _sha256(path)
    for model in known.values():
        if model.sha256 == found:
            log.info("%s is the registered model %s", path, model.name)
            return replace(model, path=path)
    architecture, grid, intensities, block, threshold, memory_gb = LOCAL[path.suffix.lower()]
    model = Model(
        name=path.stem,
        version="local",
        task=task,
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
    return replace(model, **defaults) if path.suffix.lower() == ".npz" else model


def verify(path: Path, model: Model) -> None:
    """Raise unless a file has the registered size and hash.

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
        raise ModelError(
            f"unknown model {name!r}; expected one of {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def places(folder: Path, model: Model) -> list[Path]:
    """Paths where a folder may hold a model's file."""
    return [folder / place for place in (model.file, model.datalad) if place]


def _packaged(file: str) -> Path:
    """Path of a file that ships in the package."""
    return Path(str(importlib.resources.files("bids_brainmask.data") / file))


def mismatch(path: Path, model: Model) -> str:
    """Difference of a file from the registered one, in words; empty: none."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if size != model.size:
        return f"found {size} bytes, expected {model.size}"
    found = _sha256(path)
    return "" if found == model.sha256 else f"found SHA-256 {found}, expected {model.sha256}"


def _sha256(path: Path) -> str:
    """Hash of a model's file."""
    try:
        return sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def is_file(path: Path) -> bool:
    """Whether there is a file; False if its folder may not be read."""
    try:
        return path.is_file()
    except OSError:
        return False
