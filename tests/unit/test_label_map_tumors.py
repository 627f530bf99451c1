# SPDX-License-Identifier: Apache-2.0
"""Tumors in label maps: volume, place, displacement, intensities, and what is refused."""

from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from synthetic_heads import NOTHING, RAMP, head_with_sheets, laid_out, write

from bids_brainmask.train import (
    distractors,
    enhancement,
    growth,
    label_maps,
    synthesis,
    windows,
)
from bids_brainmask.train.config import read
from bids_brainmask.train.ranges import (
    CORES,
    SITES,
    Contrast,
    Distractors,
    Enhancement,
    Synthesis,
    Tumors,
)
from bids_brainmask.train.tissues import CODE, GROUPS, TISSUES, UNKNOWN

SHAPE = (96, 96, 96)
"""Of the window in which tumors grow: the whole head."""

DRAWN = (80, 80, 80)
"""Of images that are drawn: up to the bone."""

NONE = Distractors(
    veins=0, dura=0, pituitary=0, schwannoma=0, metastases=0, glioma=0, cavity=0, packing=0
)
BARE = {
    "contrasts": ("gd",),
    "cores": {},
    "tail": 0,
    "oedema": 0,
    "cleft": 0,
    "hyperostosis": 0,
    "through_bone": 0,
    "into_sinus": 0,
    "crosses": 0,
    "mass_effect": 0,
    "enhance": {},
    "texture": (0, 0),
    "dose": (1, 1),
    "level": (4, 4),
    "distractors": NONE,
}
"""Ranges in which nothing but the tumor happens."""

RECIPE = read("meningioma-label-maps").synthesis


def tumors(**changes):
    return Tumors(**(BARE | changes))


def ranges(**changes):
    kinds = {
        "gd": Contrast(share=0.5, tissues=RAMP | {"air": (0, 0)}, spread=(0, 0)),
        "plain": Contrast(share=0.5, tissues=RAMP | {"air": (0, 0)}, spread=(0, 0)),
    }
    return Synthesis(contrasts=kinds, tumors=tumors(**changes), **NOTHING)


@pytest.fixture(scope="module")
def table():
    return label_maps.read_table()


@pytest.fixture(scope="module")
def head(tmp_path_factory, table):
    return laid_out(tmp_path_factory.mktemp("maps"), head_with_sheets(), table)


@pytest.fixture(scope="module")
def window(head, table):
    middle = head.affine[:3, 3] + 47.5
    return synthesis.crop(head, table, ranges(), middle, SHAPE, np.random.default_rng(0))


def draw(head, table, synthesis_, seed=0, contrast="gd"):
    middle = head.affine[:3, 3] + 47.5
    rng = np.random.default_rng(seed)
    return synthesis.draw(head, table, synthesis_, middle, DRAWN, rng, contrast=contrast)[:2]


@pytest.fixture(scope="module")
def plain(head, table):
    """Draw an image with which others are compared; once, for whatever is compared with it."""
    drawn = {}

    def once(some, seed=0):
        key = (msgspec.json.encode(some), seed)
        if key not in drawn:
            drawn[key] = draw(head, table, some, seed)
        return drawn[key]

    return once


def test_falx_and_tentorium_are_the_planes_that_were_put_in(head):
    arrays = head.arrays()
    falx, tentorium = (np.argwhere(arrays["sheet"] == value) for value in (1, 2))
    assert len(falx) > 1000
    assert len(tentorium) > 1000
    assert np.median(falx[:, 0]) == 48
    assert np.abs(falx[:, 0] - 48).max() <= 4  # where it ends in the fluid at the skull
    assert abs(np.median(tentorium[:, 2]) - 30) <= 1
    assert np.abs(tentorium[:, 2] - 30).max() <= 4
    assert arrays["falx"][30, 48, 60] < 0 < arrays["falx"][66, 48, 60]
    assert arrays["tentorium"][48, 48, 20] < 0 < arrays["tentorium"][48, 48, 50]


def test_a_folder_of_an_earlier_layout_is_completed(tmp_path, table):
    write(tmp_path / "one_dseg.nii.gz", head_with_sheets()[::2, ::2, ::2])
    (first,) = label_maps.lay_out(tmp_path, table, (), tmp_path / "out")
    (tmp_path / "out" / "one" / "sheet.npy").unlink()
    (again,) = label_maps.lay_out(tmp_path, table, (), tmp_path / "out")
    assert set(again.arrays()) == set(label_maps.ARRAYS)
    np.testing.assert_array_equal(first.affine, again.affine)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(("volume", "plaque"), [(0.3, 0), (3.0, 0), (3.0, 1)])
