# SPDX-License-Identifier: Apache-2.0
"""The benchmark of meningiomas: its cases come again, and its measures are arithmetic."""

import sys
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from bench import load

from bids_brainmask.analyses import candidates, lesions
from bids_brainmask.voxels.image import Volume

document, heads, degrade = map(load, ("document", "heads", "degrade"))
for name in ("objects", "bodies", "broken_heads", "hollow_heads", "accuracy", "evaluate_brain"):
    load(name)
for name in ("robustness", "no_heads", "label_maps"):
    load(name)
tumor_cases, tumor_picture, meningioma, real_heads = map(
    load, ("tumor_cases", "tumor_picture", "meningioma", "real_heads")
)


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
def data(tmp_path_factory):
    """Two heads of the split, and one of another; the second's axes run along L, P and S."""
    root = tmp_path_factory.mktemp("data") / "heads"
    root.mkdir()
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
    write_label_maps(root.parent / "label_maps")
    return root.parent


def write_label_maps(folder):
    """Write heads of two hemispheres in CSF, bone and skin, 2 mm voxels."""
    folder.mkdir()
    x, y, z = np.indices((48, 48, 48)) - 23.5
    away = np.sqrt(x**2 + y**2 + z**2)
    left, right, csf, bone, skin = 2, 22, 16, 51, 48
    halves = np.where(abs(x) < 1, csf, np.where(x < 0, left, right))
    labels = np.select([away < 14, away < 15, away < 17, away < 19], [halves, csf, bone, skin], 0)
    for name in tumor_cases.MAPS:
        path = folder / f"{name}_dseg.nii.gz"
        nb.Nifti1Image(labels.astype(np.uint8), np.diag([2.0, 2, 2, 1])).to_filename(path)


def cases_of(data, folder, seed=7):
    return tumor_cases.Cases(data, folder, seed, shape=(64, 64, 64))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """Cases of both heads, the first with tumors and clear, the second with tumors."""
    cases = cases_of(data, tmp_path_factory.mktemp("cases"))
    which = ((0, "tumors"), (0, "clear"), (1, "tumors"))
    return [cases.of("heads", *one) for one in which]


def test_cases_are_of_the_split_s_heads_in_turn_and_only_some_have_tumors(made):
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


def test_a_case_comes_again_whatever_was_made_before_it(data, made, tmp_path):
    again = cases_of(data, tmp_path).of("heads", 1, "tumors")
    for name in ("data", "affine"):
        np.testing.assert_array_equal(getattr(again.image, name), getattr(made[2].image, name))
    np.testing.assert_array_equal(again.truth, made[2].truth)
    other = cases_of(data, tmp_path, seed=8).of("heads", 1, "tumors")
    assert (other.truth != again.truth).any()


def test_a_case_is_read_from_the_folder_after_the_first_time(data, tmp_path, monkeypatch):
    cases = cases_of(data, tmp_path)
    first = cases.of("label-maps", 1, "tumors")
    assert first.head == tumor_cases.MAPS[1]
    assert first.truth.any()
    assert not cases.of("label-maps", 1, "clear").truth.any()
    monkeypatch.setattr(tumor_cases, "draw", lambda *_, **__: 1 / 0)
    again = cases.of("label-maps", 1, "tumors")
    np.testing.assert_array_equal(again.image.data, first.image.data)
    np.testing.assert_array_equal(again.truth, first.truth)
    assert (again.box, again.head) == (first.box, first.head)


def test_clinical_slices_conserve_the_tumor_within_their_field_of_view(made):
    whole = made[0]
    for seed in range(4):
        case = tumor_cases.in_slices(whole, np.random.default_rng(seed))
        assert 5 <= case.image.spacing[2] <= 6.5
        np.testing.assert_allclose(case.image.spacing[:2], whole.image.spacing[:2])
        # A voxel of the slices lies where the means of its voxels in the whole head do.
        ends = case.image.affine @ [[0, 0], [0, 0], [-0.5, case.truth.shape[2] - 0.5], [1, 1]]
        steps = (np.linalg.inv(whole.image.affine) @ ends)[2] + 0.5
        inside = whole.image.data[:, :, round(steps[0]) : round(steps[1])].sum(dtype=float)
        thick = case.image.spacing[2] / whole.image.spacing[2]
        assert case.image.data.sum(dtype=float) * thick == pytest.approx(inside, rel=0.05)
        assert case.truth.any()


