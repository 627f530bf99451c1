# SPDX-License-Identifier: Apache-2.0
"""Rows of the group level's tables of quality, from what the sidecars say of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_brainmask.analyses import quality
from bids_brainmask.dataset.readback import Result
from bids_brainmask.reports import outliers

Value = str | float | int | bool | None

IMAGE: dict[str, dict] = {
    "participant_id": {"LongName": "Participant", "Description": "Participant"},
    "session_id": {
        "LongName": "Session",
        "Description": "Session; n/a where the dataset has none",
    },
    "image": {"LongName": "Mask", "Description": "Mask, in this dataset"},
    "contrast_enhanced": {
        "LongName": "Contrast-enhanced",
        "Description": "Whether the source image is, by its name or sidecar: true or false",
    },
    "model": {"LongName": "Model", "Description": "Model and its version"},
}
"""The first columns of both tables."""

SECONDS = {
    "LongName": "Time",
    "Description": "From reading the image to having all its masks",
    "Units": "s",
}

BRAIN: dict[str, dict] = {
    **IMAGE,
    **quality.COLUMNS,
    "boundary_uncertainty": {
        "LongName": "Boundary uncertainty",
        "Description": "Share of the voxels on the boundary of the network's own mask whose "
        "probability of brain lies between 0.25 and 0.75, in [0, 1]",
    },
    "seconds": SECONDS,
    **outliers.COLUMNS,
}
"""Columns of the table of brain masks."""

MENINGIOMA: dict[str, dict] = {
    **IMAGE,
    "lesions": {
        "LongName": "Meningiomas",
        "Description": "Connected pieces of the mask of at least the smallest volume that counts",
    },
    "volume_ml": {
        "LongName": "Volume",
        "Description": "Volume of all of them",
        "Units": "mL",
    },
    "largest_ml": {
        "LongName": "Largest volume",
        "Description": "Volume of the largest; n/a where there is none",
        "Units": "mL",
    },
    "longest_mm": {
        "LongName": "Longest diameter",
        "Description": "Longest axial diameter of any of them, as in the table of lesions",
        "Units": "mm",
    },
    "mean_probability": {
        "LongName": "Mean probability",
        "Description": "Mean of the lesions' mean probabilities, weighted by their volumes, in "
        "[0, 1]",
    },
    "outside_brain": {
        "LongName": "Away from the brain",
        "Description": "Lesions outside of the brain mask that do not touch it: more often false "
        "than the others; n/a where no brain was extracted",
    },
    "seconds": SECONDS,
}
"""Columns of the table of meningiomas."""


def image(result: Result, record: Mapping, mask: str) -> dict[str, Value]:
    """Say which image a row is of, and what its mask was made with."""
    parameters = record["Parameters"]
    return {
        "participant_id": f"sub-{result.participant}",
        "session_id": f"ses-{result.session}" if result.session else None,
        "image": mask,
        "contrast_enhanced": bool(record.get("ContrastEnhanced", False)),
        "model": f"{parameters['Model']} {parameters['ModelVersion']}",
    }


def number(value: object) -> float | int | None:
    """Take a number as it is, and anything else for unknown."""
    return value if type(value) in (int, float) else None


def of_brain(result: Result) -> dict[str, Value]:
    """Row of a brain mask, but for the verdict.

    Raises
    ------
    KeyError, TypeError
        The sidecar lacks what every one has.
    """
    record = result.brain
    measured = record.get("Quality") or {"volume_ml": record["BrainVolume"]}  # of an older version
    return {
        **image(result, record, result.brain_mask),
        **{name: number(measured.get(name)) for name in quality.COLUMNS},
        "boundary_uncertainty": number(record.get("BoundaryUncertainty")),
        "seconds": number(record.get("Seconds")),
    }


def of_meningiomas(result: Result, lesions: Sequence[Mapping[str, str]]) -> dict[str, Value]:
    """Row of a tumour mask.

    Parameters
    ----------
    result : Result
    lesions : sequence of mapping
        Rows of its table of lesions.

    Raises
    ------
    KeyError, TypeError, ValueError
        The sidecar or the table lacks a key, or holds something else there.
    """
    record = result.tumour
    sizes = [float(row["volume_ml"]) for row in lesions]
    sure = [float(row["mean_probability"]) for row in lesions]
    places = [row["location"] for row in lesions]
    weighted = sum(size * each for size, each in zip(sizes, sure, strict=True))
    return {
        **image(result, record, result.tumour_mask),
        "lesions": int(record["LesionCount"]),
        "volume_ml": float(record["LesionVolume"]),
        "largest_ml": max(sizes, default=None),
        "longest_mm": max((float(row["longest_mm"]) for row in lesions), default=None),
        "mean_probability": round(weighted / sum(sizes), 4) if sum(sizes) else None,
        "outside_brain": places.count("outside") if result.brain else None,
        "seconds": number(record.get("Seconds")),
    }


def judge(rows: Sequence[dict[str, Value]], results: Sequence[Result]) -> list[dict[str, Value]]:
    """Add to rows of brain masks how far each is from those of like images.

    Like images have the same model and parameters, and are alike contrast-enhanced or not, and of
    the same acquisition and reconstruction; where there are too few of them, the same model and
    contrast; where there are still too few, all.
    """
    groups = []
    for row, result in zip(rows, results, strict=True):
        kind = "contrast-enhanced" if row["contrast_enhanced"] else "plain"
        wide = f"{kind} images, {row['model']}"
        threshold = result.brain["Parameters"].get("Threshold")
        pairs = [f"{key}-{value}" for key, value in result.entities if key in ("acq", "ce", "rec")]
        narrow = ", ".join([wide, *pairs, f"threshold {threshold}"])
        groups.append((narrow, wide, "all images"))
    verdicts = outliers.judge(rows, groups)
    return [
        row
        | {
            "group": verdict.group,
            "outlier_score": None if verdict.score is None else round(verdict.score, 2),
            "outlier_reasons": "; ".join(verdict.reasons) or None,
        }
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def text(columns: Mapping[str, object], rows: Sequence[Mapping[str, Value]]) -> str:
    """Lay rows out as tab-separated values under a header; what is not known is n/a."""
    lines = [list(columns), *([word(row[name]) for name in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def word(value: Value) -> str:
    """Write a value: never with a tab or the end of a line in it."""
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())
