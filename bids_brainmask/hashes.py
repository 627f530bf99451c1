# SPDX-License-Identifier: Apache-2.0
"""Hashes, sizes and times, by which files are recognized."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size, 64 lower-case hexadecimal digits; an OSError passes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> dict:
    """Size, modification time (ns since 1970) and hash of a file, to recognize it later."""
    status = path.stat()
    return {"Bytes": status.st_size, "Modified": status.st_mtime_ns, "SHA256": sha256(path)}


def fingerprint_of(content: bytes, modified: int) -> dict:
    """As `fingerprint`, of what was written, whatever may have taken its place by now."""
    digest = hashlib.sha256(content).hexdigest()
    return {"Bytes": len(content), "Modified": modified, "SHA256": digest}


def unchanged(path: Path, before: Mapping, times: Mapping, *, verify: bool = False) -> bool:
    """Tell whether a file is the one of an earlier fingerprint.

    It is if its size and modification time are the same. A file of the same size and another
    time, such as a copy, is read and hashed.

    Parameters
    ----------
    path : Path
    before : mapping
        As of `fingerprint`, without the time.
    times : mapping of str to tuple
        Hash and modification time, by the name of the file; may lack it.
    verify : bool
        Hash the file in any case.

    Raises
    ------
    OSError
        The file is absent or not readable.
    KeyError, TypeError
        `before` is no fingerprint.
    """
    status = path.stat()
    if status.st_size != before["Bytes"]:
        return False
    if times.get(path.name) == (before["SHA256"], status.st_mtime_ns) and not verify:
        return True
    return sha256(path) == before["SHA256"]
