# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, what killed processes leave of them, and JSON."""

from __future__ import annotations

import fcntl
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bids_brainmask.errors import OutputError, UsageError

BEGUN = re.compile(r"\.bids_brainmask-[0-9a-f]{32}")
"""Names of files that are being written, or were when a process was killed."""

TRIES = 10
"""Times that a file is written anew because another process took it for a dead one's."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole: under a hidden name beside it first, then renamed.

    Raises
    ------
    OutputError
        The disk is full, the folder is not writable, or a file is in a folder's place.
    """
    with told_of(path):
        for attempt in range(1, TRIES + 1):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_once(path, content)
                return
            except FileNotFoundError:
                if attempt == TRIES:
                    raise


def _write_once(path: Path, content: bytes) -> None:
    """Write a file as `write_bytes` does; its folder is there.

    The lock says that this process lives, for `clear` of another. Where the file system's locks
    do not reach other machines, one there may remove the file: FileNotFoundError.
    """
    hidden = _begun(path.parent)
    try:
        with hidden.open("xb") as file:
            with suppress(OSError):  # some file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a power cut may else leave the name without the content
            os.replace(hidden, path)  # noqa: PTH105 - the call whose atomicity counts
    finally:
        hidden.unlink(missing_ok=True)


def _begun(folder: Path) -> Path:
    """Name a file to begin with: as short for long names, and like no other's."""
    return folder / f".bids_brainmask-{uuid.uuid4().hex}"


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Tell of what the system says of a file in this program's words."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}. Make room or mend it.") from error


def clear(*folders: Path) -> None:
    """Remove what killed processes had begun to write, from folders that may not be there.

    What a process that lives is writing is locked, and stays; and so does all where the file
    system has no locks.
    """
    for folder in folders:
        with suppress(OSError):
            begun = [entry.path for entry in os.scandir(folder) if BEGUN.fullmatch(entry.name)]
            for path in map(Path, begun):
                with suppress(OSError), path.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def prepare(folder: Path) -> None:
    """See before any work that a folder can be written to, and clear it; it is made if need be.

    Raises
    ------
    UsageError
        It cannot.
    """
    clear(folder)
    probe = _begun(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.touch()
            probe.unlink(missing_ok=True)
        finally:  # a signal may come before it is gone
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: results cannot be written there: {error}. Name a folder that you may "
            "write to, or make room."
        ) from error


def write_changed(path: Path, content: bytes) -> None:
    """Write a file as `write_bytes` does, unless it stands as it should."""
    with suppress(OSError):
        if path.read_bytes() == content:
            return
    write_bytes(path, content)


def write_json(path: Path, content: Mapping) -> None:
    """Write JSON for people: indented, not escaped, a newline at the end."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, *, pipe: bool = False) -> Any:
    """Read a JSON file, which anybody may have written.

    Parameters
    ----------
    path : Path
    pipe : bool
        Whether it may be a pipe, which is waited for: what the user names may, and what was found
        in a dataset may not.

    Raises
    ------
    OSError
        It is not there, no file, or may not be read.
    ValueError
        It is not JSON in UTF-8, or nested deeper than Python can follow.
    """
    if not pipe and not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
