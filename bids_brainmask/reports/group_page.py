# SPDX-License-Identifier: Apache-2.0
"""The group report: outliers, distributions, a table and ratings.

One file that opens from the disk and asks nobody for anything. Its pictures and the participants'
pages lie beside it. `page` takes values and gives text; the table, in the browser, is
Tabulator's, and everything else is drawn by our own script.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import bids_brainmask
from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.measures import Value, known_number
from bids_brainmask.dataset.session_order import Sessions
from bids_brainmask.reports import group_tables, ratings, session_plots, templates
from bids_brainmask.reports.page_data import (
    Row,
    digest,
    in_script,
    of_images,
    plain,
)
from bids_brainmask.reports.session_plots import Volume

MARGINS = "margin_"
"""How the names of columns begin that are plotted as one: the smallest of them."""

SMALLEST_MARGIN = {
    "LongName": "Smallest margin",
    "Description": "Smallest of the six distances from the mask's box to the edge of the image",
    "Units": "mm",
}

MARGIN_RANK, SECONDS_RANK = 6, 10
"""Places of the smallest margin and of the time among the metrics that are plotted first; those of
measures are in their rows."""

FAILURES_LISTED = 200
"""More are counted only."""

STYLES = ("web/tabulator.min.css", "templates/report.css", "templates/group.css")
LIBRARIES = ("web/tabulator.min.js",)
PARTS = (
    *("data", "ratings", "server", "lesions", "raters", "cards", "view", "plots", "volumes"),
    "table",
)
LICENCES = {"Tabulator": "web/tabulator.LICENSE"}
"""Files of `bids_brainmask.data` that every page has a copy of; `PARTS` are of our own script."""


def first_metrics() -> tuple[str, ...]:
    """Names of the metrics that are plotted before the others, and shown in the table at first."""
    ranks = {"margin_smallest_mm": MARGIN_RANK, "seconds": SECONDS_RANK}
    for row in catalog.ANALYSES:
        if row.name == "brain" or row.on_page:
            names = group_tables.page_names(row.name)
            ranks |= {names[each.name]: each.rank for each in row.measures() if each.rank}
    return tuple(sorted(ranks, key=ranks.__getitem__))


def doubts() -> tuple[str, ...]:
    """Names of the columns that say why a mask may be wrong."""
    return tuple(
        group_tables.page_names(row.name)[each.name]
        for row in catalog.ANALYSES
        if row.name == "brain" or row.on_page
        for each in row.measures()
        if each.is_doubt
    )


def page(
    rows: Sequence[Row],
    columns: Mapping[str, Mapping[str, str]],
    *,
    title: str,
    facts: Sequence[str] = (),
    files: Sequence[str] = (),
    volumes: Iterable[Mapping[str, Value]] = (),
    failures: Sequence[Mapping[str, str]] = (),
    sessions: Sessions | None = None,
    excluded: Collection[str] = (),
    made: datetime | None = None,
) -> str:
    """Write the group report.

    Whatever it shows is shown as text: nothing in names, reasons or messages becomes a tag, an
    attribute or a script.

    Parameters
    ----------
    rows : sequence of Row
        Of ``group_desc-brain_qc.tsv``, in the order in which it has them.
    columns : mapping
        BIDS data dictionary of that table: what a column is called, is, and is measured in.
    title : str
        Name of the dataset.
    facts : sequence of str
        Columns about scanners and participants, by which images are grouped and colored.
    files : sequence of str
        Names of the files beside the page that have the data of the images, as of `data_files`;
        none: the page has them inside.
    volumes : iterable of mapping
        Rows of ``group_desc-meningioma_volumes.tsv``: ``participant_id``, ``session_id``,
        ``image``, ``model`` and ``volume_ml``, a number or one in words.
    failures : sequence of mapping
        Crash records, as of `readback.failures`: ``Source`` and ``Message``.
    sessions : Sessions or None
        Finds the order of sessions; None: by their labels.
    excluded : collection of str
        Names of images that ratings exclude: their brain volumes are not drawn over sessions.
    made : datetime or None
        When, with a time zone; None: now.

    Returns
    -------
    str
        HTML, whose every character can be encoded in UTF-8. About 0.6 MB and 0.5 kB an image.
    """
    from markupsafe import Markup

    parts = [*(f"templates/group_{part}.js" for part in PARTS), "templates/group.js"]
    own = "\n".join(['"use strict";', "(() => {", *map(read, parts), "})();"])
    scripts = [script(code) for code in (*map(read, LIBRARIES), own)]
    drawn, unordered = plots(rows, volumes, sessions or Sessions(None), excluded)
    found = content(rows, columns, title, drawn, facts)
    if files:
        found["lists"] = {}
    nonce = secrets.token_urlsafe(16) if files else ""
    text = (
        templates.environment()
        .get_template("group.html")
        .render(
            title=title,
            made=(made or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=bids_brainmask.__version__,
            counts=counts(rows),
            failed=len(failures),
            failures=failures[:FAILURES_LISTED],
            columns=columns,
            unordered=unordered,
            reasons=ratings.LETTERS,
            data=Markup(in_script(found)),  # noqa: S704 - escaped
            files=files,
            nonce=nonce,
            policy=policy(scripts, nonce),
            styles=[Markup(read(name).replace("</", r"<\/")) for name in STYLES],  # noqa: S704 - ours
            scripts=[Markup(code) for code in scripts],  # noqa: S704 - of this package
            licences={name: read(file) for name, file in LICENCES.items()},
        )
    )
    return text.encode("utf-8", "replace").decode()  # names of files may be invalid UTF-8


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Count images, participants, sessions, doubts and outliers for the report's header."""
    rows, columns = list(rows), doubts()
    return {
        "images": len(rows),
        "participants": len({row.values["participant_id"] for row in rows}),
        "sessions": len({(row.values["participant_id"], session(row)) for row in rows}),
        "doubtful": sum(any(row.values.get(name) for name in columns) for row in rows),
        "outliers": sum(map(is_outlier, rows)),
    }


