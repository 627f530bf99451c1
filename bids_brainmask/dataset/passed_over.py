# SPDX-License-Identifier: Apache-2.0
"""Images that are not processed, and why: names that are nearly right, and ``.bidsignore``."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bids_brainmask.analyses.rows import SUFFIXES
from bids_brainmask.errors import some_of

log = logging.getLogger(__name__)

TOLD = 20
"""Largest number of names that are told one by one."""

IMAGE = re.compile(r"[^/]+_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?")
"""A name of any raw image."""


def right_name(relative: str, suffixes: Sequence[str]) -> str:
    """Correct the path of an image of one of some suffixes; empty if it is right, or is none.

    Corrected are upper and lower case of suffix, extension and ``anat``, and what stands between
    suffix and extension, as in ``sub-01_T1w (1).nii.gz`` and ``sub-01_T1w_copy.nii.gz``.
    """
    near = re.compile(
        rf"(?P<stem>sub-[^/]*?)_(?P<suffix>{'|'.join(suffixes)})(?![A-Za-z0-9])[^/]*?"
        r"(?P<ext>\.nii(\.gz)?)",
        re.IGNORECASE,
    )
    *folders, name = relative.split("/")
    match = near.fullmatch(name)
    if not match:
        return ""
    suffix = next(one for one in suffixes if one.lower() == match["suffix"].lower())
    if folders[-1].lower() == "anat":
        folders.pop()
    right = "/".join([*folders, "anat", f"{match['stem']}_{suffix}{match['ext'].lower()}"])
    return "" if right == relative else right


def tell_near_misses(
    paths: Iterable[str], used: Iterable[str], suffixes: Sequence[str], level: int
) -> None:
    """Log the images whose names are nearly right, each in a line with the right name.

    Parameters
    ----------
    paths : iterable of str
        Files of the chosen participants, relative to the dataset.
    used : iterable of str
        Those that were found, whether they are valid or not.
    suffixes : sequence of str
        Suffixes of the images to process.
    level : int
        Of the messages.
    """
    used = set(used)
    missed = [(path, right_name(path, suffixes)) for path in paths if path not in used]
    missed = sorted((path, right) for path, right in missed if right)
    for path, right in missed[:TOLD]:
        advice = f"{right} is used" if right in used else f"rename it to {right}"
        log.log(level, "%s: ignored, its name is not BIDS; %s", path, advice)
    if len(missed) > TOLD:
        log.log(level, "%d more images are ignored for such names", len(missed) - TOLD)


def there_instead(paths: Iterable[str], suffixes: Sequence[str]) -> str:
    """Say which other anatomical images there are; empty if there are none.

    Returns
    -------
    str
        For example ``There are 3 UNIT1 (--suffix UNIT1) and 6 MP2RAGE.``
    """
    names = (path.rpartition("/") for path in paths)
    matches = (IMAGE.fullmatch(name) for folder, _, name in names if folder.endswith("/anat"))
    found = Counter(match["suffix"] for match in matches if match)
    option = {one: f" (--suffix {one})" for one in SUFFIXES}
    option |= dict.fromkeys(suffixes, " with other values")
    parts = [
        f"{count} {suffix}{option.get(suffix, '')}"
        for suffix, count in sorted(found.items(), key=lambda each: each[0] not in SUFFIXES)
    ]
    return f" There are {some_of(parts)}." if parts else ""


def ignored_by(root: Path) -> Callable[[str], bool]:
    """Read a dataset's ``.bidsignore``, whose lines are like those of ``.gitignore``.

    Returns
    -------
    function of str to bool
        Tells whether a path relative to the dataset is ignored.
    """
    try:
        text = (root / ".bidsignore").read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return lambda path: False  # noqa: ARG005
    rules = []
    for line in text.splitlines():
        pattern = line.rstrip()
        if not pattern or pattern.startswith("#"):
            continue
        is_kept = pattern.startswith("!")
        try:
            rules.append((re.compile(_expression(pattern.removeprefix("!"))), not is_kept))
        except re.error as error:
            log.warning("%s: %r is not a pattern: %s", root / ".bidsignore", line, error)

    def is_ignored(path: str) -> bool:
        found = [ignores for expression, ignores in rules if expression.fullmatch(path)]
        return bool(found) and found[-1]

    return is_ignored


def _expression(pattern: str) -> str:
    """Translate a line of ``.bidsignore`` into a regular expression for whole paths.

    A pattern with a slash inside starts at the root; one without matches at any depth. It also
    matches what is in a folder of that name; with a slash at its end, only that.
    """
    body = pattern.strip("/")
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    translated = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^]]*\]|\\.|.", body):
        if token in words:
            translated += words[token]
        elif len(token) > 1 and token.startswith("["):
            translated += re.sub(r"^\[[!^]", "[^", token)
        else:
            translated += re.escape(token.removeprefix("\\") or token)
    start = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    return start + translated + ("/.*" if pattern.endswith("/") else "(?:/.*)?")
