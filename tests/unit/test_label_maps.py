# SPDX-License-Identifier: Apache-2.0
"""Label maps: what is read, what is refused, and what is laid out, on phantoms of arithmetic."""

import gzip
import shutil

import nibabel as nb
import numpy as np
import pytest
from synthetic_heads import AFFINE, label_map, write

from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.train import label_maps
from bids_brainmask.train.label_maps import COLUMNS, read_table
from bids_brainmask.voxels.image import Volume


@pytest.fixture
def source(tmp_path):
    write(tmp_path / "maps" / "one_dseg.nii.gz", label_map())
    return tmp_path / "maps"


def table_with(tmp_path, change):
    lines = [line.split("\t") for line in table_text().splitlines()]
    path = tmp_path / "table.tsv"
    path.write_text("\n".join("\t".join(cells) for cells in change(lines)) + "\n")
    return path


def table_text():
    rows = ["\t".join(COLUMNS)]
    table = read_table()
    for n, name in enumerate(table.names):
        cells = [table.values[n], name, table.tissues[n], int(table.target[n])]
        rows.append("\t".join(map(str, [*cells, table.values[table.partner[n]]])))
    return "\n".join(rows)


def test_left_right_swaps_are_involutions():
    table = read_table()
    assert (table.partner[table.partner] == np.arange(len(table.values))).all()
    for number, partner in enumerate(table.partner):
        assert table.tissues[number] == table.tissues[partner]
        assert table.target[number] == table.target[partner]
        assert table.names[number].startswith("Left-") == table.names[partner].startswith("Right-")


def test_every_label_of_the_shared_maps_is_in_the_table(shared):
    table = read_table()
    for path in sorted((shared / "label_maps").glob("*_dseg.nii.gz")):
        values = np.unique(np.asanyarray(nb.load(path).dataobj))
        assert set(values) <= set(table.values), path.name


def test_the_target_is_the_ball_that_was_put_in(source, tmp_path):
    heads = label_maps.lay_out(source, read_table(), (), tmp_path / "out")
    arrays = heads[0].arrays()
    radius = 4 * (18 - np.sqrt(((np.indices((64, 64, 64)) - 32) ** 2).sum(0)))  # quarters of mm
    depth = arrays["depth"].astype(float)
    near = np.abs(radius) < 40
    assert np.abs(depth - radius)[near].max() <= 4  # of a voxelised ball: within 1 mm
    assert (depth > 0).sum() == pytest.approx(4 / 3 * np.pi * 18**3, rel=0.02)
    np.testing.assert_allclose(heads[0].middle, AFFINE[:3, 3] + 32, atol=0.1)
    assert arrays["skin"][0, 0, 0] == 0
    assert arrays["skin"][32, 32, 32] == pytest.approx(28, abs=1)


def test_a_hole_within_the_target_belongs_to_it():
    labels = label_map()
    labels[30:34, 30:34, 30:34] = 50  # a vein
    volume = Volume(label_maps.positions(labels, read_table(), None), AFFINE)
    assert label_maps.target(volume, read_table())[32, 32, 32]


def test_the_target_ends_below_the_cerebellum():
    labels = label_map()
    labels[(label_map() == 1) & (np.indices(labels.shape)[2] < 26)] = 6
    labels[28:36, 28:36, :20] = 13  # a stem that goes on downwards
    volume = Volume(label_maps.positions(labels, read_table(), None), AFFINE)
    found = label_maps.target(volume, read_table())
    lowest = np.flatnonzero((labels == 6).any((0, 1)))[0]
    assert np.flatnonzero(found.any((0, 1)))[0] == lowest - 5


def test_a_folder_laid_out_needs_the_label_maps_no_more(source, tmp_path):
    before = label_maps.lay_out(source, read_table(), (), tmp_path / "out")
    shutil.rmtree(source)
    after = label_maps.lay_out(source, read_table(), (), tmp_path / "out")
    assert [head.name for head in before] == [head.name for head in after] == ["one"]


