# SPDX-License-Identifier: Apache-2.0
"""Ratings of masks by persons: read, merged without loss, compared.

A rating is of one mask, by its hash: once the mask is another one, the rating is stale. It is
still listed, and decides nothing.

The two coefficients of agreement are written here: they are a few lines, while the library with
both, statsmodels, would be the largest package after TensorFlow. The tests compare them with
scikit-learn and with the example of Fleiss.

References
----------
Cohen J (1960). A coefficient of agreement for nominal scales. Educ Psychol Meas 20:37-46.
Fleiss JL (1971). Measuring nominal scale agreement among many raters. Psychol Bull 76:378-382.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import UsageError, some_of
from bids_brainmask.settings import VERDICTS

log = logging.getLogger(__name__)

WORDS = {"include": "accept", "1": "accept", "0": "unsure", "-1": "exclude"}
"""Verdicts of Qoala-T and MRIQC, and ours."""

REASONS = (
    *("motion", "wrap-around", "field of view", "bias", "pathology"),
    *("brain missing", "skull included", "eyes included", "other"),
)
"""Reasons of a rating, separated by semicolons in tables."""

LETTERS = dict(zip("mwfbpgkyo", REASONS, strict=True))
"""Reasons by the key that gives them on the group report; g as in gap, k as in skull."""

COLUMNS: dict[str, dict] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a if the dataset has none"},
    "image": {"Description": "Path of the mask in this dataset"},
    "rater": {"Description": "Name of the rater; the name of the file if the table has none"},
    "rating": {
        "Description": "Verdict",
        "Levels": {
            "accept": "The mask can be used",
            "unsure": "Undecided",
            "exclude": "The image or its mask cannot be used",
        },
    },
    "reasons": {"Description": f"Reasons, separated by semicolons: {', '.join(REASONS)}"},
    "seconds": {"Description": "Time that the rater took", "Units": "s"},
    "comment": {"Description": "Comment of the rater"},
    "time": {"Description": "Time of the rating, UTC"},
    "mask_sha256": {"Description": "Hash of the voxels of the mask that was rated, if known"},
    "stale": {"Description": "Whether the mask is another one now: true or false"},
}
"""Data dictionary of the merged table."""

INCLUDED: dict[str, dict] = {
    "participant_id": COLUMNS["participant_id"],
    "session_id": COLUMNS["session_id"],
    "image": COLUMNS["image"],
    "included": {
        "Description": "true, unless a current rating is exclude and none is accept: true or false"
    },
    "rating": {"Description": "Verdict of all current ratings; conflict if they differ"},
    "raters": {"Description": "Number of current ratings"},
}
"""Data dictionary of the list of included images."""


@dataclass(frozen=True)
class Rating:
    """What one rater says of one mask."""

    image: str
    """Name of the image, as `readback.Result.key`."""

    rater: str
    verdict: str
    reasons: tuple[str, ...] = ()
    seconds: float | None = None
    comment: str = ""
    time: str = ""
    mask: str = ""
    """Hash of the voxels of the mask; empty: not known."""

    stale: bool = False


def read(
    paths: Iterable[Path], results: Sequence[Result], option: str = "--ratings"
) -> list[Rating]:
    """Read tables of ratings: of the group report, of MRIQC and of Qoala-T.

    Of two ratings of one image by one rater, the newer is kept; without times, the later one.
    Images that are not among the results are named in a warning. Errors begin with `option`.

    Raises
    ------
    UsageError
        A file cannot be read, or has no rating.
    """
    names, hashes = directory(results), {one.key: mask_digest(one) for one in results}
    merged: dict[tuple[str, str], Rating] = {}
    for path in paths:
        unknown = []
        for row in _rows(path, option):
            verdict = _verdict(row, option)
            if not verdict:
                continue
            name = _name(row)
            image = names.get(name)
            if image is None:
                unknown.append(name.replace("\t", " ").strip())
                continue
            one = _rating(row, image, verdict, path, hashes[image])
            before = merged.get((image, one.rater))
            if before is None or not one.time or one.time >= before.time:
                merged[image, one.rater] = one
        if unknown:
            log.warning("%s: no result, or several, of %s; ignored", path, some_of(unknown))
    return [merged[key] for key in sorted(merged)]


def directory(results: Iterable[Result]) -> dict[str, str | None]:
    """Map the names in tables to images; None for a name of several images."""
    found: dict[str, str | None] = {}
    for one in results:
        names = {one.key, one.main("brain"), f"\t{one.participant}"}
        names.add(f"\t{one.participant}\t{one.session}")
        for name in names:
            found[name] = one.key if found.get(name, one.key) == one.key else None
    return found


def _rows(path: Path, option: str) -> list[dict[str, str]]:
    """Read the rows of a table, separated by tabs or commas; n/a is empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        separator = "\t" if "\t" in text.partition("\n")[0] else ","
        table = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{option}: {path} cannot be read: {error}") from error
    rows = [
        {
            str(key).strip().lower(): "" if value in (None, "n/a") else str(value).strip()
            for key, value in row.items()
        }
        for row in table
    ]
    if not rows or not {"rating", "rater_1"} & set(rows[0]):
        raise UsageError(
            f"{option}: {path}: found no column `rating` or `rater_1`; expected a table that the "
            "group report exports, or one of MRIQC or Qoala-T."
        )
    return rows


