# SPDX-License-Identifier: Apache-2.0
"""The scripts that measure: what degrading a head does, and the form of what is written."""

import json
import re
import sys
from argparse import Namespace
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from bench import BENCHMARKS, load
from nibabel.orientations import axcodes2ornt, ornt_transform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_brainmask.analyses import confidence
from bids_brainmask.errors import ImageError
from bids_brainmask.models import backends, registry
from bids_brainmask.train import config
from bids_brainmask.voxels.image import Volume

pytestmark = pytest.mark.slow

document, heads, degrade, accuracy, robustness, evaluate_brain, calibrate, left_out, unseen = map(
    load,
    (
        *("document", "heads", "degrade", "accuracy", "robustness", "evaluate_brain"),
        *("calibrate", "left_out", "unseen"),
    ),
)

OBLIQUE = Rotation.from_euler("xyz", [12, -8, 5], degrees=True).as_matrix()


def ellipsoid(affine, shape, radii):
    index = np.indices(shape).reshape(3, -1)
    there = affine[:3, :3] @ index + affine[:3, 3:]
    return (((there / np.reshape(radii, (3, 1))) ** 2).sum(0) < 1).reshape(shape)


GRIDS = {
    "cubes": ((3.0, 3.0, 3.0), np.eye(3)),
    "thick": ((2.0, 2.5, 4.5), np.eye(3)),
    "oblique": ((2.5, 3.0, 3.5), OBLIQUE),
}


@lru_cache
def make(grid="cubes", seed=0):
    """Scalp (80) around bone (10) around a brain (100) of radii 50, 68 and 42 mm, in air.

    Nothing can be written into it.
    """
    spacing, axes = GRIDS[grid]
    shape = tuple(np.ceil(210 / np.array(spacing)).astype(int))
    affine = np.diag([*spacing, 1.0])
    affine[:3, :3] = axes @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    brain = ellipsoid(affine, shape, (50, 68, 42))
    data = np.where(ellipsoid(affine, shape, (66, 84, 90)), 80, 0)
    data[ellipsoid(affine, shape, (56, 74, 48))] = 10
    data[brain] = 100
    data = data.astype(np.float32)
    for array in (data, brain, affine):
        array.flags.writeable = False
    return degrade.Case(Volume(data, affine), brain, seed)


@pytest.fixture(params=GRIDS)
def head(request):
    return make(request.param)


def millilitres(case):
    return case.brain.sum() * abs(np.linalg.det(case.image.affine[:3, :3])) / 1000


def middle(case):
    """Of the brain, mm in the world."""
    return (case.image.affine @ [*ndimage.center_of_mass(case.brain), 1])[:3]


def steps():
    return [
        pytest.param(one.step, strength, id=f"{one.step.__name__} {strength}")
        for one in degrade.DEGRADATIONS
        for strength in one.grades
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "strength"), steps())
def test_a_step_is_a_pure_function_of_the_head(step, strength):
    head = make()  # which is read-only
    first, second = step(head, strength), step(head, strength)
    np.testing.assert_array_equal(first.image.data, second.image.data)
    assert first.image.data.dtype == np.float32
    assert first.brain.dtype == bool
    assert first.brain.shape == first.image.data.shape
    assert np.isfinite(first.image.data).all()
    assert not np.array_equal(first.image.data, head.image.data)


@pytest.mark.parametrize("name", ["deface", "bias", "noise", "invert"])
def test_what_changes_intensities_leaves_mask_and_grid(head, name):
    worse = getattr(degrade, name)(head)
    np.testing.assert_array_equal(worse.brain, head.brain)
    np.testing.assert_array_equal(worse.image.affine, head.image.affine)


@pytest.mark.parametrize("name", ["thick", "turn", "cut_neck"])
def test_what_moves_voxels_keeps_the_brain_s_volume_and_place(head, name):
    worse = getattr(degrade, name)(head)
    loss = 0.025 if name == "thick" else 0.01  # half of a slice is rounded off a dome's top
    assert millilitres(worse) == pytest.approx(millilitres(head), rel=loss)
    np.testing.assert_allclose(middle(worse), middle(head), atol=0.3)


