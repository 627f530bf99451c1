# SPDX-License-Identifier: Apache-2.0
"""Read weights: published Keras 2 files, files of this package, and whole Keras models.

`read` takes arrays of numbers for a network that this package builds, and ignores the rest of the
file, such as the state of an optimizer. Only `load_keras` builds the network that a file
describes. Both refuse a file that contains code.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brainmask.errors import ModelError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from bids_brainmask.models.unet import Architecture

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that NumPy and h5py raise on damaged files."""

CODE = frozenset(
    {
        *("Lambda", "__lambda__", "function", "__typespec__"),
        *("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"),
        *("IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization"),
    }
)
"""Keras classes whose configuration contains or names code outside Keras, or names files."""

PARTS = re.compile(
    r"builtins|keras|keras(\.src)?\.(activations|constraints|dtype_policies|initializers|layers"
    r"|models|ops|quantizers|regularizers)(\.\w+)*"
)
"""Keras modules that networks are made of; other modules fetch, read, write or configure."""

LARGEST_DESCRIPTION, LARGEST_KERAS = 2**24, 2**32
"""Largest sizes in bytes: of a model's configuration, and of an unpacked ``.keras`` file."""

LONGEST_HEADER, LARGEST_NUMBER = 2**14, 16
"""Largest sizes in bytes: of the header of an array in a ``.npz`` file, and of one number."""


