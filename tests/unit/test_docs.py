# SPDX-License-Identifier: Apache-2.0
"""The documentation speaks of what there is, and of all of it."""

import ast
import json
import re
import tomllib

import nibabel as nb
import numpy as np
import pytest
from conftest import ROOT

from bids_brainmask import __version__
from bids_brainmask.analyses import catalog, lesion_table
from bids_brainmask.cli import brainmask, options
from bids_brainmask.dataset import filter_file
from bids_brainmask.models import registry
from bids_brainmask.reports import group_tables, lesion_changes, ratings, tumor_growth
from bids_brainmask.train.transforms.steps import STEPS

EMBEDDED = [name for name, model in registry.models().items() if not model.url]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_option_is_in_the_usage():
    usage = text("docs/usage.md")
    for action in options.parser()._actions:
        for option in action.option_strings:
            assert f"`{option}" in usage, option


def test_every_tool_is_in_the_usage():
    usage = text("docs/usage.md")
    commands = next(a for a in brainmask.parser()._actions if a.choices)
    assert set(commands.choices) == {
        "extract",
        "import",
        "adopt",
        "select",
        "status",
        "rate",
        "evaluate",
        "export",
        "train",
        "finetune",
        "models",
        "demo",
        "descriptor",
    }
    verbs = next(a for a in commands.choices["models"]._actions if a.choices)
    for words in (*commands.choices, *(f"models {verb}" for verb in verbs.choices)):
        assert f"`brainmask {words}" in usage, words


@pytest.mark.parametrize(
    "name", ["extract", "rate", "evaluate", "export", "train", "finetune", "descriptor"]
)
def test_every_option_of_a_tool_is_documented(name):
    commands = next(a for a in brainmask.parser()._actions if a.choices)
    pages = {"train": "training", "finetune": "training", "evaluate": "compare-masks"}
    words = text(f"docs/{pages.get(name, 'usage')}.md")
    for action in commands.choices[name]._actions:
        names = [option for option in action.option_strings if option not in ("-h", "--help")]
        assert not names or any(re.search(rf"[` \[]{option}\b", words) for option in names), names


def test_every_step_of_the_augmentation_is_documented():
    training = text("docs/training.md")
    for name in [*STEPS, "noise"]:
        assert f"`{name}`" in training, name


def test_every_output_is_documented():
    outputs = text("docs/outputs.md")
    for output in catalog.OUTPUTS:
        assert output.file("*", "T1w") in outputs
        for key in output.sidecar:
            assert f"`{key}`" in outputs, key


@pytest.mark.parametrize(
    "columns",
    [
        lesion_table.COLUMNS,
        tumor_growth.COLUMNS,
        lesion_changes.COLUMNS,
        group_tables.columns("brain"),
        group_tables.columns("meningioma"),
        ratings.COLUMNS,
        ratings.INCLUDED,
    ],
)
def test_every_column_is_documented(columns):
    words = text("docs/outputs.md") + text("docs/reports.md")
    for name in columns:
        assert f"`{name}`" in words, name


def test_every_key_of_the_record_is_documented():
    outputs = text("docs/outputs.md")
    keys = []
    for name in ("sidecar", "brain", "meningioma"):
        code = text(f"bids_brainmask/analyses/{name}.py")
        keys += re.findall(r'^ {8}(?: {4})?"([A-Z]\w+)": ', code, re.MULTILINE)
    keys = set(keys) - {"LongName", "Description", "Units"}  # of tables' columns
    assert {"BrainVolume", "LesionCount", "SourceFile", "Seconds"} <= keys
    crash = {
        "Time",
        "Source",
        "Error",
        "Message",
        "Traceback",
        "Command",
        "Version",
        "Python",
        "Host",
        "Reason",
        "PeakMemory",
    }
    for key in set(keys) - crash - {"Model"}:
        assert f"`{key}`" in outputs, key


def test_every_fault_has_a_test_or_says_that_it_has_none():
    """Each row of the tables names tests that are there; the first names their file."""
    rows = [line for line in text("docs/reliability.md").splitlines() if line.startswith("| ")]
    for row in rows:
        *_, cell, _ = row.split("|")
        file, found = "", 0
        for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", cell):
            file = path or file
            assert f"def {name}(" in text(file) if name else (ROOT / file).is_file(), row
            found += 1
        assert found or cell.strip() == "test" or "not tested" in cell, row


