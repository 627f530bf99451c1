# SPDX-License-Identifier: Apache-2.0
"""The images of the group report as data for its script, inside the page or in files beside it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bids_brainmask.analyses.measures import Value

INSIDE = "data:image/webp;base64,"
"""How the address of a picture begins that is inside the page."""

INSIDE_MOST = 10_000
"""Images whose data a page has inside; of more, the data are in files beside it."""

PER_FILE = 25_000
"""Images of such a file."""

OF_IMAGES = ("names", "links", "masks", "thumbnails", "lesions")
"""Lists with a place for each image, beside those of the columns: see `of_images`."""


@dataclass(frozen=True)
class Row:
    """One image: its row in the table of quality, its report and its thumbnail."""

    prefix: str
    """Name of the image, as `query.Scan.key`; the anchor in its participant's page."""

    report: str
    """Path of that page, relative to this one; any characters, nothing encoded."""

    thumbnail: str | None
    """Path of a picture, likewise, or the picture as a data: address; None where there is none."""

    values: Mapping[str, Value]
    """By column; None, or none, for what is not known."""

    mask: str = ""
    """Hash of the voxels of the mask, which a rating is of; empty: not known."""

    lesions: Mapping | None = None
    """Candidate lesions, as of `page_candidates.read`, and their ``thumbnail``, as above; None for
    no candidate."""


def data_files(
    rows: Sequence[Row], columns: Mapping[str, Mapping[str, str]], stem: str
) -> dict[str, str]:
    """Make the files with the data of very many images; none for fewer.

    They are scripts, since a page that was opened from the disk may read nothing else beside it.
    Each list is a text of its own, which the page reads when it first wants it. Their names depend
    on what is in them, so that a page never reads those of another run.

    Parameters
    ----------
    rows, columns
        As in `page`.
    stem : str
        How their names begin.

    Returns
    -------
    dict
        Content by name.
    """
    if len(rows) <= INSIDE_MOST:
        return {}
    found = {}
    for number, start in enumerate(range(0, len(rows), PER_FILE), 1):
        lists = of_images(rows[start : start + PER_FILE], columns)
        texts = ",\n".join(f"{name}: `{_in_literal(some)}`" for name, some in lists.items())
        code = f"(globalThis.brainmaskData ??= []).push({{\n{texts}}});\n"
        found[f"{stem}-{digest(code)}-{number}.js"] = code
    return found


def _in_literal(found: object) -> str:
    """Write JSON that can stand in a template literal of a script."""
    text = in_script(found)
    for character in ("\\", "`", "$"):
        text = text.replace(character, f"\\{character}")
    return text


def of_images(rows: Sequence[Row], columns: Mapping[str, Mapping[str, str]]) -> dict[str, list]:
    """Lay out what the page's script knows of each image.

    Returns
    -------
    dict
        Lists with a place for each image: those of `OF_IMAGES`, and ``c0``, ``c1`` and so on, the
        values of each column.
    """
    values = {
        f"c{number}": [plain(row.values.get(name)) for row in rows]
        for number, name in enumerate(columns)
    }
    return values | {
        "names": [row.prefix for row in rows],
        "links": [link(row) for row in rows],
        "masks": [row.mask for row in rows],
        "thumbnails": [row.thumbnail and picture(row.thumbnail) for row in rows],
        "lesions": [row.lesions and _lesions(row.lesions) for row in rows],
    }


def _lesions(found: Mapping) -> dict:
    shown = found.get("thumbnail")
    return {**found, "thumbnail": shown and picture(shown)}


def plain(value: Value) -> Value:
    """Replace NaN and infinity by None, because JSON cannot store them."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def link(row: Row) -> str:
    """Address of an image in its participant's page."""
    return f"{relative(row.report)}#{quote(os.fsencode(row.prefix), safe='')}"


def picture(thumbnail: str) -> str:
    """Make an address of a thumbnail: its path, or the picture itself."""
    return thumbnail if thumbnail.startswith(INSIDE) else relative(thumbnail)


def relative(path: str) -> str:
    """Make a relative address of a path: never one of a scheme, or of a host."""
    return f"./{quote(os.fsencode(path))}"


def digest(*texts: str) -> str:
    """Name texts by 16 digits; no two lists of them have the same."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def in_script(found: object) -> str:
    """Write JSON that can stand in a script element: ASCII, and nothing that ends it."""
    text = json.dumps(found, separators=(",", ":"), allow_nan=False)
    for character in "&<>":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
