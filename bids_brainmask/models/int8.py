# SPDX-License-Identifier: Apache-2.0
"""Networks whose products are of 8-bit integers: intervals of the activations, and rounding.

Activations are rounded to 256 values of one interval for each tensor, kernels to 255 values for
each output channel. The intervals are stored beside the weights that they were measured for;
`benchmarks/int8_ranges.py` measures them when weights are released. OpenVINO computes the rounded
network with integers where the graph says so by its operation FakeQuantize.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bids_brainmask.errors import ModelError

if TYPE_CHECKING:
    import openvino

    from bids_brainmask.models.unet import Architecture

Intervals = Mapping[str, tuple[float, float]]
"""Lowest and highest value of each rounded tensor, by its name."""

LEVELS = 256
"""Values of an activation, in 8 bits."""

KERNEL_LEVELS = 255
"""Values of a weight: from -127 to 127, symmetric about 0."""


class Ranges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file of intervals."""

    weights: str
    """SHA-256 of the file of weights that they were measured for."""

    intervals: dict[str, tuple[float, float]]


def tensors(architecture: Architecture) -> tuple[str, ...]:
    """Names of the rounded tensors: the image, and what each layer but the last one returns."""
    layers = dict.fromkeys(name.split("/")[0] for name, _ in architecture.shapes())
    return ("image", *(name for name in layers if name != "logits"))


def read(path: Path, architecture: Architecture, weights_sha256: str) -> Intervals:
    """Read the intervals of a network.

    Parameters
    ----------
    path : Path
        JSON, as `Ranges`.
    architecture : Architecture
    weights_sha256 : str
        Hash of the weights that will be used.

    Returns
    -------
    mapping of str to (float, float)
        By the names of `tensors`, aligned as by `aligned`.

    Raises
    ------
    ModelError
        The file cannot be read, was made for other weights or another network, or holds an empty
        interval.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Ranges)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}. Install the package again.") from error
    if found.weights != weights_sha256:
        raise ModelError(
            f"{path}: measured for weights with SHA-256 {found.weights}; found weights with "
            f"{weights_sha256}. Leave --precision out."
        )
    if wrong := set(tensors(architecture)) ^ set(found.intervals):
        raise ModelError(f"{path}: tensors of another network: {', '.join(sorted(wrong)[:3])}")
    for name, (low, high) in found.intervals.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0 < high):
            raise ModelError(f"{path}: {name}: found [{low}, {high}], expected low <= 0 < high")
    return {name: aligned(*interval) for name, interval in found.intervals.items()}


def aligned(low: float, high: float) -> tuple[float, float]:
    """Shift an interval so that 0 is one of its `LEVELS` values.

    The integer kernels have a whole number for 0. Otherwise each value would be shifted by up to
    half a step.
    """
    step = (high - low) / (LEVELS - 1)
    below = round(-low / step)
    return -below * step, (LEVELS - 1 - below) * step


def rounded_activation(op: Any, x: openvino.Output, interval: tuple[float, float]) -> Any:
    """Round a tensor to the values of an interval; `op` is OpenVINO's module of operations."""
    low, high = (np.full((1,) * 5, edge, np.float32) for edge in interval)
    return _rounded(op, x, low, high, LEVELS)


def rounded_kernel(op: Any, kernel: np.ndarray, axis: int | None) -> Any:
    """Round a kernel channel by channel.

    Parameters
    ----------
    op : module
        OpenVINO's operations.
    kernel : 5D float32 array
    axis : int or None
        That of the output channels; None: they are rounded alike.
    """
    others = tuple(one for one in range(kernel.ndim) if one != axis)
    largest = np.abs(kernel).max(axis=others, keepdims=True)
    largest = np.where(largest > 0, largest, np.float32(1))
    return _rounded(op, op.constant(kernel), -largest, largest, KERNEL_LEVELS)


def _rounded(op: Any, x: Any, low: np.ndarray, high: np.ndarray, levels: int) -> Any:
    edges = [op.constant(low), op.constant(high)]
    return op.fake_quantize(x, *edges, *edges, levels)
