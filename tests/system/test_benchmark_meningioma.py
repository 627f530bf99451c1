# SPDX-License-Identifier: Apache-2.0
"""The benchmark of meningiomas: its cases come again, and its measures are arithmetic."""

import sys

import nibabel as nb
import numpy as np
import pytest
from bench import load

from bids_brainmask.analyses import lesions
from bids_brainmask.voxels.image import Volume

document, heads, meningioma = map(load, ("document", "heads", "meningioma"))


def phantom():
    """Scalp (80) around bone (10) around a brain (100) of 140 by 170 by 120 mm, 3 mm voxels."""
    shape = (64, 72, 68)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [-94.5, -106.5, -100.5]
    there = [np.arange(n) * 3 + start for n, start in zip(shape, affine[:3, 3], strict=True)]
    axes = np.meshgrid(*there, indexing="ij")

    def inside(*radii):
        return sum((a / r) ** 2 for a, r in zip(axes, radii, strict=True)) < 1

    data = np.where(inside(86, 101, 90), 80, 0)
    data[inside(76, 91, 68)] = 10
    brain = inside(70, 85, 60)
    data[brain] = 100
    data = data + np.random.default_rng(1).normal(0, 2, shape)
    return data.astype(np.float32), brain, affine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two heads of the split, and one of another; the second's axes run along L, P and S."""
    root = tmp_path_factory.mktemp("heads")
    rows = ["participant_id\tsplit", "sub-a\tdev", "sub-t\ttrain", "sub-b\tdev"]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    data, brain, affine = phantom()
    for name, codes in (("sub-a", "RAS"), ("sub-b", "LPS")):
        turn = nb.orientations.axcodes2ornt(codes)
        mask = root / "derivatives/deepbet" / name / "anat" / f"{name}_desc-brain_mask.nii.gz"
        picture = root / name / "anat" / f"{name}_T1w.nii.gz"
        for path, values in ((picture, data), (mask, brain.astype(np.uint8))):
            path.parent.mkdir(parents=True)
            nb.Nifti1Image(values, affine).as_reoriented(turn).to_filename(path)
    return root


@pytest.fixture(scope="module")
def made(folder):
    """Cases of both heads, the first with tumours and clear, the second with tumours."""
    return list(meningioma.cases(heads.find(folder, "dev"), 2, 1, seed=7))


def test_cases_are_of_the_split_s_heads_in_turn_and_only_some_have_tumours(made):
    assert [(case.number, case.head) for case in made] == [
        (0, "sub-a"),
        (0, "sub-a"),
        (1, "sub-b"),
    ]
    assert [bool(case.truth.any()) for case in made] == [True, False, True]
    for case in made:
        assert case.image.data.dtype == np.float32
        assert nb.aff2axcodes(case.image.affine) == ("R", "A", "S")
        assert case.image.data.shape == case.truth.shape == (64, 72, 68)


def test_a_case_comes_again_whatever_was_made_before_it(folder, made):
    found = heads.find(folder, "dev")
    (first,) = meningioma.cases(found[1:], 1, 0, seed=7)  # number 0, of the other head
    *_, again = meningioma.cases(found, 2, 0, seed=7)
    for name in ("data", "affine"):
        np.testing.assert_array_equal(getattr(again.image, name), getattr(made[2].image, name))
    np.testing.assert_array_equal(again.truth, made[2].truth)
    assert (first.truth != again.truth).any()
    *_, other = meningioma.cases(found, 2, 0, seed=8)
    assert (other.truth != again.truth).any()


def test_every_case_has_a_generator_of_its_own(folder, monkeypatch):
    """NumPy takes [7, 1, 0] for [7, 1], which a clear case's must not be."""
    monkeypatch.setattr(meningioma, "grow", lambda *words, **_: words[3].random())
    first = list(meningioma.cases(heads.find(folder, "dev"), 6, 6, seed=7))
    assert len(set(first)) == 12


def test_a_head_in_which_no_tumour_grows_is_told(folder, monkeypatch):
    example = meningioma.read(heads.find(folder, "dev")[0])
    monkeypatch.setitem(meningioma.STEPS, "meningiomas", lambda example, rng: example)
    with pytest.raises(meningioma.ImageError, match="no meningioma grows in 20 draws"):
        meningioma.meningiomas(example, np.random.default_rng(1))


def test_a_head_without_a_brain_mask_is_told(folder):
    head = heads.find(folder, "dev")[0]
    with pytest.raises(meningioma.ImageError, match="no mask by deepbet"):
        meningioma.read(heads.Head(head.name, head.image, {}))