def test_arrays_are_the_same_whoever_lays_them_out(source, tmp_path):
    write(source / "two_dseg.nii.gz", label_map()[::-1])
    one, other = (
        label_maps.lay_out(source, read_table(), (), tmp_path / str(workers), workers)
        for workers in (0, 2)
    )
    assert [head.name for head in one] == [head.name for head in other] == ["one", "two"]
    for path in sorted((tmp_path / "0").rglob("*.*")):
        assert (
            path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "0")).read_bytes()
        )


def test_damaged_records_say_what_to_do(source, tmp_path):
    label_maps.lay_out(source, read_table(), (), tmp_path / "out")
    index = tmp_path / "out" / "label_maps.json"
    for text, fault in (('[{"name": "one"}]', "missing required field `affine`"), ("[", "trunc")):
        index.write_text(text)
        with pytest.raises(UsageError, match=f"label_maps.json: .*{fault}.* Remove .*out; it is"):
            label_maps.lay_out(source, read_table(), (), tmp_path / "out")


def test_a_label_that_the_table_lacks_is_named(source, tmp_path):
    odd = label_map()
    odd[5, 5, 5:8] = 99
    write(source / "two_dseg.nii.gz", odd)
    with pytest.raises(ImageError, match=r"two_dseg.*labels 99 \(3 voxels\).*tissues.tsv.*Add"):
        label_maps.lay_out(source, read_table(), (), tmp_path / "out")
    assert label_maps.lay_out(source, read_table(), ("two",), tmp_path / "out")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (label_map() + np.float32(0.5), "expected whole numbers"),
        (np.stack([label_map()] * 2, -1), "3D"),
        (np.zeros((48, 48, 48), np.uint8), "no voxel is of the target"),
    ],
)
def test_what_is_no_label_map_is_refused(source, tmp_path, values, message):
    write(source / "odd_dseg.nii.gz", values)
    with pytest.raises(ImageError, match=f"odd_dseg.*{message}"):
        label_maps.lay_out(source, read_table(), (), tmp_path / "out")


def test_a_damaged_label_map_is_refused(source, tmp_path):
    whole = (source / "one_dseg.nii.gz").read_bytes()
    (source / "one_dseg.nii.gz").write_bytes(gzip.compress(gzip.decompress(whole)[:5000]))
    with pytest.raises(ImageError, match="one_dseg"):
        label_maps.lay_out(source, read_table(), (), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"name": 1}]', b"\xff"])
def test_damaged_records_of_a_folder_are_told_of(source, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/label_maps.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"not a list of LabelMapRecord: .*Remove"):
        label_maps.lay_out(source, read_table(), (), tmp_path / "out")


def test_folders_without_label_maps_are_told_of(tmp_path):
    with pytest.raises(UsageError, match=r"no file \*_dseg.nii.gz"):
        label_maps.lay_out(tmp_path, read_table(), (), tmp_path / "out")


def test_a_label_map_to_exclude_must_be_there(source, tmp_path):
    with pytest.raises(UsageError, match="exclude: three: not in"):
        label_maps.lay_out(source, read_table(), ("three",), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row[:-1] for row in rows], "no column partner"),
        (lambda rows: [*rows[:2], [*rows[2][:2], "tin", *rows[2][3:]]], "line 3: tissue 'tin'"),
        (
            lambda rows: [*rows[:-1], [*rows[-1][:-1], "500"]],
            r"partner \[500\] is no index of the table",
        ),
        (
            lambda rows: [*rows[:-1], [*rows[-1][:-1], "x"]],
            "line 55: Expected `int`, got `str` - at `\\$.partner`",
        ),
        (lambda rows: [*rows[:2], [*rows[2][:3], "2", rows[2][4]]], "line 3: .*`\\$.target`"),
        (lambda rows: [*rows, rows[-1]], "each once"),
        (lambda rows: [rows[0], *([*r[:3], "0", r[4]] for r in rows[1:])], "0 of the target"),
        (lambda rows: [*rows[:-1], [*rows[-1][:-1], "0"]], "partner of Optic-Tract does not"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        read_table(table_with(tmp_path, change))


def test_a_table_that_is_not_there_is_told_of(tmp_path):
    with pytest.raises(UsageError, match="table of labels cannot be read"):
        read_table(tmp_path / "none.tsv")