@pytest.mark.parametrize("name", ["thick", "turn", "cut_neck"])
def test_the_image_goes_where_the_mask_goes(head, name):
    worse = getattr(degrade, name)(head)
    inside = ndimage.binary_erosion(worse.brain)
    outside = ndimage.binary_dilation(worse.brain, iterations=2) & ~ndimage.binary_dilation(
        worse.brain
    )
    assert np.median(worse.image.data[inside]) > 95
    assert np.median(worse.image.data[outside]) < 60


@pytest.mark.parametrize("codes", ["LPS", "PSR", "IAL"])
def test_a_case_looks_the_same_in_every_orientation(codes):
    head = make("thick")
    order = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = nb.Nifti1Image(head.image.data, head.image.affine).as_reoriented(order)
    brain = nb.Nifti1Image(head.brain.astype(np.uint8), head.image.affine).as_reoriented(order)
    found = degrade.case(Volume(turned.get_fdata(), turned.affine), brain.get_fdata() > 0)
    np.testing.assert_array_equal(found.image.data, head.image.data)
    np.testing.assert_array_equal(found.brain, head.brain)
    np.testing.assert_allclose(found.image.affine, head.image.affine)


def test_thick_slices_are_means_over_their_thickness():
    random = np.random.default_rng(0)
    data = random.uniform(0, 100, (8, 9, 40)).astype(np.float32)
    head = degrade.Case(Volume(data, np.eye(4)), data > 50)
    found = degrade.thick(head, 5.0)
    expected = data.reshape(8, 9, 8, 5).mean(3)
    np.testing.assert_allclose(found.image.data, expected, rtol=1e-5)
    np.testing.assert_array_equal(
        found.brain, head.brain.reshape(8, 9, 8, 5).mean(3, dtype=np.float32) >= 0.5
    )
    np.testing.assert_allclose(found.image.spacing, [1, 1, 5])
    np.testing.assert_allclose(found.image.affine[:3, 3], [0, 0, 2])  # the first five's middle


def test_thick_slices_hold_all_the_signal_there_was(head):
    found = degrade.thick(head, 5.0)
    np.testing.assert_allclose(found.image.spacing, [1, 1, 5])

    def total(case):
        return case.image.data.sum(dtype=float) * np.prod(case.image.spacing)

    assert total(found) == pytest.approx(total(head), rel=2e-3)


@pytest.mark.parametrize("count", [7, 40])
@pytest.mark.parametrize(("spacing", "step"), [(2.0, 5.0), (0.86, 5.0), (1.3, 8.0), (2.0, 1.0)])
def test_weights_of_slices_and_of_samples(count, spacing, step):
    slices = degrade.averaging(count, spacing, step)
    np.testing.assert_allclose(slices.sum(0) * step, spacing, rtol=1e-5)
    np.testing.assert_allclose(slices, slices[::-1, ::-1], atol=1e-6)
    samples = degrade.interpolating(count, spacing, step)
    np.testing.assert_allclose(samples.sum(1), 1, rtol=1e-5)
    ramp = samples @ (np.arange(count) * spacing)
    inner = (ramp > 0) & (ramp < (count - 1) * spacing)
    np.testing.assert_allclose(np.diff(ramp[inner]), step, rtol=1e-4)


@pytest.mark.parametrize("degrees", [10.0, 25.0, 45.0])
def test_a_turn_is_by_that_angle_about_that_axis(head, degrees):
    turned = degrade.turn(head, degrees)
    np.testing.assert_array_equal(turned.image.affine, head.image.affine)
    assert turned.image.data.shape == head.image.data.shape
    before, after = principal_axes(head), principal_axes(turned)
    expected = Rotation.from_rotvec(np.radians(degrees) * degrade.TURNING_AXIS).as_matrix()
    after *= np.sign((after * (expected @ before)).sum(0))  # an axis has no sense of its own
    found = Rotation.from_matrix(after @ before.T).as_rotvec(degrees=True)
    assert np.linalg.norm(found) == pytest.approx(degrees, abs=1)
    np.testing.assert_allclose(found / np.linalg.norm(found), degrade.TURNING_AXIS, atol=0.05)


def principal_axes(case):
    """Of the mask, as columns, in the world, from the shortest to the longest."""
    voxels = case.image.affine[:3, :3] @ np.argwhere(case.brain).T
    return np.linalg.eigh(np.cov(voxels))[1]


