# SPDX-License-Identifier: Apache-2.0
"""Models, names and texts from elsewhere: nothing of them runs, and nothing leads out."""

import ast
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from chromium_driver import chromium
from conftest import LITTLE, ROOT, head_phantom, missing
from processes import heads
from weight_files import TINY, random_weights, write_hdf5

import bids_brainmask
from bids_brainmask import plan
from bids_brainmask.cli import bids_app, brainmask, options
from bids_brainmask.errors import ModelError, NothingToDo, UsageError
from bids_brainmask.models import registry, weights
from bids_brainmask.settings import Settings

__all__ = ["chromium"]

# TensorFlow's variables, which Keras turns into arrays when it saves, are behind NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PACKAGE = Path(bids_brainmask.__file__).parent

EVIL = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">{{ 7 * 7 }}'
"""Text that would run where it got into a page as it is."""

FOLDER = "in <img src=x onerror=window.hacked=1>"
"""The same, as the name of a folder."""

NAMES = (
    "..",
    "0\uff10",
    "\uff0e\uff0e\uff0fx",
    "01\u202e",
    "01\n",
    "01 ",
    "0;1",
    "0%2f..",
    "\u00e901",
)
"""Labels that are none: full-width forms, which some programs take for the plain ones, marks that
turn the direction of writing, line breaks, and what shells and addresses read."""


# What could run code is not there


