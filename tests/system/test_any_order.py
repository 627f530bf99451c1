# SPDX-License-Identifier: Apache-2.0
"""Everything that a lab does to a dataset and its results, in any order (Hypothesis).

Images, masks, sidecars and figures are replaced, removed, restored, edited and truncated; options,
model and version change; runs are killed; dataset and results move. At the end of some runs,
the BIDS validator sees the results of both levels. `RUNS`, `STEPS` and `SEED` of the environment
are the number of runs, of the steps of each, and one seed instead of those that are kept.
"""

import csv
import gzip
import hashlib
import json
import os
import shutil
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import ClassVar

import nibabel as nb
import numpy as np
import pytest
from bench import load
from conftest import Dataset, validate
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import bids_brainmask
from bids_brainmask.analyses import catalog
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.dataset import query, storage
from bids_brainmask.errors import ImageError
from bids_brainmask.reports import group_page, templates
from bids_brainmask.results import standing
from bids_brainmask.voxels import image, masks

_, scale = map(load, ("document", "scale"))

NAMES = ("sub-01_ses-1_ce-gd", "sub-01_ses-2", "sub-02")
SHAPE, VOXEL_ML = (16, 16, 16), 0.027
AFFINE = np.array([[3.0, 0, 0, -22.5], [0, 3, 0, -22.5], [0, 0, 3, -22.5], [0, 0, 0, 1]])
HEADS = [scale.head(number) for number in range(4)]
MAINS = {"brain": "desc-brain_mask", "meningioma": "label-tumor_desc-meningioma_mask"}
IMAGES = {  # endings of image files of results, and the analyses whose masks each is made of
    "desc-brain_mask": "brain",
    "desc-brain_T1w": "brain",
    "label-brain_probseg": "brain",
    "label-tumor_desc-meningioma_mask": "meningioma",
    "label-tumor_desc-meningioma_probseg": "meningioma",
    "desc-meningioma_dseg": "meningioma",
    "desc-brainandtumor_mask": "meningioma",
    "desc-brainauto_mask": "brain",
    "label-tumor_desc-meningiomaauto_mask": "meningioma",
}
PICTURES = (".webp", ".png")
OPTIONS = {
    "threshold": [(), ("--threshold", "brain=0.3")],
    "outputs": [(), ("--outputs", "mask"), ("--outputs", "mask", "brain", "probseg")],
    "border": [(), ("--border", "3")],
    "reports": [("--no-reports",), ("--no-reports",), ()],
    "analyses": [(), (), ("--analyses", "brain")],
    "model": [(), ("--model", "brain=MODEL")],
}
RUNS = int(os.environ.get("RUNS", "31"))
"""Runs with each seed."""

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else [*range(9)]
"""Seeds of the runs; one with which something was found is added."""

WHICH = st.sampled_from(range(len(NAMES)))


class Killed(BaseException):
    """The end of a process, as the code that it ends would see it: no handler catches it."""


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def draw(row):
    """Draw a figure as the hashes of what it shows."""

    def drawn(source, findings, name):
        shown = [name, masks.digest(np.asarray(source.volume.data) > 50)]
        shown += [masks.digest(_mask(findings[each])) for each in findings]
        return tuple(json.dumps(shown).encode() for _ in row.files)

    return replace(row, draw=drawn)


def _mask(finding):
    return finding.mask if hasattr(finding, "mask") else finding.lesions.mask


