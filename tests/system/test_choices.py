# SPDX-License-Identifier: Apache-2.0
"""What is asked for single images stays so, until something else is asked.

The heads are tiny and the network is one comparison; all else is as in any run.
"""

import json
import re
import shutil

import pytest
from test_corrections import NAME, Study, _light, scale  # noqa: F401

from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.plan import prepare
from bids_brainmask.settings import Settings

IMAGE = f"sub-01/anat/{NAME}_T1w.nii.gz"
OTHER = "sub-02/anat/sub-02_T1w.nii.gz"


class Two(Study):
    """Two heads, of which the first is contrast-enhanced."""

    def plans(self, **options):
        """Plan a run without doing it."""
        given = {"bids_dir": self.data.root, "output_dir": self.out}
        return prepare(Settings(**given, analysis_level="participant", **options))

    def threshold(self, name="brain"):
        record = self.record(self.mask if name == "brain" else self.tumor)
        return record["Parameters"]["Threshold"]

    def table(self, *rows, header="image\tanalysis\tmodel\tthreshold\tborder\tprecision"):
        path = self.out.parent / "mine.tsv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Folder of two heads that have been processed once."""
    study = Two(tmp_path_factory.mktemp("choices"))
    study.data.add(f"{NAME}_T1w.nii.gz", scale.head(1))
    study.data.add("sub-02_T1w.nii.gz", scale.head(2))
    study.run("--no-reports")
    return study.out.parent


@pytest.fixture
def study(two, tmp_path):
    shutil.copytree(two, tmp_path / "study")
    return Two(tmp_path / "study")


def test_a_choice_for_one_image_stays(study):
    """Through plain runs, one with another option, --overwrite, and a manual mask."""
    only = ("--no-reports", "--participant-label", "01")
    assert study.run(*only, "--threshold", "0.3", "--border", "1").startswith("done")
    kept = r"kept, as asked on \d{4}-\d\d-\d\d: threshold 0.3, border 1"
    row = study.run("--no-reports")
    assert row.startswith("skipped")
    assert re.search(kept, row)
    assert re.search(kept, study.run("--no-reports", "--overwrite"))
    assert study.threshold() == 0.3
    mask = study.edit()
    assert re.search(f"manual mask.*; {kept}", study.run("--no-reports"))
    assert study.record()["Chosen"]["Threshold"] == 0.3
    assert study.record(study.automatic)["Parameters"]["Threshold"] == 0.3
    study.tool("adopt", study.out, "--revert", study.mask.name)
    assert re.search(kept, study.run("--no-reports"))
    assert study.record()["Parameters"]["Border"] == 1
    assert mask.any()
    row = study.run("--no-reports", "--border", "2")  # one option is replaced; the other stays
    assert re.search(r"as asked on \S+: threshold 0.3(;|$)", row)
    assert study.record()["Parameters"]["Border"] == 2
    study.run("--no-reports", "--reset-choices")
    assert "Chosen" not in study.record()
    assert study.threshold() != 0.3
    assert "kept" not in study.run("--no-reports")


def test_a_default_value_that_is_typed_takes_a_choice_back(study):
    """Each alone; and what is typed as a threshold replaces one, the model's own too."""
    asked = ("--threshold", "0.3", "meningioma=0.6", "--border", "1", "--model", "embedded")
    study.run("--no-reports", *asked)
    assert study.record()["Chosen"].keys() == {"Time", "Model", "Threshold", "Border"}
    row = study.run("--no-reports", "--border", "0")
    assert row.startswith("done")
    assert "Border" not in study.record()["Chosen"] | study.record()["Parameters"]
    assert study.threshold() == 0.3
    own = study.plans(reset_choices=True).thresholds["brain"]
    study.run("--no-reports", "--threshold", f"{own:g}")
    assert study.threshold() == own
    study.run("--no-reports", "--model", "auto", "--precision", "auto")
    assert "Chosen" not in study.record()
    assert "kept" not in study.run("--no-reports")


def test_a_choice_survives_a_sidecar_that_is_lost(study):
    study.run("--no-reports", "--threshold", "0.3", "meningioma=0.6")
    study.mask.with_name(f"{study.stem(study.mask)}.json").unlink()  # as a killed run leaves it
    study.run("--no-reports")
    assert (study.threshold(), study.threshold("meningioma")) == (0.3, 0.6)


def test_a_threshold_belongs_to_its_model(study):
    """Also to a model that the name auto means no more; with a named one it is dropped."""
    choice = {"Time": "2026-01-02T03:04:05+00:00", "Model": "embedded", "Threshold": 0.3}
    study.run("--no-reports", "--threshold", "0.3")
    said = study.record()["Chosen"]
    assert {**said, "Time": choice["Time"]} == choice
    assert study.plans().plans[0].choices["brain"].threshold == 0.3
    assert study.plans(model=("embedded",)).plans[0].choices["brain"].threshold == 0.3
    model = study.out.parent / "mine.npz"
    model.write_bytes(b"weights")
    other = study.plans(model=(str(model),)).plans[0]
    assert other.choices["brain"].threshold is None
    assert other.kept == ""


