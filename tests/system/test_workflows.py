# SPDX-License-Identifier: Apache-2.0
"""Brain extraction as a step of real workflows of nipype and Pydra; the network is arithmetic."""

import importlib.util

import nibabel as nb
import numpy as np
import pytest
from conftest import head_phantom, missing

import bids_brainmask
from bids_brainmask.models import backends

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def bright_is_brain(monkeypatch):
    """A network that needs no file."""
    network = backends.Network(lambda x: (x > 0.48).astype(np.float32), "arithmetic 1", 16)
    monkeypatch.setattr(backends, "load", lambda *args: network)
    monkeypatch.setenv("NO_ET", "1")  # nipype and Pydra ask for newer versions of themselves


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "sub-01_T1w.nii.gz"
    nb.save(head_phantom((46, 48, 44), (2.0,) * 3, size=0.5), path)
    return path


def needs(name):
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is not installed: pip install '.[workflows]'")


def test_nipype(picture, tmp_path):
    needs("nipype")
    from nipype import Function, Node, Workflow

    from bids_brainmask.interfaces.nipype import BrainExtraction

    def voxels(mask_file):
        import nibabel

        return int(nibabel.load(mask_file).get_fdata().sum())

    extract = Node(BrainExtraction(in_file=str(picture), probability=True), name="extract")
    count = Node(Function(function=voxels, output_names=["count"]), name="count")
    workflow = Workflow("heads", base_dir=str(tmp_path / "work"))
    workflow.config["execution"] = {
        "crashdump_dir": str(tmp_path),
        "remove_unnecessary_outputs": "false",  # those that no other node takes
    }
    workflow.connect(extract, "mask_file", count, "mask_file")
    done = {node.name: node.result.outputs for node in workflow.run().nodes}
    expected = bids_brainmask.extract(picture)
    np.testing.assert_array_equal(
        nb.load(done["extract"].mask_file).dataobj, expected.mask.dataobj
    )
    assert done["extract"].mask_file.endswith("/extract/sub-01_T1w_brain_mask.nii.gz")
    assert nb.load(done["extract"].out_file).get_data_dtype() == np.int16
    assert nb.load(done["extract"].probability_file).get_data_dtype() == np.float32
    assert done["extract"].volume_ml == pytest.approx(expected.volume_ml)
    assert done["count"].count * 0.008 == pytest.approx(expected.volume_ml)
    other = BrainExtraction(in_file=str(picture), border=-4.0, threshold=0.5)
    found = other.run(cwd=str(tmp_path)).outputs
    assert found.volume_ml < expected.volume_ml


def test_pydra(picture, tmp_path):
    needs("pydra")
    import pydra

    from bids_brainmask.interfaces.pydra import brain_extraction

    workflow = pydra.Workflow(
        name="heads", input_spec=["head"], cache_dir=tmp_path / "cache", head=picture
    )
    workflow.add(brain_extraction(name="extract", in_file=workflow.lzin.head))
    workflow.set_output(
        [
            ("mask", workflow.extract.lzout.mask_file),
            ("volume", workflow.extract.lzout.volume_ml),
        ]
    )
    with pydra.Submitter(plugin="serial") as submitter:
        submitter(workflow)
    found = workflow.result().output
    expected = bids_brainmask.extract(picture)
    np.testing.assert_array_equal(nb.load(found.mask).dataobj, expected.mask.dataobj)
    assert found.volume == pytest.approx(expected.volume_ml)
