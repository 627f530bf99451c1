# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/speed.py measures from within a process, which it starts: `speed.py inside`."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from speed_processes import precisions
from speed_text import THREADS

from bids_brainmask import app, machine
from bids_brainmask.analyses.brain import extract
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import cleanup, grid, image, inference, scaling


def clock(task: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and GB of a task."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return (
        round(time.perf_counter() - wall, 4),
        round(time.process_time() - cpu, 4),
        machine.peak_memory_gb(),
    )


def loaded(head: Path, mask: Path, precision: str) -> tuple[float, float, float]:
    """From the image's file to the written mask, the second time."""
    from bids_brainmask.analyses import catalog, rendering

    model = registry.resolve("embedded")
    network = backends.load(model, "openvino", THREADS, precision)

    def task() -> None:
        source = image.read(head)
        brain = extract(source, model, network, model.threshold)
        mask.write_bytes(rendering.render(catalog.output("mask"), source, {"brain": brain}))

    task()
    return clock(task)


def seed(path: Path, name: str, precision: str) -> tuple[float, float, float]:
    """Eight blocks of noise, none of which is blank; one block before, to warm up."""
    model = registry.resolve(str(path))
    network = backends.load(model, name, THREADS, precision)
    data = np.random.default_rng(0).normal(size=(256, 256, 256)).astype(np.float32)
    inference.run(data[:128, :128, :128], network.run, 128)
    return clock(lambda: inference.run(data, network.run, 128))


def memory(data: Path, out: Path) -> list[int]:
    """Bytes that the process holds after each scan.

    The embedded network runs on each; the mask is a comparison's, for the heads are two balls.
    """
    import psutil

    from bids_brainmask import plan
    from bids_brainmask.cli import options

    load = backends.load

    def both(*args) -> backends.Network:
        network = load(*args)

        def run(block: np.ndarray) -> np.ndarray:
            network.run(block)
            return (block > 0.5).astype(np.float32)

        return backends.Network(run, network.engine, network.divisor)

    backends.load = both
    words = [str(data), str(out), "participant", "--model", "embedded", "--no-reports"]
    (settings,) = options.each_level(options.parser().parse_args([*words, "--n-cpus", "2"]))
    own = psutil.Process()
    outcomes = app.process(plan.prepare(settings))
    return [own.memory_info().rss for outcome in outcomes if outcome.status == "done"]


def stages(head: Path) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of each step, the second time that it is done."""
    from bids_brainmask.analyses import confidence, plausibility, quality
    from bids_brainmask.drawing import figures

    model = registry.resolve("embedded")
    networks = {one: backends.load(model, "openvino", THREADS, one) for one in precisions()}
    network = networks["float32"]
    found: dict[str, tuple[float, float]] = {}

    def step(name: str, task: Callable):
        task()
        wall, cpu = time.perf_counter(), time.process_time()
        result = task()
        found[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        return result

    def conform():
        target, air = grid.head(volume, network.divisor), grid.air(volume)
        data = grid.resample(volume, target, outside=air)
        return target, np.maximum(data, np.float32(air))

    def judge():
        trust = confidence.of(cleaned.mask, probability, volume.spacing, cleaned.removed)
        cleanup.stripped_before(volume.data, cleaned.mask)
        counts = {"pieces_removed": 0, "removed": 0, "holes_filled": 0, "filled": 0}
        quality.measure(volume, cleaned.mask, probability, predicted_dice=1.0, **counts)
        return trust

    def draw() -> None:
        figures.mosaic(volume, cleaned.mask, title="")
        figures.uncertainty(volume, cleaned.mask, probability, title="")
        figures.thumbnail(volume, cleaned.mask)

    def write(make: Callable, mask: np.ndarray) -> bytes:
        return image.to_bytes(make(source, mask), compress=True)

    source = step("read", lambda: image.read(head))
    volume = source.volume
    target, conformed = step("conform", conform)
    below = max(conformed.shape[2] - model.height, 0)
    scaled = step("scale", lambda: scaling.scale_robustly(conformed, below))
    for name in [one for one in networks if one != "float32"]:
        step(f"network in {name}", lambda name=name: inference.run(scaled, networks[name].run, 0))
    answer = np.zeros_like(conformed)
    answer[..., below:] = step("network", lambda: inference.run(scaled, network.run, 0))
    probability = step("restore", lambda: grid.restore(answer, target, volume))
    cleaned = step("clean", lambda: cleanup.brain(probability >= model.threshold))
    step("confidence and quality", judge)
    step("plausibility", lambda: plausibility.measure(volume, cleaned.mask, cleaned.removed))
    step("write the mask", lambda: write(image.mask_like, cleaned.mask))
    step("write the brain", lambda: write(image.brain_like, cleaned.mask))
    step("figures", draw)
    return found


def precision(root: Path) -> dict[str, list[float]]:
    """Compare the masks in both precisions with each other and with the reference, head by head.

    Returns
    -------
    dict of str to list of float
        ``between``, and ``float32`` and ``bfloat16`` with deepbet's mask: Dice; ``share``: voxels
        that are in one mask alone, over the one in float32.
    """
    import heads

    from bids_brainmask.voxels import agreement

    model = registry.resolve("embedded")
    networks = {
        name: backends.load(model, "openvino", THREADS, name) for name in ("float32", "bfloat16")
    }
    found: dict[str, list[float]] = {name: [] for name in ("between", "share", *networks)}
    for head in heads.find(root, "dev"):
        source, reference = image.read(head.image), heads.masks(head)["deepbet"]
        masks = {
            name: extract(source, model, network, model.threshold).mask
            for name, network in networks.items()
        }
        one, other = masks.values()
        found["between"].append(agreement.dice(one, other))
        found["share"].append(float(np.count_nonzero(one != other) / np.count_nonzero(one)))
        for name, mask in masks.items():
            found[name].append(agreement.dice(mask, reference))
        print(head.name, {k: round(v[-1], 5) for k, v in found.items()}, file=sys.stderr)
    assert statistics.median(found["between"]) < 1, "one precision was measured twice"
    return found


KINDS: dict[str, Callable] = {f.__name__: f for f in (loaded, seed, memory, stages, precision)}
"""What can be measured, by name."""


def main(kind: str, words: Sequence[str]) -> None:
    """Measure, and print what was found as a line of JSON. A word with a slash is a path."""
    print(json.dumps(KINDS[kind](*(Path(word) if "/" in word else word for word in words))))
