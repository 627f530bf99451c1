# SPDX-License-Identifier: Apache-2.0
"""Images and labels for training: found, checked, laid out, and drawn from."""

import json
import shutil

import nibabel as nb
import numpy as np
import pytest
from conftest import head_phantom, labelled_dataset

from bids_brainmask.dataset import query
from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.train import dataset, samples
from bids_brainmask.train.config import Config, Data, Stage, Variant
from bids_brainmask.train.samples import BlockSampler, Sampler
from bids_brainmask.train.transforms.geometry import Geometry
from bids_brainmask.voxels import grid, image, inference, scaling


@pytest.fixture
def root(tmp_path):
    return labelled_dataset(tmp_path / "bids", 3)


def configuration(data=None, **changes):
    content = {
        "name": "test",
        "data": Data(bids_dir="bids", labels="derivatives/labels", **(data or {})),
        "stages": (Stage(epochs=1, rate=(1e-3, 0.0), window=(32, 40, 48), steps=3),),
    }
    return Config(**(content | changes))


def batches(sampler):
    """Batches of a sampler. Keras takes seconds to import, in each process that collects tests."""
    from bids_brainmask.train.batches import Batches

    return Batches(sampler)


def heads_of(root, **data):
    return dataset.lay_out(configuration(data), root.parent, root.parent / "heads")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Three heads that are laid out once, for tests that read them."""
    return heads_of(labelled_dataset(tmp_path_factory.mktemp("heads") / "bids", 3))


def test_every_image_with_a_label_is_found(root):
    pairs = dataset.find_pairs(configuration().data, root.parent)
    assert [pair.scan.participant for pair in pairs] == ["01", "02", "03"]
    assert [pair.label.name for pair in pairs] == [
        f"sub-{n}_desc-brain_mask.nii.gz" for n in ("01", "02", "03")
    ]


def test_columns_and_exclusions_choose_participants(root):
    rows = ["participant_id\tsplit", "sub-01\ttrain", "sub-02\tdev", "sub-03\ttrain"]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    data = {"select": {"split": "train"}, "exclude": ("01",), "often": {"03": 4.0}}
    assert [(h.participant, h.weight) for h in heads_of(root, **data)] == [("03", 4.0)]


def test_images_without_label_are_left_out_and_told_of(root, caplog):
    shutil.rmtree(root / "derivatives/labels/sub-02")
    assert [h.participant for h in heads_of(root)] == ["01", "03"]
    assert "1 of 3 images have no label" in caplog.text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ending": "dseg"}, r"no file that ends in dseg.nii\[.gz\] belongs to any of 3 images"),
        ({"exclude": ("07",)}, "exclude, often: no participants 07"),
        ({"often": {"08": 2.0}}, "exclude, often: no participants 08"),
        ({"select": {"split": "train"}}, "participants.tsv: cannot be read"),
        ({"values": (1, 17)}, r"values: \[17\] are in none of 3 labels; found \[0, 1\]"),
    ],
)
def test_a_choice_that_finds_nothing_is_an_error(root, data, message):
    with pytest.raises(UsageError, match=message):
        heads_of(root, **data)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["participant_id\tage", "sub-01\t30"], "no column split; found participant_id, age"),
        (["participant_id\tsplit", "sub-01\tdev"], "no participant with an image folder has"),
        (["participant_id\tsplit", "sub-09\ttrain"], "no participant with an image folder has"),
        (["split\tparticipant_id", "train"], "no participant with an image folder has"),
        (["participant_id\tsplit", "x" * 200_000], "cannot be read: field larger than"),
    ],
)
def test_a_table_without_the_rows_is_an_error(root, rows, message):
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    with pytest.raises(UsageError, match=message):
        query.select_participants(root, {"split": "train"})


def test_no_label_dataset_is_an_error(root):
    shutil.rmtree(root / "derivatives")
    with pytest.raises(UsageError, match="no such folder; expected a dataset with labels"):
        heads_of(root)


def test_several_labels_are_an_error_until_the_name_is_given(root):
    folder = root / "derivatives/labels/sub-01/anat"
    shutil.copy(folder / "sub-01_desc-brain_mask.nii.gz", folder / "sub-01_desc-x_mask.nii.gz")
    with pytest.raises(UsageError, match=r"several labels end in 'mask'.*Give a longer ending"):
        heads_of(root)
    assert len(heads_of(root, ending="desc-brain_mask")) == 3


def test_a_label_of_another_run_is_not_taken(root):
    folder = root / "derivatives/labels/sub-01/anat"
    mask = folder / "sub-01_desc-brain_mask.nii.gz"
    mask.rename(folder / "sub-01_run-2_desc-brain_mask.nii.gz")
    assert [h.participant for h in heads_of(root)] == ["02", "03"]


def relabel(root, change, affine=None):
    path = root / "derivatives/labels/sub-02/anat/sub-02_desc-brain_mask.nii.gz"
    picture = nb.load(path)
    data = change(np.asanyarray(picture.dataobj))
    nb.save(nb.Nifti1Image(data, picture.affine if affine is None else affine), path)


def test_a_label_on_another_grid_is_an_error(root):
    relabel(root, lambda data: data[:-1])
    with pytest.raises(ImageError, match=r"sub-02.*found shape \(59, 70, 64\).*Resample"):
        heads_of(root)


def test_a_label_moved_in_the_world_is_an_error(root):
    relabel(root, lambda data: data, np.diag([3.0, 3, 3, 1]))
    with pytest.raises(ImageError, match=r"affine .* expected those of sub-02/anat"):
        heads_of(root)


def test_an_empty_label_is_an_error_unless_allowed(root):
    relabel(root, np.zeros_like)
    with pytest.raises(ImageError, match=r"no voxel is other than 0; found the values \[0\]"):
        heads_of(root)
    heads = heads_of(root, allow_empty=True)
    assert not heads[1].example().label.any()
    assert heads[1].example().depth.max() < -30
    np.testing.assert_allclose(heads[1].middle, 0, atol=3)


def test_a_label_without_the_values_is_an_error(root):
    relabel(root, lambda data: data * 3)
    with pytest.raises(ImageError, match=r"no voxel is one of \[1\]; found the values \[0, 3\]"):
        heads_of(root, values=(1,))


def test_a_label_with_fractions_is_an_error(root):
    relabel(root, lambda data: data * np.float32(0.4))
    with pytest.raises(ImageError, match="expected whole numbers as labels, found fractions"):
        heads_of(root)


@pytest.mark.slow
def test_values_choose_the_target(root):
    for n in ("01", "02", "03"):
        path = root / f"derivatives/labels/sub-{n}/anat/sub-{n}_desc-brain_mask.nii.gz"
        picture = nb.load(path)
        data = np.asanyarray(picture.dataobj).astype(np.int16) * 1000
        data[:30] *= 2
        nb.save(nb.Nifti1Image(data, picture.affine), path)
    halves = [heads_of(root, values=(v,))[0].example().label.sum() for v in (1000,)]
    shutil.rmtree(root.parent / "heads")
    halves += [heads_of(root, values=(2000,))[0].example().label.sum()]
    shutil.rmtree(root.parent / "heads")
    assert sum(halves) == heads_of(root, values=(1000, 2000))[0].example().label.sum()
    assert halves[0] == halves[1]


def test_what_was_laid_out_is_used_without_the_dataset(root, tmp_path):
    first = heads_of(root)
    shutil.rmtree(root)
    (tmp_path / "heads").rename(tmp_path / "elsewhere")
    again = dataset.lay_out(configuration(), tmp_path, tmp_path / "elsewhere")
    assert [head.participant for head in again] == [head.participant for head in first]
    assert again[0].example().label.sum() > 0


def test_an_example_is_the_image_and_its_label(heads):
    head = heads[0]
    example = head.example()
    picture = head_phantom()
    np.testing.assert_array_equal(example.label, picture.get_fdata() == 100)
    expected = scaling.scale_robustly(picture.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(example.image, expected, atol=1e-3)
    np.testing.assert_allclose(head.middle, 0, atol=1e-6)
    radius = np.linalg.norm(
        np.indices(example.label.shape).T * 3 - np.array([88.5, 103.5, 94.5]), axis=-1
    ).T
    near = abs(radius - 60) < 25
    assert abs(example.depth - (60 - radius))[near].max() < 4


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR", "ILA"])
def test_axes_are_taken_in_one_order_whatever_the_file_has(tmp_path, codes):
    root = labelled_dataset(tmp_path / "bids", 1, codes=codes)
    plain = labelled_dataset(tmp_path / "plain" / "bids", 1)
    found, wanted = heads_of(root)[0].example(), heads_of(plain)[0].example()
    np.testing.assert_array_equal(found.image, wanted.image)
    np.testing.assert_array_equal(found.label, wanted.label)


@pytest.mark.slow
def test_fine_voxels_are_averaged_to_a_millimetre(tmp_path):
    root = labelled_dataset(tmp_path / "bids", 1, spacing=(0.5, 1.2, 1.5), shape=(340, 140, 110))
    head = heads_of(root)[0]
    example = head.example()
    np.testing.assert_allclose(example.spacing, [1, 1.2, 1.5])
    ball = 4 / 3 * np.pi * 60**3
    assert example.label.sum() * 1.8 == pytest.approx(ball, rel=0.01)
    stage = Stage(epochs=1, rate=(1e-3, 0.0))
    image, label = samples.draw(head, head.middle, stage, Variant(), configuration(), rng())
    assert (image > 0.9)[label > 0.99].mean() > 0.999


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.slow
def test_a_conformed_head_is_seen_as_the_published_networks_see_it(root):
    """The eight blocks put together are the z-scored conformed volume of use, axes and all."""
    stage = Stage(epochs=1, rate=(1e-3, 0.0), windows="blocks", batch=8)
    one = {"exclude": ("02", "03")}
    config = configuration(one, grid="fsconform", intensities="zscore", stages=(stage,))
    head = dataset.lay_out(config, root.parent, root.parent / "heads")[0]
    blocks = batches(BlockSampler([head], config, stage, 0))
    assert len(blocks) == 1
    images, labels = blocks[0]
    volume = image.read(head.image).volume
    target = grid.fsconform(volume)
    expected = scaling.zscore(grid.resample(volume, target))
    for number, place in enumerate(inference.tiles((256,) * 3, 128)):
        np.testing.assert_allclose(images[number, ..., 0], expected[place], atol=5e-3)
    assert labels.shape == (8, 128, 128, 128, 1)
    assert labels.sum() == pytest.approx(4 / 3 * np.pi * 60**3, rel=0.01)


@pytest.mark.slow
def test_blocks_come_head_after_head_in_a_new_order_each_epoch(heads, monkeypatch):
    """Cubes of 32 voxels in 64, of heads on their own grid; the test before has conformed ones."""
    monkeypatch.setattr(samples, "SIDE", 64)
    how = {"windows": "blocks", "window": (32, 32, 32), "variants": {"rigid": 0.5}}
    stage = Stage(epochs=1, rate=(1e-3, 0.0), batch=3, **how)
    variants = {"rigid": Variant(geometry=Geometry(turn=8, shift=8))}
    config = configuration(grid="fsconform", stages=(stage,), variants=variants)
    blocks, again = (batches(BlockSampler(heads, config, stage, 0)) for _ in range(2))
    assert len(blocks) == 8
    total = [blocks[number][1].sum(dtype=float) for number in (0, 1, 2)]  # head after head
    assert sum(total) > 0
    np.testing.assert_array_equal(blocks[3][0], again[3][0])
    orders = set()
    for _ in range(12):
        blocks.on_epoch_end()
        orders.add(tuple(rng_order(blocks)))
    assert len(orders) > 1


def rng_order(blocks):
    return np.random.default_rng([blocks.sampler.seed, blocks.epoch]).permutation(
        len(blocks.sampler.heads)
    )


def test_a_batch_depends_on_its_number_alone(heads):
    config = configuration(
        variants={"wild": Variant(geometry=Geometry(turn=9), steps={"noise": 1})}
    )
    stage = Stage(epochs=1, rate=(1e-3, 0.0), window=(32, 40, 48), steps=3, variants={"wild": 1})
    first, again = (batches(Sampler(config, stage, 1, heads)) for _ in range(2))
    again[0]
    np.testing.assert_array_equal(first[2][0], again[2][0])
    assert first[2][0].shape == first[2][1].shape == (2, 32, 40, 48, 1)
    assert len(first) == 3
    first.on_epoch_end()
    assert (first[2][0] != again[2][0]).any()


def test_checks_are_every_head_once_the_same_each_epoch(heads):
    stage = Stage(epochs=1, rate=(1e-3, 0.0), window=(32, 40, 48), steps=2, reach=0)
    checks = batches(Sampler(configuration(), stage, 1, heads, still=True))
    before = [checks[0], checks[1]]
    checks.on_epoch_end()
    np.testing.assert_array_equal(checks[0][0], before[0][0])
    assert [len(images) for images, _ in before] == [2, 1]


def test_half_of_the_brains_of_unknown_level_are_shown_at_the_known_one(heads):
    """The phantom's brain comes out at 1 by itself."""
    stage = configuration().stages[0]
    for name, expected in (("robust", {1.0}), ("brain", {0.69, 1.0})):
        config = configuration(intensities=name)
        drawn = batches(Sampler(config, stage, 1, heads))
        examples = [pair for number in range(12) for pair in zip(*drawn[number], strict=True)]
        found = [float(np.median(image[label > 0.99])) for image, label in examples]
        assert set(np.round(found, 2)) == expected


