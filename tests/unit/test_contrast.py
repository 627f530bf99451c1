# SPDX-License-Identifier: Apache-2.0
"""What enhances without being a meningioma lies where it belongs, and is not labelled."""

import numpy as np
import pytest
from scipy import ndimage
from test_anatomy import AXES, MIXED, made_head

from bids_brainmask.train.transforms import anatomy, contrast
from bids_brainmask.train.transforms.augment import Example

STEPS = (contrast.contrast, contrast.metastases, contrast.schwannoma)
SEEDS = range(12)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module", params=MIXED, ids=str)
def example(request):
    """A head whose arrays cannot be written to."""
    found = made_head(request.param)
    label = found.label * (found.depth > 25)  # any lesion at all
    for array in (found.image, found.label, found.depth, label):
        array.flags.writeable = False
    return Example(**{**vars(found), "lesion": label})


@pytest.fixture(scope="module")
def head(example):
    return anatomy.of(example)


def seen(example, step, seeds=SEEDS):
    """Changes of the image, seed by seed."""
    for seed in seeds:
        yield step(example, rng(seed)).image - example.image


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_labelled_and_nothing_written_to(example, step):
    for seed in SEEDS:
        found, again = step(example, rng(seed)), step(example, rng(seed))
        np.testing.assert_array_equal(found.image, again.image)
        assert found.image.dtype == np.float32
        assert np.isfinite(found.image).all()
        assert found.label is example.label
        assert found.lesion is example.lesion
        assert found.depth is example.depth
    assert len({change.sum() for change in seen(example, step)}) > 9


@pytest.mark.parametrize("step", STEPS)
def test_a_head_without_brain_is_no_error(step):
    empty = np.zeros((24, 24, 24), np.float32)
    affine = np.diag([4.0, 4, 4, 1])
    example = Example(empty, affine, empty, affine, np.full_like(empty, -np.inf))
    for seed in SEEDS:
        found = step(example, rng(seed))
        assert np.isfinite(found.image).all()
        assert found.lesion is None


@pytest.mark.slow
def test_contrast_brightens_all_but_grey_and_white_matter_and_spares_the_air(example):
    matter = (example.depth > 0) & (example.image > 0.55 * anatomy.white(example))
    air = example.depth < -20
    assert not example.image[air].any()
    for change in seen(example, contrast.contrast):
        assert change[~matter].min() == 0
        assert change[~matter].max() > 0.1
        assert not change[air].any()
        assert (change > 0).mean() < 0.2


def test_what_is_brighter_already_stays_as_bright(example):
    """As fat is; where it enhances, it is not brought down to the level of what else does."""
    fat = np.where(example.depth < -6, 3 * example.image, example.image)
    bright = fat > 1.4
    assert bright.any()
    fatty = Example(**{**vars(example), "image": fat})
    highest = []
    for seed in SEEDS:
        found = contrast.contrast(fatty, rng(seed)).image
        assert (found >= fat)[bright].all()
        highest.append((found > fat)[bright].mean())
    assert 0 < max(highest) < 0.5


@pytest.mark.slow
def test_matter_is_flattened_half_of_the_time_towards_one_level(example):
    """White matter (0.8) gets darker, grey (0.6) brighter, and never do they change places."""
    white = (example.depth > 20) & (example.image == np.float32(0.8))
    grey = (example.depth > 0) & (example.image == np.float32(0.6))
    flat = 0
    for change in seen(example, contrast.contrast, range(40)):
        flat += change[white].min() < 0
        assert change[white].min() >= -0.121
        found = example.image + change
        assert found[white].min() >= found[grey].min() - 1e-6
        assert (change[grey].min() > 0) == (change[white].min() < 0)
    assert 10 < flat < 30


def test_the_sagittal_sinus_enhances_in_every_head(example, head):
    crown = (np.abs(head.side) < 2.5) & (head.depth > -4) & (head.depth < 1)
    crown &= head.height > -0.42
    assert crown.sum() > 5
    for change in seen(example, contrast.contrast):
        assert change[crown].min() > 0
        assert (example.image + change)[crown].mean() > example.image[crown].mean() + 0.2


