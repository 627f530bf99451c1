# SPDX-License-Identifier: Apache-2.0
"""Files that appear complete or not at all, clean-up after killed processes, and JSON."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from bids_brainmask.errors import OutputError, UsageError

try:
    import fcntl
except ImportError:  # Windows, which does not remove files that are open
    fcntl = None  # type: ignore[assignment]

BEGUN = re.compile(r"\.bids_brainmask-[0-9a-f]{32}")
"""Names of files that are being written, or that a killed process has left."""

LONGEST = 180
"""Longest name to which others are added, such as that of a log; the disk allows 255 bytes."""

TRIES = 10
"""Attempts to write a file, in case another process removes it as a killed one's."""


def write_bytes(path: Path, content: bytes, check: Callable[[], None] | None = None) -> int:
    """Write a file that appears complete: first under a hidden name beside it, then renamed.

    Parameters
    ----------
    path : Path
    content : bytes
    check : callable, optional
        Is called just before the file is renamed, and may raise to leave the former one.

    Returns
    -------
    int
        Its modification time, ns since 1970.

    Raises
    ------
    OutputError
        The disk is full, the folder is not writable, or a file has the name of a folder.
    """
    with output_errors(path):
        for _ in range(TRIES - 1):
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                return _write_once(path, content, check)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write_once(path, content, check)


def _write_once(path: Path, content: bytes, check: Callable[[], None] | None) -> int:
    """Write a file as `write_bytes` does; its folder exists.

    The lock shows `clear` of other processes that this process is running. If the file system's
    locks do not reach other machines, one of them may remove the file: FileNotFoundError.
    """
    hidden = _begun(path.parent)
    try:
        with hidden.open("xb") as file:
            with suppress(OSError):  # some file systems have no locks
                _lock(file)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave an empty file
            modified = os.fstat(file.fileno()).st_mtime_ns
            if check:
                check()
            if fcntl:  # still locked
                os.replace(hidden, path)  # noqa: PTH105 - this call is atomic
        if not fcntl:  # Windows does not rename a file that is open
            os.replace(hidden, path)  # noqa: PTH105
        return modified
    finally:
        hidden.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> None:
    """Lock a file until it is closed; OSError if another process has locked it."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _begun(folder: Path) -> Path:
    """Make a unique hidden name, whose length does not depend on the final name."""
    return folder / f".bids_brainmask-{uuid.uuid4().hex}"


def sidecar(path: Path) -> Path:
    """Path of the sidecar of a file."""
    return path.with_name(path.name.split(".")[0] + ".json")


def shortened(name: str) -> str:
    """Shorten a name to `LONGEST` bytes; names that differ stay different."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{zlib.crc32(name.encode()):08x}"


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about a file into an OutputError."""
    try:
        yield
    except OSError as error:
        advice = "Free disk space, or correct the folder's permissions."
        if error.errno == errno.ENAMETOOLONG:
            advice = "Shorten the labels in the name of the image."
        raise OutputError(f"{path}: cannot be written: {error}. {advice}") from error


def clear(*folders: Path) -> None:
    """Remove the temporary files of killed processes from folders, which may be absent.

    The file of a running process is locked and is kept. On a file system without locks, all
    files are kept.
    """
    for folder in folders:
        with suppress(OSError):
            begun = [entry.path for entry in os.scandir(folder) if BEGUN.fullmatch(entry.name)]
            for path in map(Path, begun):
                with suppress(OSError), path.open("r+b") as file:
                    _lock(file)
                    path.unlink()


def prepare(folder: Path) -> None:
    """Check before any work that a folder is writable, and clear it; create it if it is absent.

    Raises
    ------
    UsageError
        The folder is not writable.
    """
    clear(folder)
    probe = _begun(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.touch()
            probe.unlink(missing_ok=True)
        finally:  # a signal may come before it is removed
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: results cannot be written there: {error}. Choose a writable folder, or "
            "free disk space."
        ) from error


def write_changed(path: Path, content: bytes) -> bool:
    """Write a file as `write_bytes` does, unless it already has this content.

    Returns
    -------
    bool
        Whether it was written.
    """
    with suppress(OSError):
        if path.read_bytes() == content:
            return False
    write_bytes(path, content)
    return True


def write_json(path: Path, content: Mapping) -> None:
    """Write readable JSON: indented, not escaped, with a newline at the end."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, *, pipe: bool = False) -> Any:
    """Read a JSON file, which anyone may have written.

    Parameters
    ----------
    path : Path
    pipe : bool
        Whether the file may be a pipe, which is waited for. True for files that the user names,
        False for files that are found in a dataset.

    Raises
    ------
    OSError
        It is absent, not a file, or not readable.
    ValueError
        It is not JSON in UTF-8, or nested deeper than Python can follow.
    """
    if not pipe and not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # a byte-order mark is no content
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object as `read_json` does; empty if it is absent, unreadable or no object."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
