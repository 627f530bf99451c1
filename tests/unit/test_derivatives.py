# SPDX-License-Identifier: Apache-2.0
"""Names, whole files, and knowing what is finished."""

import json
import os
import re
import resource
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest

from bids_brainmask import hashes
from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import derivatives, storage
from bids_brainmask.dataset.query import Scan
from bids_brainmask.errors import OutputError
from bids_brainmask.plan import name_files
from bids_brainmask.results import files as results
from bids_brainmask.settings import Settings


def settings(tmp_path, **options):
    options = {"bids_dir": tmp_path / "bids", "output_dir": tmp_path / "out"} | options
    return Settings(analysis_level="participant", **options)


def scan(tmp_path, relative="sub-01/ses-A/anat/sub-01_ses-A_acq-x_ce-y_run-01_T1w.nii"):
    path = tmp_path / "bids" / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"voxels")
    name = path.name.split("_T1w")[0]
    return Scan(path, relative, tuple(tuple(p.split("-")) for p in name.split("_")), contrast=True)


def test_names_keep_every_entity_of_the_source(tmp_path):
    chosen = settings(tmp_path, outputs=("mask", "brain", "probseg"))
    job = name_files(scan(tmp_path), chosen, ("brain", "meningioma"))
    folder = tmp_path / "out/sub-01/ses-A/anat"
    prefix = "sub-01_ses-A_acq-x_ce-y_run-01"
    assert job.files == {
        "mask": folder / f"{prefix}_desc-brain_mask.nii.gz",
        "brain": folder / f"{prefix}_desc-brain_T1w.nii.gz",
        "probseg": folder / f"{prefix}_label-brain_probseg.nii.gz",
        "tumor": folder / f"{prefix}_label-tumor_desc-meningioma_mask.nii.gz",
        "lesion_indices": folder / f"{prefix}_desc-meningioma_dseg.nii.gz",
        "lesion_names": folder / f"{prefix}_desc-meningioma_dseg.tsv",
        "tumor_probseg": folder / f"{prefix}_label-tumor_desc-meningioma_probseg.nii.gz",
        "lesions": folder / f"{prefix}_desc-meningioma_lesions.tsv",
        "brainandtumor": folder / f"{prefix}_desc-brainandtumor_mask.nii.gz",
    }
    assert job.sidecars["mask"] == folder / f"{prefix}_desc-brain_mask.json"
    assert job.sidecars["lesions"] == folder / f"{prefix}_desc-meningioma_lesions.json"


LESIONS = {"tumor", "lesions", "lesion_indices", "lesion_names"}


@pytest.mark.parametrize(
    ("analyses", "outputs", "kinds"),
    [
        (("brain",), ("mask", "brain"), {"mask", "brain"}),
        (("brain",), ("probseg",), {"probseg"}),
        (("meningioma",), ("brain",), LESIONS),
        (("meningioma",), ("probseg",), LESIONS | {"tumor_probseg"}),
        (("brain", "meningioma"), ("mask",), LESIONS | {"mask", "brainandtumor"}),
        ((), ("mask",), set()),
    ],
)
def test_what_is_made_depends_on_analyses_and_outputs(tmp_path, analyses, outputs, kinds):
    job = name_files(scan(tmp_path), settings(tmp_path, outputs=outputs), analyses)
    assert set(job.files) == kinds


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a/b/c.json"
    storage.write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["c.json"]