def test_defacing_takes_the_lower_front_and_spares_the_brain(head):
    found = degrade.deface(head, 10.0)
    changed = found.image.data != head.image.data
    assert not found.image.data[changed].any()
    assert not changed[head.brain].any()
    where = head.image.affine[:3, :3] @ np.argwhere(changed).T + head.image.affine[:3, 3:]
    assert where[1].mean() > 30  # forward
    assert where[2].mean() < -30  # down
    assert not changed[:, : head.brain.shape[1] // 2, head.brain.shape[2] // 2 :].any()


def test_defacing_deeper_takes_more(head):
    lost = [(degrade.deface(head, d).image.data != head.image.data).sum() for d in (0, 10, 25)]
    assert 0 < lost[0] < lost[1] < lost[2]


@pytest.mark.parametrize("margin", [20.0, 8.0, 0.0, -15.0])
def test_the_neck_ends_that_far_below_the_brain(head, margin):
    found = degrade.cut_neck(head, margin)
    first = head.brain.shape[2] - found.brain.shape[2]
    lowest = np.flatnonzero(head.brain.any((0, 1)))[0]
    spacing = head.image.spacing[2]
    assert (lowest - first) * spacing == pytest.approx(margin, abs=spacing / 2 + 1e-6)
    np.testing.assert_array_equal(found.image.data, head.image.data[:, :, first:])
    np.testing.assert_array_equal(found.brain, head.brain[:, :, first:])
    corner = head.image.affine @ [0, 0, first, 1]
    np.testing.assert_allclose(found.image.affine[:, 3], corner)


@pytest.mark.parametrize("margin", [20.0, 0.0, -15.0])
@pytest.mark.parametrize(("name", "axis"), [("cut_side", 0), ("cut_top", 2)])
def test_the_field_of_view_ends_that_far_from_the_brain(head, name, axis, margin):
    found = getattr(degrade, name)(head, margin)
    others = tuple({0, 1, 2} - {axis})
    last = np.flatnonzero(head.brain.any(others))[-1] + 1
    spacing = head.image.spacing[axis]
    size = found.brain.shape[axis]
    wanted = min(margin, (head.brain.shape[axis] - last) * spacing)
    assert (size - last) * spacing == pytest.approx(wanted, abs=spacing / 2 + 1e-6)
    kept = np.moveaxis(head.image.data, axis, 0)[:size]
    np.testing.assert_array_equal(np.moveaxis(found.image.data, axis, 0), kept)
    np.testing.assert_array_equal(found.image.affine, head.image.affine)
    assert found.brain.shape == found.image.data.shape


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [2.0, 3.0, 10.0])
def test_the_bias_field_has_that_ratio_and_is_smooth(head, ratio):
    lit = replace(head, image=Volume(head.image.data + 1, head.image.affine))  # no zeros
    field = degrade.bias(lit, ratio).image.data / lit.image.data
    inside = field[degrade.outline(lit)]
    assert inside.max() / inside.min() == pytest.approx(ratio, rel=1e-3)
    assert field.max() / field.min() == pytest.approx(ratio, rel=1e-3)  # outside: no further
    assert np.log(inside).mean() == pytest.approx(0, abs=1e-3)
    assert np.abs(np.diff(np.log(field), axis=1)).max() < np.log(ratio) / 8


@pytest.mark.parametrize("share", [0.05, 0.10, 0.30])
def test_noise_has_that_share_of_white_matter(share):
    head = make()
    found = degrade.noise(head, share).image.data
    air = head.image.data == 0
    rayleigh = found[air].mean() / np.sqrt(np.pi / 2)  # of the deviation in each channel
    assert rayleigh / 100 == pytest.approx(share, rel=0.01)
    if share <= 0.1:  # far from zero Rician noise is Gaussian
        assert found[head.brain].std() / 100 == pytest.approx(share, rel=0.03)


@pytest.mark.parametrize("name", ["bias", "noise"])
def test_what_is_random_follows_the_seed(name):
    step = getattr(degrade, name)
    assert not np.array_equal(step(make(seed=1)).image.data, step(make(seed=2)).image.data)


def test_inverting_turns_the_order_within_the_head_and_leaves_the_air(head):
    found = degrade.invert(head).image.data
    for value, expected in ((100, 0), (80, 20), (10, 90)):
        np.testing.assert_allclose(found[head.image.data == value], expected, atol=1e-4)
    far = ndimage.distance_transform_edt(head.image.data == 0, head.image.spacing) > 6
    assert not found[far].any()


