# SPDX-License-Identifier: Apache-2.0
"""Damaged records of the participant level, and the group level that reads them: see fuzz.py."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st

from bids_brainmask.analyses import lesion_table, quality
from bids_brainmask.dataset import decisions, storage
from bids_brainmask.reports import group, group_page
from bids_brainmask.settings import Settings
from bids_brainmask.tables import tsv

MODEL = {"Model": "embedded", "ModelVersion": "0.3.0", "ModelSHA256": "0" * 64, "Threshold": 0.5}

CONTENT = b"mask"
"""Content of each mask: only its hash counts."""

SHA256 = hashlib.sha256(CONTENT).hexdigest()

MASK, TUMORS = (
    f"sub-x/anat/sub-x_{name}_mask" for name in ("desc-brain", "label-tumor_desc-meningioma")
)


def common(mask: str) -> dict:
    """Fields of the sidecar of a mask, whatever made it."""
    return {
        "Type": "ROI",
        "Description": "A mask",
        "Manual": False,
        "Sources": ["bids:raw:sub-x/anat/sub-x_T1w.nii.gz"],
        "SpatialReference": "orig",
        "SourceFile": {"Bytes": 1000, "SHA256": "0" * 64},
        "Parameters": MODEL,
        "Precision": "int8",
        "ContrastEnhanced": True,
        "Seconds": 2.5,
        "IntendedUse": "research",
        "Command": "bids-brainmask",
        "ModelCitation": "none",
        "Software": {"bids_brainmask": "0.2.0"},
        "MadeFrom": {"brain": "1" * 64},
        "VoxelsSHA256": "1" * 64,
        "Files": {f"{mask.split('/')[-1]}.nii.gz": {"Bytes": len(CONTENT), "SHA256": SHA256}},
    }


BRAIN = common(MASK) | {
    "BrainVolume": 1400.0,
    "BrainVolumeUnits": "mL",
    "BoundaryUncertainty": 0.2,
    "PredictedDice": 0.97,
    "Doubts": ["shape too long"],
    "Warning": "none",
    "AlreadyStripped": False,
    "HeadOrientation": "RAS",
    "IntensitiesShown": "as they are",
    "AveragedWithMirrorImage": False,
    "Quality": {row.name: 1.0 for row in quality.MEASURES[:3]},
    "Chosen": {"Time": "2026-01-01T00:00:00+00:00", "Threshold": 0.5},
}

TUMOR = common(TUMORS) | {
    "CandidateCount": 1,
    "LesionCount": 1,
    "LesionVolume": 2.5,
    "LesionVolumeUnits": "mL",
    "ModelNotice": "check",
    "Decisions": {"1": "accepted"},
}

RUN = {
    "Source": "/data/sub-x/anat/sub-x_T1w.nii.gz",
    "SHA256": "0" * 64,
    "Modified": 1,
    "Command": ["bids-brainmask"],
    "Host": "here",
    "Chosen": {},
    "Manual": {},
    "Results": {f"{MASK.split('/')[-1]}.nii.gz": {"SHA256": SHA256, "Modified": 1}},
}

CRASH = {
    "Time": "2026-01-01T00:00:00+00:00",
    "Source": "sub-x/anat/sub-x_T2w.nii.gz",
    "Error": "ImageError",
    "Message": "no head",
    "Reason": "no head",
    "Traceback": "in a line",
    "Command": ["bids-brainmask"],
    "Version": "0.2.0",
    "Python": "3.11.0",
    "Host": "here",
    "PeakMemory": "1.0 GB",
}

LESIONS = [list(lesion_table.COLUMNS), ["1", *["2.5"] * (len(lesion_table.COLUMNS) - 1)]]

DECISIONS = [list(decisions.COLUMNS), ["1", "accepted", "1" * 64, "Anna", "2026-01-01"]]

FILES = {
    f"{MASK}.json": BRAIN,
    f"{TUMORS}.json": TUMOR,
    "logs/sub-x/sub-x_T1w_run.json": RUN,
    "logs/sub-x/sub-x_T2w_crash-1.json": CRASH,
    "sub-x/anat/sub-x_desc-meningioma_lesions.tsv": LESIONS,
    "sub-x/anat/sub-x_desc-meningioma_decisions.tsv": DECISIONS,
}
"""Records of a participant that the group level reads."""

BESIDE = {
    f"{MASK}.nii.gz": CONTENT,
    f"{TUMORS}.nii.gz": CONTENT,
    "sub-x/anat/sub-x_desc-meningioma_dseg.json": (
        b'{"Parameters": {}, "VoxelsSHA256": "%s"}' % (b"1" * 64)
    ),
}
"""Files that these records are compared with."""

SOUND = ["sub-0", "sub-1"]

TOGETHER = 8
"""Damaged participants in one example: enough of them are compared with each other."""

WORST = (
    *(None, True, 0, -1.5, [], {}, "", "x", "inf", "1e999", "\ud800", "a\tb\nc"),
    *(float("inf"), float("-inf"), float("nan"), 1e308, 10**308, 10**400, -(10**400)),
)
"""Values that each field has once."""

PIECES = st.sampled_from(WORST) | st.integers() | st.floats() | st.text(max_size=8)
VALUES = PIECES | st.lists(PIECES, max_size=2) | st.dictionaries(st.text(max_size=4), PIECES)


def places(value, path=()) -> list[tuple]:
    """Paths of all that a record holds, as keys and indices."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in pairs:
        found.append((*path, key))
        if isinstance(inner, dict | list):
            found += places(inner, (*path, key))
    return found