def test_every_case_has_a_generator_of_its_own(data, tmp_path, monkeypatch):
    """NumPy takes [7, 1, 0] for [7, 1], which a clear case's must not be."""
    monkeypatch.setattr(tumor_cases, "grow", lambda *words, **_: words[3].random())
    cases = cases_of(data, tmp_path)
    drawn = {cases._grown(n, kind) for n in range(2) for kind in ("tumors", "clear")}
    assert len(drawn) == 4


def test_a_head_in_which_no_tumor_grows_is_told(data, monkeypatch):
    example = tumor_cases.read(heads.find(data / "heads", "dev")[0])
    monkeypatch.setitem(tumor_cases.STEPS, "meningiomas", lambda example, rng: example)
    with pytest.raises(tumor_cases.ImageError, match="no meningioma grows in 20 draws"):
        tumor_cases.meningiomas(example, np.random.default_rng(1))


def test_label_maps_and_slices_without_a_tumor_are_told(data, made, tmp_path, monkeypatch):
    nothing = replace(made[1], truth=np.zeros_like(made[1].truth))
    monkeypatch.setattr(tumor_cases, "draw", lambda *_, **__: nothing)
    with pytest.raises(tumor_cases.ImageError, match="head05: no meningioma grows in 20 draws"):
        cases_of(data, tmp_path).of("label-maps", 0, "tumors")
    monkeypatch.setattr(tumor_cases, "_in_slices", lambda *_: nothing)
    with pytest.raises(tumor_cases.ImageError, match="case 0: no tumor is left in 20 draws"):
        tumor_cases.in_slices(made[0], np.random.default_rng(1))


def test_a_head_without_a_brain_mask_is_told(data):
    head = heads.find(data / "heads", "dev")[0]
    with pytest.raises(tumor_cases.ImageError, match="no mask by deepbet"):
        tumor_cases.read(heads.Head(head.name, head.image, {}))


SHAPE = (40, 40, 40)

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])  # 125 voxels to the mL


def cube(side, *corner):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(at, at + side) for at in corner)] = True
    return mask


def score(truth, predicted, judge=lambda found: found):
    """Score of a mask, whose lesions are told apart as the app does; all likely if not judged."""
    where = (slice(None),) * 3
    case = meningioma.Case(3, "sub-x", Volume(truth.astype(np.float32), AFFINE), truth, where)
    measured = lesions.measure(predicted, predicted.astype(np.float32), AFFINE, None)
    return meningioma.score("heads", case, judge(measured), 2.0)


NOTHING = np.zeros(SHAPE, bool)


def test_tumors_that_touch_at_a_corner_are_one_and_others_are_not():
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


def test_a_prediction_over_two_tumors_finds_both_and_is_not_false():
    one = score(cube(5, 4, 4, 4) | cube(5, 12, 4, 4), cube(16, 2, 2, 2))
    assert one.tumors == ((1.0, True), (1.0, True))
    assert one.false == 0


def test_all_that_is_found_in_a_clear_head_is_false():
    assert score(NOTHING, cube(5, 2, 2, 2) | cube(5, 20, 2, 2)).false == 2
    assert score(NOTHING, NOTHING).false == 0


def test_unlikely_candidates_are_reported_beside_and_neither_find_nor_are_false():
    at_edge = cube(10, 0, 4, 4)
    one = score(at_edge, at_edge | cube(3, 37, 2, 2) | cube(4, 20, 20, 20), candidates.judge)
    assert one.tumors == ((8.0, False),)
    assert (one.false, one.unlikely) == (1, (1, 1))
    assert one.predicted_ml == pytest.approx(64 / 125)


