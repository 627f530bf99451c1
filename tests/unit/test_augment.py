# SPDX-License-Identifier: Apache-2.0
"""Augmentation by its properties, on a phantom in which bright is brain."""

import msgspec
import numpy as np
import pytest
from conftest import head_phantom, labelled_dataset
from scipy import ndimage
from test_dataset import batches, configuration, heads_of

from bids_brainmask.train.config import Stage, Variant
from bids_brainmask.train.samples import Sampler, draw, middle
from bids_brainmask.train.transforms import augment
from bids_brainmask.train.transforms.augment import Example
from bids_brainmask.train.transforms.geometry import Geometry, crop, random_matrix
from bids_brainmask.train.transforms.steps import STEPS, change

WILD = Geometry(turn=14, scale=0.2, stretch=0.08, shear=0.04, bend=5, flip=0.5, quarter_turns=0.1)
WINDOW = (96, 88, 92)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def example():
    picture = head_phantom()
    data = picture.get_fdata(dtype=np.float32)
    label = data == 100
    inside = ndimage.distance_transform_edt(label, (3, 3, 3))
    depth = np.where(label, inside - 1.5, 1.5 - ndimage.distance_transform_edt(~label, (3, 3, 3)))
    return Example(
        data / 100,
        picture.affine,
        label.astype(np.float32),
        picture.affine,
        depth.astype(np.float32),
    )


def copies(example):
    return example.image.copy(), example.label.copy(), example.depth.copy()


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("seed", range(8))
def test_a_step_is_a_pure_function_of_example_and_generator(example, name, seed):
    before = copies(example)
    first, again = STEPS[name](example, rng(seed)), STEPS[name](example, rng(seed))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.lesion, again.lesion)
    for kept, now in zip(before, copies(example), strict=True):
        np.testing.assert_array_equal(kept, now)
    assert first.image.dtype == first.label.dtype == np.float32
    assert first.label.shape == example.label.shape
    assert np.isfinite(first.image).all()
    assert first.image.min() >= 0 or name == "recolour"


@pytest.mark.parametrize("name", sorted(set(STEPS) - {"strip", "cut_neck", "cut_crown"}))
@pytest.mark.parametrize("seed", range(8))
def test_a_change_of_intensities_leaves_the_label(example, name, seed):
    found = STEPS[name](example, rng(seed))
    np.testing.assert_array_equal(found.label, example.label)


@pytest.mark.parametrize("seed", range(12))
def test_a_defaced_head_keeps_its_brain(example, seed):
    found = augment.deface(example, rng(seed))
    brain = example.label > 0
    np.testing.assert_array_equal(found.image[brain], example.image[brain])
    assert ((found.image == example.image) | (found.image == 0)).all()


def test_a_defaced_head_has_lost_some_of_its_face(example):
    lost = [(augment.deface(example, rng(seed)).image != example.image).sum() for seed in range(9)]
    assert max(lost) > 1000


@pytest.mark.parametrize("name", ["cut_neck", "cut_crown"])
@pytest.mark.parametrize("seed", range(12))
def test_what_a_cut_takes_from_the_image_is_taken_from_the_label(example, name, seed):
    found = STEPS[name](example, rng(seed))
    assert ((found.label == example.label) | (found.image == 0)).all()
    assert (found.image[found.label > 0] > 0).all()


CUTS = {"strip", "cut_neck", "cut_crown"}


@pytest.mark.parametrize("name", sorted(CUTS))
@pytest.mark.parametrize("seed", range(12))
def test_what_a_cut_takes_from_the_image_is_taken_from_the_lesion(example, name, seed):
    """Here all of the brain, and some 6 mm around it, is a lesion."""
    lesion = np.float32(0.75) * (example.depth > -6)
    found = STEPS[name](msgspec_replace(example, lesion=lesion), rng(seed))
    assert found.lesion.dtype == np.float32
    np.testing.assert_array_equal(found.lesion, np.where(found.image > 0, lesion, 0))
    np.testing.assert_array_equal(lesion, np.float32(0.75) * (example.depth > -6))


def test_each_cut_takes_some_of_a_lesion_now_and_then(example):
    lesion = (example.depth > -6).astype(np.float32)
    for name in CUTS:
        whole = msgspec_replace(example, lesion=lesion)
        kept = [STEPS[name](whole, rng(seed)).lesion.sum() for seed in range(12)]
        assert min(kept) < lesion.sum()


