# SPDX-License-Identifier: Apache-2.0
"""The derivative dataset: names, sidecars, and files that appear whole or not at all.

Rules of BIDS Derivatives 1.10 (https://bids-specification.readthedocs.io, "Imaging derivatives").
An image comes first and its sidecar last, so what has its sidecars is finished.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import bids_brainmask
from bids_brainmask import bids
from bids_brainmask.bids import Scan
from bids_brainmask.errors import OutputError
from bids_brainmask.settings import Output, Settings

BIDS_VERSION = "1.10.0"

NAMES: dict[Output, tuple[dict[str, str], str]] = {
    "mask": ({"desc": "brain"}, "mask"),
    "brain": ({"desc": "brain"}, "T1w"),
    "probseg": ({"label": "brain"}, "probseg"),
}
"""Of each output: the entities that follow the source's, and the suffix."""

FIELDS: dict[Output, dict] = {
    "mask": {
        "Type": "Brain",
        "Description": "Brain mask on the grid of the source image",
        "Manual": False,
    },
    "brain": {
        "SkullStripped": True,
        "Description": "The source image inside the brain mask, blank outside",
    },
    "probseg": {
        "Description": "Probability of brain, in [0, 1], on the grid of the source image",
        "Manual": False,
    },
}
"""What each output's sidecar always says."""

IGNORED = "*.html\nsub-*/figures\ngroup_*\n"
"""Reports, which are no BIDS files. (A slash behind `figures` would ignore its files only.)"""


README = """\
# Brain masks

Made by bids_brainmask from the T1-weighted images of the source dataset. Of each image:

- `*_desc-brain_mask.nii.gz`: 1 in the brain, 0 elsewhere, on the grid of the source image;
- `*_desc-brain_T1w.nii.gz`: the source image inside the mask, blank outside;
- `*_label-brain_probseg.nii.gz`: probabilities, where they were asked for.

The JSON file beside each says with which model, threshold and versions it was made, and from
what. `logs/` holds a record of every image that failed.

For research only; not a medical device.
"""


@dataclass(frozen=True)
class Job:
    """A scan, and the files to make of it."""

    scan: Scan
    images: Mapping[Output, Path]

    @property
    def sidecars(self) -> dict[Output, Path]:
        """Sidecar of each image."""
        return {output: _sidecar(path) for output, path in self.images.items()}


def plan(scan: Scan, settings: Settings) -> Job:
    """Name what a scan will become: ``<source entities>_desc-brain_mask.nii.gz`` and so on."""
    folder = settings.output_dir / scan.folder
    images = {}
    for output in settings.outputs:
        entities, suffix = NAMES[output]
        pairs = [f"{key}-{value}" for key, value in entities.items()]
        images[output] = folder / ("_".join([scan.prefix, *pairs, suffix]) + ".nii.gz")
    return Job(scan, images)


def _sidecar(image: Path) -> Path:
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole: under a hidden name beside it first, then renamed.

    Raises
    ------
    OutputError
        The disk is full, the folder is not writable, or a file is in a folder's place.
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            hidden.write_bytes(content)
            os.replace(hidden, path)  # noqa: PTH105 - the call whose atomicity counts
        finally:
            hidden.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}. Make room or mend it.") from error


def write_json(path: Path, content: Mapping) -> None:
    """Write JSON for people: indented, not escaped, a newline at the end."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_results(job: Job, files: Mapping[Output, bytes], record: Mapping) -> None:
    """Write the images of a job, then their sidecars.

    Parameters
    ----------
    job : Job
    files : mapping of output to bytes
        Gzipped NIfTI files.
    record : mapping
        What every sidecar says of the run: see `finished` for the keys that are read again.
    """
    for sidecar in job.sidecars.values():
        sidecar.unlink(missing_ok=True)  # of an earlier run, whose image is about to go
    for output, path in job.images.items():
        write_bytes(path, files[output])
    source = {
        "Sources": [f"bids:raw:{quote(job.scan.relative)}"],
        "SpatialReference": "orig",
    }
    for output, path in job.sidecars.items():
        write_json(path, FIELDS[output] | source | record)


def finished(job: Job, parameters: Mapping) -> bool:
    """Tell whether every file of a job is there, from this source and with these parameters.

    The source is the same if its size and time of change are, or else its hash.

    Parameters
    ----------
    job : Job
    parameters : mapping
        The record's ``Parameters``: everything that decides the result.
    """
    for output, path in job.sidecars.items():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            before = record["SourceFile"]
            same = record["Parameters"] == parameters and job.images[output].is_file()
            status = job.scan.path.stat()
            if not same or before["Bytes"] != status.st_size:
                return False
            if before["Modified"] != status.st_mtime_ns and before["SHA256"] != bids.sha256(
                job.scan.path
            ):
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False  # absent, torn, or another program's: to be made
    return True


def describe_dataset(settings: Settings) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore``, unless they stand as they should.

    Every job of a parallel run writes the same bytes, so it does not matter who is last.
    """
    raw = settings.bids_dir.resolve()
    out = settings.output_dir.resolve()
    source = bids.description(raw)
    doi = source.get("DatasetDOI")
    reference = {"DOI": doi} if isinstance(doi, str) and doi else {"URL": raw.as_uri()}
    generator = {
        "Name": "bids_brainmask",
        "Version": bids_brainmask.__version__,
        "Description": "Brain extraction from T1-weighted MRI with a 3D U-Net",
        "CodeURL": bids_brainmask.CODE_URL,
    } | ({"Container": container} if (container := _container()) else {})
    content = {
        "Name": f"Brain masks of {source.get('Name') or raw.name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "SourceDatasets": [reference],
        "DatasetLinks": {"raw": quote(os.path.relpath(raw, out))},
        "HowToAcknowledge": "See the model's citation in the sidecars.",
    }
    if isinstance(licence := source.get("License"), str):
        content["License"] = licence  # of the images, of which the brains are a part
    files = {
        "dataset_description.json": json.dumps(content, indent=2, ensure_ascii=False) + "\n",
        ".bidsignore": IGNORED,
        "README.md": README,
    }
    for name, text in files.items():
        path = settings.output_dir / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_bytes(path, text.encode())


def _container() -> dict[str, str]:
    """Describe the container that this runs in; nothing outside of one."""
    for kind in ("apptainer", "singularity"):
        if image := os.environ.get(f"{kind.upper()}_CONTAINER"):
            return {"Type": kind, "URI": image}
    tag = os.environ.get("BIDS_BRAINMASK_IMAGE", "")  # which our own image sets
    if tag or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return {"Type": "docker"} | ({"Tag": tag} if tag else {})
    return {}
