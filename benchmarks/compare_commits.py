# SPDX-License-Identifier: Apache-2.0
"""Compare what two checkouts of the app write for the same real heads.

python benchmarks/compare_commits.py DATA BEFORE AFTER WORK [--lines 20] [--scans NAME ...]

DATA is a folder of datasets: heads/, contrast/ and stripped/. BEFORE and AFTER are checkouts, or
Python interpreters that have the package installed. Of a checkout the interpreter is
.venv/bin/python, or this one where there is none. Each writes into a folder of its own in WORK,
before/ and after/, the participant level and then the group level. A folder that is there is not
written again, so that a reference can be kept: remove it to run anew.

Images, tables and figures must have the same bytes, but for the column of seconds. Sidecars and
pages must be the same but for the version, the command, times and seconds. The script prints what
differs, and its exit status is 1 if anything does.
"""

from __future__ import annotations

import argparse
import difflib
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import nibabel as nb
import numpy as np

SCANS = {
    "sub-ixi013_T1w": "heads/sub-ixi013/anat/sub-ixi013_T1w.nii.gz",
    "sub-ixi014_T1w": "heads/sub-ixi014/anat/sub-ixi014_T1w.nii.gz",
    "sub-elition_T1w": "heads/sub-elition/anat/sub-elition_T1w.nii.gz",
    "sub-slices_ses-supine_T1w": "heads/sub-hfs/anat/sub-hfs_T1w.nii.gz",
    "sub-slices_ses-prone_T1w": "heads/sub-hfp/anat/sub-hfp_T1w.nii.gz",
    "sub-vs01_ce-gadolinium_T1w": "contrast/sub-vs01/anat/sub-vs01_*T1w.nii.gz",
    "sub-lesions_ses-1_ce-gadolinium_T1w": "contrast/sub-cts01/anat/sub-cts01_*T1w.nii.gz",
    "sub-lesions_ses-2_ce-gadolinium_T1w": "contrast/sub-cts02/anat/sub-cts02_*T1w.nii.gz",
    "sub-stripped_T1w": "stripped/sub-*/anat/sub-*_T1w.nii.gz",
}
"""Scans of the dataset, and where each is in DATA: the first file that matches."""

LEVELS = (
    ("participant", "--outputs", "mask", "brain", "probseg", "--viewer"),
    ("group",),
)

FREE_KEYS = {
    *("Command", "Seconds", "Version", "bids_brainmask"),
    *("Time", "Traceback", "Host", "PeakMemory", "CreationTime", "Modified"),
}
"""Keys of JSON files that may differ."""

FREE_COLUMNS = {"seconds"}
"""Columns of tables that may differ."""

