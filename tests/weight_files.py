# SPDX-License-Identifier: Apache-2.0
"""Files of weights, as Keras 2 wrote them, for networks of a few numbers."""

import h5py
import numpy as np

from bids_brainmask.models.unet import Architecture

TINY = Architecture(encoder=((2, 3), (3, 4)), up=(4,), decoder=((3, 2),))


def random_weights(architecture, seed=0):
    """Give normally distributed weights of a network, by name."""
    rng = np.random.default_rng(seed)
    shapes = architecture.shapes()
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes}


def write_hdf5(path, arrays, *, whole=True, names=bytes):
    """Write weights as Keras 2 does: a whole model, or weights alone; names as bytes or str."""

    def listed(values):
        return np.array([value.encode() for value in values]) if names is bytes else list(values)

    layers = list(dict.fromkeys(name.split("/")[0] for name in arrays))
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = listed(["input_1", *layers, "activation"])
        for empty in ("input_1", "activation"):
            root.create_group(empty).attrs["weight_names"] = np.array([], dtype="S1")
        for layer in layers:
            own = [f"{layer}/{part}" for part in ("kernel", "bias") if f"{layer}/{part}" in arrays]
            group = root.create_group(layer)
            group.attrs["weight_names"] = listed([f"{name}:0" for name in own])
            for name in own:
                group[f"{name}:0"] = arrays[name]
        if whole:
            file.attrs["model_config"] = b"not even JSON: it is not looked at"
            file["optimizer_weights/training/Adam/iter:0"] = 7
