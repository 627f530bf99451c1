# SPDX-License-Identifier: Apache-2.0
"""Too little memory, no GPU or a broken one, no OpenVINO: what there is does the work."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import openvino
import pytest
from processes import Process, heads, poison

from bids_brainmask import machine
from bids_brainmask.cli import bids_app
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import agreement

WORDS = (
    *("--threshold", "0.01", "--no-reports", "--executor", "serial", "--n-cpus", "1"),
    *("--precision", "float32"),
)

MASK = "sub-01/anat/sub-01_desc-brain_mask.nii.gz"


pytestmark = pytest.mark.usefixtures("engines_anew")


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A dataset of one head."""
    return heads(tmp_path_factory.mktemp("head") / "bids", 1, quick=True).root


@pytest.fixture(scope="module")
def usual(head):
    """Its mask, as it is where nothing is missing."""
    out = head.parent / "usual"
    assert bids_app.main([str(head), str(out), "participant", *WORDS]) == 0
    return (out / MASK).read_bytes()


def dice(one: bytes, other: bytes) -> float:
    images = [nb.Nifti1Image.from_bytes(gzip.decompress(content)) for content in (one, other)]
    return agreement.dice(*(np.asanyarray(image.dataobj) > 0 for image in images))


# Memory


@pytest.mark.parametrize(
    "name", [name for name, model in registry.models().items() if not model.url]
)
def test_too_little_memory_is_refused_with_the_number_needed(tmp_path, capsys, name):
    model = registry.models()[name]
    data = heads(tmp_path / "bids", 1, quick=True).root
    analysis = ["--analyses", model.task, "--force-contrast", "--model", name]
    less = f"{model.memory_gb - 0.1:g}"
    command = [str(data), str(tmp_path / "out"), "participant", "--mem-gb", less, *analysis]
    assert bids_app.main(command) == 2
    needed = f"{less} GB are available, but {name} needs {model.memory_gb:g} GB"
    assert needed in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    command[4] = f"{model.memory_gb:g}"
    assert bids_app.main([*command, "--dry-run"]) == 0


