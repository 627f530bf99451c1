# SPDX-License-Identifier: Apache-2.0
"""Which images are found: in real layouts, and in odd ones."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bids
import pytest
from bids.layout import Query
from conftest import Dataset

from bids_brainmask.dataset import filter_file, folders, indexer, query
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.plan import prepare
from bids_brainmask.settings import Settings


def find(root, **options):
    options.setdefault("output_dir", Path("out"))
    return query.find_scans(Settings(bids_dir=root, analysis_level="participant", **options))


def names(root, **options):
    return [scan.relative.rsplit("/", 1)[-1] for scan in find(root, **options)]


EXAMPLES = {  # T1w images, participants with one
    "7t_trt": (22, 22),
    "asl001": (1, 1),
    "ds000001-fmriprep": (0, 0),  # derivatives, so no raw T1w
    "ds000117": (16, 16),
    "ds001": (16, 16),
    "ds107": (49, 49),
    "ds114": (20, 10),
    "eeg_rest_fmri": (6, 3),
    "hcp_example_bids": (1, 1),
    "mri_chunk": (2, 1),
    "pet002": (4, 2),
    "synthetic": (10, 5),
}


@pytest.fixture(scope="session")
def examples(shared, tmp_path_factory):
    """Twelve datasets of bids-examples."""
    folder = tmp_path_factory.mktemp("examples")
    # Not tarfile: what it asks for to be safe, the first releases of Python 3.11 do not know.
    archive = shared / "data/bids_examples.tar.gz"
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return folder


def test_every_example_is_in_the_table(examples):
    assert {path.name for path in examples.iterdir()} == set(EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_images_of_the_example_datasets(name, examples):
    images, people = EXAMPLES[name]
    if not images:
        with pytest.raises(UsageError, match="a derivative dataset of fMRIPrep, without raw"):
            find(examples / name)
        return
    found = find(examples / name)
    assert (len(found), len({scan.participant for scan in found})) == (images, people)
    assert [scan.relative for scan in found] == sorted(scan.relative for scan in found)
    assert all(scan.path.is_file() for scan in found)
    assert not any(scan.contrast for scan in found)


def test_nothing_is_written_into_the_dataset(examples):
    before = {(p, p.stat().st_mtime_ns) for p in (examples / "ds114").rglob("*")}
    find(examples / "ds114")
    assert {(p, p.stat().st_mtime_ns) for p in (examples / "ds114").rglob("*")} == before


@pytest.fixture
def varied(dataset):
    """One image of every kind that counts, and many that do not."""
    for name in (
        "sub-01_T1w.nii.gz",
        "sub-01_run-01_T1w.nii",
        "sub-01_run-2_T1w.nii",
        "sub-01_acq-mprage_T1w.nii.gz",
        "sub-01_ce-gadolinium_T1w.nii.gz",
        "sub-01_part-mag_T1w.nii.gz",
        "sub-01_part-phase_T1w.nii.gz",
        "sub-01_T2w.nii.gz",
        "sub-02_ses-A_acq-x_ce-y_rec-norm_run-1_echo-1_part-mag_T1w.nii.gz",
        "sub-02_ses-B_T1w.nii.gz",
    ):
        dataset.add(name)
    for elsewhere in ("derivatives/x", "sourcedata", "code"):
        folder = dataset.root / elsewhere / "sub-01/anat"
        folder.mkdir(parents=True)
        (folder / "sub-01_T1w.nii.gz").touch()
    return dataset


MAGNITUDE = [
    "sub-01_T1w.nii.gz",
    "sub-01_acq-mprage_T1w.nii.gz",
    "sub-01_ce-gadolinium_T1w.nii.gz",
    "sub-01_part-mag_T1w.nii.gz",
    "sub-01_run-01_T1w.nii",
    "sub-01_run-2_T1w.nii",
    "sub-02_ses-A_acq-x_ce-y_rec-norm_run-1_echo-1_part-mag_T1w.nii.gz",
    "sub-02_ses-B_T1w.nii.gz",
]


def test_one_scan_for_each_magnitude_image(varied):
    assert names(varied.root) == MAGNITUDE


def test_entities_keep_order_and_padding(varied):
    scans = {scan.relative.rsplit("/", 1)[-1]: scan for scan in find(varied.root)}
    for name, scan in scans.items():
        assert name.startswith(f"{scan.prefix}_T1w.")
        assert scan.path.name == name
    assert scans["sub-01_run-01_T1w.nii"].entities == (("sub", "01"), ("run", "01"))
    assert scans["sub-02_ses-B_T1w.nii.gz"].folder == Path("sub-02/ses-B/anat")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"participant_label": ("02",)}, MAGNITUDE[6:]),
        ({"session_label": ("B",)}, MAGNITUDE[7:]),
        ({"run_id": ("1",)}, [MAGNITUDE[4], MAGNITUDE[6]]),
        ({"run_id": ("01", "2")}, MAGNITUDE[4:7]),
        ({"acquisition": ("mprage",)}, MAGNITUDE[1:2]),
        (
            {"acquisition": ("mprage", "x"), "participant_label": ("01", "02")},
            [MAGNITUDE[1], MAGNITUDE[6]],
        ),
    ],
)
def test_selection(varied, options, expected):
    assert names(varied.root, **options) == expected


FILTERS = [
    ({"t1w": {"session": None}}, MAGNITUDE[:6]),
    ({"t1w": {"session": [None, None, False]}}, MAGNITUDE[:6]),
    ({"t1w": {"session": "*"}}, MAGNITUDE[6:]),
    ({"t1w": {"ceagent": "gadolinium"}}, [MAGNITUDE[2]]),
    (
        {"t1w": {"run": [1, None], "ceagent": None, "acquisition": None}},
        [
            "sub-01_T1w.nii.gz",
            "sub-01_part-mag_T1w.nii.gz",
            "sub-01_run-01_T1w.nii",
            "sub-02_ses-B_T1w.nii.gz",
        ],
    ),
    ({"t1w": {"part": "phase"}}, ["sub-01_part-phase_T1w.nii.gz"]),
    ({"bold": {"task": "rest"}}, MAGNITUDE),
    ({}, MAGNITUDE),
]


@pytest.mark.parametrize(("content", "expected"), FILTERS)
def test_filter_file(varied, tmp_path, content, expected, caplog):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert names(varied.root, bids_filter_file=path) == expected
    assert not caplog.text


def test_options_and_filter_file_hold_together(varied, tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"t1w": {"ceagent": None}}))
    found = names(varied.root, bids_filter_file=path, run_id=("1",))
    assert found == ["sub-01_run-01_T1w.nii"]


@pytest.mark.parametrize(
    "content",
    [
        {"t2star": {}, "t1w": {}},
        {"t1w": {"sesion": "A"}},  # codespell:ignore
        {"t1w": {"suffix": "T2w"}},
    ],
)
def test_unknown_keys_of_a_filter_file_are_warned_of_and_ignored(
    varied, tmp_path, content, caplog
):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps(content))
    assert names(varied.root, bids_filter_file=path) == MAGNITUDE
    assert "ignored" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", r'expected {"t1w": {"entity": value}}, found \[1\]'),
        ('{"t1w": "x"}', "expected .* found"),
        ('{"t1w": {"run": {"a": 1}}}', "run: expected text, a number, null or a list"),
    ],
)
def test_a_filter_file_of_another_form_is_refused(tmp_path, content, reason):
    path = tmp_path / "filter.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=reason):
        filter_file.read(path, ["run"])


def test_an_absent_filter_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        filter_file.read(tmp_path / "absent.json", [])


def test_null_and_star_become_queries(tmp_path):
    path = tmp_path / "filter.json"
    path.write_text('{"t1w": {"run": null, "session": ["*", "A"]}}')
    found = filter_file.read(path, ["run", "session"])
    assert found == {"run": Query.NONE, "session": [Query.ANY, "A"]}


def test_unknown_participants_are_refused_with_those_that_exist(varied):
    with pytest.raises(
        UsageError, match=r"--participant-label: 03, x not found in .*Existing labels: 01, 02"
    ):
        find(varied.root, participant_label=("x", "03", "01"))


def test_of_thousands_of_participants_the_error_lists_twenty(tmp_path):
    for number in range(1000):
        (tmp_path / f"sub-{number:04}").mkdir()
    with pytest.raises(
        UsageError, match=r"x not found in .*Existing labels: 0000, .*, 0019 and 980 more\.$"
    ):
        find(tmp_path, participant_label=("x",), skip_bids_validation=True)


def test_unknown_sessions_are_refused_with_those_that_exist(varied):
    with pytest.raises(
        UsageError, match=r"--session-label: C not found in .*Existing labels: A, B"
    ):
        find(varied.root, session_label=("A", "C"))
    with pytest.raises(UsageError, match="Existing labels: none"):
        find(varied.root, session_label=("C",), participant_label=("01",))


def test_nothing_matches(varied, tmp_path):
    reason = (
        r"found no T1w image of 2 participants with acquisition nine\. There are 9 T1w with other "
        r"values, 1 T2w \(--suffix T2w\)\. Expected names such as"
    )
    with pytest.raises(NothingToDo, match=reason):
        find(varied.root, acquisition=("nine",))


def test_no_participant(dataset):
    with pytest.raises(NothingToDo, match=r"expected folders named sub-\*"):
        find(dataset.root)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "dataset_description.json: not found"),
        ("{", "not JSON"),
        ("{}", "required keys are missing: BIDSVersion, Name"),
    ],
)
def test_what_is_no_dataset_is_refused_unless_validation_is_skipped(dataset, content, reason):
    dataset.add("sub-01_T1w.nii.gz")
    path = dataset.root / "dataset_description.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=reason):
        find(dataset.root)
    assert names(dataset.root, skip_bids_validation=True) == ["sub-01_T1w.nii.gz"]


def test_what_pybids_cannot_index_is_refused(dataset):
    dataset.add("sub-01_T1w.nii.gz")
    (dataset.root / "dataset_description.json").write_text('["Name"]')
    with pytest.raises(UsageError, match="required keys are missing: BIDSVersion"):
        find(dataset.root)
    with pytest.raises(UsageError, match="pybids cannot index this dataset"):
        find(dataset.root, skip_bids_validation=True)


def test_a_home_that_cannot_be_looked_into_is_told_of(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    command = [sys.executable, "-m", "bids_brainmask", dataset.root, tmp_path, "participant"]
    home = {"HOME": "/" + 300 * "x"}  # longer than a name may be; root may look anywhere else
    done = subprocess.run(
        [*command, "--dry-run"],
        env=os.environ | home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Set HOME to a readable folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_absent_dataset_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        find(tmp_path / "absent")


def test_a_file_is_no_dataset(dataset):
    image = dataset.add("sub-01_T1w.nii.gz")
    with pytest.raises(UsageError, match=r"For a single image: brainmask extract .*T1w.nii.gz -o"):
        find(image)
    with pytest.raises(UsageError, match=r"a file; .* Give the folder of the dataset that it is"):
        find(dataset.root / "README")


def derivative(folder):
    """Make a dataset such as fMRIPrep writes."""
    data = Dataset(folder)
    description = {
        "Name": "x",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "fMRIPrep"}],
        "SourceDatasets": [{"URL": "file:///raw"}],
    }
    (folder / "dataset_description.json").write_text(json.dumps(description))
    data.add("sub-01_desc-preproc_T1w.nii.gz")
    return data


def test_a_derivative_dataset_is_answered_in_one_sentence(tmp_path, caplog):
    data = derivative(tmp_path / "derivative")
    with pytest.raises(
        UsageError, match=r"derivative dataset of fMRIPrep, .* made from: file:///"
    ):
        find(data.root)
    assert not caplog.messages
    data.add("sub-01_T1w.nii.gz")  # some pipelines write images with names of raw ones
    assert names(data.root) == ["sub-01_T1w.nii.gz"]


def test_swapped_folders_are_told_of_with_the_right_command(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    out = derivative(tmp_path / "derivative").root
    for other in (out, tmp_path / "empty", tmp_path / "absent"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        settings = Settings(bids_dir=other, output_dir=dataset.root, analysis_level="participant")
        with pytest.raises(UsageError, match="The folders are swapped: write bids-") as caught:
            prepare(settings)
        assert f" {dataset.root} {other} participant." in str(caught.value)
    folders.check_order(replace(settings, bids_dir=dataset.root, output_dir=out))


@pytest.mark.parametrize(
    ("options", "guess"),
    [
        ({"participant_label": ("O12",)}, "Did you mean 012?"),
        ({"session_label": ("preop",)}, "Did you mean preOP?"),
    ],
)
def test_a_label_that_is_like_one_that_exists(dataset, options, guess):
    dataset.add("sub-012_ses-preOP_T1w.nii.gz")
    with pytest.raises(UsageError) as caught:
        find(dataset.root, **options)
    assert guess in str(caught.value)


def test_an_entity_that_is_like_one_that_exists(dataset, tmp_path, caplog):
    dataset.add("sub-01_acq-x_T1w.nii.gz")
    path = tmp_path / "filter.json"
    path.write_text('{"T1W": {}, "t1w": {"akquisition": "x"}}')
    assert names(dataset.root, bids_filter_file=path) == ["sub-01_acq-x_T1w.nii.gz"]
    assert "'akquisition' is not a known entity; ignored. Did you mean acquisition?" in caplog.text
    assert "key 'T1W' is not for T1w images; ignored. Did you mean t1w?" in caplog.text


def test_the_dataset_is_not_its_own_output(dataset):
    dataset.add("sub-01_T1w.nii.gz")
    with pytest.raises(UsageError, match="the output folder is the dataset itself"):
        find(dataset.root, output_dir=dataset.root)


def test_names_that_are_not_bids_are_passed_over_aloud(dataset, caplog):
    dataset.add("sub-01_T1w.nii.gz")
    anat = dataset.root / "sub-01/anat"
    for name in ("T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-01_desc-x_T1w.nii", "loop_T1w.nii"):
        (anat / name).touch()
    assert names(dataset.root) == ["sub-01_T1w.nii.gz"]
    assert caplog.text.count("not a valid name of a raw image in this folder") == 4
    (anat / "sub-01_foo-3_T1w.nii.gz").touch()
    assert names(dataset.root) == ["sub-01_T1w.nii.gz"]
    assert "not a valid BIDS name" in caplog.text
    assert len(names(dataset.root, skip_bids_validation=True)) == 2


def test_a_dangling_link_is_found(dataset):
    path = dataset.add("sub-01_T1w.nii.gz")
    path.unlink()
    path.symlink_to("../../.git/annex/objects/absent")
    assert names(dataset.root) == ["sub-01_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("sidecar", "contrast"),
    [
        ({"ContrastBolusIngredient": "GADOLINIUM"}, True),
        ({"ContrastBolusIngredient": ["IODINE"]}, True),
        ({"ContrastBolusIngredient": ""}, False),
        ({"ContrastBolusIngredient": "n/a"}, False),
        ({"EchoTime": 0.003}, False),
    ],
)
def test_a_sidecar_tells_of_contrast(dataset, sidecar, contrast):
    dataset.add("sub-01_T1w.nii.gz", **sidecar)
    assert find(dataset.root)[0].contrast is contrast


def test_the_sidecar_of_another_image_in_the_folder_tells_nothing(dataset):
    dataset.add("sub-01_T1w.nii.gz", EchoTime=0.003)
    dataset.add("sub-01_acq-post_T1w.nii.gz", ContrastBolusIngredient="GADOLINIUM")
    found = {scan.prefix: scan.contrast for scan in find(dataset.root)}
    assert found == {"sub-01": False, "sub-01_acq-post": True}


def test_contrast_is_inherited_and_overridden(dataset):
    dataset.add("sub-01_T1w.nii.gz")
    dataset.add("sub-02_T1w.nii.gz", ContrastBolusIngredient="none")
    (dataset.root / "T1w.json").write_text('{"ContrastBolusIngredient": "GADOLINIUM"}')
    assert [scan.contrast for scan in find(dataset.root)] == [True, False]


def test_a_broken_sidecar_is_warned_of(dataset, caplog):
    path = dataset.add("sub-01_T1w.nii.gz")
    path.with_name("sub-01_T1w.json").write_text("{")
    assert not find(dataset.root)[0].contrast
    assert "sub-01_T1w.json: not readable as JSON" in caplog.text


def test_an_entity_tells_of_contrast(varied):
    assert [scan.contrast for scan in find(varied.root)] == ["_ce-" in name for name in MAGNITUDE]


def test_a_database_holds_the_whole_dataset(varied, tmp_path):
    database = tmp_path / "database"
    assert len(names(varied.root, bids_database_dir=database, participant_label=("02",))) == 2
    assert (database / "layout_index.sqlite").is_file()
    assert names(varied.root, bids_database_dir=database) == MAGNITUDE


def another(data, tmp_path):
    shutil.copytree(data.root, tmp_path / "other")
    return tmp_path / "other"


def added(data, _):
    data.add("sub-new_T1w.nii.gz")
    return data.root


def removed(data, _):
    shutil.rmtree(data.root / "sub-01")
    return data.root


def changed(data, _):
    data.add("sub-02_ses-later_T1w.nii.gz")
    return data.root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words", "count"),
    [
        (another, "it was made of", 2),
        (added, "new: new", 3),
        (removed, "gone: 01", 1),
        (changed, "changed: 02", 3),
    ],
)
def test_an_index_that_is_not_of_this_dataset_is_refused(dataset, tmp_path, change, words, count):
    for label in ("01", "02"):
        dataset.add(f"sub-{label}_T1w.nii.gz")
    kept = {"bids_database_dir": tmp_path / "database"}
    assert len(find(dataset.root, **kept)) == 2
    root = change(dataset, tmp_path)
    with pytest.raises(UsageError, match=rf"not of the present dataset: .*{words}.*--reset-data"):
        find(root, **kept)
    assert len(find(root, **kept, reset_database=True)) == count
    assert len(find(root, **kept)) == count


def test_only_the_participants_asked_for_are_looked_at(varied):
    unreadable = varied.root / "sub-01/anat/sub-01_T1w.json"
    unreadable.write_text("{")
    assert len(find(varied.root, participant_label=("02",))) == 2


FOLDER_OPENED = """
import sys
from dataclasses import replace
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: opened.append(args) if event == "os.scandir" else None)
from bids_brainmask.dataset import filter_file, folders, query
from bids_brainmask.plan import prepare
from bids_brainmask.settings import Settings
root, *labels = sys.argv[1:]
settings = Settings(bids_dir=Path(root), output_dir=Path("out"), analysis_level="participant",
                    participant_label=tuple(labels))
