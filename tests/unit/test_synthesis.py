# SPDX-License-Identifier: Apache-2.0
"""Heads made from label maps: geometry, order of intensities, and what is acquired of them."""

import msgspec
import numpy as np
import pytest
from synthetic_heads import NOTHING, RAMP, label_map, laid_out

from bids_brainmask.train import acquisition, label_maps, synthesis, windows
from bids_brainmask.train.config import read
from bids_brainmask.train.ranges import (
    Acquisition,
    Anatomy,
    Contrast,
    FieldOfView,
    Synthesis,
)
from bids_brainmask.train.tissues import TISSUES
from bids_brainmask.train.transforms.geometry import Geometry

PLAIN = Contrast(share=1.0, tissues=RAMP | {"air": (0.0, 0.0)}, spread=(0, 0))
SHAPE = (49, 49, 49)

RECIPE = read("brain").synthesis
"""Ranges of the network that ships."""


def ranges(**changes):
    return Synthesis(contrasts={"plain": PLAIN}, **(NOTHING | changes))


@pytest.fixture(scope="module")
def table():
    return label_maps.read_table()


@pytest.fixture(scope="module")
def head(tmp_path_factory, table):
    return laid_out(tmp_path_factory.mktemp("maps"), label_map(), table)


def draw(head, table, synthesis_, seed=0, shape=SHAPE, shift=0.0, **options):
    rng = np.random.default_rng(seed)
    return synthesis.draw(head, table, synthesis_, head.middle + shift, shape, rng, **options)[:2]


def test_a_head_that_nothing_happens_to_is_its_label_map(head, table):
    image, label = draw(head, table, ranges())
    radius = np.sqrt(((np.indices(SHAPE) - 24) ** 2).sum(0))
    assert (label[radius < 16.5] == 1).all()
    assert (label[radius > 19.5] == 0).all()
    white, csf = image[radius < 9], image[(radius > 16) & (radius < 17)]
    assert np.ptp(white) < 1e-3
    assert np.ptp(csf) < 1e-3
    assert white.mean() > csf.mean() > 0
    assert image[radius > 30].max(initial=0) == 0


def test_intensities_are_scaled_as_in_use(head, table):
    from bids_brainmask.voxels.scaling import scale_robustly

    image, _ = draw(head, table, ranges(), shape=(64, 64, 64), shift=-0.5)
    np.testing.assert_allclose(image, scale_robustly(image), atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(shift=6),
        Geometry(turn=20),
        Geometry(any_turn=1),
        Geometry(quarter_turns=1, flip=0.5),
        Geometry(scale=0.15, stretch=0.1, shear=0.05),
        Geometry(bend=2),
    ],
    ids=["shift", "turn", "any_turn", "orders", "size", "bend"],
)
def test_image_and_label_stay_on_one_grid(head, table, geometry, seed):
    means = dict.fromkeys(RAMP, (0.2, 0.2)) | {"air": (0, 0), "csf": (1, 1), "cortex": (1, 1)}
    bright = Contrast(share=1.0, tissues=means, spread=(0, 0))  # the target alone is bright
    image, label = draw(
        head, table, Synthesis(contrasts={"plain": bright}, geometry=geometry, **NOTHING), seed
    )
    inside = image > 0.6 * image.max()
    agreement = 2 * (inside & (label > 0.5)).sum() / (inside.sum() + (label > 0.5).sum())
    assert agreement > 0.97


@pytest.mark.parametrize("seed", range(4))
def test_a_thick_skull_is_marrow_between_two_tables(seed):
    """A ball of brain in bone and muscle: what changes lies in the vault, over the inner table."""
    radius = np.sqrt(((np.indices(SHAPE) - 24) ** 2).sum(0)).astype(np.float32)
    distance = radius - 10
    tissue = np.where(distance < 0, synthesis.CODE["white"], synthesis.CODE["muscle"])
    tissue[(distance >= 0) & (distance < 4)] = synthesis.CODE["bone"]
    upward = np.broadcast_to(np.arange(-24.0, 25.0) * 3, SHAPE)
    skin = np.clip(24 - radius, 0, 255).astype(np.uint8)
    window = synthesis.Window(
        tissue,
        tissue.astype(np.uint8),
        -distance,
        skin,
        *[upward] * 3,
        radius,
        radius,
        np.zeros(SHAPE, np.uint8),
        radius > 99,
    )
    found = tissue.copy()
    anatomy = Anatomy(table=(1, 2), skull=(9, 9))
    synthesis.thicken_skull(found, window, anatomy, np.random.default_rng(seed))
    marrow = found == synthesis.CODE["marrow"]
    assert marrow.any()
    assert distance[marrow].min() > 1
    assert (skin[marrow] > 2).all()
    assert (upward[found != tissue] > 0).all()
    assert (found[distance < 0] == synthesis.CODE["white"]).all()
    grown = (found == synthesis.CODE["bone"]) & (tissue == synthesis.CODE["muscle"])
    assert grown.any()  # the outer table, which lies on the marrow
    assert distance[grown].mean() > distance[marrow].mean()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_mirrored_left_half_is_a_right_one(head, table, flip):
    synthesis_ = ranges(geometry=Geometry(flip=flip))
    window = synthesis.crop(head, table, synthesis_, head.middle, SHAPE, np.random.default_rng(0))
    left = table.values[window.labels] == 1
    assert left[:24].any()
    assert not left[25:].any()