def test_a_scan_that_memory_does_not_suffice_for_fails_and_the_next_is_done(tmp_path):
    """The limit is the system's own, and the allocation that fails a real one."""
    data = heads(tmp_path / "bids", 2, quick=True).root
    (data / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    poison(data / "sub-01/anat/sub-01_T1w.nii")
    one_each = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    limit = ("prlimit", f"--as={3 * 10**9}")
    words = (*WORDS, "--mem-gb", "64")
    run = Process(data, tmp_path / "out", *words, prefix=limit, **one_each)
    assert run.wait() == 1, run.said
    assert run.status == {"01": "failed", "02": "done"}, run.said
    assert re.search(r"^sub-01\S+ +failed +MemoryError: \S+", run.said, re.MULTILINE)
    assert len(list((tmp_path / "out/logs/sub-01").glob("*_crash-*.json"))) == 1


def test_a_scan_that_needs_more_memory_than_there_is_is_refused_by_its_header(tmp_path, capsys):
    data = heads(tmp_path / "bids", 2, quick=True).root
    (data / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    poison(data / "sub-01/anat/sub-01_T1w.nii", side=600)
    before = machine.peak_memory_gb()
    command = [str(data), str(tmp_path / "out"), "participant", *WORDS, "--mem-gb", "4"]
    assert bids_app.main(command) == 1
    said = capsys.readouterr().out
    wanted = r"^sub-01\S+ +failed +216 million voxels need about 5\.2 GB of memory, but 4\.0 GB"
    assert re.search(wanted, said, re.MULTILINE)
    assert re.search(r"^sub-02\S+ +done ", said, re.MULTILINE)
    assert machine.peak_memory_gb() - before < 1  # what a small scan takes


def test_a_network_that_memory_does_not_suffice_for_fails_that_scan_alone(tmp_path):
    """A large field of view first: its answer would take more than there is, the next fits."""
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from bids_brainmask.models import backends, registry, weights\n"
        "file = registry.find('embedded')\n"
        "compact = backends.unet.COMPACT\n"
        "net = backends.openvino_network(compact, weights.read(file, compact), 1)\n"
        "net.run(np.zeros((32, 32, 32), np.float32))\n"
        "held = int(Path('/proc/self/statm').read_text().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 10**9, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    net.run(np.zeros((320, 320, 320), np.float32))\n"
        "except (MemoryError, RuntimeError) as error:\n"
        "    print('FAILED', type(error).__name__)\n"
        "np.save(sys.argv[1], net.run(np.ones((32, 32, 32), np.float32)))\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "found.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "FAILED" in done.stdout, done.stderr
    network = backends.load(registry.models()["embedded"], "openvino", 1)
    expected = network.run(np.ones((32, 32, 32), np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected)


# GPUs


def test_a_gpu_that_was_given_and_is_not_there_is_one_line(head, usual, monkeypatch, caplog):
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("a driver shows a GPU here")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    out = head.parent / "given"
    assert bids_app.main([str(head), str(out), "participant", *WORDS]) == 0
    said = [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert said == ["CUDA_VISIBLE_DEVICES is 0, but no driver shows a GPU: running on the CPU"]
    assert (out / MASK).read_bytes() == usual


def test_a_gpu_that_tensorflow_does_not_list_is_one_line(head, usual, monkeypatch, caplog):
    """A driver's device file is all that is made up: TensorFlow is asked, and lists no GPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    out = head.parent / "unlisted"
    assert bids_app.main([str(head), str(out), "participant", *WORDS, "--force-contrast"]) == 0
    said = [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert said == [
        "a GPU is present, but TensorFlow cannot use it (it lists no GPU): running on the CPU"
    ]
    assert (out / MASK).read_bytes() == usual  # two networks, one line


@pytest.mark.parametrize("chosen", ["auto", "tensorflow"])
def test_a_gpu_that_fails_to_start_is_one_line(head, usual, monkeypatch, caplog, chosen):
    """As one that another job has for itself: it is listed, and what is computed on it fails."""
    import tensorflow as tf

    def fails(*_):
        raise tf.errors.InternalError(None, None, "cudaSetDevice() failed: busy\nmore")

    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["a GPU"])
    monkeypatch.setattr(tf.nn, "conv3d", fails)
    out = head.parent / f"failing-{chosen}"
    command = [str(head), str(out), "participant", *WORDS, "--engine", chosen]
    assert bids_app.main(command) == 0
    said = [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert said == [
        "a GPU is present, but TensorFlow cannot use it (cudaSetDevice() failed: busy more): "
        "running on the CPU"
    ]
    found = (out / MASK).read_bytes()
    assert found == usual if chosen == "auto" else dice(found, usual) > 0.9999


# OpenVINO


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_a_precision_that_is_not_to_be_had_ends_the_command(head, tmp_path, executor):
    words = [*WORDS, "--engine", "tensorflow", "--precision", "bfloat16", "--executor", executor]
    run = Process(head, tmp_path / "out", *words)
    assert run.wait() == 2, run.said
    assert (
        run.said.count("only OpenVINO computes in this precision here. Give --engine openvino")
        == 1
    )
    assert not list((tmp_path / "out").glob("sub-*"))


def test_a_missing_openvino_is_one_line_and_the_mask_is_the_same(head, usual, tmp_path):
    """Importing it fails as where its libraries are for another system."""
    (tmp_path / "openvino.py").write_text('raise ImportError("libopenvino.so: wrong ELF class")')
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    run = Process(head, tmp_path / "out", *WORDS, PYTHONPATH=path)
    assert run.wait() == 0, run.said
    line = (
        "OpenVINO cannot be used (libopenvino.so: wrong ELF class): running in TensorFlow, which "
        "starts more slowly"
    )
    assert run.said.count("OpenVINO") == run.said.count(line) == 1, run.said
    assert dice((tmp_path / "out" / MASK).read_bytes(), usual) > 0.9999


def test_an_openvino_without_its_processor_plugin_is_passed_over(tmp_path, monkeypatch):
    """The very package, but for one file of it."""
    package = Path(openvino.__file__).parent
    copy = tmp_path / "openvino"
    for path in package.rglob("*"):
        inside = copy / path.relative_to(package)
        if path.is_dir():
            inside.mkdir(parents=True, exist_ok=True)
        elif "intel_cpu_plugin" not in path.name and "__pycache__" not in path.parts:
            inside.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, inside)  # a symbolic one would lead it to its own plugins
            except OSError:  # on another file system
                shutil.copy(path, inside)
    code = "from bids_brainmask.models import backends; print(backends.choose('auto'))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "tensorflow\n", done.stderr
    assert re.fullmatch(r"OpenVINO cannot be used \(.+\): running in TensorF.*\n", done.stderr)
    assert 'Device with "CPU" name is not registered' in done.stderr
