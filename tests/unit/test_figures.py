# SPDX-License-Identifier: Apache-2.0
"""Pictures, read back: what is drawn lies where it should, on balls whose radius is known."""

import io
import subprocess
import sys

import matplotlib
import nibabel as nb
import numpy as np
import pytest
from conftest import AXCODES
from PIL import Image
from scipy import ndimage

from bids_brainmask.drawing import figures, pen, slices
from bids_brainmask.voxels import UNCERTAIN
from bids_brainmask.voxels.image import Volume

HEAD, BRAIN = 50.0, 40.0
"""Radii of two balls about one centre, mm: a bright one, and a mask in it."""


def grid(shape, spacing, corner=None):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing if corner is None else corner
    return affine


def distance(affine, shape, place=(0, 0, 0)):
    """Distance of every voxel from a place, mm."""
    world = np.tensordot(affine[:3, :3], np.indices(shape), 1) + affine[:3, 3, None, None, None]
    return np.sqrt(((world - np.reshape(place, (3, 1, 1, 1))) ** 2).sum(0))


def balls(shape=(70, 80, 75), spacing=(2.0, 2.0, 2.0)):
    """A dim ball in the air, soft at its edge and white in its middle; a smaller one as mask."""
    affine = grid(shape, spacing)
    away = distance(affine, shape)
    data = 30 * np.clip((HEAD - away) / max(spacing) + 0.5, 0, 1)
    data[away < 14] = 100
    return Volume(data.astype(np.float32), affine), away < BRAIN


def stored(codes, volume, *arrays):
    """The same image with its axes in another order and direction."""
    turn = nb.orientations.ornt_transform(
        nb.io_orientation(volume.affine), nb.orientations.axcodes2ornt(codes)
    )
    data, *others = (
        np.ascontiguousarray(nb.orientations.apply_orientation(array, turn))
        for array in (volume.data, *arrays)
    )
    back = nb.orientations.inv_ornt_aff(turn, volume.data.shape)
    return Volume(data, volume.affine @ back), *others


def read(content):
    """Colours of a picture, (height, width, 3) int."""
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "WEBP"
    return np.asarray(picture.convert("RGB")).astype(int)


def cyan(colours):
    red, green, blue = np.moveaxis(colours, -1, 0)
    return (np.minimum(green, blue) - red > 50) & (green > 110)


def orange(colours):
    red, green, blue = np.moveaxis(colours, -1, 0)
    return (red - blue > 60) & (red - green > 45)


def alarm(colours):
    red, green, blue = np.moveaxis(colours, -1, 0)
    return np.minimum(red, green) - blue > 90


def below_header(colours):
    return colours[figures.PAGE.header :]


def discs(colours, level=32):
    """Where a bright ball is, by rows from the top left: row, column, radius, px."""
    # The outline's colour is blue, too.
    pieces, _ = ndimage.label(ndimage.binary_fill_holes(colours[..., 2] > level))
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        piece = pieces[box] == number
        if min(piece.shape) > 14:  # else it is a letter
            middle = [(side.start + side.stop - 1) / 2 for side in box]
            found.append((*middle, np.sqrt(piece.sum() / np.pi)))
    return np.array(sorted(found, key=lambda disc: (round(disc[0] / 60), disc[1])))


def scale_of(found):
    """Pixels of a mm: the ball's middle is among the cuts."""
    return found[:, 2].max() / HEAD


def polar(marks, disc):
    """Distances and angles, from a disc's middle, of the marks in it; letters are at its edge."""
    rows, columns = np.nonzero(marks)
    away = np.hypot(rows - disc[0], columns - disc[1])
    near = away < 0.93 * disc[2]
    return away[near], np.arctan2(rows - disc[0], columns - disc[1])[near]