def test_a_model_that_is_a_file_is_found_again(study):
    """Its path is in logs/ alone; without it, results are kept, and none are made."""
    model = study.out.parent / "mine.npz"
    model.write_bytes(b"weights")
    study.run("--no-reports", "--model", str(model))
    assert study.record()["Chosen"]["Model"] == "mine"
    assert str(study.out.parent) not in json.dumps(study.record())
    assert study.run("--no-reports").startswith("skipped")
    assert "model mine" in study.run("--no-reports", "--overwrite")
    model.rename(model.with_name("away.npz"))
    assert "kept, as asked" in study.run("--no-reports")
    row = study.run("--no-reports", "--overwrite", status=1)
    assert re.search(r"failed +the model mine, which was chosen for this image on \S+, is", row)
    assert "done" in study.run("--no-reports", "--reset-choices")


def test_a_choice_that_changes_nothing_is_remembered(study):
    """The model that is the usual one today: no mask is made, and it stays with another usual."""
    before = study.mask.stat().st_mtime_ns
    study.run("--no-reports", "--model", "embedded")
    assert study.record()["Chosen"]["Model"] == "embedded"
    assert study.mask.stat().st_mtime_ns == before
    assert study.states()[study.mask.name] == "current"


def test_the_table_is_written_edited_and_read(study, caplog):
    study.run("--no-reports", "--participant-label", "01", "--threshold", "0.3")
    study.run(level="group")
    table = study.out / "choices.tsv"
    header, row = (line.split("\t") for line in table.read_text().splitlines())
    assert dict(zip(header, row, strict=True)) == {
        "image": IMAGE,
        "analysis": "brain",
        "model": "embedded",
        "threshold": "0.3",
        "border": "n/a",
        "precision": "n/a",
        "time": study.record()["Chosen"]["Time"],
    }
    assert "choices.*" in (study.out / ".bidsignore").read_text().splitlines()
    assert "image" in json.loads((study.out / "choices.json").read_text())
    table.write_text(
        table.read_text().replace("0.3", "0.25") + f"{OTHER}\tbrain\tn/a\t0.4" + "\tn/a" * 3
    )
    study.run(level="group")  # an edited table is not lost
    assert "rows that no run has carried out yet: 2" in caplog.text
    assert "0.25" in table.read_text()
    assert OTHER in table.read_text()
    assert study.run("--no-reports", "--choices", str(table)).startswith("done")
    assert study.threshold() == 0.25
    study.run(level="group")
    assert f"{IMAGE}\tbrain\tembedded\t0.25" in table.read_text()
    before = table.read_text()
    study.run("--participant-label", "02", level="group")  # which does not see all
    assert table.read_text() == before
    study.run("--no-reports", "--choices", str(study.table(f"{IMAGE}" + "\tn/a" * 5)))
    assert "Chosen" not in study.record()  # a row says everything


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("x\tbrain", "line 2: image: found 'x'; expected the path of an image"),
        ("../sub-01/anat/x\tbrain", "found '../sub-01/anat/x'; expected the path of an image"),
        ("sub-01/../../out\tbrain", "found 'sub-01/../../out'; expected"),
        ("sub-99/anat/sub-99_T1w.nii.gz\tbrain", "expected the path of an image in"),
        (f"{IMAGE}\tspleen", "analysis: found 'spleen'; expected brain or meningioma"),
        (f"{IMAGE}\tbrain\tnone such", "found the model 'none such'; expected a name of"),
        (f"{IMAGE}\tbrain\tembedded-meningioma", "found the model 'embedded-meningioma'"),
        (f"{IMAGE}\tbrain\ta\0b", "model: found 'a\\x00b'; expected a name or a path"),
        (f"{IMAGE}\tbrain\t\tnan", "threshold: found nan; expected a number between 0 and 1"),
        (f"{IMAGE}\tbrain\t\t=1+1", "threshold: found '=1+1'; expected a number between"),
        (f"{IMAGE}\tbrain\t\t\tinf", "border: found inf; expected mm between -100 and 100"),
        (f"{IMAGE}\tmeningioma\t\t\t1", "border: found 1; expected n/a for meningioma"),
        (f"{IMAGE}\tbrain\t\t\t\tint4", "precision: found 'int4'; expected auto or float32 or"),
        (f"{IMAGE}\tbrain\t\t\t\t\tnoon", "time: found 'noon'; expected a time such as"),
        (f"{IMAGE}\tbrain\n\n{IMAGE}\tbrain", "line 4: found sub-01"),
        (f"{IMAGE}\tbrain" + "\t" * 9, "line 2: found 11 cells; expected 7."),
    ],
)
def test_a_row_that_is_wrong_is_told(study, rows, said):
    header = "image\tanalysis\tmodel\tthreshold\tborder\tprecision\ttime"
    lines = [line + "\t" * (6 - line.count("\t")) if line else "" for line in rows.split("\n")]
    with pytest.raises(UsageError, match=re.escape(said)):
        study.plans(choices=study.table(*lines, header=header))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: found the columns ''; expected image and some of analysis, model,"),
        (b"image\ttreshold\n", "found the columns 'image, treshold'; expected image and some"),
        (b"image\timage\n", "found the columns 'image, image'"),
        (b"\xff\xfe\x00", "--choices: "),
        (None, "--choices: "),
    ],
)
def test_a_table_that_is_none_is_told(study, content, said, tmp_path):
    path = tmp_path / "choices.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(said)):
        study.plans(choices=path)
    if content:  # of a person: it stays
        (study.out / "choices.tsv").write_bytes(content)
        study.run(level="group")
        assert (study.out / "choices.tsv").read_bytes() == content