@pytest.mark.parametrize("name", sorted(set(STEPS) - CUTS - {"meningiomas"}))
def test_only_meningiomas_are_lesions(example, name):
    """Whatever else a step does; and what it cuts nothing from, it keeps."""
    lesion = example.label / 2
    for seed in range(4):
        assert STEPS[name](example, rng(seed)).lesion is None
        assert STEPS[name](msgspec_replace(example, lesion=lesion), rng(seed)).lesion is lesion


@pytest.mark.parametrize("name", sorted(CUTS))
def test_a_cut_grows_no_lesion(example, name):
    assert STEPS[name](example, rng()).lesion is None


def test_steps_are_taken_in_an_order_that_each_can_be_taken_in(example):
    """Tumours over what they may grow over, before cuts; and the grid changes last."""
    names = list(STEPS)
    assert names.index("meningiomas") > max(map(names.index, ("contrast", "metastases")))
    assert names.index("meningiomas") < min(map(names.index, CUTS))
    assert names[-1] == "thicken"
    found = change(example, dict.fromkeys(STEPS, 1.0), rng(1))
    assert found.image.shape != example.image.shape
    assert found.label.shape == found.lesion.shape == example.label.shape
    assert found.lesion.any()


@pytest.mark.parametrize("name", ["cut_neck", "cut_crown", "deface"])
def test_cuts_of_a_head_without_label_do_not_fail(example, name):
    empty = msgspec_replace(example, label=np.zeros_like(example.label))
    assert not STEPS[name](empty, rng()).label.any()


def msgspec_replace(example, **changes):
    return Example(**{**vars(example), **changes})


@pytest.mark.parametrize("seed", range(8))
def test_a_stripped_head_is_its_label_and_nothing_else(example, seed):
    found = augment.strip(example, rng(seed))
    np.testing.assert_array_equal(found.image > 0, found.label > 0)
    assert 0.7 < found.label.sum() / example.label.sum() < 1.2


@pytest.mark.parametrize("seed", range(20))
def test_thick_slices_keep_the_mean_and_their_place(example, seed):
    """The middle of mass of the ball stays where it was, to a small share of a slice."""
    found = augment.thicken(example, rng(seed))
    ratio = found.spacing / example.spacing
    assert sorted(ratio.round(6))[:2] == [1, 1]
    assert ratio.max() >= 2
    for volume in (example, found):
        where = np.argwhere(volume.image > 0.9).mean(0)
        middle = volume.affine[:3, :3] @ where + volume.affine[:3, 3]
        np.testing.assert_allclose(middle, 0, atol=1.5)


@pytest.mark.parametrize("seed", range(12))
def test_an_inverted_head_is_darkest_where_it_was_brightest_and_stays_in_dark_air(example, seed):
    found = augment.invert(example, rng(seed)).image
    bright, dim = example.image == 1, np.isclose(example.image, 0.4)
    assert found[bright].mean() < found[dim & (example.depth > -16)].mean() - 0.1
    air = ndimage.uniform_filter(example.image, 5) == 0
    assert air.any()
    assert not found[air].any()


@pytest.mark.parametrize("seed", range(12))
def test_a_blanked_background_is_zero_and_leaves_the_brain(example, seed):
    noisy = msgspec_replace(example, image=example.image + np.float32(0.01))
    found = augment.blank(noisy, rng(seed)).image
    near = example.depth > -3
    np.testing.assert_array_equal(found[near], noisy.image[near])
    assert not found[example.depth < -30].any()
    assert ((found == noisy.image) | (found == 0)).all()


@pytest.mark.parametrize("seed", range(12))
def test_marrow_is_bright_in_the_skull_and_nowhere_else(example, seed):
    found = augment.marrow(example, rng(seed)).image
    elsewhere = (example.depth > -0.5) | (example.depth < -16)
    np.testing.assert_array_equal(found[elsewhere], example.image[elsewhere])
    assert (found < example.image).any()  # the inner table
    brighter = found > example.image
    assert brighter.any()
    assert example.depth[brighter].max() < -1.5


def test_a_few_slices_are_not_made_fewer():
    flat = np.ones((6, 6, 6), np.float32)
    example = Example(flat, np.eye(4), flat, np.eye(4), flat)
    assert augment.thicken(example, rng()) is example


def test_a_lesion_stays_near_the_brain_and_leaves_most_of_the_head(example):
    changed = [augment.lesion(example, rng(s)).image != example.image for s in range(10)]
    assert all(0 < where.mean() < 0.2 for where in changed)


def test_contrast_agent_brightens_outside_of_the_brain_only(example):
    found = augment.enhance(example, rng(3))
    np.testing.assert_array_equal(found.image[example.label > 0], example.image[example.label > 0])
    assert (found.image > example.image).any()


