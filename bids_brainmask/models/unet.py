# SPDX-License-Identifier: Apache-2.0
"""The 3D U-Nets: their architecture as a value, and that value as a Keras model.

Importing this module is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Filters of a 3D U-Net of 3x3x3 convolutions with ReLU.

    Both backends build a network from this value: the Keras model here, and the OpenVINO graph in
    `bids_brainmask.models.graph`.
    """

    encoder: tuple[tuple[int, ...], ...]
    """Filters of the convolutions at each level, the finest first; 2x2x2 max pooling between."""

    up: tuple[int, ...]
    """Filters of the 2x2x2 stride-2 transposed convolutions, the coarsest first."""

    decoder: tuple[tuple[int, ...], ...]
    """Filters of the convolutions after each transposed one; their input is its output and the
    encoder's, concatenated."""

    stem: int = 0
    """Filters of a 2x2x2 stride-2 convolution in front; a transposed one then ends the network.
    0: the network works on the voxels of its input, and ends in a 1x1x1 convolution."""

    def __post_init__(self) -> None:
        if not len(self.encoder) - 1 == len(self.up) == len(self.decoder):
            raise ValueError(
                f"an encoder of {len(self.encoder)} levels needs {len(self.encoder) - 1} "
                f"transposed convolutions and decoder levels; found {len(self.up)} and "
                f"{len(self.decoder)}"
            )

    @property
    def divisor(self) -> int:
        """Every axis of an input must divide by this."""
        return 2 ** (len(self.encoder) - 1 + bool(self.stem))

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of each kernel and bias, in the order in which they are applied.

        Kernels are laid out as Keras has them: ``(3, 3, 3, inputs, filters)`` for a convolution,
        ``(2, 2, 2, filters, inputs)`` for a transposed one.
        """
        found: list[tuple[str, tuple[int, ...]]] = []

        def conv(
            name: str, size: int, inputs: int, filters: int, *, transposed: bool = False
        ) -> int:
            channels = (filters, inputs) if transposed else (inputs, filters)
            found.append((f"{name}/kernel", (size,) * 3 + channels))
            found.append((f"{name}/bias", (filters,)))
            return filters

        width = conv("stem", 2, 1, self.stem) if self.stem else 1
        skips = []
        for level, block in enumerate(self.encoder):
            for index, filters in enumerate(block):
                width = conv(f"encoder_{level}_{index}", 3, width, filters)
            skips.append(width)
        for level, (up, block) in enumerate(zip(self.up, self.decoder, strict=True)):
            width = conv(f"up_{level}", 2, width, up, transposed=True) + skips[-2 - level]
            for index, filters in enumerate(block):
                width = conv(f"decoder_{level}_{index}", 3, width, filters)
        conv("logits", 2 if self.stem else 1, width, 1, transposed=bool(self.stem))
        return found


SEED = Architecture(
    encoder=((16, 32), (32, 64), (64, 128), (128, 256)),
    up=(256, 128, 64),
    decoder=((128, 128), (64, 64), (32, 32)),
)
"""The U-Net of the Nobrainer models `brainy` and `ams` (4,768,289 parameters), after Cicek et al.
2016, "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation"."""

COMPACT = Architecture(
    encoder=((16, 16), (32, 32), (64, 64), (64, 64), (64, 64)),
    up=(64, 64, 32, 16),
    decoder=((64, 64), (64, 64), (32, 32), (16, 16)),
    stem=8,
)
"""The embedded networks: input and output of 1 mm, levels of 2 mm and more."""


@dataclass(frozen=True)
class NamedArchitecture:
    """An architecture that the registry and training configurations name."""

    name: str
    architecture: Architecture | None
    """None: the file of the model describes it."""

    cited: tuple[str, ...] = ()
    """Keys of its references in ``references.bib``."""


KERAS = "keras"
"""Name of the architecture that a file of Keras describes itself."""

ARCHITECTURES: tuple[NamedArchitecture, ...] = (
    NamedArchitecture("seed", SEED, ("cicek2016", "nobrainer")),
    NamedArchitecture("compact", COMPACT, ("cicek2016",)),
    NamedArchitecture(KERAS, None),
)
"""One row each; the checks of the registry and of configurations follow from them."""


def names() -> tuple[str, ...]:
    """Names of the architectures."""
    return tuple(row.name for row in ARCHITECTURES)


def named(name: str) -> NamedArchitecture:
    """Find the row of an architecture."""
    return next(row for row in ARCHITECTURES if row.name == name)


def unet3d(architecture: Architecture, *, normalize: bool = False) -> keras.Model:
    """Build the network in Keras.

    Parameters
    ----------
    architecture : Architecture
        Its filters.
    normalize : bool
        Put a batch normalization after each 3x3x3 convolution, for training;
        `fold_normalization` folds its weights into those of the convolutions.

    Returns
    -------
    keras.Model
        Logits (N, I, J, K, 1) from (N, I, J, K, 1); I, J and K divide by `architecture.divisor`.
    """
    import keras
    from keras import layers

    def block(x: keras.KerasTensor, name: str, widths: Sequence[int]) -> keras.KerasTensor:
        for index, width in enumerate(widths):
            x = layers.Conv3D(width, 3, padding="same", name=f"{name}_{index}")(x)
            if normalize:
                x = layers.BatchNormalization(momentum=0.98, name=f"{name}_{index}_norm")(x)
            x = layers.ReLU(name=f"{name}_{index}_relu")(x)
        return x

    inputs = x = keras.Input((None, None, None, 1), name="image")
    if architecture.stem:
        x = layers.Conv3D(architecture.stem, 2, strides=2, name="stem")(x)
    skips = []
    for level, widths in enumerate(architecture.encoder):
        if level:
            x = layers.MaxPooling3D(2, name=f"pool_{level}")(x)
        skips.append(x := block(x, f"encoder_{level}", widths))
    for level, (up, widths) in enumerate(zip(architecture.up, architecture.decoder, strict=True)):
        x = layers.Conv3DTranspose(up, 2, strides=2, name=f"up_{level}")(x)
        x = layers.Concatenate(name=f"join_{level}")([skips[-2 - level], x])
        x = block(x, f"decoder_{level}", widths)
    last = (
        layers.Conv3DTranspose(1, 2, strides=2, dtype="float32", name="logits")
        if architecture.stem
        else layers.Conv3D(1, 1, dtype="float32", name="logits")
    )
    return keras.Model(inputs, last(x), name="unet3d")


def fold_normalization(model: keras.Model, architecture: Architecture) -> dict[str, np.ndarray]:
    """Fold batch normalization into the convolutions; the network computes the same without it.

    Parameters
    ----------
    model : keras.Model
        From `unet3d`, with or without normalization.
    architecture : Architecture
        The one it was built from.

    Returns
    -------
    dict of str to float32 array
        By the names, in the order and of the shapes of ``architecture.shapes()``.
    """
    import numpy as np

    layers = {layer.name: layer for layer in model.layers}
    weights: dict[str, np.ndarray] = {}
    for key, _ in architecture.shapes():
        name, part = key.split("/")
        if part == "bias":
            continue
        kernel, bias = (np.asarray(value) for value in layers[name].get_weights())
        norm = layers.get(f"{name}_norm")
        if norm is not None:
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            kernel, bias = kernel * scale, (bias - mean) * scale + beta
        weights[f"{name}/kernel"] = kernel.astype(np.float32)
        weights[f"{name}/bias"] = bias.astype(np.float32)
    return weights