def test_every_model_is_documented():
    for name in registry.models():
        assert f"`{name}`" in text("README.md")
        assert f"`{name}`" in text("docs/models.md")


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_model_is_the_one_in_its_card(name):
    model = registry.models()[name]
    assert model.sha256 in text(f"docs/model-{name}.md")
    assert registry.find(name).stat().st_size < 6e6


@pytest.mark.parametrize(
    "path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_the_filter_of_the_usage_is_read(tmp_path):
    block = re.search(r"```json\n(.*?)```", text("docs/usage.md"), re.DOTALL)[1]
    path = tmp_path / "filter.json"
    path.write_text(block)
    known = ["session", "acquisition", "ceagent"]
    assert set(filter_file.read(path, known)) == set(json.loads(block)["t1w"])


def test_the_first_screen_holds_the_two_commands():
    blocks = re.findall(r"```sh\n(.*?)```", text("README.md"), re.DOTALL)
    assert blocks[:2] == ["make demo\n", "make test\n"]
    assert text("README.md").index("make test") < 600


def test_the_readme_is_short():
    assert len(text("README.md").splitlines()) < 150


def test_one_version_everywhere():
    assert f"version: {__version__}\n" in text("CITATION.cff")
    assert f"## {__version__}, 20" in text("CHANGES.md")  # with its date
    assert tomllib.loads(text("pyproject.toml"))["project"]["dynamic"] == ["version"]
    images = re.findall(r"(?:brainmask[:_]|IMAGE:)(\d+\.\d+\.\d+)", text("docs/hpc.md"))
    assert set(images) == {__version__}


def messages():
    """Every text of the package's code, with an ellipsis for each value in it."""
    found = []
    for path in (ROOT / "bids_brainmask").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.slow
def test_the_messages_of_the_troubleshooting_are_those_of_the_code():
    quoted = re.findall(r"^\| `([^`]+)` \|", text("docs/troubleshooting.md"), re.MULTILINE)
    assert len(quoted) > 15
    known = messages()
    for message in quoted:
        parts = [part for part in message.split("…") if part.strip()]
        assert any(all(part in one for part in parts) for one in known), message


def test_the_python_of_the_page_on_other_tools_runs(tmp_path, dataset):
    page = text("docs/use-elsewhere.md")
    nilearn, pybids, pandas = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    image = nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    mask = nb.Nifti1Image((np.arange(64).reshape(4, 4, 4) < 10).astype(np.uint8), np.eye(4))
    names = {"image": image, "mask": mask}
    exec(nilearn, names)
    assert np.shape(names["values"])[-1] == 10
    out = tmp_path / "out"
    derivative = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    path = out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    path.parent.mkdir(parents=True)
    nb.save(mask, path)
    (out / "dataset_description.json").write_text(
        json.dumps(derivative | {"GeneratedBy": [{"Name": "bids_brainmask"}]})
    )
    exec(pybids.replace("OUTPUT_DIR", str(out)), names)
    assert names["masks"] == [str(path)]
    (out / "group_desc-brain_qc.tsv").write_text("image\toutlier_score\na\tn/a\nb\t2\n")
    exec(pandas.replace("OUTPUT_DIR", str(out)), names)
    assert len(names["quality"]) == 2


UNCLEAR = {
    "Mend it, or who may read it": "permissions",
    "ask nothing of any host": "makes no network requests",
    "On request, and at a price": "settings are slower",
    "model that is not at hand": "is not installed",
    "stands out from nothing": "cannot be detected as outliers",
    "Killed, full and crowded": "Outputs, signals, parallel runs",
    "Names lead to what was found": "Click an image name",
    "Forget ratings": "Clear all ratings",
    "Light or dark": "theme",
    "No picture": "No figure",
    "Query.NONE: 1": "--suffix UNIT1",
    "bids-brainmask[": "pip install '.[cluster]'",
    "what to keep": "candidate lesions",
}
"""Words that new users did not understand, and those that stand in their place."""


@pytest.mark.parametrize("unclear", UNCLEAR)
def test_words_that_new_users_did_not_understand_are_gone(unclear):
    paths = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    for ending in ("py", "html", "js"):
        paths += [*ROOT.glob(f"bids_brainmask/**/*.{ending}")]
    texts = [path.read_text(encoding="utf-8") for path in paths if "data/web" not in str(path)]
    assert not any(unclear in one for one in texts)
    assert any(UNCLEAR[unclear] in one for one in texts)