class Files:
    """What is on the disk, read without the program's own rules."""

    def __init__(self, raw, out):
        self.raw, self.out = raw, out

    def folder(self, name):
        return "/".join(part for part in name.split("_") if part[:3] in ("sub", "ses")) + "/anat"

    def source(self, name):
        return self.raw / self.folder(name) / f"{name}_T1w.nii.gz"

    def result(self, name, ending):
        suffix = ".nii.gz" if ending in IMAGES else ""
        return self.out / self.folder(name) / f"{name}_{ending}{suffix}"

    def record(self, name, ending):
        path = self.out / self.folder(name) / f"{name}_{ending}.json"
        try:
            found = json.loads(path.read_text())
            return found if found["Parameters"] else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def figures(self, name):
        return sorted((self.out / name.split("_")[0] / "figures").glob(f"{name}_*"))

    def enhanced(self, name):
        if "ce-" in name:
            return True
        path = self.raw / self.folder(name) / f"{name}_T1w.json"
        return path.exists() and "ContrastBolusIngredient" in path.read_text()

    def left(self, name):
        """Tell whether an image is gone, and not just not fetched."""
        person = self.raw / name.split("_")[0]
        return not self.source(name).exists() and (not person.exists() or any(person.iterdir()))

    def reckon(self):
        """State of each image file by full hashes, as `brainmask status` should have it."""
        found = {}
        for name in NAMES:
            for ending in IMAGES:
                path = self.result(name, ending)
                if path.exists() or path.with_name(f"{name}_{ending}.json").exists():
                    found[path.relative_to(self.out).as_posix()] = self.state(name, ending)
            listed = {
                each for ending in IMAGES for each in self.record(name, ending).get("Files", ())
            }
            folder = self.out / self.folder(name)
            tables = [folder / f"{name}_desc-meningioma_{end}.tsv" for end in ("lesions", "dseg")]
            for path in [*self.figures(name), *tables]:
                if path.exists() and path.name not in listed and self.known(name):
                    state = "orphaned" if self.left(name) else "stale"
                    found[path.relative_to(self.out).as_posix()] = state
        return found

    def known(self, name):
        """Tell whether a file in the folder of results shows that the image had some."""
        return any((self.out / self.folder(name)).glob(f"{name}_*"))

    def state(self, name, ending):
        record = self.record(name, ending)
        if self.left(name):
            return "orphaned"
        source = self.source(name)
        if not record or (source.exists() and record["SourceFile"]["SHA256"] != sha(source)):
            return "stale"
        if source.exists() and record["ContrastEnhanced"] != self.enhanced(name):
            return "stale"
        if "auto" in ending and not self.record(name, MAINS[IMAGES[ending]]).get("Manual"):
            return "stale"
        # What the network found stays beside a manual mask, whatever becomes of other masks.
        made_from = {} if "auto" in ending else record["MadeFrom"]
        for analysis, digest in made_from.items():
            main, mask = self.record(name, MAINS[analysis]), self.result(name, MAINS[analysis])
            if not main and analysis == "meningioma":
                return "stale"
            if main and main["VoxelsSHA256"] != digest:
                return "stale"
            if mask.with_suffix("").exists():
                return "stale"
            if main and mask.exists() and sha(mask) != main["Files"][mask.name]["SHA256"]:
                return "stale"
        for file, before in record["Files"].items():
            place = self.out / self.folder(name) / file
            if "desc-" in file and file.endswith(PICTURES):
                place = self.out / name.split("_")[0] / "figures" / file
                if not place.exists():
                    continue  # it may have been deleted
            if not place.exists() or sha(place) != before["SHA256"]:
                return "stale"
        return "manual" if record.get("Manual") else "current"


