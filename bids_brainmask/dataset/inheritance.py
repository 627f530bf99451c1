# SPDX-License-Identifier: Apache-2.0
"""Sidecars that apply to images, by the inheritance principle of BIDS."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from pathlib import Path


class Sidecars:
    """The sidecars of a dataset; each folder is listed once.

    Parameters
    ----------
    root : Path
        Raw dataset.
    """

    def __init__(self, root: Path):
        self.root = root
        self._listed = functools.cache(_list)

    def of(self, folder: Path, entities: Collection[str], suffix: str) -> Iterator[Path]:
        """Yield the sidecars that apply to an image, the nearest first.

        A sidecar applies to the images in and below its folder whose names have all its entities.
        In one folder, that with the most entities is the nearest.

        Parameters
        ----------
        folder : Path
            Folder of the image, in the dataset.
        entities : collection of str
            Entities of the image's name, such as ``sub-01``.
        suffix : str
            Suffix of the image, such as ``T1w``.

        Yields
        ------
        Path
        """
        own = set(entities)
        for place in (folder, *folder.parents):
            for sidecar in self._listed(place, suffix):
                if own.issuperset(sidecar.name.split("_")[:-1]):
                    yield sidecar
            if place == self.root:
                return


def _list(folder: Path, suffix: str) -> list[Path]:
    """List the sidecars for images of a suffix in a folder, longest names first."""
    ending = f"{suffix}.json"
    found = [path for path in folder.glob(f"*{ending}") if f"_{path.name}".endswith(f"_{ending}")]
    return sorted(found, key=lambda path: (-path.name.count("_"), path.name))
