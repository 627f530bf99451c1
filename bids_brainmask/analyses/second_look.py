# SPDX-License-Identifier: Apache-2.0
"""A second look at an image whose mask is doubtful: mirrored, in other intensities, or turned.

The predicted Dice, which needs no reference, decides between the looks. An image whose first mask
is sure is shown to the network once only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bids_brainmask.analyses import confidence
from bids_brainmask.voxels import cleanup
from bids_brainmask.voxels.looks import AS_IT_IS, DARKER, INVERTED, TURNED, Look

SURE = 0.98
"""Predicted Dice from which an image is shown to the network once only. The registered network is
surer of all but one of the 122 heads that it learnt from."""

HOPELESS = 0.55
"""Predicted Dice under which no other look is taken: such images hold no head."""

UNSURE = 0.97
"""Predicted Dice under which the image is also seen inverted and, if in vain, turned."""

OTHER_GAIN = 0.02
"""Gain in predicted Dice over the first look from which the inverted or a turned look is kept."""

COMPARED = 3
"""Turned looks that are compared on the whole grid, the best ones of a coarse comparison."""


@dataclass(frozen=True)
class View:
    """What a network finds in one look at an image, on the image's grid."""

    look: Look
    probability: np.ndarray  # (I, J, K) float32, in [0, 1]
    cleaned: cleanup.Cleaned
    confidence: confidence.Confidence | None  # None: no brain was found
    predicted_dice: float | None  # in [0, 1]; None: the model has no calibration, or no brain
    rank: float
    """Predicted Dice of the mask at the model's own threshold; 0 where there is none."""

    mirrored: bool
    """Whether the probability is the mean with that of the mirror image."""

    likeness: Future[dict[str, float]]
    """What `plausibility.measure` gives for the mask; it fails for an empty one."""


class See(Protocol):
    """A network that looks at an image."""

    def __call__(self, look: Look, *, once: bool = False, mean: View | None = None) -> View:
        """Find the brain in one look; `once` as in `inference.probability`.

        With `mean`, which is a view of this look, the mirror image is seen, and the mean of both
        answers is used.
        """


Glance = Callable[[View], Callable[[Look], float]]
"""From a view to coarse, fast answers about its surroundings: the rank of a look."""


def best_view(
    see: See,
    glance: Glance,
    is_object: Callable[[View], bool],
    is_brain: Callable[[View], bool],
) -> View:
    """Look at an image once or, if the first look leaves doubts, mirrored and in other ways.

    Parameters
    ----------
    see : See
    glance : Glance
    is_object : callable
        Whether what was found is no head, whatever the look: there is no second one then.
    is_brain : callable
        Whether a mask has the shape and the intensities of a brain. An inverted or a turned look
        is kept only then: among 24 looks at an image without a head, one may seem sure.

    Returns
    -------
    View
        The first one if no other is better by its gain, and if no brain is found in it. Where it
        is not sure, averaged with the mirror image.
    """
    first = see(AS_IT_IS)
    if not HOPELESS <= first.rank < SURE or is_object(first):
        return first
    view = _best_look(first, see, glance, is_brain)
    return view if view.mirrored else see(view.look, mean=view)


def _best_look(first: View, see: See, glance: Glance, is_brain: Callable[[View], bool]) -> View:
    """Look at an image in other ways; the first view if none of them is better by its gain."""
    darker = see(DARKER)
    view = darker if darker.rank > first.rank else first
    if first.rank < UNSURE:
        view = _keep(see(INVERTED), view, first, is_brain)
    if view.rank < UNSURE:
        # A coarse pass each shows which few it may be, one pass which it is; that one gets all.
        few = sorted(TURNED, key=glance(view), reverse=True)[:COMPARED]
        best = max(few, key=lambda look: see(look, once=True).rank)
        view = _keep(see(best), view, first, is_brain)
    return view


def _keep(other: View, view: View, first: View, is_brain: Callable[[View], bool]) -> View:
    """Choose the other look if it is better, gains enough over the first and shows a brain.

    The darker look may be the one that is kept so far. It has other intensities, so that its gain
    says nothing about a turned look.
    """
    gains = other.rank > view.rank and other.rank >= first.rank + OTHER_GAIN
    return other if gains and is_brain(other) else view