class AnyOrder(RuleBasedStateMachine):
    """Three heads of two participants, and what was done to them."""

    model: Path
    place: Path
    """Folder of all runs, one after the other: the index of a dataset is made once for all."""

    steps: ClassVar[Counter] = Counter()
    expected: ClassVar[dict] = {}
    """Automatic masks, by image and parameters: the same wherever and whenever they are made."""

    @initialize(validated=st.sampled_from([False] * 19 + [True]))
    def start(self, validated=False):
        AnyOrder.steps["runs"] += 1
        self.validated = validated
        shutil.rmtree(self.place / "run", ignore_errors=True)
        self.files = Files(self.place / "run/a/bids", self.place / "run/a/out")
        self.options = dict.fromkeys(OPTIONS, ())
        self.options["reports"] = ("--no-reports",)
        self.version = bids_brainmask.__version__
        self.attic, self.person, self.pending, self.broken = {}, {}, set(), set()
        self.spoilt = set()  # images of which a result was damaged that no run may want again
        self.lost = set()  # masks of a person of which no sidecar tells any more
        self.damaged = {}  # files of results, and their hashes after the damage
        self.others = {}
        self.begin()
        for path in ("notes.txt", "sub-01/ses-1/anat/sub-01_ses-1_desc-other_mask.nii.gz"):
            (self.files.out / path).write_text("somebody's")
            self.others[path] = "somebody's"

    def begin(self):
        """Run the participant level; a later run copies what the first one began with."""
        first = self.place / "first"
        if first.exists():
            shutil.copytree(first, self.place / "run")
            return
        data = Dataset(self.files.raw)
        for number, name in enumerate(NAMES):
            data.add(f"{name}_T1w.nii.gz", HEADS[number])
        (data.root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
        self.participant()
        shutil.copytree(self.place / "run", first)

    def teardown(self):
        if getattr(self, "validated", False):
            self.full()
            self.check_valid()
        shutil.rmtree(self.place / "run", ignore_errors=True)

    def damage(self, path):
        """Note a file that was damaged, or removed."""
        self.damaged[path.relative_to(self.files.out)] = sha(path) if path.exists() else ""

    def check_valid(self):
        """The validator is silent, but for others' files and for damage that nothing mended."""
        AnyOrder.steps["validated"] += 1
        names = {path.split("/")[-1] for path in self.others}
        for path, before in self.damaged.items():
            now = self.files.out / path
            if before == (sha(now) if now.exists() else ""):
                names.add(path.name)
        stems = {name.split(".")[0] for name in names}
        stems |= {f"{NAMES[which]}_{MAINS[analysis]}" for which, analysis in self.pending}
        found = validate(self.files.out)
        wrong = [one for one in found if (one[1] or "").split("/")[-1].split(".")[0] not in stems]
        assert wrong == []

    # What is done to the dataset

    @rule(which=WHICH, number=st.integers(0, 3))
    def replace_image(self, which, number):
        if self.files.source(NAMES[which]).exists():
            self.files.source(NAMES[which]).write_bytes(HEADS[number])
            self.broken.discard(which)

    @rule(which=WHICH)
    def remove_image(self, which):
        path = self.files.source(NAMES[which])
        if path.exists() and len(self.attic) < len(NAMES) - 1:
            self.attic[which] = path.read_bytes()
            path.unlink()
            for folder in (path.parent, path.parents[1], path.parents[2]):
                if not any(folder.iterdir()):
                    folder.rmdir()

    @rule()
    def restore_images(self):
        for which, content in self.attic.items():
            path = self.files.source(NAMES[which])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.attic.clear()

    @rule(which=WHICH, kept=st.integers(0, 300))
    def truncate_image(self, which, kept):
        path = self.files.source(NAMES[which])
        if path.exists():
            path.write_bytes(path.read_bytes()[:kept])
            self.broken.add(which)

    @rule(gone=st.booleans())
    def change_contrast(self, gone):
        path = self.files.raw / self.files.folder(NAMES[1]) / f"{NAMES[1]}_T1w.json"
        if self.files.source(NAMES[1]).exists():
            path.unlink(missing_ok=True)
            if not gone:
                path.write_text('{"ContrastBolusIngredient": "GADOLINIUM"}')

    # What is done to the results

    @rule(
        which=WHICH,
        analysis=st.sampled_from(["brain", "brain", "meningioma"]),
        planes=st.integers(3, 10),
        plain=st.booleans(),
        dtype=st.sampled_from([np.uint8, np.float32]),
    )
    def edit_mask(self, which, analysis, planes, plain, dtype):
        path = self.files.result(NAMES[which], MAINS[analysis])
        record = self.files.record(NAMES[which], MAINS[analysis])
        if not path.exists() or not record or (which, analysis) in self.pending:
            return
        mask = np.indices(SHAPE)[2] < planes
        content = nb.Nifti1Image(mask.astype(dtype), AFFINE).to_bytes()
        if plain:
            path.with_suffix("").write_bytes(content)
        else:
            path.write_bytes(gzip.compress(content))
        self.person[which, analysis] = mask
        self.pending.add((which, analysis))

    @rule(which=WHICH, ending=st.sampled_from(sorted(IMAGES)), kept=st.integers(0, 200))
    def truncate_result(self, which, ending, kept):
        path = self.files.result(NAMES[which], ending)
        if path.exists():
            self.give_up_of(which, ending)
            content = path.read_bytes()
            path.write_bytes(content[: max(0, min(kept, len(content) - 20))])
            self.damage(path)

    @rule(which=WHICH, ending=st.sampled_from(sorted(IMAGES)))
    def remove_result(self, which, ending):
        path = self.files.result(NAMES[which], ending)
        if path.exists():
            self.give_up_of(which, ending)
            path.unlink()
            self.damage(path)

    @rule(
        which=WHICH,
        ending=st.sampled_from([*sorted(IMAGES), "desc-meningioma_lesions"]),
        content=st.sampled_from([None, "", "{", "[]", "{}"]),
    )
    def spoil_sidecar(self, which, ending, content):
        path = self.files.out / self.files.folder(NAMES[which]) / f"{NAMES[which]}_{ending}.json"
        if path.exists():
            self.spoilt.add(which)
            self.lost |= {(which, IMAGES[ending])} if ending in MAINS.values() else set()
            path.unlink()
            if content is not None:
                path.write_text(content)
            self.damage(path)

    @rule(which=WHICH, number=st.integers(0, 5), how=st.sampled_from(["remove", "edit", "cut"]))
    def spoil_figure(self, which, number, how):
        found = self.files.figures(NAMES[which])
        if found:
            self.spoilt.add(which)
            path = found[number % len(found)]
            if how == "remove":
                path.unlink()
            else:
                path.write_bytes(b"another" if how == "edit" else path.read_bytes()[:5])
            self.damage(path)

    @rule(which=WHICH)
    def edit_table(self, which):
        folder = self.files.out / self.files.folder(NAMES[which])
        path = folder / f"{NAMES[which]}_desc-meningioma_lesions.tsv"
        if path.exists():
            self.spoilt.add(which)
            path.write_text(path.read_text() + "99\n")
            self.damage(path)

    def give_up_of(self, which, ending):
        """A person's mask that the person destroys is not lost by the program."""
        self.spoilt.add(which)
        analysis = IMAGES[ending]
        path = self.files.result(NAMES[which], ending)
        if ending == MAINS[analysis] and not path.with_suffix("").exists():
            self.person.pop((which, analysis), None)
            self.pending.discard((which, analysis))

    # What the program is asked for

    @rule(name=st.sampled_from(sorted(OPTIONS)), number=st.integers(0, 2))
    def choose(self, name, number):
        values = OPTIONS[name]
        self.options[name] = values[number % len(values)]

    @rule(version=st.sampled_from([bids_brainmask.__version__, "9.9.9"]))
    def choose_version(self, version):
        self.version = version

    @rule(moved=st.sampled_from(["bids", "out", "both"]))
    def move(self, moved):
        AnyOrder.steps["moves"] += 1
        for name in ("raw", "out"):
            old = getattr(self.files, name)
            if moved in ("both", old.name):
                side = "b" if old.parent.name == "a" else "a"
                new = self.place / "run" / side / old.name
                new.parent.mkdir(exist_ok=True)
                old.rename(new)
                setattr(self.files, name, new)

    def is_linked(self):
        """Tell whether the link in the description of the results leads to the raw dataset."""
        content = json.loads((self.files.out / "dataset_description.json").read_text())
        link = content["DatasetLinks"].get("raw")
        return bool(link) and (self.files.out / link).resolve() == self.files.raw.resolve()

    def words(self, level, *more):
        chosen = [str(self.model) if "MODEL" in w else w for v in self.options.values() for w in v]
        chosen = [f"brain={w}" if w == str(self.model) else w for w in chosen]
        own = ["--executor", "serial", *chosen] if level == "participant" else []
        return [str(self.files.raw), str(self.files.out), level, *own, *more]

    def call(self, level, *more):
        AnyOrder.steps[level] += 1
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
            patch.setattr(bids_brainmask, "__version__", self.version)
            with redirect_stderr(StringIO()):
                return bids_app.main(self.words(level, *more))

    @rule()
    def participant(self):
        status = self.call("participant")
        there = [which for which, name in enumerate(NAMES) if self.files.source(name).exists()]
        expected = int(bool(self.broken & set(there))) if there else 3
        assert status == expected
        if there:
            self.taken(there)

    def taken(self, there):
        """Note which masks of a person a run has seen."""
        self.no_manual_mask_is_lost()
        for key in self.pending & self.asked(there):
            self.pending.discard(key)

    def asked(self, there):
        """Masks that a run makes: images, by number, with the analyses."""
        found = {(which, "brain") for which in set(there) - self.broken}
        if not self.options["analyses"]:
            enhanced = [which for which, _ in found if self.files.enhanced(NAMES[which])]
            found |= {(which, "meningioma") for which in enhanced}
        return found

    @rule(words=st.sampled_from(["--overwrite", "--verify", "--overwrite-manual"]))
    def participant_with(self, words):
        there = {which for which, name in enumerate(NAMES) if self.files.source(name).exists()}
        if words == "--overwrite-manual":
            for key in self.asked(there) & self.person.keys():
                self.person.pop(key)
                self.pending.discard(key)
        status = self.call("participant", words)
        assert status == (int(bool(self.broken & there)) if there else 3)
        self.taken(there)

    @rule(
        at=st.integers(1, 12),
        after=st.booleans(),
        level=st.sampled_from(["participant", "participant", "group"]),
    )
    def killed(self, at, after, level):
        """End a participant or group level at a file that it writes."""
        count, write = [0], storage._write_once

        def write_once(path, content, check):
            count[0] += 1
            if count[0] == at and not after:
                (path.parent / f".bids_brainmask-{at:032x}").write_bytes(content[:10])
                raise Killed
            modified = write(path, content, check)
            if count[0] == at:
                raise Killed
            return modified

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storage, "_write_once", write_once)
            try:
                self.call(level)
            except Killed:
                AnyOrder.steps["kills"] += 1

    @rule()
    def group(self):
        status = self.call("group")
        assert status in (0, 3)
        self.check_group()

    @rule()
    def full(self):
        """Run both levels, after which all that is shown is of what is there."""
        self.participant()
        self.group()
        self.check_all()
        with redirect_stdout(StringIO()) as said:
            brainmask.main(["status", str(self.files.out), "--format", "json"])
        found = list(standing.read(self.files.out))
        assert [standing.Standing(**each) for each in json.loads(said.getvalue())] == found

    @rule()
    def remove_orphans(self):
        self.call("participant", "--remove-orphans")
        there = [which for which, name in enumerate(NAMES) if self.files.source(name).exists()]
        self.taken(there)
        self.check_orphans()

    def check_orphans(self):
        """Of an image that left, only what is not proven to be the program's own stays."""
        for which, name in enumerate(NAMES):
            folder = self.files.out / self.files.folder(name)
            found = sorted(folder.glob(f"{name}_*"))
            if not self.files.left(name) or not found:
                continue
            records = [self.files.record(name, ending) for ending in IMAGES]
            listed = {k: v for each in records for k, v in each.get("Files", {}).items()}
            images = [path for path in found if path.suffix not in (".json", ".tsv")]
            spoilt = [path for path in images if path.name not in listed]
            files = [*found, *self.files.figures(name)]
            changed = [p for p in files if p.name in listed and sha(p) != listed[p.name]["SHA256"]]
            tables = [p for p in files if p.suffix in (".tsv", *PICTURES) and p.name not in listed]
            lost = [path for path in found if path.suffix == ".json" and not any(records)]
            by_hand = any(key[0] == which for key in self.person)
            assert by_hand or spoilt or changed or tables or lost, found

    @precondition(lambda self: not self.pending)
    @rule(which=WHICH, planes=st.integers(3, 10))
    def adopt(self, which, planes):
        path = self.files.result(NAMES[which], MAINS["brain"])
        given = self.place / "run" / path.name
        mask = np.indices(SHAPE)[2] < planes
        nb.save(nb.Nifti1Image(mask.astype(np.uint8), AFFINE), given)
        if self.tool("adopt", self.files.out, given, "--editor", "Anna") == 0:
            self.person[which, "brain"] = mask

    @rule(which=WHICH)
    def revert(self, which):
        path = self.files.result(NAMES[which], MAINS["brain"])
        if self.tool("adopt", self.files.out, "--revert", path.name) == 0:
            self.person.pop((which, "brain"), None)

    def tool(self, *words):
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return brainmask.main(list(map(str, words)))

    # What always holds

    @invariant()
    def others_are_untouched(self):
        for path, content in getattr(self, "others", {}).items():
            assert (self.files.out / path).read_text() == content

    @invariant()
    def no_manual_mask_is_lost(self):
        gone = set()
        for (which, analysis), mask in getattr(self, "person", {}).items():
            path = self.files.result(NAMES[which], MAINS[analysis])
            places = [each for each in (path, path.with_suffix("")) if each.exists()]
            found = []
            for each in places:  # one may have been truncated before the other was saved
                with suppress(ImageError):
                    found.append(image.read_mask(each))
            if any(np.array_equal(each, mask) for each in found):
                continue
            assert (which, analysis) in self.lost, "a mask that its sidecar knows is lost"
            copies = (self.files.out / "logs").glob(f"*/{NAMES[which]}_*.nii.gz")
            assert any(np.array_equal(image.read_mask(each), mask) for each in copies)
            gone.add((which, analysis))
            AnyOrder.steps["copies"] += 1
        for key in gone:  # as nothing says that they are a person's
            self.person.pop(key)
            self.pending.discard(key)

    @invariant()
    def the_status_is_right(self):
        if not getattr(self, "person", None) and not hasattr(self, "files"):
            return
        AnyOrder.steps["steps"] += 1
        if not self.is_linked():
            return  # the raw dataset is not found: it moved, or its path would tell of folders
        found = {each.path: each.state for each in standing.read(self.files.out)}
        images = {p: s for p, s in found.items() if not p.endswith("_T1w.nii.gz") or "desc-" in p}
        assert images == self.files.reckon()
        for path in found.keys() - images.keys():
            name = path.split("/")[-1].removesuffix("_T1w.nii.gz")
            assert found[path] == ("orphaned" if self.files.left(name) else "failed")

    def rows(self, table):
        path = self.files.out / f"group_desc-{table}.tsv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def check_group(self):
        """Every number of the tables is of the mask that is there, and of its image."""
        for analysis, table, column in (
            ("brain", "brain_qc", "volume_ml"),
            ("meningioma", "meningioma_qc", "volume_ml"),
        ):
            for row in self.rows(table):
                path = self.files.out / row["image"]
                name = path.name.removesuffix(f"_{MAINS[analysis]}.nii.gz")
                assert not self.files.left(name)
                record = self.files.record(name, MAINS[analysis])
                if self.files.source(name).exists():
                    assert record["SourceFile"]["SHA256"] == sha(self.files.source(name))
                    assert record["ContrastEnhanced"] == self.files.enhanced(name)
                assert not path.with_suffix("").exists()
                if path.exists():
                    volume = image.read_mask(path).sum() * VOXEL_ML
                    assert float(row[column]) == pytest.approx(volume, abs=2e-3)

    def check_all(self):
        """After both levels, each healthy image is in the tables, and each file is current."""
        there = [which for which, name in enumerate(NAMES) if self.files.source(name).exists()]
        healthy = [NAMES[which] for which in there if which not in self.broken]
        rows = {row["image"].split("/")[-1] for row in self.rows("brain_qc")}
        assert rows == {f"{name}_{MAINS['brain']}.nii.gz" for name in healthy}
        states = self.files.reckon()
        for which in there:
            name = NAMES[which]
            if name not in healthy:
                continue
            wanted = self.wanted(which)
            kept = which in self.spoilt or (which, "meningioma") in self.person
            for path, state in states.items():
                file = path.split("/")[-1]
                ending = file.removeprefix(f"{name}_").split(".")[0]
                if file.startswith(f"{name}_") and (ending in wanted or not kept):
                    assert state in ("current", "manual"), (path, state)
            manual = self.files.record(name, MAINS["brain"])["Manual"]
            assert manual is ((which, "brain") in self.person)
            self.check_image(which, name)

    def wanted(self, which):
        """Endings of the image files that the last run was asked for."""
        asked = {analysis for number, analysis in self.asked([which]) if number == which}
        words = self.options["outputs"] or ("mask", "brain")
        found = {"desc-brain_mask"}
        found |= {"desc-brain_T1w"} if "brain" in words else set()
        found |= {"label-brain_probseg"} if "probseg" in words else set()
        if "meningioma" in asked:
            found |= {MAINS["meningioma"], "desc-meningioma_dseg", "desc-brainandtumor_mask"}
        return found

    def check_image(self, which, name):
        mask = image.read_mask(self.files.result(name, MAINS["brain"]))
        assert self.files.record(name, MAINS["brain"])["VoxelsSHA256"] == masks.digest(mask)
        if (which, "brain") in self.person:
            np.testing.assert_array_equal(mask, self.person[which, "brain"])
        else:
            parameters = self.files.record(name, MAINS["brain"])["Parameters"]
            key = sha(self.files.source(name)), json.dumps(parameters, sort_keys=True)
            assert self.expected.setdefault(key, masks.digest(mask)) == masks.digest(mask)
        brain = self.files.result(name, "desc-brain_T1w")
        source = np.asanyarray(nb.load(self.files.source(name)).dataobj)
        if "desc-brain_T1w" in self.wanted(which):
            shown = np.asanyarray(nb.load(brain).dataobj)
            np.testing.assert_array_equal(shown, np.where(mask, source, 0))
        for path in self.files.figures(name) if self.options["reports"] == () else ():
            shown = json.loads(path.read_bytes())
            assert shown[:3] == [name, masks.digest(source > 50), masks.digest(mask)]


