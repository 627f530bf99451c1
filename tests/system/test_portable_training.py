# SPDX-License-Identifier: Apache-2.0
"""A training packed for another machine, run for a limited time, and gone on with."""

import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from conftest import LITTLE, labelled_dataset
from synthetic_heads import label_map, write
from test_batches import configuration, content

from benchmarks import portable_training
from bids_brainmask.train import dataset
from bids_brainmask.train.config import read

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Give a folder of three heads and one label map, and a recipe that shows the second most."""
    folder = tmp_path_factory.mktemp("data")
    labelled_dataset(folder / "heads", 3, **LITTLE)
    rows = "".join(f"sub-{n:02}\ttrain\n" for n in (1, 2, 3))
    (folder / "heads" / "participants.tsv").write_text("participant_id\tsplit\n" + rows)
    write(folder / "label_maps" / "one_dseg.nii.gz", label_map())
    some = content()["data"] | {"select": {"split": "train"}, "often": {"02": 3}}
    configuration(folder, data=some)
    return folder


def pack(data, bundle, *options):
    words = ["pack", data, bundle, "--recipe", data / "config.yaml", *options]
    return portable_training.main([str(word) for word in words])


def participants(bundle):
    records = json.loads((bundle / "heads" / "heads.json").read_text())
    return [record["participant"] for record in records]


def test_packed_heads_are_those_of_the_training(data, tmp_path, capsys):
    assert pack(data, tmp_path / "bundle") == 0
    assert "3 of 3 heads" in capsys.readouterr().out
    assert participants(tmp_path / "bundle") == ["02", "01", "03"]
    portable_training.unpack(tmp_path / "bundle" / "heads", tmp_path / "out")
    config = read(data / "config.yaml")
    heads = msgspec.structs.replace(config.data, bids_dir="heads")
    config = msgspec.structs.replace(config, data=heads)
    for before in dataset.lay_out(config, data, tmp_path / "expected"):
        (after,) = [
            head
            for head in dataset.lay_out(config, data, tmp_path / "out")
            if head.participant == before.participant
        ]
        np.testing.assert_array_equal(after.affine, before.affine)
        one, other = before.example(), after.example()
        np.testing.assert_allclose(other.image, one.image, atol=portable_training.STEP / 2 + 1e-3)
        np.testing.assert_array_equal(other.label, one.label)
        np.testing.assert_array_equal(other.depth, one.depth)


def test_heads_beyond_the_limit_are_left_out(data, tmp_path, monkeypatch, capsys):
    pack(data, tmp_path / "whole")
    size = portable_training.size_of(tmp_path / "whole")
    monkeypatch.setattr(portable_training, "LIMIT", size - 1000)
    assert pack(data, tmp_path / "part") == 0
    assert "2 of 3 heads" in capsys.readouterr().out
    assert portable_training.size_of(tmp_path / "part") < size
    assert participants(tmp_path / "part") == ["02", "01"]
    monkeypatch.setattr(portable_training, "LIMIT", 1000)
    assert pack(data, tmp_path / "none") == 1


def test_a_training_ends_after_its_minutes_and_is_gone_on_with(data, tmp_path):
    pack(data, tmp_path / "bundle")
    program, out = tmp_path / "bundle" / "portable_training.py", tmp_path / "out"

    def run(minutes):
        words = [program, "run", out, "--minutes", minutes, "--workers", "1"]
        environment = {
            "KERAS_BACKEND": "tensorflow",
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        }
        return subprocess.run(
            [sys.executable, *map(str, words)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )

    assert "minutes are over; last checkpoint: []" in run(0.02).stdout
    run(5)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-0002.keras"]


def test_wheels_travel_with_the_bundle(data, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "one-1.0-py3-none-any.whl").write_bytes(b"")
    pack(data, tmp_path / "bundle", "--wheels", wheels)
    assert (tmp_path / "bundle" / "wheels" / "one-1.0-py3-none-any.whl").exists()
