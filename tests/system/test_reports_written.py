# SPDX-License-Identifier: Apache-2.0
"""When pages and figures are written, and when not."""

import json

import pytest
from conftest import Dataset

from bids_brainmask import app, plan
from bids_brainmask.cli import bids_app
from bids_brainmask.errors import UsageError
from bids_brainmask.reports import participant_page
from bids_brainmask.settings import Settings

FIGURES = {
    f"desc-{name}_T1w" for name in ("brain", "uncertainty", "thumbnail", "slices", "overlays")
}


@pytest.fixture(scope="module")
def raw(small_head, tmp_path_factory):
    """Two participants, the first with two sessions."""
    data = Dataset(tmp_path_factory.mktemp("reports") / "bids")
    for name in ("sub-01_ses-1_T1w", "sub-01_ses-2_ce-gad_T1w", "sub-02_T1w"):
        data.add(f"{name}.nii.gz", small_head)
    (data.root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    return data.root


def run(raw, out, *words):
    return bids_app.main([str(raw), str(out), "participant", *words])


@pytest.fixture(scope="module")
def finished(raw, tmp_path_factory):
    """All of it done, with the group level."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert run(raw, out) == 0
    assert bids_app.main([str(raw), str(out), "group"]) == 0
    return out


def test_a_page_for_each_participant_with_its_figures(finished):
    assert {path.name for path in finished.glob("sub-*.html")} == {"sub-01.html", "sub-02.html"}
    page = (finished / "sub-01.html").read_text(encoding="utf-8")
    for anchor in ("sub-01_ses-1", "sub-01_ses-2_ce-gad"):
        assert f'id="{anchor}"' in page
    assert len(page) < 3e6
    lesions = {f"desc-{name}_T1w" for name in ("meningioma", "lesionthumbnail", "lesionoverlays")}
    for name, more in (("sub-01_ses-1", set()), ("sub-01_ses-2_ce-gad", lesions)):
        found = {path.stem for path in finished.glob(f"sub-01/figures/{name}_*")}
        assert found == {f"{name}_{ending}" for ending in FIGURES | more}


def test_the_sidecar_holds_the_measures_and_the_command(finished):
    path = finished / "sub-02/anat/sub-02_desc-brain_mask.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["Quality"]["volume_ml"] == pytest.approx(record["BrainVolume"], abs=1e-3)
    assert record["Quality"]["predicted_dice"] == pytest.approx(record["PredictedDice"], abs=1e-4)
    assert record["Command"]


def test_all_of_it_is_valid(finished, issues):
    assert issues(finished) == []


def test_without_reports_there_are_none(raw, tmp_path):
    assert run(raw, tmp_path, "--no-reports", "--participant-label", "02") == 0
    assert list(tmp_path.glob("*.html")) == []
    assert not (tmp_path / "sub-02/figures").exists()
    assert (tmp_path / "sub-02/anat/sub-02_desc-brain_mask.json").exists()


def test_a_later_run_writes_what_is_missing_and_the_page_of_all(raw, tmp_path):
    words = ["--participant-label", "01", "--session-label"]
    assert run(raw, tmp_path, *words, "1", "--no-reports") == 0
    assert run(raw, tmp_path, *words, "2") == 0
    page = tmp_path / "sub-01.html"
    assert 'id="sub-01_ses-1"' in page.read_text(encoding="utf-8")  # of the other run
    figure = tmp_path / "sub-01/figures/sub-01_ses-2_ce-gad_desc-brain_T1w.webp"
    before = figure.read_bytes()
    figure.unlink()
    page.unlink()
    assert run(raw, tmp_path, *words, "2") == 0
    assert figure.read_bytes() == before
    assert page.exists()
    status = figure.stat()
    assert run(raw, tmp_path, *words, "2") == 0
    assert figure.stat() == status  # skipped, since all is there


def test_an_image_that_fails_is_in_the_page(raw, tmp_path):
    data = Dataset(tmp_path / "bids")
    data.add("sub-01_ses-1_T1w.nii.gz", b"not an image")
    good = raw / "sub-02/anat/sub-02_T1w.nii.gz"
    data.add("sub-01_ses-2_T1w.nii.gz", good.read_bytes())
    assert run(data.root, tmp_path / "out") == 1
    page = (tmp_path / "out/sub-01.html").read_text(encoding="utf-8")
    assert "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz" in page
    assert "not a readable NIfTI image" in page
    assert 'id="sub-01_ses-2"' in page


def test_a_page_that_cannot_be_written_fails_no_image(raw, tmp_path, caplog):
    (tmp_path / "sub-02.html").mkdir()
    assert run(raw, tmp_path, "--participant-label", "02") == 0
    assert "the report cannot be written" in caplog.text


def test_a_viewer_without_reports_is_a_contradiction(raw, tmp_path, capsys):
    assert run(raw, tmp_path, "--viewer", "--no-reports") == 2
    assert "--viewer: the viewer is part of the reports" in capsys.readouterr().err


def test_a_viewer_that_is_not_there_ends_the_run_before_any_work(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", "web/absent.js")
    settings = Settings(
        bids_dir=raw, output_dir=tmp_path, analysis_level="participant", viewer=True
    )
    with pytest.raises(UsageError, match="this installation has no viewer"):
        plan.prepare(settings)
    assert list(tmp_path.iterdir()) == []
    app.write_report("02", settings)  # and a page that wants it is told of, not raised
