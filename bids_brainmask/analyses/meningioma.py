# SPDX-License-Identifier: Apache-2.0
"""Meningiomas: found, kept where they are likely, and measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_brainmask.analyses import lesions
from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.analyses.probability import probability_map
from bids_brainmask.models.backends import Network
from bids_brainmask.models.model import Model
from bids_brainmask.voxels import cleanup, image


@dataclass(frozen=True)
class Tumors:
    """Meningiomas, on the grid of their image."""

    lesions: lesions.Lesions
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    stripped: bool  # whether the image was known to hold a brain and nothing else

    @property
    def summary(self) -> str:
        """How many and how large, for a line about the scan."""
        count, volume = self.lesions.count, self.lesions.volume_ml
        if not count:
            return "no meningioma"
        return f"{count} meningioma{'s' * (count > 1)} of {volume:.2f} mL"

    @property
    def remarks(self) -> str:
        """What the user should know; nothing where the image is as it should be."""
        return "searched for tumours, though stripped before: some may be gone" * self.stripped


def find_meningiomas(
    source: image.Source,
    model: Model,
    network: Network,
    threshold: float,
    brain: Extraction | None,
    **looks: bool,
) -> Tumors:
    """Find the meningiomas in an image of a whole head; none is an answer, too.

    The image is never stripped before: most of these tumours lie outside of the brain.

    Parameters
    ----------
    source, model, network, threshold, **looks
        As in `extract`.
    brain : Extraction or None
        Of the same image, to tell where a lesion lies; None: it is not told. A model whose
        lesions are to be near the brain needs it.
    """
    volume, found = source.volume, probability_map(source, model, network, **looks)
    lesion, mask = found >= threshold, brain.mask if brain else None
    if model.peak:
        lesion = cleanup.with_peak(lesion, found, model.peak)
    if model.near_brain:
        lesion = cleanup.near(lesion, mask, volume.spacing, model.near_brain)
    measured = lesions.measure(lesion, found, volume.affine, mask)
    return Tumors(measured, found, bool(brain and brain.stripped))
