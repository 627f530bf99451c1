# SPDX-License-Identifier: Apache-2.0
"""A row is all that is written for a new analysis, a new output and a new measure.

The rows of this file are put into the catalog by each test. Everything else, from the options to
the pages, must follow from them.
"""

import csv
import json
import re
from dataclasses import dataclass, replace

import msgspec
import nibabel as nb
import numpy as np
import pytest
from tiny_head import phantom

from bids_brainmask import plan
from bids_brainmask.analyses import catalog, measures, quality, rows
from bids_brainmask.analyses.probability import probability_map
from bids_brainmask.cli import brainmask, options
from bids_brainmask.dataset import readback
from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry
from bids_brainmask.reports import group_tables, outliers
from bids_brainmask.settings import Settings
from bids_brainmask.train.config import Config

__all__ = ["phantom"]

COLUMNS = {
    "voxels": {"LongName": "Voxels", "Description": "Voxels over the percentile"},
    "side": {"LongName": "Side", "Description": "A word", "Levels": {"left": "left"}},
}


@dataclass(frozen=True)
class Bright:
    """What is over a percentile within the brain."""

    mask: np.ndarray
    level: float

    @property
    def summary(self):
        return f"{int(self.mask.sum())} bright voxels"

    @property
    def remarks(self):
        return ""

    @property
    def warning(self):
        return "" if self.mask.any() else "nothing is bright"

    def record(self):
        count = int(self.mask.sum())
        return {"BrightVoxels": count, "Quality": {"bright_voxels": count, "level": self.level}}


def find_bright(source, method, findings):
    """Find what is over the 95th percentile within the brain; no network is wanted."""
    assert method is None
    brain = findings["brain"].mask
    level = float(np.percentile(source.volume.data[brain], 95))
    return Bright(brain & (source.volume.data >= level), level)


def draw_bright(source, findings, name):
    from bids_brainmask.drawing import figures

    return (figures.mosaic(source.volume, findings["bright"].mask, title=name),)


def measure(name, **more):
    return measures.Measure(name, {"LongName": name, "Description": f"The {name}"}, **more)


BRIGHT = rows.Analysis(
    name="bright",
    title="Bright voxels",
    find=find_bright,
    main="bright",
    needs=lambda model: ("brain",),
    parameters=lambda model, of_analysis: {"Percentile": 95, "Brain": of_analysis("brain")},
    readme="Of what is bright:",
    methods="What exceeds the 95th percentile within the brain was called bright",
    numbers=(rows.Number("Bright", "BrightVoxels", column="Bright voxels"),),
    measures=lambda: (
        measure("bright_voxels", metric=measures.Metric("bright voxels", "high", 1.0)),
        measure("level"),
    ),
    on_page=True,
    table="bright_table",
)

OUTPUTS = (
    rows.Output(
        name="bright",
        made_by=("bright",),
        entities={"label": "bright", "desc": "brightness"},
        ending="mask.nii.gz",
        form="mask",
        value=lambda found: found["bright"].mask,
        readme="1 where it is bright",
        sidecar={"Type": "ROI", "Description": "What is bright", "Manual": False},
    ),
    rows.Output(
        name="bright_table",
        made_by=("bright",),
        entities={"desc": "brightness"},
        ending="bright.tsv",
        form="table",
        value=lambda found: f"voxels\tside\n{found['bright'].mask.sum()}\tleft\n",
        readme="how many voxels are bright",
        columns=lambda: COLUMNS,
        caption="Counts of bright voxels.",
        in_bids=False,
    ),
)

FIGURE = rows.Figure(
    name="bright",
    made_by="bright",
    files={"bright": ("bright", "{suffix}.webp")},
    draw=draw_bright,
    title="What is bright",
    alt="Slices of {} with what is bright",
    caption="Slices with the outline of what is bright.",
)

MASK = "sub-01/anat/sub-01_label-bright_desc-brightness_mask"
TABLE = "sub-01/anat/sub-01_desc-brightness_bright"