EXECUTING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *("enable_unsafe_deserialization", "unsafe_load", "full_load", "load_all", "mktemp"),
    *("system", "popen", "register_keras_serializable"),
}
NOT_SO = {("safe_mode", False), ("allow_pickle", True), ("shell", True)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_can_run_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"line {getattr(node, 'lineno', '')}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not EXECUTING & {name.split(".")[0] for name in names}, where
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ATTRIBUTES, where
        if isinstance(node.func, ast.Name):
            assert node.func.id not in CALLS, where
        for word in node.keywords:
            value = getattr(word.value, "value", None)
            assert (word.arg, value) not in NOT_SO, where
        if ast.unparse(node.func) == "yaml.load":
            pytest.fail(where)


# Models


def keras_file(path, *items, **more):
    """Write a .keras file whose description holds some objects."""
    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {"name": "m", "layers": list(items)},
        **more,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.12.0"}))
        archive.writestr("model.weights.h5", b"")
    return path


def item(module, name, /, **config):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


NESTED = item("keras", "Sequential") | {"compile_config": {"loss": item("evil", "Loss")}}


@pytest.mark.parametrize(
    "found",
    [
        item("keras.layers", "Lambda", function={"class_name": "__lambda__", "config": {}}),
        item("builtins", "function", config="print"),
        item("os", "system", command="true"),
        item("keras.utils", "get_file", fname="x", origin="http://127.0.0.1:9/x"),
        item("keras.src.utils.file_utils", "get_file", fname="x"),
        item("keras.config", "enable_unsafe_deserialization"),
        item("keras.saving", "load_model", filepath="x"),
        item("keras.layers", "TFSMLayer", filepath="/tmp/x"),
        item("keras.layers", "TorchModuleWrapper", module="x"),
        item("keras.layers", "JaxLayer", call_fn="x"),
        item("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
        item("keras.layers", "Wrapper", layer={"deep": [item("keras.layers", "Lambda")]}),
        {"class_name": "__typespec__", "spec_name": "x", "module": "evil", "config": []},
        item("keras.layers.evil-module", "Dense"),
        item(["keras"], "Dense"),
        NESTED,
    ],
    ids=lambda found: f"{found.get('module')}.{found['class_name']}",
)
def test_a_keras_file_of_more_than_a_network_is_refused(tmp_path, found):
    path = keras_file(tmp_path / "m.keras", found)
    with pytest.raises(ModelError, match=r"m.keras: contains code \(.*which is never run"):
        weights.load_keras(path)


def test_networks_of_all_that_networks_are_made_of_are_taken(tmp_path):
    import keras

    layers = keras.layers
    inputs = keras.Input((None, None, None, 1))
    options = {"kernel_regularizer": "l2", "kernel_constraint": keras.constraints.MaxNorm()}
    x = layers.Conv3D(2, 3, padding="same", dtype=keras.DTypePolicy("float32"), **options)(inputs)
    x = layers.LeakyReLU()(layers.GroupNormalization(1)(layers.BatchNormalization()(x)))
    x = keras.ops.concatenate([x * 2, keras.ops.relu(x)], -1)
    x = keras.Sequential([layers.Conv3D(1, 1)])(layers.SpatialDropout3D(0.1)(x)[..., :3])
    model = keras.Model(inputs, x)
    model.compile("adam", "mse")
    model.save(tmp_path / "m.keras")
    block = np.random.default_rng(1).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    loaded = weights.load_keras(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(block), model(block))


@pytest.mark.parametrize("name", ["Lambda", "TFSMLayer"])
@pytest.mark.parametrize("text", [str, str.encode])
def test_an_hdf5_model_with_layers_of_code_is_refused(tmp_path, name, text):
    layer = {"class_name": name, "config": {"function": ["4wEAAAAAAAAA", None, None]}}
    config = {"class_name": "Functional", "config": {"layers": [layer]}}
    write_hdf5(tmp_path / "w.h5", random_weights(TINY))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file.attrs["model_config"] = text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"w.h5: contains code \({name}\), which is ne"):
        weights.read(tmp_path / "w.h5", TINY)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file.attrs["model_config"] = text(json.dumps(config).replace(name, "Dropout"))
    assert weights.read(tmp_path / "w.h5", TINY)


@pytest.mark.parametrize("how", ["link", "external", "virtual"])
def test_numbers_that_are_in_another_file_are_refused(tmp_path, how):
    """The hash would say nothing of them."""
    arrays = random_weights(TINY)
    write_hdf5(tmp_path / "w.h5", arrays)
    write_hdf5(tmp_path / "other.h5", arrays)
    place = "model_weights/up_0/up_0/bias:0"
    (tmp_path / "raw").write_bytes(arrays["up_0/bias"].tobytes())
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file[place]
        if how == "link":
            file[place] = h5py.ExternalLink(tmp_path / "other.h5", place)
        elif how == "external":
            file.create_dataset(place, (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", place, (4,))
            file.create_virtual_dataset(place, layout)
    with pytest.raises(ModelError, match=r"up_0/bias:0 is in another file, which is not verified"):
        weights.read(tmp_path / "w.h5", TINY)


def test_bombs_are_told_before_they_are_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(
        tmp_path / "w.npz", **random_weights(TINY) | {"up_0/bias": np.zeros(10**7)}
    )
    with pytest.raises(ModelError, match=r"up_0/bias: 80000128 bytes, expected at most 16448"):
        weights.read(tmp_path / "w.npz", TINY)
    deep = keras_file(tmp_path / "deep.keras")
    with zipfile.ZipFile(deep, "w") as archive:
        archive.writestr("config.json", '{"a":' + "[" * 10**5 + "]" * 10**5 + "}")
    with pytest.raises(ModelError, match=r"deep.keras: cannot be read as a .keras file"):
        weights.load_keras(deep)
    wide = keras_file(tmp_path / "wide.keras", " " * 2**24)
    with pytest.raises(
        ModelError, match=r"cannot be read .* bytes when unpacked; expected at most"
    ):
        weights.load_keras(wide)
    monkeypatch.setattr(weights, "LARGEST_KERAS", 2**20)  # 4 GiB of zeros take a while to write
    with zipfile.ZipFile(keras_file(tmp_path / "m.keras"), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5.more", bytes(2**21))
    with pytest.raises(
        ModelError, match=r"cannot be read .* bytes when unpacked; expected at most"
    ):
        weights.load_keras(tmp_path / "m.keras")


TABLE = """\
[{name}]
version = {text}
task = "brain"
file = "model.keras"
license = {text}
architecture = "keras"
grid = "head"
intensities = "robust"
block = 0
threshold = 0.5
memory_gb = 2.0
citation = {text}
notice = {text}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training's folder whose table has no hash and hostile texts: bright is brain."""
    import keras

    folder = tmp_path_factory.mktemp("trained")
    inputs = keras.Input((None, None, None, 1))
    layer = keras.layers.Conv3D(1, 1, activation="sigmoid")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.full((1, 1, 1, 1, 1), 40.0), np.full(1, -28.0)])
    model.save(folder / "model.keras")
    text = json.dumps(EVIL)
    (folder / "model.toml").write_text(TABLE.format(name=text, text=text))
    return folder


def test_a_registry_entry_without_a_hash_is_refused_unless_it_is_allowed(trained, tmp_path):
    with pytest.raises(ModelError, match=r"model.toml: found no sha256.* --allow-unverified"):
        registry.resolve(trained)
    found = registry.resolve(trained, allow_unverified=True)
    assert registry.UNVERIFIED in found.notice
    assert found.sha256 == registry._sha256(trained / "model.keras")
    named = registry.resolve(trained / "model.keras", allow_unverified=True)
    assert named == found  # a table is beside it, and speaks of it


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'sha256 = "{"0" * 64}"\nsize = {{size}}', "found SHA-256 .*, expected 0000"),
        (f'sha256 = "{"0" * 64}"', "missing required field `size`"),
        ('sha256 = ""\nsize = 7', r"found \d+ bytes, expected 7"),
        ("sha256 = 7\nsize = 7", "key 'sha256' is 7, expected 64 lower-case hex digits"),
    ],
)
def test_a_hash_or_size_that_is_there_must_agree_all_the_same(trained, tmp_path, line, message):
    shutil.copy(trained / "model.keras", tmp_path)
    line = line.format(size=(trained / "model.keras").stat().st_size)
    (tmp_path / "model.toml").write_text(f"{(trained / 'model.toml').read_text()}{line}\n")
    with pytest.raises(ModelError, match=message):
        registry.resolve(tmp_path, allow_unverified=True)


