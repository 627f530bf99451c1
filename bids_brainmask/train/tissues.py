# SPDX-License-Identifier: Apache-2.0
"""Tissues of a label map, and groups of them."""

from __future__ import annotations

import numpy as np

TISSUES = (
    *("air", "white", "cortex", "deep", "csf", "stem", "cerebellum", "choroid", "lesion"),
    *("artery", "vein", "dura", "eye", "nerve", "mucosa", "skin", "muscle", "fat", "cord"),
    *("bone", "marrow"),
)
"""Tissues that have an intensity. In a table, ``soft`` stands for muscle and fat together."""

CODE = {tissue: number for number, tissue in enumerate(TISSUES)}
"""Number of each tissue."""

GROUPS = {
    "air": ("air",),
    "brain": ("white", "cortex", "deep", "stem", "cerebellum", "lesion", "cord"),
    "fluid": ("csf", "choroid"),
    "vessels and dura": ("artery", "vein", "dura"),
    "mucosa": ("mucosa",),
    "bone": ("bone", "marrow"),
    "soft tissue": ("eye", "nerve", "skin", "muscle", "fat"),
}
"""Tissues that an auxiliary output of a training tells apart."""

UNKNOWN = np.int8(-1)
"""Of a voxel whose group of tissues is not known."""

GROUP_OF = np.array(
    [next(n for n, group in enumerate(GROUPS.values()) if name in group) for name in TISSUES],
    np.int8,
)
"""Number of the group in `GROUPS` of each of `TISSUES`."""