def structures(head, example, seed):
    """Each structure, with where it may be at most."""
    white = anatomy.white(example)
    dark, depth, side = example.image < 0.6 * white, head.depth, np.abs(head.side)
    tissue = example.image > 0.25 * white
    low, deep = head.height < -0.5, depth > 20
    behind = head.forward < 0.42
    near = (depth > -6) & (depth < 5)
    tent = (np.abs(head.over_tentorium) < 6) & behind
    falx = (side < head.spacing[0]) & (depth > 0)
    basal = low & tissue & (depth < 25)
    cavernous = (side < 16) & (side > 8) & low & (depth < 1)
    outside = (depth < 0) & (depth > -3)
    return {
        "sinuses": (
            contrast.sinuses(head, rng(seed)),
            ((side < 6) & near) | tent | cavernous,
        ),
        "vessels": (
            contrast.vessels(head, dark, tissue, rng(seed)),
            ((depth > -3) & (depth < 12)) | basal | (dark & (depth > 0)),
        ),
        "plexus": (contrast.plexus(head, dark, rng(seed)), dark & deep),
        "mucosa": (contrast.mucosa(head, tissue, rng(seed)), tissue & (depth < -10)),
        "dura": (contrast.dura(head, rng(seed)), outside | falx),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sinuses", "vessels", "plexus", "mucosa", "dura"])
def test_structures_lie_where_they_belong(example, head, name):
    sizes = []
    for seed in SEEDS:
        found, bound = structures(head, example, seed)[name]
        assert found.dtype == bool
        assert not (found & ~bound).any()
        sizes.append(found.mean())
    assert max(sizes) > 1e-5
    assert max(sizes) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("spacing", MIXED)
def test_the_pituitary_is_a_ball_below_the_brain(spacing):
    """Of 4 to 7 mm; the mean cube of such a radius is (7^4 - 4^4) / 12. Here the brain is flat."""
    head = anatomy.of(made_head(spacing, axes=AXES * [1, 1, 0.7], room=40))
    sizes = []
    for seed in range(100):
        found = contrast.pituitary(head, rng(seed))
        i, j, k = np.nonzero(found)
        assert np.abs(head.side[found]).max() < 12
        assert np.abs(head.forward[0, j, 0] - 0.61).max() < 0.13
        assert np.abs(head.height[0, 0, k] + 0.62).max() < 0.11
        sizes.append(len(i) * np.prod(spacing))
    assert np.mean(sizes) == pytest.approx(4 / 3 * np.pi * (7**4 - 4**4) / 12, rel=0.12)
    whole = anatomy.Anatomy(np.full_like(head.depth, 20), head.spacing)
    assert not contrast.pituitary(whole, rng()).any()


@pytest.mark.parametrize("radius", [6, 15])
def test_a_ball_has_its_volume_and_lies_in_its_box(head, radius):
    shape, centre = head.depth.shape, np.array(head.depth.shape) // 2
    volumes = []
    for seed in SEEDS:
        box, inside = contrast.sphere(shape, head.spacing, centre, radius, rng(seed))
        assert inside.dtype == np.float32
        where = np.argwhere(inside > 0) + [side.start for side in box]
        far = np.linalg.norm((where - centre) * head.spacing, axis=1)
        assert far.max() < 1.6 * radius
        there = tuple(c - side.start for c, side in zip(centre, box, strict=True))
        assert inside[there] == pytest.approx(radius, rel=0.6)
        assert inside.max() == inside[there] or inside.max() < 1.6 * radius
        volumes.append(len(where) * np.prod(head.spacing))
    assert np.mean(volumes) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.2)


def test_a_ball_at_the_edge_of_the_grid_is_cut(head):
    shape = head.depth.shape
    box, inside = contrast.sphere(shape, head.spacing, np.zeros(3, int), 12, rng())
    assert all(side.start == 0 for side in box)
    assert inside.shape == tuple(side.stop for side in box)
    assert inside[0, 0, 0] == inside.max() > 0


def test_paint_fills_the_inside_and_nothing_else():
    inside = np.broadcast_to(np.arange(-10.0, 11)[:, None, None], (21, 8, 8)).astype(np.float32)
    cores = 0
    for seed in range(20):
        part = np.full(inside.shape, 0.5, np.float32)
        contrast.paint(part, inside, np.ones(3), np.float32(2), rng(seed))
        assert (part[:10] == 0.5).all()
        assert part[11:12].mean() == pytest.approx(2, rel=0.12)
        cores += part[-1].mean() < 1.4
        assert part[-1].mean() < 1.4 or part[-1].mean() == pytest.approx(2, rel=0.12)
    assert 4 < cores < 16


def test_metastases_keep_clear_of_dura_and_falx(example, head):
    """Bright ones; their oedema only keeps off the brain's edge."""
    counts = []
    for change in seen(example, contrast.metastases, range(40)):
        changed, bright = change != 0, change > 1e-6
        assert not changed.any() or head.depth[changed].min() > 3
        assert not bright.any() or head.depth[bright].min() > 3.5
        assert not bright.any() or np.abs(head.side[bright]).min() > 2
        counts.append(ndimage.label(bright)[1])
    assert max(counts) > 1
    assert np.mean(counts) > 0.5


def test_oedema_darkens_white_matter_only(example, head):
    white = anatomy.white(example)
    centre = head.nearest(30, 0.5, -0.3)
    swollen = 0
    for seed in range(30):
        image = example.image.copy()
        contrast.edema(image, head, centre, 8.0, white, rng(seed))
        changed = image != example.image
        swollen += changed.any()
        assert (image[changed] < example.image[changed]).all()
        assert (image[changed] >= 0.64 * example.image[changed]).all()
        assert (example.image[changed] > 0.6 * white).all()
        assert not changed.any() or head.depth[changed].min() > 3
    assert 15 <= swollen <= 27


def test_a_schwannoma_lies_beside_the_brain_stem_on_one_side(example, head):
    sides = set()
    for seed in range(20):
        change = contrast.schwannoma(example, rng(seed)).image - example.image
        i, j, k = np.nonzero(change)
        side = head.side[i, j, k]
        assert abs(np.sign(side).sum()) == len(side) > 5
        assert 5 < np.abs(side).min() < np.abs(side).max() < 55
        assert -0.85 < head.height[0, 0, k].min() < head.height[0, 0, k].max() < -0.5
        assert 0.25 < head.forward[0, j, 0].min() < head.forward[0, j, 0].max() < 0.55
        assert len(side) * np.prod(head.spacing) < 4 / 3 * np.pi * 20**3
        sides.add(np.sign(side[0]))
    assert sides == {-1, 1}


@pytest.mark.slow
def test_what_enhances_is_brighter_than_white_matter(example):
    """Somewhere in nearly every head, and never more than about twice as bright."""
    white = anatomy.white(example)
    for step in STEPS:
        brightest = [(example.image + change).max() for change in seen(example, step)]
        assert np.mean([value > 1.03 * white for value in brightest]) > 0.7
        assert max(brightest) < 2.8 * white
