# SPDX-License-Identifier: Apache-2.0
"""The Boutiques descriptor: valid, complete, and of command lines that our own parser takes."""

import json
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bids_brainmask import __version__
from bids_brainmask.cli import brainmask, descriptor, options
from bids_brainmask.errors import UsageError
from bids_brainmask.settings import Settings

BOSH = Path(sys.executable).with_name("bosh")

NUMBERS = {"lesion_copies": 2}
"""Examples where the least number and 1 is none."""

TEXTS = {"threshold": "brain=0.4", "executor": "serial"}
"""What is given to inputs of type String that do not take any word."""


def bosh(*words):
    done = subprocess.run(
        [BOSH, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """What `brainmask descriptor` prints, in a file."""
    command = [Path(sys.executable).with_name("brainmask"), "descriptor"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    path = tmp_path_factory.mktemp("descriptor") / "descriptor.json"
    path.write_text(done.stdout)
    return path


def simulated(file, tmp_path, invocation):
    """Settings that our parser makes of the command line that Boutiques makes."""
    path = tmp_path / "invocation.json"
    path.write_text(json.dumps(invocation))
    *_, line = bosh("exec", "simulate", "-i", path, file).splitlines()
    program, *words = shlex.split(line)
    assert program == options.parser().prog
    (settings,) = options.each_level(options.parser().parse_args(options.dashed(words)))
    return settings


def example(each):
    """Value for an input of a descriptor, another than its default."""
    if "value-choices" in each:
        value = each["value-choices"][-1]
    else:
        number = NUMBERS.get(each["id"], each.get("minimum", 0) + 1)
        word = TEXTS.get(each["id"], "word")
        value = {"Flag": True, "Number": number, "File": f"/a b/{each['id']}", "String": word}
        value = value[each["type"]]
    return [value] if each.get("list") else value


def test_boutiques_finds_it_valid(file):
    assert bosh("validate", file).strip() == "OK"


def test_an_example_of_boutiques_is_taken_by_our_parser(file, tmp_path):
    invocation = json.loads(bosh("example", file))
    settings = simulated(file, tmp_path, invocation)
    assert replace(settings, typed=()) == Settings(
        bids_dir=Path(invocation["bids_dir"]),
        output_dir=Path(invocation["output_dir"]),
        analysis_level=invocation["analysis_level"],
    )


def test_every_setting_can_be_given_through_boutiques(file, tmp_path):
    content = json.loads(file.read_text())
    settings = simulated(file, tmp_path, {each["id"]: example(each) for each in content["inputs"]})
    plain = Settings(bids_dir=Path(), output_dir=Path(), analysis_level="participant")
    same = {
        f.name for f in fields(Settings) if getattr(settings, f.name) == getattr(plain, f.name)
    }
    assert not same
    assert settings.bids_filter_file == Path("/a b/bids_filter_file")
    assert settings.threshold == (("brain", 0.4),)
    assert settings.n_cpus == 1


def test_every_option_is_in_it_with_its_help():
    content = descriptor.boutiques()
    inputs = {each.get("command-line-flag", each["id"]): each for each in content["inputs"]}
    actions = [a for a in options.parser()._actions if a.dest not in ("help", "version")]
    assert len(inputs) == len(actions)
    for action in actions:
        assert action.nargs in (None, 0, "+")  # what the descriptor knows of
        each = inputs[action.option_strings[-1] if action.option_strings else action.dest]
        assert each.get("description", "").startswith((action.help or "")[:20])
        assert each["optional"] is not action.required
        several = action.nargs == "+" and action.dest != "analysis_level"
        assert each.get("list", False) is several
    grouped = [member for group in content["groups"] for member in group["members"]]
    assert len(grouped) == len(set(grouped)) == len([a for a in actions if a.option_strings])


def test_types_are_those_of_the_parser():
    inputs = {each["id"]: each for each in descriptor.boutiques()["inputs"]}
    assert inputs["bids_dir"]["type"] == inputs["work_dir"]["type"] == "File"
    assert inputs["participant_label"]["type"] == inputs["threshold"]["type"] == "String"
    assert inputs["no_reports"]["type"] == inputs["verbose"]["type"] == "Flag"
    for name, integer in (("n_cpus", True), ("mem_gb", False)):
        number = {key: inputs[name][key] for key in ("type", "integer", "minimum")}
        assert number == {"type": "Number", "integer": integer, "minimum": 0}
        assert inputs[name]["exclusive-minimum"]
    assert inputs["outputs"]["value-choices"] == ["mask", "brain", "probseg"]
    assert inputs["outputs"]["default-value"] == list(Settings.outputs)
    assert "default-value" not in inputs["participant_label"]


def test_it_says_which_version_it_is_of_and_what_exit_statuses_mean():
    content = descriptor.boutiques()
    assert content["tool-version"] == __version__
    assert [each["code"] for each in content["error-codes"]] == [1, 2, 3]
    assert content["error-codes"][2]["description"] == "there is nothing to do"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("docker://some/brainmask:1.0", {"type": "docker", "image": "some/brainmask:1.0"}),
        ("brainmask", {"type": "docker", "image": "brainmask"}),
        (
            "oras://host.org/brainmask:1",
            {"type": "singularity", "image": "host.org/brainmask:1", "index": "oras://"},
        ),
    ],
)
def test_an_image_is_told_by_its_address(image, expected, tmp_path, capsys):
    assert brainmask.main(["descriptor", "--container", image]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)["container-image"] == expected
    (tmp_path / "d.json").write_text(shown)
    bosh("validate", tmp_path / "d.json")


@pytest.mark.parametrize("image", ["/images/x.sif", "x.sif", "https://a/b", "docker://", "a b"])
def test_what_is_no_address_is_refused(image, capsys):
    with pytest.raises(UsageError, match=r"--container .*: expected the address of an image"):
        descriptor.boutiques(image)
    assert brainmask.main(["descriptor", "--container", image]) == 2
    assert "expected the address" in capsys.readouterr().err