def surrounds(angles):
    return len(np.unique((np.degrees(angles) // 10).astype(int))) >= 36


def within(disc, scale, radius):
    """Radius, px, in the cut that shows a disc, of another ball about the same centre; or 0."""
    square = radius**2 - (HEAD**2 - (disc[2] / scale) ** 2)
    return scale * np.sqrt(square) if square > 0 else 0.0


@pytest.fixture(scope="module")
def phantom():
    return balls()


@pytest.fixture(scope="module")
def untitled(phantom):
    return read(figures.mosaic(*phantom))


@pytest.mark.slow
def test_outline_of_a_ball_is_a_circle_in_every_cut():
    colours = below_header(read(figures.mosaic(*balls((140, 150, 145), (1, 1, 1)))))
    found = discs(colours)
    scale = scale_of(found)
    assert len(found) == 9 + 9 + 7
    for disc in found:
        radius = within(disc, scale, BRAIN)
        away, angles = polar(cyan(colours), disc)
        assert radius > 0.3 * BRAIN * scale  # the outermost cuts are not tangent to the mask
        sectors = (np.degrees(angles) // 10).astype(int)
        middles = [away[sectors == sector].mean() for sector in range(-18, 18)]  # of the line
        assert abs(np.array(middles) - radius).max() < 1.5
        assert abs(away - radius).max() < 2.5  # it is 1.2 px wide, and blurred by compression


def test_nothing_else_is_in_the_outlines_colour(phantom):
    colours = below_header(read(figures.mosaic(*phantom)))
    found = discs(colours)
    marked = cyan(colours)
    for disc in found:
        rows, columns = np.indices(marked.shape)
        marked[np.hypot(rows - disc[0], columns - disc[1]) < disc[2]] = False
    assert not marked.any()


@pytest.mark.slow
def test_an_empty_mask_has_no_outline_and_says_so(phantom):
    volume, mask = phantom
    header = figures.PAGE.header
    full, empty = (read(figures.mosaic(volume, one)) for one in (mask, np.zeros_like(mask)))
    assert cyan(full).any()
    assert not cyan(empty).any()
    assert alarm(empty[:header]).any()
    assert not alarm(full[:header]).any()
    assert len(discs(empty[header:])) == 25


def test_an_empty_masks_cuts_go_over_the_head():
    shape, place = (120, 110, 100), (-60, 40, 50)
    affine = grid(shape, (2, 2, 2))
    data = 100.0 * (distance(affine, shape, place) < 30)
    data += np.random.default_rng(0).normal(0, 2, shape)
    empty = np.zeros(shape, bool)
    view, _ = slices.look(Volume(data.astype(np.float32), affine), empty)
    for axis in range(3):
        edges = affine[axis, axis] * np.array([view.core[axis].start, view.core[axis].stop - 1])
        assert edges + affine[axis, 3] == pytest.approx(
            [place[axis] - 30, place[axis] + 30], abs=8
        )
    assert not cyan(read(figures.thumbnail(Volume(data, affine), empty))).any()


def test_an_empty_masks_cuts_of_nothing_show_all():
    volume = Volume(np.full((40, 44, 48), 7, np.float32), grid((40, 44, 48), (3, 3, 3)))
    view, _ = slices.look(volume, np.zeros(volume.data.shape, bool))
    assert view.core == (slice(0, 40), slice(0, 44), slice(0, 48))


def marked(place):
    """A dim ball with a small bright one in it, at a place in mm."""
    shape = (60, 64, 62)
    affine = grid(shape, (2.5, 2.5, 2.5))
    away = distance(affine, shape)
    data = 60 * np.clip((HEAD - away) / 8, 0, 1)
    data[distance(affine, shape, place) < 10] = 100
    return Volume(data.astype(np.float32), affine), away < HEAD


@pytest.mark.parametrize(
    ("place", "sides"),
    [
        ((-30, 0, 0), ("left", "left", None)),
        ((30, 0, 0), ("right", "right", None)),
        ((0, 30, 0), ("up", None, "right")),
        ((0, -30, 0), ("down", None, "left")),
        ((0, 0, 30), (None, "up", "up")),
        ((0, 0, -30), (None, "down", "down")),
    ],
)
def test_left_is_left_and_up_is_anterior_or_superior(place, sides):
    volume, mask = marked(place)
    colours = read(figures.thumbnail(volume, mask))
    heads = discs(colours, 60)  # axial, coronal, sagittal
    assert len(heads) == 3
    red = colours[..., 0] > 200
    for head, side in zip(heads, sides, strict=True):
        near = np.argwhere(red & (abs(np.arange(red.shape[1]) - head[1]) < head[2]))
        shift = (near.mean(0) - head[:2]) * HEAD / head[2] if len(near) else None  # mm
        expected = {"left": (0, -30), "right": (0, 30), "up": (-30, 0), "down": (30, 0)}
        if side:
            np.testing.assert_allclose(shift, expected[side], atol=4)


def lopsided():
    """No side of it is like another; no size or spacing either."""
    shape, spacing = (52, 70, 44), (2.2, 2.0, 2.7)
    affine = grid(shape, spacing, (-50.3, -71.7, -60.1))
    away = distance(affine, shape)
    data = 60 * np.clip((HEAD - away) / 8, 0, 1)
    for place, value in (((-30, 0, 0), 100), ((0, 30, 0), 80), ((0, 0, 30), 5)):
        data[distance(affine, shape, place) < 12] = value
    return Volume(data.astype(np.float32), affine), distance(affine, shape, (4, -5, 6)) < BRAIN


def pictures(volume, mask, unsure):
    """All pictures of an image, by their names."""
    place = [((-20.0, 3.0, 8.0), "1")]
    return {
        "mosaic": figures.mosaic(volume, mask),
        "uncertainty": figures.uncertainty(volume, mask, unsure),
        "tumors": figures.tumors(volume, mask, None, place),
        "thumbnail": figures.thumbnail(volume, mask),
    }


@pytest.fixture(scope="module")
def upright():
    """A lopsided head, its mask, its uncertainty, and pictures of them."""
    volume, mask = lopsided()
    unsure = np.linspace(0, 1, mask.size).reshape(mask.shape)
    return (volume, mask, unsure), pictures(volume, mask, unsure)


@pytest.mark.slow
@pytest.mark.parametrize("codes", AXCODES)
def test_a_thumbnail_does_not_depend_on_how_the_image_is_stored(upright, codes):
    (volume, mask, _), drawn = upright
    assert figures.thumbnail(*stored(codes, volume, mask)) == drawn["thumbnail"]


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["LPI", "PSR", "AIL", "SRP"])
def test_nor_do_the_other_pictures(upright, codes):
    arrays, drawn = upright
    assert pictures(*stored(codes, *arrays)) == drawn


def test_oblique_axes_are_taken_for_the_nearest():
    volume, mask = lopsided()
    turn = nb.affines.from_matvec(nb.eulerangles.euler2mat(0.2, -0.1, 0.15))
    assert nb.aff2axcodes(turn @ volume.affine) == tuple("RAS")
    turned = Volume(volume.data, turn @ volume.affine)
    assert figures.thumbnail(turned, mask) == figures.thumbnail(volume, mask)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(1, 1, 5), (5, 1, 1), (1, 4, 1.5)])
def test_voxels_that_are_no_cubes_leave_a_ball_round(spacing):
    shape = tuple(np.ceil(130 / np.array(spacing)).astype(int))
    volume, mask = balls(shape, spacing)
    bright = below_header(read(figures.mosaic(volume, mask)))[..., 2] > 32
    pieces, _ = ndimage.label(ndimage.binary_fill_holes(bright))
    sizes = [[s.stop - s.start for s in box] for box in ndimage.find_objects(pieces)]
    large = [size for size in sizes if min(size) > 40]
    assert len(large) > 10
    scale = np.max(large) / (2 * HEAD)
    for height, width in large:
        assert abs(height - width) < 0.6 * scale * max(spacing) + 2


def test_places_are_in_mm_of_the_world():
    volume, mask = lopsided()
    for codes in ("RAS", "LPI", "PSR"):
        view, _ = slices.look(*stored(codes, volume, mask))
        cuts = view.through((-22.0, 3.0, 8.0), "a name")
        captions = [cut.caption for cut in cuts]
        assert [cut.axis for cut in cuts] == [2, 1, 0]
        # The middles of the nearest voxels: -50.3 + 13 * 2.2, -71.7 + 37 * 2, -60.1 + 25 * 2.7.
        assert captions == ["a name · z = 7 mm", "y = 2 mm", "x = −22 mm"]  # noqa: RUF001


def test_an_oblique_cut_is_at_the_middle_of_what_it_shows():
    shape = (60, 60, 60)
    turn = nb.affines.from_matvec(nb.eulerangles.euler2mat(0, 0.3, 0))
    affine = turn @ grid(shape, (2, 2, 2))
    mask = distance(affine, shape) < 50
    view, _ = slices.look(Volume(mask.astype(np.float32), affine), mask)
    captions = [cut.caption for cut in view.spread(2, 9)]
    places = [int(caption[4:-3].replace("−", "-")) for caption in captions]  # noqa: RUF001
    step = 0.9 * 98 / 8 * np.cos(0.3)
    assert places == pytest.approx([step * n for n in range(-4, 5)], abs=1.6)


@pytest.mark.parametrize(("first", "last"), [(10, 50), (30, 30), (0, 1), (58, 59), (0, 59)])
@pytest.mark.parametrize("count", [5, 6, 9])
def test_cuts_are_spread_over_the_mask_each_once(first, last, count):
    mask = np.zeros((60, 30, 30), bool)
    mask[first : last + 1] = True
    view, _ = slices.look(Volume(mask.astype(np.float32), grid(mask.shape, (2, 2, 2))), mask)
    places = [cut.index for cut in view.spread(0, count)]
    assert places == sorted(set(places))
    assert 0 <= places[0] <= places[-1] <= 59
    assert any(first <= place <= last for place in places)
    if last - first >= count:
        assert len(places) == count
        assert first <= places[0] <= first + 0.1 * (last - first)
        assert last - 0.1 * (last - first) <= places[-1] <= last


def test_uncertain_voxels_are_coloured_and_no_others():
    volume, mask = balls()
    away = distance(volume.affine, mask.shape)
    shell = (away > 28) & (away < 32)
    probability = np.where(shell, 0.5, np.where(away < 28, 1.0, 0.0))
    colours = below_header(read(figures.uncertainty(volume, mask, probability)))
    found = discs(colours, 26)
    scale = scale_of(found)
    seen = 0
    for disc in found:
        away, angles = polar(orange(colours), disc)
        inner, outer = (within(disc, scale, radius) for radius in (28, 32))
        if inner > 10 * scale:
            assert away.min() > inner - 2.5 * scale  # a voxel is 2 mm
            assert away.max() < outer + 2.5 * scale
            assert surrounds(angles)
            seen += 1
        elif not outer:
            assert not len(away)
    assert seen >= 9


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 0.25, 0.75, 1.0])
def test_a_step_between_sure_voxels_is_not_uncertain(value):
    volume, mask = balls()
    probability = np.where(distance(volume.affine, mask.shape) < 30, 1.0, value)
    found = below_header(read(figures.uncertainty(volume, mask, probability)))
    nothing = below_header(read(figures.uncertainty(volume, mask, np.ones(mask.shape))))
    assert abs(found - nothing).max() <= 2