def test_two_tissues_get_contrasts_of_their_own_now_and_then(example):
    ratios = set()
    for seed in range(30):
        found = augment.recolour(example, rng(seed)).image
        ratios.add(bool(found[30, 35, 32] > found[30, 35, 8]))  # brain and scalp
    assert ratios == {True, False}


def test_air_becomes_bright_now_and_then_only(example):
    air = [augment.recolour(example, rng(seed)).image[0, 0, 0] for seed in range(60)]
    assert 0 < np.mean([value > 0.05 for value in air]) < 0.4


def test_a_curve_meets_its_knots():
    values = np.array([0.0, 1.0, 0.5, 2.0])
    found = augment.curve(np.array([0.0, 0.25, 0.5, 1.0, 1.499], np.float32), values)
    np.testing.assert_allclose(found, [0, 0.5, 1, 0.5, 2], atol=5e-3)


def test_noise_is_as_strong_as_it_says_and_spares_air_now_and_then(example):
    sigmas, clean = [], []
    for seed in range(40):
        found = augment.noise(example.image, rng(seed))
        sigmas.append((found - example.image)[example.label > 0].std())
        clean.append(not found[0, 0].any())
    assert max(sigmas) < 0.145
    assert 0.2 < np.mean(clean) < 0.8


def test_steps_are_taken_by_their_chances(example):
    assert change(example, {}, rng()) is example
    always = change(example, {"shade": 1.0}, rng())
    assert (always.image != example.image).any()


def test_a_smooth_field_is_smooth_and_about_zero():
    field = augment.smooth_field(WINDOW, 5, rng())
    assert field.shape == WINDOW
    assert abs(field.mean()) < 1
    assert np.abs(np.diff(field, axis=0)).max() < 1


def test_bounds_of_nothing_are_the_whole():
    low, high = augment.bounds(np.zeros((3, 4, 5), bool))
    assert (*low, *high) == (0, 0, 0, 3, 4, 5)


@pytest.mark.parametrize("seed", range(8))
def test_image_and_label_move_together(example, seed):
    """In the phantom bright is brain, wherever the window looks and however it bends."""
    image, label = crop(example, np.zeros(3), WINDOW, WILD, rng(seed))
    assert image.shape == label.shape == WINDOW
    assert image.dtype == label.dtype == np.float32
    inside, outside = label > 0.99, label < 0.01
    assert inside.sum() > 1000
    np.testing.assert_allclose(image[inside], 1, atol=0.02)
    assert not outside.any() or image[outside].max() < 0.42


def test_image_and_label_move_together_on_grids_of_their_own(example):
    thick = augment.thicken(example, rng(1))
    image, label = crop(thick, np.zeros(3), WINDOW, WILD, rng(2))
    assert np.corrcoef(image.ravel(), label.ravel())[0, 1] > 0.9


def test_no_geometry_gives_the_voxels_themselves(example):
    fine = Example(example.image, np.eye(4), example.label, np.eye(4), example.depth)
    centre = (np.array(example.image.shape) - 1) / 2
    image, label = crop(fine, centre, example.image.shape, Geometry(), rng())
    np.testing.assert_array_equal(image, example.image)
    np.testing.assert_array_equal(label, example.label)


def test_nearest_labels_stay_whole(example):
    _, label = crop(example, np.zeros(3), WINDOW, WILD, rng(4), interpolation="nearest")
    assert set(np.unique(label)) == {0, 1}


def test_windows_follow_the_axes_they_are_given(example):
    axes = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    ras, _ = crop(example, np.array([5.0, 9, 20]), (40, 40, 40), Geometry(), rng())
    lia, _ = crop(example, np.array([5.0, 9, 20]), (40, 40, 40), Geometry(), rng(), axes=axes)
    np.testing.assert_allclose(lia, ras[::-1, :, ::-1].transpose(0, 2, 1), atol=1e-5)


def test_a_head_stays_a_head():
    for seed in range(50):
        values = np.linalg.svd(random_matrix(WILD, rng(seed)), compute_uv=False)
        assert 0.6 < values.min() < values.max() < 1.6


def test_rigid_is_rigid_and_nothing_is_nothing():
    rigid = Geometry(turn=10, shift=5)
    for seed in range(10):
        matrix = random_matrix(rigid, rng(seed))
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(matrix) > 0
    np.testing.assert_array_equal(random_matrix(Geometry(), rng()), np.eye(3))


def test_a_misspelt_range_is_an_error():
    with pytest.raises(msgspec.ValidationError, match="unknown field `turns`"):
        msgspec.convert({"turns": 3}, Geometry)


