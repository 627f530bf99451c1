# SPDX-License-Identifier: Apache-2.0
"""The benchmark of heads drawn from label maps: its draws come again, its table is arithmetic."""

import sys

import nibabel as nb
import numpy as np
import pytest
from bench import load
from test_benchmarks import EMBEDDED, cells, network

from bids_brainmask.train import config

pytestmark = pytest.mark.slow

for name in ("objects", "bodies", "broken_heads", "hollow_heads", "evaluate_brain", "no_heads"):
    load(name)
benchmark = load("label_maps")

SHAPE = (64, 64, 64)


@pytest.fixture
def data(tmp_path):
    """Two label maps of a ball of white matter in bone and skin, 3 mm voxels."""
    away = np.sqrt(sum((axis - 20.0) ** 2 for axis in np.indices((41, 41, 41))))
    labels = np.select([away < 7, away < 9, away < 11], [1, 51, 48], 0).astype(np.uint8)
    (tmp_path / "label_maps").mkdir()
    for name in ("head01", "head05"):
        path = tmp_path / "label_maps" / f"{name}_dseg.nii.gz"
        nb.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])).to_filename(path)
    return tmp_path


@pytest.fixture
def drawn(data, tmp_path):
    maps, table = benchmark.lay_out(data, ["head05"], tmp_path / "laid-out")
    ranges = config.read("brain").synthesis

    def draw(contrasts, count):
        return list(benchmark.draws(maps, table, ranges, contrasts, count, SHAPE))

    return draw


def test_only_the_maps_that_are_named_are_read(data, tmp_path):
    maps, _ = benchmark.lay_out(data, ["head05"], tmp_path / "laid-out")
    assert [one.name for one in maps] == ["head05"]


def test_a_draw_is_the_same_whatever_else_is_drawn(drawn):
    (alone,) = [one for one in drawn(["FLAIR"], 3) if one.name == "head05, draw 2"]
    among = [one for one in drawn(["T1w", "FLAIR"], 3) if one.contrast == "FLAIR"]
    (again,) = [one for one in among if one.name == "head05, draw 2"]
    np.testing.assert_array_equal(alone.volume.data, again.volume.data)
    np.testing.assert_array_equal(alone.brain, again.brain)


def test_a_draw_ends_with_its_field_of_view(drawn):
    for one in drawn(["T1w"], 4):
        assert one.brain.any()
        assert one.brain.shape == one.volume.data.shape
        for axis in range(3):
            planes = np.moveaxis(one.volume.data, axis, 0)
            assert planes[0].any()
            assert planes[-1].any()


def test_no_brain_counts_as_nothing(drawn):
    (one, *_) = drawn(["T1w"], 4)
    assert benchmark.measure(one, EMBEDDED, network(np.zeros_like)).dice == 0


def test_the_summary_has_each_contrast_and_its_worst():
    scores = [benchmark.Score(f"draw {n}", "T1w", dice) for n, dice in enumerate((0.99, 0.95))]
    scores += [benchmark.Score(f"draw {n}", "FLAIR", dice) for n, dice in enumerate((0.98, 0.5))]
    rows = cells(benchmark.summary(scores))
    assert rows[1] == ["T1w", "2", "0.9700", "0.9700", "0.9500", "draw 1", "0", "yes"]
    assert rows[2] == ["FLAIR", "2", "0.7400", "0.7400", "0.5000", "draw 1", "1", "no"]


def test_the_document_has_every_contrast_with_priors(data, monkeypatch):
    monkeypatch.setattr(benchmark.backends, "load", lambda *_: network(np.ones_like))
    monkeypatch.setattr(benchmark.draws, "__defaults__", (SHAPE,))
    out = data / "found.md"
    command = ["label_maps.py", str(data), "--draws", "2", "--maps", "head05"]
    monkeypatch.setattr(sys, "argv", [*command, "--markdown", str(out)])
    benchmark.main()
    rows = cells(out.read_text())
    contrasts = ["T1w", "T1wGd", "T1wSE", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1"]
    assert [row[0] for row in rows[1:]] == contrasts