def test_quarter_turns_and_flips_reach_all_48_axis_orders():
    rng = np.random.default_rng(0)
    geometry = Geometry(quarter_turns=1, flip=0.5)
    found = {tuple(np.rint(windows.random_matrix(geometry, rng)).ravel()) for _ in range(2000)}
    assert len(found) == 48


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("contrast", "order"),
    [
        ("T1w", ("bone", "csf", "cortex", "white")),
        ("T1wGd", ("csf", "cortex")),  # which enhances, and may be brighter than white matter
        ("T1wGd", ("csf", "white")),
        ("T2w", ("bone", "white", "cortex", "csf")),
        ("FLAIR", ("csf", "white", "cortex")),
        ("UNIT1", ("csf", "cortex", "white")),
    ],
)
def test_tissues_keep_their_order_where_a_prior_says_so(table, contrast, order, seed):
    kind = RECIPE.contrasts[contrast]
    means = synthesis.draw_means(kind, table, np.random.default_rng(seed))
    values = [means[synthesis.CODE[name]] for name in order]
    assert values == sorted(values)


def test_partners_have_the_same_intensity_in_a_random_contrast(table):
    means = synthesis.draw_means(Contrast(share=1), table, np.random.default_rng(3))
    labels = means[len(TISSUES) :]
    np.testing.assert_array_equal(labels, labels[table.partner])
    assert len(np.unique(labels[table.target])) > 10


def test_the_field_of_view_ends_for_image_and_label(head, table):
    synthesis_ = ranges(field_of_view=FieldOfView(ends=1, deface=0, strip=0, zero_air=0))
    image, label = draw(head, table, synthesis_, shape=(32, 32, 32))
    whole_image, whole_label = draw(head, table, ranges(), shape=(32, 32, 32))
    gone = (label == 0) & (whole_label > 0)
    assert gone.any()
    assert (image[gone] == 0).all()
    there = (label > 0) & (whole_label > 0)
    np.testing.assert_array_equal(label[there], whole_label[there])
    assert [(image == 0).all(tuple({0, 1, 2} - {axis})).any() for axis in range(3)].count(True)
    assert whole_image.shape == image.shape


@pytest.mark.parametrize("border", [-3.0, 0.0, 5.0])
def test_stripping_leaves_the_border_that_was_asked_for(head, table, border):
    view = FieldOfView(ends=0, deface=0, strip=1, border=(border, border), zero_air=0)
    image, label = draw(head, table, ranges(field_of_view=view), shape=(64, 64, 64), shift=-0.5)
    radius = np.sqrt(((np.indices((64, 64, 64)) - 32) ** 2).sum(0))
    assert (image[radius > 18 + border + 1.2] == 0).all()
    assert (image[radius < 18 + border - 1.2] > 0).all()
    cut = 18 + min(border, 0)
    assert (label[radius < cut - 1.2] == 1).all()
    assert (label[radius > cut + 1.2] == 0).all()


@pytest.mark.slow
def test_a_face_that_is_removed_leaves_the_target(head, table):
    view = FieldOfView(ends=0, deface=1, strip=0, zero_air=0)
    removed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        window = synthesis.crop(head, table, ranges(), head.middle, (64, 64, 64), rng)
        far = msgspec.structs.replace(view)
        gone, kept = synthesis.remove(window, far, rng)
        assert kept is None
        assert not gone[window.depth > 0].any()
        removed += gone.any()
    assert removed