STAGE = Stage(epochs=1, rate=(1e-3, 0.0), window=(64, 64, 64), steps=4, batch=1, reach=0, near=1)

GROWN = Variant(steps={"meningiomas": 1.0})


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """A head of two balls, as a training has it."""
    return heads_of(labelled_dataset(tmp_path_factory.mktemp("heads") / "bids", 1))[0]


def expected(laid_out, seed):
    """The head as `samples.draw` changes it, with its lesion as the label."""
    found = change(laid_out.example(), GROWN.steps, rng(seed))
    return msgspec_replace(found, label=found.lesion)


def drawn(laid_out, seed, variant=GROWN, *, target="lesion", **changes):
    stage = msgspec.structs.replace(STAGE, **changes)
    config = configuration({"validation": 0}, target=target, stages=(stage,))
    return draw(laid_out, np.array([9.0, -8, 7]), stage, variant, config, rng(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_window_shows_the_lesion_as_its_label_and_lies_about_it(laid_out, seed):
    whole = expected(laid_out, seed)
    pieces, number = ndimage.label(whole.label > 0)
    middles = []
    for piece in range(1, number + 1):
        voxel = np.argwhere(pieces == piece).mean(0)
        middles.append(whole.label_affine[:3, :3] @ voxel + whole.label_affine[:3, 3])
    for _ in range(4):
        assert np.isclose(middle(whole, rng()), middles, atol=1e-3).all(1).any()
    for near, centres in ((1.0, middles), (0.0, [[9.0, -8, 7]])):
        _, label = drawn(laid_out, seed, near=near)
        wanted = [crop(whole, np.array(c), STAGE.window, Geometry(), rng())[1] for c in centres]
        assert min(np.abs(label - one).max() for one in wanted) < 1e-3
    assert drawn(laid_out, seed)[1].any()


@pytest.mark.parametrize("seed", range(6))
def test_a_lesion_is_within_reach_of_the_middle(laid_out, seed):
    """The window moves by as much as the lesion does in it, and no further than reach."""
    whole = expected(laid_out, seed)
    _, label = drawn(laid_out, seed, reach=10, window=(96, 96, 96))
    if ndimage.label(whole.label > 0.5)[1] == 1:
        offset = np.array(ndimage.center_of_mass(label)) - 47.5
        assert 0.1 < np.abs(offset).max() < 11.5
    assert label.any()


def test_batches_are_of_lesions_where_they_are_the_target(laid_out):
    stage = msgspec.structs.replace(STAGE, reach=5, window=(32, 32, 32), variants={"grown": 1})
    for target, bounds in {"lesion": (0.001, 0.95), "label": (1, 1)}.items():
        near = float(target == "lesion")
        chosen = msgspec.structs.replace(stage, near=near)
        config = configuration(
            {"validation": 0}, target=target, stages=(chosen,), variants={"grown": GROWN}
        )
        drawn = batches(Sampler(config, chosen, 1, [laid_out]))
        mean = np.mean([drawn[number][1].mean() for number in range(4)])
        assert bounds[0] <= mean <= bounds[1]


def test_without_a_lesion_the_label_is_empty(laid_out):
    image, label = drawn(laid_out, 0, Variant())
    assert label.shape == image.shape == STAGE.window
    assert label.dtype == np.float32
    assert not label.any()
    assert image.any()


def test_a_target_of_the_label_is_the_label_whatever_grows(laid_out):
    _, label = drawn(laid_out, 0, target="label", window=(32, 32, 32), near=0)
    assert (label == 1).all()
    _, lesion = drawn(laid_out, 0, window=(32, 32, 32), near=0)
    assert (lesion < 1).any()


def test_image_and_label_are_bent_alike_and_by_as_much_as_asked():
    ramp = np.indices((40, 40, 40)).astype(np.float32).sum(0) / 120  # 1/120 a mm along each axis
    example = Example(ramp, np.eye(4), ramp, np.eye(4), np.zeros_like(ramp))
    center, window = np.full(3, 19.5), (16, 16, 16)
    straight, _ = crop(example, center, window, Geometry(), rng())
    moved = []
    for seed in range(12):  # four in ten are bent
        image, label = crop(example, center, window, Geometry(bend=4), rng(seed))
        np.testing.assert_array_equal(image, label)
        moved.append(120 * float(np.sqrt(((image - straight) ** 2).mean())))
    bent = [one for one in moved if one > 1e-3]
    assert len(bent) in range(2, 10)
    assert max(bent) <= 1.5 * 4 * 3**0.5  # the field's deviation is 4 mm at most, along three axes
