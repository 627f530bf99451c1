# SPDX-License-Identifier: Apache-2.0
"""The Python API, with networks that are arithmetic: bright is brain, and brightest is tumor."""

import ast
import inspect
import json
import linecache
import math
import pickle
import re
import typing
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import joblib
import nibabel as nb
import numpy as np
import pytest
from conftest import ROOT, head_phantom
from test_image import VARIANTS, variant

import bids_brainmask
from bids_brainmask import api, machine
from bids_brainmask.api.extractors import BrainOptions, NetworkOptions
from bids_brainmask.cli import brainmask
from bids_brainmask.errors import ImageError, ModelError, OutputError, UsageError
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import inference

BALL_ML = 4 / 3 * math.pi * 6**3
"""Volume of the phantom's brain, mL."""

TUMORS = {(30.0, 25.0, 20.0): 14.0, (-32.0, -32.0, 20.0): 9.0}
"""Middles of two tumors in the world, and their radii, mm; each is 2 mm from the skull."""


LEVELS = {"brain": 0.48, "meningioma": 1.45}
"""Scaled robustly, the phantom's brain is at 1, and at 0.69 at the second look; scalp at 0.4, and
then at 0.28; tumors, which are looked for once, at 1.9."""


def comparison(model, *_):
    level = LEVELS[model.task]
    return backends.Network(lambda x: (x > level).astype(np.float32), "arithmetic 1", 16)


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Arguments of each network that is loaded; the networks are comparisons."""
    seen = []

    def load(model, *args):
        seen.append((model.name, *args))
        return comparison(model)

    monkeypatch.setattr(backends, "load", load)
    return seen


@pytest.fixture(scope="module")
def head():
    """The phantom of two balls, in voxels of 4 mm."""
    return head_phantom((46, 48, 44), (4.0,) * 3)


@pytest.fixture(scope="module")
def with_tumors():
    """The phantom with two brighter balls in it."""
    picture = head_phantom((90, 92, 88), (2.0,) * 3)
    data = np.asanyarray(picture.dataobj).copy()
    world = nb.affines.apply_affine(picture.affine, np.indices(data.shape).T).T
    for middle, radius in TUMORS.items():
        distance = np.linalg.norm(world.T - middle, axis=-1).T
        data[distance < radius] = 190
    return nb.Nifti1Image(data, picture.affine, picture.header)


@pytest.fixture(scope="module")
def brain(head):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "load", comparison)
        return bids_brainmask.extract(head)


def array(picture):
    return np.asanyarray(picture.dataobj)


def save(picture, path):
    """Save a copy: nibabel has an image remember the place that it was saved to last."""
    nb.save(nb.Nifti1Image(array(picture), picture.affine, picture.header), path)


class TestExtract:
    def test_the_brain_is_the_bright_ball(self, head, brain):
        found = array(brain.mask).astype(bool)
        assert brain.mask.get_data_dtype() == np.uint8
        assert found.shape == head.shape
        assert bids_brainmask.evaluate(brain.mask, ball(head)).dice > 0.98
        assert brain.volume_ml == pytest.approx(BALL_ML, rel=0.03)
        assert brain.volume_ml == pytest.approx(found.sum() * 4**3 / 1000)
        np.testing.assert_array_equal(array(brain.brain), np.where(found, array(head), 0))
        probability = array(brain.probability)
        assert probability.dtype == np.float32
        assert 0 <= probability.min() < probability.max() <= 1
        assert (probability[found] >= 0.5).all()

    def test_numbers_of_quality_are_those_of_the_sidecar(self, brain):
        assert brain.quality["volume_ml"] == pytest.approx(brain.volume_ml, abs=1e-3)
        assert brain.quality["predicted_dice"] == pytest.approx(brain.predicted_dice, abs=1e-4)
        assert 0 <= brain.predicted_dice <= 1
        assert brain.stripped is False
        assert "shape too round" in brain.warning  # it is a ball
        assert ("predicted Dice" in brain.warning) is (brain.predicted_dice < 0.9)

    def test_a_doubtful_mask_is_warned_of(self, head):
        extractor = bids_brainmask.Extractor()
        extractor.model = replace(extractor.model, confidence=[-1.5, 0, 0, 0, 0])
        brain = extractor(head)
        assert brain.warning.startswith("doubtful, predicted Dice 0.78, ")
        assert brain.warning.endswith(": check the mask")
        assert brain.warning in brain.remarks

    def test_a_model_without_a_calibration_predicts_nothing(self, head):
        extractor = bids_brainmask.Extractor()
        extractor.model = replace(extractor.model, confidence=[])
        brain = extractor(head)
        assert brain.predicted_dice is None
        assert "Dice" not in repr(brain)

    def test_a_stripped_head_is_kept_whole(self, head):
        data = np.where(array(head) == 100, array(head), 0)
        brain = bids_brainmask.extract(nb.Nifti1Image(data, head.affine, head.header))
        assert brain.stripped
        np.testing.assert_array_equal(array(brain.mask), data == 100)
        assert "already skull-stripped" in brain.remarks

    def test_images_are_made_once(self, brain):
        for name in ("mask", "brain", "probability"):
            assert getattr(brain, name) is getattr(brain, name)

    def test_images_go_through_pickle(self, brain):
        for picture in (brain.mask, brain.brain, brain.probability):
            copy = pickle.loads(pickle.dumps(picture))
            np.testing.assert_array_equal(array(copy), array(picture))
            np.testing.assert_array_equal(copy.affine, picture.affine)

    def test_repr_says_what_was_found(self, head, brain, tmp_path):
        assert repr(brain).startswith("<Brain of the image in memory: 9")
        assert f"predicted Dice {brain.predicted_dice:.2f}>" in repr(brain)
        path = tmp_path / "t1.nii"
        save(head, path)
        assert repr(bids_brainmask.extract(path)).startswith(f"<Brain of {path}: ")

    def test_a_nilearn_masker_takes_the_mask(self, head, brain):
        from nilearn.maskers import NiftiMasker

        masker = NiftiMasker(mask_img=brain.mask, standardize=None).fit()
        found = masker.transform(head)
        assert found.size == array(brain.mask).sum()
        assert np.median(found) == 100


def ball(head):
    return nb.Nifti1Image((array(head) == 100).astype(np.uint8), head.affine)


@pytest.mark.slow
@pytest.mark.parametrize("kind", VARIANTS)
def test_path_text_and_memory_give_the_same_bytes(kind, tmp_path):
    path = tmp_path / "t1.nii.gz"
    nb.save(variant(head_phantom(), **VARIANTS[kind]), path)
    extractor = bids_brainmask.Extractor()
    written = []
    for number, given in enumerate((path, str(path), nb.load(path))):
        brain = extractor(given)
        names = {name: tmp_path / f"{number}/{name}.nii" for name in ("mask", "brain")}
        names["probability"] = tmp_path / f"{number}/p.nii.gz"
        assert brain.save(**names) == list(names.values())
        written.append([place.read_bytes() for place in names.values()])
        # What nibabel holds and saves is what is written, but for scaled integers.
        assert brain.mask.to_bytes() == written[-1][0]
        np.testing.assert_array_equal(brain.brain.get_fdata(), nb.load(names["brain"]).get_fdata())
        brain.mask.to_filename(tmp_path / "again.nii")
        assert (tmp_path / "again.nii").read_bytes() == written[-1][0]
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SRA", "IAL"])
def test_any_orientation_and_the_header_of_the_input(codes, head):
    turn = nb.orientations.ornt_transform(
        nb.io_orientation(head.affine), nb.orientations.axcodes2ornt(codes)
    )
    turned = head.as_reoriented(turn)
    turned.set_qform(turned.affine, 3)
    turned.set_sform(turned.affine, 4)
    turned.header.set_xyzt_units("mm", "sec")
    brain = bids_brainmask.extract(turned)
    assert bids_brainmask.evaluate(brain.mask, ball(turned)).dice > 0.97
    for made in (brain.mask, brain.brain, brain.probability):
        np.testing.assert_allclose(made.affine, turned.affine)
        assert made.shape == turned.shape
        assert (made.header["qform_code"], made.header["sform_code"]) == (3, 4)
        assert made.header.get_xyzt_units() == ("mm", "sec")


class TestSave:
    def test_nothing_and_wrong_names_are_refused_before_anything_is_written(self, head, tmp_path):
        path = tmp_path / "t1.nii"
        save(head, path)
        brain = bids_brainmask.extract(path)
        with pytest.raises(UsageError, match="nothing to write"):
            brain.save()
        with pytest.raises(UsageError, match=r"expected a name that ends in .nii or .nii.gz"):
            brain.save(tmp_path / "mask.nii", brain=tmp_path / "brain.mgz")
        with pytest.raises(UsageError, match="is the input, which is never overwritten"):
            brain.save(mask=str(path))
        assert list(tmp_path.iterdir()) == [path]

    def test_a_place_that_cannot_be_written_is_told_of(self, brain, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            brain.save(tmp_path / "file/mask.nii")


class TestExtractor:
    def test_the_network_is_loaded_once(self, head, loaded):
        extractor = bids_brainmask.Extractor("embedded", threads=4, engine="tensorflow")
        assert extractor(head).volume_ml == extractor(head).volume_ml
        assert loaded == [("embedded", "tensorflow", 4, "auto")]
        assert extractor.engine == "arithmetic 1"
        assert (
            repr(extractor) == f"<Extractor: embedded {extractor.model.version} on arithmetic 1>"
        )

    def test_threads_are_what_the_process_may_use(self, monkeypatch, loaded):
        monkeypatch.setattr(machine, "cpus", lambda: 7)
        bids_brainmask.Extractor(precision="bfloat16")
        assert loaded == [("embedded", "auto", 7, "bfloat16")]

    def test_options_reach_the_inference(self, head, monkeypatch):
        seen = []
        real = api.extractors.extract_brain
        monkeypatch.setattr(
            api.extractors,
            "extract_brain",
            lambda *args, **more: seen.append((args[3:], more)) or real(*args, **more),
        )
        bids_brainmask.extract(head, threshold=0.4, border=2, overlap=True, flips=True)
        options = inference.Options(overlap=True, flips=True)
        assert seen == [((0.4, options), {"border": 2, "expected_ml": (600, 2200)})]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"threshold": 0}, "threshold 0: expected a number between 0 and 1"),
            ({"threshold": 1.5}, r"threshold 1.5: expected a number between 0 and 1"),
            ({"threads": 0}, "threads 0: expected 1 or more"),
            ({"engine": "torch"}, "engine 'torch': expected one of auto, openvino, tensorflow"),
            ({"precision": "int4"}, "precision 'int4': expected one of auto, float32"),
            ({"model": "ams"}, "ams: a model for meningioma; expected one for brain"),
        ],
    )
    def test_options_out_of_range_are_refused(self, options, words, head, loaded):
        for use in (bids_brainmask.Extractor, lambda **o: bids_brainmask.extract(head, **o)):
            with pytest.raises(UsageError, match=words):
                use(**options)
        assert not loaded

    def test_what_users_of_a_model_must_know_is_logged(self, monkeypatch, caplog):
        model = replace(registry.models()["embedded"], notice="not for children")
        monkeypatch.setattr(registry, "resolve", lambda *_, **__: model)
        bids_brainmask.Extractor()
        assert [record.message for record in caplog.records] == ["embedded: not for children"]

    def test_a_model_that_there_is_not(self):
        with pytest.raises(ModelError, match="unknown model 'x'"):
            bids_brainmask.Extractor("x")

    def test_a_model_without_a_hash_is_refused_unless_allowed(self, tmp_path):
        table = ROOT / "bids_brainmask/data/models.toml"
        text = table.read_text(encoding="utf-8").partition("[embedded]")[2].partition("\n[")[0]
        text = re.sub(r"\n(sha256|size) = .*", "", text)
        (tmp_path / "model.toml").write_text(f"[mine]{text}")
        (tmp_path / "model.keras").write_bytes(b"a network")
        with pytest.raises(ModelError, match="found no sha256"):
            bids_brainmask.Extractor(tmp_path)
        extractor = bids_brainmask.Extractor(tmp_path, allow_unverified=True)
        assert extractor.model.notice == registry.UNVERIFIED

    def test_the_options_that_are_handed_on_are_all(self):
        for kind, options in (
            (bids_brainmask.Extractor, BrainOptions),
            (bids_brainmask.MeningiomaFinder, NetworkOptions),
        ):
            known = inspect.signature(kind).parameters
            hints = typing.get_type_hints(kind.__init__)
            assert {name: hints[name] for name in known} == typing.get_type_hints(options)


FAULTS = {
    "frames": (lambda x: np.stack([x, x], -1), "expected a 3D image, found shape"),
    "nothing": (np.zeros_like, "every voxel is 0; expected intensities"),
    "no head": (lambda x: -x, "no brain was found: the highest probability is 0.00"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_are_those_of_the_command_line(fault, head, tmp_path, capsys, monkeypatch):
    change, words = FAULTS[fault]
    if fault == "no head":
        dark = backends.Network(np.zeros_like, "arithmetic 1", 16)
        monkeypatch.setattr(backends, "load", lambda *_: dark)
    given, path = nb.Nifti1Image(change(array(head)), head.affine), tmp_path / "t1.nii"
    save(given, path)
    with pytest.raises(ImageError, match=words) as of_memory:
        bids_brainmask.extract(given)
    with pytest.raises(ImageError, match=words) as of_path:
        bids_brainmask.extract(str(path))
    assert brainmask.main(["extract", str(path), "-m", str(tmp_path / "mask.nii")]) == 1
    assert capsys.readouterr().err == f"brainmask: error: {of_path.value}\n"
    assert str(of_memory.value) == str(of_path.value).replace(str(path), "the image in memory")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("absent.nii", r"absent.nii: no such file"),
        ("t1.mgz", r"t1.mgz: expected a NIfTI image"),
        (np.zeros((60, 60, 60)), "expected a path or a nibabel image, found ndarray"),
    ],
)
def test_what_is_no_image(given, words):
    for use in (
        bids_brainmask.extract,
        bids_brainmask.find_meningiomas,
        lambda x: bids_brainmask.evaluate(x, x),
    ):
        with pytest.raises(ImageError, match=words):
            use(given)


class TestFindMeningiomas:
    def test_two_tumors_are_rows(self, with_tumors):
        brain = bids_brainmask.extract(with_tumors)
        found = bids_brainmask.find_meningiomas(with_tumors, brain=brain)
        truth = nb.Nifti1Image((array(with_tumors) == 190).astype(np.uint8), with_tumors.affine)
        assert bids_brainmask.evaluate(found.mask, truth).dice > 0.95
        assert found.mask.shape == found.probability.shape == with_tumors.shape
        for row, (middle, radius) in zip(found.lesions, TUMORS.items(), strict=True):
            assert row.volume_ml == pytest.approx(4 / 3 * math.pi * (radius / 10) ** 3, rel=0.06)
            np.testing.assert_allclose(row.centroid_mm, middle, atol=0.5)
            assert row.share_in_brain == 1
        assert found.volume_ml == sum(row.volume_ml for row in found.lesions)
        assert found.warning == ""
        assert repr(found) == f"<Meningiomas of the image in memory: {found._found.summary}>"

    def test_the_brain_is_extracted_where_it_is_needed(self, with_tumors, loaded):
        finder = bids_brainmask.MeningiomaFinder(threads=3)
        alone = [finder(with_tumors) for _ in range(2)]
        assert [names[:1] + names[2:3] for names in loaded] == [
            ("embedded-meningioma", 3),
            ("embedded", 3),
        ]
        given = finder(with_tumors, bids_brainmask.extract(with_tumors))
        assert alone[0].lesions == alone[1].lesions == given.lesions
        assert alone[0].mask.to_bytes() == given.mask.to_bytes()

    def test_without_a_brain_the_place_is_not_told(self, with_tumors, loaded):
        found = bids_brainmask.find_meningiomas(with_tumors, model="ams", threshold=0.5)
        assert [names[0] for names in loaded] == ["ams"]
        assert {row.share_in_brain for row in found.lesions} == {None}

    def test_none_is_an_answer(self, head):
        found = bids_brainmask.find_meningiomas(head)
        assert found.lesions == ()
        assert found.volume_ml == 0
        assert not array(found.mask).any()
        assert "no candidate lesion" in repr(found)

    def test_a_stripped_head_is_warned_of(self, head):
        stripped = nb.Nifti1Image(np.where(array(head) == 100, array(head), 0), head.affine)
        found = bids_brainmask.find_meningiomas(stripped)
        assert "already skull-stripped" in found.warning

    def test_the_brain_of_another_image_is_refused(self, head, with_tumors):
        brain = bids_brainmask.extract(head)
        with pytest.raises(ImageError, match=r"the brain of the image in memory .* one grid"):
            bids_brainmask.find_meningiomas(with_tumors, brain)

    def test_a_model_for_brains_is_refused(self, head):
        with pytest.raises(UsageError, match="embedded: a model for brain; expected one for men"):
            bids_brainmask.find_meningiomas(head, model="embedded")


class TestEvaluate:
    @pytest.fixture
    def masks(self, head):
        truth = ball(head)
        moved = nb.Nifti1Image(np.roll(array(truth), 1, 0), head.affine)
        return moved, truth

    def test_the_numbers_are_those_of_the_command(self, masks, tmp_path):
        places = [tmp_path / "found.nii.gz", tmp_path / "wanted.nii"]
        for mask, place in zip(masks, places, strict=True):
            save(mask, place)
        out = tmp_path / "out.json"
        assert brainmask.main(["evaluate", *map(str, places), "--json", str(out)]) == 0
        (row,) = json.loads(out.read_text())["Scans"]
        found = bids_brainmask.evaluate(*masks)
        assert {key: row[key] for key in asdict(found)} == asdict(found)
        assert bids_brainmask.evaluate(str(places[0]), masks[1]) == found
        assert {type(value) for value in asdict(found).values()} == {float}
        assert 0.9 < found.dice < 1
        assert found.volume_error_ml == 0

    def test_labels(self, masks):
        found, truth = (
            nb.Nifti1Image(array(mask) * np.uint8(value), mask.affine)
            for mask, value in zip(masks, (3, 3), strict=True)
        )
        assert bids_brainmask.evaluate(found, truth, labels=[3]) == bids_brainmask.evaluate(*masks)
        assert bids_brainmask.evaluate(found, truth, labels=[1]).dice == 1  # both are empty

    def test_other_grids_and_fractions_are_refused(self, masks, head):
        moved = head.affine.copy()
        moved[0, 3] += 1
        with pytest.raises(ImageError, match=r"the image in memory .* are not on one grid"):
            bids_brainmask.evaluate(masks[0], nb.Nifti1Image(array(masks[1]), moved))
        halves = nb.Nifti1Image(array(masks[0]) * np.float32(0.5), head.affine)
        with pytest.raises(ImageError, match="expected whole numbers as labels"):
            bids_brainmask.evaluate(halves, masks[1])


class TestDocs:
    """The blocks of docs/python.md, one after the other, in a folder with what they name."""

    BLOCKS = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL
    )

    @pytest.fixture
    def folder(self, head, with_tumors, tmp_path, monkeypatch):
        (tmp_path / "scans").mkdir()
        for name in ("T1w", "scans/sub-01_T1w", "scans/sub-02_T1w"):
            save(head, tmp_path / f"{name}.nii.gz")
        (tmp_path / "scans/sub-03_T1w.nii.gz").touch()
        save(with_tumors, tmp_path / "ce-gadolinium_T1w.nii.gz")
        save(ball(head), tmp_path / "reference.nii.gz")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_the_blocks_do_what_they_say(self, folder, capsys):
        told, names = {}, {}
        with joblib.parallel_config(backend="sequential"):
            for number, block in enumerate(self.BLOCKS):
                if "nipype" in block and not find_spec("nipype"):
                    continue
                if "Parallel" in block:
                    (folder / "scans/sub-03_T1w.nii.gz").unlink()
                place = f"docs/python.md, block {number}"
                lines = block.splitlines(keepends=True)
                linecache.cache[place] = (len(block), None, lines, place)  # for nipype
                exec(compile(block, place, "exec"), names)  # as a reader would
                told[block] = capsys.readouterr().out
        first, loop, _, tumors, compared, *_ = told.values()
        assert first.startswith(f"{names['brain'].volume_ml:.0f} mL, predicted Dice ")
        assert "sub-03_T1w.nii.gz: the file is empty" in loop
        assert list(names["volumes"]) == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]
        assert {path.name for path in (folder / "masks").iterdir()} == set(names["volumes"])
        assert names["parts"] == [[volume] for volume in names["volumes"].values()] + [[], []]
        assert [line[:3] for line in tumors.splitlines()] == ["1: ", "2: "]
        assert re.fullmatch(r"Dice [01]\.\d{3}, [+-]\d+\.\d mL, HD95 \d\.\d mm\n", compared)
        assert names["intensities"].size == array(names["brain"].mask).sum()
        *paths, volume = names["extract_brain"]("T1w.nii.gz", threads=1)
        assert [nb.load(path).shape for path in paths] == [names["head"].shape] * 2
        assert volume == names["brain"].volume_ml
        if "result" in names:
            assert names["result"].outputs.volume_ml == volume

    def test_every_public_member_is_there(self):
        words = (ROOT / "docs/python.md").read_text(encoding="utf-8")
        for kind in (api.Brain, api.Meningiomas):
            for name in (name for name in vars(kind) if name[0] != "_"):
                assert re.search(rf"`(brain\.)?{name}\b", words), name
        for name in set(bids_brainmask.__all__) - {
            *("Agreement", "Lesion", "LesionAgreement", "Meningiomas")
        }:
            assert name == "__version__" or re.search(rf"\b{name}\b", words), name
        for name in typing.get_type_hints(BrainOptions):
            assert f"`{name}`" in words, name


class TestNames:
    def test_every_public_name_is_there_documented_and_annotated(self):
        assert set(bids_brainmask.__all__) <= set(dir(bids_brainmask))
        for name in set(bids_brainmask.__all__) - {"__version__"}:
            thing = getattr(bids_brainmask, name)
            assert thing is getattr(api, name)
            assert inspect.getdoc(thing)
            if inspect.isfunction(thing):
                hints = typing.get_type_hints(thing)
                assert set(hints) == {*inspect.signature(thing).parameters, "return"}
                assert "Examples" in inspect.getdoc(thing)

    def test_type_checkers_see_the_names(self):
        tree = ast.parse(Path(bids_brainmask.__file__).read_text(encoding="utf-8"))
        (block,) = (node for node in tree.body if isinstance(node, ast.If))
        assert ast.unparse(block.test) == "TYPE_CHECKING"
        names = [alias.name for alias in block.body[0].names]
        assert sorted([*names, "__version__"]) == bids_brainmask.__all__

    def test_other_names_are_refused(self):
        with pytest.raises(AttributeError, match="has no attribute 'Extracter'"):
            bids_brainmask.Extracter  # noqa: B018  # codespell:ignore

    def test_errors_and_types_are_marked_for_checkers(self):
        assert (Path(bids_brainmask.__file__).parent / "py.typed").is_file()