@pytest.fixture
def bright(monkeypatch):
    """The catalog with a third analysis in it."""
    monkeypatch.setattr(catalog, "ANALYSES", (*catalog.ANALYSES, BRIGHT))
    monkeypatch.setattr(catalog, "OUTPUTS", (*catalog.OUTPUTS, *OUTPUTS))
    monkeypatch.setattr(catalog, "FIGURES", (*catalog.FIGURES, FIGURE))


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def text(path):
    return " ".join(re.sub(r"<[^>]*>", " ", path.read_text(encoding="utf-8")).split())


def test_an_analysis_is_an_option_and_in_the_dry_run(bright, dataset, tmp_path, run, phantom):
    (action,) = (a for a in options.parser()._actions if a.dest == "analyses")
    assert action.choices == ["auto", "brain", "meningioma", "bright"]
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    words = ["--analyses", "bright", "--dry-run"]
    status, said = run(dataset.root, tmp_path / "out", "participant", *words)
    assert status == 0
    _, row = (line.split("\t") for line in said.splitlines())
    out = tmp_path / "out"
    assert row[:3] == ["sub-01/anat/sub-01_T1w.nii.gz", "bright", "n/a"]
    assert row[3].split() == [f"{out / MASK}.nii.gz", f"{out / TABLE}.tsv"]