def test_a_file_by_its_own_name_is_the_one_that_is_meant(tmp_path):
    np.savez(tmp_path / "mine.npz", **random_weights(TINY))
    found = registry.resolve(tmp_path / "mine.npz")
    assert found.sha256 == registry._sha256(tmp_path / "mine.npz")
    assert not found.notice


def test_extract_takes_the_option(trained, tmp_path, capsys):
    import nibabel as nb

    nb.save(head_phantom(**LITTLE), tmp_path / "t1.nii")
    words = ["extract", tmp_path / "t1.nii", "-m", tmp_path / "mask.nii", "--model", trained]
    assert brainmask.main(list(map(str, words))) == 2
    assert "--allow-unverified" in capsys.readouterr().err
    assert brainmask.main([*map(str, words), "--allow-unverified"]) == 0
    assert (tmp_path / "mask.nii").exists()


# Names and paths


@pytest.mark.parametrize("option", ["--participant-label", "--session-label", "--run-id"])
@pytest.mark.parametrize("label", ["../x", "/etc", "sub-../01", *NAMES, ""], ids=ascii)
def test_what_is_no_label_is_refused(option, label, capsys):
    with pytest.raises(SystemExit, match="2"):
        options.parser().parse_args(["in", "out", "participant", f"{option}={label}"])
    assert "expected a label of letters and digits" in capsys.readouterr().err


def settings(data, out, **more):
    return Settings(bids_dir=data, output_dir=out, analysis_level="participant", **more)