def read(path: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """Read the weights of a network.

    Parameters
    ----------
    path : Path
        ``.npz``: arrays with exactly the names of ``architecture.shapes()``. Otherwise HDF5, as
        Keras 2 saves a model or its weights: kernels and biases are taken in the order of its
        layers, which is the order of application.
    architecture : Architecture
        Network that the weights must fit.

    Returns
    -------
    dict of str to float32 array
        By the names, in the order and of the shapes of ``architecture.shapes()``.

    Raises
    ------
    ModelError
        The file cannot be read, does not fit, or holds NaN or infinity.
    """
    reader = _read_npz if path.suffix.lower() == ".npz" else _read_hdf5
    try:
        return reader(path, architecture)
    except UNREADABLE as error:
        kind = "NumPy .npz" if reader is _read_npz else "Keras HDF5"
        raise ModelError(
            f"{path}: cannot be read as a {kind} file of weights ({type(error).__name__}: "
            f"{error}). Fetch it again, or check that it is one."
        ) from error


def _read_npz(path: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """Read arrays of a ``.npz`` file by their names."""
    import numpy as np

    wanted = dict(architecture.shapes())
    with zipfile.ZipFile(path) as archive:  # np.load would also accept a bare array or a pickle
        sizes = {one.filename.removesuffix(".npy"): one.file_size for one in archive.infolist()}
    with np.load(path, allow_pickle=False) as stored:
        missing, unknown = wanted.keys() - set(stored.files), set(stored.files) - wanted.keys()
        if missing or unknown:
            raise ModelError(
                f"{path}: found weights of another network: missing {_some(missing)}, "
                f"not expected {_some(unknown)}"
            )
        for name, shape in wanted.items():
            most = LONGEST_HEADER + LARGEST_NUMBER * math.prod(shape)
            if sizes[name] > most:  # checked before unpacking
                raise ModelError(f"{path}: {name}: {sizes[name]} bytes, expected at most {most}")
        return {
            name: _checked(f"{path}: {name}", stored[name], shape)
            for name, shape in wanted.items()
        }


def _read_hdf5(path: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """Read arrays of an HDF5 file in the order of its layers."""
    import h5py

    wanted = architecture.shapes()
    with h5py.File(path, "r") as file:
        _refuse_layers(path, file)
        stored = list(_stored(path, file))
        weights = {
            name: _checked(f"{path}: layer {layer}, {weight} as {name}", dataset, shape)
            for (name, shape), (layer, weight, dataset) in zip(wanted, stored, strict=False)
        }
    if len(stored) != len(wanted):
        last = f"; the last is in layer {stored[-1][0]}" if stored else ""
        raise ModelError(
            f"{path}: found {len(stored)} kernels and biases, expected {len(wanted)}{last}"
        )
    return weights


def _stored(path: Path, file: Any) -> Iterator[tuple[str, str, Any]]:
    """Layer, name and dataset of each array of weights, in the order of the file."""
    root = file.get("model_weights", file)
    if "layer_names" not in root.attrs:
        raise ModelError(
            f"{path}: found no list of layers (layer_names), expected a model or weights as "
            "Keras 2 saves them in HDF5. Save the model as .keras instead."
        )
    for layer in map(_text, root.attrs["layer_names"]):
        for weight in map(_text, root[layer].attrs["weight_names"]):
            dataset = root[layer][weight]
            elsewhere = dataset.external or dataset.is_virtual
            if elsewhere or dataset.file.filename != file.filename:
                raise ModelError(
                    f"{path}: layer {layer}: {weight} is in another file, which is not verified"
                )
            yield layer, weight, dataset


def _refuse_layers(path: Path, file: Any) -> None:
    """Raise if a Keras 2 model has layers that contain code: without them it is another model."""
    try:
        config = json.loads(_text(file.attrs.get("model_config", "null")))
    except ValueError:
        return  # no configuration that could be built
    for item in _objects(config):
        if item["class_name"] in CODE:
            raise _code_error(path, item["class_name"])


def _checked(where: str, stored: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Convert a stored array to float32; raise unless it has the shape and is finite."""
    import numpy as np

    if tuple(stored.shape) != shape:
        raise ModelError(f"{where}: found shape {tuple(stored.shape)}, expected {shape}")
    if stored.dtype.kind != "f":
        raise ModelError(f"{where}: found type {stored.dtype}, expected floating point")
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which is an error below
        array = np.asarray(stored[()]).astype(np.float32)
    if not np.isfinite(array).all():
        raise ModelError(f"{where}: found NaN or infinity, expected finite weights. Train again.")
    return array


def _text(name: bytes | str) -> str:
    """Decode an HDF5 string; Keras has written two kinds."""
    return name.decode() if isinstance(name, bytes) else str(name)


def _some(names: set[str]) -> str:
    """First three of some names."""
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "") or "none"


def into_keras(architecture: Architecture, weights: dict[str, np.ndarray]) -> keras.Model:
    """Build the network in Keras, with its weights.

    Parameters
    ----------
    architecture : Architecture
    weights : dict of str to float32 array
        As `read` gives them.

    Returns
    -------
    keras.Model
        Logits (N, I, J, K, 1) from (N, I, J, K, 1).
    """
    from bids_brainmask.models.unet import unet3d

    model = unet3d(architecture)
    for name in dict.fromkeys(key.split("/")[0] for key, _ in architecture.shapes()):
        model.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    return model


def load_keras(path: Path, block: int = 128) -> keras.Model:
    """Load a user's Keras model.

    Parameters
    ----------
    path : Path
        A ``.keras`` file.
    block : int
        Side of its input cubes, in voxels.

    Returns
    -------
    keras.Model
        From (N, I, J, K, 1) to (N, I, J, K, 1): probabilities if `ends_in_sigmoid`, else logits.

    Raises
    ------
    ModelError
        The file is not a ``.keras`` file, is damaged, contains code (Lambda layers, custom layers
        or functions), or has another input or output shape.
    """
    _refuse_code(path)
    import keras

    try:
        model = keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # an unknown file may fail anywhere in Keras
        raise ModelError(f"{path}: Keras cannot load it: {error}") from error
    for side in ("input", "output"):
        found = getattr(model, f"{side}_shape", None)
        if not _allows(found, block):
            raise ModelError(
                f"{path}: its {side} has shape {found}, expected (None, I, J, K, 1) with I, J, K "
                f"None or {block}. Save a model with one image as input and one map as output."
            )
    return model


def _refuse_code(path: Path) -> None:
    """Raise unless the configuration in a ``.keras`` file names Keras's own classes only."""
    try:
        if path.suffix != ".keras":
            raise ValueError(f"the suffix is {path.suffix!r}")
        with zipfile.ZipFile(path) as archive:
            _refuse_large(archive)
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)  # of training; not used
        for item in _objects(config):
            name, module = item["class_name"], item.get("module") or "builtins"
            if name in CODE or not PARTS.fullmatch(str(module)):
                raise _code_error(path, f"{module}.{name}")
    except (*UNREADABLE, NotImplementedError) as error:
        raise ModelError(f"{path}: cannot be read as a .keras file: {error}") from error


def _code_error(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path}: contains code ({what}), which is never run. Rebuild the model from Keras's "
        "layers and save it again."
    )


def _refuse_large(archive: zipfile.ZipFile) -> None:
    """Raise if an archive unpacks to more bytes than any model has."""
    sizes = {one.filename: one.file_size for one in archive.infolist()}
    if sizes.get("config.json", 0) > LARGEST_DESCRIPTION or sum(sizes.values()) > LARGEST_KERAS:
        raise ValueError(
            f"{sum(sizes.values())} bytes when unpacked; expected at most {LARGEST_KERAS}"
        )


def _objects(config: Any) -> Iterator[dict]:
    """Every object in a model's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _objects(value)


def _allows(shape: Any, block: int) -> bool:
    """Whether a Keras shape allows cubes of `block` voxels with one channel."""
    return (
        isinstance(shape, tuple)
        and len(shape) == 5
        and shape[-1] == 1
        and all(size in (None, block) for size in shape[1:4])
    )


def ends_in_sigmoid(model: keras.Model) -> bool:
    """Whether a Keras model returns probabilities.

    True if its last layer is a sigmoid or has one as its activation. Any other model is taken to
    return logits, like `unet.unet3d`.
    """
    import keras

    last = getattr(model, "operations", None) or model.layers
    while isinstance(last[-1], keras.Model):
        last = last[-1].layers
    activation = getattr(last[-1], "activation", last[-1])
    return activation is keras.activations.sigmoid or type(activation).__name__ == "Sigmoid"