def test_a_tumor_has_its_volume_and_touches_its_site(window, site, volume, plaque):
    for seed in range(3):
        some = tumors(plaque=plaque)
        tumor = growth.grow_one(window, volume, some, np.random.default_rng(seed), site)
        if tumor is None:  # too little room for a sheet of this form
            assert plaque
            continue
        inside = tumor.inside > 0
        assert tumor.site == site
        assert inside.sum() == pytest.approx(1000 * volume, rel=0.06)
        assert (window.depth[tumor.box][inside] > -1.6).all()
        nearest = {
            "falx": np.abs(window.falx),
            "tentorium": np.abs(window.tentorium),
        }.get(site, np.abs(window.depth))[tumor.box][inside]
        assert nearest.min() <= 2.5
        height = np.median(window.upward[tumor.box][inside])
        if site in ("convexity", "parasagittal"):
            assert height > -15
        if site == "posterior fossa":
            assert (window.tentorium[tumor.box][inside] < 1).mean() > 0.9


@pytest.mark.parametrize(("site", "field"), [("falx", "falx"), ("tentorium", "tentorium")])
def test_a_tumor_of_a_sheet_crosses_it_only_where_asked(window, site, field):
    sides = []
    for crosses in (0, 1):
        some = tumors(crosses=crosses, plaque=0, base=(0.2, 0.2))
        tumor = growth.grow_one(window, 4.0, some, np.random.default_rng(4), site)
        values = getattr(window, field)[tumor.box][tumor.inside > 0]
        sides.append(min((values > 1.5).mean(), (values < -1.5).mean()))
    assert sides[0] == 0
    assert sides[1] > 0.05


def test_a_tumor_goes_through_bone_only_where_asked(window):
    depths = []
    for chance in (0, 1):
        some = tumors(through_bone=chance, bone_depth=(6, 6), base=(0.1, 0.1), plaque=0)
        tumor = growth.grow_one(window, 6.0, some, np.random.default_rng(1), "convexity")
        depths.append(window.depth[tumor.box][tumor.inside > 0].min())
    assert depths[0] >= -1.5
    assert -10 < depths[1] < -3


def test_a_window_without_dura_gets_no_tumor(window):
    inner = (slice(52, 68), slice(40, 56), slice(40, 56))
    small = replace(window, **{f.name: getattr(window, f.name)[inner] for f in fields(window)})
    assert growth.grow_one(small, 1.0, tumors(), np.random.default_rng(0)) is None
    _, grown = growth.grow(small, tumors(count=(0, 1)), np.random.default_rng(0))
    assert grown == []


def test_a_tumor_that_has_no_room_is_not_grown(window):
    some = tumors(plaque=0)
    assert growth.grow_one(window, 500.0, some, np.random.default_rng(0), "convexity") is None


def test_the_brain_is_displaced_and_the_skull_stays(window):
    tumor = growth.grow_one(window, 6.0, tumors(plaque=0), np.random.default_rng(2), "convexity")
    moved = growth.displace(window, tumor, 0.95)
    outside = window.depth <= 0
    np.testing.assert_array_equal(moved.labels[outside], window.labels[outside])
    np.testing.assert_array_equal(moved.tissue[outside], window.tissue[outside])
    assert (moved.labels != window.labels).any()
    filled = np.zeros(window.shape, bool)
    filled[tumor.box] = tumor.inside > 0
    cortex, still = moved.tissue == CODE["cortex"], window.tissue == CODE["cortex"]
    saved = (cortex & ~filled).sum() - (still & ~filled).sum()
    assert saved > 0.05 * (still & filled).sum()  # it is pushed inwards from under the tumor
    same = growth.displace(window, tumor, 0.0)
    np.testing.assert_array_equal(same.labels[~filled], window.labels[~filled])


def test_distances_are_those_of_an_exact_transform_to_a_voxel():
    from scipy import ndimage

    radius = np.sqrt(((np.indices((40, 41, 42)) - 20.0) ** 2).sum(0))
    filled = radius < 8
    exact = ndimage.distance_transform_edt(~filled)
    found = growth.distance(filled)
    assert (found[filled] == 0).all()
    assert np.abs(found - exact)[~filled].max() < 2
    one = np.zeros((9, 9, 9), bool)
    one[3, 3, 3] = True  # lost on every second voxel
    assert growth.distance(one)[3, 3, 8] == 5


@pytest.mark.parametrize("site", SITES)
def test_image_and_label_are_on_one_grid(head, table, site):
    some = ranges(count=(0, 1), sites={site: 1}, volume=(3, 5), plaque=0)
    image, label = draw(head, table, some, seed=3)
    bright = image > 0.7 * image.max()
    assert label.sum() == pytest.approx(4000, rel=0.35)
    shared = 2 * (bright & (label > 0.5)).sum() / (bright.sum() + (label > 0.5).sum())
    assert shared > 0.95