def test_a_file_in_a_folders_place_is_an_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match=r"c\.json: cannot be written: "):
        storage.write_json(tmp_path / "a/c.json", {})


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new(tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(b"old")
    child = os.fork()
    if not child:  # the limit ends with the process
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            storage.write_bytes(path, bytes(5000))
        except OutputError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


PARAMETERS = {"Model": "embedded", "Threshold": 0.5}
EMPTY: MappingProxyType = MappingProxyType({})
EACH = dict.fromkeys((row.name for row in catalog.OUTPUTS), PARAMETERS)


@pytest.fixture
def written(tmp_path):
    job = name_files(scan(tmp_path), settings(tmp_path), ("brain", "meningioma"))
    file = hashes.fingerprint(job.scan.path)
    private = {"Modified": file.pop("Modified"), "SHA256": file["SHA256"]}
    record = {
        "SourceFile": file,
        "Parameters": PARAMETERS,
        "ContrastEnhanced": True,
        "MadeFrom": {"brain": "a"},
        "VoxelsSHA256": "a",
    }
    files = {kind: kind.encode() for kind in job.files}
    records = dict.fromkeys(files, record) | {"lesions": {"index": {}}}
    figures = {kind: kind.encode() for kind in job.figures}
    results.write(job, files, records, figures, private)
    return job


def finished(job, parameters, **options):
    """Tell whether nothing has to be done for a scan."""
    run = SimpleNamespace(
        settings=settings(job.folder, **options), parameters_of=lambda kind: parameters[kind]
    )
    return results.outdated(job, run) is None


def test_sidecars_say_what_bids_requires(written):
    mask = json.loads(written.sidecars["mask"].read_text())
    assert mask["Type"] == "Brain"
    assert mask["Sources"] == [f"bids:raw:{written.scan.relative}"]
    assert mask["SpatialReference"] == "orig"
    assert json.loads(written.sidecars["brain"].read_text())["SkullStripped"] is True
    assert json.loads(written.sidecars["tumor"].read_text())["Type"] == "Lesion"
    assert json.loads(written.sidecars["brainandtumor"].read_text())["Type"] == "ROI"
    assert json.loads(written.sidecars["lesions"].read_text()) == {"index": {}}


def test_what_is_written_is_finished(written):
    assert finished(written, EACH)


def test_a_touched_source_is_still_the_same_by_its_hash(written):
    os.utime(written.scan.path, (1, 1))
    assert finished(written, EACH)


def test_the_source_is_read_only_if_its_time_is_another_or_unknown(written, monkeypatch):
    def read(_):
        raise OSError("read")

    monkeypatch.setattr(hashes, "sha256", read)
    assert finished(written, EACH)
    before = written.record.read_text()
    for content in (None, "{", before.replace('"SHA256": "', '"SHA256": "0')):
        if content:
            written.record.write_text(content)
        else:
            written.record.unlink()
        assert not finished(written, EACH)
    written.record.write_text(before)
    assert finished(written, EACH)


@pytest.mark.parametrize(
    ("out", "link"),
    [("bids/derivatives/x", "../.."), ("out", "../bids"), ("out/x/y", "../../../bids")],
)
def test_the_link_to_the_source_names_no_folder_above_it(tmp_path, out, link):
    raw(tmp_path)
    assert described(tmp_path, output_dir=tmp_path / out)["DatasetLinks"] == {"raw": link}
    assert derivatives.links(Path("/home/me/bids"), Path("/data/out")) == {}


def change_source(job):
    job.scan.path.write_bytes(b"vOxels")
    os.utime(job.scan.path, (1, 1))


def change_file(path):
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (1, 1))


