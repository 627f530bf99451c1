# SPDX-License-Identifier: Apache-2.0
"""Time of the embedded network and of the published U-Net on a GPU, in Keras on PyTorch.

KERAS_BACKEND=torch python benchmarks/gpu.py [--device cuda] [--networks embedded published]
    [--shape 192 256 224] [--conformed 256] [--block 128] [--repeat 5] [--minutes 9]
    [--markdown FILE]

The embedded network has its weights, the published U-Net random ones of the same shapes. The image
is made here, so that no file but those of the package is needed: an ellipsoid of brain in bone and
skin, with noise, so that no block is constant. Each network runs in float32, in TF32 (products of
float32 rounded to 19 bits, on NVIDIA GPUs from Ampere on) and in bfloat16. A volume's time is from
the array in the processor's memory to the probabilities there. What is left when the minutes are
over is not measured, and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import document
import numpy as np

from bids_brainmask.models import registry, unet, weights
from bids_brainmask.voxels import inference

NETWORKS = {"embedded": unet.COMPACT, "published": unet.SEED}
"""Architecture of each network; `published` is that of `brainy` and `ams`."""

PRECISIONS = ("float32", "TF32", "bfloat16")

COLUMNS = (
    *("network", "number format", "from the command to the end, s", "loading, s"),
    *("a volume, s", "fastest, slowest, s", "memory of the GPU, GB"),
    *("largest difference of a probability from float32", "Dice with the mask in float32"),
)

NOT_MEASURED = "not measured: the time was over"


@dataclass(frozen=True)
class Choice:
    """What is measured in one process."""

    network: str
    precision: str
    device: str  # of PyTorch
    shape: tuple[int, int, int]  # that the embedded network sees
    conformed: int  # voxels along each axis that the published network sees, in blocks
    block: int
    repeat: int

    def words(self) -> list[str]:
        """Write it as arguments of ``inside``."""
        return [json.dumps(vars(self))]


def picture(shape: Sequence[int]) -> np.ndarray:
    """Make an image of an ellipsoid in two others, with noise, (I, J, K) float32 in [0, 1]."""
    axes = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    away = np.sqrt(i**2 + j**2 + k**2)
    tissue = np.select([away < 0.65, away < 0.75, away < 0.85], [0.7, 0.1, 0.9], 0.0)
    noise = np.random.default_rng(0).normal(scale=0.02, size=tuple(shape))
    return np.clip(tissue + noise, 0, 1).astype(np.float32)


def load(choice: Choice) -> Callable[[np.ndarray], np.ndarray]:
    """Build a network on a device, from (I, J, K) float32 to probabilities."""
    import keras
    import torch

    exact = choice.precision != "TF32"
    torch.backends.cuda.matmul.allow_tf32 = not exact
    torch.backends.cudnn.allow_tf32 = not exact
    architecture = NETWORKS[choice.network]
    policy = "mixed_bfloat16" if choice.precision == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    with keras.device(choice.device):
        if choice.network == "embedded":
            model = registry.models()["embedded"]
            arrays = weights.read(registry.find(model.name), architecture)
            network: Any = weights.into_keras(architecture, arrays)
        else:
            network = unet.unet3d(architecture)

    def run(block: np.ndarray) -> np.ndarray:
        with keras.device(choice.device), torch.inference_mode():
            image = torch.from_numpy(block[None, ..., None]).to(choice.device)
            found = torch.sigmoid(network(image, training=False).float())
            return found[0, ..., 0].cpu().numpy()  # waits for the GPU

    return run


def inside(choice: Choice) -> dict[str, Any]:
    """Measure one network in one number format within this process."""
    import torch

    on_gpu = choice.device.startswith("cuda")
    started = time.perf_counter()
    run = load(choice)
    loading = time.perf_counter() - started
    published = choice.network == "published"
    data = picture((choice.conformed,) * 3 if published else choice.shape)
    block = choice.block if published else 0
    seconds, found = [], None
    for _ in range(choice.repeat + 1):  # the first volume warms up
        started = time.perf_counter()
        found = inference.run(data, run, block)
        seconds.append(time.perf_counter() - started)
    place = Path(os.environ["GPU_FOUND"]) if "GPU_FOUND" in os.environ else None
    if place and found is not None:
        np.save(place, found)
    return {
        "loading": loading,
        "seconds": seconds[1:] or seconds,
        "memory": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
    }


def process(choice: Choice, found: Path, timeout: float) -> dict[str, Any]:
    """Measure in a process of its own; its whole time with one volume is measured apart."""
    program = [sys.executable, str(Path(__file__)), "inside"]
    environment = os.environ | {"GPU_FOUND": str(found)}
    warm = subprocess.run(
        [*program, *choice.words()], env=environment, stdout=subprocess.PIPE, timeout=timeout
    )
    if warm.returncode:
        raise SystemExit(f"{choice} ended with status {warm.returncode}")
    once = SimpleNamespace(**vars(choice))
    once.repeat = 0
    started = time.perf_counter()
    subprocess.run(
        [*program, json.dumps(vars(once))],
        stdout=subprocess.DEVNULL,
        timeout=timeout,
        check=True,
    )
    return json.loads(warm.stdout) | {"whole": time.perf_counter() - started}


def row(choice: Choice, measured: dict[str, Any], difference: float, dice: float | None) -> list:
    """Lay one measurement out as cells."""
    seconds, memory = measured["seconds"], measured["memory"]
    return [
        choice.network,
        choice.precision,
        f"{measured['whole']:.2f}",
        f"{measured['loading']:.2f}",
        f"{statistics.median(seconds):.3f}",
        f"{min(seconds):.3f}, {max(seconds):.3f}",
        "n/a" if memory is None else f"{memory:.2f}",
        f"{difference:.4f}",
        "n/a" if dice is None else f"{dice:.4f}",
    ]


def overlap(one: np.ndarray, other: np.ndarray) -> float | None:
    """Dice of the masks at 0.5; None where both are empty."""
    first, second = one >= 0.5, other >= 0.5
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


def rows(args: argparse.Namespace, folder: Path) -> Iterator[list]:
    """Measure each network in each number format, as long as there is time."""
    end = time.monotonic() + 60 * args.minutes
    for network in args.networks:
        reference: np.ndarray | None = None
        for precision in PRECISIONS:
            if precision == "TF32" and not args.device.startswith("cuda"):
                continue  # only NVIDIA GPUs have it
            how = (tuple(args.shape), args.conformed, args.block, args.repeat)
            choice = Choice(network, precision, args.device, *how)
            place = folder / f"{network}-{precision}.npy"
            try:
                measured = process(choice, place, max(1.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                yield [network, precision, NOT_MEASURED, *[""] * (len(COLUMNS) - 3)]
                continue
            found = np.load(place)
            reference = found if reference is None else reference
            difference = float(np.abs(found - reference).max())
            yield row(choice, measured, difference, overlap(found, reference))


def device_name(device: str) -> str:
    """Name the device that computes, as PyTorch and the system know it."""
    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())}, {torch.get_num_threads()} threads: NOT a GPU"


def parser() -> argparse.ArgumentParser:
    """Make the parser."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--device", help="of PyTorch; default: cuda where there is one, else cpu")
    made.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    made.add_argument("--shape", nargs=3, type=int, default=[192, 256, 224], metavar="N")
    made.add_argument("--conformed", type=int, default=256, metavar="N")
    made.add_argument("--block", type=int, default=128, metavar="N")
    made.add_argument("--repeat", type=int, default=5, help="volumes, after one more")
    made.add_argument("--minutes", type=float, default=9, help="after which nothing is started")
    made.add_argument("--markdown", type=Path, help="file to write")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["inside"]:
        print(json.dumps(inside(Choice(**json.loads(words[1])))))
        return
    args = parser().parse_args(words)
    import tempfile

    import keras
    import torch

    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    versions = f"Keras {keras.__version__} on PyTorch {torch.__version__}"
    where = f"- device: {device_name(args.device)}\n- {versions}\n"
    print(where, flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for cells in rows(args, Path(folder)):
            print(*cells, sep=" | ", flush=True)
            found.append(cells)
    sizes = (
        f"- embedded: {' x '.join(map(str, args.shape))} voxels at once; published: "
        f"{args.conformed}^3 voxels in blocks of {args.block}^3, random weights\n"
        f"- medians of {args.repeat} volumes after one more; whole process with one volume\n"
    )
    text = f"# Networks on a GPU\n\n{where}{sizes}\n{document.table(COLUMNS, found)}"
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "torch")  # before Keras is imported, and only for this
    main()