def remembering(layout):
    """An index whose answers are kept: it never changes, and each answer takes pybids a while."""
    ask, known = layout.get, {}

    def get(kind, **query):
        key = kind, repr(sorted(query.items()))
        if key not in known:
            known[key] = tuple(ask(kind, **query))
        return known[key]

    layout.get = get
    return layout


@pytest.fixture(scope="module")
def _light(tmp_path_factory):
    """Let networks, figures, the disk and the index of an unchanged dataset take no time."""
    seen = {}

    def layout(given, labels):
        names = tuple(sorted(str(path) for path in given.bids_dir.rglob("*")))
        key = (names, tuple(labels), given.participant_label)
        if key not in seen:
            if len(seen) > 200:
                seen.clear()
            seen[key] = remembering(index(given, labels))
            AnyOrder.steps["indexes"] += 1
        return seen[key]

    index = query._layout
    AnyOrder.place = tmp_path_factory.mktemp("order")
    AnyOrder.model = AnyOrder.place / "mine.npz"
    weights = Path(bids_brainmask.__file__).parent / "data/weights"
    shutil.copy(sorted(weights.glob("embedded*.npz"))[0], AnyOrder.model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale.backends, "load", scale.backends.load)
        scale.dask_setup(None)
        patch.setattr(query, "_layout", layout)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(group_page, "read", cache(group_page.read))
        patch.setattr(templates, "packaged", cache(templates.packaged))
        patch.setattr(catalog, "FIGURES", tuple(map(draw, catalog.FIGURES)))
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_light")
@pytest.mark.parametrize("number", SEEDS)
def test_nothing_is_lost_and_nothing_stale_is_shown_in_any_order(number):
    AnyOrder.steps.clear()
    run_state_machine_as_test(
        seed(number)(AnyOrder),
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=int(os.environ.get("STEPS", "20")),
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    if "SEED" in os.environ or "SAY" in os.environ:
        print(dict(AnyOrder.steps))  # noqa: T201 - asked for by hand


def edit(which, planes=5, analysis="brain", *, plain=False):
    """Give the arguments of an edit."""
    words = {"which": which, "analysis": analysis, "planes": planes, "plain": plain}
    return "edit_mask", words | {"dtype": np.uint8}


def lose(which, ending):
    """Give the arguments of the loss of a sidecar."""
    return "spoil_sidecar", {"which": which, "ending": ending, "content": None}


ORDERS = {  # in which a fault was found, or which a change of the rules has made one of
    "a manual mask without any sidecar": [
        edit(0),
        "participant",
        lose(0, "desc-brain_mask"),
        lose(0, "desc-brainauto_mask"),
    ],
    "an adopted mask without any sidecar": [
        ("adopt", {"which": 2, "planes": 4}),
        lose(2, "desc-brain_mask"),
        lose(2, "desc-brainauto_mask"),
    ],
    "an edited mask that no run has seen": [edit(2), lose(2, "desc-brain_mask")],
    "an edited tumor mask that no run has seen": [
        edit(0, analysis="meningioma"),
        lose(0, MAINS["meningioma"]),
        ("killed", {"at": 4, "after": True, "level": "participant"}),
    ],
    "the program's own mask, beside what a person's left": [
        edit(2),
        "participant",
        lose(2, "desc-brainauto_mask"),
        ("participant_with", {"words": "--overwrite-manual"}),
        lose(2, "desc-brain_mask"),
    ],
    "two corrections, one beside the mask": [
        edit(2),
        "participant",
        edit(2, 7, plain=True),
        ("move", {"moved": "both"}),
        lose(2, "desc-brain_mask"),
    ],
    "tumors of another image and of another brain": [
        ("choose", {"name": "analyses", "number": 2}),
        ("replace_image", {"which": 0, "number": 2}),
        "participant",
        ("choose", {"name": "analyses", "number": 0}),
        ("choose", {"name": "threshold", "number": 1}),
        edit(0),
    ],
    "an edit, a figure less, an output more": [
        ("choose", {"name": "reports", "number": 2}),
        "participant",
        edit(0),
        ("spoil_figure", {"which": 0, "number": 0, "how": "remove"}),
        ("choose", {"name": "outputs", "number": 2}),
    ],
    "contrast that comes and goes": [
        ("change_contrast", {"gone": False}),
        "full",
        ("change_contrast", {"gone": True}),
        "participant",
        ("remove_image", {"which": 1}),
        "full",
        "restore_images",
    ],
    "who left, with a mask of a person": [
        edit(2),
        "participant",
        ("remove_image", {"which": 2}),
        "remove_orphans",
        "group",
        "restore_images",
    ],
}


@pytest.mark.slow
@pytest.mark.usefixtures("_light")
@pytest.mark.parametrize("name", ORDERS)
def test_orders_in_which_something_was_wrong(name):
    """What always holds is looked at after each step, as in the random runs."""
    machine = AnyOrder()
    try:
        machine.start()
        for step in [*ORDERS[name], "full"]:
            rule_name, words = (step, {}) if isinstance(step, str) else step
            getattr(machine, rule_name)(**words)
            machine.others_are_untouched()
            machine.no_manual_mask_is_lost()
            machine.the_status_is_right()
    finally:
        machine.teardown()
