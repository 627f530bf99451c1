# SPDX-License-Identifier: Apache-2.0
"""The models: what is known of each, and where its file is.

A file is used only when it is, byte for byte, the registered one. Nothing is fetched here: see
`bids_brainmask.models.download`.
"""

from __future__ import annotations

import importlib.resources
import logging
import os
from dataclasses import replace
from pathlib import Path

from bids_brainmask.errors import ModelError
from bids_brainmask.hashes import sha256
from bids_brainmask.models.model import Model, Task, parse

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "BIDS_BRAINMASK_MODELS"
"""Environment variable that names the folder of downloaded models."""

NOWHERE = Path(os.devnull) / "bids_brainmask"
"""Stands for the cache of a user without a home: holds nothing, and nothing can be put there."""


AUTOMATIC: dict[Task, tuple[str, str]] = {
    "brain": ("brainy", "embedded"),
    "meningioma": ("ams", "embedded-meningioma"),
}
"""Of each task: the published model, taken where its file has been fetched, and the embedded."""


UNVERIFIED = "its registry entry has no hash, so that its file could not be verified"
"""What the results of such a model say."""

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

LESIONS = {
    "intensities": "robust",
    "threshold": 0.4,
    "near_brain": 5.0,
    "peak": 0.85,
    "flips": True,
}
"""What differs for a user's ``.npz`` for meningioma, as of the embedded network."""


def models() -> dict[str, Model]:
    """Read the registered models, by name, from the package's ``models.toml``."""
    return parse(_packaged("models.toml").read_text(encoding="utf-8"))


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


def resolve(
    name_or_path: str | Path,
    model_dir: Path | None = None,
    *,
    task: Task = "brain",
    allow_unverified: bool = False,
) -> Model:
    """Tell which model is meant.

    Parameters
    ----------
    name_or_path : str or Path
        A registered name; ``auto``: the published model of the task where its file has been
        fetched, else the embedded one; a folder that a training left; or a ``.h5``, ``.hdf5``,
        ``.keras`` or ``.npz`` file. One that is byte for byte a registered model is that model,
        whatever its name.
    model_dir : Path, optional
        As in `find`, for ``auto``.
    task : {"brain", "meningioma"}
        What ``auto`` is for, and what a file of weights that does not say it is for.
    allow_unverified : bool
        Take a training's folder, too, whose table has no hash. A file that is given by its own
        name is the one that is meant, and needs none.

    Raises
    ------
    ModelError
        There is no such model or file, or it is not, or cannot be told to be, the registered one.
    """
    known = models()
    text = str(name_or_path)
    if text == "auto":
        return known[_automatic(model_dir, task)]
    if text in known:
        return known[text]
    path = Path(name_or_path)
    for folder in (path, path.parent) if path.name == OWN_FILE else (path,):
        if is_file(folder / OWN_TABLE):
            return _trained(folder, allow_unverified=allow_unverified)
    if path.suffix.lower() not in LOCAL:
        if os.path.isdir(path):  # noqa: PTH112 - no for a name that is too long, too
            raise ModelError(f"{path}: holds no {OWN_TABLE}: not a finished training's folder.")
        raise ModelError(
            f"unknown model {text!r}; expected auto, {', '.join(known)}, a folder that `brainmask "
            f"train` left, or the path of a {', '.join(LOCAL)} file"
        )
    if not is_file(path):
        raise ModelError(f"{path}: there is no such model file. Check the path.")
    return _local(path, known, task)


def _trained(folder: Path, *, allow_unverified: bool) -> Model:
    """Describe the model that a training left in a folder."""
    table = folder / OWN_TABLE
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{table}: cannot be read: {error}") from error
    found = parse(text, str(table), unverified=True)
    if len(found) != 1:
        raise ModelError(f"{table}: expected one table, found {len(found)}")
    model = replace(next(iter(found.values())), path=folder / OWN_FILE)
    if not model.sha256:
        if not allow_unverified:
            raise ModelError(
                f"{table}: found no sha256, expected that of {OWN_FILE}, so that the model is "
                "known to be the one that was trained. Add it, or pass --allow-unverified."
            )
        model = replace(
            model,
            sha256=_sha256(model.path),
            size=model.size or model.path.stat().st_size,
            notice="; ".join(filter(None, (model.notice, UNVERIFIED))),
        )
    if fault := mismatch(model.path, model):
        raise ModelError(f"{model.path}: {fault} ({table}). Train again, or mend the table.")
    return model


def _automatic(model_dir: Path | None, task: Task) -> str:
    """Name the model that ``auto`` stands for."""
    published, embedded = AUTOMATIC[task]
    model = registered(published)
    folder = cache_dir() if model_dir is None else Path(model_dir)
    if not any(is_file(path) for path in places(folder, model)):
        log.info("model: %s (%s has not been fetched into %s)", embedded, published, folder)
        return embedded
    try:
        path = find(published, model_dir)
    except ModelError as error:
        log.warning("model: %s, since %s cannot be used: %s", embedded, published, error)
        return embedded
    log.info("model: %s (%s)", published, path)
    return published


def _local(path: Path, known: dict[str, Model], task: Task) -> Model:
    """Describe a file of the user's."""
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
    of_lesions = intensities == "brain" and task != "brain"  # which say nothing of the brain
    return replace(model, **LESIONS) if of_lesions else model


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
    """Hash of a model's file."""
    try:
        return sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def is_file(path: Path) -> bool:
    """Tell whether there is a file; no, when the folder may not be looked into."""
    try:
        return path.is_file()
    except OSError:
        return False
