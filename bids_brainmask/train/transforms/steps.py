# SPDX-License-Identifier: Apache-2.0
"""The steps that change an example, by name, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bids_brainmask.train.transforms import augment, contrast, tumor
from bids_brainmask.train.transforms.augment import Example

Step = Callable[[Example, np.random.Generator], Example]

STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (
        contrast.contrast,
        contrast.metastases,
        contrast.schwannoma,
        tumor.meningiomas,  # after what they may grow over
        augment.strip,
        augment.cut_neck,
        augment.cut_crown,
        augment.deface,
        augment.blank,
        augment.lesion,
        augment.enhance,
        augment.marrow,
        augment.recolour,
        augment.invert,
        augment.gamma,
        augment.shade,
        augment.ghost,
        augment.sharpen,
        augment.thicken,  # the last: it changes the image's grid, and the others take it to be
        # the label's
    )
}
"""The steps by name, in the order in which they are taken."""


def change(example: Example, chances: Mapping[str, float], rng: np.random.Generator) -> Example:
    """Take each step of `STEPS` with the chance given for its name, in the order of `STEPS`."""
    for name, step in STEPS.items():
        if rng.random() < chances.get(name, 0):
            example = step(example, rng)
    return example