print(len(query.find_scans(settings)))
print(*{name.split("/")[0] for path, in opened if (name := str(path).removeprefix(f"{root}/"))})
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 11])
def test_the_folders_of_others_are_not_opened(dataset, count):
    labels = [f"{number:02}" for number in range(1, count + 1)]
    for label in [*labels, "other"]:
        dataset.add(f"sub-{label}_T1w.nii.gz", EchoTime=0.003)
    done = subprocess.run(
        [sys.executable, "-c", FOLDER_OPENED, dataset.root, *labels],
        capture_output=True,
        text=True,
        check=True,
    )
    found, opened = done.stdout.splitlines()
    assert int(found) == count
    assert {word for word in opened.split() if word.startswith("sub-")} == {
        f"sub-{label}" for label in labels
    }


def by_pybids(root):
    """Give pybids' own index of all images of participants, by its own walk."""
    wanted = r"/sub-[^/]+(/ses-[A-Za-z0-9+]+)?(/(?i:anat))?(/[^/]+(?i:\.nii(\.gz)?))?"
    others = re.compile(f"^(?!({wanted})$)(?!/$)")
    theirs = bids.BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=[others])
    layout = bids.BIDSLayout(root, validate=False, derivatives=False, indexer=theirs)
    return {
        path: file.entities
        for path, file in layout.files.items()
        if Path(path).parent != root and not Path(path).name.startswith(".")
    }


