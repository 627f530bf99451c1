# SPDX-License-Identifier: Apache-2.0
"""The hash by which files are known again."""

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size, 64 lower-case hexadecimal digits; an OSError passes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
