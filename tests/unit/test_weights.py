# SPDX-License-Identifier: Apache-2.0
"""Weights from files, good and damaged; the published layout against what Keras 2 answers."""

import io
import zipfile

import numpy as np
import pytest
from weight_files import TINY, random_weights, write_hdf5

from bids_brainmask.errors import ModelError
from bids_brainmask.models import weights
from bids_brainmask.models.unet import COMPACT, SEED, Architecture

# TensorFlow's variables, which Keras turns into arrays when it saves, are behind NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEMMED = Architecture(encoder=((2,), (3,)), up=(3,), decoder=((2,),), stem=2)


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


# HDF5, as Keras 2 leaves it


@pytest.mark.parametrize("architecture", [TINY, STEMMED], ids=["plain", "stem"])
@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
@pytest.mark.parametrize("names", [bytes, str])
def test_hdf5_round_trip(tmp_path, architecture, whole, names):
    expected = random_weights(architecture)
    write_hdf5(tmp_path / "w.h5", expected, whole=whole, names=names)
    assert_same(weights.read(tmp_path / "w.h5", architecture), expected)


def test_layers_are_taken_in_the_listed_order_not_by_name(tmp_path):
    expected = random_weights(TINY)
    order = dict.fromkeys(name.split("/")[0] for name in expected)
    renamed = {layer: f"layer_{len(order) - n}" for n, layer in enumerate(order)}  # z to a
    arrays = {
        f"{renamed[name.split('/')[0]]}/{name.split('/')[1]}": array
        for name, array in expected.items()
    }
    write_hdf5(tmp_path / "w.h5", arrays)
    assert_same(weights.read(tmp_path / "w.h5", TINY), expected)


def test_hdf5_of_this_keras(tmp_path):
    expected = random_weights(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda *args: None)  # that HDF5 is of the past
        weights.into_keras(TINY, expected).save(tmp_path / "w.h5")
    assert_same(weights.read(tmp_path / "w.h5", TINY), expected)


@pytest.mark.slow
def test_the_published_layout_answers_as_keras_2_did(shared):
    folder = shared / "reference_models"
    found = weights.read(folder / "unet_128iso_tf20.h5", SEED)
    assert sum(array.size for array in found.values()) == 4768289
    with np.load(folder / "unet_128iso_tf20_io.npz") as io_:
        x, expected = io_["x"].astype(np.float32), io_["y"].squeeze()
    logits = np.asarray(weights.into_keras(SEED, found)(x[None, ..., None], training=False))
    answer = 1 / (1 + np.exp(-logits[0, ::4, ::4, ::4, 0].astype(np.float64)))
    assert np.ptp(expected) > 0.01  # it is not a constant that they agree on
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)


def test_hdf5_of_another_network(tmp_path):
    write_hdf5(tmp_path / "w.h5", random_weights(TINY))
    with pytest.raises(
        ModelError,
        match=r"w.h5: layer encoder_0_0, encoder_0_0/kernel:0 as stem/kernel: found shape "
        r"\(3, 3, 3, 1, 2\), expected \(2, 2, 2, 1, 2\)",
    ):
        weights.read(tmp_path / "w.h5", STEMMED)


def test_hdf5_with_too_few_and_too_many(tmp_path):
    arrays = random_weights(TINY)
    write_hdf5(tmp_path / "w.h5", {**arrays, "more/kernel": np.ones(3, np.float32)})
    with pytest.raises(ModelError, match=r"found 17 kernels .* 16; the last is in layer more"):
        weights.read(tmp_path / "w.h5", TINY)
    write_hdf5(tmp_path / "w.h5", dict(list(arrays.items())[:-2]))
    with pytest.raises(ModelError, match=r"found 14 kernels .* 16; the last is in layer decoder_"):
        weights.read(tmp_path / "w.h5", TINY)
    write_hdf5(tmp_path / "w.h5", {})
    with pytest.raises(ModelError, match=r"w.h5: found 0 kernels and biases, expected 16$"):
        weights.read(tmp_path / "w.h5", TINY)