def known(tumors=(), false=0, dice=1.0, predicted=1.0, number=0, group="heads"):
    return meningioma.Score(
        group, number, f"sub-{number}", tumors, false, (1, 2), dice, predicted, 3.0
    )


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
    words = {name: words for name, (_, words) in meningioma.figures(SOME).items()}
    assert words == {
        "found, 0.3 to 1 mL": "0.50 (1 of 2)",
        "found, over 1 mL": "0.67 (2 of 3)",
        "found, over 3 mL": "1.00 (2 of 2)",
        "false per tumor head": "0.75",
        "false per clear head": "0.75",
        "median Dice": "0.700",
    }
    assert {*meningioma.WHOLE, *meningioma.CLINICAL} == set(words)
    assert meningioma.figures(SOME[:4])["false per clear head"] == (None, "n/a")


def cells(text):
    """Rows of the Markdown tables in a text, each a list of words; rules are left out."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in row] for row in rows if set(row[0].strip()) != {"-"}]


def test_a_set_has_a_row_that_says_what_is_not_reached():
    clinical = [replace(one, group="heads-clinical", false=0) for one in SOME]
    _, first, second = cells(meningioma.summary([*SOME, *clinical]))
    assert first[:2] == ["heads", "4 and 4"]
    assert first[8:10] == ["8 and 16", "3.0"]
    assert first[10] == (
        "not found, 0.3 to 1 mL; found, over 1 mL; false per tumor head; false per clear head; "
        "median Dice"
    )
    assert second[10] == "not median Dice"
    assert cells(meningioma.goals())[2][3:] == [
        *("at least 0.85", "at most 0.4", "at most 0.3", "at least 0.75")
    ]


def test_a_volume_belongs_to_one_band():
    rows = cells(meningioma.band_table({"one": SOME, "two": SOME[1:2]}))
    assert rows == [
        ["set", "true lesions, mL", "found, one", "found, two"],
        ["heads", "up to 0.3", "n/a (0 of 0)", "n/a (0 of 0)"],
        ["heads", "0.3 to 1", "0.50 (1 of 2)", "n/a (0 of 0)"],
        ["heads", "1 to 3", "0.00 (0 of 1)", "n/a (0 of 0)"],
        ["heads", "3 to 10", "1.00 (1 of 1)", "n/a (0 of 0)"],
        ["heads", "10 to 30", "1.00 (1 of 1)", "1.00 (1 of 1)"],
        ["heads", "over 30", "n/a (0 of 0)", "n/a (0 of 0)"],
    ]


def test_the_worst_cases_are_those_of_the_least_dice_and_none_is_clear(monkeypatch):
    monkeypatch.setattr(meningioma, "WORST", 5)
    many = [known(((2.0, True),), 0, dice, 2.5, n) for n, dice in enumerate((0.9, 0.8, 0.7, 0.6))]
    rows = cells(meningioma.worst_table([*many, *SOME[2:]]))[1:]
    assert [row[3] for row in rows] == ["0.10", "0.60", "0.60", "0.70", "0.80"]
    assert rows[0] == ["heads", "2", "sub-2", "0.10", "2.00", "1.00", "0 of 1, 0 false"]


def test_the_document_says_first_what_it_is_and_that_the_tumors_are_synthetic():
    text = meningioma.report({"a": SOME, "b": SOME}, "made somehow\n", "m.png")
    assert text.index("The tumors are\nsynthetic") < text.index("made somehow")
    assert "## b\n" in text
    assert "![Cases with tumors](m.png)" in text
    assert "They are not valid for patients." in text
    assert "![" not in meningioma.report({"a": SOME}, "")


def test_the_cuts_run_through_the_largest_lesion_where_it_is_widest():
    truth = cube(6, 4, 6, 8) | cube(2, 30, 30, 30)
    truth[4, 6, 10] = False
    spacing = np.diag([1.0, 2.0, 3.0, 1.0])
    box = (slice(2, 38), slice(0, 40), slice(4, 40))
    case = meningioma.Case(0, "x", Volume(np.ones(SHAPE, np.float32), spacing), truth, box)
    (_, axial, _, flat), (_, coronal, predicted, tall) = tumor_picture.view(case, NOTHING)
    assert (axial.shape, coronal.shape) == ((36, 40), (36, 36))
    assert (axial.sum(), coronal.sum(), predicted.sum()) == (36, 36, 0)
    assert (flat, tall) == (2.0, 3.0)


def test_the_picture_of_many_cases_is_a_small_png(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.random((170, 200)).astype(np.float32)  # noise: no image is harder to pack
    truth = np.zeros(data.shape, bool)
    truth[50:80, 60:90] = True
    views = [("sub-x: 1.0 mL, Dice 0.50", [(data, truth, np.roll(truth, 9, 0), 1.0)] * 2)] * 12
    tumor_picture.draw(views, "some model", tmp_path / "m.png")
    content = (tmp_path / "m.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20]) == 1600
    assert len(content) < 1_100_000


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    def run(*words):
        command = ["meningioma.py", str(data), "--folder", str(tmp_path / "cases"), *words]
        monkeypatch.setattr(sys, "argv", command)
        meningioma.main()

    return run


def test_a_run_prints_and_writes_tables_and_a_picture(run, tmp_path, capsys):
    page, picture = tmp_path / "docs/m.md", tmp_path / "docs/pictures/m.png"
    picture.parent.mkdir(parents=True)
    words = ["--sets", "heads", "--cases", "1", "--clear", "1"]
    run("--make", *words)
    there = {path.suffix for path in (tmp_path / "cases").rglob("*.np*")}
    assert there == {".npz", ".npy"}
    words += ["--model", "embedded", "embedded", "--quick"]
    run(*words, "--markdown", str(page), "--picture", str(picture))
    text = page.read_text()
    assert text in capsys.readouterr().out
    assert "--model embedded --sets heads --cases 1 --clear 1 --seed 20261124" in text
    assert ["heads", "1 and 1"] in [row[:2] for row in cells(text)]
    assert "(pictures/m.png)" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_no_lesion_is_found_where_no_brain_is(made):
    model = replace(meningioma.registry.resolve("embedded"), near_brain=5.0)
    assert meningioma.predict(made[0].source, None, model, None).count == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cases", "0"], "too few"),
        (["--clear", "-1"], "too few"),
        (["--split", "test"], "no head of the split 'test'"),
    ],
)
def test_nothing_to_measure_is_told(words, told, run, capsys):
    with pytest.raises(SystemExit):
        run(*words)
    assert told in capsys.readouterr().err


def found(group, likely=(), unlikely=()):
    return real_heads.Found(group, f"sub-{group}", likely, unlikely)


def test_the_tables_of_real_heads_count_what_is_likely_and_show_what_is_not():
    some = [
        found("contrast", (0.6, 0.4)),
        found("contrast", (), ((58.3, "at the edge of the field of view"),)),
        found("plain", (0.1, 0.1)),
        found("plain"),
        found("plain"),
        found("schwannoma", (2.0,)),
    ]
    verdict = cells(real_heads.verdict(some))
    assert verdict[1] == ["contrast", "2", "likely, over 0.5 mL", "0", "1"]
    assert verdict[2] == ["plain", "3", "likely", "at most 2", "2"]
    assert cells(real_heads.table(some))[1:] == [
        ["contrast", "sub-contrast", "0.60, 0.40", "none"],
        ["contrast", "sub-contrast", "none", "58.30 (at the edge of the field of view)"],
        ["plain", "sub-plain", "0.10, 0.10", "none"],
        ["plain", "2 others", "none", "none"],
        ["schwannoma", "sub-schwannoma", "2.00", "none"],
    ]


def test_real_heads_are_searched_with_kept_brain_masks(data, tmp_path, monkeypatch):
    (data / "contrast").mkdir(exist_ok=True)
    monkeypatch.setattr(real_heads, "CONTRAST_HEADS", ())
    page = tmp_path / "r.md"
    words = ["--quick", "--folder", str(tmp_path / "masks"), "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", ["real_heads.py", str(data), *words])
    looked = []
    nothing = meningioma.Lesions(np.zeros((1, 1, 1), np.int32), ())
    monkeypatch.setattr(meningioma, "predict", lambda *words: looked.append(words[1]) or nothing)
    for _ in range(2):
        real_heads.main()
        assert [one[:2] for one in cells(page.read_text())][-1] == ["plain", "2 others"]
        monkeypatch.setattr(tumor_cases.brains, "extract", lambda *_: 1 / 0)
    np.testing.assert_array_equal(looked[0].mask, looked[2].mask)
