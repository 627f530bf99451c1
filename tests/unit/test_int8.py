# SPDX-License-Identifier: Apache-2.0
"""The network in 8-bit integers."""

import json

import numpy as np
import pytest

import bids_brainmask
from bids_brainmask import machine
from bids_brainmask.analyses import brain
from bids_brainmask.errors import ModelError
from bids_brainmask.models import backends, int8, registry
from bids_brainmask.models.unet import COMPACT, SEED, Architecture
from bids_brainmask.voxels import agreement, image

STEM = Architecture(encoder=((2, 3), (4,)), up=(3,), decoder=((2,),), stem=2)

needs_int8 = pytest.mark.skipif(
    not machine.multiplies_int8(), reason="this processor has none of machine.INT8"
)

pytestmark = pytest.mark.usefixtures("engines_anew")


def embedded():
    return registry.models()["embedded"]


def ranges(tmp_path, **changes):
    """A file of intervals for the network `STEM`."""
    intervals = dict.fromkeys(int8.tensors(STEM), (0.0, 4.0)) | {"stem": (-2.0, 2.0)}
    content = {"weights": "a" * 64, "intervals": intervals} | changes
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "interval", [(0.0, 3.0), (-1.02, 1.17), (-52.38, 45.38), (-1e-9, 2.0), (-0.3, 80.0)]
)
def test_zero_is_a_value_and_the_step_stays(interval):
    low, high = int8.aligned(*interval)
    step = (interval[1] - interval[0]) / 255
    assert (high - low) / 255 == pytest.approx(step)
    assert (-low / step) % 1 == pytest.approx(0, abs=1e-6)
    assert abs(low - interval[0]) <= step / 2 * (1 + 1e-6)


def test_every_layer_but_the_last_has_a_tensor():
    names = ("image", "stem", "encoder_0_0", "encoder_0_1", "encoder_1_0", "up_0", "decoder_0_0")
    assert int8.tensors(STEM) == names
    assert "stem" not in int8.tensors(SEED)


def test_intervals_are_read_for_their_weights_only(tmp_path):
    path = ranges(tmp_path)
    found = int8.read(path, STEM, "a" * 64)
    assert found["image"] == (0, 4)
    assert found["stem"] == int8.aligned(-2, 2)
    with pytest.raises(ModelError, match="measured for weights with SHA-256 aaaa"):
        int8.read(path, STEM, "b" * 64)
    with pytest.raises(ModelError, match="tensors of another network: decoder_0_1, decoder_1_0"):
        int8.read(path, COMPACT, "a" * 64)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ([1, 2], r"stem: found \[1.0, 2.0\], expected low <= 0 < high"),
        ([-1, 0], "expected low <= 0 < high"),
        ([-1], "cannot be read: "),
    ],
)
def test_an_interval_without_zero_is_refused(tmp_path, interval, words):
    intervals = dict.fromkeys(int8.tensors(STEM), (0, 4)) | {"stem": interval}
    with pytest.raises(ModelError, match=words):
        int8.read(ranges(tmp_path, intervals=intervals), STEM, "a" * 64)


def test_the_shipped_intervals_are_those_of_the_shipped_weights():
    """After new weights, benchmarks/int8_ranges.py measures them anew; or `ranges` goes."""
    for model in registry.models().values():
        if model.ranges:
            assert len(registry.intervals(model)) == 24


@needs_int8
def test_the_mask_is_that_of_float32_but_for_some_voxels(small_head):
    masks = {}
    for precision in ("float32", "int8"):
        network = backends.load(embedded(), "openvino", 1, precision)
        masks[precision] = brain.extract(image.read(small_head), embedded(), network, 0.5)
    full, coarse = masks["float32"], masks["int8"]
    assert not np.array_equal(full.probability, coarse.probability)
    assert agreement.dice(full.probability > 0.5, coarse.probability > 0.5) > 0.99


@needs_int8
def test_auto_is_int8_for_a_model_with_ranges():
    assert backends.load(embedded(), "openvino", 1, "auto").precision == "int8"
    assert backends.load(embedded(), "openvino", 1).precision == "float32"
    meningioma = registry.models()["embedded-meningioma"]
    assert backends.load(meningioma, "openvino", 1, "auto").precision == "float32"
    assert bids_brainmask.Extractor("embedded", engine="openvino").precision == "int8"


@needs_int8
def test_a_model_without_ranges_is_refused():
    with pytest.raises(ModelError, match="embedded-meningioma has no ranges for it; found them"):
        backends.load(registry.models()["embedded-meningioma"], "openvino", 1, "int8")


@pytest.mark.parametrize(
    ("text", "able"),
    [
        ("processor: 0\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags : avx_vnni", True),
        ("flags : avx2 avx512f avx512_bf16\nbugs: avx512_vnni\n", False),
        (None, False),
    ],
)
def test_a_processor_without_the_instructions_is_told_of(tmp_path, monkeypatch, text, able):
    path = tmp_path / "cpuinfo"
    if text:
        path.write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", path)
    assert machine.multiplies_int8() is able
    fastest = "int8" if able else "float32"
    assert backends.precision_of(embedded(), "openvino", "auto") == fastest
    assert backends.precision_of(embedded(), "tensorflow", "auto") == "float32"
    assert backends.precision_of(embedded(), "openvino", "float32") == "float32"
    if not able:
        assert backends.load(embedded(), "openvino", 1, "auto").precision == "float32"
        with pytest.raises(ModelError, match=r"does not compute in int8.* or amx_int8\."):
            backends.load(embedded(), "openvino", 1, "int8")