def test_the_bands_colours_grow_lighter_and_none_is_dark():
    shades = pen.band_colors(np.linspace(*UNCERTAIN, 50)).astype(float)
    luminance = shades @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert shades.max(1).min() > 120


def lesions(*places):
    """A head and a brain, with small balls as lesions in it."""
    volume, brain = balls()
    away = [distance(volume.affine, brain.shape, place) for place in places]
    tumour = np.min(away, axis=0) < 8 if places else np.zeros_like(brain)
    return volume, tumour, brain, [(place, f"number {n}") for n, place in enumerate(places, 1)]


PLACES = [(-22, 10, 4), (20, 0, -20), (0, 20, 22), (10, -24, 0), (-10, -10, -24), (24, 12, 12)]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "cuts"), [(0, 3), (1, 3), (2, 6), (5, 15), (6, 15)])
def test_each_lesion_is_cut_along_three_axes_and_five_are_shown(count, cuts):
    colours = read(figures.tumors(*lesions(*PLACES[:count])))
    page, header = below_header(colours), colours[: figures.PAGE.header]
    found = discs(page)
    assert len(found) == cuts
    for disc in found:
        _, angles = polar(cyan(page), disc)
        assert len(angles) > 100
        away, _ = polar(orange(page), disc)
        assert bool(len(away)) == bool(count)
    assert orange(header).any() == bool(count)
    assert alarm(header).any() == (count > 5)