def by_ours(root):
    ours = indexer.Indexer([f"sub-{label}" for label in folders.participants(root)])
    layout = bids.BIDSLayout(root, validate=False, derivatives=False, indexer=ours)
    return {path: file.entities for path, file in layout.files.items()}


ODD = (
    *("sub-01/anat/._sub-01_T1w.nii.gz", "sub-01/anat/.hidden/sub-01_T1w.nii.gz"),
    *("sub-01/ANAT/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1W.NII.GZ", "sub-01/sub-01_T1w.nii"),
    *("sub-01/ses-1/sub-01_ses-1_T1w.nii.gz", "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz"),
    *("sub-01/ses-a-b/anat/sub-01_ses-a-b_T1w.nii.gz", "sub-01/func/sub-01_task-x_bold.nii.gz"),
    *("sub-01/anat/more/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.zarr/0", "sub-01_T1w.nii.gz"),
    *("derivatives/sub-01/anat/sub-01_T1w.nii.gz", "sub-0 2/anat/sub-0 2_T1w.nii.gz"),
    *("sub-03.nii.gz/anat/sub-03_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz/sub-01_T1w.nii.gz"),
)


def test_our_walk_finds_what_that_of_pybids_does(dataset):
    """Names of all kinds; a link to nothing, as DataLad leaves it; links to folders."""
    dataset.add("sub-01_run-1_acq-x_T1w.nii.gz")
    for name in ODD:
        path = dataset.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (dataset.root / "sub-01/anat/sub-01_FLAIR.nii.gz").symlink_to("../../.git/annex/none")
    (dataset.root / "sub-01/anat/sub-01_PDw.nii.gz").symlink_to("sub-01_PDw.nii.gz")  # a loop
    (dataset.root / "sub-04").symlink_to("sub-01")
    (dataset.root / "sub-01/ses-2").symlink_to("ses-1")
    found = by_ours(dataset.root)
    assert len(found) > 15
    assert found == by_pybids(dataset.root)