@pytest.mark.parametrize("skip", [False, True])
def test_names_in_the_dataset_do_not_lead_out(tmp_path, skip):
    data = heads(tmp_path / "bids", 1, quick=True).root
    content = (data / "sub-01/anat/sub-01_T1w.nii.gz").read_bytes()
    for name in NAMES:
        if name != "..":
            other = data / f"sub-{name}/anat"
            other.mkdir(parents=True)
            (other / f"sub-{name}_T1w.nii.gz").write_bytes(content)
        (data / f"sub-01/anat/sub-01_acq-{name}_T1w.nii.gz").write_bytes(content)
        session = data / f"sub-01/ses-{name}/anat"
        session.mkdir(parents=True)
        (session / f"sub-01_ses-{name}_T1w.nii.gz").write_bytes(content)
        (session / "sub-01_ses-1_T1w.nii.gz").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    jobs = plan.prepare(settings(data, out, skip_bids_validation=skip)).plans
    assert [job.scan.relative for job in jobs] == ["sub-01/anat/sub-01_T1w.nii.gz"]
    for path in (*jobs[0].files.values(), *jobs[0].figures.values()):
        assert path.resolve().is_relative_to(out / "sub-01")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("entity", ["subject", "session", "acquisition", "run"])
def test_values_of_a_filter_are_values_and_nothing_else(tmp_path, entity):
    data = heads(tmp_path / "bids", 1, quick=True).root
    filters = tmp_path / "filter.json"
    values = ["../..", "/etc/passwd", "' OR 1=1 --", "[a-z]*", ".*", "%", EVIL, *NAMES]
    filters.write_text(json.dumps({"t1w": {entity: values}}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NothingToDo):
        plan.prepare(settings(data, tmp_path / "out", bids_filter_file=filters))
    assert sorted(tmp_path.rglob("*")) == before


def test_paths_in_a_kept_index_do_not_lead_out(tmp_path):
    """Somebody else may have made the index."""
    data = heads(tmp_path / "bids", 1, quick=True).root
    asked = settings(data, tmp_path / "out", bids_database_dir=tmp_path / "index")
    plan.prepare(asked)
    away = tmp_path / "away/anat/sub-01_T1w.nii.gz"
    away.parent.mkdir(parents=True)
    shutil.copy(data / "sub-01/anat/sub-01_T1w.nii.gz", away)
    (index,) = (tmp_path / "index").glob("*.sqlite")
    with sqlite3.connect(index) as tables:
        for table, column in (("files", "path"), ("tags", "file_path")):
            tables.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                ("sub-01/anat", "sub-01/../../away/anat"),
            )
    tables.close()
    with pytest.raises(NothingToDo):
        plan.prepare(asked)
    with pytest.raises(UsageError, match=r"leads out of the dataset. The index in .*Remove it"):
        plan.prepare(replace(asked, skip_bids_validation=True))


# Pages


@pytest.fixture(scope="module")
def injected(tmp_path_factory, trained):
    """Results of a run into which every text came that users, files and folders can bring."""
    place = tmp_path_factory.mktemp("injected") / FOLDER
    data = heads(place / "bids", 2, quick=True)
    description = json.loads((data.root / "dataset_description.json").read_text())
    description |= {"Name": EVIL, "License": EVIL, "DatasetDOI": EVIL}
    (data.root / "dataset_description.json").write_text(json.dumps(description))
    sidecar = data.root / "sub-01/anat/sub-01_T1w.json"
    sidecar.write_text(json.dumps({"ContrastBolusIngredient": EVIL, EVIL: EVIL}))
    data.add("sub-03_T1w.nii.gz", b"no image")
    command = [str(data.root), str(place / "out")]
    model = ["--model", str(trained), "--allow-unverified"]
    run = [sys.executable, "-m", "bids_brainmask", *command, "participant", *model]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 done, 0 skipped, 1 failed" in done.stdout.splitlines()
    assert f"WARNING {EVIL}: {EVIL}; {registry.UNVERIFIED}" in done.stderr
    assert bids_app.main([*command, "group"]) == 0
    return place / "out"


