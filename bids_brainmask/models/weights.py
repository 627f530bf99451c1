# SPDX-License-Identifier: Apache-2.0
"""Weights from files: the published Keras 2 ones, our own, and whole Keras models.

Weights are read as numbers and put into a network that this package builds. What else a file
holds (the state of an optimiser, say) is not looked at; only `load_keras`
builds what a file describes. Whatever would bring code with it is refused by both.
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
"""What NumPy and h5py have been seen to raise on a damaged file."""

CODE = frozenset(
    {
        *("Lambda", "__lambda__", "function", "__typespec__"),
        *("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"),
        *("IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization"),
    }
)
"""Keras classes whose description carries or names code outside Keras, or names files to read."""

PARTS = re.compile(
    r"builtins|keras|keras(\.src)?\.(activations|constraints|dtype_policies|initializers|layers"
    r"|models|ops|quantizers|regularizers)(\.\w+)*"
)
"""Modules of what networks are made of. The rest of Keras fetches, reads, writes, configures."""

LARGEST_DESCRIPTION, LARGEST_KERAS = 2**24, 2**32
"""Bytes of a model's description, and of all that a ``.keras`` file unpacks to."""

LONGEST_HEADER, LARGEST_NUMBER = 2**14, 16
"""Bytes before the numbers in an array of a ``.npz`` file, and of one number."""


def read(path: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """Read the weights of a network.

    Parameters
    ----------
    path : Path
        ``.npz``: arrays by the names of ``architecture.shapes()``, no more and no fewer. Else
        HDF5, as Keras 2 saves a model or its weights: kernels and biases are taken in the order
        of its layers, which for a network without branches of its own is that of application.
    architecture : Architecture
        What they must fit.

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
    """Read arrays by their names."""
    import numpy as np

    wanted = dict(architecture.shapes())
    with zipfile.ZipFile(path) as archive:  # np.load would take a bare array or a pickle, too
        sizes = {one.filename.removesuffix(".npy"): one.file_size for one in archive.infolist()}
    with np.load(path, allow_pickle=False) as stored:
        missing, unknown = wanted.keys() - set(stored.files), set(stored.files) - wanted.keys()
        if missing or unknown:
            raise ModelError(
                f"{path}: holds weights of another network: missing {_some(missing)}, "
                f"not expected {_some(unknown)}"
            )
        for name, shape in wanted.items():
            most = LONGEST_HEADER + LARGEST_NUMBER * math.prod(shape)
            if sizes[name] > most:  # before it is unpacked
                raise ModelError(f"{path}: {name}: {sizes[name]} bytes, expected at most {most}")
        return {
            name: _checked(f"{path}: {name}", stored[name], shape)
            for name, shape in wanted.items()
        }


def _read_hdf5(path: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """Read arrays in the order of the layers they belong to."""
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
    """Layer, name and dataset of each array of weights, in the order the file gives."""
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
                raise ModelError(f"{path}: layer {layer}: {weight} is in another file, unverified")
            yield layer, weight, dataset


def _refuse_layers(path: Path, file: Any) -> None:
    """Raise if a Keras 2 model has layers of code, without which it is another model."""
    try:
        config = json.loads(_text(file.attrs.get("model_config", "null")))
    except ValueError:
        return  # nothing that anybody could build
    for item in _described(config):
        if item["class_name"] in CODE:
            raise _brings_code(path, item["class_name"])


def _checked(where: str, stored: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Array of finite float32 from a stored one, which must be of some shape."""
    import numpy as np

    if tuple(stored.shape) != shape:
        raise ModelError(f"{where}: found shape {tuple(stored.shape)}, expected {shape}")
    if stored.dtype.kind != "f":
        raise ModelError(f"{where}: found type {stored.dtype}, expected floating point")
    with np.errstate(over="ignore"):  # becomes infinite, and is told of below
        array = np.asarray(stored[()]).astype(np.float32)
    if not np.isfinite(array).all():
        raise ModelError(f"{where}: found NaN or infinity, expected finite weights. Train again.")
    return array


def _text(name: bytes | str) -> str:
    """HDF5 string, of either of the kinds that Keras has written."""
    return name.decode() if isinstance(name, bytes) else str(name)


def _some(names: set[str]) -> str:
    """First few of some names."""
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
    """Load a user's model.

    Parameters
    ----------
    path : Path
        A ``.keras`` file.
    block : int
        Side of the cubes it will be given, in voxels.

    Returns
    -------
    keras.Model
        From (N, I, J, K, 1) to (N, I, J, K, 1): probabilities if `ends_in_sigmoid`, else logits.

    Raises
    ------
    ModelError
        The file is no ``.keras`` file or is damaged, brings code of its own (Lambda layers,
        custom layers or functions), or takes or gives another shape.
    """
    _refuse_code(path)
    import keras

    try:
        model = keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # a file from elsewhere may fail anywhere in Keras
        raise ModelError(f"{path}: Keras cannot load it: {error}") from error
    for side in ("input", "output"):
        found = getattr(model, f"{side}_shape", None)
        if not _takes(found, block):
            raise ModelError(
                f"{path}: its {side} has shape {found}, expected (None, I, J, K, 1) with I, J, K "
                f"None or {block}. Save a model of one image in and one map out."
            )
    return model


def _refuse_code(path: Path) -> None:
    """Raise unless a ``.keras`` file describes nothing but what networks are made of in Keras."""
    try:
        if path.suffix != ".keras":
            raise ValueError(f"the suffix is {path.suffix!r}")
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive)
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)  # of training, which is not looked at
        for item in _described(config):
            name, module = item["class_name"], item.get("module") or "builtins"
            if name in CODE or not PARTS.fullmatch(str(module)):
                raise _brings_code(path, f"{module}.{name}")
    except (*UNREADABLE, NotImplementedError) as error:
        raise ModelError(f"{path}: cannot be read as a .keras file: {error}") from error


def _brings_code(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path}: brings code of its own ({what}), which is not run. Rebuild the model from "
        "Keras's layers, and save it again."
    )


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    """Raise if an archive would unpack to more than any model has."""
    sizes = {one.filename: one.file_size for one in archive.infolist()}
    if sizes.get("config.json", 0) > LARGEST_DESCRIPTION or sum(sizes.values()) > LARGEST_KERAS:
        raise ValueError(f"{sum(sizes.values())} bytes when unpacked, more than any model has")


def _described(config: Any) -> Iterator[dict]:
    """Every description of an object in a model's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _described(value)


def _takes(shape: Any, block: int) -> bool:
    """Tell whether a Keras shape is one of cubes of `block` voxels with one channel."""
    return (
        isinstance(shape, tuple)
        and len(shape) == 5
        and shape[-1] == 1
        and all(size in (None, block) for size in shape[1:4])
    )


def ends_in_sigmoid(model: keras.Model) -> bool:
    """Tell whether a Keras model gives probabilities by itself.

    Its last layer is looked at: a sigmoid layer, or one with a sigmoid as its activation. Any
    other ending is taken to give logits, as `unet.unet3d` does.
    """
    import keras

    last = getattr(model, "operations", None) or model.layers
    while isinstance(last[-1], keras.Model):
        last = last[-1].layers
    activation = getattr(last[-1], "activation", last[-1])
    return activation is keras.activations.sigmoid or type(activation).__name__ == "Sigmoid"
