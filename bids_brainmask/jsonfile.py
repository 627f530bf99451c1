# SPDX-License-Identifier: Apache-2.0
"""A JSON file that anybody may have written."""

import json
from pathlib import Path


def read(path: Path, *, pipe: bool = False):
    """Read a JSON file.

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
