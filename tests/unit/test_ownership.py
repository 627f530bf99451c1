# SPDX-License-Identifier: Apache-2.0
"""Datasets of others are never changed, and what the user edits in ours is kept."""

import json
import logging
import os

import pytest

import bids_brainmask
from bids_brainmask import app
from bids_brainmask.api import check_places
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.dataset import derivatives, ownership, shared_tables
from bids_brainmask.errors import UsageError
from bids_brainmask.plan import Run, plan_scan
from bids_brainmask.settings import Settings

MASK = "sub-01/anat/sub-01_desc-brain_mask"
FMRIPREP = {
    "Name": "fMRIPrep - fMRI PREProcessing workflow",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1"}],
}
OURS = FMRIPREP | {"GeneratedBy": [{"Name": "bids_brainmask", "Version": "0.1"}]}


@pytest.fixture
def raw(dataset):
    dataset.add("sub-01_T1w.nii.gz")
    (dataset.root / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    return dataset.root


def describe(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "dataset_description.json").write_text(text)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(raw, out, capsys, level="participant"):
    """Run the app, which must refuse the output folder, and give the message."""
    before = contents(raw.parent)
    assert bids_app.main([str(raw), str(out), level]) == 2
    assert contents(raw.parent) == before
    return capsys.readouterr().err


OTHERS = {
    "fMRIPrep": (FMRIPREP, "a dataset of fMRIPrep 24.1"),
    "an old pipeline": ({"PipelineDescription": {"Name": "Old"}}, "a dataset of Old"),
    "a raw dataset": ({"Name": "Heads", "BIDSVersion": "1.9.0"}, "the raw dataset 'Heads'"),
    "no description": ("{}", "the raw dataset 'out'"),
    "a damaged description": ("{", "a dataset whose dataset_description.json is not readable"),
    "a list": ("[]", "a dataset whose dataset_description.json is not a JSON object"),
}


@pytest.mark.parametrize("level", ["participant", "group"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_dataset_is_not_an_output_folder(name, level, raw, tmp_path, capsys):
    content, found = OTHERS[name]
    out = tmp_path / "out"
    describe(out, content)
    for file in (f"{MASK}.nii.gz", f"{MASK}.json", "sub-01.html", "participants.tsv"):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text("another's")
    said = refused(raw, out, capsys, level)
    assert f"{out}: the folder belongs to {found}" in said
    assert f"Choose another folder, such as {raw}/derivatives/bids_brainmask." in said


@pytest.mark.parametrize("inside", ["sub-01", "sub-99/anat", "code", "results/x"])
def test_the_raw_dataset_is_not_written_into(inside, raw, capsys):
    assert "is within the raw dataset" in refused(raw, raw / inside, capsys)
    if (raw / inside).is_dir():
        assert "is within the raw dataset" in refused(raw, raw / inside, capsys, "group")


def test_a_link_does_not_lead_into_the_raw_dataset(raw, tmp_path, capsys):
    (tmp_path / "link").symlink_to(raw / "sub-01")
    assert "is within the raw dataset" in refused(raw, tmp_path / "link", capsys)


def test_a_participant_of_another_dataset_is_not_an_output_folder(raw, tmp_path, capsys):
    describe(tmp_path / "fmriprep", FMRIPREP)
    said = refused(raw, tmp_path / "fmriprep/sub-01", capsys)
    assert "belongs to a dataset of fMRIPrep 24.1" in said


@pytest.mark.parametrize("place", ["bids/derivatives", "bids/derivatives/x", "fmriprep/y", "new"])
def test_new_folders_are_output_folders(place, raw, tmp_path):
    describe(tmp_path / "fmriprep", FMRIPREP)
    assert bids_app.main([str(raw), str(tmp_path / place), "participant", "--dry-run"]) == 0


def test_a_folder_of_ours_is_an_output_folder(raw, tmp_path):
    describe(tmp_path / "out", OURS)
    assert bids_app.main([str(raw), str(tmp_path / "out"), "participant", "--dry-run"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sidecar", [None, "{", json.dumps(FMRIPREP)])
@pytest.mark.parametrize("name", [f"{MASK}.nii.gz", "sub-01.html"])
def test_files_without_a_description_are_not_overwritten(name, sidecar, raw, tmp_path, capsys):
    path = tmp_path / "out" / name
    (tmp_path / "out/sub-01/anat").mkdir(parents=True)
    path.write_text("another's")
    if sidecar:
        (tmp_path / "out" / f"{MASK}.json").write_text(sidecar)
    said = refused(raw, tmp_path / "out", capsys)
    assert f"{path}: would be overwritten, and no sidecar says that bids_brainmask" in said
    (tmp_path / "out" / f"{MASK}.json").write_text('{"Software": {"bids_brainmask": "0"}}')
    assert bids_app.main([str(raw), str(tmp_path / "out"), "participant", "--dry-run"]) == 0


def test_a_file_of_another_program_in_our_folder_fails_its_scan(raw, tmp_path):
    out = tmp_path / "out"
    describe(out, OURS)
    (out / "sub-01/anat").mkdir(parents=True)
    (out / f"{MASK}.nii.gz").write_text("another's")
    (out / f"{MASK}.json").write_text(json.dumps(FMRIPREP))
    chosen = Settings(bids_dir=raw, output_dir=out, analysis_level="participant", overwrite=True)
    from bids_brainmask.dataset import query

    plans = [plan_scan(scan, chosen) for scan in query.find_scans(chosen)]
    ((_, outcome),) = app.settle(Run(chosen, {}, {}, plans))
    assert outcome.status == "failed"
    assert "mask.nii.gz: exists already, and its sidecar says that fMRIPrep made it" in (
        outcome.detail
    )


def test_what_the_user_edits_in_the_description_is_kept(raw, tmp_path):
    chosen = Settings(bids_dir=raw, output_dir=tmp_path / "out", analysis_level="participant")
    derivatives.describe_dataset(chosen)
    path = tmp_path / "out/dataset_description.json"
    fresh = json.loads(path.read_text())
    edits = {"Authors": ["A. Person"], "License": "CC0", "Name": "Mine", "x": [1]}
    other = {"Name": "fMRIPrep", "Version": "24.1"}
    old = {**fresh["GeneratedBy"][0], "Version": "0.0.1"}
    links = {"atlas": "../atlas", "raw": "gone"}
    now = fresh["GeneratedBy"][0] | {"CodeURL": "gone"}
    edited = fresh | edits | {"GeneratedBy": [other, old, now], "DatasetLinks": links}
    path.write_text(json.dumps(edited | {"BIDSVersion": "1.0.0", "DatasetType": "raw"}))
    derivatives.describe_dataset(chosen)
    found = json.loads(path.read_text())
    assert {key: found[key] for key in edits} == edits
    assert found["GeneratedBy"] == [other, old, *fresh["GeneratedBy"]]
    assert found["DatasetLinks"] == {"atlas": "../atlas", **fresh["DatasetLinks"]}
    assert (found["BIDSVersion"], found["DatasetType"]) == (fresh["BIDSVersion"], "derivative")
    again = path.read_bytes()
    derivatives.describe_dataset(chosen)
    assert path.read_bytes() == again


def test_each_version_that_has_made_results_is_named(raw, tmp_path, monkeypatch):
    """What an old version made stays: the description must not say that the new one made it."""
    chosen = Settings(bids_dir=raw, output_dir=tmp_path / "out", analysis_level="participant")
    for version in ("0.1", "0.2", "0.2", "0.1"):
        monkeypatch.setattr(bids_brainmask, "__version__", version)
        derivatives.describe_dataset(chosen)
    found = json.loads((tmp_path / "out/dataset_description.json").read_text())["GeneratedBy"]
    assert [(each["Name"], each["Version"]) for each in found] == [
        ("bids_brainmask", "0.1"),
        ("bids_brainmask", "0.2"),
    ]


def test_lines_of_the_user_are_kept(raw, tmp_path):
    out = tmp_path / "out"
    chosen = Settings(bids_dir=raw, output_dir=out, analysis_level="participant")
    derivatives.describe_dataset(chosen)
    readme, ignored = (out / "README.md").read_text(), (out / ".bidsignore").read_text()
    stale = readme.replace("# Brain masks", "# An older text")
    (out / "README.md").write_text(f"Above\n{stale}Below \udce9\n", errors="surrogateescape")
    (out / ".bidsignore").write_text("mine/\n*.html\n")
    derivatives.describe_dataset(chosen)
    found = (out / "README.md").read_text(errors="surrogateescape")
    assert found == f"Above\n{readme}Below \udce9\n"
    assert (out / ".bidsignore").read_text().splitlines() == [
        "mine/",
        *ignored.splitlines(),
    ]
    (out / "README.md").write_text("All mine\n")
    derivatives.describe_dataset(chosen)
    assert (out / "README.md").read_text() == "All mine\n"


def copied(raw, out):
    shared_tables.copy_participants(Settings(bids_dir=raw, output_dir=out, analysis_level="group"))
    return (out / "participants.tsv").read_text()


def test_columns_of_the_user_and_rows_of_participants_who_left_are_kept(raw, tmp_path):
    out = tmp_path / "out"
    (out / "sub-03").mkdir(parents=True)
    plain = (raw / "participants.tsv").read_bytes()
    copied(raw, out)
    assert (out / "participants.tsv").read_bytes() == plain
    (out / "participants.tsv").write_text(
        "participant_id\tage\trated\nsub-01\t29\tgood\nsub-03\t50\tpoor\nsub-04\t1\tx\n"
    )
    (raw / "participants.tsv").write_text("participant_id\tage\tsex\nsub-02\t40\tF\nsub-01\t30\tM")
    expected = (
        "participant_id\tage\tsex\trated\nsub-02\t40\tF\tn/a\nsub-01\t30\tM\tgood\n"
        "sub-03\t50\tn/a\tpoor\n"
    )
    assert copied(raw, out) == expected
    assert copied(raw, out) == expected


def test_descriptions_of_the_users_columns_are_kept(raw, tmp_path):
    out = tmp_path / "out"
    (raw / "participants.json").write_text('{"age": {"Units": "year"}}')
    copied(raw, out)
    (out / "participants.json").write_text('{"age": {}, "rated": {"Description": "x"}}')
    copied(raw, out)
    found = json.loads((out / "participants.json").read_text())
    assert found == {"age": {"Units": "year"}, "rated": {"Description": "x"}}


@pytest.mark.parametrize(
    "text", ["", "age\n1\n", "participant_id\tx\tx\n", "participant_id\tx\na\n"]
)
def test_a_table_that_cannot_be_merged_is_left_alone(text, raw, tmp_path, caplog):
    (tmp_path / "participants.tsv").write_text(text)
    (tmp_path / "participants.json").write_text("[]")
    (raw / "participants.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert copied(raw, tmp_path) == text
    assert caplog.text.count("left as it is, it cannot be merged") == 2


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"[1]"])
def test_descriptions_that_cannot_be_merged_are_left_alone(content, raw, tmp_path, caplog):
    (raw / "participants.json").write_text("{}")
    (tmp_path / "participants.json").write_bytes(content)
    copied(raw, tmp_path)
    assert (tmp_path / "participants.json").read_bytes() == content
    assert "left as it is, it cannot be merged" in caplog.text


def test_single_files_do_not_replace_those_of_a_dataset(raw, tmp_path):
    image = raw / "sub-01/anat/sub-01_T1w.nii.gz"
    with pytest.raises(UsageError, match="exists already in the raw dataset 'Phantoms'"):
        check_places(str(tmp_path / "head.nii.gz"), image)
    check_places(str(tmp_path / "head.nii.gz"), image.with_name("new_mask.nii.gz"))
    for name in ("plain", "ours"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "mask.nii.gz").touch()
        check_places("head.nii.gz", tmp_path / name / "mask.nii.gz")
        describe(tmp_path / "ours", OURS)


def test_the_demonstration_is_not_written_into_another_dataset(raw, capsys):
    before = contents(raw)
    for place in (raw, raw / "sub-01"):
        assert brainmask.main(["demo", str(place)]) == 2
        assert "belongs to the raw dataset 'Phantoms'" in capsys.readouterr().err
    assert contents(raw) == before


def test_a_folder_without_a_dataset_above_is_free(tmp_path):
    assert not ownership.is_described(tmp_path)
    ownership.check_folder(tmp_path / os.pardir / tmp_path.name, "")
