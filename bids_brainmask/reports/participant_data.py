# SPDX-License-Identifier: Apache-2.0
"""What a participant's report shows of one image, gathered from its files and records.

Records are other people's: keys may be missing, and values of any type.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from bids_brainmask.analyses import confidence
from bids_brainmask.dataset import readback
from bids_brainmask.dataset.readback import Figure, Result
from bids_brainmask.reports import cohort
from bids_brainmask.reports.cohort import Cohort, Measure, Peers

PICTURES: dict[Figure, tuple[str, str, str]] = {
    "brain": (
        "Brain mask",
        "Slices of {} with the outline of the brain mask",
        "Slices with the outline of the mask.",
    ),
    "uncertainty": (
        "Uncertainty",
        "Slices of {} with the places where the network was unsure",
        "Where the probability of brain lies between 0.25 and 0.75: the network was unsure there.",
    ),
    "meningioma": (
        "Meningiomas",
        "Slices of {} with the outlines of the meningiomas",
        "Slices through the meningiomas that were found, with their outlines.",
    ),
}
"""Of each figure that a page shows: title, alternative text, caption."""


@dataclass(frozen=True)
class Fact:
    """A name and what a record says of it."""

    name: str
    value: str
    code: bool = False  # to be shown letter by letter: a hash, a path
    link: str = ""


@dataclass(frozen=True)
class Tile:
    """A number that counts."""

    name: str
    value: str
    units: str = ""
    grade: str = ""  # a class of report.css


@dataclass(frozen=True)
class Remark:
    """Something to be seen before the rest."""

    badge: str
    title: str
    text: str
    grade: str = "warn"


@dataclass(frozen=True)
class Picture:
    """A figure, inside the page."""

    kind: Figure
    title: str
    caption: str
    path: str
    source: str  # data: address; empty where the file cannot be read
    alt: str


@dataclass(frozen=True)
class Viewer:
    """The volumes of one image for the viewer, as base64."""

    image: str
    labels: str
    megabytes: str  # of these and of the library


@dataclass(frozen=True)
class Section:
    """What the page shows of one image."""

    number: int  # from 1
    result: Result
    brain: Mapping  # sidecars; empty where there is none
    tumour: Mapping
    remarks: Sequence[Remark]
    tiles: Sequence[Tile]
    thumbnail: str
    pictures: Mapping[Figure, Picture]
    measures: Sequence[Measure]
    peers: Peers | None
    lesions: Sequence[Mapping[str, str]]
    provenance: Mapping[str, Sequence[Fact]]
    commands: Sequence[str]
    viewer: Viewer | None


def gather(root: Path, result: Result, number: int, everybody: Cohort, library: str) -> Section:
    """Gather what the page shows of one image.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    result : Result
    number : int
        Of the image on its page, from 1.
    everybody : Cohort
        What to compare with.
    library : str
        The viewer's, packed; empty for a page without one.
    """
    brain, tumour = _mapping(result.brain), _mapping(result.tumour)
    shown: list[Figure] = ["brain", "uncertainty"] if brain else []
    shown += ["meningioma"] if tumour else []
    peers = everybody.peers(result.brain_mask) if brain else None
    return Section(
        number=number,
        result=result,
        brain=brain,
        tumour=tumour,
        remarks=remarks(brain, tumour, peers),
        tiles=tiles(brain, tumour),
        thumbnail=_inline(root / result.figures["thumbnail"]) if brain else "",
        pictures={kind: picture(root, result, kind) for kind in shown},
        measures=cohort.measures(brain, peers),
        peers=peers,
        lesions=readback.lesions(root, result) if tumour else [],
        provenance=provenance(result),
        commands=_commands(brain, tumour),
        viewer=_viewer(root, result, library) if library else None,
    )


def address(path: str) -> str:
    """Write a path in the output folder as a relative address, whatever its bytes."""
    return quote(os.fsencode(path))


def _mapping(value) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def words(value) -> str:
    """Show any value of a record in a few words; n/a for none."""
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return cohort.digits(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def remarks(brain: Mapping, tumour: Mapping, peers: Peers | None) -> list[Remark]:
    """List what is to be known of an image's masks before they are used."""
    found = []
    for title, record in (("Brain mask", brain), ("Meningiomas", tumour)):
        if record.get("Warning"):
            found.append(Remark("warning", title, words(record["Warning"])))
        if record.get("ModelNotice"):
            model = words(_mapping(record.get("Parameters")).get("Model"))
            found.append(Remark("notice", f"Model {model}", words(record["ModelNotice"])))
    if peers and peers.reasons:
        unlike = "; ".join(peers.reasons)
        found.append(Remark("outlier", "Unlike the other images of its group", unlike))
    if brain.get("AlreadyStripped") is True:
        text = "the image held a brain and nothing else, and all of it is the mask"
        found.append(Remark("stripped", "Stripped before", text, grade=""))
    return found


