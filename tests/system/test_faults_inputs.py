# SPDX-License-Identifier: Apache-2.0
"""Images that are damaged, that lie or that are no files: each is refused, and alone."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from conftest import LITTLE, Dataset, head_phantom

from bids_brainmask import app, plan
from bids_brainmask.cli import bids_app
from bids_brainmask.dataset import query
from bids_brainmask.errors import ImageError, NothingToDo, UsageError
from bids_brainmask.models import backends
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image

NOBODY = 65534

SOUND = head_phantom((30, 35, 32), (6.0, 6.0, 6.0)).to_bytes()
"""A head of 67 kB."""

VOXELS = np.asanyarray(nb.Nifti1Image.from_bytes(SOUND).dataobj)

UNPLACED = {"qform_code": 0, "sform_code": 0}


@contextmanager
def within(seconds):
    """Fail where something takes longer, instead of waiting for it for ever."""

    def late(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def lying(content=SOUND, **fields):
    """Bytes of the phantom whose header says otherwise; ``dim_1=5`` is the second of ``dim``."""
    header = nb.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        field, _, place = name.rpartition("_")
        if place.isdecimal():
            header.structarr[field][int(place)] = value
        else:
            header.structarr[name] = value
    return header.binaryblock + content[348:]


def of_type(kind):
    """Bytes of an image of some data type."""
    return nb.Nifti1Image(np.ones((30, 30, 30), kind), np.diag([6, 6, 6, 1])).to_bytes()


def analyze():
    """Bytes of the format before NIfTI, its header and its voxels in one."""
    return nb.AnalyzeImage(VOXELS, np.eye(4)).header.binaryblock + VOXELS.tobytes("F")


def filled(value):
    """Bytes of an image with one value everywhere."""
    data = np.full((30, 30, 30), value, np.float32)
    return nb.Nifti1Image(data, np.diag([6, 6, 6, 1])).to_bytes()


@cache
def zeros():
    """64 MB of them, gzipped."""
    return gzip.compress(bytes(2**26), 9)


def bomb(start, size):
    """Gzip some bytes, and GB of zeros behind them, into a MB a GB."""
    return gzip.compress(start) + zeros() * (size // 2**26)


def pipe(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("../../.git/annex/objects/absent")


def loop_of_folders(path):
    (path.parent / "again").symlink_to("../anat")
    path.symlink_to("again/../again/" + path.name)


BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"not an image at all" * 40, "not a readable NIfTI image .it starts with b'not an"),
    "shortHeader": (SOUND[:200], "not a readable NIfTI image"),
    "truncated": (
        SOUND[:9000],
        "found 9000 bytes, expected 67552 by the header. The file",
    ),
    "long": (SOUND + bytes(70_000), "more voxels than the header announces"),
    "wide": (lying(dim_1=600), "found 67552 bytes, expected 1344352"),
    "vast": (lying(dim_1=2000, dim_2=2000, dim_3=2000, datatype=2), r"8.0 GB for shape \(2000"),
    "negativeSide": (lying(dim_2=-35), r"expected a 3D image, found shape \(30, -35, 32\)"),
    "zeroSide": (lying(dim_2=0), r"expected a 3D image, found shape \(30, 0, 32\)"),
    "flat": (lying(dim_0=2), r"expected a 3D image, found shape \(30, 35\)"),
    "frames": (lying(dim_0=4, dim_3=8, dim_4=4), r"found shape \(30, 35, 8, 4\)"),
    "noAxis": (lying(dim_0=0), "not a readable NIfTI image|expected a 3D image"),
    "manyAxes": (lying(dim_0=32767), r"expected a 3D image, found shape \(\)"),
    "zeroVoxel": (lying(**UNPLACED, pixdim_2=0), r"voxel sizes of \[6.0, 0.0, 6.0\] mm"),
    "nanVoxel": (lying(**UNPLACED, pixdim_3=np.nan), r"voxel sizes of \[6.0, 6.0, nan\] mm"),
    "micrometres": (lying(**UNPLACED, pixdim_1=6000), r"field of view is \[180000.0, .*3000 mm"),
    "small": (lying(**UNPLACED, pixdim_1=1), "expected 40 to 3000 mm"),
    "singular": (lying(srow_z=[6, 0, 0, 0]), "the affine is singular"),
    "nanAffine": (lying(srow_x=[np.nan, 0, 0, 0]), "the affine is singular or not finite"),
    "noRotation": (lying(sform_code=0, quatern_b=5), "not a readable NIfTI image"),
    "startsLate": (lying(vox_offset=1e6), "found 67552 bytes, expected 1067200"),
    "startsBeyond": (lying(vox_offset=1e30), "the voxels start at byte 1000000"),
    "startsNowhere": (lying(vox_offset=np.nan), "not a readable NIfTI image"),
    "startsInHeader": (lying(vox_offset=0), "the voxels start at byte 0 by the header"),
    "unknownType": (lying(datatype=9999), "unknown data type 9999"),
    "noType": (lying(datatype=0), "expected real intensities"),
    "complex": (of_type(np.complex64), "expected real intensities, found data type complex64"),
    "rgb": (of_type([(x, "u1") for x in "RGB"]), "expected real intensities"),
    "noIntercept": (lying(scl_slope=1, scl_inter=np.nan), "not a readable NIfTI image"),
    "nan": (filled(np.nan), "no voxel has a finite value"),
    "huge": (filled(3e38), "no voxel has a finite value"),
    "constant": (filled(7), "every voxel is 7"),
    "analyze": (analyze(), "not a readable NIfTI image"),
    "notGzip.gz": (SOUND, r"not a readable NIfTI image \(Not a gzipped file"),
    "cut.gz": (gzip.compress(SOUND)[:500], "cannot be read|not a readable"),
    "checksum.gz": (gzip.compress(SOUND)[:-8] + bytes(8), "voxels cannot be read .*CRC"),
    "garbage.gz": (gzip.compress(SOUND) + b"garbage", "voxels cannot be read"),
    "bomb.gz": (lambda path: path.write_bytes(bomb(SOUND, 2**30)), "more voxels than the header"),
    "pipe": (pipe, "expected a file, found a pipe"),
    "dangling.gz": (
        dangling,
        "a link to .*objects/absent, which does not exist.*datalad get",
    ),
    "loop": (loop, "cannot be opened .Too many levels of symbolic links"),
    "loopOfFolders": (loop_of_folders, "cannot be opened .Too many levels|which does not exist"),
}
"""What is put where an image should be, and the reason for which it is refused."""


def put(name, path):
    content = BAD[name][0]
    path.write_bytes(content) if isinstance(content, bytes) else content(path)


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_with_its_path_the_reason_and_what_to_do(name, tmp_path):
    path = tmp_path / f"t1.nii{name[name.find('.') :] if '.' in name else ''}"
    put(name, path)
    with within(60), pytest.raises(ImageError, match=BAD[name][1]) as caught:
        image.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith((".", "?"))
    assert "\n" not in str(caught.value)


SOUND_AND_ODD = {
    "nifti2": (nb.Nifti2Image.from_image(nb.Nifti1Image.from_bytes(SOUND)).to_bytes(), ""),
    "negativeVoxel": (
        lying(**UNPLACED, pixdim_1=-6),
        "voxel sizes of [-6.0, 6.0, 6.0] mm; their signs",
    ),
    "zeroVoxelUnused": (lying(pixdim_2=0), "setting 0 dims to 1"),
    "noCodes": (lying(**UNPLACED), "orientation is a guess"),
    "nanSlope": (lying(scl_slope=np.nan, scl_inter=np.nan), ""),
    "zeroSlope": (lying(scl_slope=0, scl_inter=5), ""),
    "bitpix": (
        lying(bitpix=8),
        "found bitpix 8, expected 16 for data type int16; the",
    ),
    "paddedSome": (SOUND + bytes(1000), ""),
    "padded.gz": (gzip.compress(SOUND) + bytes(1000), ""),
    "members.gz": (gzip.compress(SOUND[:5000]) + gzip.compress(SOUND[5000:]), ""),
}


@pytest.mark.parametrize("name", SOUND_AND_ODD)
def test_what_is_odd_and_sound_is_read(name, tmp_path, caplog):
    content, warning = SOUND_AND_ODD[name]
    path = tmp_path / f"t1.nii{name[name.find('.') :] if '.' in name else ''}"
    path.write_bytes(content)
    found = image.read(path).volume
    np.testing.assert_array_equal(found.data, VOXELS)
    np.testing.assert_allclose(found.spacing, 6)
    assert warning in caplog.text
    assert bool(warning) == bool(caplog.records)


def test_a_few_voxels_of_damage_are_nothing(tmp_path, caplog):
    data = VOXELS.astype(np.float64)
    data[0, 0, :4] = [np.nan, np.inf, 1e300, -1e20]
    nb.save(nb.Nifti1Image(data, np.diag([6, 6, 6, 1])), tmp_path / "t1.nii")
    np.testing.assert_array_equal(image.read(tmp_path / "t1.nii").volume.data, VOXELS)
    assert "4 voxels are not finite; they are set to 0" in caplog.text


def test_half_a_pair_is_refused(tmp_path):
    nb.save(nb.Nifti1Pair(VOXELS, np.diag([6, 6, 6, 1])), tmp_path / "t1.hdr")
    for name in ("t1.hdr", "t1.img"):
        with pytest.raises(ImageError, match=r"name ends in .nii or .nii.gz. Convert it"):
            image.read(tmp_path / name)


def test_folders_are_refused(tmp_path):
    (tmp_path / "t1.nii.gz").mkdir()
    with pytest.raises(ImageError, match="expected a file, found a folder"):
        image.read(tmp_path / "t1.nii.gz")


@pytest.fixture
def nobody():
    """Make this process nobody's, from whom root can keep something."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", ["t1.nii", "."])
