# SPDX-License-Identifier: Apache-2.0
"""Images that are no heads: made anew alike, of many kinds, and told of as they should be."""

import sys

import numpy as np
import pytest
from bench import load
from test_benchmarks import EMBEDDED, cells, make, network, write

from bids_brainmask.analyses import plausibility
from bids_brainmask.voxels.image import Volume

pytestmark = pytest.mark.slow

NAMES = ("objects", "bodies", "broken_heads", "hollow_heads", "evaluate_brain", "no_heads")
objects, bodies, broken_heads, hollow_heads, _, no_heads = map(load, NAMES)

MADE = (*objects.KINDS, *bodies.KINDS)
BROKEN = (*broken_heads.KINDS, *hollow_heads.KINDS)


def label_map():
    """A label map of the phantom: skin, bone, and a brain of white matter in a rind of cortex."""
    case = make()
    values = case.image.data
    labels = np.select([values == 80, values == 10, case.brain], [48, 51, 2], 0).astype(np.uint8)
    core = np.zeros_like(case.brain)
    core[1:-1, 1:-1, 1:-1] = case.brain[2:, 1:-1, 1:-1] & case.brain[:-2, 1:-1, 1:-1]
    labels[core] = 1
    return Volume(labels, np.eye(4))


@pytest.fixture(scope="module")
def material():
    case = make()
    return broken_heads.Material(label_map(), case.image, case.brain)


def test_there_are_many_kinds_and_half_of_them_are_held_out():
    names = [kind.__name__ for kind in (*MADE, *BROKEN)]
    assert len(names) == len(set(names)) == no_heads.kinds() >= 60
    assert set(names) > no_heads.HELD_OUT_KINDS
    assert abs(len(names) - 2 * len(no_heads.HELD_OUT_KINDS)) <= 4


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_an_object_fills_its_grid(kind):
    made = kind(no_heads.generator(kind.__name__, 0))
    assert made.shape == objects.WHOLE
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