@pytest.mark.parametrize("name", ["ds001", "7t_trt", "ds114", "synthetic", "ds000117"])
def test_our_walk_finds_what_that_of_pybids_does_in_examples(examples, name):
    found = by_ours(examples / name)
    assert found
    assert found == by_pybids(examples / name)


def test_a_folder_that_cannot_be_read_is_told(tmp_path, caplog, monkeypatch):
    """As a folder of a network disk that is gone; root may read all others."""
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    scan = os.scandir

    def gone(path):
        if str(path).endswith("anat"):
            raise OSError(116, "Stale file handle")
        return scan(path)

    monkeypatch.setattr(os, "scandir", gone)
    assert by_ours(tmp_path) == {}
    assert "sub-01/anat: not readable ([Errno 116] Stale file handle); ignored" in caplog.text


@pytest.fixture
def inherited(dataset):
    """Participants of all kinds."""
    for number in range(12):
        dataset.add(f"sub-{number:02}_T1w.nii.gz", EchoTime=0.003)
        dataset.add(f"sub-{number:02}_ses-1_run-1_T1w.nii.gz")
        dataset.add(f"sub-{number:02}_ses-2_acq-post_T1w.nii", EchoTime=0.003)
    told = '{"ContrastBolusIngredient": "GADOLINIUM"}'
    (dataset.root / "acq-post_T1w.json").write_text(told)  # of all
    (dataset.root / "sub-01/sub-01_T1w.json").write_text(told)  # of all of one
    (dataset.root / "sub-02/ses-1/sub-02_ses-1_T1w.json").write_text(told)
    return dataset