EVERYWHERE = [(name, path) for name, content in FILES.items() for path in places(content)]
"""Every field of every record."""


def each_once() -> Iterator[list[dict[str, bytes]]]:
    """Give every field of every record each of the `WORST` values, in participants of their own.

    Yields
    ------
    list of dict
        As of `damaged`, `TOGETHER` at a time.
    """
    made = []
    for (name, (*above, last)), value in itertools.product(EVERYWHERE, WORST):
        content = inner = copy.deepcopy(FILES[name])
        for key in above:
            inner = inner[key]
        inner[last] = value
        made.append({each: encoded(FILES[each]) for each in FILES} | {name: encoded(content)})
        if len(made) == TOGETHER:
            yield made
            made = []
    yield made


@st.composite
def damaged(draw) -> dict[str, bytes]:
    """The records of a participant, of whose fields some are anything or absent."""
    contents = copy.deepcopy(FILES)
    for name, path in draw(st.lists(st.sampled_from(EVERYWHERE), min_size=1, max_size=3)):
        inner = contents[name]
        *above, last = path
        try:
            for key in above:
                inner = inner[key]
            if draw(st.booleans()) or isinstance(inner, list):
                inner[last] = draw(VALUES)
            else:
                inner.pop(last, None)
        except (TypeError, KeyError, IndexError, AttributeError):
            continue  # another change took it away
    return {name: encoded(content) for name, content in contents.items()}


def encoded(content: dict | list) -> bytes:
    """Bytes of a record, or of a table whose rows may be anything."""
    if isinstance(content, dict):
        text = json.dumps(content)
    else:
        text = tsv(row if isinstance(row, list) else [row] for row in content)
    return text.encode("utf-8", "surrogatepass")


def groups(folder: Path, participants: list[dict[str, bytes]]) -> str:
    """Make the tables of the group level, and the data of its page, where records are anything.

    The sound ones must be there.
    """
    root = folder / "derivatives"
    if not root.is_dir():
        for label in SOUND:
            put(root, label, {name: encoded(content) for name, content in FILES.items()})
    for number, files in enumerate(participants):
        put(root, f"sub-x{number}", files)
    written: dict[str, bytes] = {}

    def page(rows, columns, *, title, volumes, failures, **_) -> str:
        assert all({"Source", "Message"} <= each.keys() for each in failures)
        return group_page.in_script(group_page.content(rows, columns, title, volumes))

    def write(path: Path, content: bytes) -> None:
        written[path.name] = content

    settings = Settings(bids_dir=folder, output_dir=root, analysis_level="group")
    patches = mock.patch.object(storage, "write_bytes", write)
    with patches, mock.patch.object(group_page, "page", page):
        group.write(settings)
    tables = [text.decode() for name, text in written.items() if name.endswith(".tsv")]
    assert all(text.count(f"{label}/anat/") == 1 for text in tables for label in SOUND)
    counts = [text.count("\n") - 1 for text in tables]
    return "all" if min(counts) == len(SOUND) + len(participants) else "some"


def put(root: Path, label: str, files: dict[str, bytes]) -> None:
    """Write the files of a participant, and their folders."""
    for name, content in (BESIDE | files).items():
        path = root / name.replace("sub-x", label)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.replace(b"sub-x", label.encode()))
