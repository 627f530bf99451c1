# SPDX-License-Identifier: Apache-2.0
"""The commands that open an image with its mask in editors, and that take the result back.

Paths are relative to the folder of the results, so that pages tell nothing of the machine.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import folders
from bids_brainmask.dataset.readback import Result

EDITORS = {
    "ITK-SNAP": "itksnap -g {image} -s {mask}",
    "FSLeyes": "fsleyes {image} {mask} --cmap red --alpha 40",
    "freeview": "freeview -v {image} {mask}:colormap=lut:opacity=0.4",
    "napari": "napari --plugin napari-nifti {image} {mask}",
}
"""Programs that edit masks, and their commands; napari needs the plugin napari-nifti."""

SOMEBODY = "YOUR NAME"

SOURCE = re.compile(r"sub-[\w./+-]+\.nii(\.gz)?", re.ASCII)
"""Paths of images as BIDS has them."""


@dataclass(frozen=True)
class Command:
    """A command, and what it is for."""

    title: str
    words: str


def commands(root: Path, result: Result) -> list[Command]:
    """List the commands for each mask of an image that a person may correct.

    Parameters
    ----------
    root : Path
        Derivative dataset, where the commands are to be run.
    result : Result
    """
    name = result.source
    if not SOURCE.fullmatch(name):  # a sidecar of somebody else; the page is copied into shells
        name = f"{result.folder}/{result.prefix}_{result.suffix}.nii.gz"
    image = shlex.quote(f"{raw(root)}/{name}")
    found = []
    for row in catalog.ANALYSES:
        if not row.correctable or row.name not in result.records:
            continue
        path = result.main(row.name)
        mask = shlex.quote(path)
        found += [
            Command(f"{row.title} in {name}", words.format(image=image, mask=mask))
            for name, words in EDITORS.items()
        ]
        taken = ["brainmask", "adopt", ".", Path(path).name, "--editor", SOMEBODY]
        found.append(Command(f"{row.title}: take a mask saved elsewhere", shlex.join(taken)))
    if found:
        run = ["bids-brainmask", raw(root), ".", "participant"]
        run += ["--participant-label", result.participant, "--editor", SOMEBODY]
        found.append(Command("Then, and after a mask was saved in its place", shlex.join(run)))
    return found


def raw(root: Path) -> str:
    """Path from a derivative dataset to the raw one; BIDS_DIR if its description has none."""
    links = folders.description(root).get("DatasetLinks")
    link = links.get("raw") if isinstance(links, dict) else None
    path = unquote(link) if isinstance(link, str) else ""
    # A link of another program may be an address, or name folders of a machine.
    return path.rstrip("/") if re.fullmatch(r"[\w.][\w ./+-]*", path) else "BIDS_DIR"
