# SPDX-License-Identifier: Apache-2.0
"""Meningiomas: candidates that are found, judged and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from bids_brainmask.analyses import candidates, lesion_table, lesions, repeatability
from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.analyses.lesions import Decision, Lesions
from bids_brainmask.analyses.measures import Measure, Reading, Value, number
from bids_brainmask.analyses.probability import probability_map
from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.voxels import cleanup, image
from bids_brainmask.voxels.inference import Options


@dataclass(frozen=True)
class Tumors:
    """Candidate meningiomas, on the grid of their image."""

    lesions: Lesions
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    stripped: bool  # whether the image was known to hold a brain and nothing else

    @property
    def summary(self) -> str:
        """Number and volume of the lesions that count, for the line of the closing table."""
        count, volume = self.lesions.count, self.lesions.volume_ml
        if not count:
            return "no candidate lesion"
        return f"{count} candidate lesion{'s' * (count > 1)} of {volume:.2f} mL"

    @property
    def warning(self) -> str:
        """Warning for users of the mask; empty if there is none."""
        return "the image is already skull-stripped: tumors may be missing" * self.stripped

    @property
    def remarks(self) -> str:
        """Remarks for the scan's line of the closing table; empty if there is none."""
        return "; ".join(filter(None, (self.warning, self._left_out)))

    @property
    def _left_out(self) -> str:
        """Say how many candidates do not count; empty if all do."""
        out = [each for each in self.lesions.candidates if not each.is_counted]
        kinds = Counter(lesion_table.words(each) for each in out)
        volume = sum(each.volume_ml for each in out)
        said = " and ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        return f"not counted: {said}, {volume:.2f} mL" if out else ""

    def corrected(self, source: image.Source, mask: np.ndarray, findings: Mapping) -> Tumors:
        """Put a person's mask, (I, J, K) bool, in the place of the found one, and measure it.

        It may be empty. No lesion is too small, and all are accepted.
        """
        brain = findings["brain"].mask if "brain" in findings else None
        measured = lesions.measure(
            mask, self.probability, source.volume.affine, brain, smallest_ml=0.0
        )
        accepted: dict[int, Decision] = {
            lesion.index: "accepted" for lesion in measured.candidates
        }
        return replace(self, lesions=measured.decided(accepted))

    def decided(self, decisions: dict[int, Decision]) -> Tumors:
        """Put a person's decisions about candidates, by index, into the place of the rules."""
        return replace(self, lesions=self.lesions.decided(decisions))

    def record(self) -> dict:
        """Entries for the sidecars of the tumors' files: what counts, and all candidates."""
        return {
            "CandidateCount": len(self.lesions.candidates),
            "LesionCount": self.lesions.count,
            "LesionVolume": round(self.lesions.volume_ml, 3),
            "LesionVolumeUnits": "mL",
            "Decisions": {
                str(each.index): each.decision for each in self.lesions.candidates if each.decision
            },
        }

    def table(self) -> str:
        """List the candidates as tab-separated values."""
        return lesion_table.table(self.lesions.candidates)

    def indices(self) -> str:
        """List the values of the index image as tab-separated values."""
        return lesion_table.indices(self.lesions.candidates)


def find_meningiomas(
    source: image.Source,
    model: Model,
    network: Network,
    threshold: float,
    brain: Extraction | None,
    options: Options = Options(),  # noqa: B008 - a frozen value
    *,
    copies: int = 0,
) -> Tumors:
    """Find candidate meningiomas in an image of a whole head; none is an answer, too.

    The image is never stripped before: most of these tumours lie outside of the brain.

    Parameters
    ----------
    source, model, network, threshold, options
        As in `extract`.
    brain : Extraction or None
        Of the same image, to tell where a lesion lies; None: it is not told. A model whose
        lesions are to be near the brain needs it.
    copies : int
        Moved copies of the image that the network sees too, if it found a candidate.
    """
    volume, found = source.volume, probability_map(source, model, network, options)
    lesion, mask = found >= threshold, brain.mask if brain else None
    if model.peak:
        lesion = cleanup.with_peak(lesion, found, model.peak)
    if model.near_brain:
        lesion = cleanup.near(lesion, cast("np.ndarray", mask), volume.spacing, model.near_brain)
    field = candidates.field_of_view(volume.data)
    measured = lesions.measure(lesion, found, volume.affine, mask, field=field)
    if copies and measured.candidates:
        sds = repeatability.standard_deviations(
            source,
            measured.labels,
            lambda copy: probability_map(copy, model, network, options),
            threshold,
            copies,
        )
        measured = measured.varying(sds)
    return Tumors(candidates.judge(measured), found, bool(brain and brain.stripped))


def _counted(reading: Reading) -> list[Mapping[str, str]]:
    return [row for row in reading.rows if row["counted"] == "yes"]


def _numbers(reading: Reading, column: str) -> list[float]:
    return [float(number(row[column])) for row in _counted(reading)]


def _mean_probability(reading: Reading) -> Value:
    sizes, sure = _numbers(reading, "volume_ml"), _numbers(reading, "mean_probability")
    weighted = sum(size * each for size, each in zip(sizes, sure, strict=True))
    return round(weighted / sum(sizes), 4) if sum(sizes) else None


def _outside(reading: Reading) -> Value:
    away = [row["brain_distance_mm"] not in ("n/a", "0.0") for row in _counted(reading)]
    return sum(away) if "brain" in reading.others else None


def _not_counted(reading: Reading) -> Value:
    return len(reading.rows) - len(_counted(reading))


MEASURES: tuple[Measure, ...] = (
    Measure(
        "lesions",
        {
            "LongName": "Candidate lesions",
            "Description": "Lesions that count: candidates that are likely or accepted, and not "
            "rejected",
        },
        read=lambda reading: int(number(reading.record["LesionCount"])),
        rank=11,
    ),
    Measure(
        "volume_ml",
        {"LongName": "Volume", "Description": "Volume of the lesions that count", "Units": "mL"},
        read=lambda reading: float(number(reading.record["LesionVolume"])),
        rank=12,
    ),
    Measure(
        "largest_ml",
        {
            "LongName": "Largest volume",
            "Description": "Volume of the largest lesion that counts; n/a if there is none",
            "Units": "mL",
        },
        read=lambda reading: max(_numbers(reading, "volume_ml"), default=None),
    ),
    Measure(
        "longest_mm",
        {
            "LongName": "Longest diameter",
            "Description": "Longest axial diameter of the lesions that count, as in their table",
            "Units": "mm",
        },
        read=lambda reading: max(_numbers(reading, "longest_mm"), default=None),
    ),
    Measure(
        "mean_probability",
        {
            "LongName": "Mean probability",
            "Description": "Mean of the lesions' mean probabilities, weighted by their volumes, "
            "in [0, 1]",
        },
        read=_mean_probability,
    ),
    Measure(
        "outside_brain",
        {
            "LongName": "Away from the brain",
            "Description": "Lesions that count, outside of the brain mask, that do not touch it; "
            "they are more often false than others; n/a if no brain was extracted",
        },
        read=_outside,
    ),
    Measure(
        "not_counted",
        {
            "LongName": "Not counted",
            "Description": "Candidate lesions that are unlikely and not accepted, or rejected",
        },
        read=_not_counted,
    ),
)
"""Measures of meningiomas, read from the sidecar and the table of lesions. None is compared."""
