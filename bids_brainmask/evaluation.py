# SPDX-License-Identifier: Apache-2.0
"""Compare predicted masks with references: pair the files, measure, and report."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import bids_brainmask
from bids_brainmask import api, tables
from bids_brainmask.dataset import storage
from bids_brainmask.errors import ImageError, NothingToDo, UsageError
from bids_brainmask.voxels import NIFTI, stem
from bids_brainmask.voxels.agreement import Agreement

log = logging.getLogger(__name__)

ENDING = "_mask"
"""How the names of masks end, without extension, unless the user says otherwise."""

LOOSE = {"desc", "label", "space"}
"""Entities in which the names of a prediction and its reference may differ."""

WORST = 5
"""How many of the worst scans are named."""


@dataclass(frozen=True)
class Measure:
    """How a measure is shown and described."""

    heading: str
    digits: int
    units: str
    name: str
    description: str


MEASURES = {
    "dice": Measure("Dice", 4, "1", "Dice coefficient", "2 |P and R| / (|P| + |R|)"),
    "jaccard": Measure("Jaccard", 4, "1", "Jaccard index", "|P and R| / |P or R|"),
    "sensitivity": Measure("Sens.", 4, "1", "Sensitivity", "|P and R| / |R|"),
    "precision": Measure("Prec.", 4, "1", "Precision", "|P and R| / |P|"),
    "volume_error_ml": Measure("Vol. mL", 1, "mL", "Volume error", "|P| - |R|"),
    "volume_error_percent": Measure("Vol. %", 2, "%", "Volume error", "100 (|P| - |R|) / |R|"),
    "hd95_mm": Measure(
        *("HD95 mm", 2, "mm", "95th percentile of the Hausdorff distance"),
        "95th percentile of the distances of P's surface voxels to R's surface, or of R's to P's, "
        "whichever is larger",
    ),
    "assd_mm": Measure(
        *("ASSD mm", 2, "mm", "Average symmetric surface distance"),
        "Mean of the distances of the surface voxels of P and R to the other's surface",
    ),
}
"""Of each field of `agreement.Agreement`; P is the prediction, R the reference."""


@dataclass(frozen=True)
class Mask:
    """A file of one of the two sides."""

    path: Path
    relative: str
    """Path in its dataset, with forward slashes; of a file given by itself, as it was given."""

    @property
    def name(self) -> str:
        """File name without extension."""
        return stem(self.path.name)


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference."""

    prediction: Mask
    reference: Mask


@dataclass(frozen=True)
class Pairing:
    """Who is compared with whom, and who is left."""

    pairs: tuple[Pair, ...]
    missing: tuple[Mask, ...] = ()
    """References without a prediction."""

    extra: tuple[Mask, ...] = ()
    """Predictions without a reference."""


@dataclass(frozen=True)
class Evaluation:
    """Results of all pairs."""

    pairing: Pairing
    measured: Mapping[Pair, Agreement]
    failed: Mapping[Pair, str]
    """Why a pair could not be measured."""

    @property
    def status(self) -> int:
        """Exit status: 1 if a reference has no prediction that could be measured, else 0."""
        return 1 if self.failed or self.pairing.missing else 0


def find_pairs(
    predictions: Path, references: Path, ending: str = ENDING, reference_ending: str = ""
) -> Pairing:
    """Pair two files, or the masks of two datasets: see `match`.

    Parameters
    ----------
    predictions, references : Path
        Two NIfTI files, or two folders with ``sub-*/[ses-*/]anat``.
    ending : str
        How the names of masks end, with or without extension, such as ``desc-brain_mask``.
    reference_ending : str
        The same of the references, if theirs end otherwise.

    Raises
    ------
    UsageError
        A file and a folder, no such file, or names that can be paired in several ways.
    NothingToDo
        No pair.
    """
    for path in (predictions, references):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; expected a dataset or NIfTI file.")
    if predictions.is_dir() != references.is_dir():
        folder, file = sorted((predictions, references), key=Path.is_file)
        raise UsageError(f"{folder} is a folder, {file} a file. Give two datasets or two files.")
    if predictions.is_file():
        files = (Mask(path, str(path)) for path in (predictions, references))
        return Pairing((Pair(*files),))
    endings = [stem(ending), stem(reference_ending or ending)]
    sides = [find_masks(predictions, endings[0]), find_masks(references, endings[1])]
    pairing = match(*sides)
    if not pairing.pairs:
        raise NothingToDo(
            f"no mask has a counterpart: {len(sides[0])} in {predictions} end in {endings[0]}, "
            f"{len(sides[1])} in {references} in {endings[1]} (.nii or .nii.gz, under "
            "sub-*/[ses-*/]anat). Look at the folders, or give --mask NAME-ENDING."
        )
    return pairing