def test_what_may_not_be_read_is_refused(closed, nobody):
    folder = Path(tempfile.mkdtemp())
    (folder / "t1.nii").write_bytes(SOUND)
    (folder / closed).chmod(0)
    try:
        with pytest.raises(ImageError, match=r"t1.nii: the file cannot be opened .Permission den"):
            image.read(folder / "t1.nii")
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


BOMBS = """
import resource, sys
from pathlib import Path
from bids_brainmask.errors import ImageError
from bids_brainmask.voxels import image

size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 150_000_000,) * 2)
for path in sys.argv[1:]:
    try:
        image.read(Path(path))
    except ImageError as error:
        print(error)
"""


def test_bombs_take_no_memory(tmp_path):
    """Of 8 GB: behind a small header, promised by it, before the voxels; and 4 GB that lack."""
    vast = {"dim_1": 1000, "dim_2": 1000, "dim_3": 1000, "datatype": 16}
    extended = SOUND[:348] + b"\1\0\0\0" + np.array([2**31 - 16, 4], "<i4").tobytes()
    files = {
        "small": (bomb(SOUND, 2**33), "more voxels than the header announces"),
        "honest": (bomb(lying(**{**vast, "datatype": 64})[:352], 2**33), "8.0 GB for shape"),
        "start": (bomb(lying(extended, vox_offset=2**33), 2**33), "the voxels start at byte"),
        "extension": (bomb(lying(extended, vox_offset=2**22), 2**33), "more voxels than the"),
        "absent": (gzip.compress(lying(**vast)), "expected 4000000352"),
    }
    paths = []
    for name, (content, _) in files.items():
        paths.append(tmp_path / f"{name}.nii.gz")
        paths[-1].write_bytes(content)
        assert len(content) < 10_000_000
    code = [sys.executable, "-c", BOMBS, *paths]
    said = subprocess.run(code, capture_output=True, text=True, check=True, timeout=600).stdout
    assert len(said.splitlines()) == len(files)
    for line, path, (_, reason) in zip(said.splitlines(), paths, files.values(), strict=True):
        assert line.startswith(f"{path}: ")
        assert reason in line