def test_an_analysis_from_its_files_to_the_pages(bright, dataset, tmp_path, run, issues, phantom):
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    out = tmp_path / "out"
    status, said = run(dataset.root, out)
    assert status == 0
    assert "bright voxels in" in said

    mask = np.asanyarray(nb.load(out / f"{MASK}.nii.gz").dataobj)
    record = json.loads((out / f"{MASK}.json").read_text())
    assert record["BrightVoxels"] == int(mask.sum()) > 0
    assert record["Parameters"]["Percentile"] == 95
    assert record["Parameters"]["Brain"]["Model"] == "embedded"
    assert record["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert (record["Type"], record["Description"]) == ("ROI", "What is bright")
    assert table(out / f"{TABLE}.tsv") == [{"voxels": str(mask.sum()), "side": "left"}]
    assert json.loads((out / f"{TABLE}.json").read_text()) == COLUMNS
    assert {"*_bright.tsv", "*_bright.json"} <= set((out / ".bidsignore").read_text().split())
    readme = (out / "README.md").read_text()
    assert "Of what is bright:\n\n- `*_label-bright_desc-brightness_mask.nii.gz`" in readme
    assert (out / "sub-01/figures/sub-01_desc-bright_T1w.webp").is_file()

    page = text(out / "sub-01.html")
    assert "Slices with the outline of what is bright." in page
    assert "Counts of bright voxels." in page
    assert f"Bright {mask.sum()}" in page
    assert "What exceeds the 95th percentile within the brain was called bright (1 image)" in page

    status, said = run(dataset.root, out, "group")
    assert status == 0
    assert "group_desc-bright_qc.tsv" in said
    (row,) = table(out / "group_desc-bright_qc.tsv")
    assert row["bright_voxels"] == str(mask.sum())
    assert (row["model"], row["image"]) == ("n/a", f"{MASK}.nii.gz")
    explained = json.loads((out / "group_desc-bright_qc.json").read_text())
    assert explained["level"]["Description"] == "The level"
    assert "bright_voxels: above only" in explained["outlier_score"]["Description"]
    assert '"bright_voxels"' in (out / "group_desc-brain.html").read_text()
    assert issues(out) == []


def test_an_analysis_is_resumed(bright, dataset, tmp_path, run, phantom, monkeypatch):
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    out = tmp_path / "out"
    assert run(dataset.root, out)[0] == 0
    assert "1 skipped" in run(dataset.root, out)[1]
    (out / f"{TABLE}.tsv").unlink()
    assert "1 done" in run(dataset.root, out)[1]
    other = replace(BRIGHT, parameters=lambda model, of_analysis: {"Percentile": 90})
    monkeypatch.setattr(catalog, "ANALYSES", (*catalog.ANALYSES[:-1], other))
    assert "1 done" in run(dataset.root, out)[1]


def test_an_analysis_that_fails_leaves_a_crash_record(
    bright, dataset, tmp_path, run, phantom, monkeypatch
):
    def fail(source, method, findings):
        raise ValueError("not bright")

    monkeypatch.setattr(catalog, "ANALYSES", (*catalog.ANALYSES[:-1], replace(BRIGHT, find=fail)))
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    assert run(dataset.root, tmp_path / "out")[0] == 1
    (crash,) = (tmp_path / "out/logs/sub-01").glob("sub-01_T1w_crash-*.json")
    assert json.loads(crash.read_text())["Message"] == "ValueError: not bright"


def test_an_analysis_that_does_not_apply_says_why(bright, dataset, tmp_path, run, phantom):
    refusing = replace(BRIGHT, refuse=lambda scan: "bright: refused, too dark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "ANALYSES", (*catalog.ANALYSES[:-1], refusing))
        nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
        words = ["--analyses", "brain", "bright", "--dry-run"]
        _, said = run(dataset.root, tmp_path / "out", "participant", *words)
    assert "bright: refused, too dark" in said
    assert "brightness" not in said


@dataclass(frozen=True)
class Traced(Bright):
    """What a network of its own found."""


def find_with_network(source, method, findings):
    found = probability_map(source, method.model, method.network, method.options)
    return Traced(found >= method.threshold, method.threshold)


@pytest.fixture
def traced(bright, monkeypatch):
    """The catalog with a third analysis that has a registered model of its own."""
    row = replace(BRIGHT, find=find_with_network, default_models=("tracer",))
    monkeypatch.setattr(catalog, "ANALYSES", (*catalog.ANALYSES[:-1], row))
    known = registry.models()
    tracer = replace(known["embedded"], name="tracer", task="bright", threshold=0.25)
    monkeypatch.setattr(registry, "models", lambda: known | {"tracer": tracer})


def test_an_analysis_with_a_network_of_its_own(traced, dataset, tmp_path, run, phantom):
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    out = tmp_path / "out"
    assert catalog.analysis("bright").model().name == "tracer"
    assert run(dataset.root, out, "participant", "--no-reports")[0] == 0
    record = json.loads((out / f"{MASK}.json").read_text())
    assert record["Parameters"]["Model"] == "tracer"
    assert record["Parameters"]["Threshold"] == 0.25
    brain, bright = (
        np.asanyarray(nb.load(out / f"sub-01/anat/sub-01_{name}_mask.nii.gz").dataobj)
        for name in ("desc-brain", "label-bright_desc-brightness")
    )
    assert 0 < bright.sum() < brain.sum()  # of the same network, from a higher probability


def test_a_network_of_a_new_analysis_is_chosen_by_name_and_trained(traced, dataset, tmp_path, run):
    dataset.add("sub-01_T1w.nii.gz")
    words = ["--analyses", "bright", "--dry-run", "--model"]
    out = tmp_path / "out"
    for model in ("tracer", "bright=tracer", "bright=auto"):
        assert run(dataset.root, out, "participant", *words, model)[0] == 0
    assert run(dataset.root, out, "participant", *words, "bright=embedded")[0] == 2
    args = ["finetune", "bids", "labels", "--from", "tracer", "--task", "bright", "--out", "x"]
    assert brainmask.parser().parse_args(args).task == "bright"
    content = {
        "name": "mine",
        "task": "bright",
        "data": {"bids_dir": "bids", "labels": "labels"},
        "stages": [{"epochs": 1, "rate": [0.001, 0.0]}],
    }
    assert msgspec.convert(content, Config).task == "bright"
    message = "'task' is 'dark', expected brain or meningioma or bright"
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(content | {"task": "dark"}, Config)


def test_a_model_for_an_analysis_that_no_network_carries_out(
    bright, dataset, tmp_path, monkeypatch
):
    known = registry.models()
    tracer = replace(known["embedded"], name="tracer", task="bright")
    monkeypatch.setattr(registry, "models", lambda: known | {"tracer": tracer})
    dataset.add("sub-01_T1w.nii.gz")
    settings = Settings(
        bids_dir=dataset.root,
        output_dir=tmp_path / "out",
        analysis_level="participant",
        model=("tracer",),
    )
    with pytest.raises(UsageError, match="a model for 'bright'; expected one for brain or menin"):
        plan.choose_models(settings)


def test_an_output_of_an_analysis_that_exists(
    dataset, tmp_path, run, issues, phantom, monkeypatch
):
    added = rows.Output(
        name="outside",
        made_by=("brain",),
        entities={"label": "outside", "desc": "brain"},
        ending="mask.nii.gz",
        form="mask",
        value=lambda found: ~found["brain"].mask,
        readme="0 in the brain",
        option="outside",
        sidecar={"Type": "ROI", "Description": "Not the brain", "Manual": False},
    )
    monkeypatch.setattr(catalog, "OUTPUTS", (*catalog.OUTPUTS, added))
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    out = tmp_path / "out"
    assert run(dataset.root, out, "participant", "--outputs", "mask", "outside")[0] == 0
    parts = [
        np.asanyarray(nb.load(out / f"sub-01/anat/sub-01_{name}_mask.nii.gz").dataobj)
        for name in ("desc-brain", "label-outside_desc-brain")
    ]
    assert (parts[0] + parts[1] == 1).all()
    record = json.loads(
        (out / "sub-01/anat/sub-01_label-outside_desc-brain_mask.json").read_text()
    )
    assert (record["Description"], record["Parameters"]["Model"]) == ("Not the brain", "embedded")
    assert (
        "`*_label-outside_desc-brain_mask.nii.gz`: 0 in the brain"
        in (out / "README.md").read_text()
    )
    assert "1 skipped" in run(dataset.root, out, "participant", "--outputs", "mask", "outside")[1]
    assert issues(out) == []


def test_a_measure_of_an_analysis_that_exists(dataset, tmp_path, run, phantom, monkeypatch):
    added = measures.Measure(
        "brightest",
        {"LongName": "Brightest", "Description": "The largest intensity in the mask"},
        measures.Metric("brightest intensity", "high", 0.5),
        lambda sample: float(sample.volume.data[sample.mask].max()),
    )
    monkeypatch.setattr(quality, "MEASURES", (*quality.MEASURES, added))
    nb.save(phantom, dataset.add("sub-01_T1w.nii.gz"))
    out = tmp_path / "out"
    assert run(dataset.root, out)[0] == 0
    record = json.loads((out / "sub-01/anat/sub-01_desc-brain_mask.json").read_text())
    assert record["Quality"]["brightest"] > 0
    assert "Brightest" in text(out / "sub-01.html")
    assert run(dataset.root, out, "group")[0] == 0
    (row,) = table(out / "group_desc-brain_qc.tsv")
    assert float(row["brightest"]) == record["Quality"]["brightest"]
    explained = json.loads((out / "group_desc-brain_qc.json").read_text())
    assert explained["brightest"]["LongName"] == "Brightest"
    assert "brightest: above only" in explained["outlier_score"]["Description"]
    assert '"brightest"' in (out / "group_desc-brain.html").read_text()

    values = [{"volume_ml": 1000.0, "brightest": 100.0 + n % 3} for n in range(20)]
    (verdict,) = outliers.judge(
        [*values, {"volume_ml": 1000.0, "brightest": 900.0}], [("a",)] * 21
    )[-1:]
    assert verdict.reasons[0].startswith("brightest intensity")


@pytest.mark.parametrize("suffix", rows.SUFFIXES)
def test_no_two_files_of_a_scan_have_one_name(suffix):
    names = [row.file("sub-01", suffix) for row in catalog.OUTPUTS]
    names += [catalog.figure_path("sub-01", suffix, name) for name in catalog.figure_files()]
    others = {
        row.file("sub-01", other)
        for row in catalog.OUTPUTS
        for other in set(rows.SUFFIXES) - {suffix}
    }
    assert len(set(names)) == len(names)
    assert not others & set(names)


def test_every_row_refers_to_rows_that_there_are():
    names = set(catalog.names())
    assert len(names) == len(catalog.ANALYSES)
    for row in catalog.ANALYSES:
        assert row.name in catalog.output(row.main).made_by
        assert not row.table or catalog.output(row.table).form == "table"
        assert group_tables.columns(row.name)
    for row in catalog.OUTPUTS:
        assert set(row.made_by) <= names
        assert row.columns is None or row.is_table
    for row in catalog.FIGURES:
        assert row.made_by in names | {""}
    assert len(readback.endings()) == len(names) * len(rows.SUFFIXES)
