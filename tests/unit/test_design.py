# SPDX-License-Identifier: Apache-2.0
"""The rules that keep the line straight: which module may import which."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bids_brainmask

PACKAGE = Path(bids_brainmask.__file__).parent

ORDER = (
    {"__init__"},  # offers the API by name, and imports it when asked
    {"__main__"},
    {"cli"},
    {"execution"},
    {"app"},
    {"results"},
    {"plan", "train", "demo", "export", "interfaces", "lesion_evaluation", "brats"},
    {"evaluation"},
    {"api"},
    {"reports"},
    {"dataset"},
    {"analyses"},
    {"drawing"},
    {"models"},
    {"voxels"},
    {"settings", "machine", "signals", "hashes", "tables"},
    {"errors", "data"},
)
"""The packages and the modules beside them; each may import itself and what is below it."""

STEPS = {"voxels.grid", "voxels.inference", "voxels.scaling", "voxels.cleanup", "voxels.agreement"}
MEASURES = {
    "analyses.confidence",
    "analyses.diameters",
    "analyses.mask_shape",
    "analyses.plausibility",
}
VALUES = {"errors", "tables", "voxels.image", "voxels.masks", "voxels.nifti", "voxels.rows"}


def name_of(path):
    """Name of a module without the package's, by its path in it."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(path):
    """Names that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def arrows(known):
    """Modules of the package that each imports."""
    found = {}
    for name, path in known.items():
        names = {x.removeprefix("bids_brainmask.") for x in imports(path) if x != "bids_brainmask"}
        inside = {x for x in names if x in known} | {x.rpartition(".")[0] for x in names}
        found[name] = (inside & set(known)) - {name}
    return found


def faults(found):
    """Arrows against the order, in words, and circles."""
    places = {name: level for level, names in enumerate(ORDER) for name in names}
    said = [
        f"{name} imports {other}"
        for name, others in found.items()
        for other in others
        if places[name.split(".")[0]] > places[other.split(".")[0]]
        or (places[name.split(".")[0]] == places[other.split(".")[0]] and apart(name, other))
    ]
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        said.append(f"circle: {' <- '.join(error.args[1])}")
    return said


def apart(name, other):
    """Whether two modules are of different packages."""
    return name.split(".")[0] != other.split(".")[0]


@pytest.fixture(scope="module")
def found():
    """Modules that each module imports."""
    return arrows(MODULES)


def test_every_module_has_its_place():
    assert {name.split(".")[0] for name in MODULES} == set().union(*ORDER)


def test_the_picture_of_the_packages_has_that_order():
    text = (PACKAGE.parent / "docs/design.md").read_text(encoding="utf-8")
    picture = text.split("with that order:\n\n")[1].split("\n\n")[0]
    shown = [set(line.strip().split("  ")[0].split(", ")) for line in picture.splitlines()]
    assert shown == list(map(set, ORDER))


def test_imports_follow_the_order_of_the_packages(found):
    assert not faults(found)


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("voxels/grid.py", "from bids_brainmask.analyses import lesions", "voxels.grid imports"),
        ("app.py", "from bids_brainmask.execution.driver import process", "app imports"),
        ("models/unet.py", "import bids_brainmask.dataset.query", "models.unet imports"),
        ("analyses/lesions.py", "from bids_brainmask import app", "analyses.lesions imports app"),
        ("voxels/nifti.py", "from bids_brainmask.voxels import image", "circle: "),
        ("errors.py", "def late():\n    from bids_brainmask import settings", "errors imports"),
    ],
)
def test_an_arrow_against_the_order_is_found(tmp_path, module, line, fault):
    changed = tmp_path / "changed.py"
    text = (PACKAGE / module).read_text(encoding="utf-8")
    changed.write_text(f"{text}\n{line}\n", encoding="utf-8")
    known = MODULES | {name_of(Path(module)): changed}
    assert any(said.startswith(fault) for said in faults(arrows(known)))


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_imports_no_other_step(found, name):
    assert found[name] <= VALUES | {"voxels"}


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_a_measure_is_of_values(found, name):
    assert found[name] <= VALUES | {"voxels"}


def test_figures_are_drawn_of_values_on_slices(found):
    below = {"voxels", "drawing", "drawing.slices"}
    assert found["drawing.pen"] <= VALUES | below
    assert found["drawing.figures"] <= VALUES | below | {"drawing.pen"}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if not n.startswith("train")))
def test_only_networks_import_keras_and_tensorflow(name):
    heavy = {x.split(".")[0] for x in imports(MODULES[name])} & {"keras", "tensorflow"}
    assert not heavy or name in {"models.unet", "models.weights", "models.backends"}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if not n.startswith("execution")))
def test_only_workers_import_dask(name):
    assert not {x.split(".")[0] for x in imports(MODULES[name])} & {
        "dask",
        "distributed",
        "tornado",
    }


def test_the_driver_imports_no_dask():
    assert not {x.split(".")[0] for x in imports(MODULES["execution.driver"])} & {
        *("dask", "distributed", "tornado")
    }


@pytest.mark.parametrize("name", sorted(n for n in MODULES if not n.startswith("train")))
def test_only_its_commands_import_training(found, name):
    assert name.startswith("cli.") or not any("train" in x.split(".") for x in found[name])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_image_imports_a_reader_of_images(name):
    readers = {x for x in imports(MODULES[name]) if x in ("nibabel", "gzip", "isal")}
    assert (
        not readers
        or name in {"voxels.image", "voxels.nifti", "voxels.mgh"}
        or name.startswith("demo.")
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_over_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
