# SPDX-License-Identifier: Apache-2.0
"""The group level: tables and a report of all participants, from the derivatives alone.

It may run any number of times, while participants still run elsewhere: it reads sidecars, which
are written last, and passes over what is not whole.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import TypeVar

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.measures import Value, known_number
from bids_brainmask.dataset import (
    choices_table,
    folders,
    ownership,
    readback,
    scanners,
    shared_tables,
    storage,
)
from bids_brainmask.dataset.readback import Result
from bids_brainmask.dataset.session_order import Sessions
from bids_brainmask.errors import UsageError, some_of
from bids_brainmask.reports import (
    current_results,
    facts,
    followed,
    group_page,
    group_tables,
    lesion_changes,
    page_candidates,
    page_data,
    participant_data,
    rating_table,
    ratings,
    refreshed,
    tumor_growth,
)
from bids_brainmask.reports.page_data import Row
from bids_brainmask.reports.ratings import Rating
from bids_brainmask.settings import Settings
from bids_brainmask.tables import quoted_tsv, tsv

log = logging.getLogger(__name__)

Made = TypeVar("Made")

TABLE = "group_desc-{}_qc"
"""Name of the table of an analysis, without extension."""

VOLUMES = "group_desc-meningioma_volumes"
"""Name of the table of meningiomas over time, without extension."""

CHANGES = "group_desc-meningioma_changes"
"""Name of the table and of the page of lesions over sessions, without extension."""

RATINGS = "group_desc-ratings"
"""How the names of the files about ratings begin."""

PAGE = "group_desc-brain.html"

DATA = "group_desc-brain_data"
"""How the names of the page's data files begin, where it has some."""


def write(settings: Settings) -> list[Path]:
    """Write the tables and the group report of a derivative dataset.

    Returns
    -------
    list of Path
        Files that were written.

    Raises
    ------
    UsageError
        There is no such folder, or it cannot be written to.
    NothingToDo
        It holds no result that they are made of.
    """
    root = settings.output_dir
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder. Run the participant level first.")
    ownership.check_output_dir(settings)
    storage.prepare(root)
    everything = readback.read(root, settings.participant_label)
    found, left_out_as_stale = current_results.keep(settings, everything)
    tables = {
        row.name: gather(
            [one for one in found if row.name in one.records],
            partial(measure, root, analysis=row.name),
        )
        for row in catalog.ANALYSES
    }
    # A table that is there and has no row any more is emptied: it would show former results.
    there = [name for name in tables if (root / f"{TABLE.format(name)}.tsv").is_file()]
    tables = {name: each for name, each in tables.items() if each or name in there}
    if not tables:
        raise current_results.nothing(root, left_out_as_stale)
    said = scanners.read(settings.bids_dir, found)
    named = {key: scanners.name(each) for key, each in said.items()}
    judged = {
        name: dict(
            zip(
                each, group_tables.judge(name, list(each.values()), list(each), named), strict=True
            )
        )
        for name, each in tables.items()
    }
    tables_of_ratings = rating_tables(settings)
    rated = ratings.read(tables_of_ratings, found)
    left_out = ratings.excluded(rated)
    kept = [one for one in tables.get("meningioma", ()) if one.key not in left_out]
    tumors = gather(kept, tumor_growth.measured)
    sessions = Sessions(settings.bids_dir)
    over_time = tumor_growth.rows(tumors.values(), sessions)
    written = shared_tables.copy_participants(settings)
    known = facts.gather(root, found, said, {**group_tables.columns("brain")})
    for name, each in judged.items():
        written += write_table(
            root / TABLE.format(name), group_tables.columns(name), list(each.values())
        )
        if name == "brain":
            written.append(
                write_page(
                    settings, judged, over_time, sessions, known, left_out_as_stale, left_out
                )
            )
    if tumors or (root / f"{VOLUMES}.tsv").is_file():
        written += write_table(root / VOLUMES, tumor_growth.COLUMNS, over_time)
        written += write_changes(settings, list(tumors), sessions)
    if not settings.participant_label:
        written += choices_table.write(root, everything)
    if tables_of_ratings:
        written += write_ratings(settings, rated, tables.get("brain", {}))
    refreshed.update(settings)
    if not any(tables.values()):
        raise current_results.nothing(root, left_out_as_stale)
    return written


