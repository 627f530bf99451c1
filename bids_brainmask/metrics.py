# SPDX-License-Identifier: Apache-2.0
"""Agreement of two masks."""

from __future__ import annotations

import numpy as np


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks (Dice 1945, https://doi.org/10.2307/1932409).

    Parameters
    ----------
    a, b : (I, J, K) bool array
        Masks on one grid.

    Returns
    -------
    float
        ``2|A & B| / (|A| + |B|)``, in [0, 1]; 1.0 when both are empty.

    Raises
    ------
    ValueError
        Masks of different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"masks of shapes {a.shape} and {b.shape} are not on one grid")
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0