def is_outlier(row: Row) -> bool:
    """Tell whether an image was compared and differs from its group."""
    reasons, score = row.values.get("outlier_reasons"), row.values.get("outlier_score")
    return bool(reasons) and score is not None


def session(row: Row) -> str:
    """Name of an image's session, with ``ses-``; empty for none."""
    return str(row.values.get("session_id") or "")


def content(
    rows: Sequence[Row],
    columns: Mapping[str, Mapping[str, str]],
    title: str,
    drawn: Sequence[Mapping] = (),
    facts: Sequence[str] = (),
) -> dict:
    """Collect the data for the report's script.

    Returns
    -------
    dict
        ``columns``, the ``first`` ones, the ``count`` of images, and ``lists`` of what is known
        of each, as of `of_images`; indices of the ``outliers``; ``doubts``, columns of reasons;
        ``metrics``, whose ``columns`` are indices of columns; ``constant``, those that are the
        same everywhere; ``facts``, columns by which images are grouped; ``reasons`` of ratings by
        their letters; ``plots`` of volumes over sessions; ``key``, under which the browser keeps
        ratings: its first two parts are those of every page of this dataset.
    """
    measured = {name: column for name, column in columns.items() if name not in facts}
    shown, constant = metrics(rows, columns, measured)
    names = [row.prefix for row in rows]
    return {
        "title": title,
        "key": ["brainmask-ratings", digest(title), digest(*sorted(names))],
        "columns": [
            {
                "name": name,
                "title": meaning.get("LongName", name),
                "units": meaning.get("Units", ""),
                "description": meaning.get("Description", ""),
                "number": is_number(name, rows),
            }
            for name, meaning in columns.items()
        ],
        "first": first_metrics(),
        "count": len(rows),
        "lists": of_images(rows, columns),
        "reasons": ratings.LETTERS,
        "facts": list(facts),
        "doubts": [name for name in doubts() if name in columns],
        "outliers": [index for index, row in enumerate(rows) if is_outlier(row)],
        "metrics": shown,
        "constant": constant,
        "plots": drawn,
    }