@pytest.mark.parametrize(("step", "width"), [(1.0, 1.0), (2.0, 2.0), (5.0, 3.5), (6.7, 6.7)])
def test_sampling_and_back_keeps_what_is_constant_and_what_rises(step, width):
    down, up = acquisition.sampling(64, step, width, 0.6, 0.3)
    np.testing.assert_allclose(down.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(up.sum(1), 1, rtol=1e-5)
    ramp = np.arange(64.0)
    middle = slice(10, 54)
    np.testing.assert_allclose((up @ (down @ ramp))[middle], ramp[middle], atol=0.1)


def test_slices_average_over_their_thickness():
    down, _ = acquisition.sampling(60, 6.0, 6.0, 0.0, 0.5)
    line = np.zeros(60)
    line[12:15] = 1  # half of a slice of 12 to 17
    assert (down @ line)[2] == pytest.approx(0.5, abs=0.01)


def test_noise_in_air_has_the_mean_of_rayleighs_distribution():
    found = acquisition.with_noise(
        np.zeros((60, 60, 60), np.float32), 0.2, np.random.default_rng(0)
    )
    assert found.mean() == pytest.approx(0.2 * np.sqrt(np.pi / 2), rel=0.01)


@pytest.fixture
def box():
    """A box in air, (32, 34, 36) float32."""
    image = np.zeros((32, 34, 36), np.float32)
    image[10:20, 12:18, 14:22] = 1
    return image


def moved(image, spacing, millimeters, seed):
    ranges = Acquisition(moves=(millimeters, millimeters))
    return acquisition.move(image, np.full(3, spacing), ranges, np.random.default_rng(seed))


def test_motion_of_0_mm_changes_nothing(box):
    np.testing.assert_allclose(moved(box, 1.0, 0, 0), box, atol=1e-5)


def test_motion_leaves_the_head_where_its_label_is(box):
    """The shift with the highest correlation is 0, or 1 voxel, of a movement by 4 or 8.

    It may be more where the head moves between the middle line of k-space and the next.
    """

    def away(found):
        together = np.fft.ifftn(np.fft.fftn(found) * np.fft.fftn(box).conj()).real
        place = np.unravel_index(together.argmax(), box.shape)
        return max(min(at, n - at) for at, n in zip(place, box.shape, strict=True))

    images = [moved(box, 1.0, 4.0, seed) for seed in range(30)]
    assert np.median([np.abs(found - box).max() for found in images]) > 0.1
    assert sum(away(found) > 1 for found in images) <= 1


def test_motion_is_in_millimeters(box):
    """In voxels of 6 mm, 3 mm are half a voxel."""
    np.testing.assert_array_equal(moved(box, 6.0, 3.0, 1), moved(box, 1.0, 0.5, 1))


@pytest.mark.slow
@pytest.mark.parametrize("contrast", list(RECIPE.contrasts))
def test_every_contrast_gives_images_in_range(head, table, contrast):
    wide = RECIPE
    for seed in range(3):
        image, label = draw(head, table, wide, seed, contrast=contrast, level=True)
        assert image.dtype == label.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 2
        assert np.isfinite(image).all()
        assert ((label >= 0) & (label <= 1)).all()


def test_the_same_seed_gives_the_same_bytes(head, table):
    wide = RECIPE
    first, second, other = (draw(head, table, wide, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[0], second[0])
    assert (first[0] != other[0]).any()


def test_contrasts_that_miss_a_tissue_are_refused():
    with pytest.raises(ValueError, match=r"missing \['marrow'\], unknown \['tin'\]"):
        Contrast(
            share=1, tissues={k: v for k, v in (RAMP | {"tin": (0, 1)}).items() if k != "marrow"}
        )


def test_shares_of_contrasts_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match=r"shares sum to 0\.5"):
        Synthesis(contrasts={"random": Contrast(share=0.5)})


@pytest.mark.parametrize("axis", range(3))
def test_thick_slices_lie_across_the_axis_that_is_asked_for(axis):
    across = np.eye(3)[axis]
    some = Acquisition(thick=1, slices=(4, 4), across=tuple(across), in_plane=(1, 1))
    for seed in range(5):
        pairs = acquisition.axes_of((40, 40, 40), some, np.random.default_rng(seed))
        samples = [len(down) for down, _ in pairs]
        assert samples == [10 if n == axis else 40 for n in range(3)]


def test_thick_slices_lie_across_some_axis():
    with pytest.raises(ValueError, match="across: found 0 for all axes; expected one of them"):
        Acquisition(across=(0, 0, 0))