def write_changes(settings: Settings, found: Sequence[Result], sessions: Sessions) -> list[Path]:
    """Write the table and the page of lesions over sessions, if there is anything to compare."""
    lines = followed.follow(settings, found, sessions)
    path = settings.output_dir / f"{CHANGES}.html"
    if not lines and not path.is_file():
        return []
    table = write_table(path.with_suffix(""), lesion_changes.COLUMNS, [line.row for line in lines])
    storage.write_bytes(path, followed.page(lines, settings).encode())
    return [*table, path]


def rating_tables(settings: Settings) -> list[Path]:
    """List the tables of ratings: those that were asked for, and the one of the dataset."""
    given = settings.output_dir / f"{rating_table.NAME}.tsv"
    return [*([given] if given.is_file() else []), *settings.ratings]


def write_ratings(
    settings: Settings, rated: Sequence[Rating], measured: Mapping[Result, Mapping]
) -> list[Path]:
    """Write the merged ratings, the included images, and what the ratings change.

    Parameters
    ----------
    settings : Settings
    rated : sequence of Rating
    measured : mapping of Result to mapping
        Measures of the brain masks.
    """
    root, said, left_out = settings.output_dir, ratings.decide(rated), ratings.excluded(rated)
    named = {
        one.key: {name: row[name] for name in ("participant_id", "session_id", "image")}
        for one, row in measured.items()
    }
    known = [one for one in rated if one.image in named]
    current = Counter(one.image for one in known if not one.stale)
    merged = [
        named[one.image]
        | {
            "rater": one.rater,
            "rating": one.verdict,
            "reasons": "; ".join(one.reasons) or None,
            "seconds": one.seconds,
            "comment": one.comment or None,
            "time": one.time or None,
            "mask_sha256": one.mask or None,
            "stale": one.stale,
        }
        for one in known
    ]
    included = [
        row | {"included": key not in left_out, "rating": said.get(key), "raters": current[key]}
        for key, row in named.items()
    ]
    verdicts = Counter(said.get(key, "unrated") for key in named)
    of_included = {one: row for one, row in measured.items() if one.key not in left_out}
    summary = ratings.agreement(known) | {
        "Verdicts": {word: verdicts[word] for word in (*ratings.VERDICTS, "conflict", "unrated")},
        "All": compared(measured),
        "Included": compared(of_included),
    }
    storage.write_json(root / f"{RATINGS}.json", summary)
    return [
        *write_table(root / f"{RATINGS}_merged", ratings.COLUMNS, merged, quoted_tsv),
        *write_table(root / f"{RATINGS}_included", ratings.INCLUDED, included),
        root / f"{RATINGS}.json",
    ]


def compared(measured: Mapping[Result, Mapping]) -> dict:
    """Summarize brain masks: their number, volumes in mL, and the outliers among them."""
    volumes = [v for row in measured.values() if (v := known_number(row["volume_ml"])) is not None]
    judged = group_tables.judge("brain", [dict(row) for row in measured.values()], list(measured))
    return {
        "Images": len(measured),
        "MeanVolume": round(mean(volumes), 3) if volumes else None,
        "StandardDeviationVolume": round(stdev(volumes), 3) if len(volumes) > 1 else None,
        "MedianVolume": round(median(volumes), 3) if volumes else None,
        "VolumeUnits": "mL",
        "Outliers": [
            one.key
            for one, row in zip(measured, judged, strict=True)
            if row["outlier_score"] is not None and row["outlier_reasons"]
        ],
    }


def tell_missing(settings: Settings) -> int:
    """Log which images the tables lack: failed ones, and those in folders that cannot be read.

    Returns
    -------
    int
        Number of folders that cannot be read.
    """
    root, labels = settings.output_dir, settings.participant_label
    closed = readback.unreadable(root, labels) if root.is_dir() else []
    for error in closed:
        log.error("%s: its results are missing in the tables: %s", error.filename, error.strerror)
    if failed := [record["Source"] for record in readback.failures(root, labels)]:
        log.warning(
            "%d failed images are missing in the tables: %s. Run the participant level again.",
            len(failed),
            some_of(failed),
        )
    return len(closed)


