# SPDX-License-Identifier: Apache-2.0
"""The derivative dataset: names, sidecars, and what is written when.

Rules of BIDS Derivatives 1.10 (https://bids-specification.readthedocs.io, "Imaging derivatives").
A file comes first and its sidecar last, so what has its sidecars is finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

import bids_brainmask
from bids_brainmask import bids, disk, jsonfile, results
from bids_brainmask.bids import Scan
from bids_brainmask.errors import OutputError, UsageError
from bids_brainmask.results import Figure
from bids_brainmask.settings import Analysis, Output, Settings

BIDS_VERSION = "1.10.0"

Kind = Literal["mask", "brain", "probseg", "tumor", "tumor_probseg", "lesions", "brainandtumor"]
"""What a derivative holds."""

NAMES: dict[Kind, tuple[dict[str, str], str]] = {
    "mask": ({"desc": "brain"}, "mask.nii.gz"),
    "brain": ({"desc": "brain"}, "T1w.nii.gz"),
    "probseg": ({"label": "brain"}, "probseg.nii.gz"),
    "tumor": ({"label": "tumor", "desc": "meningioma"}, "mask.nii.gz"),
    "tumor_probseg": ({"label": "tumor", "desc": "meningioma"}, "probseg.nii.gz"),
    "lesions": ({"desc": "meningioma"}, "lesions.tsv"),
    "brainandtumor": ({"desc": "brainandtumor"}, "mask.nii.gz"),
}
"""Of each kind: the entities that follow the source's, the suffix and the extension."""

ANALYSES: dict[Kind, tuple[Analysis, ...]] = {
    "mask": ("brain",),
    "brain": ("brain",),
    "probseg": ("brain",),
    "tumor": ("meningioma",),
    "tumor_probseg": ("meningioma",),
    "lesions": ("meningioma",),
    "brainandtumor": ("brain", "meningioma"),
}
"""The analyses that each kind is made by."""

ASKED: dict[Kind, Output] = {
    "mask": "mask",
    "brain": "brain",
    "probseg": "probseg",
    "tumor_probseg": "probseg",
    "brainandtumor": "mask",
}
"""The output by which each kind is asked for; what is not here is always made."""

FIELDS: dict[Kind, dict] = {
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
    "tumor": {
        "Type": "Lesion",
        "Description": "Meningiomas, on the grid of the source image",
        "Manual": False,
    },
    "tumor_probseg": {
        "Description": "Probability of meningioma, in [0, 1], on the grid of the source image",
        "Manual": False,
    },
    "lesions": {},  # its keys are the table's columns
    "brainandtumor": {
        "Type": "ROI",
        "Description": "Union of the brain mask and the meningiomas: what to keep of the head of "
        "a patient whose tumour lies outside the brain",
        "Manual": False,
    },
}
"""What the sidecar of each kind always says."""

IGNORED = "*.html\nsub-*/figures\ngroup_*\n*_lesions.tsv\n*_lesions.json\n"
"""Reports and tables of lesions, which BIDS has no names for. (A slash behind `figures` would
ignore its files only.)"""


README = """\
# Brain masks

Made by bids_brainmask from the T1-weighted images of the source dataset. Of each image:

- `*_desc-brain_mask.nii.gz`: 1 in the brain, 0 elsewhere, on the grid of the source image;
- `*_desc-brain_T1w.nii.gz`: the source image inside the mask, blank outside;
- `*_label-brain_probseg.nii.gz`: probabilities, where they were asked for.

Of contrast-enhanced images, where meningiomas were looked for:

- `*_label-tumor_desc-meningioma_mask.nii.gz`: 1 in a meningioma, 0 elsewhere;
- `*_desc-meningioma_lesions.tsv`: a row for each; the JSON file beside it explains the columns;
- `*_desc-brainandtumor_mask.nii.gz`: the union of the two masks;
- `*_label-tumor_desc-meningioma_probseg.nii.gz`: probabilities, where they were asked for.

`sub-*.html` are reports to look at, one a participant, and `group_*` sums of all. The JSON file
beside each mask says with which model, threshold and versions it was made, and from
what. `logs/` holds a record of every image that failed.

For research only; not a medical device.
"""


@dataclass(frozen=True)
class Job:
    """A scan, what to do with it, and the files to make of it."""

    scan: Scan
    analyses: tuple[Analysis, ...]
    files: Mapping[Kind, Path]
    refusal: str = ""
    """Why an analysis that was asked for is not done; empty: none was refused."""

    figures: Mapping[Figure, Path] = field(default_factory=dict)
    """What its report shows; none without reports."""

    @property
    def sidecars(self) -> dict[Kind, Path]:
        """Sidecar of each file."""
        return {kind: _sidecar(path) for kind, path in self.files.items()}

    @property
    def folders(self) -> set[Path]:
        """Where its files and figures lie."""
        return {path.parent for path in (*self.files.values(), *self.figures.values())}