def test_the_outline_of_a_lesion_is_a_circle_where_it_is():
    colours = below_header(read(figures.tumors(*lesions((-20, 10, 4)))))
    axial, coronal, sagittal = found = discs(colours)
    marks = orange(colours)
    radius = HEAD * (1 - (4 / HEAD) ** 2) ** 0.5  # of the ball, where the axial cut is
    scale = axial[2] / radius
    for disc, (right, up) in zip(found, ((-20, 10), (-20, 4), (10, 4)), strict=True):
        middle = disc[0] - scale * up, disc[1] + scale * right
        away, angles = polar(marks, (*middle, 12 * scale))
        assert surrounds(angles)
        assert abs(away - 8 * scale).max() < 2 * scale  # a voxel is 2 mm
    assert axial[1] < coronal[1] < sagittal[1]


def test_the_ends_of_diameters_are_where_they_are():
    """On the axial cut alone: a line of 30 mm through a lesion's middle, across the head."""
    volume, tumour, brain, named = lesions((-20, 10, 4))
    line = ((-35, 10, 4), (-5, 10, 4))
    plain = figures.tumors(volume, tumour, brain, named)
    drawn = below_header(read(figures.tumors(volume, tumour, brain, named, diameters=[[line]])))
    changed = abs(drawn.astype(int) - below_header(read(plain)).astype(int)).max(2) > 60
    middle, across, radius = discs(below_header(read(plain)))[0]
    scale = radius / (HEAD * (1 - (4 / HEAD) ** 2) ** 0.5)
    rows, columns = np.nonzero(changed)
    assert abs(rows - (middle - scale * 10)).max() < 5
    assert columns.min() == pytest.approx(across - scale * 35, abs=6)
    assert columns.max() == pytest.approx(across - scale * 5, abs=6)