def test_hdf5_without_a_list_of_layers(tmp_path):
    weights.into_keras(TINY, random_weights(TINY)).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ModelError, match=r"w.h5: found no list of layers.*Save the model as .ker"):
        weights.read((tmp_path / "w.weights.h5").rename(tmp_path / "w.h5"), TINY)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite(tmp_path, value):
    arrays = random_weights(TINY)
    arrays["up_0/bias"] = np.full(4, value)
    write_hdf5(tmp_path / "w.h5", arrays)
    np.savez(tmp_path / "w.npz", **arrays)
    for name in ("w.h5", "w.npz"):
        with pytest.raises(ModelError, match=r"up_0/bias.*found NaN or infinity"):
            weights.read(tmp_path / name, TINY)


@pytest.mark.parametrize("kind", ["i4", "c8", "S4"])
def test_weights_that_are_not_floating_point(tmp_path, kind):
    arrays = random_weights(TINY)
    arrays["up_0/bias"] = np.zeros(4, kind)
    write_hdf5(tmp_path / "w.h5", arrays)
    np.savez(tmp_path / "w.npz", **arrays)
    for name in ("w.h5", "w.npz"):
        with pytest.raises(ModelError, match=r"up_0/bias.*found type .* expected floating point"):
            weights.read(tmp_path / name, TINY)


# npz, as we leave it


def test_npz_in_half_precision(tmp_path):
    expected = {name: a.astype(np.float16) for name, a in random_weights(COMPACT).items()}
    np.savez_compressed(tmp_path / "w.npz", **expected)
    found = weights.read(tmp_path / "w.npz", COMPACT)
    assert_same(found, {name: array.astype(np.float32) for name, array in expected.items()})


def test_npz_of_another_network(tmp_path):
    np.savez(tmp_path / "w.npz", **random_weights(TINY))
    with pytest.raises(ModelError, match=r"another network: missing stem/bias.* expected decoder"):
        weights.read(tmp_path / "w.npz", STEMMED)
    with pytest.raises(
        ModelError, match=r"missing decoder_1_0/bias, .*, \.\.\., not expected none"
    ):
        weights.read(tmp_path / "w.npz", SEED)
    other = Architecture(encoder=((2, 3), (3, 5)), up=(4,), decoder=((3, 2),))
    with pytest.raises(ModelError, match=r"w.npz: encoder_1_1/kernel: found shape .*expected"):
        weights.read(tmp_path / "w.npz", other)


# Damage


def whole_file(folder, suffix):
    path = folder / f"whole{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, **random_weights(TINY))
    else:
        write_hdf5(path, random_weights(TINY))
    return path.read_bytes()


def bare_array():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", bare_array()]
)
def test_a_file_of_another_kind(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"w{suffix}: cannot be read as a .*Fetch it again"):
        weights.read(path, TINY)


def test_an_absent_file(tmp_path):
    with pytest.raises(ModelError, match=r"w.h5: cannot be read as a Keras HDF5 file"):
        weights.read(tmp_path / "w.h5", TINY)
    with pytest.raises(ModelError, match=r"w.npz: cannot be read as a NumPy .npz file"):
        weights.read(tmp_path / "w.npz", TINY)


def test_a_pickle_is_not_opened(tmp_path):
    arrays = {**random_weights(TINY), "up_0/bias": np.array([print] * 4, object)}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(ModelError, match="Object arrays cannot be loaded"):
        weights.read(tmp_path / "w.npz", TINY)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_damage_is_told_as_such_wherever_it_is(tmp_path, suffix):
    whole, path = whole_file(tmp_path, suffix), tmp_path / f"w{suffix}"
    rng = np.random.default_rng(5)
    for _ in range(100):
        content = bytearray(whole)
        if rng.random() < 0.5:
            content = content[: rng.integers(len(content))]
        else:
            for place in rng.integers(len(content), size=20):
                content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            found = weights.read(path, TINY)  # damage to the numbers of HDF5 cannot be seen here
        except ModelError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right
        else:
            assert {name: array.shape for name, array in found.items()} == dict(TINY.shapes())


# Keras


@pytest.mark.parametrize("architecture", [TINY, STEMMED], ids=["plain", "stem"])
def test_into_keras_puts_every_weight_in_its_place(architecture):
    expected = random_weights(architecture)
    model = weights.into_keras(architecture, expected)
    found = {w.path: np.asarray(w) for w in model.weights}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def functional(*layers, shape=(None, None, None, 1)):
    import keras

    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def conv(filters=1, **options):
    import keras

    return keras.layers.Conv3D(filters, 1, **options)