def change_record(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def pipe_for_a_sidecar(job):
    job.sidecars["mask"].unlink()
    os.mkfifo(job.sidecars["mask"])


UNFINISHED = {
    "a longer source": lambda job: job.scan.path.write_bytes(b"more voxels"),
    "another source": change_source,
    "no image": lambda job: job.files["brain"].unlink(),
    "no sidecar": lambda job: job.sidecars["brain"].unlink(),
    "a torn sidecar": lambda job: job.sidecars["mask"].write_text('{"Type"'),
    "another program's sidecar": lambda job: job.sidecars["mask"].write_text("{}"),
    "a sidecar nested without end": lambda job: job.sidecars["mask"].write_text("[" * 10**5),
    "a sidecar that is a pipe": pipe_for_a_sidecar,
    "a list": lambda job: job.sidecars["mask"].write_text("[]"),
    "no table": lambda job: job.files["lesions"].unlink(),
    "no columns": lambda job: job.sidecars["lesions"].unlink(),
    "a longer image": lambda job: job.files["brain"].write_bytes(b"more voxels"),
    "another mask": lambda job: change_file(job.files["mask"]),
    "another table": lambda job: change_file(job.files["lesions"]),
    "another figure": lambda job: change_file(job.figures["uncertainty"]),
    "an image of another mask": lambda job: change_record(
        job.sidecars["brain"], MadeFrom={"brain": "b"}
    ),
    "an image of an unknown analysis": lambda job: change_record(
        job.sidecars["brain"], MadeFrom={"other": "a"}
    ),
    "another contrast": lambda job: change_record(job.sidecars["mask"], ContrastEnhanced=False),
    "a record without files": lambda job: change_record(job.sidecars["mask"], Files={}),
    "no figure": lambda job: job.figures["brain"].unlink(),
    "no source": lambda job: job.scan.path.unlink(),
}


@pytest.mark.parametrize("change", UNFINISHED)
def test_what_is_not_finished(written, change):
    UNFINISHED[change](written)
    assert not finished(written, EACH)


def test_a_copy_of_the_results_is_finished_by_its_hashes(written):
    for path in (*written.files.values(), *written.figures.values()):
        os.utime(path, (1, 1))
    assert finished(written, EACH)


def test_a_change_that_keeps_size_and_time_is_found_by_its_hash(written):
    path = written.files["brain"]
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert finished(written, EACH)
    assert not finished(written, EACH, verify=True)


def test_other_parameters_are_not_finished(written):
    assert not finished(written, EACH | {"tumor": {"Threshold": 0.4}})


def test_sidecars_go_before_their_images_change(written, monkeypatch):
    def refuse(path, content, _check=None):
        assert not any(sidecar.exists() for sidecar in written.sidecars.values())
        raise OutputError(str(path))

    monkeypatch.setattr(storage, "write_bytes", refuse)
    with pytest.raises(OutputError, match="desc-brain_mask"):
        results.write(
            written, dict.fromkeys(written.files, b""), {kind: {} for kind in written.files}
        )


def raw(tmp_path, **content):
    folder = tmp_path / "bids"
    folder.mkdir(exist_ok=True)
    content = {"Name": "Heads", "BIDSVersion": "1.10.0"} | content
    (folder / "dataset_description.json").write_text(json.dumps(content))


def described(tmp_path, **options):
    chosen = settings(tmp_path, **options)
    derivatives.describe_dataset(chosen)
    path = chosen.output_dir / "dataset_description.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_dataset_is_described(tmp_path):
    raw(tmp_path, DatasetDOI="doi:10.1/x", License="CC0")
    found = described(tmp_path)
    assert found["DatasetType"] == "derivative"
    assert found["Name"] == "Brain masks of Heads"
    assert found["GeneratedBy"][0]["Name"] == "bids_brainmask"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", found["GeneratedBy"][0]["Version"])
    assert found["GeneratedBy"][0]["CodeURL"].startswith("https://")
    assert found["SourceDatasets"] == [{"DOI": "doi:10.1/x"}]
    assert found["License"] == "CC0"
    link = found["DatasetLinks"]["raw"]
    assert (tmp_path / "out" / link).resolve() == tmp_path / "bids"


def test_a_dataset_without_doi_is_referred_to_by_its_link(tmp_path):
    raw(tmp_path)
    found = described(tmp_path, output_dir=tmp_path / "bids/derivatives/bids_brainmask")
    assert found["SourceDatasets"] == [{"URL": "bids:raw:"}]
    assert found["DatasetLinks"] == {"raw": "../.."}
    assert "License" not in found


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_dataset_without_description_has_no_name(tmp_path, content):
    (tmp_path / "bids").mkdir()
    if content:
        (tmp_path / "bids/dataset_description.json").write_text(content)
    assert described(tmp_path)["Name"] == "Brain masks of a dataset without a name"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("APPTAINER_CONTAINER", {"Type": "apptainer", "URI": "y.sif"}),
        ("SINGULARITY_CONTAINER", {"Type": "singularity", "URI": "y.sif"}),
    ],
)
def test_the_container_is_named(tmp_path, monkeypatch, variable, expected):
    raw(tmp_path)
    monkeypatch.setenv(variable, "/x/y.sif")
    assert described(tmp_path)["GeneratedBy"][0]["Container"] == expected


def test_docker_is_known_by_its_file(tmp_path, monkeypatch):
    raw(tmp_path)
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)
    monkeypatch.delenv("SINGULARITY_CONTAINER", raising=False)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/.dockerenv")
    monkeypatch.setenv("BIDS_BRAINMASK_IMAGE", "a/b:1")
    assert described(tmp_path)["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "a/b:1"}
    monkeypatch.delenv("BIDS_BRAINMASK_IMAGE")
    assert described(tmp_path)["GeneratedBy"][0]["Container"] == {"Type": "docker"}
    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setenv("BIDS_BRAINMASK_IMAGE", "a/b:1")  # podman may hide its file
    assert described(tmp_path)["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "a/b:1"}
    monkeypatch.delenv("BIDS_BRAINMASK_IMAGE")
    assert "Container" not in described(tmp_path)["GeneratedBy"][0]


def test_a_description_that_stands_is_left_alone(tmp_path):
    raw(tmp_path)
    described(tmp_path)
    path = tmp_path / "out/dataset_description.json"
    os.utime(path, (1, 1))
    described(tmp_path)
    assert path.stat().st_mtime == 1
    path.write_text("{}")
    assert described(tmp_path)["DatasetType"] == "derivative"
