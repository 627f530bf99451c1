# SPDX-License-Identifier: Apache-2.0
"""The steps of augmentation, by name, in their order."""

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
        tumor.meningiomas,  # after the lesions that they may cover
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
        augment.thicken,  # the last: it changes the image's grid, which the other steps
        # expect to be the label's
    )
}
"""The steps by name, in their order."""


def change(example: Example, chances: Mapping[str, float], rng: np.random.Generator) -> Example:
    """Apply each step of `STEPS` with its probability, in the order of `STEPS`."""
    for name, step in STEPS.items():
        if rng.random() < chances.get(name, 0):
            example = step(example, rng)
    return example
