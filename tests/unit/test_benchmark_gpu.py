# SPDX-License-Identifier: Apache-2.0
"""The benchmark of GPUs: its image, its rows, and its end when the time is over."""

import os
import subprocess
import sys

import numpy as np
import pytest
from bench import load

_, gpu = map(load, ("document", "gpu"))


def test_its_import_leaves_the_environment_as_it_is(monkeypatch):
    """The backend of Keras is chosen for this program alone, not for what imports it."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delitem(sys.modules, "gpu")
    before = dict(os.environ)
    load("gpu")
    assert dict(os.environ) == before


def test_the_image_is_a_head_with_noise_everywhere():
    image = gpu.picture((32, 40, 48))
    assert image.shape == (32, 40, 48)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    assert image[16, 20, 24] == pytest.approx(0.7, abs=0.1)
    assert np.ptp(image[10:14, 18:22, 22:26]) > 0


def test_each_network_is_measured_in_each_format_that_the_device_has(tmp_path, monkeypatch):
    def process(choice, place, timeout):
        np.save(place, np.full((2, 2, 2), 0.5 if choice.precision == "float32" else 0.625))
        assert 0 < timeout <= 60
        return {"loading": 1.0, "seconds": [3.0, 1.0, 2.0], "memory": 4.0, "whole": 9.0}

    monkeypatch.setattr(gpu, "process", process)
    args = gpu.parser().parse_args(["--device", "cuda", "--minutes", "1"])
    found = list(gpu.rows(args, tmp_path))
    assert [row[:2] for row in found] == [[n, p] for n in gpu.NETWORKS for p in gpu.PRECISIONS]
    assert found[1][2:] == ["9.00", "1.00", "2.000", "1.000, 3.000", "4.00", "0.1250", "1.0000"]
    args.device = "cpu"
    assert [row[1] for row in gpu.rows(args, tmp_path)] == ["float32", "bfloat16"] * 2


def test_what_has_no_time_left_is_said_not_to_be_measured(tmp_path, monkeypatch):
    def process(choice, place, timeout):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(gpu, "process", process)
    args = gpu.parser().parse_args(["--device", "cpu", "--minutes", "0"])
    for row in gpu.rows(args, tmp_path):
        assert row[2] == gpu.NOT_MEASURED
        assert len(row) == len(gpu.COLUMNS)


def test_masks_overlap_or_are_both_empty():
    one = np.array([0.6, 0.6, 0.1, 0.1])
    assert gpu.overlap(one, np.array([0.6, 0.1, 0.1, 0.1])) == pytest.approx(2 / 3)
    assert gpu.overlap(one * 0, one * 0) is None