def settings(data, out, **options):
    return Settings(bids_dir=data.root, output_dir=out, analysis_level="participant", **options)


def test_each_fails_alone_and_the_healthy_one_is_done(shared, tmp_path, capsys):
    data = Dataset(tmp_path / "bids")
    head = shared / "data/heads/sub-pumi/anat/sub-pumi_T1w.nii.gz"
    data.add("sub-healthy_T1w.nii.gz", head.read_bytes())
    labels = []
    for name in BAD:
        label = "".join(filter(str.isalnum, name))
        path = data.add(f"sub-{label}_T1w.nii{'.gz' if name.endswith('.gz') else ''}")
        path.unlink()
        put(name, path)
        labels.append(label)
    out = tmp_path / "out"
    with within(500):
        assert bids_app.main([str(data.root), str(out), "participant", "--no-reports"]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert f"1 done, 0 skipped, {len(BAD)} failed" in lines
    rows = {line.split("/")[0][4:]: line for line in lines if line.startswith("sub-")}
    assert "healthy" not in rows  # which has only what needs a look
    assert (out / "sub-healthy/anat/sub-healthy_desc-brain_mask.json").is_file()
    for label in labels:
        assert rows[label].split()[1] == "failed", rows[label]
        assert not (out / f"sub-{label}").exists()
        (path,) = (out / f"logs/sub-{label}").glob("*_crash-*.json")
        record = json.loads(path.read_text())
        assert record["Error"] == "ImageError"
        assert record["Source"].startswith(f"sub-{label}/anat/")
        assert record["Message"].startswith(str(data.root))


def test_a_file_that_vanishes_after_it_was_found_fails(dataset, tmp_path):
    path = dataset.add("sub-01_T1w.nii", SOUND)
    run = plan.prepare(settings(dataset, tmp_path / "out"))
    path.unlink()
    outcome = app.process_scan(run.plans[0], run, {run.network("brain"): object()})
    assert outcome.status == "failed"
    assert outcome.detail == "no such file. Check the path."


def test_loops_and_pipes_in_a_dataset_are_walked_past(dataset, tmp_path, caplog):
    """Folders that hold themselves, are themselves or lead nowhere; sidecars that are pipes."""
    for label in ("01", "02", "03"):
        dataset.add(f"sub-{label}_T1w.nii", SOUND)
    root = dataset.root
    (root / "sub-01/anat/loop").symlink_to("..")
    (root / "sub-01/ses-1").symlink_to("..")
    (root / "sub-04").symlink_to("sub-04")
    (root / "sub-05").symlink_to(".")
    (root / "sub-06").symlink_to("absent")
    (root / "sub-07").mkdir()
    (root / "sub-07/anat").symlink_to("../sub-07/anat")
    os.mkfifo(root / "sub-02/anat/sub-02_T1w.json")
    (root / "sub-03/anat/sub-03_T1w.json").symlink_to("sub-03_T1w.json")
    with within(60):
        found = query.find_scans(settings(dataset, tmp_path / "out"))
    assert [scan.relative for scan in found] == [
        f"sub-{label}/anat/sub-{label}_T1w.nii" for label in ("01", "02", "03")
    ]
    for label in ("02", "03"):
        assert f"sub-{label}_T1w.json: not readable as JSON" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"t1w": {"run": 1' + "0" * 30 + "}}", "a value is not valid for an entity: .*too large"),
        ('{"t1w": {"session": "\\ud800"}}', "a value is not valid for an entity: .*surrogates"),
        ("[" * 100_000, "cannot be read as JSON: nested too deeply"),
    ],
)
def test_a_filter_that_nothing_can_meet_is_refused(content, reason, dataset, tmp_path):
    dataset.add("sub-01_T1w.nii", SOUND)
    (tmp_path / "filter.json").write_text(content)
    asked = settings(dataset, tmp_path / "out", bids_filter_file=tmp_path / "filter.json")
    with pytest.raises(UsageError, match=reason):
        query.find_scans(asked)