def measure(root: Path, one: Result, analysis: str) -> dict:
    """Read the measures of one image; `ValueError` and the like if its record is incomplete."""
    if analysis == "meningioma":
        tumor_growth.measured(one)  # an image is in both tables or in none
    return group_tables.row(one, analysis, readback.reading(root, one, analysis))


def gather(found: Sequence[Result], measure: Callable[[Result], Made]) -> dict[Result, Made]:
    """Measure every result; incomplete records are ignored with a warning."""
    measured = {}
    for one in found:
        try:
            measured[one] = measure(one)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("%s: ignored, not a complete record: %r", one.prefix, error)
    return measured


def write_table(
    path: Path, columns: Mapping, rows: Sequence[Mapping], write: Callable[..., str] = tsv
) -> list[Path]:
    """Write a table and the dictionary of its columns beside it; `path` is without extension."""
    table, dictionary = path.with_name(f"{path.name}.tsv"), path.with_name(f"{path.name}.json")
    storage.write_bytes(table, group_tables.text(columns, rows, write).encode("utf-8", "replace"))
    storage.write_json(dictionary, columns)
    return [table, dictionary]


def write_page(
    settings: Settings,
    judged: Mapping[str, Mapping[Result, dict]],
    over_time: Sequence[Mapping[str, str]],
    sessions: Sessions,
    known: tuple[facts.Columns, dict[str, dict[str, Value]]],
    left_out: Sequence[Mapping[str, str]],
    excluded: Collection[str],
) -> Path:
    """Write the group report of all images with a brain mask.

    Parameters
    ----------
    settings : Settings
    judged : mapping
        Rows of the tables, by analysis and result.
    over_time : sequence of mapping
        Rows of the table of volumes.
    sessions : Sessions
    known : tuple
        Columns about scanners and participants, and their values, as of `facts.gather`.
    left_out : sequence of mapping
        Results that are not shown, like crash records.
    excluded : collection of str
        Names of images that ratings exclude.
    """
    root = settings.output_dir
    columns = group_tables.columns("brain")
    more = [row.name for row in catalog.ANALYSES if row.on_page and judged.get(row.name)]
    for name in more:  # of analyses without their own report
        columns |= group_tables.page_columns(name)
    added_columns, facts_of = known
    columns |= added_columns
    rows = []
    for result, values in judged["brain"].items():
        report = f"sub-{result.participant}.html"
        for name in more:
            found = judged[name].get(result, {})
            values |= {new: found.get(old) for old, new in group_tables.page_names(name).items()}
        values |= facts_of[result.key]
        lesions = page_candidates.read(root, result)
        if lesions:
            lesions["thumbnail"] = _thumbnail(settings, result, "lesionthumbnail")
        shown, mask = _thumbnail(settings, result, "thumbnail"), ratings.mask_digest(result)
        rows.append(Row(result.key, report, shown, values, mask, lesions))
    files = {} if settings.single_file else page_data.data_files(rows, columns, DATA)
    for name, text in files.items():
        storage.write_bytes(root / name, text.encode())
    page = group_page.page(
        rows,
        columns,
        files=tuple(files),
        title=str(folders.description(root).get("Name") or "Brain masks"),
        facts=tuple(added_columns),
        volumes=over_time,
        sessions=sessions,
        excluded=excluded,
        failures=[*readback.failures(root, settings.participant_label), *left_out],
    )
    storage.write_bytes(root / PAGE, page.encode())
    for old in root.glob(f"{DATA}-*.js"):  # of the page before
        if old.name not in files:
            old.unlink(missing_ok=True)
    return root / PAGE


def _thumbnail(settings: Settings, result: Result, figure: str) -> str | None:
    """Path of a small figure, or the picture itself if the page is to be one file."""
    root, path = settings.output_dir, result.figures[figure]
    if not (root / path).is_file():
        return None
    return (participant_data.inline(root, path) or None) if settings.single_file else path
