# SPDX-License-Identifier: Apache-2.0
"""Fetch a model's file into the cache: from a server, a folder, or a DataLad clone.

pooch downloads, checks and renames. Only the registered file, byte for byte, is kept.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
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

RETRIES = 3
"""Further attempts at a download that failed for the moment; pooch waits 1, 2, 3 s before them."""

TIMEOUT = 30.0
"""Seconds without a byte after which a download has failed."""

ANNEX_POINTER = b"/annex/objects/"
"""First bytes of the file that git-annex leaves in place of an unlocked file without content."""


def get(name: str, source: str | Path | None = None) -> Path:
    """Fetch a model's file into the cache; the file is complete and verified, or absent.

    A verified file in the cache is left as it is, and the network is not used. Several processes
    may do this at once.

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
        The source cannot be read, the cache cannot be written, or what came is not the
        registered file.
    """
    model = registered(name)
    if not model.url:
        return find(name)
    target = cache_dir() / model.file
    if not _is_whole(target, model):
        origin = _origin(model, model.url if source is None else source)
        _make_folder(target.parent)
        _fetch(model, origin, target)
    return target


def _is_whole(target: Path, model: Model) -> bool:
    """Whether the cache holds the registered file; warn if it holds another of that name."""
    if not is_file(target):
        return False
    if fault := mismatch(target, model):
        log.warning("%s: %s. Replacing it.", target, fault)
    return not fault


def _origin(model: Model, source: str | Path) -> str:
    """Address, or path on disk, of the file that a source means."""
    if is_url(source):
        return f"{source}{model.file}" if str(source).endswith("/") else str(source)
    if "://" in str(source):
        raise ModelError(f"{source}: expected an http or https address, a file, or a folder")
    return str(_on_disk(Path(source), model))


def _make_folder(folder: Path) -> None:
    """Make the cache, and see that it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ModelError(
            f"{folder}: cannot keep models there ({error.strerror}). "
            f"Set {FOLDER_VARIABLE} to a folder that you can write to."
        ) from error


def _fetch(model: Model, origin: str, target: Path) -> None:
    """Let pooch write the file: under a temporary name, checked, then renamed."""
    import pooch
    import requests

    def fetch(_: str, output: str, __: pooch.Pooch) -> None:
        partial = Path(output)
        partial.unlink()  # only its owner may read it; written anew, its mode follows the umask
        (_download if is_url(origin) else _copy)(origin, partial)
        if fault := mismatch(partial, model):
            raise ModelError(f"{origin}: {fault}. It was not kept; try another source (--from).")

    pooch.get_logger().setLevel(logging.WARNING)  # `_download` says more
    cache = pooch.create(
        target.parent.absolute(),
        base_url="",
        registry={model.file: model.sha256},
        urls={model.file: origin},
        retry_if_failed=RETRIES,
    )
    try:
        cache.fetch(model.file, downloader=fetch)
    except requests.RequestException as error:
        raise _failed(origin, error) from error
    except OSError as error:
        raise ModelError(f"{target}: cannot be written: {error}") from error


def _copy(origin: str, partial: Path) -> None:
    """Copy a file from the disk."""
    try:
        shutil.copyfile(origin, partial)
    except OSError as error:
        raise ModelError(f"{origin}: cannot be copied to {partial}: {error}") from error


def _download(url: str, partial: Path) -> None:
    """Download a file. A failure that may pass is raised as it is, and pooch tries again."""
    import requests
    from pooch import HTTPDownloader

    downloader = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**20, timeout=TIMEOUT)
    try:
        downloader(url, str(partial), None)
    except (requests.RequestException, ValueError) as error:
        if not _may_pass(error):
            raise _failed(url, error) from error
        log.warning("%s: %s", url, error)
        raise


def _failed(url: str, error: Exception) -> ModelError:
    return ModelError(
        f"{url}: cannot be downloaded: {error}. Check the connection and the proxy "
        "(HTTPS_PROXY), or fetch the file elsewhere and name it with --from."
    )


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code == 429 or error.response.status_code >= 500
    passing = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    )
    return isinstance(error, passing)


def _on_disk(source: Path, model: Model) -> Path:
    """Path of a model's file with its content; the source is the file or its folder."""
    candidates = places(source, model) if source.is_dir() else [source]
    for path in candidates:
        if _annexed_away(path):
            _annex_get(path)
        if is_file(path):
            return path
    looked = " or ".join(map(str, candidates))
    raise ModelError(f"model {model.name}: there is no {looked}. Check the path after --from.")


def _annexed_away(path: Path) -> bool:
    """Whether git-annex has the file but this clone lacks its content."""
    try:
        if path.is_symlink():
            return not path.exists() and "annex/objects/" in os.readlink(path)  # noqa: PTH115
        with path.open("rb") as file:
            return file.read(len(ANNEX_POINTER)) == ANNEX_POINTER
    except OSError:
        return False


def _annex_get(path: Path) -> None:
    """Run DataLad, or git-annex, to bring a file's content."""
    beside_python = str(Path(sys.executable).parent)
    search = os.pathsep.join([beside_python, os.environ.get("PATH", os.defpath)])
    if program := shutil.which("datalad", path=search):
        command = [program, "get", f"./{path.name}"]
    elif shutil.which("git-annex", path=search):
        command = ["git", "annex", "get", f"./{path.name}"]
    else:
        raise ModelError(
            f"{path}: the clone lacks its content, and neither datalad nor git-annex is "
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
            f"{done.returncode} and did not fetch the content: {done.stdout.strip()}"
        )
