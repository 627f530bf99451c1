# SPDX-License-Identifier: Apache-2.0
"""Configurations of trainings: what they may say, and what is told of those that may not."""

import pytest
import yaml

from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry
from bids_brainmask.models.unet import COMPACT, SEED
from bids_brainmask.train import config

PLAIN = {
    "name": "test",
    "data": {"bids_dir": "bids", "labels": "labels"},
    "stages": [{"epochs": 1, "rate": [0.001, 0.0]}],
}


def written(tmp_path, **changes):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(PLAIN | changes))
    return path


def test_a_plain_configuration_has_defaults(tmp_path):
    found = config.read(written(tmp_path))
    assert found.stages[0].window == (128, 128, 128)
    assert config.network_of(found) == COMPACT


@pytest.mark.parametrize("name", ["brain", "meningioma", "meningioma-label-maps", "seed"])
def test_recipes_of_the_package_can_be_read(name):
    found = config.read(name, bids_dir="/heads")
    assert found.data.bids_dir == "/heads"
    assert found.data.labels
    assert name in config.recipes()


def test_the_seed_recipe_is_as_published():
    found = config.read("seed")
    assert config.network_of(found) == SEED
    (stage,) = found.stages
    assert (stage.epochs, stage.batch, stage.window) == (5, 2, (128, 128, 128))
    assert stage.windows == "blocks"
    assert stage.variants == {"rigid": 0.5}
    rigid = found.variants["rigid"].geometry
    assert rigid.turn > 0
    assert rigid.shift > 0
    assert not any((rigid.scale, rigid.stretch, rigid.shear, rigid.bend, rigid.flip))
    assert (found.loss, found.intensities, found.grid) == ("jaccard", "zscore", "fsconform")
    assert (found.data.interpolation, found.threshold) == ("nearest", 0.3)


def test_the_meningioma_recipe_learns_what_it_grows():
    """In most windows, and in none of those of heads without tumour."""
    found = config.read("meningioma")
    assert (found.task, found.target, found.start) == ("meningioma", "lesion", "embedded")
    assert config.network_of(found) == COMPACT
    ours = registry.resolve("embedded-meningioma")
    for name in ("height", "threshold", "near_brain", "peak", "flips"):
        assert getattr(found, name) == getattr(ours, name)
    assert found.data.validation == 0
    grows = {name: "meningiomas" in variant.steps for name, variant in found.variants.items()}
    assert 0 < sum(grows.values()) < len(grows)
    for stage in found.stages:
        assert sum(stage.variants[name] for name in grows if grows[name]) > 0.5
        assert sum(stage.variants.values()) == pytest.approx(1)
        assert 0 < stage.near < 1


def test_the_height_is_that_of_the_embedded_network_or_as_given(tmp_path):
    assert config.read("brain").height == registry.resolve("embedded").height
    assert config.read(written(tmp_path)).height == 0
    assert config.read(written(tmp_path, height=96)).height == 96
    with pytest.raises(UsageError, match="'height' is 100, expected a multiple of 32, or 0"):
        config.read(written(tmp_path, height=100))


def test_target_and_near_are_read_and_off_if_not_given(tmp_path):
    plain = config.read(written(tmp_path))
    assert (plain.target, plain.stages[0].near) == ("label", 0)
    for near in (0, 0.25, 1):
        data = PLAIN["data"] | {"validation": 0}
        stages = [STAGE | {"near": near}]
        found = config.read(written(tmp_path, target="lesion", data=data, stages=stages))
        assert (found.target, found.stages[0].near) == ("lesion", near)


def test_an_architecture_by_its_filters(tmp_path):
    filters = {"encoder": [[4], [8]], "up": [4], "decoder": [[4]], "stem": 8}
    found = config.network_of(config.read(written(tmp_path, architecture=filters)))
    assert (found.encoder, found.divisor) == (((4,), (8,)), 4)


@pytest.mark.parametrize(
    "filters", [{"encoder": [[4], [8]], "up": [], "decoder": [[4]]}, {"encoder": 3}]
)
def test_filters_that_make_no_network_are_an_error(tmp_path, filters):
    asked = config.read(written(tmp_path, architecture=filters))
    with pytest.raises(UsageError, match="architecture:"):
        config.network_of(asked)


STAGE = {"epochs": 1, "rate": [0.001, 0.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"los": "dice"}, "unknown field `los`"),
        ({"loss": "hinge"}, "Invalid enum value 'hinge' - at `\\$.loss`"),
        ({"target": "tumour"}, "Invalid enum value 'tumour' - at `\\$.target`"),
        ({"stages": [STAGE | {"batch": 4, "looks": 3}]}, r"looks: 3 does not divide batch: 4"),
        ({"stages": [STAGE | {"near": 1.5}]}, r"<= 1.0 - at `\$.stages\[0\].near`"),
        ({"stages": [STAGE | {"near": -0.1}]}, r">= 0.0 - at `\$.stages\[0\].near`"),
        ({"threshold": 1.5}, r"`float` < 1.0 - at `\$.threshold`"),
        ({"stages": []}, r"length >= 1 - at `\$.stages`"),
        ({"stages": [STAGE | {"epochs": 0}]}, r">= 1 - at `\$.stages\[0\].epochs`"),
        ({"stages": [STAGE | {"rate": [0, 0]}]}, "rate: .*expected a start above 0"),
        ({"stages": [STAGE | {"window": [1, 2]}]}, "at `\\$.stages\\[0\\].window`"),
        ({"stages": [STAGE | {"variants": {"x": 1}}]}, r"stages\[0\]: unknown variants \['x'\]"),
        (
            {"variants": {"x": {}}, "stages": [STAGE | {"variants": {"x": 0.6, "y": 0.6}}]},
            "sum to more than 1",
        ),
        ({"stages": [STAGE | {"windows": "blocks"}]}, "blocks needs grid: fsconform"),
        ({"variants": {"x": {"steps": {"melt": 1}}}}, r"unknown steps \['melt'\]; expected among"),
        ({"variants": {"x": {"geometry": {"turns": 1}}}}, "unknown field `turns`"),
        ({"variants": {"x": {"steps": {"noise": 2}}}}, "<= 1.0"),
        ({"data": {"labels": "x"}}, "missing required field `bids_dir`"),
        (
            {"data": PLAIN["data"] | {"validation": 0}, "patience": 3},
            "patience needs data.validation",
        ),
        (
            {"stages": [STAGE | {"architecture": {"up": []}}]},
            "with an architecture need data.validation: 0",
        ),
        ({"stages": [STAGE | {"near": 0.5}]}, r"stages\[0\]: near needs target: lesion"),
        ({"target": "lesion"}, "target: lesion needs data.validation: 0"),
        ({"architecture": "keras"}, "architecture: keras needs start: a file"),
        ({"tissues": 0.5}, "tissues needs synthetic above 0 in every stage"),
        ({"tissues": -1}, r">= 0.0 - at `\$.tissues`"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(tmp_path, changes, message):
    with pytest.raises(UsageError, match=f"config.yaml: not a configuration.*{message}"):
        config.read(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not a configuration of a training"), ("- 1", "expected a mapping")],
)
def test_a_file_that_is_no_mapping_is_an_error(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        config.read(path)


def test_a_file_that_is_not_there_is_an_error_that_names_the_recipes(tmp_path):
    with pytest.raises(
        UsageError,
        match=r"cannot be read.*the name of a recipe: brain, meningioma-label-maps, meningioma, ",
    ):
        config.read(tmp_path / "none.yaml")
