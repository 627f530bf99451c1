# SPDX-License-Identifier: Apache-2.0
"""A network of the package as a graph of OpenVINO's operations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_brainmask.models import int8
from bids_brainmask.models.unet import Architecture

if TYPE_CHECKING:
    import openvino

Weights = dict[str, np.ndarray]


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which reports every import to a server.

    OpenVINO works without the package that sends the reports.

    Raises
    ------
    ImportError
        OpenVINO is not installed, or not for this processor.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # makes its import an ImportError
    import openvino

    return openvino


def openvino_graph(
    architecture: Architecture, arrays: Weights, intervals: int8.Intervals | None = None
) -> openvino.Model:
    """Build the network from OpenVINO's operations.

    Parameters
    ----------
    architecture : Architecture
    arrays : dict of str to float32 array
        Kernels in the layout of Keras; OpenVINO has channels first.
    intervals : mapping of str to (float, float), optional
        Of the activations, as `int8.read` gives them: activations and kernels are then rounded to
        8 bits.

    Returns
    -------
    openvino.Model
        Probabilities (1, 1, I, J, K) from (1, 1, I, J, K).
    """
    ov = import_openvino()
    op = ov.opset13

    def bias(x: openvino.Output, name: str) -> openvino.Output:
        return op.add(x, op.constant(arrays[f"{name}/bias"].reshape(1, -1, 1, 1, 1)))

    def activation(x: openvino.Node, name: str) -> openvino.Node:
        x.set_friendly_name(name)  # for those who look at what a layer returns
        return int8.rounded_activation(op, x, intervals[name]) if intervals else x

    def kernel(name: str, outputs: int) -> openvino.Node:
        array = np.ascontiguousarray(arrays[f"{name}/kernel"].transpose(4, 3, 0, 1, 2))
        return int8.rounded_kernel(op, array, outputs) if intervals else op.constant(array)

    def conv(x: openvino.Output, name: str, stride: int = 1) -> openvino.Output:
        pad = [1 if len(arrays[f"{name}/kernel"]) == 3 else 0] * 3
        return bias(op.convolution(x, kernel(name, 0), [stride] * 3, pad, pad, [1] * 3), name)

    def transposed(x: openvino.Output, name: str) -> openvino.Output:
        return bias(op.convolution_backprop_data(x, kernel(name, 1), [2] * 3), name)

    def to_voxels(x: openvino.Output, name: str) -> openvino.Output:
        # Its 2x2x2 voxels are the eight channels of a convolution of 1x1x1: the same sums, faster.
        array = arrays[f"{name}/kernel"].reshape(8, -1, 1, 1, 1)
        each = int8.rounded_kernel(op, array, None) if intervals else op.constant(array)
        sums = bias(op.convolution(x, each, [1] * 3, [0] * 3, [0] * 3, [1] * 3), name)
        return op.depth_to_space(sums, "blocks_first", 2)

    def block(x: openvino.Output, name: str, widths: Sequence[int]) -> openvino.Output:
        for index in range(len(widths)):
            x = activation(op.relu(conv(x, f"{name}_{index}")), f"{name}_{index}")
        return x

    inputs = op.parameter([1, 1, -1, -1, -1], np.float32, name="image")
    x = activation(inputs, "image")
    if architecture.stem:
        x = activation(conv(x, "stem", stride=2), "stem")
    skips = []
    for level, widths in enumerate(architecture.encoder):
        if level:
            x = op.max_pool(x, [2] * 3, [1] * 3, [0] * 3, [0] * 3, [2] * 3).output(0)
        skips.append(x := block(x, f"encoder_{level}", widths))
    for level, widths in enumerate(architecture.decoder):
        up = activation(transposed(x, f"up_{level}"), f"up_{level}")
        x = op.concat([skips[-2 - level], up], axis=1)
        x = block(x, f"decoder_{level}", widths)
    logits = to_voxels(x, "logits") if architecture.stem else conv(x, "logits")
    return ov.Model([op.sigmoid(logits)], [inputs], "unet3d")