@pytest.mark.slow
def test_with_labels_the_same_is_found_as_without(inherited):
    everything = find(inherited.root)
    for labels in (("00",), ("02", "01"), tuple(f"{number:02}" for number in range(1, 12))):
        expected = [scan for scan in everything if scan.participant in labels]
        assert find(inherited.root, participant_label=labels) == expected


def test_sidecars_above_the_images_tell_of_contrast(inherited):
    told = [scan.relative for scan in find(inherited.root) if scan.contrast]
    own = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii.gz"]
    own.append("sub-02/ses-1/anat/sub-02_ses-1_run-1_T1w.nii.gz")
    assert sorted(path for path in told if "acq-post" not in path) == own
    assert sum("acq-post" in path for path in told) == 12


def test_a_folder_above_the_dataset_tells_nothing(dataset):
    dataset.add("sub-01_T1w.nii.gz")
    above = dataset.root.parent / "T1w.json"
    above.write_text('{"ContrastBolusIngredient": "GADOLINIUM"}')
    assert not find(dataset.root)[0].contrast


def test_a_session_without_images_is_known(varied):
    (varied.root / "sub-02/ses-C/func").mkdir(parents=True)
    with pytest.raises(NothingToDo, match="no T1w image"):
        find(varied.root, session_label=("C",))
    assert names(varied.root, session_label=("B", "C")) == MAGNITUDE[7:]


