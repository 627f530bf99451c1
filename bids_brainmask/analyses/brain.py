# SPDX-License-Identifier: Apache-2.0
"""Brain extraction: mask, clean-up and confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from bids_brainmask.analyses import confidence, plausibility, quality
from bids_brainmask.analyses.probability import CUBE_SPACING, Answers
from bids_brainmask.analyses.second_look import View, best_view
from bids_brainmask.errors import ImageError
from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.settings import EXPECTED_ML
from bids_brainmask.voxels import cleanup, image
from bids_brainmask.voxels.inference import Options
from bids_brainmask.voxels.looks import AS_IT_IS, Look


@dataclass(frozen=True)
class Extraction:
    """A brain, on the grid of its image."""

    mask: np.ndarray  # (I, J, K) bool
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    volume_ml: float
    confidence: confidence.Confidence
    predicted_dice: float | None  # in [0, 1]; None for a model without a calibration
    stripped: bool = False  # whether the image contained only a brain, which is kept whole
    quality: Mapping | None = None  # by the names of `quality.columns`
    likeness: Mapping[str, float] | None = None  # by the names that `plausibility.measure` gives
    implausible: tuple[str, ...] = ()  # in what it is unlike a brain, in words
    look: Look = AS_IT_IS  # in which the network found it
    mirrored: bool = False  # whether the mean with the mirror image was used

    @property
    def summary(self) -> str:
        """Volume, for the scan's line of the closing table."""
        return f"{self.volume_ml:.0f} mL"

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons to doubt the mask, in words; empty if there are none."""
        predicted, orientation = self.predicted_dice, self.look.orientation
        unsure = predicted is not None and predicted < confidence.DOUBTFUL
        is_turned = orientation != AS_IT_IS.orientation
        turned = f"header and head disagree: right, front and top of the head lie at {orientation}"
        return (
            *([f"predicted Dice {predicted:.2f}"] if unsure else []),
            *([turned] if is_turned else []),
            *self.implausible,
        )

    @property
    def warning(self) -> str:
        """Warning for users of the mask; empty if there are no doubts."""
        return f"doubtful, {', '.join(self.doubts)}: check the mask" if self.doubts else ""

    @property
    def remarks(self) -> str:
        """Remarks for the scan's line of the closing table; empty if there is none."""
        kept = "already skull-stripped, kept whole" if self.stripped else ""
        return "; ".join(filter(None, (kept, self.warning)))

    def corrected(self, source: image.Source, mask: np.ndarray, findings: Mapping) -> Extraction:  # noqa: ARG002
        """Put a person's mask, (I, J, K) bool, in the place of the found one, and measure it.

        The predicted Dice is unknown: its calibration is of automatic masks. A person has looked
        at the mask, so that it is not doubtful.

        Raises
        ------
        ImageError
            The mask is empty.
        """
        if not mask.any():
            raise ImageError("the brain mask is empty; expected a brain. Draw it again.")
        volume = source.volume
        voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
        counts = dict.fromkeys(("pieces_removed", "removed", "holes_filled", "filled"), 0)
        return replace(
            self,
            mask=mask,
            volume_ml=float(mask.sum() * voxel_ml),
            confidence=confidence.of(mask, self.probability, volume.spacing, 0),
            predicted_dice=None,
            likeness=None,
            implausible=(),
            look=AS_IT_IS,
            quality=quality.measure(volume, mask, self.probability, predicted_dice=None, **counts),
        )

    def record(self) -> dict:
        """Entries for the sidecars of the brain's files."""
        return {
            "BrainVolume": round(self.volume_ml, 3),
            "BrainVolumeUnits": "mL",
            "BoundaryUncertainty": round(self.confidence.boundary, 4),
            "PredictedDice": self.predicted_dice and round(self.predicted_dice, 4),
            "Doubts": list(self.doubts),
            "AlreadyStripped": self.stripped,
            "HeadOrientation": self.look.orientation,
            "IntensitiesShown": self.look.intensities,
            "AveragedWithMirrorImage": self.mirrored,
            "Quality": self.quality,
        }