@pytest.mark.slow
def test_lesions_without_a_brain_and_a_brain_without_lesions():
    volume, tumour, brain, named = lesions((-20, 10, 4))
    alone = read(figures.tumors(volume, tumour, None, named))
    assert orange(alone).any()
    assert not cyan(alone).any()
    for mask in (None, brain, np.zeros_like(brain)):
        none = read(figures.tumors(volume, np.zeros_like(tumour), mask, []))
        assert not orange(none[: figures.PAGE.header]).any()
        found = discs(below_header(none))
        assert len(found) == 3
        for disc in found:
            assert not len(polar(orange(below_header(none)), disc)[0])


@pytest.mark.slow
def test_sizes_are_kept_whatever_the_noise():
    data = np.random.default_rng(0).normal(100, 50, (180, 200, 170)).astype(np.float32)
    volume, mask = Volume(data, grid(data.shape, (1, 1, 1))), np.ones(data.shape, bool)
    unsure = np.random.default_rng(1).random(mask.shape)
    place = [((0, 0, 0), "1")]
    for content, most in (
        (figures.mosaic(volume, mask), figures.MOSAIC_BYTES),
        (figures.uncertainty(volume, mask, unsure), figures.UNCERTAINTY_BYTES),
        (figures.tumors(volume, mask, mask, place * 5), figures.TUMORS_BYTES),
        (figures.thumbnail(volume, mask), figures.THUMBNAIL_BYTES),
    ):
        assert most / 4 < len(content) <= most
    assert read(figures.thumbnail(volume, mask)).shape == (80, 240, 3)
    assert read(figures.mosaic(volume, mask)).shape[1] == figures.PAGE.width


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 3, 4), (400, 4, 4), (4, 4, 400), (3, 90, 90)])
def test_odd_fields_of_view_make_pictures_that_fit(shape):
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    volume, mask = Volume(data, grid(shape, (1, 1, 1))), data > 0.5
    for content in (
        figures.mosaic(volume, mask),
        figures.uncertainty(volume, mask, data),
        figures.tumors(volume, mask, mask, [((9, 9, 9), "far off")]),
    ):
        height, width, _ = read(content).shape
        assert width == figures.PAGE.width
        assert height <= figures.PAGE.tallest
    assert read(figures.thumbnail(volume, mask)).shape == (80, 240, 3)


@pytest.mark.slow
@pytest.mark.parametrize("place", [(0, 0, 0), (69, 79, 74), (35, 40, 37)])
def test_a_mask_of_one_voxel_is_seen(place):
    volume, mask = balls()
    mask = np.zeros_like(mask)
    mask[place] = True
    for content in (
        figures.mosaic(volume, mask),
        figures.uncertainty(volume, mask, 0.5 * mask),
        figures.thumbnail(volume, mask),
        figures.tumors(volume, mask, None, [(volume.affine[:3] @ [*place, 1], "1")]),
    ):
        colours = read(content)
        page = colours if len(colours) == 80 else below_header(colours)
        assert (cyan(page) | orange(page)).any()


