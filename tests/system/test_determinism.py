# SPDX-License-Identifier: Apache-2.0
"""The same image, model and engine give the same bytes: again, elsewhere, with more threads."""

import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from conftest import Dataset

from bids_brainmask import machine
from bids_brainmask.cli import bids_app

OF_THE_RUN = {"Seconds", "Command", "Chosen"}
"""Keys of a sidecar that say how and when a run was and not what it found."""


@pytest.fixture(scope="module")
def data(small_head, tmp_path_factory):
    """An image with noise, so that no sum is exact, to be searched for meningiomas, too."""
    data = Dataset(tmp_path_factory.mktemp("same") / "bids")
    values = np.asanyarray(small_head.dataobj)
    values = values * np.random.default_rng(7).normal(1, 0.03, values.shape)
    image = type(small_head)(values.astype(np.float32), small_head.affine)
    data.add("sub-01_ce-gad_T1w.nii.gz", image)
    return data.root


def words(data, out, threads, engine, precision="float32"):
    options = ["--engine", engine, "--precision", precision]
    options += ["--n-cpus", str(threads), "--executor", "serial"]
    options += ["--outputs", "mask", "brain", "probseg", "--viewer", "--threshold", "0.01"]
    return [str(data), str(out), "participant", *options]


def found(out):
    """Bytes of all that was found: images, tables, figures, and the sidecars' words."""
    files = {}
    for path in sorted(out.rglob("*")):
        if path.suffix in (".gz", ".png", ".tsv", ".webp"):
            files[path.relative_to(out)] = path.read_bytes()
        if path.suffix == ".json" and not path.name.endswith("_run.json"):
            record = json.loads(path.read_text())
            kept = {key: value for key, value in record.items() if key not in OF_THE_RUN}
            files[path.relative_to(out)] = json.dumps(kept).encode()
    assert len(files) > 15
    return files


RUNS = {
    "openvino": (("float32", "bfloat16", "int8"), (1, 1, 2)),
    "tensorflow": (("float32",), (1, 2)),
}
"""Of each engine: precisions, and the threads of each process."""

CODE = """
import json, sys
from bids_brainmask.cli.bids_app import main
print(json.dumps([main(words) for words in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def processes(data):
    """Give what each process of an engine has found, by precision; None: it cannot compute so.

    In processes of their own: TensorFlow takes threads but once, and sets have no order. Each of
    OpenVINO computes in all its precisions, since most of its time is its start.
    """

    @cache
    def run(engine):
        precisions, threads = RUNS[engine]
        results = []
        for seed, number in enumerate(threads):
            outs = {name: data.parent / f"{engine}-{name}-{seed}" for name in precisions}
            commands = [words(data, out, number, engine, name) for name, out in outs.items()]
            done = subprocess.run(
                [sys.executable, "-c", CODE, json.dumps(commands)],
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            statuses = json.loads(done.stdout.splitlines()[-1])
            results.append({})
            for (name, out), status in zip(outs.items(), statuses, strict=True):
                cannot = name != "float32" and f"does not compute in {name}" in done.stderr
                assert cannot or status == 0, done.stdout + done.stderr
                results[-1][name] = None if cannot else found(out)
        return results

    return run


@pytest.mark.parametrize(
    ("engine", "precision"),
    [(engine, name) for engine, (names, _) in RUNS.items() for name in names],
)
def test_runs_give_the_same_bytes_whatever_the_threads(processes, engine, precision):
    first, *others = (found[precision] for found in processes(engine))
    if first is None:
        pytest.skip(f"this processor does not compute in {precision}")
    for other in others:
        assert other.keys() == first.keys()
        assert [str(name) for name in first if first[name] != other[name]] == []


def test_what_one_process_did_before_does_not_matter(data, small_head):
    """An image of another shape was before it, for which the network was made anew."""
    other = Dataset(data.parent / "other")
    larger = type(small_head)(np.asanyarray(small_head.dataobj), np.diag([1.7, 1.7, 1.5, 1]))
    other.add("sub-01_ce-gad_T1w.nii.gz", larger)
    other.add("sub-02_ce-gad_T1w.nii.gz", (next(data.glob("sub-01/anat/*.gz"))).read_bytes())
    alone, second = data.parent / "alone", data.parent / "second"
    assert bids_app.main(words(data, alone, 1, "openvino")) == 0
    assert bids_app.main(words(other.root, second, 1, "openvino")) == 0
    for name, content in found(alone).items():
        if name.suffix == ".gz":
            twin = second / str(name).replace("sub-01", "sub-02")
            assert twin.read_bytes() == content, name


def test_results_of_another_processor_are_kept(data, monkeypatch, caplog):
    """Its int8 and this one's float32, or the reverse: neither was asked for."""
    out = data.parent / "processors"
    options = ["--executor", "serial", "--no-reports", "--threshold", "0.01", "--n-cpus", "1"]
    command = [str(data), str(out), "participant", *options]
    cpuinfo = data.parent / "cpuinfo"
    cpuinfo.write_text("flags : avx2\n")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(machine, "CPUINFO", cpuinfo)
        assert bids_app.main(command) == 0
    sidecar = next(out.glob("sub-01/anat/*_desc-brain_mask.json"))
    record = json.loads(sidecar.read_text())
    assert record["Precision"] == "float32"
    assert "Precision" not in record["Parameters"]
    assert bids_app.main(command) == 0
    assert json.loads(sidecar.read_text()) == record
    fastest = "int8" if machine.multiplies_int8() else "float32"
    assert bids_app.main([*command, "--overwrite"]) == 0
    assert json.loads(sidecar.read_text())["Precision"] == fastest
    both = f"{fastest} for brain, float32 for meningioma" if fastest == "int8" else "float32"
    assert f"engine: openvino, {both}; 1 process" in caplog.text
    assert bids_app.main([*command, "--precision", "float32"]) == 0
    record = json.loads(sidecar.read_text())
    assert record["Precision"] == record["Parameters"]["Precision"] == "float32"
