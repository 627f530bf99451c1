# SPDX-License-Identifier: Apache-2.0
"""Wall time and peak memory of a whole `participant` run on one head, in a process of its own.

python benchmarks/cold_run.py T1w.nii.gz [--model embedded FILE ...] [--repeat 3]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def cold_run(image: Path, model: str, engine: str) -> tuple[float, float]:
    """Seconds from start to exit, and the most memory held, in GB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "bids")
        anat = root / "sub-01" / "anat"
        anat.mkdir(parents=True)
        description = {"Name": "One head", "BIDSVersion": "1.10.0"}
        (root / "dataset_description.json").write_text(json.dumps(description))
        shutil.copy(image, anat / "sub-01_T1w.nii.gz")
        command = [sys.executable, "-m", "bids_brainmask", root, Path(folder, "out")]
        command += ["participant", "--model", model, "--engine", engine, "--overwrite"]
        started = time.perf_counter()
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(running.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{command} ended with status {status}")
        return seconds, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", nargs="+", default=["embedded"])
    parser.add_argument("--engine", nargs="+", default=["openvino"])
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print("| model | engine | seconds | peak memory, GB |\n|---|---|---|---|")
    for model in args.model:
        for engine in args.engine:
            runs = [cold_run(args.image, model, engine) for _ in range(args.repeat)]
            seconds, memory = (statistics.median(values) for values in zip(*runs, strict=True))
            print(f"| {Path(model).name} | {engine} | {seconds:.1f} | {memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