def find_masks(root: Path, ending: str) -> dict[str, Mask]:
    """Masks of a dataset by their path in it without extension, sorted.

    Raises
    ------
    UsageError
        A mask is there twice, compressed and not.
    """
    found: dict[str, Mask] = {}
    for folder in ("sub-*/anat", "sub-*/ses-*/anat"):
        for path in sorted(root.glob(f"{folder}/sub-*.nii*")):
            if not path.name.endswith(tuple(f"{ending}{end}" for end in NIFTI)):
                continue
            relative = path.relative_to(root).as_posix()
            if other := found.get(stem(relative)):
                raise UsageError(f"{other.path} and {path} are one mask twice. Remove one.")
            found[stem(relative)] = Mask(path, relative)
    return dict(sorted(found.items()))


def match(predictions: Mapping[str, Mask], references: Mapping[str, Mask]) -> Pairing:
    """Pair masks by path; what is left, by folder and entities other than `LOOSE`, if unique.

    Parameters
    ----------
    predictions, references : mapping of str to Mask
        By path in the dataset, without extension.

    Raises
    ------
    UsageError
        Names that can be paired in several ways.
    """
    pairs = [Pair(mask, references[key]) for key, mask in predictions.items() if key in references]
    left = _by_entities(mask for key, mask in predictions.items() if key not in references)
    rest = _by_entities(mask for key, mask in references.items() if key not in predictions)
    same, missing = len(pairs), []
    for place, wanted in rest.items():
        found = left.pop(place, [])
        if len(found) == len(wanted) == 1:
            pairs.append(Pair(found[0], wanted[0]))
        elif found:
            raise UsageError(
                f"{place}: the names of the predictions ({_names(found)}) and of the references "
                f"({_names(wanted)}) do not identify pairs. Give the names to compare: "
                "--mask NAME-ENDING, such as --mask desc-brain_mask, and --reference-mask "
                "NAME-ENDING if the references' names end otherwise."
            )
        else:
            missing += wanted
    for pair in pairs[same : same + 1]:
        text = "%d pairs differ in desc-, label- or space-; the first is %s with %s"
        log.warning(text, len(pairs) - same, pair.prediction.path.name, pair.reference.path.name)
    pairs.sort(key=lambda pair: pair.reference.relative)
    extra = tuple(mask for masks in left.values() for mask in masks)
    return Pairing(tuple(pairs), tuple(missing), extra)


def _by_entities(masks: Iterable[Mask]) -> dict[str, list[Mask]]:
    """Group masks by folder and entities other than those in which names may differ."""
    groups: dict[str, list[Mask]] = {}
    for mask in masks:
        entities = mask.name.split("_")[:-1]
        kept = [pair for pair in entities if pair.partition("-")[0] not in LOOSE]
        folder = mask.relative.rpartition("/")[0]
        groups.setdefault(f"{folder}/{'_'.join(kept)}", []).append(mask)
    return groups


def _names(masks: Iterable[Mask]) -> str:
    return ", ".join(mask.path.name for mask in masks)


