# SPDX-License-Identifier: Apache-2.0
"""Importing the package loads nothing; Python, the command line and the app agree to the byte."""

import subprocess
import sys

import nibabel as nb
import pytest
from conftest import Dataset

import bids_brainmask
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.demo import phantom

HEAVY = (
    *("numpy", "nibabel", "scipy", "openvino", "tensorflow", "keras", "bids", "dask"),
    *("scipy.ndimage", "scipy.optimize", "scipy.spatial"),  # only when they are used
)

LOADED = f"print(sorted(set({HEAVY}) & set(sys.modules)))"

WAIT = "[one.join() for one in threading.enumerate() if one != threading.main_thread()]"
"""SciPy's filters are imported in a thread beside the network."""


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        ("import bids_brainmask", "[]"),
        ("import bids_brainmask; bids_brainmask.__version__; dir(bids_brainmask)", "[]"),
        ("from bids_brainmask.errors import ImageError", "[]"),
        ("from bids_brainmask import extract, evaluate", "['nibabel', 'numpy', 'scipy']"),
        (
            "import bids_brainmask, threading; "
            f"bids_brainmask.Extractor('embedded', engine='openvino'); {WAIT}",
            "['nibabel', 'numpy', 'openvino', 'scipy', 'scipy.ndimage']",
        ),
    ],
)
def test_what_is_loaded_when(words, loaded):
    command = [sys.executable, "-c", f"import sys; {words}; {LOADED}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded


def test_the_function_is_not_hidden_by_a_module():
    words = "from bids_brainmask import evaluation; import bids_brainmask as b; print(b.evaluate)"
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("<function evaluate")


def test_python_the_command_line_and_the_app_give_the_same_bytes(tmp_path):
    head, _ = phantom.head(1, spacing=4)
    data = Dataset(tmp_path / "bids")
    path = data.add("sub-01_T1w.nii.gz", head)
    out = tmp_path / "out"
    words = [*("--analyses", "brain"), *("--outputs", "mask", "brain", "probseg"), "--no-reports"]
    assert bids_app.main([str(data.root), str(out), "participant", *words]) == 0
    names = ("desc-brain_mask", "desc-brain_T1w", "label-brain_probseg")
    of_app = [(out / f"sub-01/anat/sub-01_{name}.nii.gz").read_bytes() for name in names]

    places = [tmp_path / f"cli/{name}.nii.gz" for name in ("mask", "brain", "probability")]
    words = [word for pair in zip(("-m", "-o", "-p"), places, strict=True) for word in pair]
    assert brainmask.main(["extract", str(path), *map(str, words)]) == 0
    assert [place.read_bytes() for place in places] == of_app

    for number, given in enumerate((path, nb.load(path), head)):
        places = [tmp_path / f"{number}/{name}.nii.gz" for name in ("mask", "brain", "p")]
        bids_brainmask.extract(given).save(*places)
        assert [place.read_bytes() for place in places] == of_app