def test_groups_are_those_of_the_tissues_and_unknown_in_tumors(head, table):
    """Nothing but a tumor happens, so the groups elsewhere are those of the label map."""
    how = (head, table, ranges(count=(0, 1)), head.middle, SHAPE)
    _, label, groups = synthesis.draw(*how, np.random.default_rng(1), contrast="gd")
    assert (label > 0).any()
    assert (groups[label > 0] == UNKNOWN).all()
    found = windows.crop(*how[:2], how[2], *how[3:], np.random.default_rng(1))
    names = list(GROUPS)
    for name in ("white", "csf", "bone"):
        there = (found.tissue == CODE[name]) & (groups >= 0)
        assert there.any()
        assert name in GROUPS[names[np.bincount(groups[there]).argmax()]]
    assert {name for group in GROUPS.values() for name in group} == set(TISSUES)
    assert sum(map(len, GROUPS.values())) == len(TISSUES)


@pytest.mark.parametrize("room", [0.4, 1.0])
def test_metastases_reach_the_surface_of_the_brain_where_that_is_allowed(
    head, table, window, room
):
    """Fluid and dura, 1 mm, stay free."""
    kind = msgspec.structs.replace(NONE, metastases=1, metastasis_radius=(7, 8), room=(room, room))
    nearest = []
    for seed in range(6):
        image = np.zeros(SHAPE, np.float32)
        means, rng = np.ones(len(TISSUES), np.float32), np.random.default_rng(seed)
        tissue = np.full(SHAPE, CODE["white"], np.uint8)
        distractors.Painter(image, tissue, window, means, kind, 1.0, rng).draw()
        nearest.append(window.depth[image > 0.5].min(initial=99))
    assert min(nearest) >= (1 if room < 1 else 1.5)
    assert (min(nearest) < 1.5) == (room < 1)


def test_one_to_three_tumors_are_grown_as_often_as_asked(window):
    some = tumors(count=(0, 0, 1), volume=(0.2, 0.5))
    _, grown = growth.grow(window, some, np.random.default_rng(0))
    assert len(grown) == 2
    assert growth.grow(window, tumors(count=(1,)), np.random.default_rng(0)) == (window, [])
    moved, grown = growth.grow(
        window, tumors(count=(0, 1), mass_effect=1), np.random.default_rng(5)
    )
    assert grown
    assert moved is not window


def test_an_image_without_contrast_agent_has_no_tumor(head, table):
    some = ranges(count=(0, 1), volume=(3, 5))
    image, label = draw(head, table, some, contrast="plain")
    assert not label.any()
    assert image.any()


def test_the_same_seed_gives_the_same_bytes(head, table):
    first, second, other = (draw(head, table, RECIPE, seed, "T1wGd") for seed in (5, 5, 6))
    for one, two in zip(first, second, strict=True):
        assert one.tobytes() == two.tobytes()
    assert (first[0] != other[0]).any()


def test_images_of_the_recipe_are_in_range_and_have_tumors(head, table):
    filled = 0
    for seed in range(6):
        image, label = draw(head, table, RECIPE, seed, "T1wGd")
        assert image.dtype == label.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 2
        assert ((label >= 0) & (label <= 1)).all()
        filled += label.any()
    assert filled


def test_a_tissue_takes_up_contrast_agent_by_its_chance(table):
    positions = synthesis.tissues_of(table)
    means = np.full(len(TISSUES) + len(positions), 0.5, np.float32)
    means[CODE["white"]] = 0.8
    some = tumors(
        enhance={
            "vein": Enhancement(chance=1, level=(2, 2)),
            "mucosa": Enhancement(chance=0, level=(2, 2)),
            "fat": Enhancement(chance=1, level=(0.1, 0.1)),
        }
    )
    found = enhancement.enhanced(means, positions, some, 0.5, np.random.default_rng(0))
    vein = np.flatnonzero(positions == CODE["vein"]) + len(TISSUES)
    np.testing.assert_allclose(found[[CODE["vein"], *vein]], 0.8 * 1.5)  # half of a dose
    changed = np.flatnonzero(found != means)
    assert set(changed) == {CODE["vein"], *vein}  # nothing gets darker


@pytest.mark.parametrize("core", CORES)
def test_cores_are_dark_and_belong_to_the_label(head, table, core):
    kind = {core: Enhancement(chance=1, level=(0.1, 0.1))}
    some = ranges(count=(0, 1), sites={"convexity": 1}, volume=(6, 6), plaque=0, cores=kind)
    found = [draw(head, table, some, seed) for seed in range(4)]
    dark = [
        ((image < 0.3 * image.max()) & (label == 1)).sum() / (label == 1).sum()
        for image, label in found
    ]
    assert 0.02 < max(dark) < 0.9