@pytest.mark.parametrize("labels", [(), ("01",)])
def test_links_to_participants_are_followed(dataset, tmp_path, labels):
    dataset.add("sub-01_T1w.nii.gz")
    away = tmp_path / "elsewhere"
    (dataset.root / "sub-01").rename(away)
    (dataset.root / "sub-01").symlink_to(away)
    (dataset.root / "sub-02").symlink_to("absent")
    (dataset.root / "sub-03").symlink_to("sub-03")
    (dataset.root / "sub-04").touch()
    assert folders.participants(dataset.root) == ["01"]
    assert names(dataset.root, participant_label=labels) == ["sub-01_T1w.nii.gz"]


def test_a_filter_of_a_derivative_holds_with_labels_too(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    dataset.add("sub-01_desc-x_T1w.nii.gz")
    description = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (dataset.root / "dataset_description.json").write_text(json.dumps(description))
    path = tmp_path / "filter.json"
    path.write_text('{"t1w": {"desc": "y"}}')
    for labels in ((), ("01",)):
        with pytest.raises(NothingToDo, match="desc"):
            find(dataset.root, participant_label=labels, bids_filter_file=path)


def test_a_folder_that_is_not_there_has_no_participants(tmp_path):
    assert folders.participants(tmp_path / "absent") == []