def plan(scan: Scan, settings: Settings, analyses: tuple[Analysis, ...], refusal: str = "") -> Job:
    """Name what a scan will become: ``<source entities>_desc-brain_mask.nii.gz`` and so on."""
    folder = settings.output_dir / scan.folder
    files = {}
    for kind, (entities, ending) in NAMES.items():
        wanted = kind not in ASKED or ASKED[kind] in settings.outputs
        if wanted and set(ANALYSES[kind]) <= set(analyses):
            pairs = [f"{key}-{value}" for key, value in entities.items()]
            files[kind] = folder / "_".join([scan.prefix, *pairs, ending])
    return Job(scan, analyses, files, refusal, _figures(scan, settings, analyses))


def _figures(scan: Scan, settings: Settings, analyses: tuple[Analysis, ...]) -> dict:
    """Name the figures of a scan: those of its analyses, and the viewer's volumes where asked."""
    kinds: list[Figure] = []
    if settings.reports:
        kinds += ["brain", "uncertainty", "thumbnail"] if "brain" in analyses else []
        kinds += ["meningioma"] if "meningioma" in analyses else []
        kinds += ["viewer_image", "viewer_labels"] if settings.viewer and analyses else []
    return {kind: settings.output_dir / results.figure(scan.prefix, kind) for kind in kinds}


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.split(".")[0] + ".json")


def write_results(
    job: Job,
    files: Mapping[Kind, bytes],
    records: Mapping[Kind, Mapping],
    figures: Mapping[Figure, bytes] = MappingProxyType({}),
) -> None:
    """Write the files of a job and its figures, then their sidecars.

    Parameters
    ----------
    job : Job
    files : mapping of kind to bytes
        Gzipped NIfTI files, and tables.
    records : mapping of kind to mapping
        What each sidecar says of the run: see `finished` for the keys that are read again. That
        of a table holds its columns, and nothing else.
    figures : mapping of figure to bytes
        Pictures, and gzipped NIfTI files for the viewer.
    """
    disk.clear(*job.folders)  # a worker may have been killed over it a moment ago
    for sidecar in job.sidecars.values():
        with disk.told_of(sidecar):
            sidecar.unlink(missing_ok=True)  # of an earlier run, whose file is about to go
    for kind, path in job.files.items():
        disk.write_bytes(path, files[kind])
    for kind, path in job.figures.items():
        disk.write_bytes(path, figures[kind])
    source = {
        "Sources": [f"bids:raw:{quote(job.scan.relative)}"],
        "SpatialReference": "orig",
    }
    for kind, path in job.sidecars.items():
        is_image = job.files[kind].suffix == ".gz"
        disk.write_json(path, (FIELDS[kind] | source if is_image else {}) | records[kind])


def finished(job: Job, parameters: Mapping[Kind, Mapping]) -> bool:
    """Tell whether all of a job is there, from this source and with these parameters.

    The source is the same if its size and time of change are, or else its hash.

    Parameters
    ----------
    job : Job
    parameters : mapping of kind to mapping
        The record's ``Parameters``: everything that decides the result.
    """
    if not all(path.is_file() for path in job.figures.values()):
        return False
    for kind, path in job.sidecars.items():
        try:
            record = jsonfile.read(path)
            if not job.files[kind].is_file():
                return False
            if job.files[kind].suffix != ".gz":
                continue  # a table, whose mask tells
            before = record["SourceFile"]
            status = job.scan.path.stat()
            if record["Parameters"] != parameters[kind] or before["Bytes"] != status.st_size:
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

    Raises
    ------
    UsageError
        They cannot be written, and so nor could a result.
    """
    raw = settings.bids_dir.resolve()
    out = settings.output_dir.resolve()
    source = bids.description(raw)
    doi = source.get("DatasetDOI")
    reference = {"DOI": doi} if isinstance(doi, str) and doi else {"URL": raw.as_uri()}
    generator = {
        "Name": "bids_brainmask",
        "Version": bids_brainmask.__version__,
        "Description": "Brain extraction and meningioma segmentation from T1-weighted MRI with "
        "3D U-Nets",
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
    try:
        for name, text in files.items():
            disk.write_changed(settings.output_dir / name, text.encode())
    except OutputError as error:
        raise UsageError(str(error)) from error


def _container() -> dict[str, str]:
    """Describe the container that this runs in; nothing outside of one."""
    for kind in ("apptainer", "singularity"):
        if image := os.environ.get(f"{kind.upper()}_CONTAINER"):
            return {"Type": kind, "URI": image}
    tag = os.environ.get("BIDS_BRAINMASK_IMAGE", "")  # which our own image sets
    if tag or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return {"Type": "docker"} | ({"Tag": tag} if tag else {})
    return {}
