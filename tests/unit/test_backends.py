# SPDX-License-Identifier: Apache-2.0
"""Two engines, one answer."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from bids_brainmask.errors import ModelError
from bids_brainmask.models import backends, registry, weights
from bids_brainmask.models.unet import COMPACT, SEED, Architecture, fold_normalization, unet3d

TINY = Architecture(encoder=((2, 3), (4,)), up=(3,), decoder=((2,),))
TINY_STEM = Architecture(encoder=((2, 3), (4,)), up=(3,), decoder=((2,),), stem=2)


pytestmark = pytest.mark.usefixtures("engines_anew")


def random_weights(architecture, seed=3):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 1 / np.sqrt(max(np.prod(shape[:-1]), 1)), shape).astype(np.float32)
        for name, shape in architecture.shapes()
    }


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [TINY, TINY_STEM, COMPACT, SEED])
def test_engines_agree(architecture):
    arrays = random_weights(architecture)
    block = np.random.default_rng(1).normal(size=(32, 64, 32)).astype(np.float32)
    openvino = backends.openvino_network(architecture, arrays, 1)
    tensorflow = backends.tensorflow_network(architecture, arrays, 1)
    found = openvino.run(block)
    assert found.shape == block.shape
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_allclose(found, tensorflow.run(block), atol=1e-4)
    assert openvino.engine.startswith("OpenVINO 20")
    assert tensorflow.engine.startswith("TensorFlow 2.")


@pytest.mark.slow
def test_the_shipped_network_agrees_on_both_engines():
    model = registry.models()["embedded"]
    block = np.random.default_rng(1).uniform(0, 1, (64, 64, 64)).astype(np.float32)
    found = [backends.load(model, name, 2).run(block) for name in ("openvino", "tensorflow")]
    np.testing.assert_allclose(*found, atol=1e-4)


@pytest.fixture
def bfloat16():
    """A processor that computes in it."""
    core = backends.import_openvino().Core()
    if "BF16" not in core.get_property("CPU", backends.CAPABILITIES):
        pytest.skip("this processor does not compute in bfloat16")


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize(
    "name", [name for name, model in registry.models().items() if not model.url]
)
def test_bfloat16_is_another_precision_of_the_same_answer(name):
    """Eight bits of precision: the same to some hundredths, and not by chance float32."""
    model = registry.models()[name]
    block = np.random.default_rng(1).uniform(0, 1, (64, 64, 64)).astype(np.float32)
    full, half = (
        backends.load(model, "openvino", 2, precision).run(block)
        for precision in ("float32", "bfloat16")
    )
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=0.06)
    assert not np.array_equal(half, full)


def test_a_processor_without_bfloat16_is_told_of(monkeypatch):
    monkeypatch.setattr(backends, "CAPABILITIES", "FULL_DEVICE_NAME")  # which names none
    with pytest.raises(ModelError, match=r"does not compute in bfloat16. Leave --precision out"):
        backends.load(registry.models()["embedded"], "openvino", 1, "bfloat16")


def test_tensorflow_is_not_asked_for_bfloat16(tmp_path):
    keras_model = user_model(tmp_path / "own.keras", sigmoid=True)
    for model, asked in ((registry.models()["embedded"], "tensorflow"), (keras_model, "auto")):
        with pytest.raises(ModelError, match="and only OpenVINO computes in this precision"):
            backends.load(model, asked, 1, "bfloat16")


@pytest.mark.slow
def test_openvino_agrees_with_keras_2_on_a_published_style_file(shared):
    folder = shared / "reference_models"
    arrays = weights.read(folder / "unet_128iso_tf20.h5", SEED)
    with np.load(folder / "unet_128iso_tf20_io.npz") as stored:
        x, y = stored["x"].astype(np.float32), stored["y"]
    found = backends.openvino_network(SEED, arrays, 2).run(x)
    np.testing.assert_allclose(found[::4, ::4, ::4], y.reshape(32, 32, 32), atol=1e-4)


def test_one_network_takes_several_shapes():
    network = backends.openvino_network(TINY, random_weights(TINY), 1)
    for shape in ((8, 8, 8), (16, 8, 12), (8, 8, 8)):
        assert network.run(np.zeros(shape, np.float32)).shape == shape
    assert network.divisor == 2


def test_the_answer_does_not_depend_on_blocks_of_other_shapes_before():
    """Also where the memory of a larger one is used again; an answer keeps memory of its own."""
    arrays, rng = random_weights(COMPACT), np.random.default_rng(2)
    many, answers = backends.openvino_network(COMPACT, arrays, 1), []
    for shape in ((64, 32, 32), (32, 96, 64), (64, 32, 32), (32, 32, 32)):
        block = rng.uniform(0, 1, shape).astype(np.float32)
        found = many.run(block)
        answers.append((found, backends.openvino_network(COMPACT, arrays, 1).run(block)))
    for found, alone in answers:
        np.testing.assert_array_equal(found, alone)


def test_a_network_is_compiled_for_few_shapes_at_a_time(monkeypatch):
    monkeypatch.setattr(backends, "MOST_SHAPES", 2)
    arrays, block = random_weights(TINY), np.ones((8, 8, 8), np.float32)
    network = backends.openvino_network(TINY, arrays, 1)
    first = network.run(block)
    for length in (10, 12, 14, 16):
        network.prepare((8, 8, length))
        assert network.run(np.zeros((8, 8, length), np.float32)).shape == (8, 8, length)
    np.testing.assert_array_equal(network.run(block), first)


def test_a_shape_that_cannot_be_compiled_is_an_error_each_time_and_for_itself_alone():
    network = backends.openvino_network(TINY, random_weights(TINY), 1)
    expected = network.run(np.ones((8, 8, 8), np.float32))
    errors = []
    for _ in range(2):
        network.prepare((8, 8, 9))  # 2 does not divide it; the error waits for the answer
        with pytest.raises(RuntimeError, match="Argument shapes are inconsistent") as error:
            network.run(np.ones((8, 8, 9), np.float32))
        errors.append(error.value)
    assert errors[0] is not errors[1]  # it was tried again
    np.testing.assert_array_equal(network.run(np.ones((8, 8, 8), np.float32)), expected)


def test_the_divisor_of_a_network_with_a_stem():
    assert backends.openvino_network(TINY_STEM, random_weights(TINY_STEM), 1).divisor == 4


@pytest.mark.parametrize("threads", [1, 2])
def test_the_answer_does_not_depend_on_threads(threads):
    block = np.random.default_rng(1).uniform(0, 1, (64, 64, 64)).astype(np.float32)
    reference = backends.openvino_network(COMPACT, random_weights(COMPACT), 1).run(block)
    found = backends.openvino_network(COMPACT, random_weights(COMPACT), threads).run(block)
    np.testing.assert_allclose(found, reference, atol=1e-6)


@pytest.mark.parametrize("architecture", [SEED, COMPACT, TINY, TINY_STEM])
def test_shapes_are_those_of_the_keras_model(architecture):
    found = [tuple(weight.shape) for weight in unet3d(architecture).weights]
    assert found == [shape for _, shape in architecture.shapes()]


def test_the_seeds_network_has_4768289_parameters():
    assert unet3d(SEED).count_params() == 4_768_289


def test_an_architecture_has_a_decoder_level_for_each_step_down():
    with pytest.raises(ValueError, match="an encoder of 2 levels needs 1 transposed"):
        Architecture(encoder=((1,), (1,)), up=(), decoder=())


def test_folding_the_normalisation_changes_nothing():
    rng = np.random.default_rng(0)
    model = unet3d(TINY_STEM, normalize=True)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            layer.set_weights([rng.uniform(0.5, 2, v.shape) for v in layer.get_weights()])
    folded = fold_normalization(model, TINY_STEM)
    block = rng.normal(size=(8, 8, 8)).astype(np.float32)
    expected = 1 / (1 + np.exp(-model(block[None, ..., None]).numpy()[0, ..., 0]))
    found = backends.openvino_network(TINY_STEM, folded, 1).run(block)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def user_model(path, *, sigmoid):
    import keras

    inputs = keras.Input((None, None, None, 1))
    activation = "sigmoid" if sigmoid else None
    outputs = keras.layers.Conv3D(1, 3, padding="same", activation=activation)(inputs)
    keras.Model(inputs, outputs).save(path)
    return registry.resolve(path)


def test_a_keras_model_of_the_users_gives_probabilities(tmp_path):
    block = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    model = user_model(tmp_path / "logits.keras", sigmoid=False)
    raw = weights.load_keras(model.path)(block[None, ..., None]).numpy()[0, ..., 0]
    found = backends.load(model, "auto", 1).run(block)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-raw)), atol=1e-6)
    model = user_model(tmp_path / "sigmoid.keras", sigmoid=True)
    raw = weights.load_keras(model.path)(block[None, ..., None]).numpy()[0, ..., 0]
    np.testing.assert_allclose(backends.load(model, "tensorflow", 1).run(block), raw, atol=1e-6)


def test_a_keras_model_does_not_run_in_openvino(tmp_path):
    model = user_model(tmp_path / "logits.keras", sigmoid=False)
    with pytest.raises(
        ModelError, match=r"a Keras model runs in TensorFlow only. Give --engine tensorflow"
    ):
        backends.load(model, "openvino", 1)


def test_a_model_that_changes_the_shape_is_refused():
    import keras

    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, keras.layers.MaxPooling3D()(inputs))
    with pytest.raises(
        ModelError, match=r"returns shape \(1, 4, 4, 4, 1\) for .*\(1, 8, 8, 8, 1\)"
    ):
        backends.keras_network(model, 1).run(np.zeros((8, 8, 8), np.float32))


def test_another_backend_of_keras_is_refused(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ModelError, match=r"Keras runs on torch.*Unset KERAS_BACKEND"):
        backends.keras_network(unet3d(TINY), 2)


def test_auto_is_openvino_without_a_gpu(monkeypatch):
    monkeypatch.setattr(backends, "gpu_present", lambda: False)
    assert backends.choose("auto") == "openvino"
    assert backends.choose("tensorflow") == "tensorflow"


def test_a_gpu_that_tensorflow_cannot_use_is_told_of(monkeypatch, caplog):
    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    assert backends.choose("auto") == "openvino"  # there is no GPU here
    assert len(caplog.records) == 1
    assert "TensorFlow cannot use it (it lists no GPU): running on the CPU" in caplog.text


def test_a_gpu_that_tensorflow_can_use_is_used(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["a GPU"])
    assert backends.choose("auto") == "tensorflow"


@pytest.mark.parametrize("asked", ["auto", "openvino"])
def test_without_openvino_tensorflow_runs(monkeypatch, caplog, asked):
    monkeypatch.setattr(backends, "gpu_present", lambda: False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        assert backends.choose(asked) == "tensorflow"
    assert "OpenVINO cannot be used (import of openvino halted" in caplog.text


@pytest.mark.parametrize(
    ("visible", "devices", "expected"),
    [
        (None, ["nvidia0"], True),
        ("0", ["nvidia0"], True),
        ("", ["nvidia0"], False),
        ("-1", ["nvidia0"], False),
        (None, [], False),
    ],
)
def test_a_gpu_is_present_if_the_driver_shows_it_and_nobody_hides_it(
    monkeypatch, visible, devices, expected
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(devices))
    assert backends.gpu_present() is expected


def test_openvino_needs_no_tensorflow():
    import subprocess

    code = (
        "import sys, numpy as np; from bids_brainmask.models import backends, registry\n"
        "model = registry.models()['embedded']\n"
        "backends.load(model, 'openvino', 1).run(np.zeros((32, 32, 32), np.float32))\n"
        "sys.exit(bool({'tensorflow', 'keras', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("first", "converts"), [("bids_brainmask.cli", 0), ("bids_brainmask", 1)])
def test_a_command_leaves_the_converter_of_openvino_out_and_python_does_not(first, converts):
    import subprocess

    code = (
        f"import sys, {first}; from bids_brainmask.models.graph import import_openvino\n"
        "sys.exit(hasattr(import_openvino(), 'convert_model'))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == converts