def test_results_of_an_unverified_model_say_so(injected, trained):
    record = json.loads((injected / "sub-02/anat/sub-02_desc-brain_mask.json").read_text())
    assert record["ModelNotice"].endswith(registry.UNVERIFIED)
    assert record["Parameters"]["ModelSHA256"] == registry._sha256(trained / "model.keras")


def test_results_are_in_the_output_folder_and_have_plain_names(injected):
    assert {path.name for path in injected.parent.iterdir()} == {"bids", "out"}
    for path in injected.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", path.name)
        assert not path.is_symlink()


@pytest.mark.parametrize("page", ["sub-01.html", "sub-03.html", "group_desc-brain.html"])
def test_no_text_becomes_a_part_of_a_page(chromium, injected, page):
    chromium.open(injected / page)
    assert chromium.run("return window.hacked") is None
    assert chromium.run("return document.querySelectorAll('[onerror], img[src=x]').length") == 0
    text = chromium.run("return document.body.textContent + document.title")
    shown = {
        "sub-01.html": EVIL,
        "sub-03.html": "sub-03_T1w.nii.gz",
        "group_desc-brain.html": EVIL,
    }
    assert shown[page] in text
    assert FOLDER not in text  # nor does any page name folders of the machine
    assert chromium.errors() == []
    assert chromium.strangers() == []


# What a run does to the machine


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """All system calls of a run that open sockets or files, of Python and of native code."""
    program = shutil.which("strace")
    if program is None:
        missing("strace is not installed")
    place = tmp_path_factory.mktemp("traced")
    data = heads(place / "bids", 1, quick=True).root
    file, home = place / "trace.txt", place / "home"
    home.mkdir()
    calls = "trace=%network,open,openat,creat,mknod,mknodat"
    strace = [program, "-f", "--seccomp-bpf", "-qq", "-e", calls, "-o", file]
    words = [data, place / "out", "participant", "--threshold", "0.01", "--force-contrast"]
    done = subprocess.run(
        [*strace, sys.executable, "-m", "bids_brainmask", *words],
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": "", "MPLCONFIGDIR": ""},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    if "PTRACE" in done.stderr:
        missing(f"processes cannot be traced here: {done.stderr}")
    assert "1 done" in done.stdout, done.stdout + done.stderr
    return place, file.read_text(errors="replace").splitlines()


def test_a_run_opens_no_socket(trace):
    """Of local ones, those that the system's own library may ask for the user's name."""
    _, calls = trace
    assert any("openat(" in call for call in calls)
    assert [call for call in calls if "socket(" in call and "AF_UNIX" not in call] == []
    assert not [call for call in calls if re.search(r"\b(connect|bind|listen)\(.*AF_INET", call)]


def test_a_run_writes_nowhere_else_and_makes_temporary_files_safely(trace):
    """In folders that everybody may write to, a file is made only if none of its name is there."""
    place, calls = trace
    made = [call for call in calls if "O_CREAT" in call or "O_TMPFILE" in call]
    assert len(made) > 10
    for call in made:
        path = Path(place, re.search(r'"([^"]*)"', call)[1])
        ours = path.is_relative_to(place / "out") or path.is_relative_to(place / "home")
        if path.is_relative_to(ROOT / "build/coverage"):
            continue  # where lines that were run are counted
        assert ours or "O_EXCL" in call or "ENOENT" in call, call
    assert not list((place / "out").rglob(".*.*.*"))  # none is left


# What is installed


def test_the_audit_is_a_job_of_the_workflow():
    root = ROOT
    config = (root / ".circleci/config.yml").read_text()
    assert "make audit" in config
    recipe = re.search(r"^audit:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)[
        1
    ]
    for variant in ("cpu", "gpu"):
        assert variant in recipe
    assert "--require-hashes" in recipe
    assert "--strict" in recipe  # what cannot be looked up has not passed