@pytest.mark.slow
def test_the_outline_of_a_mask_at_the_edge_is_closed():
    volume, mask = balls()
    colours = below_header(read(figures.mosaic(volume, np.ones_like(mask))))
    columns = np.nonzero(cyan(colours))[1]
    assert columns.min() < 20
    assert columns.max() > figures.PAGE.width - 20
    # Of 9 cuts, each has an upright side on its left and on its right.
    upright = cyan(colours)[: len(colours) // 4].mean(0) > 0.5
    assert ndimage.label(upright)[1] == 18


@pytest.mark.slow
@pytest.mark.parametrize("value", [0, 7, -3])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_a_constant_image_is_black(value, kind):
    mask = balls()[1]
    volume = Volume(np.full(mask.shape, value).astype(kind), grid(mask.shape, (2, 2, 2)))
    assert read(figures.thumbnail(volume, mask))[..., 0].max() < 120  # under the outline's glow
    crop, _ = figures.viewer(volume, mask, None)
    assert not crop.data.any()
    assert read(figures.mosaic(volume, np.zeros_like(mask))).size


def test_a_few_hot_voxels_and_much_air_do_not_darken_the_head():
    volume, mask = balls()
    data = volume.data.copy()
    data[::13, ::11, ::12] = 30_000
    (view, _), (same, _) = (
        slices.look(Volume(d, volume.affine), mask) for d in (data, volume.data)
    )
    assert view.window == pytest.approx(same.window, rel=0.2)


TITLES = [
    "$x_{",
    "$\\frac{1}{2}$",
    "sub-01" * 34,
    "W" * 400,
    "日本語_T1w \U0001f9e0",
    "a\nb\tc",
    "\u202ebackwards \udcff \x00\x07",
    "",
    " ",
    "%s {0} \\n",
]


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_a_title_may_be_anything(phantom, untitled, title):
    plain, titled = untitled, read(figures.mosaic(*phantom, title=title))
    assert titled.shape == plain.shape
    header = figures.PAGE.header
    # Below, a lossy picture differs by no more than what is lost.
    assert abs(titled[header:] - plain[header:]).mean() < 0.5
    key = np.nonzero(plain[:header].max((0, 2)) > 100)[0].min()
    assert abs(titled[:header, key - 8 :] - plain[:header, key - 8 :]).max() < 60
    inked = (titled[:header].max(-1) > 100).any()
    assert inked
    assert (titled[:header, : key - 16].max() > 150) == bool(title.strip())


@pytest.mark.slow
def test_a_titles_signs_are_shown_as_they_are(phantom):
    def length(title):
        header = read(figures.mosaic(*phantom, title=title))[: figures.PAGE.header, :700]
        return np.nonzero(header.max((0, 2)) > 120)[0].max()

    assert length("$ab$") > length("ab") + 10
    assert length("a_{b}") > length("ab") + 10
    assert figures.mosaic(*phantom, title="a\n b") == figures.mosaic(*phantom, title="a b")


@pytest.mark.slow
def test_names_of_lesions_may_be_anything():
    volume, tumour, brain, _ = lesions((-20, 10, 4))
    colours = read(figures.tumors(volume, tumour, brain, [((-20, 10, 4), t) for t in TITLES]))
    page = below_header(colours)
    assert len(discs(page)) == 15
    assert alarm(colours[: figures.PAGE.header]).any()  # five more


@pytest.mark.slow
def test_the_users_settings_of_matplotlib_count_for_nothing_and_stay(phantom):
    volume, mask = phantom
    unsure = np.linspace(0, 1, mask.size).reshape(mask.shape)
    before = figures.mosaic(volume, mask), figures.uncertainty(volume, mask, unsure)
    with matplotlib.rc_context({"font.size": 40, "text.usetex": True, "lines.antialiased": False}):
        after = figures.mosaic(volume, mask), figures.uncertainty(volume, mask, unsure)
        assert matplotlib.rcParams["font.size"] == 40
    assert before == after


@pytest.mark.slow
def test_pictures_need_no_display_and_importing_needs_no_matplotlib():
    code = (
        "import sys, numpy as np\n"
        "from bids_brainmask.drawing import figures\n"
        "from bids_brainmask.voxels.image import Volume\n"
        "assert not {'matplotlib', 'PIL'} & set(sys.modules)\n"
        "mask = np.indices((30, 30, 30)).sum(0) % 29 < 15\n"
        "figures.mosaic(Volume(mask * 9.0, np.diag([3, 3, 3, 1.0])), mask)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR"])
