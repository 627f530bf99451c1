# SPDX-License-Identifier: Apache-2.0
"""Which analysis, with which model, of which image; and what is refused before any work."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bids_brainmask import plan
from bids_brainmask.cli import bids_app, options
from bids_brainmask.errors import ModelError, NothingToDo, UsageError
from bids_brainmask.models import registry
from bids_brainmask.settings import Settings

PLAIN, NAMED, TOLD = (
    "sub-01_T1w.nii.gz",
    "sub-02_ce-gadolinium_T1w.nii.gz",
    "sub-03_T1w.nii.gz",
)


@pytest.fixture
def mixed(dataset):
    """A plain image, one with a ce- entity, and one whose sidecar names an agent."""
    dataset.add(PLAIN)
    dataset.add(NAMED)
    dataset.add(TOLD, ContrastBolusIngredient="GADOLINIUM")
    return dataset


def settings(dataset, **options):
    out = dataset.root.parent / "out"
    return Settings(bids_dir=dataset.root, output_dir=out, analysis_level="participant", **options)


def analyses(dataset, **options):
    run = plan.prepare(settings(dataset, **options))
    return [job.analyses for job in run.plans]


BOTH = ("brain", "meningioma")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("brain",), BOTH, BOTH]),
        ({"analyses": ("auto",)}, [("brain",), BOTH, BOTH]),
        ({"analyses": ("brain",)}, [("brain",)] * 3),
        ({"analyses": ("meningioma",)}, [(), ("meningioma",), ("meningioma",)]),
        ({"analyses": BOTH}, [("brain",), BOTH, BOTH]),
        ({"force_contrast": True}, [BOTH] * 3),
        ({"analyses": ("meningioma",), "force_contrast": True}, [("meningioma",)] * 3),
        ({"analyses": ("brain",), "force_contrast": True}, [("brain",)] * 3),
    ],
)
def test_contrast_decides_what_is_done(mixed, options, expected):
    assert analyses(mixed, **options) == expected


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, [False] * 3),
        ({"analyses": ("meningioma",)}, [True, False, False]),
        ({"analyses": BOTH}, [True, False, False]),
        ({"analyses": BOTH, "force_contrast": True}, [False] * 3),
    ],
)
def test_a_plain_image_is_refused_where_meningioma_was_asked_for(mixed, options, refused):
    run = plan.prepare(settings(mixed, **options))
    assert [bool(job.refusal) for job in run.plans] == refused
    assert all("--force-contrast" in job.refusal for job in run.plans if job.refusal)


def test_only_plain_images_leave_nothing_to_do(dataset):
    dataset.add(PLAIN)
    with pytest.raises(NothingToDo, match="none of 1 images is contrast-enhanced"):
        plan.prepare(settings(dataset, analyses=("meningioma",)))


def test_auto_stands_alone(mixed):
    with pytest.raises(UsageError, match="auto cannot be combined"):
        plan.prepare(settings(mixed, analyses=("auto", "meningioma")))


def names(dataset, **options):
    return {
        analysis: model.name
        for analysis, model in plan.prepare(settings(dataset, **options)).models.items()
    }


EMBEDDED = {"brain": "embedded", "meningioma": "embedded-meningioma"}


def test_the_embedded_models_need_no_network(mixed):
    assert names(mixed) == EMBEDDED
    assert names(mixed, model=("auto",)) == EMBEDDED
    assert names(mixed, model=("embedded-meningioma",)) == EMBEDDED
    assert names(mixed, model=("meningioma=auto", "brain=embedded")) == EMBEDDED


@pytest.mark.parametrize("analysis", ["meningioma", "brain"])
def test_a_model_that_is_not_at_hand_is_told_of_with_the_command(mixed, analysis, capsys):
    name = {"meningioma": "ams", "brain": "brainy"}[analysis]
    with pytest.raises(ModelError, match=f"brainmask models get {name}"):
        plan.prepare(settings(mixed, analyses=(analysis,), model=(name,)))
    out = mixed.root.parent / "out"
    command = [str(mixed.root), str(out), "participant", "--analyses", analysis, "--model", name]
    assert bids_app.main(command) == 2
    assert f"brainmask models get {name}" in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture
def weights(tmp_path):
    """A file of weights that does not say what it is for."""
    path = tmp_path / "mine.npz"
    shutil.copy(registry.find("embedded"), path)
    with path.open("ab") as file:
        file.write(b"\0")  # so that it is not the registered one
    return str(path)


@pytest.mark.parametrize(
    ("analyses", "prefix", "task"),
    [
        (("auto",), "", "brain"),
        (("brain",), "", "brain"),
        (BOTH, "", "brain"),
        (("meningioma",), "", "meningioma"),
        (BOTH, "meningioma=", "meningioma"),
        (("auto",), "meningioma=", "meningioma"),
        (("auto",), "brain=", "brain"),
    ],
)
def test_what_a_file_is_for(mixed, weights, analyses, prefix, task):
    run = plan.prepare(settings(mixed, analyses=analyses, model=(prefix + weights,)))
    assert run.models[task].name == "mine"
    assert run.models[task].task == task


def test_a_file_whose_name_has_an_equals_sign(mixed, weights, tmp_path):
    odd = tmp_path / "a=b.npz"
    shutil.copy(weights, odd)
    assert names(mixed, model=(str(odd),))["brain"] == "a=b"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model": ("embedded", "brainy")}, "embedded and brainy are both for brain"),
        ({"model": ("embedded-meningioma", "ams")}, "are both for meningioma"),
        ({"model": ("meningioma=embedded",)}, "embedded is for brain"),
        ({"model": ("ams",), "analyses": ("brain",)}, "which is not in --analyses"),
        ({"model": ("brainy",), "analyses": ("meningioma",)}, "which is not in --analyses"),
    ],
)
def test_models_that_do_not_fit(mixed, options, reason):
    with pytest.raises(UsageError, match=reason):
        plan.prepare(settings(mixed, **options))


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {}),
        ({"threshold": (("", 0.35),)}, {"brain": 0.35}),
        ({"threshold": (("meningioma", 0.35),)}, {"meningioma": 0.35}),
        # The brain is found, too, for lesions to be near it.
        ({"threshold": (("", 0.35),), "analyses": ("meningioma",)}, {"meningioma": 0.35}),
    ],
)
def test_whose_threshold_it_is(mixed, options, asked):
    own = {analysis: registry.models()[name].threshold for analysis, name in EMBEDDED.items()}
    assert plan.prepare(settings(mixed, **options)).thresholds == own | asked


def test_parameters_hold_what_decides_a_result(mixed):
    run = plan.prepare(settings(mixed, tta=True, overlap=True))
    found = run.parameters(run.plans[1])
    assert found["mask"]["Model"] == "embedded"
    assert found["tumor"]["Model"] == "embedded-meningioma"
    assert found["brainandtumor"] == {"brain": found["mask"], "meningioma": found["tumor"]}
    assert found["mask"]["TestTimeFlips"] is True
    assert "Overlap" not in found["mask"]  # the whole head at once: there is nothing to overlap
    assert "Precision" not in found["mask"]
    halved = plan.prepare(settings(mixed, precision="bfloat16"))
    assert halved.parameters(halved.plans[0])["mask"]["Precision"] == "bfloat16"
    coarse = plan.prepare(settings(mixed, precision="int8"))
    found = coarse.parameters(coarse.plans[1])
    assert found["mask"]["Precision"] == "int8"
    assert "Precision" not in found["tumor"]  # its model has no ranges, and runs in float32
    fine = plan.prepare(settings(mixed, precision="float32"))
    found = fine.parameters(fine.plans[1])
    assert found["mask"]["Precision"] == "float32"
    assert "Precision" not in found["tumor"]  # float32 whatever is asked
    plain = plan.prepare(settings(mixed))
    assert set(plain.parameters(plain.plans[0])["mask"]) == {
        "Model",
        "ModelVersion",
        "ModelSHA256",
        "Threshold",
    }


def test_a_dry_run_lists_analyses_and_refusals(mixed, capsys):
    out = mixed.root.parent / "out"
    command = [str(mixed.root), str(out), "participant", "--dry-run", "--analyses", *BOTH]
    assert bids_app.main(command) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[1:4:2]] == [
        [f"sub-01/anat/{PLAIN}", "brain"],
        [f"sub-02/anat/{NAMED}", "brain"],
    ]
    assert "refused" in rows[2][1]
    assert rows[4][1:3] == [
        "meningioma",
        f"embedded-meningioma-{registry.models()['embedded-meningioma'].version}",
    ]
    assert "desc-brainandtumor_mask.nii.gz" in rows[4][3]
    assert "desc-meningioma_lesions.tsv" in rows[4][3]
    assert not out.exists()


def test_the_command_for_records_gives_the_same_settings_but_for_paths():
    words = (
        "/home/me/bids out participant --participant-label 01 02 --suffix all --run-id 1 "
        "--bids-filter-file /x/f.json --model meningioma=/x/a.npz embedded --threshold 0.4 "
        "meningioma=0.25 --border -1.5 --outputs mask --no-reports --tta --n-cpus 2 "
        "--executor tcp://node:1 --work-dir /x/w -vv"
    )
    given = options.each_level(options.parser().parse_args(words.split()))[0]
    command = given.command()
    assert not any("/" in word or "node" in word for word in command)
    again = options.each_level(options.parser().parse_args(command[1:]))[0]
    hidden = {
        "bids_dir": Path("BIDS_DIR"),
        "output_dir": Path("OUTPUT_DIR"),
        "bids_filter_file": Path("BIDS_FILTER_FILE"),
        "work_dir": Path("WORK_DIR"),
        "model": ("meningioma=a.npz", "embedded"),
        "executor": "SCHEDULER:8786",
    }
    assert again == replace(given, **hidden)
    zero = ["in", "out", "participant", "--border", "0", "--model=auto"]
    zero = options.each_level(options.parser().parse_args(zero))[0]
    assert zero.typed == ("border", "model")
    assert zero.command()[4:] == ["--model", "auto", "--border", "0.0"]
    few = options.each_level(options.parser().parse_args(["in", "out", "participant"]))[0]
    assert few.command() == ["bids-brainmask", "BIDS_DIR", "OUTPUT_DIR", "participant"]