def test_a_filter_may_come_through_a_pipe(dataset, tmp_path):
    """As that of a shell does: ``--bids-filter-file <(command)``."""
    for label in ("01", "02"):
        dataset.add(f"sub-{label}_T1w.nii", SOUND)
    path = tmp_path / "filter.json"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=('{"t1w": {"subject": "02"}}',))
    writer.start()
    with within(60):
        found = query.find_scans(settings(dataset, tmp_path / "out", bids_filter_file=path))
    writer.join()
    assert [scan.participant for scan in found] == ["02"]


def test_a_folder_named_like_an_image_is_none(dataset, tmp_path):
    path = dataset.add("sub-01_T1w.nii", SOUND)
    path.unlink()
    path.mkdir()
    with pytest.raises(NothingToDo, match="no T1w image of 1 participants"):
        query.find_scans(settings(dataset, tmp_path / "out"))


def test_an_image_that_is_replaced_while_it_is_worked_on_is_done_again(dataset, monkeypatch):
    """What is written says which file it was made from, not which lies there in the end."""
    path = dataset.add("sub-01_T1w.nii.gz", head_phantom(**LITTLE))
    other = head_phantom(shape=(60, 70, 66), **LITTLE).to_bytes()

    def run(block):
        path.write_bytes(gzip.compress(other, mtime=0))
        return (block > 0.48).astype(np.float32)

    monkeypatch.setattr(backends, "load", lambda *_: backends.Network(run, "comparison 1", 16))
    out = dataset.root.parent / "out"
    settings = Settings(bids_dir=dataset.root, output_dir=out, analysis_level="participant")
    seen = [[one.status for one in app.process(plan.prepare(settings))] for _ in range(3)]
    assert seen == [["done"], ["done"], ["skipped"]]