def test_what_the_viewer_gets_is_where_it_was(codes):
    volume, mask = stored(codes, *lopsided())
    turn = nb.affines.from_matvec(nb.eulerangles.euler2mat(0.2, -0.1, 0.15), (3, 4, 5))
    volume = Volume(volume.data, turn @ volume.affine)
    tumour = distance(volume.affine, mask.shape, turn[:3] @ [-32, -5, 6, 1]) < 15
    image, labels = figures.viewer(volume, mask, tumour)
    assert image.data.dtype == labels.data.dtype == np.uint8
    assert image.data.shape == labels.data.shape
    np.testing.assert_array_equal(image.affine, labels.affine)
    back = np.linalg.inv(volume.affine) @ image.affine
    where = back[:3, :3] @ np.indices(image.data.shape).reshape(3, -1) + back[:3, 3:]
    np.testing.assert_allclose(where, np.round(where), atol=1e-9)
    where = tuple(np.round(where).astype(int))
    expected = np.where(tumour, 2, mask)
    np.testing.assert_array_equal(labels.data.ravel(), expected[where])
    assert (labels.data == 2).sum() == tumour.sum()
    assert (labels.data > 0).sum() == (mask | tumour).sum()
    values = volume.data[where].astype(float)
    low, high = slices.window(
        volume, slices.widen(slices.around(volume, mask | tumour), volume, 12)
    )
    shades = np.clip((values - low) / (high - low), 0, 1) * 255
    assert abs(image.data.ravel() - shades).max() <= 0.51
    assert image.data.min() == 0
    assert image.data.max() == 255


def test_bright_fat_does_not_leave_the_brain_dark():
    """A shell of 250 around a ball of 100: white is 1.25 times the ball's, if a mask tells it."""
    where = distance(np.eye(4), (60, 60, 60), (30, 30, 30))
    data = np.where(where < 20, 100, np.where(where < 21.5, 250, 0)).astype(np.float32)
    volume, ball, box = Volume(data, np.eye(4)), where < 20, np.s_[:, :, :]
    assert slices.window(volume, box)[1] == 250
    assert slices.window(volume, box, ball)[1] == pytest.approx(125)
    assert slices.window(volume, box, where < 21.5)[1] == 250
    assert slices.window(volume, box, ball & False)[1] == 250


def test_a_mask_of_air_does_not_make_the_head_white():
    """At most a quarter of it is, so that what is wrong with the mask can be seen."""
    where = distance(np.eye(4), (60, 60, 60), (30, 30, 30))
    data = np.where(where < 24, 100 + where, 0).astype(np.float32)
    low, high = slices.window(Volume(data, np.eye(4)), np.s_[:, :, :], where > 28)
    assert ((data[where < 24] - low) / (high - low) >= 1).mean() < 0.3


@pytest.mark.parametrize("margin", [0.0, 5.0, 12.0, 500.0])
def test_the_viewer_gets_the_margin_that_was_asked_for(margin):
    volume, _ = balls((70, 80, 75), (2, 2, 2.5))
    mask = np.zeros(volume.data.shape, bool)
    mask[20:50, 30:60, 30:50] = True
    image, _ = figures.viewer(volume, mask, None, margin_mm=margin)
    more = np.ceil(margin / np.array([2, 2, 2.5])).astype(int)
    size = np.minimum(np.array([50, 60, 50]) + more, mask.shape) - np.maximum(
        [20, 30, 30] - more, 0
    )
    assert image.data.shape == tuple(size)
    start = np.linalg.inv(volume.affine) @ image.affine[:, 3]
    assert start[:3] == pytest.approx(np.maximum([20, 30, 30] - more, 0))


def test_the_viewer_gets_the_head_where_there_is_no_brain():
    volume, mask = balls()
    image, labels = figures.viewer(volume, np.zeros_like(mask), None)
    assert not labels.data.any()
    assert (image.data > 25).sum() == pytest.approx((volume.data > 15).sum(), rel=0.02)
    assert image.data.size < volume.data.size


def test_arrays_of_other_shapes_are_refused():
    volume, mask = balls()
    wrong = mask[1:]
    for draw in (
        lambda: figures.mosaic(volume, wrong),
        lambda: figures.uncertainty(volume, mask, wrong.astype(float)),
        lambda: figures.uncertainty(volume, wrong, mask.astype(float)),
        lambda: figures.tumors(volume, wrong, None, []),
        lambda: figures.tumors(volume, mask, wrong, []),
        lambda: figures.thumbnail(volume, wrong),
        lambda: figures.viewer(volume, wrong, None),
        lambda: figures.viewer(volume, mask, wrong),
    ):
        with pytest.raises(
            ValueError, match=r"expected one shape, found .*70, 80, 75.* and .*69, 80, 75"
        ):
            draw()
