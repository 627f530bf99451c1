# SPDX-License-Identifier: Apache-2.0
"""A participant's report: one page that makes no network requests.

It is self-contained, but for the pictures of many images: see `LARGEST`.

It is made of what the participant level left, which anybody may have changed: every value is text
of unknown content and type, is escaped where it is shown, and may be missing.
"""

from __future__ import annotations

import base64
import importlib.resources
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bids_brainmask
from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import currency, readback, storage
from bids_brainmask.dataset.readback import Result
from bids_brainmask.dataset.session_order import Sessions
from bids_brainmask.errors import UsageError
from bids_brainmask.reports import cohort, methods, participant_data, templates
from bids_brainmask.reports.cohort import Cohort

if TYPE_CHECKING:
    import jinja2

VIEWER = "web/niivue.umd.js"
"""NiiVue, among the package's data; put there when the package is built."""

GROUP_PAGE = "group_desc-brain.html"
"""Name of the page about all participants, to which theirs lead once it is there."""

LARGEST = 5_000_000
"""Bytes of pictures that a page has inside, about 20 images; of more, all are files beside it."""

POLICY = (
    "default-src 'none'; img-src {}; style-src 'unsafe-inline'; script-src {}; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page may do. Only scripts with these hashes run, so that no text of a file ever does."""


def write(
    root: Path,
    label: str,
    *,
    raw: Path | None = None,
    viewer: bool | None = None,
    everybody: Cohort | None = None,
) -> bool:
    """Write a participant's report, with the results of all runs; parameters as `participant`.

    Returns
    -------
    bool
        Whether the file was changed.
    """
    path, changed, written = root / f"sub-{label}.html", False, None
    how: dict[str, Any] = {"raw": raw, "viewer": viewer, "everybody": everybody}
    # Repeat until the report is up to date: another process may have finished a session
    # meanwhile and written a report of both, which this one has replaced.
    while (page := participant(root, label, **how)) != written:
        changed |= storage.write_changed(path, page.encode())
        written = page
    return changed


def viewer_files(root: Path, found: Sequence[Result]) -> list[Path]:
    """List the files for the viewer that some results have."""
    return [
        path
        for one in found
        for name, place in one.figures.items()
        if name.startswith("viewer") and (path := root / place).is_file()
    ]


def participant(
    root: Path,
    label: str,
    *,
    raw: Path | None = None,
    viewer: bool | None = None,
    everybody: Cohort | None = None,
) -> str:
    """Make the page of a participant, for ``sub-<label>.html`` in the folder of the results.

    The same files give the same page. The part of each image has its name, as
    `query.Scan.key`, for an anchor.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    label : str
        Participant, without ``sub-``.
    raw : Path, optional
        Raw dataset, which may have the dates of sessions.
    viewer : bool, optional
        Put NiiVue and the volumes for it into the page; None: if there are such volumes.
    everybody : Cohort, optional
        The table of all images; read if not given.

    Raises
    ------
    UsageError
        The viewer is asked for, and this installation has none.
    """
    everybody = everybody or cohort.read(root)
    found = readback.read(root, [label])
    if viewer is None:
        viewer = bool(viewer_files(root, found))
    code = viewer_library() if viewer else b""
    packed = pack(code) if viewer else ""
    order = Sessions(raw).order(label, {one.session for one in found})
    found.sort(key=lambda one: order.labels.index(one.session))
    many = participant_data.picture_bytes(root, found) > LARGEST
    show = participant_data.beside if many else participant_data.inline
    stale = currency.out_of_date(currency.Dataset(root, raw), found)
    sections = [
        participant_data.gather(root, result, number, everybody, packed, show, stale[result])
        for number, result in enumerate(found, 1)
    ]
    scripts = [
        templates.packaged("templates/report.js"),
        *([templates.packaged("templates/viewer.js")] if viewer else []),
    ]
    run = [*map(str.encode, scripts), *([code] if viewer else [])]
    allowed = [templates.allow(script) for script in run]
    page = (
        environment()
        .get_template("participant.html")
        .render(
            label=f"sub-{label}",
            version=bids_brainmask.__version__,
            policy=POLICY.format("'self' file: data:" if many else "data:", " ".join(allowed)),
            styles=[templates.packaged("templates/report.css")],
            scripts=scripts,
            sections=sections,
            unordered=order.sentence(label),
            failures=readback.failures(root, [label]),
            summary_columns=participant_data.summary_columns(),
            methods=methods.describe(
                {
                    name: [one.records[name] for one in sections if name in one.records]
                    for name in catalog.names()
                },
                [one.result.suffix for one in sections],
            ),
            library=packed,
            home=GROUP_PAGE if (root / GROUP_PAGE).is_file() else "",
        )
    )
    # A lone half of a surrogate pair, as JSON may hold, is no text that can be written.
    return page.encode("utf-8", "backslashreplace").decode()


def environment() -> jinja2.Environment:
    """Jinja2, as of `templates.environment`, with the words that this page shows values in.

    Returns
    -------
    jinja2.Environment
    """
    filters = {
        "address": participant_data.address,
        "words": participant_data.words,
        "markdown": methods.markdown,
    }
    return templates.environment(**filters)


def viewer_library() -> bytes:
    """Read NiiVue's script from the package.

    Raises
    ------
    UsageError
        The package was built without it.
    """
    try:
        return (importlib.resources.files("bids_brainmask.data") / VIEWER).read_bytes()
    except OSError as error:
        raise UsageError(
            f"--viewer: this installation has no viewer: {error}. Build the package with access "
            "to the npm registry, or remove the option."
        ) from error


def pack(content: bytes) -> str:
    """Gzip bytes, and give them as base64."""
    return base64.b64encode(zlib.compress(content, 9, wbits=31)).decode()
