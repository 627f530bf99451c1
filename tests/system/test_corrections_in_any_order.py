# SPDX-License-Identifier: Apache-2.0
"""Edits, damages, runs, adoptions and reverts in any order: no manual mask is lost (Hypothesis).

The number of examples is that of `EXAMPLES` in the environment, 4 if it is not set.
"""

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_corrections import NAME, Study, _light, processed, scale  # noqa: F401

from bids_brainmask.analyses import catalog
from bids_brainmask.voxels import image, masks

AFFINE = np.array([[3.0, 0, 0, -22.5], [0, 3, 0, -22.5], [0, 0, 3, -22.5], [0, 0, 0, 1]])
STEPS = st.integers(3, 10)


class Corrections(RuleBasedStateMachine):
    """One head; what a person did to its brain mask is kept here beside."""

    template: Path

    @initialize()
    def start(self):
        """Take a study that has been processed once."""
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(self.template, self.folder / "study")
        self.study = Study(self.folder / "study")
        self.person: np.ndarray | None = None
        """The mask that must not be lost; None: there is none."""
        self.taken = True  # whether a run has seen the last change
        self.other = self.folder / "study/out/notes.txt"
        self.other.write_text("somebody's")

    def teardown(self):
        """Remove the study."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(planes=STEPS, plain=st.booleans(), dtype=st.sampled_from([np.uint8, np.float32]))
    def edit(self, planes, plain, dtype):
        """Set the lower planes of the mask; in place or beside it."""
        if self.study.mask.with_suffix("").exists():
            return  # two corrections at once are refused
        mask = np.indices((16, 16, 16))[2] < planes
        file = nb.Nifti1Image(mask.astype(dtype), AFFINE)
        path = self.study.mask.with_suffix("") if plain else self.study.mask
        path.write_bytes(file.to_bytes() if plain else gzip.compress(file.to_bytes()))
        self.person, self.taken = mask, False

    @precondition(lambda self: self.taken)
    @rule(kept=st.integers(0, 300))
    def truncate(self, kept):
        """Cut a mask that is the program's, or a person's that is then lost by the person."""
        self.study.mask.write_bytes(self.study.mask.read_bytes()[:kept])
        self.person, self.taken = None, False

    @rule(number=st.integers(1, 3))
    def replace_image(self, number):
        """Put another image on the same grid in the place of the source."""
        self.study.data.add(f"{NAME}_T1w.nii.gz", scale.head(number))
        self.taken = False

    @rule(words=st.sampled_from([(), ("--overwrite",), ("--verify",)]))
    def run(self, words):
        """Run the participant level, then look at everything."""
        self.study.run(*words)
        self.taken = True
        self.check()

    @precondition(lambda self: self.taken)
    @rule(planes=STEPS)
    def adopt(self, planes):
        """Adopt a mask from elsewhere."""
        given = self.folder / self.study.mask.name
        mask = np.indices((16, 16, 16))[2] < planes
        affine = AFFINE
        nb.save(nb.Nifti1Image(mask.astype(np.uint8), affine), given)
        self.study.tool("adopt", self.study.out, given, "--editor", "Anna")
        self.person, self.taken = mask, False

    @precondition(lambda self: self.taken and self.person is not None)
    @rule(command=st.booleans())
    def give_up(self, command):
        """Bring the automatic mask back, by either way."""
        if command:
            self.study.tool("adopt", self.study.out, "--revert", self.study.mask.name)
            self.study.run()
        else:
            self.study.run("--overwrite-manual")
        self.person = None
        self.check()

    @rule()
    def group(self):
        """Run the group level."""
        self.study.run(level="group")

    @invariant()
    def nothing_is_lost(self):
        """The person's mask is there, in its place or beside it, and so are others' files."""
        if not hasattr(self, "study"):
            return
        assert self.other.read_text() == "somebody's"
        if self.person is not None:
            places = [self.study.mask, self.study.mask.with_suffix("")]
            found = [image.read_mask(path) for path in places if path.exists()]
            assert any(np.array_equal(each, self.person) for each in found)

    def check(self):
        """After a run all that is shown is of the mask that is there, and the status says so."""
        mask = image.read_mask(self.study.mask)
        assert self.study.is_of(mask)
        manual = self.person is not None
        assert self.study.record()["Manual"] is manual
        assert self.study.automatic.exists() is manual
        if manual:
            np.testing.assert_array_equal(mask, self.person)
        states = self.study.states()
        assert states.pop(self.study.mask.name) == ("manual" if manual else "current")
        assert set(states.values()) == {"current"}
        for path in self.study.anat.glob("*_mask.json"):
            record = json.loads(path.read_text())
            there = image.read_mask(path.with_name(path.stem + ".nii.gz"))
            assert record["VoxelsSHA256"] == masks.digest(there)


@pytest.mark.slow
def test_no_order_loses_a_manual_mask(processed):  # noqa: F811
    assert catalog.analysis("brain").correctable
    Corrections.template = processed
    machine = Corrections.TestCase
    machine.settings = settings(
        max_examples=int(os.environ.get("EXAMPLES", "4")),
        stateful_step_count=int(os.environ.get("STEPS", "8")),
        deadline=None,
        derandomize="EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