@pytest.mark.parametrize(
    "entry",
    [{"Threshold": "high"}, {"Threshold": 7}, ["Threshold"], {"Precision": {}}, {"Border": 1e9}],
)
def test_a_damaged_sidecar_asks_nothing(study, entry, caplog):
    path = study.mask.with_name(f"{study.stem(study.mask)}.json")
    path.write_text(json.dumps(study.record() | {"Chosen": entry}))
    assert not study.plans().plans[0].choices
    assert "Chosen is ignored, it is damaged" in caplog.text


def test_no_file_that_a_sidecar_names_is_read(study):
    model = study.out.parent / "evil.npz"
    model.write_bytes(b"weights")
    path = study.mask.with_name(f"{study.stem(study.mask)}.json")
    path.write_text(json.dumps(study.record() | {"Chosen": {"Model": str(model)}}))
    assert study.plans().plans[0].choices["brain"].absent


def test_only_images_with_a_verdict_are_done(study):
    """With the options given now, which stay."""
    ratings = study.out.parent / "ratings.tsv"
    mask = "sub-02/anat/sub-02_desc-brain_mask.nii.gz"
    digest = json.loads((study.out / mask.replace("nii.gz", "json")).read_text())["VoxelsSHA256"]
    ratings.write_text(
        "image\trating\tmask_sha256\n"
        f"{mask}\tunsure\t{digest}\n{study.mask.relative_to(study.out)}\taccept\tn/a\n"
    )
    run = study.plans(from_ratings=(ratings,), threshold=(("", 0.2),))
    assert [plan.scan.relative for plan in run.plans] == [OTHER]
    assert run.plans[0].choices["brain"].threshold == 0.2
    run = study.plans(from_ratings=(ratings,), only=("accept",))
    assert [plan.scan.relative for plan in run.plans] == [IMAGE]
    with pytest.raises(NothingToDo, match="none of 2 images is rated exclude"):
        study.plans(from_ratings=(ratings,), only=("exclude",))
    with pytest.raises(UsageError, match="--only needs ratings"):
        study.plans(only=("exclude",))
    with pytest.raises(UsageError, match=r"--from-ratings: .* cannot be read"):
        study.plans(from_ratings=(ratings.with_name("none.tsv"),))
    ratings.write_text(ratings.read_text().replace(digest, "0" * 64))
    with pytest.raises(NothingToDo, match="masks that have changed since do not count"):
        study.plans(from_ratings=(ratings,))


def test_the_options_reach_the_run(study):
    ratings = study.out.parent / "ratings.tsv"
    ratings.write_text(f"image\trating\n{study.mask.relative_to(study.out)}\texclude\n")
    words = ["--from-ratings", str(ratings), "--only", "exclude", "--threshold", "0.4"]
    assert study.run("--no-reports", *words).startswith("done")
    assert study.threshold() == 0.4
    with pytest.raises(SystemExit):
        study.run("--only", "bad")


def test_the_viewer_stays_until_it_is_refused(study):
    """Also where a plain run makes its images anew, here of a corrected mask."""
    only = ("--participant-label", "01")
    study.run(*only, "--viewer")
    shown = study.out / f"sub-01/figures/{NAME}_desc-viewer_T1w.nii.gz"
    before = shown.read_bytes()
    study.edit()
    study.run(*only)
    assert shown.read_bytes() != before
    assert study.states()[study.mask.name] == "manual"
    study.run(*only, "--no-viewer")
    assert not shown.exists()