@pytest.mark.parametrize("kind", [objects.ball, bodies.pomegranate])
def test_an_object_follows_its_seed(kind):
    first, again, other = (kind(no_heads.generator(kind.__name__, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_head_follows_its_seed_and_leaves_the_head_alone(kind, material):
    before = material.image.data.copy(), material.labels.data.copy()
    first, again = (kind(no_heads.generator(kind.__name__, 0), material) for _ in range(2))
    np.testing.assert_array_equal(first.data, again.data)
    assert first.data.size
    assert np.isfinite(first.data).all()
    same = first.data.shape == before[0].shape and np.array_equal(first.data, before[0])
    assert not same or not np.array_equal(first.affine, material.image.affine)
    np.testing.assert_array_equal(material.image.data, before[0])
    np.testing.assert_array_equal(material.labels.data, before[1])


def test_half_a_head_holds_half_the_brain_at_its_place(material):
    found = broken_heads.left_half(None, material)
    places = np.nonzero(material.brain)[0]
    middle = (places.min() + places.max() + 1) // 2
    np.testing.assert_array_equal(found.data, material.image.data[:middle])
    np.testing.assert_array_equal(found.affine, material.image.affine)
    upper = broken_heads.upper_half(None, material)
    moved = material.image.data.shape[2] - upper.data.shape[2]
    np.testing.assert_allclose(upper.affine[:3, 3], (material.image.affine @ [0, 0, moved, 1])[:3])


def test_scrambled_blocks_hold_the_same_voxels(material):
    mixed = broken_heads.scrambled(np.random.default_rng(0), material.image.data, 16)
    assert not np.array_equal(mixed, material.image.data)
    np.testing.assert_array_equal(np.sort(mixed, None), np.sort(material.image.data, None))


def bright(block):
    return (block > 0.9 * block.max()).astype(np.float32)


def case_of(name, data, spacing=2.0, truth=None):
    return no_heads.Case(name, "fitted", Volume(data, np.diag([*[spacing] * 3, 1.0])), truth)


def test_what_is_refused_and_what_is_flagged_is_told():
    empty = no_heads.examine(
        case_of("empty", objects.empty(None)), EMBEDDED, network(np.zeros_like)
    )
    assert empty.refusal == "no brain was found"
    assert empty.told
    assert empty.words == "refused: no brain was found"
    ball = case_of("ball", objects.ball(np.random.default_rng(0)))
    found = no_heads.examine(ball, EMBEDDED, network(bright))
    assert not found.refusal
    assert found.told
    assert set(plausibility.LIMITS) <= set(found.likeness)
    blind = no_heads.examine(
        case_of("head", make().image.data, 3.0, make().brain), EMBEDDED, network(np.zeros_like)
    )
    assert blind.dice == 0


def finding(name, group, value, dice=None, doubts=()):
    likeness = dict.fromkeys(plausibility.LIMITS, value)
    return no_heads.Finding(name, group, "", doubts, likeness, dice)


def test_limits_are_the_good_heads_range_and_a_margin():
    good = [finding("a", "one", 1.0), finding("b", "two", 2.0)]
    reach = no_heads.MARGIN
    assert set(no_heads.fit(good).values()) == {(1 - reach, 2 + reach)}
    assert no_heads.beyond(finding("x", "", 2.5), no_heads.fit(good)) == list(plausibility.LIMITS)
    assert no_heads.beyond(finding("x", "", 2.2), no_heads.fit(good)) == []
    kinds = [finding("inside", "fitted", 1.5), finding("outside", "fitted", 9.0)]
    kinds.append(finding("unseen", "held-out", 1.5))
    text = no_heads.fitted([*good, finding("c", "two", 2.1)], kinds)
    assert ["gyri", "0.725", "2.375"] in cells(text)
    assert ["one", "1", "1"] in [row[:3] for row in cells(text)]
    assert text.endswith("fitted kinds within all limits: inside\n")


def test_the_summary_counts_by_half_and_by_source():
    bad = [finding("x", "fitted", 1, doubts=("odd",)), finding("y", "fitted", 1)]
    refused = no_heads.Finding("z", "held-out", "no brain was found", (), {}, None)
    good = [finding("a", "IXI", 1, 0.99), finding("b", "IXI", 1, 0.96, ("odd",))]
    good += [finding("c", "degraded", 1, 0.5, ("odd",)), finding("d", "degraded", 1)]
    rows = cells(no_heads.summary([*bad, refused], good))
    assert ["no heads, fitted", "2", "0", "1", "50.0%", "1"] in rows
    assert ["no heads, held-out", "1", "1", "0", "100.0%", "0"] in rows
    assert ["good masks, IXI", "2", "0", "1", "50.0%", "1"] in rows
    assert ["good masks, degraded", "1", "0", "0", "0.0%", "1"] in rows
    assert ["good masks, all", "3", "0", "1", "33.3%", "2"] in rows
    assert ["bad masks", "1", "0", "1", "100.0%", "0"] in rows


def test_a_turned_head_keeps_its_size_along_its_own_axes():
    case = no_heads.degrade.Case(Volume(make().image.data, np.diag([1, 2, 3, 1.0])), make().brain)
    found = {one.name: one for one in no_heads.turned("a", case)}
    assert len(found) == 13
    extent = np.ptp(np.nonzero(case.brain), axis=1) * (1, 2, 3)
    for one in found.values():
        there = np.ptp(np.nonzero(one.truth), axis=1) * one.volume.spacing
        assert sorted(there) == sorted(extent)
        assert one.volume.data[one.truth].mean() == pytest.approx(
            case.image.data[case.brain].mean(), rel=1e-3
        )
    about = found["a, turned by 90 degrees about superior"]
    there = np.ptp(np.nonzero(about.truth), axis=1) * about.volume.spacing
    np.testing.assert_array_equal(there, extent[[1, 0, 2]])


def test_every_kind_and_head_is_in_the_document(tmp_path, monkeypatch):
    """Kinds of each half; a head degraded and turned; heads to fit limits to."""
    case, data = make(), tmp_path / "data"
    monkeypatch.setattr(
        no_heads,
        "MATERIAL",
        {"fitted": (("sub-a", "head01"),)} | {"held-out": (("sub-a", "head01"),)},
    )
    monkeypatch.setattr(no_heads, "CHANGED", ("sub-ixi1",))
    monkeypatch.setattr(no_heads, "LYING", ("sub-ixi1",))
    few = no_heads.degrade.DEGRADATIONS[1:3]
    monkeypatch.setattr(no_heads.degrade, "DEGRADATIONS", few)
    monkeypatch.setattr(objects, "KINDS", (objects.ball, objects.cube))
    monkeypatch.setattr(bodies, "KINDS", ())
    monkeypatch.setattr(broken_heads, "KINDS", (broken_heads.left_half, broken_heads.shrunk))
    monkeypatch.setattr(hollow_heads, "KINDS", (hollow_heads.neck,))
    monkeypatch.setattr(no_heads.evaluate_brain, "CONTRAST_HEADS", ())
    for name in ("sub-a", "sub-ixi1"):
        write(data / f"heads/{name}/anat/{name}_T1w.nii.gz", case.image.data, case)
        folder = data / f"heads/derivatives/deepbet/{name}/anat"
        write(folder / f"{name}_desc-brain_mask.nii.gz", case.brain.astype(np.uint8), case)
    (data / "heads/participants.tsv").write_text(
        "participant_id\tsplit\nsub-ixi1\tdev\nsub-a\ttrain\n"
    )
    write(data / "label_maps/head01_dseg.nii.gz", label_map().data, case)
    monkeypatch.setattr(no_heads.backends, "load", lambda *_: network(bright))
    out = tmp_path / "found.md"
    command = ["no_heads.py", str(data), "--fit", "--markdown", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    no_heads.main()
    rows = cells(out.read_text())
    names = {tuple(row[:2]) for row in rows if len(row) == 4}
    assert names >= {("fitted", "ball"), ("held-out", "cube"), ("fitted", "left_half")}
    assert names >= {("held-out", "shrunk"), ("fitted", "neck")}
    numbers = {row[0]: row[1] for row in rows if len(row) == 6}
    assert numbers["no heads, fitted"] == "3"
    assert numbers["no heads, held-out"] == "2"
    assert int(numbers["good masks, all"]) == 1 + 3 + 13
    assert int(numbers["good masks, turned"]) == 13
