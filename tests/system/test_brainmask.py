# SPDX-License-Identifier: Apache-2.0
"""One file without BIDS, the models, the demonstration."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask import __version__
from bids_brainmask.cli import brainmask
from bids_brainmask.demo import phantom
from bids_brainmask.models import registry
from bids_brainmask.voxels import image


@pytest.fixture(scope="module")
def head(near_brain_file):
    return near_brain_file


def test_extract_writes_what_was_asked_for(head, tmp_path, capsys):
    names = {"-m": "mask.nii.gz", "-o": "deep/brain.nii", "-p": "probability.nii.gz"}
    words = [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]
    assert brainmask.main(["extract", str(head), *words]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == [str(tmp_path / name) for name in names.values()]
    assert "mL, embedded" in shown.err
    raw, mask, brain, probability = (
        nb.load(path) for path in (head, *(tmp_path / name for name in names.values()))
    )
    inside = np.asanyarray(mask.dataobj) == 1
    np.testing.assert_array_equal(mask.affine, raw.affine)
    np.testing.assert_array_equal(
        np.asanyarray(brain.dataobj), np.where(inside, np.asanyarray(raw.dataobj), 0)
    )
    assert (probability.get_fdata()[inside] >= 0.5).mean() > 0.99


def test_extract_on_tensorflow_agrees_with_openvino(head, tmp_path):
    """A whole process, as the user's: one that has not computed in TensorFlow before."""
    for name in ("openvino", "tensorflow"):
        command = [Path(sys.executable).with_name("brainmask"), "extract", head]
        command += ["-p", tmp_path / f"{name}.nii.gz", "--engine", name, "--n-cpus", "2"]
        command += ["--precision", "float32"]
        subprocess.run(command, check=True, capture_output=True)
    found = [
        nb.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in ("openvino", "tensorflow")
    ]
    np.testing.assert_allclose(*found, atol=1e-4)


def test_the_precision_reaches_the_network(head, tmp_path, capsys):
    """In either way: by another answer, or by the refusal of a processor without it."""
    found = {}
    for precision in ("float32", "bfloat16"):
        path = tmp_path / f"{precision}.nii"
        words = ["extract", str(head), "-p", str(path), "--engine", "openvino"]
        status = brainmask.main([*words, "--precision", precision])
        if status:
            assert precision == "bfloat16"
            assert "does not compute in bfloat16" in capsys.readouterr().err
            return
        found[precision] = nb.load(path).get_fdata()
    np.testing.assert_allclose(found["bfloat16"], found["float32"], atol=0.1)
    assert not np.array_equal(found["bfloat16"], found["float32"])


def test_a_threshold_of_ones_own(head, tmp_path):
    volumes = []
    for threshold in ("0.1", "0.9"):
        words = ["-m", str(tmp_path / "mask.nii"), "--threshold", threshold]
        assert brainmask.main(["extract", str(head), *words]) == 0
        volumes.append(image.read_mask(tmp_path / "mask.nii").sum())
    assert volumes[0] > volumes[1]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["in.nii"], 2, "no output file is given. Add -m MASK"),
        (["in.nii", "-m", "mask.txt"], 2, "expected a name that ends in .nii"),
        (["in.nii", "-o", "in.nii"], 2, "is the input, which is never overwritten"),
        (["in.nii", "-m", "mask.nii"], 1, "in.nii: no such file"),
        (["in.nii", "-m", "mask.nii", "--model", "ams"], 2, "a model for meningioma"),
        (["in.nii", "-m", "mask.nii", "--model", "x"], 2, "unknown model 'x'"),
    ],
)
def test_extract_refuses(words, status, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert brainmask.main(["extract", *words]) == status
    error = capsys.readouterr().err
    assert error.startswith("brainmask: error: ")
    assert reason in error
    assert not list(tmp_path.iterdir())


def test_models_list(capsys):
    assert brainmask.main(["models", "list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    known = registry.models()
    assert [row[0] for row in rows] == ["name", *known]
    for row in rows[1:]:
        if known[row[0]].url:
            assert row[-1] == f"no: brainmask models get {row[0]}"
        else:
            assert Path(row[-1]).is_file()


@pytest.mark.parametrize("verb", ["verify", "path", "get"])
def test_models_at_hand(verb, capsys):
    assert brainmask.main(["models", verb, "embedded"]) == 0
    assert "embedded.npz" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["verify", "path"])
def test_models_not_at_hand(verb, capsys):
    assert brainmask.main(["models", verb, "brainy"]) == 2
    assert "brainmask models get brainy" in capsys.readouterr().err


def test_models_get_from_a_file_that_is_another(tmp_path, capsys):
    other = tmp_path / "other.h5"
    other.write_bytes(b"another")
    assert brainmask.main(["models", "get", "brainy", "--from", str(other)]) == 2
    assert "found 7 bytes, expected 19169888" in capsys.readouterr().err
    assert not list(registry.cache_dir().glob("*"))


def test_version(capsys):
    with pytest.raises(SystemExit):
        brainmask.main(["--version"])
    assert capsys.readouterr().out == f"brainmask {__version__}\n"


def test_a_command_is_required(capsys):
    with pytest.raises(SystemExit) as caught:
        brainmask.main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.slow
def test_demo_ends_with_the_masks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(phantom, "head", partial(phantom.head, spacing=2.0))
    assert brainmask.main(["demo", str(tmp_path / "demo")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.strip().splitlines()[-3:]]
    for agreement, path in rows:
        assert float(agreement) > 0.95
        assert image.read_mask(Path(path)).any()


def test_demo_leaves_a_folder_in_use_alone(tmp_path, capsys):
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids/mine").write_text("mine")
    assert brainmask.main(["demo", str(tmp_path)]) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert (tmp_path / "bids/mine").read_text() == "mine"