SHAPE = (40, 40, 40)

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])  # 125 voxels to the mL


def cube(side, *corner):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(at, at + side) for at in corner)] = True
    return mask


def score(truth, predicted):
    """Score of a mask, whose lesions are told apart as the app does."""
    where = (slice(None),) * 3
    case = meningioma.Case(3, "sub-x", Volume(truth.astype(np.float32), AFFINE), truth, where)
    measured = lesions.measure(predicted, predicted.astype(np.float32), AFFINE, None)
    return meningioma.score(case, measured.labels, 2.0)


NOTHING = np.zeros(SHAPE, bool)


def test_tumours_that_touch_at_a_corner_are_one_and_others_are_not():
    truth = cube(5, 2, 2, 2) | cube(5, 7, 7, 7) | cube(10, 20, 20, 20)
    assert score(truth, NOTHING).tumors == ((8.0, False), (2.0, False))
    apart = cube(5, 2, 2, 2) | cube(5, 8, 8, 8)
    assert score(apart, NOTHING).tumors == ((1.0, False), (1.0, False))


@pytest.mark.parametrize(("voxels", "found"), [(99, False), (100, True)])
def test_a_lesion_is_found_from_a_tenth_of_its_voxels_on(voxels, found):
    truth = cube(10, 4, 4, 4)
    predicted = NOTHING.copy()
    predicted[4:14, 4:14, 4:5] = True
    predicted[4, 4, 4] = voxels == 100
    assert score(truth, predicted).tumors == ((8.0, found),)


def test_found_missed_false_and_noise_are_counted():
    truth = cube(10, 4, 4, 4) | cube(5, 30, 30, 30)
    half = cube(10, 9, 4, 4) & truth
    false = cube(3, 20, 2, 2) | cube(3, 20, 2, 30)
    noise = cube(1, 38, 2, 2)  # 8 uL, less than the smallest lesion
    one = score(truth, half | false | noise)
    assert one.tumors == ((8.0, True), (1.0, False))
    assert one.false == 2
    assert one.predicted_ml == pytest.approx((500 + 2 * 27) / 125)
    assert one.dice == pytest.approx(2 * 500 / (1125 + 554))
    assert one.true_ml == 9
    assert one.found == "1 of 2, 2 false"


def test_a_predicted_lesion_that_touches_the_truth_with_one_voxel_is_not_false():
    one = score(cube(10, 4, 4, 4), cube(5, 13, 13, 13))
    assert (one.false, one.tumors) == (0, ((8.0, False),))
    assert score(cube(10, 4, 4, 4), cube(5, 14, 14, 14)).false == 1


def test_a_prediction_over_two_tumours_finds_both_and_is_not_false():
    one = score(cube(5, 4, 4, 4) | cube(5, 12, 4, 4), cube(16, 2, 2, 2))
    assert one.tumors == ((1.0, True), (1.0, True))
    assert one.false == 0


def test_all_that_is_found_in_a_clear_head_is_false():
    assert score(NOTHING, cube(5, 2, 2, 2) | cube(5, 20, 2, 2)).false == 2
    assert score(NOTHING, NOTHING).false == 0


def known(tumors=(), false=0, dice=1.0, predicted=1.0, number=0):
    return meningioma.Score(number, f"sub-{number}", tumors, false, dice, predicted, 3.0)


SOME = [
    known(((4.0, True), (0.5, False)), 1, 0.8, 4.5, 0),
    known(((30.0, True),), 0, 0.9, 33.0, 1),
    known(((2.0, False),), 0, 0.1, 1.0, 2),
    known(((1.0, True),), 2, 0.6, 0.8, 3),
    known(false=3),
    known(),
    known(),
    known(),
]


def test_the_figures_are_those_of_the_scores():
    assert meningioma.figures(SOME) == {
        "sensitivity, over 1 mL": "0.67 (2 of 3)",
        "false lesions per tumor head": "0.75",
        "median Dice": "0.700",
        "mean Dice": "0.600",
        "quartiles of Dice": "0.475 to 0.825",
        "median volume error, %": "-10.0",
        "median volume error, % without sign": "15.0",
        "false lesions per clear head": "0.75",
        "clear heads with a false lesion": "0.25 (1 of 4)",
        "median seconds per head": "3.0",
    }
    assert set(meningioma.GOALS) <= set(meningioma.figures(SOME))
    assert meningioma.figures(SOME[:4])["clear heads with a false lesion"] == "n/a (0 of 0)"