def test_inverting_by_half_leaves_no_contrast(head):
    found = degrade.invert(head, 0.5).image.data
    np.testing.assert_allclose(found[head.image.data > 0], 50, atol=1e-4)


def test_the_outline_holds_bone_and_brain_and_no_air(head):
    outline = degrade.outline(head)
    assert outline[head.image.data > 0].all()
    assert outline.sum() < 1.15 * (head.image.data > 0).sum()


def test_white_matter_is_the_bright_part_of_the_brain():
    head = make()
    grey = head.image.data.copy()
    grey[head.brain & (np.arange(grey.shape[0]) % 5 < 3)[:, None, None]] = 65
    assert degrade.white_matter(degrade.recoloured(head, grey)) == 100


def test_every_degradation_is_reported_at_one_of_its_grades():
    names = [name for name, _ in robustness.steps(grades=True)]
    reported = [name for name, _ in robustness.steps(grades=False)]
    assert len(set(names)) == len(names)
    assert len(reported) == 13
    assert set(robustness.WANTED) <= set(reported)
    assert set(reported) <= set(names)
    assert "noise, 10% of white matter" in reported


def cells(text):
    """Rows of the Markdown tables in a text, each a list of words; rules are left out."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in row] for row in rows if set(row[0].strip()) != {"-"}]


def test_a_table_has_a_cell_for_each_column():
    text = document.table(["a", "b"], [["1", "2"], ["3", "4"]])
    assert text == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n"
    with pytest.raises(ValueError, match="expected 2 cells in each row, found 1"):
        document.table(["a", "b"], [["1"]])


def network(run):
    return backends.Network(run, "arithmetic 1", 16)


EMBEDDED = replace(registry.models()["embedded"], intensities="robust")
"""The networks here know brightness by itself, so that one look must do."""


def test_the_origin_names_versions_and_the_hash():
    text = document.origin("python this.py", [(EMBEDDED, network(np.zeros_like))])
    assert EMBEDDED.sha256 in text
    assert "arithmetic 1" in text
    assert re.search(r"Made on \d{4}-\d\d-\d\d by\n\n    python this.py --markdown FILE\n", text)


@pytest.fixture
def dataset(tmp_path):
    """Two heads of the split and one of another; the second has one reference."""
    rows = ["participant_id\tsplit", "sub-a\tdev", "sub-t\ttrain", "sub-b\tdev"]
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n")
    case = make()
    for name, references in (("sub-a", ("deepbet", "dlmuse")), ("sub-b", ("deepbet",))):
        write(tmp_path / name / "anat" / f"{name}_T1w.nii.gz", case.image.data, case)
        for reference in references:
            folder = tmp_path / "derivatives" / reference / name / "anat"
            write(folder / f"{name}_desc-brain_mask.nii.gz", case.brain.astype(np.uint8), case)
    return tmp_path


def write(path, data, case):
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.Nifti1Image(data, case.image.affine).to_filename(path)


def test_the_heads_are_those_of_the_split_with_the_references_there_are(dataset):
    found = heads.find(dataset, "dev")
    assert [(head.name, list(head.references)) for head in found] == [
        ("sub-a", ["deepbet", "dlmuse"]),
        ("sub-b", ["deepbet"]),
    ]
    np.testing.assert_array_equal(heads.masks(found[0])["deepbet"], make().brain)


def test_a_tool_is_scored_and_a_failure_counts_as_an_empty_mask(dataset):
    found = heads.find(dataset, "dev")

    def extract(head):
        if head.name == "sub-b":
            raise ImageError("it saw nothing")
        return np.roll(make().brain, 1, axis=0), 2.0  # by one voxel, 3 mm

    tool = accuracy.measure("shifted", "", found, extract)
    assert tool.scores["sub-a"].hd95 == {"deepbet": 3.0, "dlmuse": 3.0}
    assert 0.9 < tool.scores["sub-a"].dice["dlmuse"] < 1
    assert tool.scores["sub-b"].dice == {"deepbet": 0.0}
    assert tool.scores["sub-b"].hd95 == {"deepbet": np.inf}
    assert tool.failed == {"sub-b": "it saw nothing"}
    text = accuracy.report([tool], found, "")
    assert "shifted has no mask of sub-b; it counts as an empty mask: it saw nothing" in text


def score(seconds, dice, hd95):
    names = heads.REFERENCES
    return accuracy.Score(
        seconds, dict(zip(names, dice, strict=False)), dict(zip(names, hd95, strict=False))
    )


def test_the_document_on_accuracy_holds_every_head_and_the_right_summaries(dataset):
    found = heads.find(dataset, "dev")
    first = {"sub-a": score(1, [0.9, 0.8], [2, 3]), "sub-b": score(3, [0.7], [4])}
    second = {"sub-a": score(5, [1.0, 0.5], [0, 9]), "sub-b": score(5, [1.0], [0])}
    tools = [accuracy.Tool("one", "", first, {}), accuracy.Tool("two", "two 1.2", second, {})]
    text = accuracy.report(tools, found, "made somehow\n")
    assert "- two: two 1.2\n" in text
    rows = cells(text)
    one = ["0.8000", "0.8000", "0.7000", "0.9000", "3.0", "4.0", "2.0"]
    assert ["deepbet", "2", "one", *one] in rows
    two = ["0.5000", "0.5000", "0.5000", "0.5000", "9.0", "9.0", "5.0"]
    assert ["dlmuse", "1", "two", *two] in rows
    assert ["head", "one, deepbet", "two, deepbet", "one, dlmuse", "two, dlmuse"] in rows
    assert ["sub-b", "0.7000", "1.0000", "n/a", "n/a"] in rows
    assert ["**minimum**", "0.7000", "1.0000", "0.8000", "0.5000"] in rows
    assert ["sub-a", "2.0", "0.0", "3.0", "9.0"] in rows
    assert ["**maximum**", "4.0", "0.0", "3.0", "9.0"] in rows


def test_a_peer_s_mask_that_is_there_is_not_made_again(dataset, tmp_path):
    (head, _) = heads.find(dataset, "dev")
    mask, record = accuracy.peer_files(tmp_path, "BET", "sub-a")
    write(mask, make().brain.astype(np.uint8), make())
    record.write_text(json.dumps({"package": "bet", "version": "2.1", "processor_seconds": 7.5}))
    found, seconds = accuracy.peer_extraction("BET", None, tmp_path)(head)
    np.testing.assert_array_equal(found, make().brain)
    assert seconds == 7.5
    assert accuracy.peer_version(tmp_path, "BET", [head]) == "bet 2.1"


def test_a_peer_that_fails_is_told(tmp_path):
    with pytest.raises(ImageError, match=r"deepbet ended with status 1: ModuleNotFoundError"):
        accuracy.run_peer("deepbet", Path(sys.executable), tmp_path / "x", tmp_path / "y")


def test_a_mask_that_was_never_made_is_no_failure_of_the_tool(
    dataset, tmp_path, monkeypatch, capsys
):
    command = ["accuracy.py", str(dataset), "--masks", str(tmp_path), "--tools", "BET"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "2 masks are missing" in capsys.readouterr().err


def test_peers_are_those_that_the_script_knows():
    text = (BENCHMARKS / "peers" / "run.py").read_text()
    named = re.findall(r'^    "([\w-]+)": \("([\w-]+)",', text, re.MULTILINE)
    assert tuple(tool for tool, _ in named) == accuracy.PEERS
    wanted = (BENCHMARKS / "peers" / "requirements.txt").read_text()
    assert all(f"\n{package}==" in wanted for _, package in named)


def test_a_brain_that_is_found_and_one_that_is_not():
    case = make()
    bright = network(lambda block: (block > 0.9).astype(np.float32))
    assert robustness.dice(case, EMBEDDED, bright) > 0.97
    assert robustness.dice(case, EMBEDDED, network(np.zeros_like)) == 0


@pytest.mark.slow
def test_the_document_on_robustness_has_each_degradation_and_the_worst(dataset):
    found = heads.find(dataset, "dev")[1:]
    bright = network(lambda block: (block > 0.9).astype(np.float32))
    scores = robustness.measure(found, EMBEDDED, bright, grades=False)
    rows = cells(robustness.report(scores, "made somehow\n"))
    assert rows[0] == ["degradation", "mean", "median", "minimum", "worst head", "mean, goal"]
    assert [row[0] for row in rows[1:14]] == [name for name, _ in robustness.steps(grades=False)]
    assert {row[4] for row in rows[1:14]} == {"sub-b"}
    assert rows[14] == ["head", "as it is", "worst", "degradation"]
    assert rows[15][3] == "bias field, factor 3"  # a threshold knows brightness alone


def test_measures_of_a_summary_are_those_of_its_heads():
    scores = {
        robustness.UNCHANGED: {"a": 0.9, "b": 1.0, "c": 0.95},
        "worse": {"a": 0.8, "b": 0.2, "c": 0.8},
    }
    assert cells(robustness.summary(scores))[2] == ["worse", "0.6000", "0.8000", "0.2000", "b", ""]
    assert cells(robustness.worst(scores))[2] == ["b", "1.0000", "0.2000", "worse"]


WEIGHTS = (-1.5, 0.8, 1.0, 0.3, 0.1)


def doubtful_masks(number):
    """Rows of two heads whose Dice is what `WEIGHTS` say of their confidence."""
    rows, rng = [], np.random.default_rng(1)
    for index in range(number):
        low = (0.6, 0, 1.4, 0)
        trust = confidence.Confidence(*rng.uniform(low, (0.99, 0.6, 3, 0.2)))
        row = {"head": f"sub-{index % 2}", "degradation": "as it is", "confidence": trust}
        rows.append(row | {"dice": trust.predicted_dice(WEIGHTS)})
    return rows


def test_a_calibration_finds_the_weights_that_made_the_dice():
    rows = doubtful_masks(40)
    np.testing.assert_allclose(calibrate.fit(rows), WEIGHTS, atol=1e-6)
    calibrate.predict_unseen(rows)
    found = calibrate.figures(rows)
    assert found["masks"] == 40
    assert found["rank correlation"] == pytest.approx(1)
    assert found["median error"] == pytest.approx(0, abs=1e-9)
    assert found["masks under 0.90"] == found["flagged of these"] > 0
    assert found["flagged of the others"] == 0


def test_a_head_s_own_masks_do_not_tell_of_it():
    rows = doubtful_masks(40)
    for row in rows[::2]:  # all of sub-0
        row["dice"] = 0.5
    calibrate.predict_unseen(rows)
    assert all(row["predicted"] == pytest.approx(0.5) for row in rows[1::2])
    assert not any(row["predicted"] == pytest.approx(0.5) for row in rows[::2])


def test_kinds_of_degradations_have_all_their_grades():
    labels = [label for label, _ in robustness.steps(grades=True)]
    kinds = [calibrate.kind_of(label) for label in labels]
    assert len(set(kinds)) == 1 + len(degrade.DEGRADATIONS)
    assert kinds.count("cut neck") == 4


def test_heads_of_a_calibration_are_chosen_by_name(dataset):
    words = {"heads": dataset, "split": "dev", "contrast": None, "only": None}
    everyone = [head.name for head in calibrate.find(Namespace(**words))]
    assert everyone == [head.name for head in heads.find(dataset, "dev")]
    more = words | {"contrast": dataset}
    names = [first + rest for first, rest in evaluate_brain.CONTRAST_HEADS]
    assert [head.name for head in calibrate.find(Namespace(**more))] == everyone + names
    some = words | {"only": everyone[1:]}
    assert [head.name for head in calibrate.find(Namespace(**some))] == everyone[1:]


def test_a_head_without_a_reference_is_left_out_of_a_calibration(dataset):
    head = heads.Head("sub-none", dataset / "none_T1w.nii.gz", {})
    assert calibrate.measure([head], EMBEDDED, network(np.zeros_like)) == []


@pytest.mark.slow
def test_every_mask_of_a_calibration_is_in_its_table_and_document(dataset, tmp_path):
    found = network(lambda block: (block > 0.9) * np.float32(0.8))
    rows = calibrate.measure(heads.find(dataset, "dev")[:1], EMBEDDED, found)
    assert len(rows) == len(list(robustness.steps(grades=True)))
    fewer = calibrate.measure(heads.find(dataset, "dev")[:1], EMBEDDED, found, grades=False)
    assert len(fewer) == len(list(robustness.steps(grades=False))) < len(rows)
    for number, row in enumerate(rows):
        row["predicted"] = 1 - number / 100
    calibrate.write_table(rows, tmp_path / "c.tsv")
    lines = [line.split("\t") for line in (tmp_path / "c.tsv").read_text().splitlines()]
    assert lines[0] == list(calibrate.COLUMNS)
    assert [line[1] for line in lines[1:]] == [row["degradation"] for row in rows]
    assert "made somehow" in calibrate.report(rows, np.array(WEIGHTS), "made somehow\n")
    calibrate.scatter(rows, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def unseen_data(tmp_path):
    """Heads of every source, one stripped brain, and Colin 27, of one phantom."""
    data, case = tmp_path / "data", make()
    brain = case.brain.astype(np.uint8)
    for name in unseen.SOURCES:
        write(data / f"heads/{name}/anat/{name}_T1w.nii.gz", case.image.data, case)
        folder = data / f"heads/derivatives/deepbet/{name}/anat"
        write(folder / f"{name}_desc-brain_mask.nii.gz", brain, case)
    contrast = "contrast/sub-vs01/anat/sub-vs01_ce-gadolinium_T1w.nii.gz"
    write(data / contrast, case.image.data, case)
    write(data / "stripped/sub-9/anat/sub-9_T1w.nii.gz", case.image.data * brain, case)
    write(tmp_path / "colin/ch2.nii.gz", case.image.data, case)
    write(tmp_path / "colin/ch2bet.nii.gz", case.image.data * brain, case)
    for name in ("sub-vs01", "Colin 27"):
        write(tmp_path / f"masks/deepbet/{name}.nii.gz", brain, case)
    return tmp_path


def test_every_unseen_source_is_compared_with_its_references(unseen_data, monkeypatch, capsys):
    """A network that takes the brightest for brain finds all of the phantom's, every time."""
    bright = network(lambda block: (block > 0.9 * block.max()).astype(np.float32))
    monkeypatch.setattr(unseen.backends, "load", lambda *_: bright)
    command = [str(unseen_data / name) for name in ("data", "masks", "colin", "unseen.md")]
    words = zip(("--masks", "--colin", "--markdown"), command[1:], strict=True)
    monkeypatch.setattr(
        sys, "argv", ["unseen.py", command[0], *(w for pair in words for w in pair)]
    )
    unseen.main()
    text = (unseen_data / "unseen.md").read_text()
    assert text in capsys.readouterr().out
    found = [row for row in cells(text) if len(row) == 5]
    rows = {(row[0], row[3]): row[-1] for row in found if "**" not in row[0]}
    named = [(name, "deepbet") for name in (*unseen.SOURCES, "sub-vs01", "Colin 27")]
    assert all(float(rows[name]) > 0.97 for name in [*named, ("Colin 27", "published")])
    least = {row[1]: float(row[-1]) for row in found if row[0] == "**minimum**"}
    assert min(least.values()) == min(float(rows[name]) for name in named)
    assert [row[0] for row in found if row[2] == "yes"] == [*unseen.LEARNT]
    assert [row[0] for row in cells(text) if len(row) == 2][-1:] == ["**minimum** of 1"]