def _verdict(row: Mapping[str, str], option: str) -> str:
    """Verdict of a row; empty for none.

    Raises
    ------
    UsageError
        It is another word.
    """
    said = (row.get("rating") or row.get("rater_1") or "").lower().removesuffix(".0")
    verdict = WORDS.get(said, said)
    if verdict and verdict not in VERDICTS:
        raise UsageError(
            f"{option}: found the rating {said!r} of {_name(row).strip()}; expected "
            f"{', '.join(VERDICTS)}, Include, or 1, 0, -1."
        )
    return verdict


def _name(row: Mapping[str, str]) -> str:
    """Name of the image of a row, as `directory` has it."""
    person = (row.get("participant_id") or row.get("subject_id") or "").removeprefix("sub-")
    session = (row.get("session_id") or "").removeprefix("ses-")
    path = row.get("image") or row.get("bids_name") or ""
    return path or f"\t{person}\t{session}" * bool(session) or f"\t{person}"


def _rating(row: Mapping[str, str], image: str, verdict: str, path: Path, now: str) -> Rating:
    mask, seconds = row.get("mask_sha256", ""), row.get("seconds", "")
    try:
        taken = float(seconds) if seconds else None
    except ValueError:
        taken = None
    return Rating(
        image,
        row.get("rater") or path.stem,
        verdict,
        tuple(part.strip() for part in row.get("reasons", "").split(";") if part.strip()),
        taken,
        row.get("comment", ""),
        row.get("time", ""),
        mask,
        stale=bool(mask and now and mask != now),
    )


def mask_digest(result: Result) -> str:
    """Hash of the voxels of a brain mask, by its sidecar; empty if the sidecar has none."""
    return str(result.records.get("brain", {}).get("VoxelsSHA256") or "")


def decide(found: Iterable[Rating]) -> dict[str, str]:
    """Verdict on each image by its current ratings; ``conflict`` if they differ."""
    said: dict[str, set[str]] = {}
    for one in found:
        if not one.stale:
            said.setdefault(one.image, set()).add(one.verdict)
    return {
        image: "conflict" if len(words) > 1 else next(iter(words)) for image, words in said.items()
    }


def excluded(found: Iterable[Rating]) -> set[str]:
    """Images with a current rating ``exclude`` and none ``accept``."""
    said: dict[str, set[str]] = {}
    for one in found:
        if not one.stale:
            said.setdefault(one.image, set()).add(one.verdict)
    return {image for image, words in said.items() if "exclude" in words and "accept" not in words}


def agreement(found: Sequence[Rating]) -> dict:
    """Agreement of the raters, by their current ratings.

    Returns
    -------
    dict
        ``Raters`` with their numbers of ratings; ``CohenKappa`` of each pair over the images that
        both rated; ``FleissKappa`` over the images that all rated, None for fewer than two raters;
        ``Conflicts``: images whose raters differ, with the verdict of each rater.
    """
    by_rater: dict[str, dict[str, str]] = {}
    for one in found:
        if not one.stale:
            by_rater.setdefault(one.rater, {})[one.image] = one.verdict
    pairs = []
    for first, second in combinations(sorted(by_rater), 2):
        both = sorted(by_rater[first].keys() & by_rater[second].keys())
        said = [(by_rater[first][image], by_rater[second][image]) for image in both]
        pairs.append({"Raters": [first, second], "Images": len(both), "Kappa": cohen(said)})
    common = sorted(set.intersection(*map(set, by_rater.values()))) if by_rater else []
    table = [[each[image] for each in by_rater.values()] for image in common]
    conflicts = sorted(image for image, word in decide(found).items() if word == "conflict")
    return {
        "Raters": {rater: len(each) for rater, each in sorted(by_rater.items())},
        "CohenKappa": pairs,
        "FleissKappa": fleiss(table) if len(by_rater) > 1 else None,
        "FleissImages": len(common),
        "Conflicts": {
            image: {
                rater: each[image] for rater, each in sorted(by_rater.items()) if image in each
            }
            for image in conflicts
        },
        "Stale": sum(one.stale for one in found),
    }


def cohen(said: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two raters, at most 1; None if chance alone explains all agreement.

    Parameters
    ----------
    said : sequence of (str, str)
        Verdicts of both raters on each image.
    """
    if not said:
        return None
    first, second = (Counter(words) for words in zip(*said, strict=True))
    observed = sum(a == b for a, b in said) / len(said)
    by_chance = sum(first[word] * second[word] for word in first) / len(said) ** 2
    return _above_chance(observed, by_chance)


def fleiss(table: Sequence[Sequence[str]]) -> float | None:
    """Fleiss' kappa of several raters, at most 1; None if chance alone explains all agreement.

    Parameters
    ----------
    table : sequence of sequence of str
        Verdicts on each image, by as many raters for every image, at least two.
    """
    if not table:
        return None
    raters = len(table[0])
    counts = [Counter(row) for row in table]
    pairs = [sum(n * (n - 1) for n in count.values()) for count in counts]
    observed = sum(pairs) / (len(table) * raters * (raters - 1))
    total = sum(counts, Counter())
    return _above_chance(observed, sum((n / (len(table) * raters)) ** 2 for n in total.values()))


def _above_chance(observed: float, expected: float) -> float | None:
    return None if expected >= 1 else round((observed - expected) / (1 - expected), 4)
