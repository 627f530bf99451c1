# SPDX-License-Identifier: Apache-2.0
"""The programs that masks are exported for, a row each, and the loop over heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from bids_brainmask.errors import ImageError, OutputError
from bids_brainmask.export import fmriprep, freesurfer, images
from bids_brainmask.export.heads import Head


@dataclass(frozen=True)
class Target:
    """A program that takes masks."""

    name: str
    """Value of ``--for``."""

    title: str
    one_per: Literal["participant", "image"]
    """What one call of `write` is for; ``participant`` may be a session instead."""

    write: Callable[[Sequence[Head], Path], tuple[list[Path], str]]
    """Write the files of some heads into a folder; raise ImageError where they would not be
    exact."""

    command: str
    """What to run next; ``{dest}`` stands for the folder, ``{bids_dir}`` for the dataset."""

    describe: Callable[[Path, Path, Path], None] | None = None
    """Write what describes the folder as a whole, from the folder, the raw dataset and the output
    folder."""


TARGETS = (
    Target(
        "fmriprep",
        "fMRIPrep, sMRIPrep",
        "participant",
        fmriprep.write,
        "fmriprep {bids_dir} OUT participant --derivatives {dest}",
        fmriprep.describe,
    ),
    Target(
        "freesurfer",
        "FreeSurfer",
        "participant",
        freesurfer.write,
        "SUBJECTS_DIR={dest} recon-all -s sub-LABEL -autorecon2 -autorecon3",
    ),
    Target(
        "fsl",
        "FSL",
        "image",
        images.write_fsl,
        "fast {dest}/sub-LABEL/sub-LABEL_T1w_brain.nii.gz",
    ),
    Target(
        "ants",
        "ANTs",
        "image",
        images.write_ants,
        "antsCorticalThickness.sh ... -a T1W -o {dest}/sub-LABEL/sub-LABEL_",
    ),
)


def target(name: str) -> Target:
    """Find a row by its name."""
    return next(row for row in TARGETS if row.name == name)


@dataclass(frozen=True)
class Outcome:
    """What was done with one head, or with those of one participant or session."""

    name: str
    files: tuple[Path, ...] = ()
    note: str = ""
    refused: str = ""
    """Why nothing was written; empty if it was."""


def export(row: Target, found: Sequence[Head], dest: Path, per: str) -> Iterator[Outcome]:
    """Export heads one after the other.

    Parameters
    ----------
    row : Target
    found : sequence of Head
        Sorted by path.
    dest : Path
    per : {"participant", "session"}
        What has one mask, for a target that takes one of several images.
    """
    for name, group in groupby(found, key=lambda head: _unit(row, head, per)):
        try:
            files, note = row.write(list(group), dest)
        except (ImageError, OutputError) as error:
            yield Outcome(name, refused=str(error))
        else:
            yield Outcome(name, tuple(files), note)


def _unit(row: Target, head: Head, per: str) -> str:
    """Name what is exported together."""
    if row.one_per == "image":
        return head.scan.key
    session = f"_ses-{head.session}" if per == "session" and head.session else ""
    return f"sub-{head.scan.participant}{session}"
