# SPDX-License-Identifier: Apache-2.0
"""Bring a model's file into the cache: from a server, a folder, or a DataLad clone.

What arrives is kept only when it is, byte for byte, the registered file.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bids_brainmask.errors import ModelError
from bids_brainmask.models.model import is_url
from bids_brainmask.models.registry import (
    FOLDER_VARIABLE,
    Model,
    cache_dir,
    find,
    is_file,
    mismatch,
    places,
    registered,
)

log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0)
"""Seconds to wait before each further attempt at a download."""

TIMEOUT = 30.0
"""Seconds without a byte after which a server is taken to be gone."""

ANNEX_POINTER = b"/annex/objects/"
"""How git-annex begins the file it leaves where an unlocked file's content is absent."""


def get(name: str, source: str | Path | None = None) -> Path:
    """Bring a model's file into the cache, whole and verified, or not at all.

    A verified file that is there already is left alone, and the network with it. Several
    processes may do this at once.

    Parameters
    ----------
    name : str
        A registered model.
    source : str or Path, optional
        Instead of its `url`: the file; a folder that holds it, or is a DataLad clone, in which
        an absent file is fetched; its address, or that of its folder, ending in ``/``.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        It cannot be had, or what came is not the registered file.
    """
    model = registered(name)
    if not model.url:
        return find(name)
    target = cache_dir() / model.file
    if _is_whole(target, model):
        return target
    partial = _beside(target)
    try:
        origin = _fetch(model, model.url if source is None else source, partial)
        if fault := mismatch(partial, model):
            raise ModelError(f"{origin}: {fault}. It was not kept; try another source (--from).")
        partial.replace(target)
    except OSError as error:
        raise ModelError(f"{target}: cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _is_whole(target: Path, model: Model) -> bool:
    """Tell whether the cache holds the registered file; warn of another in its place."""
    if not is_file(target):
        return False
    if fault := mismatch(target, model):
        log.warning("%s: %s. Replacing it.", target, fault)
    return not fault


def _beside(target: Path) -> Path:
    """Make an empty file beside another, under a name that no other process uses."""
    unique = f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    partial = target.with_name(unique)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(exist_ok=False)
    except OSError as error:
        raise ModelError(
            f"{target.parent}: cannot keep models there ({error.strerror}). "
            f"Set {FOLDER_VARIABLE} to a folder that can be written."
        ) from error
    return partial


def _fetch(model: Model, source: str | Path, partial: Path) -> str:
    """Write what a source has into `partial`, unchecked; return where that was."""
    if is_url(source):
        url = source + model.file if source.endswith("/") else source
        _download(url, partial)
        return url
    if "://" in str(source):
        raise ModelError(f"{source}: expected an http or https address, a file, or a folder")
    path = _on_disk(Path(source), model)
    try:
        with path.open("rb") as file, partial.open("wb") as copy:
            shutil.copyfileobj(file, copy)
    except OSError as error:
        raise ModelError(f"{path}: cannot be copied to {partial}: {error}") from error
    return str(path)


def _download(url: str, path: Path) -> None:
    """Download, trying again when the network or the server fails for the moment."""
    import requests
    from pooch import HTTPDownloader

    downloader = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**20, timeout=TIMEOUT)
    for pause in (*PAUSES, None):
        try:
            return downloader(url, str(path), None)
        except (requests.RequestException, ValueError) as error:
            if pause is None or not _may_pass(error):
                raise ModelError(
                    f"{url}: cannot be downloaded: {error}. Check the connection and the proxy "
                    "(HTTPS_PROXY), or fetch the file elsewhere and name it with --from."
                ) from error
            log.warning("%s: %s. Trying again in %g s.", url, error, pause)
            time.sleep(pause)
    return None


def _may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed a little later."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    passing = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    )
    return isinstance(error, passing)


def _on_disk(source: Path, model: Model) -> Path:
    """Path of a model's file, with its content, in a folder or given as such."""
    candidates = places(source, model) if source.is_dir() else [source]
    for path in candidates:
        if _annexed_away(path):
            _annex_get(path)
        if is_file(path):
            return path
    looked = " or ".join(map(str, candidates))
    raise ModelError(f"model {model.name}: there is no {looked}. Check what --from names.")


def _annexed_away(path: Path) -> bool:
    """Tell whether git-annex knows of a file whose content is elsewhere."""
    try:
        if path.is_symlink():
            return not path.exists() and "annex/objects/" in os.readlink(path)  # noqa: PTH115
        with path.open("rb") as file:
            return file.read(len(ANNEX_POINTER)) == ANNEX_POINTER
    except OSError:
        return False


def _annex_get(path: Path) -> None:
    """Have DataLad or git-annex bring a file's content."""
    beside_python = str(Path(sys.executable).parent)
    search = os.pathsep.join([beside_python, os.environ.get("PATH", os.defpath)])
    if program := shutil.which("datalad", path=search):
        command = [program, "get", f"./{path.name}"]
    elif shutil.which("git-annex", path=search):
        command = ["git", "annex", "get", f"./{path.name}"]
    else:
        raise ModelError(
            f"{path}: its content is not in this clone, and neither datalad nor git-annex is "
            f"installed. Install one, or run 'datalad get {path}' where it is."
        )
    log.info("%s: running %s", path, " ".join(command))
    done = subprocess.run(  # noqa: S603 - fixed programs, no shell
        command,
        cwd=path.parent,
        env={**os.environ, "PATH": search, "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode or _annexed_away(path):
        raise ModelError(
            f"{path}: '{' '.join(command)}' in {path.parent} ended with status "
            f"{done.returncode} and did not bring it: {done.stdout.strip()}"
        )
