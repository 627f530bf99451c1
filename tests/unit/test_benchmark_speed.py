# SPDX-License-Identifier: Apache-2.0
"""The benchmark of speed: one program, whose parts measure, keep and write what they should."""

import json
import subprocess
import sys

import nibabel as nb
import numpy as np
import pytest
from bench import BENCHMARKS, load
from conftest import head_phantom

from bids_brainmask import machine

speed, text, _, processes, inside = map(
    load, ("speed", "speed_text", "document", "speed_processes", "speed_inside")
)


def test_every_part_has_a_subcommand_a_title_and_a_note():
    assert set(speed.PARTS) == set(text.TITLES) == set(text.NOTES)
    assert {name for names in speed.PARTS.values() for name in names} == set(speed.ARGUMENTS)


@pytest.mark.parametrize("part", speed.PARTS)
def test_a_part_without_its_arguments_is_refused(part, capsys):
    with pytest.raises(SystemExit) as caught:
        speed.main([part])
    assert caught.value.code == 2
    assert "work" in capsys.readouterr().err


def test_the_program_imports_little():
    """For `startup`: a process is never seen to hold less memory than the one that started it."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import speed, speed_startup; "
    code += "print(*sys.modules)"
    command = [sys.executable, "-c", code, str(BENCHMARKS)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "speed_startup" in found
    assert not {"numpy", "nibabel", "bids_brainmask"} & set(found)


def test_a_process_is_measured_with_its_children_and_refused_where_it_fails():
    code = "while __import__('time').process_time() < 0.3: pass"
    shell = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    usage = processes.run([sys.executable, "-c", shell])
    assert usage.wall > 0.3
    assert usage.cpu > 0.25  # of the kernel's clock, which is coarse
    with pytest.raises(SystemExit, match="status 3"):
        processes.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_tasks_are_run_by_turns_after_one_that_does_not_count():
    ran = []

    def task(name, wall):
        ran.append(name)
        return processes.Usage(wall * len(ran), 1.0, 2.0)

    found = processes.by_turns({"a": lambda: task("a", 1), "b": lambda: task("b", 10)}, 3)
    assert ran == ["a", "b", "b", "a"] * 2
    assert found["a"].wall == 5  # of 4, 5 and 8: the first, 1, is the warm-up
    assert found["b"] == processes.Usage(60, 1.0, 2.0)


def test_a_part_is_kept_printed_and_written(tmp_path, monkeypatch, capsys):
    rows = [["one command", "1.00", "2.00", "0.50"]]
    monkeypatch.setattr(speed, "measure", lambda args: rows)
    head = tmp_path / "head.nii.gz"
    nb.save(head_phantom(), head)
    speed.main(["cold", str(tmp_path / "work"), str(head), "--repeat", "2"])
    assert "| one command | 1.00 | 2.00 | 0.50 |" in capsys.readouterr().out
    kept = json.loads((tmp_path / "work/speed.json").read_text())
    assert kept == {"cold": {"repeat": 2, "rows": rows}}
    written = tmp_path / "speed.md"
    speed.main(["document", str(tmp_path / "work"), str(head), "--markdown", str(written)])
    document = written.read_text()
    assert "From the command to the written files" in document
    assert "Medians of 2." in document
    assert "60 x 70 x 64 voxels of 3 x 3 x 3 mm, head.nii.gz" in document
    assert "Comparison with other tools" not in document
    assert "processor: " in document
    assert "[networks on a GPU](gpu.md)" in document


def test_what_is_measured_inside_is_printed_as_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(inside.KINDS, "loaded", lambda path, word: [str(path), word])
    speed.main(["inside", "loaded", str(tmp_path / "x"), "word"])
    assert json.loads(capsys.readouterr().out) == [str(tmp_path / "x"), "word"]


def test_a_clock_gives_seconds_of_a_task():
    wall, cpu, memory = inside.clock(lambda: np.linalg.svd(np.ones((200, 200))))
    assert wall > 0
    assert cpu > 0
    assert memory > 0.01


def test_all_measures_every_part_whose_arguments_are_given():
    top = ["all", "work", "head.nii", "--small", "small.nii", "--repeat", "2"]
    ran = speed.every_part(speed.parser().parse_args([*top, "--python", "py"]))
    parts = ["cold", "warm", "peers", "stages", "scaling", "memory", "startup", "document"]
    assert [words[0] for words in ran] == parts
    assert ran[2] == ["peers", "work", "head.nii", "py", "--repeat", "2"]
    assert ran[4] == ["scaling", "work", "small.nii", "--repeat", "2"]
    for words in ran:
        speed.parser().parse_args(words)


def test_precisions_are_those_of_the_processor(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPUINFO", path)
    assert processes.precisions() == ("float32",)
    path.write_text("model name\t: Some CPU\nflags\t\t: sse avx512_bf16 avx512_vnni\n")
    assert processes.precisions() == ("int8", "float32", "bfloat16")
    assert machine.processor() == "Some CPU"
