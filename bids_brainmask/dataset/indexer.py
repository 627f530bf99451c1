# SPDX-License-Identifier: Apache-2.0
"""pybids' index of the images of participants, with a walk of our own through their folders.

pybids walks a dataset through file systems of any kind (fsspec), which takes four fifths of the
time of its index. Names, entities and queries are pybids' here too.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bids import BIDSLayoutIndexer

from bids_brainmask.voxels import NIFTI

log = logging.getLogger(__name__)

FOLDERS = re.compile(r"(/ses-[A-Za-z0-9+]+)?(/(?i:anat))?")
"""Folders of a participant in which images are looked for."""


class Indexer(BIDSLayoutIndexer):
    """Indexes the images of some participants, and no other file.

    Parameters
    ----------
    folders : sequence of str
        Names of the participants' folders in the root of the dataset.
    """

    def __init__(self, folders: Sequence[str]):
        # Names are checked in `query`: pybids would ignore invalid ones without a message.
        super().__init__(validate=False, index_metadata=False)
        self.folders = folders

    def _index_dir(self, path: Any, config: list, force: object = None) -> tuple[list, list]:  # noqa: ARG002
        """Index the dataset; `path`, its root, is of the class that pybids wants for paths."""
        entities = {name: entity for one in config for name, entity in one.entities.items()}
        files, tags = [], []
        for folder in self.folders:
            for image in _images(Path(path) / folder):
                file, its_tags = self._index_file(type(path)(image), entities)
                files.append(file)
                tags += its_tags
        return files, tags


def _images(participant: Path) -> Iterator[str]:
    """Yield the paths of the images of a participant; links to nothing are images, too."""
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            with os.scandir(f"{participant}{inner}") as entries:
                for entry in entries:
                    below = f"{inner}/{entry.name}"
                    if _is_folder(entry):
                        if FOLDERS.fullmatch(below):
                            waiting.append(below)
                    elif _is_image(entry.name):
                        yield entry.path
        except OSError as error:
            log.warning("%s%s: not readable (%s); ignored", participant, inner, error)


def _is_image(name: str) -> bool:
    """Tell it of a name that may be nearly right; hidden files, as macOS makes them, are none."""
    return name.lower().endswith(NIFTI) and not name.startswith(".")


def _is_folder(entry: os.DirEntry) -> bool:
    """Tell it without an error for a link that leads in a loop or where nobody may look."""
    if entry.is_symlink():
        return os.path.isdir(entry)  # noqa: PTH112 - `Path` raises where nobody may look
    return entry.is_dir()
