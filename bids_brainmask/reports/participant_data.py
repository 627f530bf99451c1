# SPDX-License-Identifier: Apache-2.0
"""What a participant's report shows of one image, gathered from its files and records.

Records are other people's: keys may be missing, and values of any type.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import Analysis, Figure, Number
from bids_brainmask.dataset import currency, readback
from bids_brainmask.dataset.currency import Verdict
from bids_brainmask.dataset.readback import Result
from bids_brainmask.reports import cohort, edit_commands
from bids_brainmask.reports.cohort import Cohort, Peers, ShownMeasure
from bids_brainmask.reports.edit_commands import Command


@dataclass(frozen=True)
class Fact:
    """A name and what a record says of it."""

    name: str
    value: str
    code: bool = False  # to be shown letter by letter: a hash, a path
    link: str = ""


@dataclass(frozen=True)
class Tile:
    """An important number."""

    name: str
    value: str
    units: str = ""
    grade: str = ""  # a class of report.css


@dataclass(frozen=True)
class Remark:
    """A remark at the start of a section."""

    badge: str
    title: str
    text: str
    grade: str = "warn"


@dataclass(frozen=True)
class Picture:
    """A figure, inside the page or beside it."""

    caption: str
    path: str
    source: str  # address; empty where the file cannot be read
    alt: str


@dataclass(frozen=True)
class Table:
    """A table of an analysis."""

    caption: str
    columns: Mapping[str, Mapping]
    rows: Sequence[Mapping[str, str]]
    empty: str  # what is said of no rows


@dataclass(frozen=True)
class Card:
    """What is shown under one heading."""

    title: str
    picture: Picture | None
    table: Table | None = None


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
    records: Mapping[str, Mapping]  # sidecars, by analysis
    remarks: Sequence[Remark]
    tiles: Sequence[Tile]
    summary: Sequence[str]  # in the table of images
    thumbnail: str
    cards: Sequence[Card]
    measures: Sequence[ShownMeasure]
    peers: Peers | None
    provenance: Mapping[str, Sequence[Fact]]
    commands: Sequence[str]
    corrections: Sequence[Command]
    viewer: Viewer | None

    @property
    def compared(self) -> bool:
        """Whether a measure is compared with those of similar images."""
        return any(measure.spread for measure in self.measures)

    @property
    def contrast(self) -> Any:
        """Whether the image is contrast-enhanced, as the first sidecar says."""
        return next(iter(self.records.values())).get("ContrastEnhanced")


def gather(
    root: Path,
    result: Result,
    number: int,
    everybody: Cohort,
    library: str,
    show: Show,
    stale: Mapping[str, Verdict] = MappingProxyType({}),
) -> Section:
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
    show : callable
        `inline` or `beside`: gives the address of a picture.
    stale : mapping of str to Verdict
        Analyses whose results are not current.
    """
    records = {
        name: _mapping(result.records[name])
        for name in catalog.names()
        if _mapping(result.records.get(name))
    }
    brain = records.get("brain", {})
    peers = everybody.peers(result.main("brain")) if brain else None
    return Section(
        number=number,
        result=result,
        records=records,
        remarks=[*out_of_date(stale), *remarks(records, peers)],
        tiles=tiles(records),
        summary=[shown(each, records.get(name, {})) for name, each in summary_columns()],
        thumbnail=show(root, result.figures["thumbnail"]) if brain else "",
        cards=cards(root, result, records, show),
        measures=cohort.measures(brain, peers),
        peers=peers,
        provenance=provenance(result),
        commands=_commands(*records.values()),
        corrections=edit_commands.commands(root, result),
        viewer=_viewer(root, result, library) if library else None,
    )


def summary_columns() -> list[tuple[str, Number]]:
    """Analysis and number of each column of the table of images."""
    return [(row.name, each) for row in catalog.ANALYSES for each in row.numbers if each.column]


def cards(root: Path, result: Result, records: Mapping[str, Mapping], show: Show) -> list[Card]:
    """Gather the figures of the analyses, and below the last one of each its table."""
    found = [
        (row.made_by, Card(row.title, picture(root, result, row, show)))
        for row in catalog.FIGURES
        if row.title and row.made_by in records
    ]
    for analysis in catalog.ANALYSES:
        if not analysis.table or analysis.name not in records:
            continue
        own = [place for place, (name, _) in enumerate(found) if name == analysis.name]
        table = _table(root, result, analysis)
        if own:
            found[own[-1]] = (analysis.name, replace(found[own[-1]][1], table=table))
        else:
            found.append((analysis.name, Card(analysis.title, None, table)))
    return [card for _, card in found]


def _table(root: Path, result: Result, analysis: Analysis) -> Table:
    output = catalog.output(analysis.table)
    columns = dict(output.columns()) if output.columns else {}
    for name in output.off_page:
        del columns[name]
    rows = readback.table(root, result, analysis.name)
    return Table(output.caption, columns, rows, output.empty)


