# SPDX-License-Identifier: Apache-2.0
"""Measure the intervals of a network's activations for int8, when its weights are released.

python benchmarks/int8_ranges.py HEADS WEIGHTS [--only sub-rigs ...]
    > bids_brainmask/data/weights/embedded-int8.json

HEADS is the dataset that the network was trained on: only heads of its split `train` are seen.
WEIGHTS is the embedded network's `.npz` file. Heads are seen whole: values deep in the network
depend on how much of the head is in view, and are five times as high as in windows of training.

Measure afterwards what int8 changes: docs/model-embedded.md has the table.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import heads
import msgspec
import numpy as np

from bids_brainmask.analyses.probability import probability_map
from bids_brainmask.hashes import sha256
from bids_brainmask.models import backends, int8, registry, weights
from bids_brainmask.models.unet import COMPACT
from bids_brainmask.voxels import image

LOWEST, HIGHEST = 0.01, 99.99
"""Percentiles of a tensor's values in one head, between which its interval lies."""

MOST = 400_000
"""Values of a tensor that the percentiles are taken of."""

DECODER = 0.5
"""Factor on the intervals of the decoder. Its highest values lie deep in the brain, where the
probability is 1 also when they are cut; small ones decide where the edge is."""


def inputs(found: Iterable[heads.Head], arrays: backends.Weights) -> Iterator[np.ndarray]:
    """Yield what the network sees of each head, (I, J, K) float32."""
    model, whole = registry.models()["embedded"], backends.openvino_network(COMPACT, arrays, 1)
    for head in found:
        seen: list[np.ndarray] = []

        def run(block: np.ndarray, seen: list = seen) -> np.ndarray:
            seen.append(block)
            return whole.run(block)

        watched = backends.Network(run, whole.engine, whole.divisor)
        probability_map(image.read(head.image), model, watched)
        yield seen[-1]


def extremes(blocks: Iterable[np.ndarray], arrays: backends.Weights) -> dict[str, np.ndarray]:
    """Percentiles of each tensor of the float32 network in each block, (N, 2)."""
    ov = backends.import_openvino()
    graph = backends.openvino_graph(COMPACT, arrays)
    layers = {one.get_friendly_name(): one.output(0) for one in graph.get_ops()}
    found: dict[str, list] = {name: [] for name in int8.tensors(COMPACT)}
    outputs = [layers[name] for name in found]
    tensors = ov.Model(outputs, graph.get_parameters(), "tensors")
    run = ov.compile_model(tensors, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for number, block in enumerate(blocks, 1):
        for rows, values in zip(found.values(), run(block[None, None]).values(), strict=True):
            some = values.ravel()[:: max(1, values.size // MOST)]
            rows.append(np.percentile(some, (LOWEST, HIGHEST)))
        print("input", number, file=sys.stderr, flush=True)
    return {name: np.array(pairs) for name, pairs in found.items()}


def intervals(found: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Choose the interval of each tensor: what holds those of all inputs, and 0."""
    chosen = {}
    for name, pairs in found.items():
        factor = DECODER if name.startswith(("up_", "decoder_")) else 1.0
        low, high = min(0.0, pairs.min()) * factor, pairs.max() * factor
        chosen[name] = (float(f"{low:.4g}"), float(f"{high:.4g}"))
    return chosen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--only", nargs="+", metavar="HEAD", help="names of heads to see")
    args = parser.parse_args()
    found = [h for h in heads.find(args.heads, "train") if not args.only or h.name in args.only]
    arrays = weights.read(args.weights, COMPACT)
    chosen = intervals(extremes(inputs(found, arrays), arrays))
    made = int8.Ranges(weights=sha256(args.weights), intervals=chosen)
    print(msgspec.json.format(msgspec.json.encode(made), indent=1).decode())


if __name__ == "__main__":
    main()
