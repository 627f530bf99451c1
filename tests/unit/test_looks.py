# SPDX-License-Identifier: Apache-2.0
"""Looks at an image: what the network is shown, what comes back, and which look is kept."""

import itertools
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from bids_brainmask.analyses import second_look
from bids_brainmask.analyses.second_look import View, best_view
from bids_brainmask.voxels import cleanup
from bids_brainmask.voxels.looks import AS_IT_IS, DARKER, INVERTED, TURNED, Look, inverted


@pytest.fixture
def ramp():
    """Values that tell every voxel from every other, (4, 5, 6)."""
    return np.arange(120, dtype=np.float32).reshape(4, 5, 6)


@pytest.mark.parametrize("look", [AS_IT_IS, *TURNED], ids=lambda look: look.orientation)
def test_what_is_shown_turned_comes_back_as_it_was(look, ramp):
    shown = look.show(ramp)
    assert shown.shape == tuple(ramp.shape[axis] for axis in look.axes)
    assert (look.back(shown) == ramp).all()


@pytest.mark.parametrize("look", [AS_IT_IS, *TURNED], ids=lambda look: look.orientation)
def test_a_mirrored_look_exchanges_right_and_left_of_the_head_alone(look, ramp):
    assert (look.mirrored.show(ramp) == look.show(ramp)[::-1]).all()
    assert (look.mirrored.back(look.mirrored.show(ramp)) == ramp).all()
    assert look.mirrored.mirrored == look


def test_the_turns_are_all_rotations_of_a_cube_and_no_mirror_image():
    assert AS_IT_IS.orientation == "RAS"
    names = {look.orientation for look in TURNED}
    assert len(names) == len(TURNED) == 23
    letters = [sorted(name.translate(str.maketrans("LPI", "RAS"))) for name in names]
    assert letters == [["A", "R", "S"]] * 23
    assert not names & {"LAS", "RPS", "RAI", "LPI", "ARS"}
    assert {"LPS", "LAI", "RPI", "ASR"} <= names


def test_the_orientation_names_where_the_head_lies_in_the_headers_terms():
    head = np.zeros((3, 3, 3), np.float32)
    head[1, 1, 0] = 1  # front: at I of the header
    head[1, 2, 1] = 2  # top: at A of the header
    head[2, 1, 1] = 3  # right: as in the header
    (look,) = (look for look in TURNED if look.orientation == "RIA")
    shown = look.show(head)
    assert (shown[1, 2, 1], shown[1, 1, 2], shown[2, 1, 1]) == (1, 2, 3)


def test_intensities_keep_their_order_when_darker_and_change_it_when_inverted():
    image = np.zeros((40, 42, 44), np.float32)
    image[8:32, 8:32, 8:32] = 400
    image[12:28, 12:28, 12:28] = 1000
    darker = DARKER.show(image)
    assert darker[0, 0, 0] == 0
    assert darker[9, 9, 9] == pytest.approx(0.4**1.6, rel=1e-5)
    assert darker[15, 15, 15] == pytest.approx(1)
    shown = INVERTED.show(image)
    assert (shown == inverted(image)).all()
    assert shown[2, 2, 2] == 0
    assert shown[9, 9, 9] == pytest.approx(0.6)
    assert shown[15, 15, 15] == pytest.approx(0)
    assert (INVERTED.back(shown) == shown).all()


class Network:
    """Answers with a predicted Dice for each look, and counts what it is asked."""

    def __init__(self, answers, otherwise=0.8, *, flips=False):
        self.answers, self.otherwise, self.flips, self.seen = answers, otherwise, flips, []
        self.mean_of = {}  # the look that was averaged with its mirror image
        self.coarse, self.coarsely_seen = {}, []

    def glance(self, view):
        def rank(look):
            self.coarsely_seen.append(look)
            return self.coarse.get(look, self.otherwise or 0.0)

        return rank

    def see(self, look, *, once=False, mean=None):
        assert once == (look in TURNED and look not in self.seen)
        if mean:
            assert mean.look == look == self.mean_of.setdefault(0, look)
            return replace(mean, mirrored=True)
        self.seen.append(look)
        dice = self.answers.get(look, self.otherwise)
        mask = np.ones((1, 1, 1), bool)
        cleaned = cleanup.Cleaned(mask, 0, 0)
        found = mask.astype(np.float32)
        return View(look, found, cleaned, None, dice, dice or 0.0, self.flips, Future())

    def best(self, *, is_object=False, is_brain=True):
        view = best_view(self.see, self.glance, lambda view: is_object, lambda view: is_brain)
        assert view.mirrored == (bool(self.mean_of) or self.flips)
        return view.look


def test_a_sure_mask_is_looked_at_once():
    network = Network({AS_IT_IS: second_look.SURE})
    assert network.best() == AS_IT_IS
    assert network.seen == [AS_IT_IS]
    assert not network.mean_of