def address(path: str) -> str:
    """Write a path in the output folder as a relative address, whatever its bytes."""
    return quote(os.fsencode(path))


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def words(value: object) -> str:
    """Show any value of a record in a few words; n/a for none."""
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return cohort.digits(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shown(number: Number, record: Mapping) -> str:
    """Show a number of a record, in its own words if it has some."""
    return (number.words and number.words(record)) or words(record.get(number.key))


def out_of_date(stale: Mapping[str, Verdict]) -> list[Remark]:
    """Say which results are not of the present image and mask."""
    return [
        Remark("out of date", f"{catalog.analysis(name).title} out of date", currency.advice(one))
        for name, one in stale.items()
    ]


def remarks(records: Mapping[str, Mapping], peers: Peers | None) -> list[Remark]:
    """List the warnings and remarks about an image's masks."""
    found = []
    for name, record in records.items():
        if record.get("Warning"):
            title = catalog.analysis(name).title
            found.append(Remark("warning", title, words(record["Warning"])))
        if record.get("ModelNotice"):
            model = words(_mapping(record.get("Parameters")).get("Model"))
            found.append(Remark("notice", f"Model {model}", words(record["ModelNotice"])))
    if peers and peers.reasons:
        unlike = "; ".join(peers.reasons)
        found.append(Remark("outlier", "Differs from the other images of its group", unlike))
    if records.get("brain", {}).get("AlreadyStripped") is True:
        text = "the image contained only a brain; the mask covers all of it"
        found.append(Remark("stripped", "Already skull-stripped", text, grade=""))
    return found


def tiles(records: Mapping[str, Mapping]) -> list[Tile]:
    """Show the most important numbers."""
    found = []
    for name, record in records.items():
        for each in catalog.analysis(name).numbers:
            value = record.get(each.key)
            number = cohort.finite_number(value)
            if each.factor != 1:
                value = None if number is None else each.factor * number
            doubtful = number is not None and each.is_doubtful(number)
            units = str(record.get(each.units_key) or "") if each.units_key else each.units
            if value is not None:
                text = shown(each, record) if each.words else words(value)
                found.append(Tile(each.title, text, units, "warn" if doubtful else ""))
    return found


def picture(root: Path, result: Result, figure: Figure, show: Show) -> Picture:
    """Show a figure in the report, or give its path if it is missing."""
    path = result.figures[next(iter(figure.files))]
    return Picture(figure.caption, path, show(root, path), figure.alt.format(result.key))


Show = Callable[[Path, str], str]
"""Gives the address of a picture by its path in the output folder; empty if it is missing."""


def inline(root: Path, path: str) -> str:
    """Give a WebP file as a data: address; empty where there is none that can be read."""
    try:
        return f"data:image/webp;base64,{base64.b64encode((root / path).read_bytes()).decode()}"
    except OSError:
        return ""


def beside(root: Path, path: str) -> str:
    """Give the relative address of a picture; empty where there is none."""
    return f"./{address(path)}" if (root / path).is_file() else ""


def picture_bytes(root: Path, found: Iterable[Result]) -> int:
    """Count the bytes of the pictures that a page shows of some images."""
    total = 0
    shown = [(place, catalog.figure(name)) for one in found for name, place in one.figures.items()]
    for path in (root / place for place, figure in shown if not figure.apart):
        with suppress(OSError):
            total += path.stat().st_size if path.suffix == ".webp" else 0
    return total


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
    """List the provenance of each result of an image."""
    return {
        row.title: _facts(_mapping(result.records[row.name]), result.main(row.name))
        for row in catalog.ANALYSES
        if result.records.get(row.name) is not None
    }


def _facts(record: Mapping, mask: str) -> list[Fact]:
    source, parameters = _mapping(record.get("SourceFile")), _mapping(record.get("Parameters"))
    sidecar = f"{mask[: -len(Path(mask).name)]}{Path(mask).name.split('.')[0]}.json"
    software = ", ".join(
        f"{name} {words(version)}" for name, version in _mapping(record.get("Software")).items()
    )
    return [
        Fact("Mask", mask, code=True, link=address(mask)),
        Fact("Sidecar", sidecar, code=True, link=address(sidecar)),
        Fact("Source", _source(record), code=True),
        Fact("Source SHA-256", words(source.get("SHA256")), code=True),
        Fact("Source size, bytes", words(source.get("Bytes"))),
        *(
            Fact(_spaced(key), words(value), code=key == "ModelSHA256")
            for key, value in parameters.items()
            if key != "Precision"
        ),
        Fact("Precision", words(record.get("Precision"))),
        Fact("Citation", words(record.get("ModelCitation"))),
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


def _spaced(key: str) -> str:
    """Write a key of a sidecar as words: ``ModelVersion`` as Model version."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).replace("SHA256", "SHA-256")
    first, *rest = text.split(" ")
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])


def _commands(*records: Mapping) -> list[str]:
    """Command lines that made the masks of an image, each once."""
    found = (record.get("Command") for record in records)
    return list(dict.fromkeys(words(command) for command in found if command))
