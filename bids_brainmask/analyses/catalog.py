# SPDX-License-Identifier: Apache-2.0
"""The analyses and their output files: one row each; the figures have theirs in `drawn`.

Command-line choices, file names, sidecars, ``.bidsignore``, the derivative's README, resuming,
reports and tables follow from these rows. Importing this module is quick: what needs NumPy is
imported when a row's function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bids_brainmask.analyses import candidate_words, drawn
from bids_brainmask.analyses.rows import (
    DEFAULT_SUFFIX,
    Analysis,
    Figure,
    Finding,
    Findings,
    Image,
    Number,
    Output,
    automatic_mask,
)

if TYPE_CHECKING:
    from bids_brainmask.analyses.measures import Measure
    from bids_brainmask.analyses.probability import Method
    from bids_brainmask.models.model import Model
    from bids_brainmask.voxels.image import Source


def _find_brain(source: Source, method: Method, findings: Findings) -> Finding:  # noqa: ARG001
    from bids_brainmask.analyses import brain

    how = (method.model, method.network, method.threshold, method.options)
    return brain.extract(source, *how, border=method.border, expected_ml=method.expected_ml)


def _is_doubtful(dice: float) -> bool:
    from bids_brainmask.analyses import confidence

    return dice < confidence.DOUBTFUL


def _brain_measures() -> tuple[Measure, ...]:
    from bids_brainmask.analyses import quality

    return quality.MEASURES


def _refuse_meningioma(scan: Image) -> str:
    if scan.suffix != DEFAULT_SUFFIX:
        return f"meningioma: refused, expected a T1w image, found {scan.suffix}"
    if not scan.contrast:
        return (
            "meningioma: refused, the image has neither a ce- entity nor ContrastBolusIngredient "
            "(--force-contrast treats it as contrast-enhanced)"
        )
    return ""


def _find_meningiomas(source: Source, method: Method, findings: Findings) -> Finding:
    from bids_brainmask.analyses import meningioma

    how = (method.model, method.network, method.threshold)
    more = (findings.get("brain"), method.options)
    return meningioma.find_meningiomas(source, *how, *more, copies=method.copies)


def _lesion_parameters(
    model: Model, of_analysis: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    from bids_brainmask.analyses import lesions

    found: dict[str, Any] = {"SmallestLesion": lesions.SMALLEST_ML}
    if model.peak:
        found["LesionPeak"] = model.peak
    if model.near_brain:
        found["NearBrain"] = {"Distance": model.near_brain, **of_analysis("brain")}
    return found


def _lesion_columns() -> Mapping[str, Mapping]:
    from bids_brainmask.analyses import lesion_table

    return lesion_table.COLUMNS


def _lesion_measures() -> tuple[Measure, ...]:
    from bids_brainmask.analyses import meningioma

    return meningioma.MEASURES


ANALYSES: tuple[Analysis, ...] = (
    Analysis(
        name="brain",
        title="Brain mask",
        find=_find_brain,
        main="mask",
        default_models=("brainy", "embedded"),
        file_defaults={"height": 224},  # as the embedded network
        has_border=True,
        correctable=True,
        readme="Made by bids_brainmask from the T1-weighted images of the source dataset. "
        "For each image:",
        numbers=(
            Number("Brain volume", "BrainVolume", "BrainVolumeUnits", column="Brain, mL"),
            Number(
                "Predicted Dice",
                "PredictedDice",
                is_doubtful=_is_doubtful,
                column="Predicted Dice",
            ),
            Number("Uncertain boundary", "BoundaryUncertainty", units="%", factor=100),
        ),
        measures=_brain_measures,
    ),
    Analysis(
        name="meningioma",
        title="Meningiomas",
        find=_find_meningiomas,
        main="tumor",
        default_models=("ams", "embedded-meningioma"),
        file_defaults={  # those of the embedded network
            "intensities": "robust",
            "height": 224,
            "threshold": 0.4,
            "near_brain": 5.0,
            "peak": 0.8,
            "flips": True,
        },
        refuse=_refuse_meningioma,
        correctable=True,
        needs=lambda model: ("brain",) if model and model.near_brain else (),
        parameters=_lesion_parameters,
        readme="For contrast-enhanced images that were searched for meningiomas:",
        numbers=(
            Number(
                "Candidate lesions",
                "LesionCount",
                column="Candidate lesions",
                words=candidate_words.words,
            ),
            Number(
                "Volume of candidate lesions",
                *("LesionVolume", "LesionVolumeUnits"),
                column="Their volume, mL",
            ),
        ),
        measures=_lesion_measures,
        on_page=True,
        table="lesions",
        candidates="lesion_indices",
    ),
)
"""In the order in which they are carried out."""

_MADE: tuple[Output, ...] = (
    Output(
        name="mask",
        made_by=("brain",),
        entities={"desc": "brain"},
        ending="mask.nii.gz",
        form="mask",
        value=lambda found: found["brain"].mask,
        readme="1 in the brain, 0 elsewhere, on the grid of the source image",
        option="mask",
        sidecar={
            "Type": "Brain",
            "Description": "Brain mask on the grid of the source image",
            "Manual": False,
        },
    ),
    Output(
        name="brain",
        made_by=("brain",),
        entities={"desc": "brain"},
        ending="{suffix}.nii.gz",
        form="brain",
        value=lambda found: found["brain"].mask,
        readme="the source image inside the mask, 0 outside",
        option="brain",
        sidecar={
            "SkullStripped": True,
            "Description": "The source image inside the brain mask, 0 outside",
        },
    ),
    Output(
        name="probseg",
        made_by=("brain",),
        entities={"label": "brain"},
        ending="probseg.nii.gz",
        form="probability",
        value=lambda found: found["brain"].probability,
        readme="probabilities, if requested",
        option="probseg",
        sidecar={
            "Description": "Probability of brain, in [0, 1], on the grid of the source image",
            "Manual": False,
        },
    ),
    Output(
        name="tumor",
        made_by=("meningioma",),
        entities={"label": "tumor", "desc": "meningioma"},
        ending="mask.nii.gz",
        form="mask",
        value=lambda found: found["meningioma"].lesions.mask,
        readme="1 in a candidate lesion that counts (likely or accepted, and not rejected), "
        "0 elsewhere",
        sidecar={
            "Type": "Lesion",
            "Description": "Candidate meningiomas that count, on the grid of the source image",
            "Manual": False,
        },
    ),
    Output(
        name="tumor_probseg",
        made_by=("meningioma",),
        entities={"label": "tumor", "desc": "meningioma"},
        ending="probseg.nii.gz",
        form="probability",
        value=lambda found: found["meningioma"].probability,
        readme="probabilities, if requested",
        option="probseg",
        sidecar={
            "Description": "Probability of meningioma, in [0, 1], on the grid of the source image",
            "Manual": False,
        },
    ),
    Output(
        name="lesions",
        made_by=("meningioma",),
        entities={"desc": "meningioma"},
        ending="lesions.tsv",
        form="table",
        value=lambda found: found["meningioma"].table(),
        readme="one row per candidate lesion; the JSON file beside it describes the columns",
        columns=_lesion_columns,
        off_page=("longest_ends_mm", "perpendicular_ends_mm"),
        caption="Candidate lesions, largest first.",
        empty="No candidate lesion was found.",
        in_bids=False,
    ),
    Output(
        name="lesion_indices",
        made_by=("meningioma",),
        entities={"desc": "meningioma"},
        ending="dseg.nii.gz",
        form="labels",
        value=lambda found: found["meningioma"].lesions.labels,
        readme="every candidate lesion, with its index in the table as the value, 0 elsewhere",
        sidecar={
            "Description": "Indices of the candidate lesions, as in the tables beside it, on the "
            "grid of the source image",
            "Manual": False,
        },
    ),
    Output(
        name="lesion_names",
        made_by=("meningioma",),
        entities={"desc": "meningioma"},
        ending="dseg.tsv",
        form="table",
        value=lambda found: found["meningioma"].indices(),
        readme="the values of that image, and what they stand for",
    ),
    Output(
        name="brainandtumor",
        made_by=("brain", "meningioma"),
        entities={"desc": "brainandtumor"},
        ending="mask.nii.gz",
        form="mask",
        value=lambda found: found["brain"].mask | found["meningioma"].lesions.mask,
        readme="the union of the two masks",
        option="mask",
        sidecar={
            "Type": "ROI",
            "Description": "Union of the brain mask and the tumor mask, to skull-strip the head "
            "of a patient with a tumor outside of the brain",
            "Manual": False,
        },
    ),
)
OUTPUTS = _MADE + tuple(
    automatic_mask(row) for a in ANALYSES for row in _MADE if a.correctable and a.main == row.name
)
"""In the order in which they are written."""

FIGURES: tuple[Figure, ...] = drawn.FIGURES
"""In the order of a participant's report."""