def extract(
    source: image.Source,
    model: Model,
    network: Network,
    threshold: float,
    options: Options = Options(),  # noqa: B008 - a frozen value
    *,
    border: float = 0.0,
    expected_ml: tuple[float, float] = EXPECTED_ML,
) -> Extraction:
    """Find the brain in an image: its largest component, without holes.

    Where the network is not sure of the image, it gets a second look at it, as in `best_view`. If
    the image is already skull-stripped, the mask is all of its content. Its `quality` is
    measured of this mask, which is written. `confidence`, and with it `predicted_dice`, is
    measured of the network's own mask, on which the calibration was fitted; so is whether it is
    like a brain.

    Parameters
    ----------
    source : image.Source
    model : Model
    network : backends.Network
    threshold : float
        Probability from which a voxel is brain, in (0, 1).
    options : Options
    border : float
        Distance by which the edge of the mask is moved in the end, mm, as in
        `cleanup.move_border`.
    expected_ml : tuple of 2 float
        Volumes between which a brain is expected to lie, mL; beyond them the mask is doubtful.

    Raises
    ------
    ImageError
        No voxel is as probable as the threshold, or none is left within the border.
    """
    volume = source.volume
    with ThreadPoolExecutor(1) as beside:  # on another processor, if there is one
        view = _find(source, model, network, threshold, options, expected_ml, beside)
        found, cleaned, trust = view.probability, view.cleaned, view.confidence
        if trust is None:
            raise ImageError(
                f"no brain was found: the highest probability is {found.max():.2f}, the "
                f"threshold is {threshold:g}. Check that the image is a T1-weighted head."
            )
        voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
        whole = cleanup.stripped_before(volume.data, cleaned.mask)
        mask = cleaned.mask if whole is None else whole
        mask = cleanup.move_border(mask, volume.spacing, border)
        if not mask.any():
            raise ImageError(
                f"the brain mask is empty with a border of {border:g} mm. Choose a border closer "
                "to 0."
            )
        measured = quality.measure(
            volume,
            mask,
            found,
            pieces_removed=cleaned.components,
            removed=cleaned.removed,
            holes_filled=cleaned.holes,
            filled=cleaned.filled,
            predicted_dice=view.predicted_dice,
        )
    likeness = view.likeness.result()
    return Extraction(
        mask=mask,
        probability=found,
        volume_ml=float(mask.sum() * voxel_ml),
        confidence=trust,
        predicted_dice=view.predicted_dice,
        stripped=whole is not None,
        quality=measured,
        likeness=likeness,
        implausible=tuple(plausibility.reasons(likeness, expected_ml)),
        look=view.look,
        mirrored=view.mirrored,
    )


def _find(
    source: image.Source,
    model: Model,
    network: Network,
    threshold: float,
    options: Options,
    expected_ml: tuple[float, float],
    beside: ThreadPoolExecutor,
) -> View:
    """Let the network look at the image, and look again where it is not sure."""
    volume, answer = source.volume, Answers(source, model, network, options)

    def see(look: Look, *, once: bool = False, mean: View | None = None) -> View:
        found = answer(look.mirrored if mean else look, once=once)
        if mean:
            found = (found + mean.probability) / 2
        cleaned = cleanup.brain(found >= threshold)
        likeness = beside.submit(plausibility.measure, volume, cleaned.mask, cleaned.removed)
        trust = _trust(cleaned, found, volume.spacing)
        own = trust
        if threshold != model.threshold:  # a threshold of one's own is no doubt about the look
            own = _trust(cleanup.brain(found >= model.threshold), found, volume.spacing)
        dice = trust.predicted_dice(model.confidence) if trust else None
        # Without a brain at the threshold there is nothing to measure, whatever the look.
        rank = own.predicted_dice(model.confidence) if trust and own else None
        mirrored = bool(mean) or answer.flips
        return View(look, found, cleaned, trust, dice, rank or 0.0, mirrored, likeness)

    def glance(view: View) -> Callable[[Look], float]:
        coarse = answer.in_cube(view.cleaned.mask)

        def rank(look: Look) -> float:
            found = coarse(look)[::2, ::2, ::2]  # the network's own layers are as coarse
            cleaned = cleanup.brain(found >= model.threshold)
            trust = _trust(cleaned, found, np.full(3, 2 * CUBE_SPACING))
            return (trust and trust.predicted_dice(model.confidence)) or 0.0

        return rank

    def is_brain(view: View) -> bool:
        return not plausibility.reasons(view.likeness.result(), expected_ml)

    def is_object(view: View) -> bool:
        return plausibility.is_object(view.likeness.result(), expected_ml)

    return best_view(see, glance, is_object, is_brain)


def _trust(
    cleaned: cleanup.Cleaned, probability: np.ndarray, spacing: np.ndarray
) -> confidence.Confidence | None:
    """Measure the confidence in a mask; None for an empty one."""
    if not cleaned.mask.any():
        return None
    return confidence.of(cleaned.mask, probability, spacing, cleaned.removed)