def cells(text):
    """Rows of the Markdown tables in a text, each a list of words; rules are left out."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in row] for row in rows if set(row[0].strip()) != {"-"}]


def test_a_volume_belongs_to_one_band():
    rows = cells(meningioma.band_table({"one": SOME, "two": SOME[1:2]}))
    assert rows == [
        ["true lesions, mL", "found, one", "found, two"],
        ["up to 1", "0.50 (1 of 2)", "n/a (0 of 0)"],
        ["1 to 5", "0.50 (1 of 2)", "n/a (0 of 0)"],
        ["5 to 20", "n/a (0 of 0)", "n/a (0 of 0)"],
        ["over 20", "1.00 (1 of 1)", "1.00 (1 of 1)"],
    ]


def test_the_worst_cases_are_those_of_the_least_dice_and_none_is_clear():
    many = [known(((2.0, True),), 0, dice, 2.5, n) for n, dice in enumerate((0.9, 0.8, 0.7, 0.6))]
    rows = cells(meningioma.worst_table([*many, *SOME[2:]]))[1:]
    assert [row[2] for row in rows] == ["0.10", "0.60", "0.60", "0.70", "0.80"]
    assert rows[0] == ["2", "sub-2", "0.10", "2.00", "1.00", "0 of 1, 0 false"]


def test_the_document_says_first_what_it_is_and_that_the_tumours_are_synthetic():
    what = meningioma.WHAT.format(split="dev", number=8)
    text = meningioma.report({"a": SOME, "b": SOME}, what, "made somehow\n", "m.png")
    assert "The tumors are synthetic" in text.split("made somehow")[0]
    assert "4 tumor heads and 4 clear ones." in text
    assert ["median Dice", "at least 0.85", "0.700", "0.700"] in cells(text)
    assert "![Cases with tumors](m.png)" in text
    assert "They are not valid for patients." in text
    assert "![" not in meningioma.report({"a": SOME}, what, "")


def test_the_cuts_run_through_the_largest_lesion_where_it_is_widest():
    truth = cube(6, 4, 6, 8) | cube(2, 30, 30, 30)
    truth[4, 6, 10] = False
    spacing = np.diag([1.0, 2.0, 3.0, 1.0])
    box = (slice(2, 38), slice(0, 40), slice(4, 40))
    case = meningioma.Case(0, "x", Volume(np.ones(SHAPE, np.float32), spacing), truth, box)
    (_, axial, _, flat), (_, coronal, predicted, tall) = meningioma.view(case, NOTHING)
    assert (axial.shape, coronal.shape) == ((36, 40), (36, 36))
    assert (axial.sum(), coronal.sum(), predicted.sum()) == (36, 36, 0)
    assert (flat, tall) == (2.0, 3.0)


def test_the_picture_of_many_cases_is_a_small_png(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.random((170, 200)).astype(np.float32)  # noise: no image is harder to pack
    truth = np.zeros(data.shape, bool)
    truth[50:80, 60:90] = True
    views = [("sub-x: 1.0 mL, Dice 0.50", [(data, truth, np.roll(truth, 9, 0), 1.0)] * 2)] * 12
    meningioma.draw(views, "some model", tmp_path / "m.png")
    content = (tmp_path / "m.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20]) == 1600
    assert len(content) < 1_100_000


def test_a_run_prints_and_writes_tables_and_a_picture(folder, tmp_path, monkeypatch, capsys):
    page, picture = tmp_path / "docs/m.md", tmp_path / "docs/pictures/m.png"
    picture.parent.mkdir(parents=True)
    words = ["--model", "embedded", "embedded", "--cases", "1", "--clear", "1", "--split", "dev"]
    words += ["--markdown", str(page), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["meningioma.py", str(folder), *words])
    meningioma.main()
    text = page.read_text()
    assert text in capsys.readouterr().out
    assert "HEADS --model embedded --cases 1 --clear 1 --seed 20261124 --split dev" in text
    assert ["measure", "goal", "embedded"] in cells(text)
    assert "1 tumor heads and 1 clear ones." in text
    assert "(pictures/m.png)" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("words", [["--cases", "0"], ["--clear", "-1"], ["--split", "test"]])
def test_nothing_to_measure_is_told(words, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["meningioma.py", str(folder), *words])
    with pytest.raises(SystemExit):
        meningioma.main()
    assert "too few" in capsys.readouterr().err