def test_an_image_on_another_grid_than_its_label_keeps_its_level():
    thick = np.ones((4, 4, 2), np.float32)
    assert samples.level(thick, np.ones((4, 4, 8), np.float32), scaling.relevelled) is thick


def test_variants_are_taken_by_their_shares():
    variants = {"a": Variant(gain=0.1), "b": Variant(gain=0.2)}
    stage = Stage(epochs=1, rate=(1e-3, 0.0), variants={"a": 0.3, "b": 0.5})
    config = configuration(variants=variants, stages=(stage,))
    generator = rng()
    gains = [samples.choose(config, stage, generator).gain for _ in range(4000)]
    shares = [gains.count(value) / len(gains) for value in (0.1, 0.2, 0.0)]
    np.testing.assert_allclose(shares, [0.3, 0.5, 0.2], atol=0.03)


def test_neck_windows_look_below(heads):
    stage = Stage(epochs=1, rate=(1e-3, 0.0), window=(32, 32, 32), steps=1, neck=1.0, reach=0)
    _, labels = batches(Sampler(configuration(), stage, 1, heads))[0]
    assert labels.mean() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.1, 1), (0.5, 2), (1.0, 2)])
def test_a_split_is_by_participant_and_keeps_some_on_either_side(heads, share, kept):
    twice = [*heads, heads[0]]  # two images of one participant
    learnt, checked = dataset.split(twice, share, 0)
    assert len({head.participant for head in checked}) == kept
    assert {h.participant for h in learnt}.isdisjoint(h.participant for h in checked)
    assert len(learnt) + len(checked) == 4
    assert dataset.split(twice, share, 0) == (learnt, checked)


def test_a_split_of_one_participant_is_an_error(root):
    heads = heads_of(root, exclude=("02", "03"))
    with pytest.raises(UsageError, match=r"validation: 0.2 of one participant \(01\)"):
        dataset.split(heads, 0.2, 0)
    assert dataset.split(heads, 0, 0) == (heads, [])


def test_the_index_says_where_everything_came_from(heads):
    record = json.loads((heads[0].folder.parent / "heads.json").read_text())
    assert [r["relative"] for r in record] == [h.relative for h in heads]
    assert heads[0].image.exists()
    assert heads[0].labels.exists()
