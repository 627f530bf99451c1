# SPDX-License-Identifier: Apache-2.0
"""The rules that keep the line straight."""

import ast
from pathlib import Path

import pytest

import bids_brainmask

PACKAGE = Path(bids_brainmask.__file__).parent
MODULES = {path.stem: path for path in PACKAGE.glob("*.py")}

STEPS = {
    "grid",
    "predict",
    "clean",
    "confidence",
    "metrics",
    "image",
    "lesions",
    "nifti",
    "quality",
    "sheet",
}


def imports(path):
    """Names that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(path):
    """Modules of this package among them."""
    names = {
        name.removeprefix("bids_brainmask.").split(".")[0]
        for name in imports(path)
        if name.startswith("bids_brainmask.")
    }
    return names & set(MODULES)


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_step_imports_no_other_step(step):
    assert own(MODULES[step]) <= {"image", "errors"} | ({"nifti"} if step == "image" else set())


def test_figures_are_drawn_of_values_on_sheets():
    assert own(MODULES["figures"]) <= {"image", "errors", "sheet"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_networks_import_keras_and_tensorflow(name):
    heavy = {x.split(".")[0] for x in imports(MODULES[name])} & {"keras", "tensorflow"}
    assert not heavy or name in {"network", "weights", "engine"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_workers_import_dask(name):
    heavy = {x.split(".")[0] for x in imports(MODULES[name])} & {"dask", "distributed", "tornado"}
    assert not heavy or name in {"batch", "worker", "workforce"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"tools"}))  # which has its commands
def test_the_app_does_not_import_training(name):
    assert not any(x.startswith("bids_brainmask.train") for x in imports(MODULES[name]))


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"image", "nifti", "phantom", "demo"}))
def test_only_image_imports_a_reader_of_images(name):
    readers = {x for x in imports(MODULES[name]) if x in ("nibabel", "gzip", "isal")}
    assert not readers


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_over_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
