# SPDX-License-Identifier: Apache-2.0
"""Records of the arrays in a training's folder: a JSON file of heads, and one of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from bids_brainmask.dataset import storage
from bids_brainmask.errors import UsageError

Record = TypeVar("Record", bound=msgspec.Struct)


def read(path: Path, kind: type[Record]) -> list[Record]:
    """Read the records of a kind.

    Raises
    ------
    UsageError
        The file cannot be read, is not JSON, or lacks a field or holds one of another type.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{path}: not a list of {kind.__name__}: {error}. Remove {path.parent}; it is written "
            "again from the data."
        ) from error


def write(path: Path, records: Sequence[msgspec.Struct]) -> None:
    """Write the records of a kind, once the arrays of all of them are written."""
    storage.write_bytes(path, msgspec.json.format(msgspec.json.encode(records), indent=1))