FREE_WORDS = (
    (re.compile(r"(?<=>)[^\s<>]{1,300}/__main__\.py"), "COMMAND"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(,\d+)?( UTC|\+00:00)?"), "TIME"),
    (re.compile(r"on \S+, process \d+"), "on HOST, process NUMBER"),
    (re.compile(r"(?<= in )[\d.]+(?= s\b)"), "SECONDS"),
    (re.compile(r"crash-\d{8}T\d+-\d+"), "crash-TIME"),
    (re.compile(r"(?<=_brainmask )\d+\.\d+\.\d+(\.dev\d+)?"), "VERSION"),
    (re.compile(r"(?<=Seconds</th>)(\s*<td>)[\d.]+"), r"\1SECONDS"),
    (re.compile(r"\"seconds\": ?[\d.]+"), '"seconds": SECONDS'),
    (re.compile(r"[\d.]+(?=,\"(all|plain|contrast-enhanced) images)"), "SECONDS"),
)
"""Words of pages and texts that may differ, and what stands for them in the comparison."""


def make_dataset(data: Path, root: Path, scans: Iterable[str]) -> None:
    """Copy scans to a raw dataset, with their times, and add two that must fail."""
    for name in scans:
        found = sorted(data.glob(SCANS[name]))
        if not found:
            raise SystemExit(
                f"{data / SCANS[name]}: no such file. DATA is the folder of the heads."
            )
        shutil.copy2(found[0], place(root, name))
    empty = nb.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    bad = [place(root, "sub-empty_T1w"), place(root, "sub-torn_T1w")]
    bad[0].write_bytes(gzip.compress(empty.to_bytes(), mtime=0))
    whole = place(root, name).read_bytes()
    bad[1].write_bytes(whole[: len(whole) // 2])
    for path in bad:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    description = {"Name": "Heads to compare", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))


def place(root: Path, name: str) -> Path:
    """Path of a scan in the dataset; its folder is made."""
    folder = root.joinpath(*re.findall(r"(?:sub|ses)-[^_]+", name), "anat")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.nii.gz"


def interpreter(version: Path) -> tuple[Path, dict[str, str]]:
    """Python of a checkout, or itself, and the environment to run it in."""
    if not version.is_dir():
        return version, {}
    own = version / ".venv" / "bin" / "python"
    environment = {"PYTHONPATH": str(version.resolve())}
    return (own if own.exists() else Path(sys.executable)), environment


def write(version: Path, data: Path, folder: Path, scans: Iterable[str]) -> Path:
    """Run both levels of one version, unless that was done; the folder of its output."""
    if folder.exists():
        return folder / "out"
    run = folder.with_name("run")  # of both: its path is in messages and in the description
    if run.exists():
        shutil.rmtree(run)
    make_dataset(data, run / "bids", scans)
    python, environment = interpreter(version)
    environment |= {"BIDS_BRAINMASK_MODELS": str(run / "no-models")}
    for level, *options in LEVELS:
        command = [python.absolute(), "-m", "bids_brainmask", "bids", "out", level, *options]
        print(f"{folder.name}: {level}", file=sys.stderr, flush=True)
        done = subprocess.run(command, cwd=run, env=os.environ | environment, check=False)
        expected = {"participant": 1, "group": 0}[level]  # 1: two scans must fail
        if done.returncode != expected:
            raise SystemExit(f"{command}: status {done.returncode}, expected {expected}")
    run.rename(folder)
    return folder / "out"


def without(value: object) -> object:
    """Content of a JSON file with the same word for each value that may differ."""
    if isinstance(value, dict):
        return {k: "FREE" if k in FREE_KEYS else without(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without(item) for item in value]
    return value


def plain(text: str) -> str:
    """Replace the words that may differ."""
    for pattern, word in FREE_WORDS:
        text = pattern.sub(word, text)
    return text


def as_lines(path: Path) -> list[str]:
    """Content of a text file as lines to compare, without what may differ."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        text = json.dumps(without(json.loads(text)), indent=1, ensure_ascii=False)
    elif path.suffix == ".tsv":
        rows = [line.split("\t") for line in text.splitlines()]
        free = [index for index, name in enumerate(rows[0]) if name in FREE_COLUMNS]
        for row in rows[1:]:
            for index in free:
                row[index] = "SECONDS"
        text = "\n".join("\t".join(row) for row in rows)
    else:
        text = re.sub(r'(?<=>)(?=<)|(?<=[\[{,])(?=["\[{])', "\n", plain(text))
    lines = text.splitlines()
    if path.suffix == ".html":  # where white space between words says nothing
        lines = [line.strip() for line in lines if line.strip()]
    return lines


def differences(before: Path, after: Path) -> Iterator[str]:
    """Lines that tell how two files differ; none if they do not, but for what may differ."""
    one, other = before.read_bytes(), after.read_bytes()
    if one == other:
        return
    if before.name.endswith(".gz"):
        same = gzip.decompress(one) == gzip.decompress(other)
        yield "other bytes, the same when unpacked" if same else "other bytes"
        return
    if before.suffix not in {".json", ".tsv", ".html", ".md", ".txt", ".log", ".svg", ""}:
        yield f"other bytes: {len(one)} before, {len(other)} after"
        return
    changes = difflib.unified_diff(as_lines(before), as_lines(after), n=0, lineterm="")
    for line in changes:
        if not line.startswith(("---", "+++", "@@")):
            yield line


def files(root: Path) -> dict[str, Path]:
    """Files of a folder by their paths in it, without the times in their names."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {plain(str(path.relative_to(root))): path for path in paths}


def compare(before: Path, after: Path, lines: int) -> Iterator[str]:
    """Tell of every file that is in one folder alone or differs, and then how many are equal."""
    one, other = files(before), files(after)
    same = Counter()
    for name in sorted(one.keys() | other.keys()):
        if name not in other or name not in one:
            yield f"{name}: only {'before' if name in one else 'after'}"
            continue
        found = list(differences(one[name], other[name]))
        if not found:
            same["".join(Path(name).suffixes[-2:]) or name] += 1
            continue
        yield f"{name}: {len(found)} lines differ"
        yield from (f"    {line[:300]}" for line in found[:lines])
        if len(found) > lines:
            yield f"    ... and {len(found) - lines} more (--lines)"
    yield "the same: " + ", ".join(f"{count} {kind}" for kind, count in sorted(same.items()))


def main(words: Iterable[str] | None = None) -> int:
    """Run both, and print what differs; 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("before", type=Path, help="checkout, or Python interpreter")
    parser.add_argument("after", type=Path, help="checkout, or Python interpreter")
    parser.add_argument("work", type=Path, help="folder for the output of both")
    parser.add_argument("--lines", type=int, default=20, help="that are shown of each file")
    choice = {"nargs": "+", "choices": list(SCANS), "default": list(SCANS)}
    parser.add_argument("--scans", **choice, metavar="NAME", help="fewer than all, to be quick")
    args = parser.parse_args(words)
    args.work.mkdir(parents=True, exist_ok=True)
    folders = [
        write(version, args.data, args.work / name, args.scans)
        for name, version in (("before", args.before), ("after", args.after))
    ]
    *found, same = compare(*folders, args.lines)
    print(*found, same, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
