# SPDX-License-Identifier: Apache-2.0
"""Patterns by which pybids finds entities, limited to the path within the dataset."""

from __future__ import annotations

import json
import re
from pathlib import Path


def configuration(root: Path, *, derivative: bool) -> list[dict]:
    """Return pybids' own configuration, with patterns that start at the root of a dataset.

    pybids searches entities in absolute paths. A dataset under ``/data/func/`` would have no
    anatomical images, and one under ``/data/ses-1/`` only session 1.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    derivative : bool
        Include the entities of derivatives.
    """
    from bids.config import get_option

    above = f"^{re.escape(str(root.absolute()).rstrip('/'))}(?=/).*?"
    paths = get_option("config_paths")
    found = []
    for name in ("bids", "derivatives") if derivative else ("bids",):
        content = json.loads(Path(paths[name]).read_text(encoding="utf-8"))
        for entity in content["entities"]:
            entity["pattern"] = f"{above}(?:{entity['pattern']})"
        found.append(content)
    return found