def test_a_keras_file_answers_as_before(tmp_path):
    model = weights.into_keras(TINY, random_weights(TINY))
    model.save(tmp_path / "m.keras")
    loaded = weights.load_keras(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert not weights.ends_in_sigmoid(loaded)


def test_a_loss_of_the_users_does_not_matter(tmp_path):
    def my_loss(expected, found):
        return (found - expected) ** 2

    model = functional(conv())
    model.compile("sgd", my_loss)
    model.save(tmp_path / "m.keras")
    assert weights.load_keras(tmp_path / "m.keras").output_shape == (None, None, None, None, 1)


def test_a_lambda_layer_is_refused(tmp_path):
    import keras

    functional(keras.layers.Lambda(lambda x: x + 1)).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"m.keras: contains code .*Lambda.*never run"):
        weights.load_keras(tmp_path / "m.keras")


def test_custom_layers_and_functions_are_refused(tmp_path):
    import keras

    class Mine(keras.layers.Layer):
        def call(self, x):
            return x

    def my_activation(x):
        return x

    functional(Mine()).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"contains code .*test_weights.*Mine"):
        weights.load_keras(tmp_path / "m.keras")
    functional(conv(activation=my_activation)).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"contains code .builtins.function"):
        weights.load_keras(tmp_path / "m.keras")


def test_a_keras_file_that_is_none(tmp_path):
    path = tmp_path / "m.keras"
    with pytest.raises(ModelError, match=r"m.keras: cannot be read as a .keras file"):
        weights.load_keras(path)
    write_hdf5(path, random_weights(TINY))
    with pytest.raises(ModelError, match=r"m.keras: cannot be read as a .keras file: File is not"):
        weights.load_keras(path)
    with pytest.raises(ModelError, match=r"m.h5: cannot be read as a .* the suffix is '.h5'"):
        weights.load_keras(path.rename(tmp_path / "m.h5"))


def test_a_keras_file_without_weights(tmp_path):
    functional(conv()).save(tmp_path / "whole.keras")
    with (
        zipfile.ZipFile(tmp_path / "whole.keras") as whole,
        zipfile.ZipFile(tmp_path / "m.keras", "w") as part,
    ):
        part.writestr("config.json", whole.read("config.json"))
        part.writestr("metadata.json", whole.read("metadata.json"))
    with pytest.raises(ModelError, match=r"m.keras: Keras cannot load it"):
        weights.load_keras(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("filters", "shape", "message"),
    [
        (1, (None, None, 1), r"its input has shape \(None, None, None, 1\), expected"),
        (1, (None, None, None, 2), r"its input has shape \(None, None, None, None, 2\)"),
        (1, (64, 64, 64, 1), r"its input has shape .*None or 128"),
        (3, (None, None, None, 1), r"its output has shape \(None, None, None, None, 3\)"),
    ],
)
def test_a_model_of_another_shape(tmp_path, filters, shape, message):
    import keras

    layer = keras.layers.Conv2D if len(shape) == 3 else keras.layers.Conv3D
    functional(layer(filters, 1), shape=shape).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=message):
        weights.load_keras(tmp_path / "m.keras")


def test_a_model_of_two_inputs(tmp_path):
    import keras

    pair = [keras.Input((None, None, None, 1)) for _ in range(2)]
    keras.Model(pair, keras.layers.Add()(pair)).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"its input has shape .*one image as input and one map"):
        weights.load_keras(tmp_path / "m.keras")


def test_a_model_of_fixed_blocks(tmp_path):
    functional(conv(), shape=(16, 16, 16, 1)).save(tmp_path / "m.keras")
    assert weights.load_keras(tmp_path / "m.keras", block=16).input_shape == (None, 16, 16, 16, 1)


def test_ends_in_sigmoid():
    import keras
    from keras import layers

    yes = [
        functional(conv(), layers.Activation("sigmoid")),
        functional(conv(activation="sigmoid")),
        functional(conv(), keras.ops.sigmoid),
        functional(functional(conv(activation="sigmoid"))),
        keras.Sequential([conv(), layers.Activation("sigmoid")]),
    ]
    no = [
        functional(conv()),
        functional(conv(activation="relu")),
        functional(conv(activation="sigmoid"), conv()),
        functional(layers.Activation("sigmoid"), functional(conv())),
        keras.Sequential([conv(activation="sigmoid"), conv()]),
    ]
    assert [weights.ends_in_sigmoid(model) for model in yes + no] == [True] * 5 + [False] * 5