def tiles(brain: Mapping, tumour: Mapping) -> list[Tile]:
    """Choose the few numbers that count most."""
    dice = cohort.number(brain.get("PredictedDice"))
    doubtful = "warn" if dice is not None and dice < confidence.DOUBTFUL else ""
    volumes = [brain.get("BrainVolumeUnits") or "", tumour.get("LesionVolumeUnits") or ""]
    found = [
        ("Brain volume", brain.get("BrainVolume"), volumes[0], ""),
        ("Predicted Dice", brain.get("PredictedDice"), "", doubtful),
        ("Uncertain boundary", _percent(brain.get("BoundaryUncertainty")), "%", ""),
        ("Meningiomas", tumour.get("LesionCount"), "", ""),
        ("Meningioma volume", tumour.get("LesionVolume"), volumes[1], ""),
    ]
    return [
        Tile(name, words(value), str(units), grade)
        for name, value, units, grade in found
        if value is not None
    ]


def _percent(share) -> float | None:
    share = cohort.number(share)
    return None if share is None else 100 * share


def picture(root: Path, result: Result, kind: Figure) -> Picture:
    """Put a figure into the page, or say where it should be."""
    title, alt, caption = PICTURES[kind]
    path = result.figures[kind]
    return Picture(kind, title, caption, path, _inline(root / path), alt.format(result.prefix))


def _inline(path: Path) -> str:
    """Give a WebP file as a data: address; empty where there is none that can be read."""
    try:
        return f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:
        return ""


def _viewer(root: Path, result: Result, library: str) -> Viewer | None:
    """Take the volumes for the viewer; None where one of them cannot be read."""
    try:
        image, labels = (
            base64.b64encode((root / result.figures[kind]).read_bytes()).decode()
            for kind in ("viewer_image", "viewer_labels")
        )
    except OSError:
        return None
    return Viewer(image, labels, f"{(len(library) + len(image) + len(labels)) / 1e6:.1f}")


def provenance(result: Result) -> dict[str, list[Fact]]:
    """Say how each mask of an image came to be."""
    made = (
        ("Brain mask", result.brain, result.brain_mask),
        ("Meningiomas", result.tumour, result.tumour_mask),
    )
    return {
        title: _facts(_mapping(record), mask) for title, record, mask in made if record is not None
    }


def _facts(record: Mapping, mask: str) -> list[Fact]:
    source, parameters = _mapping(record.get("SourceFile")), _mapping(record.get("Parameters"))
    sidecar = mask.removesuffix(".nii.gz") + ".json"
    software = ", ".join(
        f"{name} {words(version)}" for name, version in _mapping(record.get("Software")).items()
    )
    return [
        Fact("Mask", mask, code=True, link=address(mask)),
        Fact("Sidecar", sidecar, code=True, link=address(sidecar)),
        Fact("Source", _source(record), code=True),
        Fact("SHA-256 of the source", words(source.get("SHA256")), code=True),
        Fact("Bytes of the source", words(source.get("Bytes"))),
        Fact("Source changed", _moment(source.get("Modified"))),
        *(
            Fact(_spaced(key), words(value), code=key == "ModelSHA256")
            for key, value in parameters.items()
        ),
        Fact("To be cited", words(record.get("ModelCitation"))),
        Fact("Contrast-enhanced", words(record.get("ContrastEnhanced"))),
        Fact("Software", software or "n/a"),
        Fact("Seconds", words(record.get("Seconds"))),
        Fact("Intended use", words(record.get("IntendedUse"))),
    ]


def _source(record: Mapping) -> str:
    """Name the source image by its path in its dataset."""
    sources = record.get("Sources")
    first = sources[0] if isinstance(sources, list) and sources else sources
    return unquote(words(first).removeprefix("bids:raw:"))


def _moment(nanoseconds) -> str:
    """Write a time, given in ns since 1970, as a date and a time of day."""
    seconds = cohort.number(nanoseconds)
    try:
        return datetime.fromtimestamp(seconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return words(nanoseconds)


def _spaced(key: str) -> str:
    """Write a key of a sidecar as words: ``ModelVersion`` as Model version."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).replace("SHA256", "SHA-256")
    first, *rest = text.split(" ")
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])


def _commands(*records: Mapping) -> list[str]:
    """Command lines that made the masks of an image, each once."""
    found = (record.get("Command") for record in records)
    return list(dict.fromkeys(words(command) for command in found if command))