EFFECTS = {
    "tail": {"tail": 1, "tail_length": (25, 25), "tail_thickness": (2.5, 2.5)},
    "oedema": {"oedema": 1, "oedema_reach": (20, 20), "oedema_loss": (0.4, 0.4)},
    "cleft": {"cleft": 1},
    "hyperostosis": {"hyperostosis": 1, "hyperostosis_reach": (12, 12)},
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_effects_of_a_tumor_lie_beside_it(head, table, window, plain, effect):
    place = {"count": (0, 1), "sites": {"convexity": 1}, "volume": (4, 4), "plaque": 0}
    if effect == "hyperostosis":
        tissue = np.where(window.tissue == CODE["bone"], CODE["marrow"], window.tissue)
        tumor = growth.grow_one(window, 4.0, tumors(), np.random.default_rng(1), "convexity")
        enhancement.harden(
            tissue, window, [tumor], tumors(**EFFECTS[effect]), np.random.default_rng(0)
        )
        hard = np.argwhere((tissue == CODE["bone"])[tumor.box])
        assert len(hard)
        assert tumor.outside[tuple(hard.T)].max() < 12 * 3
        return
    bare, label = plain(ranges(**place))
    image, same = draw(head, table, ranges(**place, **EFFECTS[effect]))
    np.testing.assert_array_equal(label, same)
    outside = label == 0
    changed = outside & (np.abs(image - bare) > 0.02)
    assert changed.any()
    brighter = (image > bare)[changed].mean()
    assert brighter > 0.95 if effect == "tail" else brighter < 0.5


@pytest.mark.parametrize(
    "kind",
    [
        *("veins", "dura", "pituitary", "schwannoma"),
        *("metastases", "glioma", "cavity", "packing"),
    ],
)
def test_distractors_change_the_image_and_not_the_label(head, table, plain, kind):
    changes = {kind: 1, "glioma_radius": (6, 8), "metastasis_radius": (3, 4)}
    some = msgspec.structs.replace(NONE, **changes)
    bright = {"enhance": {"vein": Enhancement(chance=1, level=(3, 3))}}
    changed = 0
    for seed in range(3):
        image, label = draw(head, table, ranges(count=(1,), distractors=some, **bright), seed)
        bare, _ = plain(ranges(count=(1,), **bright), seed)
        assert not label.any()
        changed += (np.abs(image - bare) > 0.05).sum() > 5
    assert changed or kind in ("pituitary", "schwannoma")  # the phantom ends above them


@pytest.mark.parametrize("kind", ["pituitary", "schwannoma"])
def test_distractors_of_the_skull_base_lie_at_their_places(head, table, plain, monkeypatch, kind):
    monkeypatch.setattr(distractors, "PITUITARY", (0.0, 24.0, -30.0))
    monkeypatch.setattr(distractors, "MEATUS", (20.0, -14.0, -31.0))
    some = msgspec.structs.replace(NONE, **{kind: 1})
    image, label = draw(head, table, ranges(count=(1,), distractors=some), 1)
    bare, _ = plain(ranges(count=(1,)), 1)
    changed = np.argwhere(np.abs(image - bare) > 0.05)
    assert len(changed)
    assert not label.any()
    side, _, height = changed.mean(0) - (DRAWN[0] - 1) / 2
    assert height < -15
    assert (abs(side) < 8) == (kind == "pituitary")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"count": (0.5, 0.2)}, "count: the shares sum to 0.7"),
        ({"sites": {"falx": 0.5}}, "sites: the shares sum to 0.5"),
        ({"volume": (0, 3)}, "expected two volumes above 0"),
        ({"cores": {"cystic": Enhancement(chance=1, level=(0, 1)),
                    "necrotic": Enhancement(chance=0.5, level=(0, 1))}}, "sum to 1.5"),
    ],
)  # fmt: skip
def test_ranges_of_tumors_that_make_no_sense_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        tumors(**changes)


def test_contrasts_and_lesions_that_do_not_fit_tumors_are_refused():
    kinds = {"a": Contrast(share=1)}
    with pytest.raises(ValueError, match=r"unknown \['gd'\]; expected among \['a'\]"):
        Synthesis(contrasts=kinds, tumors=tumors(), anatomy=NOTHING["anatomy"])
    with pytest.raises(ValueError, match=r"anatomy\.lesion: expected 0"):
        Synthesis(contrasts=kinds, tumors=tumors(contrasts=("a",)))