def evaluate(pairing: Pairing, labels: Sequence[int] = ()) -> Evaluation:
    """Measure every pair. One that cannot be measured does not stop the others.

    Parameters
    ----------
    pairing : Pairing
    labels : sequence of int
        Values that count as the structure; all but 0 if empty.

    Raises
    ------
    ImageError
        No pair could be measured: why the first could not.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    measured, failed = {}, {}
    with logging_redirect_tqdm():
        for pair in tqdm(pairing.pairs, unit="scan", disable=None):
            try:
                measured[pair] = measure(pair, labels)
            except ImageError as error:
                failed[pair] = str(error)
    if not measured:
        others = f" Other pairs that could not be compared: {len(failed) - 1}."
        raise ImageError(next(iter(failed.values())) + others * (len(failed) > 1))
    for reason in failed.values():
        log.error("%s", reason)
    for mask in pairing.missing:
        log.warning("%s: a reference without a prediction", mask.path)
    for mask in pairing.extra:
        log.warning("%s: a prediction without a reference; not compared", mask.path)
    return Evaluation(pairing, measured, failed)


def measure(pair: Pair, labels: Sequence[int] = ()) -> Agreement:
    """Measure one pair; `labels` as for `evaluate`.

    Raises
    ------
    ImageError
        A file cannot be read, holds fractions, or is on another grid than the other.
    """
    return api.evaluate(pair.prediction.path, pair.reference.path, labels)


def summary(evaluation: Evaluation) -> dict[str, dict[str, float | int]]:
    """Of each measure: median, mean, minimum, maximum (NaN if none), and of how many scans."""
    found = {}
    for key in MEASURES:
        values = (float(getattr(each, key)) for each in evaluation.measured.values())
        there = [value for value in values if not math.isnan(value)]
        some = there or [math.nan]
        found[key] = {"median": float(np.median(some)), "mean": float(np.mean(some))}
        found[key] |= {"minimum": min(some), "maximum": max(some), "scans": len(there)}
    return found


def worst(evaluation: Evaluation) -> list[Pair]:
    """Up to `WORST` pairs of the lowest Dice, the lowest first."""
    return sorted(evaluation.measured, key=lambda pair: evaluation.measured[pair].dice)[:WORST]


def table(evaluation: Evaluation) -> str:
    """Every scan, the summary and the worst scans, for people."""
    measured, pairing = evaluation.measured, evaluation.pairing
    width = max(len(pair.reference.name) for pair in measured)
    lines = [_line("", {key: shown.heading for key, shown in MEASURES.items()}, width)]
    lines += [_line(pair.reference.name, asdict(found), width) for pair, found in measured.items()]
    if len(measured) > 1:
        figures = summary(evaluation)
        lines.append("")
        for name in figures["dice"]:
            lines.append(_line(name, {key: figures[key][name] for key in MEASURES}, width))
        lines += ["", "Lowest Dice:"]
        lines += [
            f"{measured[pair].dice:.4f}  {pair.reference.name}" for pair in worst(evaluation)
        ]
    closing = (
        f"compared: {len(measured)}, failed: {len(evaluation.failed)}, "
        f"references without a prediction: {len(pairing.missing)}, "
        f"predictions without a reference: {len(pairing.extra)}"
    )
    return "\n".join([*lines, "", closing])


def _line(name: str, row: Mapping[str, float | int | str], width: int) -> str:
    """One line of the table: floats rounded, NaN as n/a, other things as they are."""
    cells = []
    for key, shown in MEASURES.items():
        value = row[key]
        text = f"{value:z.{shown.digits}f}" if isinstance(value, float) else str(value)
        cells.append(f"{text.replace('nan', 'n/a'):>8}")
    return f"{name:{width}} {''.join(cells)}"


def rows(evaluation: Evaluation) -> list[dict[str, str | float | None]]:
    """Every reference by path: its prediction and the measures, None where there is none."""
    found: list[dict[str, str | float | None]] = []
    for pair in evaluation.pairing.pairs:
        names = {"reference": pair.reference.relative, "prediction": pair.prediction.relative}
        agreement = evaluation.measured.get(pair)
        values = _finite(asdict(agreement)) if agreement else dict.fromkeys(MEASURES)
        found.append(names | values)
    blank = {"prediction": None} | dict.fromkeys(MEASURES)
    found += [{"reference": mask.relative, **blank} for mask in evaluation.pairing.missing]
    return sorted(found, key=lambda row: str(row["reference"]))


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Replace NaN, which JSON lacks, by None."""
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def dictionary() -> dict[str, dict[str, str]]:
    """Make the data dictionary of the TSV, in BIDS form."""
    found = {
        side: {"LongName": side.title(), "Description": f"Path of the {side} in its dataset"}
        for side in ("reference", "prediction")
    }
    where = "P: voxels of the prediction, R: of the reference"
    for key, shown in MEASURES.items():
        text = f"{shown.description} ({where})"
        found[key] = {"LongName": shown.name, "Description": text, "Units": shown.units}
    return found


def report(evaluation: Evaluation) -> dict:
    """Everything, as it goes into JSON."""
    pairing = evaluation.pairing
    return {
        "Software": f"bids_brainmask {bids_brainmask.__version__}",
        "Measures": dictionary(),
        "Scans": rows(evaluation),
        "Summary": {key: _finite(figures) for key, figures in summary(evaluation).items()},
        "LowestDice": [pair.reference.relative for pair in worst(evaluation)],
        "Failed": {pair.reference.relative: why for pair, why in evaluation.failed.items()},
        "ReferencesWithoutPrediction": [mask.relative for mask in pairing.missing],
        "PredictionsWithoutReference": [mask.relative for mask in pairing.extra],
    }


def check_outputs(tsv: Path | None, json: Path | None) -> None:
    """Raise a UsageError unless the outputs have their extensions and places of their own."""
    for path, extension in ((tsv, ".tsv"), (json, ".json")):
        if path and path.suffix != extension:
            raise UsageError(f"{path}: expected a name that ends in {extension}.")
    if tsv and json and tsv.with_suffix(".json").resolve() == json.resolve():
        raise UsageError(f"{json}: describes the columns of {tsv}. Name another for --json.")


def write(
    evaluation: Evaluation, tsv: Path | None, json: Path | None, asked: Mapping[str, object]
) -> None:
    """Write the TSV and its dictionary, and the JSON; `asked` is the JSON's record of the call."""
    if tsv:
        header = ["reference", "prediction", *MEASURES]
        text = tables.tsv([header, *(row.values() for row in rows(evaluation))])
        storage.write_bytes(tsv, text.encode())
        storage.write_json(tsv.with_suffix(".json"), dictionary())
    if json:
        storage.write_json(json, {**asked, **report(evaluation)})
