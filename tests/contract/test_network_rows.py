# SPDX-License-Identifier: Apache-2.0
"""A row is all that is written for a new grid, a new scaling and a new architecture."""

import json
import re
from dataclasses import replace

import msgspec
import nibabel as nb
import numpy as np
import pytest

from bids_brainmask.analyses.probability import probability_map
from bids_brainmask.cli import brainmask
from bids_brainmask.errors import ModelError
from bids_brainmask.models import backends, registry, unet
from bids_brainmask.reports import methods
from bids_brainmask.train import config
from bids_brainmask.voxels import image, rows
from bids_brainmask.voxels.grid import Grid

SMALL = unet.Architecture(encoder=((2,), (4,)), up=(2,), decoder=((2,),))


def every_third(volume, divisor):
    """Voxels of three times the size, along the image's own axes."""
    shape = tuple(divisor * -(-size // (3 * divisor)) for size in volume.data.shape)
    affine = volume.affine @ np.diag([3.0, 3.0, 3.0, 1.0])
    return Grid(shape, affine)


THIRD = rows.NetworkGrid(
    name="third", make=every_third, methods="every third voxel", has_air=False, block=16
)
POSITIVE = rows.Scaling(
    name="positive",
    scale=lambda data, below: (data[..., below:] > 0).astype(np.float32),
    scale_part=lambda part, whole: part > 0,
    is_bounded=False,
)
NAMED = unet.NamedArchitecture("small", SMALL, ("cicek2016",))

TABLE = """
[mine]
version = "1"
task = "brain"
file = "mine.npz"
size = 1
sha256 = "{sha256}"
license = ""
architecture = "small"
grid = "third"
intensities = "positive"
block = 0
threshold = 0.5
memory_gb = 1.0
citation = ""
"""
STAGE = {"epochs": 1, "rate": [0.001, 0.0]}


@pytest.fixture
def added(monkeypatch):
    """A grid, a scaling and an architecture more."""
    monkeypatch.setattr(rows, "GRIDS", (*rows.GRIDS, THIRD))
    monkeypatch.setattr(rows, "SCALINGS", (*rows.SCALINGS, POSITIVE))
    monkeypatch.setattr(unet, "ARCHITECTURES", (*unet.ARCHITECTURES, NAMED))


def network_file(folder):
    """Weights of the small network, whose answer is a half everywhere but for its bias."""
    arrays = {name: np.zeros(shape, np.float16) for name, shape in SMALL.shapes()}
    arrays["logits/bias"] += 2
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def test_without_its_row_a_name_is_refused():
    for key, name, known in (
        ("architecture", "small", unet.names()),
        ("grid", "third", rows.grids()),
        ("intensities", "positive", rows.scalings()),
    ):
        model = registry.models()["embedded"]
        with pytest.raises(
            ValueError, match=f"{key!r} is {name!r}, expected {' or '.join(known)}"
        ):
            replace(model, **{key: name})


def test_the_registry_accepts_each_and_they_are_used(added, tmp_path, monkeypatch):
    path = network_file(tmp_path)
    (model,) = registry.parse(TABLE.format(sha256="0" * 64)).values()
    assert (model.architecture, model.grid, model.intensities) == ("small", "third", "positive")
    network = backends.load(replace(model, path=path), "openvino", 1)
    assert network.divisor == SMALL.divisor

    data = np.random.default_rng(0).uniform(1, 2, (24, 30, 18)).astype(np.float32)
    nb.save(nb.Nifti1Image(data, np.diag([3.0, 3, 3, 1])), tmp_path / "image.nii.gz")
    seen = []

    def run(block):
        seen.append(block)
        return network.run(block)

    found = probability_map(
        image.read(tmp_path / "image.nii.gz"), model, replace(network, run=run)
    )
    (block,) = seen
    assert block.shape == (8, 10, 6)
    assert (block == 1).all()  # what the scaling makes of intensities above 0
    inside = found[:22, :28, :16]  # between the middles of the grid's voxels
    np.testing.assert_allclose(inside, 1 / (1 + np.exp(-2)), atol=1e-3)


def test_an_unknown_name_in_the_registry_names_its_table(added):
    text = TABLE.format(sha256="0" * 64).replace("third", "fourth")
    with pytest.raises(ModelError, match=r"\[mine\]: key 'grid' is 'fourth', expected .*third"):
        registry.parse(text)


def test_a_configuration_of_a_training_accepts_each(added):
    content = {
        "name": "mine",
        "data": {"bids_dir": "bids", "labels": "labels"},
        "architecture": "small",
        "grid": "third",
        "intensities": "positive",
        "stages": [STAGE],
    }
    found = msgspec.convert(content, config.Config)
    assert config.network_of(found) == SMALL
    with pytest.raises(msgspec.ValidationError, match=r"'grid' is 'fourth', expected .*third"):
        msgspec.convert(content | {"grid": "fourth"}, config.Config)
    blocks = content | {"stages": [STAGE | {"windows": "blocks"}]}
    with pytest.raises(msgspec.ValidationError, match="blocks needs grid: fsconform"):
        msgspec.convert(blocks, config.Config)


def test_the_methods_text_describes_the_grid(added, monkeypatch):
    (model,) = registry.parse(TABLE.format(sha256="0" * 64)).values()
    monkeypatch.setattr(registry, "models", lambda: {"mine": model})
    record = {"Parameters": {"Model": "mine", "ModelSHA256": "0" * 64}}
    (account,) = methods.describe({"brain": [record]}).accounts
    assert (account.uses[0].grid, account.uses[0].cited) == ("every third voxel", ["cicek2016"])


@pytest.fixture
def tabled(tmp_path, monkeypatch):
    """The registry with one table more, of the weights that ship."""
    text = registry._packaged("models.toml").read_text(encoding="utf-8")
    table = text[text.index("[embedded]") :].split("\n\n")[0].replace("[embedded]", "[mine]")
    (tmp_path / "models.toml").write_text(f"{text}\n{table}\n", encoding="utf-8")
    packaged = registry._packaged
    places = {"models.toml": tmp_path / "models.toml"}
    monkeypatch.setattr(registry, "_packaged", lambda file: places.get(file) or packaged(file))


def test_a_model_is_a_table_and_nothing_else(
    tabled, dataset, small_head, run, tmp_path, capsys, monkeypatch
):
    """It is listed, chosen by name, and named in sidecars and in the text on methods."""
    assert brainmask.main(["models", "list"]) == 0
    assert re.search(r"^mine\b.*\bbrain\b", capsys.readouterr().out, re.MULTILINE)
    above = backends.Network(lambda x: (x > 0.3).astype(np.float32), "comparison 1", 1)
    monkeypatch.setattr(backends, "load", lambda *_: above)
    dataset.add("sub-01_T1w.nii.gz", small_head)
    out = tmp_path / "out"
    status, said = run(dataset.root, out, "participant", "--analyses", "brain", "--model", "mine")
    assert (status, "1 done" in said) == (0, True)
    record = json.loads((out / "sub-01/anat/sub-01_desc-brain_mask.json").read_text())
    assert record["Parameters"]["Model"] == "mine"
    assert "the network mine, version" in (out / "sub-01.html").read_text(encoding="utf-8")