def analysis(name: str) -> Analysis:
    """Find the row of an analysis; `KeyError` if a record names one that there is not."""
    return {row.name: row for row in ANALYSES}[name]


def output(name: str) -> Output:
    """Find the row of a kind of file; `KeyError` if a record names one that there is not."""
    return {row.name: row for row in OUTPUTS}[name]


def names() -> tuple[str, ...]:
    """Names of the analyses."""
    return tuple(row.name for row in ANALYSES)


def with_model() -> tuple[str, ...]:
    """Names of the analyses that use a network."""
    return tuple(row.name for row in ANALYSES if row.has_model)


def options() -> tuple[str, ...]:
    """Values of ``--outputs``."""
    return tuple(dict.fromkeys(row.option for row in OUTPUTS if row.option))


def readme() -> str:
    """List the files of the derivative in Markdown: those that are always written come first."""
    parts = []
    for row in ANALYSES:
        made = [each for each in OUTPUTS if each.made_by[-1] == row.name]
        made.sort(key=lambda each: each.option == "probseg")
        lines = [f"- `{each.file('*', DEFAULT_SUFFIX)}`: {each.readme}" for each in made]
        parts.append(f"{row.readme}\n\n" + ";\n".join(lines) + ".\n")
    return "\n".join(parts)


def figure(file: str) -> Figure:
    """Find the row of a figure by the name of one of its files."""
    return next(row for row in FIGURES if file in row.files)


def figure_path(prefix: str, suffix: str, name: str) -> str:
    """Path of a figure's file in the output folder."""
    return f"{figure_folder(prefix)}/{figure(name).file(prefix, suffix, name)}"


def figure_folder(prefix: str) -> str:
    """Path of the folder of a scan's figures in the output folder."""
    return f"{prefix.partition('_')[0]}/figures"


def figure_files() -> tuple[str, ...]:
    """Names of the files of all figures."""
    return tuple(name for row in FIGURES for name in row.files)