def test_the_left_out_training_is_the_recipe_without_three_sources(tmp_path):
    left_out.main([str(tmp_path / "one.yaml"), "--start", str(tmp_path / "start.npz")])
    shipped, found = config.read("brain"), config.read(tmp_path / "one.yaml")
    assert found.synthesis == shipped.synthesis
    assert found.variants.items() <= shipped.variants.items()
    assert set(found.data.exclude) == {*left_out.LEFT_OUT}
    assert {*found.data.often} == {*shipped.data.often} - {*left_out.LEFT_OUT}
    assert found.start == str(tmp_path / "start.npz")


def test_the_held_out_recipe_is_that_of_the_embedded_network_on_one_source():
    shipped, held = config.read("brain"), config.read(BENCHMARKS / "heldout.yaml")
    assert held.variants.items() <= shipped.variants.items()
    assert held.architecture == shipped.architecture
    assert set(held.data.exclude) == set(shipped.data.often) >= {"adi", "forrest"}


def test_models_of_like_files_are_named_by_their_paths(tmp_path):
    def named(*paths):
        models = [replace(registry.resolve("embedded"), path=path) for path in paths]
        return document.names([(model, None) for model in models])

    one, other = tmp_path / "one/weights.npz", tmp_path / "other/weights.npz"
    assert named(None, one) == ["embedded", "weights"]
    assert named(one, other) == [str(one), str(other)]