@pytest.mark.parametrize(("darker", "kept"), [(0.972, AS_IT_IS), (0.98, DARKER)])
def test_the_look_that_is_kept_is_the_one_that_is_mirrored(darker, kept):
    network = Network({AS_IT_IS: 0.972, DARKER: darker})
    assert network.best() == kept
    assert [*network.mean_of.values()] == [kept]


def test_what_is_averaged_with_its_mirror_image_anyway_is_not_mirrored_again():
    network = Network({AS_IT_IS: 0.972}, flips=True)
    assert network.best() == AS_IT_IS
    assert not network.mean_of


@pytest.mark.parametrize("dice", [None, 0.0, second_look.HOPELESS - 0.001])
def test_no_calibration_no_brain_or_no_hope_no_second_look(dice):
    network = Network({AS_IT_IS: dice}, otherwise=0.99)
    assert network.best() == AS_IT_IS
    assert network.seen == [AS_IT_IS]
    assert not network.mean_of


@pytest.mark.parametrize(("dice", "kept"), [(0.972, AS_IT_IS), (0.9721, DARKER)])
def test_the_darker_look_is_kept_for_any_gain_and_ends_the_search(dice, kept):
    network = Network({AS_IT_IS: 0.972, DARKER: dice}, otherwise=0.99)
    assert network.best() == kept
    assert network.seen == [AS_IT_IS, DARKER]


def test_an_inverted_look_that_is_sure_ends_the_search():
    network = Network({AS_IT_IS: 0.90, INVERTED: 0.972}, otherwise=0.99)
    network.answers[DARKER] = 0.85
    assert network.best() == INVERTED
    assert network.seen == [AS_IT_IS, DARKER, INVERTED]


@pytest.mark.parametrize(
    ("best", "is_brain", "kept"),
    [(0.96, True, TURNED[7]), (0.96, False, AS_IT_IS), (0.919, True, TURNED[3])],
)
def test_the_best_turned_look_is_kept_if_it_gains_enough_and_looks_like_a_brain(
    best, is_brain, kept
):
    network = Network({AS_IT_IS: 0.90, TURNED[3]: 0.925, TURNED[7]: best, TURNED[9]: 0.99})
    network.coarse = {TURNED[7]: 0.86, TURNED[3]: 0.85, TURNED[12]: 0.84, TURNED[9]: 0.79}
    assert network.best(is_brain=is_brain) == kept
    again = TURNED[7] if best > 0.925 else TURNED[3]
    assert network.coarsely_seen == [*TURNED]
    few = [TURNED[7], TURNED[3], TURNED[12]]
    assert network.seen == [AS_IT_IS, DARKER, INVERTED, *few, again]


@pytest.mark.parametrize(("dice", "kept"), [(0.951, TURNED[7]), (0.949, DARKER)])
def test_a_turned_look_gains_over_the_first_look_and_is_better_than_the_darker_one(dice, kept):
    network = Network({AS_IT_IS: 0.92, DARKER: 0.95, TURNED[7]: dice})
    network.coarse = {TURNED[7]: 0.86}
    assert network.best() == kept


@pytest.mark.parametrize(
    ("dice", "turned"), [(second_look.UNSURE, 0), (second_look.UNSURE - 0.001, len(TURNED))]
)
def test_other_looks_are_for_the_worst(dice, turned):
    network = Network({AS_IT_IS: dice})
    assert network.best() == AS_IT_IS
    assert network.seen[:2] == [AS_IT_IS, DARKER]
    assert (INVERTED in network.seen) == bool(turned)
    assert len(network.coarsely_seen) == turned


def test_an_object_gets_no_second_look():
    network = Network({AS_IT_IS: 0.90}, otherwise=0.99)
    assert network.best(is_object=True) == AS_IT_IS
    assert network.seen == [AS_IT_IS]
    assert not network.mean_of


def test_looks_without_a_brain_are_never_kept():
    network = Network({AS_IT_IS: 0.90}, otherwise=None)
    assert network.best() == AS_IT_IS


def test_turned_looks_agree_with_rotation_matrices():
    cube = np.zeros((3, 3, 3), np.float32)
    places = list(itertools.product(range(3), repeat=3))
    for number, place in enumerate(places):
        cube[place] = number
    for look in TURNED:
        matrix = np.eye(3)[list(look.axes)] * np.array(look.signs)[:, None]
        assert np.linalg.det(matrix) == pytest.approx(1)
        for place in places:
            turned = tuple((matrix @ (np.array(place) - 1) + 1).round().astype(int))
            assert look.show(cube)[turned] == cube[place]
    assert Look(axes=(1, 0, 2)).orientation == "ARS"  # a mirror image; not among the turns
