# SPDX-License-Identifier: Apache-2.0
"""Names of the losses, and variants of a fine-tuning; the command line imports nothing heavy."""

from typing import Literal

Loss = Literal[
    "dice",
    "batchdice",
    "jaccard",
    "dice+crossentropy",
    "batchdice+crossentropy",
    "jaccard+crossentropy",
    "crossentropy",
]

FINETUNING = {
    "mild": {
        "geometry": {"turn": 5, "scale": 0.06, "stretch": 0.03, "flip": 0.5},
        "steps": {"gamma": 0.4, "shade": 0.3, "noise": 0.3, "sharpen": 0.2},
        "gain": 0.05,
    },
    "wild": {
        "geometry": {"turn": 12, "scale": 0.15, "stretch": 0.05, "bend": 4, "flip": 0.5},
        "steps": {"gamma": 0.6, "shade": 0.6, "noise": 0.5, "sharpen": 0.4, "thicken": 0.2},
        "gain": 0.08,
    },
}
"""Variants for any target: none needs the label to be a brain."""