def metrics(
    rows: Sequence[Row],
    columns: Mapping[str, Mapping[str, str]],
    measured: Iterable[str] | None = None,
) -> tuple[list[dict], list[dict]]:
    """Choose the plotted metrics: every measured column of numbers, with the margins as one.

    Returns
    -------
    tuple of two lists of dict
        Metrics with at least two values, and those with one, its ``value`` with them: ``name``,
        ``title``, ``units``, ``description``, and ``columns``, indices of the columns whose
        smallest number it is. A metric that no image has is in neither.
    """
    order = list(columns)
    numeric = [name for name in measured or order if is_number(name, rows)]
    parts = {name: [name] for name in numeric if not name.startswith(MARGINS)}
    if margins := [name for name in numeric if name.startswith(MARGINS)]:
        parts["margin_smallest_mm"] = margins
    first = [name for name in first_metrics() if name in parts]
    shown, constant = [], []
    for name in first + [name for name in parts if name not in first]:
        meaning = columns.get(name, SMALLEST_MARGIN)
        metric = {
            "name": name,
            "title": meaning.get("LongName", name),
            "units": meaning.get("Units", ""),
            "description": meaning.get("Description", ""),
            "columns": [order.index(part) for part in parts[name]],
        }
        values = {smallest(row, parts[name]) for row in rows} - {None}
        if len(values) == 1:
            constant.append(metric | {"value": values.pop()})
        else:
            shown.append(metric)
    return shown, constant


def smallest(row: Row, names: Iterable[str]) -> float | int | None:
    """Smallest of some of a row's numbers; None where it has none of them."""
    found = [plain(row.values.get(name)) for name in names]
    return min((value for value in found if isinstance(value, int | float)), default=None)


def is_number(name: str, rows: Iterable[Row]) -> bool:
    """Tell whether a column holds numbers, and nothing but them and what is not known."""
    found = [plain(row.values.get(name)) for row in rows]
    known = [value for value in found if value is not None]
    return bool(known) and all(type(value) in (int, float) for value in known)


def plots(
    rows: Sequence[Row],
    volumes: Iterable[Mapping[str, Value]],
    sessions: Sessions,
    excluded: Collection[str],
) -> tuple[list[dict], list[str]]:
    """Lay out volumes over sessions; see `session_plots.plot`.

    Returns
    -------
    list of dict
        Plots of the brain and of meningiomas, if they have lines.
    list of str
        Sentences about participants without a line.
    """
    where = {row.prefix: index for index, row in enumerate(rows)}
    brains = [
        Volume(row.prefix, "", session(row), known_number(row.values.get("volume_ml")), index)
        for index, row in enumerate(rows)
        if row.prefix not in excluded
    ]
    found = [
        session_plots.plot("Brain volume", brains, sessions),
        session_plots.plot(
            "Volume of candidate lesions", session_plots.of_tumors(volumes, where), sessions
        ),
    ]
    unordered = [sentence for _, sentences in found for sentence in sentences]
    return [plot for plot, _ in found if plot], list(dict.fromkeys(unordered))


def read(name: str) -> str:
    """Read a file that pages have a copy of, without where its source map would be."""
    text = templates.packaged(name)
    return re.sub(r"^(//|/\*)# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)


def script(code: str) -> str:
    """Make code fit a script element: nothing in it may end, or hide the end of, the element.

    Both stand in strings and regular expressions alone, where a backslash changes nothing.
    """
    return code.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def policy(scripts: Iterable[str], nonce: str = "") -> str:
    """Allow only these scripts, those with a nonce, styles, and images beside the report.

    Its server, if it has one, may be asked, too: for a page that is opened from the disk, 'self'
    is nothing.
    """
    allowed = " ".join(templates.allow(code.encode()) for code in scripts)
    allowed += f" 'nonce-{nonce}'" if nonce else ""
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src 'self' file: data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
