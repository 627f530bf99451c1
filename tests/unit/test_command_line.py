# SPDX-License-Identifier: Apache-2.0
"""Words of the command line: help, advice, what a run says at its start and at its end."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from conftest import LITTLE, head_phantom

from bids_brainmask import __version__
from bids_brainmask.cli import bids_app, brainmask, messages, options, other_programs
from bids_brainmask.cli.parser import one_of
from bids_brainmask.errors import did_you_mean
from bids_brainmask.models import backends


def answer(main, words, capsys):
    """One line on standard error, of a command that is not carried out."""
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def app_says(words, capsys):
    return answer(bids_app.main, ["in", "out", "participant", *words.split()], capsys)


def all_parsers():
    top = brainmask.parser()
    yield options.parser()
    yield top
    commands = next(action for action in top._actions if action.choices)
    yield from commands.choices.values()


@pytest.mark.parametrize("parser", list(all_parsers()), ids=lambda parser: parser.prog)
def test_help_has_no_word_of_python(parser):
    text = " ".join(parser.format_help().split())
    for word in ("None", "True", "False", "('", "()", "positional", "[LABEL ...]", "program's"):
        assert word not in text, word
    assert not re.search(r"\(default: ([^)]*)\) \(default", text)


def test_the_help_names_every_exit_status(capsys):
    with pytest.raises(SystemExit):
        bids_app.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "129, 130, 143 stopped by SIGHUP, Ctrl-C or SIGTERM" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--participant-lable 01",
            "--participant-lable: no such option. Did you mean --participant-label?",
        ),
        ("--zzz", "--zzz: no such option. bids-brainmask --help lists all options."),
        ("-x", "-x: no such option."),
        ("--analyses brian", "found 'brian'. Did you mean brain?"),
        ("--n-cpus", "--n-cpus: expected a value."),
        ("--participant-label", "--participant-label: expected at least one value."),
        ("--overwrite=yes", "--overwrite: takes no value, found 'yes'."),
        ("--lesion-copies 1", "--lesion-copies: expected 0, or 2 to 20 copies, found 1"),
        ("--lesion-copies 21", "--lesion-copies: expected 0, or 2 to 20 copies, found 21"),
        ("--growth-percent 0", "--growth-percent: expected a number above 0, found 0"),
        ("--growth-mm nan", "--growth-mm: expected a number above 0, found nan"),
    ],
)
def test_what_is_misspelt_is_answered_in_one_line(words, said, capsys):
    assert said in app_says(words, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in"], "missing: OUTPUT_DIR, LEVEL. Give BIDS_DIR OUTPUT_DIR LEVEL in this order"),
        (["participant", "in", "out"], "LEVEL: expected participant or group, found 'out'. Give"),
        (["in", "out", "--participant-label", "1", "participant"], "missing: LEVEL. Give"),
    ],
)
def test_the_order_of_folders_and_level_is_told(words, said, capsys):
    assert said in answer(bids_app.main, words, capsys)


@pytest.mark.parametrize("word", other_programs.APP_ANSWERS)
def test_options_of_fmriprep_and_mriqc_are_answered(word, capsys):
    assert word not in options.parser()._option_string_actions
    said = other_programs.APP_ANSWERS[word]
    assert app_says(f"{word} 1", capsys) == f"bids-brainmask: error: {word}: {said}"


@pytest.mark.parametrize("word", other_programs.EXTRACT_ANSWERS)
def test_options_of_bet_hdbet_and_synthstrip_are_answered(word, capsys):
    said = answer(brainmask.main, ["extract", "in.nii", "out.nii", word], capsys)
    expected = other_programs.EXTRACT_ANSWERS[word]
    assert said == f"brainmask extract: error: {word}: {expected}"


def test_the_words_in_answers_are_options():
    for answers, names in (
        (other_programs.APP_ANSWERS, options.parser()._option_string_actions),
        (other_programs.EXTRACT_ANSWERS, extract_parser()._option_string_actions),
    ):
        for said in answers.values():
            for word in re.findall(r"--[a-z-]+", said.partition("brainmask extract")[0]):
                assert word in names, said
    for same, names in (
        (other_programs.APP_SAME, options.parser()._option_string_actions),
        (other_programs.EXTRACT_SAME, extract_parser()._option_string_actions),
    ):
        assert set(same.values()) <= set(names)


def extract_parser():
    return next(a for a in brainmask.parser()._actions if a.choices).choices["extract"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["extrct"], "COMMAND: expected extract, evaluate"),
        (["extrct"], "found 'extrct'. Did you mean extract?"),
        (["models", "gte"], "VERB: expected list, get, verify or path, found 'gte'."),
        (["extract", "a.nii", "--treshold", "1"], "Did you mean --threshold?"),
        (["models", "get", "brany"], "unknown model 'brany'; expected one of "),
        (["models", "get", "brany"], "Did you mean brainy?"),
    ],
)
def test_the_tools_are_as_helpful(words, said, capsys):
    assert said in answer(brainmask.main, words, capsys)


def test_a_guess_is_one_that_is_like_it():
    assert did_you_mean("Mprage", ["MPRAGE", "other"]) == " Did you mean MPRAGE?"
    assert did_you_mean("x", ["MPRAGE"]) == ""
    assert (one_of(["a"]), one_of("abc")) == ("a", "a, b or c")


@pytest.fixture
def arithmetic(monkeypatch):
    """Every network is one comparison: bright is brain."""
    monkeypatch.setattr(
        backends,
        "load",
        lambda *_: backends.Network(lambda x: (x > 0.48).astype(np.float32), "arithmetic 1", 16),
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_run_says_what_it_does_and_what_comes_next(dataset, out, arithmetic, capsys, caplog):
    dataset.add("sub-01_T1w.nii.gz", head_phantom(**LITTLE))
    dataset.add("sub-02_ce-gad_T1w.nii.gz", b"no image")
    command = [str(dataset.root), str(out), "participant", "--analyses", "brain"]
    command += ["--executor", "serial", "--n-cpus", "1", "--no-reports"]
    with caplog.at_level(logging.INFO, "bids_brainmask"):
        assert bids_app.main(command) == 1
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == [
        f"bids-brainmask {__version__}",
        f"input: {dataset.root}, 2 participants, images: 1 T1w, 1 T1w with contrast agent",
    ]
    assert said[2] == f"output: {out}, 0 images with results from an earlier run"
    assert said[3].startswith("models for brain: embedded ")
    assert said[4].endswith(("float32; 1 process of 1 thread", "int8; 1 process of 1 thread"))
    assert sum("sub-01_T1w.nii.gz: done" in line for line in said) == 1
    shown = capsys.readouterr().out.splitlines()
    assert re.match(r"image +status +detail", shown[1])
    assert re.match(r"sub-02/anat/sub-02_ce-gad_T1w.nii.gz +failed +", shown[2])
    assert re.match(r"sub-01/anat/sub-01_T1w.nii.gz +done +.*; doubtful", shown[3])  # a ball
    assert shown[4] == "For research only; not a medical device."
    assert shown[5] == "1 done, 0 skipped, 1 failed"
    assert shown[6] == f"next: read the reasons above or in {out / 'logs'}, and run it again"


def test_quiet_prints_only_what_is_to_be_looked_at(dataset, out, arithmetic, capsys, caplog):
    dataset.add("sub-01_T1w.nii.gz", head_phantom(**LITTLE))
    command = [str(dataset.root), str(out), "participant", "--no-reports"]
    assert bids_app.main([*command, "--quiet"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["image", "sub-01/anat/sub-01_T1w.nii.gz"]
    assert bids_app.main([*command, "--quiet"]) == 0
    assert (capsys.readouterr().out, caplog.messages) == ("", [])
    assert bids_app.main(command) == 0
    assert "1 image with results from an earlier run; what is up to date is kept" in caplog.text
    assert capsys.readouterr().out.splitlines()[1:] == [
        "For research only; not a medical device.",
        "0 done, 1 skipped, 0 failed",
    ]


@pytest.mark.slow
def test_both_levels_in_one_command(dataset, out, arithmetic, capsys):
    dataset.add("sub-01_T1w.nii.gz", head_phantom(**LITTLE))
    assert bids_app.main([str(dataset.root), str(out), "participant", "group"]) == 0
    shown = capsys.readouterr().out
    assert f"reports: {out / 'sub-01.html'}" in shown
    assert shown.splitlines()[-1] == f"next: open {out / 'group_desc-brain.html'} in a browser"
    assert (out / "group_desc-brain.html").is_file()


def test_a_dry_run_of_both_levels_writes_nothing(dataset, out, capsys, caplog):
    dataset.add("sub-01_T1w.nii.gz", head_phantom(**LITTLE))
    with caplog.at_level(logging.INFO, "bids_brainmask"):
        command = [str(dataset.root), str(out), "participant", "group", "--dry-run"]
        assert bids_app.main(command) == 0
    assert "group: would write the tables and reports of" in caplog.text
    assert not out.exists()


class TestExtract:
    """Files, as BET, HD-BET and SynthStrip take them."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch, arithmetic):
        monkeypatch.chdir(tmp_path)
        Path("in").mkdir()
        for name in ("a.nii.gz", "b.nii"):
            nb.save(head_phantom(**LITTLE), f"in/{name}")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("in/a.nii.gz out.nii.gz", ["out.nii.gz"]),
            ("in/a.nii.gz a_mask.nii.gz", ["a_mask.nii.gz"]),
            ("-i in/a.nii.gz -o out.nii.gz", ["out.nii.gz"]),
            ("--image in/a.nii.gz --out out.nii -m m.nii -t 1", ["m.nii", "out.nii"]),
            ("in/a.nii.gz -o out.nii.gz -m", ["out_mask.nii.gz", "out.nii.gz"]),
            ("-i in/b.nii -o o.nii --save_bet_mask", ["o_mask.nii.gz", "o.nii"]),
            ("-i in/a.nii.gz -o new", ["new/a_brain_mask.nii.gz", "new/a_brain.nii.gz"]),
            (
                "in -o new",
                [f"new/{name}_brain{end}.nii.gz" for name in "ab" for end in ("_mask", "")],
            ),
        ],
    )
    def test_what_is_written(self, words, expected, capsys):
        assert brainmask.main(["extract", *words.split()]) == 0
        assert capsys.readouterr().out.split() == expected
        for name in expected:
            mask = nb.load(name).get_fdata()
            assert set(np.unique(mask)) == (
                {0, 1} if "mask" in name or name == "m.nii" else {0, 100}
            )

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("", "no image is given. Write brainmask extract IMAGE -o BRAIN."),
            ("in/a.nii.gz", "no output file is given. Add -m MASK, -o BRAIN or -p PROBABILITY."),
            (
                "in/a.nii.gz in/b.nii",
                "in/b.nii: an output or an image? Write -o FOLDER to process",
            ),
            ("in/a.nii.gz in/b.nii -m m.nii", "2 images and no output folder. Write -o FOLDER"),
            ("in -o in", "-o in: a.nii.gz lies in it. Choose another output folder"),
            ("in in/a.nii.gz -o new", "both would be written as a_brain.nii.gz"),
            ("in -o new -p p.nii", "-o new is a folder, which gets the masks, too."),
            ("in/a.nii.gz -m", "-m without a name needs -o BRAIN"),
            ("empty -o new", "empty: no image in this folder; expected .nii or .nii.gz."),
            ("in -o file", "file: a file; expected a folder"),
        ],
    )
    def test_what_is_refused(self, words, said, capsys):
        Path("empty").mkdir()
        Path("file").touch()
        assert said in answer(brainmask.main, ["extract", *words.split()], capsys)

    def test_a_damaged_image_does_not_stop_the_others(self, capsys):
        Path("in/a.nii.gz").write_bytes(b"no image")
        assert brainmask.main(["extract", "in", "-o", "new"]) == 1
        shown = capsys.readouterr()
        assert "brainmask: error: in/a.nii.gz: " in shown.err
        assert shown.out.split() == ["new/b_brain_mask.nii.gz", "new/b_brain.nii.gz"]


@pytest.mark.parametrize(
    ("engine", "said"),
    [("auto", "chosen by each worker, precision auto"), ("openvino", "openvino, precision auto")],
)
def test_the_precision_of_a_cluster_is_not_told_by_the_processor_of_this_machine(engine, said):
    settings = SimpleNamespace(engine=engine, executor="slurm", precision="auto")
    assert messages.engine(SimpleNamespace(settings=settings, models={})) == said
