# SPDX-License-Identifier: Apache-2.0
"""Rows of the group level's tables of quality, from the sidecars of each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.measures import Metric, Reading, Value, known_number
from bids_brainmask.analyses.rows import DEFAULT_SUFFIX
from bids_brainmask.dataset.readback import Result
from bids_brainmask.reports import outliers
from bids_brainmask.tables import tsv

IMAGE: dict[str, dict] = {
    "participant_id": {"LongName": "Participant", "Description": "Participant"},
    "session_id": {
        "LongName": "Session",
        "Description": "Session; n/a if the dataset has none",
    },
    "image": {"LongName": "Mask", "Description": "Path of the mask in this dataset"},
    "contrast_enhanced": {
        "LongName": "Contrast-enhanced",
        "Description": "Whether the name or sidecar of the source says so: true or false",
    },
    "model": {"LongName": "Model", "Description": "Model and its version"},
}
"""The first columns of each table."""

SECONDS = {
    "LongName": "Time",
    "Description": "Time from reading the image to having all its masks",
    "Units": "s",
}


def columns(analysis: str) -> dict[str, Mapping]:
    """Give the data dictionary of the table of an analysis."""
    measures = catalog.analysis(analysis).measures()
    compared = compared_measures(analysis)
    return {
        **IMAGE,
        **{row.name: row.column for row in measures},
        "seconds": SECONDS,
        **(outliers.columns(compared) if compared else {}),
    }


def page_names(analysis: str) -> dict[str, str]:
    """Columns of the group's page for the measures of an analysis, by their names.

    A name that the table of the brain masks has, too, begins with that of the analysis.
    """
    names = [row.name for row in catalog.analysis(analysis).measures()]
    taken = () if analysis == "brain" else columns("brain")
    return {name: f"{analysis}_{name}" if name in taken else name for name in names}


def page_columns(analysis: str) -> dict[str, Mapping]:
    """Give the data dictionary of these columns; their long names begin with the analysis's."""
    row, names = catalog.analysis(analysis), page_names(analysis)
    return {
        names[each.name]: {
            **each.column,
            "LongName": f"{row.title}: {str(each.column.get('LongName', each.name)).lower()}",
        }
        for each in row.measures()
    }


def compared_measures(analysis: str) -> dict[str, Metric]:
    """How measures of an analysis are compared with like images, by their names."""
    return {row.name: row.metric for row in catalog.analysis(analysis).measures() if row.metric}


def image(result: Result, record: Mapping, mask: str) -> dict[str, Value]:
    """Say which image a row is of, and what its mask was made with."""
    parameters = record["Parameters"]
    return {
        "participant_id": f"sub-{result.participant}",
        "session_id": f"ses-{result.session}" if result.session else None,
        "image": mask,
        "contrast_enhanced": bool(record.get("ContrastEnhanced", False)),
        "model": model_name(parameters),
    }


def model_name(parameters: Mapping) -> str | None:
    """Name a model and its version; None for an analysis without one.

    Raises
    ------
    KeyError
        There is a name and no version.
    """
    if "Model" not in parameters and "ModelVersion" not in parameters:
        return None
    return f"{parameters['Model']} {parameters['ModelVersion']}"


def row(result: Result, analysis: str, reading: Reading) -> dict[str, Value]:
    """Row of an image in the table of an analysis, but for the verdict.

    Raises
    ------
    KeyError, TypeError, ValueError
        The sidecar or the table lacks a key, or holds something else there.
    """
    measures = catalog.analysis(analysis).measures()
    return {
        **image(result, reading.record, result.main(analysis)),
        **{measure.name: measure.value(reading) for measure in measures},
        "seconds": known_number(reading.record.get("Seconds")),
    }


def judge(
    analysis: str,
    rows: Sequence[dict[str, Value]],
    results: Sequence[Result],
    scanners: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, Value]]:
    """Add the outlier columns to the rows of an analysis.

    Like images have the same model and parameters, and are alike contrast-enhanced or not, of the
    same acquisition and reconstruction, and of the same scanner. Where there are too few of them,
    scanners may differ; then all but model and contrast; where there are still too few, all.
    Images of different suffixes are not alike.

    Parameters
    ----------
    analysis : str
    rows : sequence of dict
    results : sequence of Result
        Of the same images.
    scanners : mapping of str to str
        Names of the scanners, by `Result.key`, as far as they are known.
    """
    compared = compared_measures(analysis)
    if not compared:
        return list(rows)
    groups = []
    for row, result in zip(rows, results, strict=True):
        kind = "contrast-enhanced" if row["contrast_enhanced"] else "plain"
        images = "images" if result.suffix == DEFAULT_SUFFIX else f"{result.suffix} images"
        wide = f"{kind} {images}, {row['model']}"
        threshold = result.records[analysis]["Parameters"].get("Threshold")
        pairs = [f"{key}-{value}" for key, value in result.entities if key in ("acq", "ce", "rec")]
        narrow = ", ".join([wide, *pairs, f"threshold {threshold}"])
        scanner = scanners.get(result.key, "")
        own = f"{narrow}, scanner {scanner}" if scanner else narrow
        groups.append((own, narrow, wide, f"all {images}"))
    verdicts = outliers.judge(rows, groups, compared=compared)
    return [
        row
        | {
            "group": verdict.group,
            "outlier_score": None if verdict.score is None else round(verdict.score, 2),
            "outlier_reasons": "; ".join(verdict.reasons) or None,
        }
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def text(
    columns: Mapping[str, object],
    rows: Sequence[Mapping[str, Value]],
    write: Callable[[Iterable], str] = tsv,
) -> str:
    """Write rows as tab-separated values under a header, as `tsv` or another function does."""
    return write([columns, *([row[name] for name in columns] for row in rows)])
