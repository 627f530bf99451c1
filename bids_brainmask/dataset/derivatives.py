# SPDX-License-Identifier: Apache-2.0
"""The files that describe the derivative dataset as a whole.

Rules of BIDS Derivatives 1.10 (https://bids-specification.readthedocs.io, "Imaging derivatives").
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import bids_brainmask
from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import decisions, folders, ownership, storage
from bids_brainmask.errors import OutputError, UsageError
from bids_brainmask.settings import RESEARCH_ONLY, Settings

BIDS_VERSION = "1.10.0"

BEGIN = "<!-- bids_brainmask writes this part. Write your own text above or below it. -->"
END = "<!-- End of the part that bids_brainmask writes. -->"
"""Lines around our part of the README; all else is the user's."""

REFRESHED = ("BIDSVersion", "DatasetType", "GeneratedBy", "SourceDatasets", "DatasetLinks")
"""Keys of the description that each run writes; the user may edit all others."""

README = """\
{begin}
# Brain masks

{files}
These names are those of T1w images. For images with another suffix, such as T2w, `desc-` of masks
and probabilities has the suffix: `*_desc-brainT2w_mask.nii.gz`.

`sub-*.html` are reports, one per participant. `group_*` are the group report and tables of all
images. The JSON file beside each mask has its source, model, threshold and versions. `logs/` has a
record of every image that failed, and the commands, paths and machines of all runs.

No file outside of `logs/` has names of machines, users or folders: remove `logs/` before you share
this dataset. Texts and extensions of the source's headers were not copied. Brain images show the
brain alone, but brain images, too, are data of persons.

{research_only}
{end}
"""


def describe_dataset(settings: Settings) -> None:
    """Write ``dataset_description.json``, ``.bidsignore`` and the README, unless up to date.

    What the user has changed in them is kept: other keys of the description, other lines, and the
    README outside of our part.

    Every process of a parallel run writes the same bytes, so it does not matter who is last.

    Raises
    ------
    UsageError
        They cannot be written; then results cannot be written either.
    """
    raw = settings.bids_dir.resolve()
    out = settings.output_dir.resolve()
    source = folders.description(raw)
    doi = source.get("DatasetDOI")
    reference = {"DOI": doi} if isinstance(doi, str) and doi else {"URL": "bids:raw:"}
    generator = {
        "Name": "bids_brainmask",
        "Version": bids_brainmask.__version__,
        "Description": "Brain extraction and meningioma segmentation from T1-weighted MRI with "
        "3D U-Nets",
        "CodeURL": bids_brainmask.CODE_URL,
    } | ({"Container": container} if (container := _container()) else {})
    content = {
        "Name": f"Brain masks of {source.get('Name') or 'a dataset without a name'}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "SourceDatasets": [reference],
        "DatasetLinks": links(raw, out),
        "HowToAcknowledge": "See the model's citation in the sidecars.",
    }
    if isinstance(license_ := source.get("License"), str):
        content["License"] = license_  # of the images, which the brain images are part of
    readme = README.format(
        begin=BEGIN, files=catalog.readme(), research_only=RESEARCH_ONLY, end=END
    )
    described = _keep_keys(content, folders.description(out))
    texts: dict[str, Callable[[str], str]] = {
        ownership.DESCRIPTION: lambda _: (
            json.dumps(described, indent=2, ensure_ascii=False) + "\n"
        ),
        ".bidsignore": lambda old: _keep_lines(ignored(), old),
        "README.md": lambda old: _keep_around(readme, old),
    }
    try:
        for name, make in texts.items():
            path = settings.output_dir / name
            storage.write_changed(path, make(_text(path)).encode("utf-8", "surrogateescape"))
    except OutputError as error:
        raise UsageError(str(error)) from error


def links(raw: Path, out: Path) -> dict[str, str]:
    """Link to the raw dataset; none if the link would have to name a folder above it."""
    up = os.path.relpath(raw, out)
    named = [part for part in Path(up).parts if part != ".."]
    return {"raw": quote(up)} if len(named) < 2 else {}


def _text(path: Path) -> str:
    """Read a text, of any bytes; empty if it is absent or not readable."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else ""
    except OSError:
        return ""


def _keep_keys(content: dict, old: Mapping) -> dict:
    """Merge a description with the one that is there: see `REFRESHED`.

    Entries of our other versions stay: results may be of them, as their sidecars tell.
    """
    found = {**old, **content, **{key: old[key] for key in old if key not in REFRESHED}}
    (now,) = content["GeneratedBy"]
    if isinstance(makers := old.get("GeneratedBy"), list):
        same = {key: now[key] for key in ("Name", "Version")}
        is_now = [isinstance(each, dict) and {**each, **same} == each for each in makers]
        pairs = zip(makers, is_now, strict=True)
        found["GeneratedBy"] = [now if ours else maker for maker, ours in pairs]
        found["GeneratedBy"] += [] if any(is_now) else [now]
    if isinstance(sources := old.get("SourceDatasets"), list):
        found["SourceDatasets"] = [*content["SourceDatasets"], *sources[1:]]
    if isinstance(links := old.get("DatasetLinks"), dict):
        found["DatasetLinks"] = links | content["DatasetLinks"]
    return found


def _keep_lines(text: str, old: str) -> str:
    """Add the lines that are missing to those that are there."""
    lines = old.splitlines()
    return "".join(f"{line}\n" for line in dict.fromkeys([*lines, *text.splitlines()]))


def _keep_around(text: str, old: str) -> str:
    """Replace our part of a README; one without our part is the user's, and stays."""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(f"{END}\n")
    if begin and end:
        return before + text + after
    return old or text


def _container() -> dict[str, str]:
    """Describe the container that this process runs in; empty outside of containers."""
    for kind in ("apptainer", "singularity"):
        if image := os.environ.get(f"{kind.upper()}_CONTAINER"):
            return {"Type": kind, "URI": image.rpartition("/")[2] if image[0] == "/" else image}
    tag = os.environ.get("BIDS_BRAINMASK_IMAGE", "")  # which our own image sets
    if tag or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return {"Type": "docker"} | ({"Tag": tag} if tag else {})
    return {}


def ignored() -> str:
    """Write ``.bidsignore``: reports, and files that BIDS has no names for."""
    lines = [
        "*.html",
        "logs",
        "sub-*/figures",
        "group_*",
        "choices.*",
    ]  # a slash behind would spare the folder
    for row in catalog.OUTPUTS:
        if not row.in_bids:
            lines += [f"*_{row.ending}", f"*_{row.ending.split('.')[0]}.json"]
    lines.append(f"*{decisions.END}")
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))
