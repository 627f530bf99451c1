# SPDX-License-Identifier: Apache-2.0
"""Places of synthetic tumors on the dura, as labels tell them and as the app does.

python benchmarks/places.py FOLDER [--tumors 4] [--markdown FILE]

FOLDER holds label maps as a training lays them out: `label_maps` in its folder. The polynomial of
the tentorium is fitted to all heads but one, by which it is judged, and printed for all.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import document
import numpy as np

from bids_brainmask.analyses import head_frame, lesion_place
from bids_brainmask.analyses.head_frame import Frame
from bids_brainmask.train.label_maps import FALX, TENTORIUM

STEP = 3
"""Every third voxel is used, along each axis."""

POINTS = 6000
"""Points of a head to which the tentorium is fitted, near it and far from it."""

RADII = (7.0, 16.0)
"""Of the tumors, mm."""


@dataclass(frozen=True)
class Head:
    """A label map, on every third voxel."""

    name: str
    affine: np.ndarray
    depth: np.ndarray  # mm inside of the brain's outline
    falx: np.ndarray  # mm, a difference of two distances
    tentorium: np.ndarray
    sheet: np.ndarray
    frame: Frame

    @property
    def brain(self) -> np.ndarray:
        """The brain mask."""
        return self.depth > 0


def read(folder: Path) -> list[Head]:
    """Read the label maps of a folder."""
    heads = []
    some = (slice(1, None, STEP),) * 3
    for record in json.loads((folder / "label_maps.json").read_text()):
        affine = np.array(record["affine"])
        own = affine.copy()
        own[:3, :3] *= STEP
        own[:3, 3] += affine[:3, :3].sum(1)
        names = ("depth", "falx", "tentorium", "sheet")
        arrays = [
            np.load(folder / record["name"] / f"{n}.npy", mmap_mode="r")[some] for n in names
        ]
        depth, falx, tentorium = (array / 4 for array in arrays[:3])
        frame = head_frame.find(depth > 0, own)
        heads.append(Head(record["name"], own, depth, falx, tentorium, arrays[3], frame))
    return heads


def fit(heads: list[Head]) -> np.ndarray:
    """Fit the polynomial of the tentorium by least squares, the nearest points weighted most."""
    rows, values = [], []
    for head in heads:
        near, rng = np.abs(head.tentorium) < 25, np.random.default_rng(0)
        parts = (np.argwhere((head.depth > -12) & where) for where in (near, ~near))
        picked = np.concatenate([part[rng.permutation(len(part))[:POINTS]] for part in parts])
        points = head.frame.place(picked @ head.affine[:3, :3].T + head.affine[:3, 3])
        rows.append(lesion_place.terms(points, head.frame.sizes))
        values.append(head.tentorium[tuple(picked.T)])
    matrix, value = np.concatenate(rows), np.concatenate(values)
    weight = np.exp(-((value / 15) ** 2) / 2) + 0.1
    return np.linalg.lstsq(matrix * weight[:, None], value * weight, rcond=None)[0]


def seeds(head: Head) -> dict[str, np.ndarray]:
    """Voxels where tumors start, by the place that the labels tell."""
    shell = np.abs(head.depth) < 0.6 * STEP
    height = np.moveaxis(np.indices(head.depth.shape), 0, -1) @ head.affine[:3, :3].T
    height = height[..., 2] + head.affine[2, 3] - head.frame.middle[2]
    over, side = head.tentorium > 4, np.abs(head.falx)
    down = np.gradient(head.depth)[2] > 0.6 * STEP
    return {
        "convexity": shell & over & (side > 30) & ~down & (height > 0),
        "parasagittal": shell & (side < 14) & (height > 25),
        "falx": (head.sheet == FALX) & (head.depth > 12),
        "tentorium": (head.sheet == TENTORIUM) & (head.depth > 8),
        "skull base": shell & over & down & (height < -15),
        "posterior fossa": shell & (head.tentorium < -8),
    }


def grow(
    head: Head, start: np.ndarray, place: str, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Grow half of a ball, or more, from the dura on one side of it; bool, in a box."""
    radius = rng.uniform(*RADII)
    reach = int(np.ceil((2 * radius + 6) / STEP))
    low = np.maximum(start - reach, 0)
    high = np.minimum(start + reach + 1, head.depth.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    own = start - low
    fields = {"falx": head.falx[box], "tentorium": head.tentorium[box]}
    depth = head.depth[box]
    inward = np.array([axis[tuple(own)] for axis in np.gradient(fields.get(place, depth))])
    sign = rng.choice([-1, 1]) if place in fields else 1
    inward *= sign / max(np.linalg.norm(inward), 1e-6)
    middle = own + inward * rng.uniform(0.1, 0.6) * radius / STEP
    squares = ((n - m) ** 2 for n, m in zip(np.ogrid[box], middle + low, strict=True))
    tumor = (np.sqrt(sum(squares)) < radius / STEP) & (depth > -1)
    for name, other in fields.items():
        here = float(other[tuple(own)])
        if name == place:
            tumor &= other * sign > -1
        elif abs(here) > 4:
            tumor &= other * np.sign(here) > 0
    return tumor, box


def judge(head: Head, number: int, rng: np.random.Generator) -> list[tuple[str, str, float]]:
    """Compare the place that the app tells with that of the labels, tumor by tumor."""
    found = []
    for place, where in seeds(head).items():
        voxels = np.argwhere(where)
        for start in voxels[rng.permutation(len(voxels))[:number]]:
            tumor, box = grow(head, start, place, rng)
            if tumor.sum() * STEP**3 < 300:
                continue
            affine = head.affine.copy()
            affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
            within = head.brain[box] | tumor
            told, sure = lesion_place.find(tumor, within, affine, head.frame)
            found.append((place, told or "n/a", sure or 0.0))
    return found


def main() -> None:
    """Print the table, the error of the tentorium, and its factors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tumors", type=int, default=4, help="of each place and head")
    parser.add_argument("--heads", type=int, help="only the first ones are judged")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    heads = read(args.folder)
    factors, found = lesion_place.TENTORIUM, []
    for number, head in enumerate(heads[: args.heads]):
        lesion_place.TENTORIUM = tuple(fit([one for one in heads if one is not head]))
        found += judge(head, args.tumors, np.random.default_rng(number))
    lesion_place.TENTORIUM = factors
    columns = [*lesion_place.PLACES, "n/a"]
    rows = []
    for place in lesion_place.PLACES:
        counts = Counter(told for true, told, _ in found if true == place)
        rows.append([place, *(str(counts[name]) for name in columns)])
    told = [(true == name, sure) for true, name, sure in found if name != "n/a"]
    sure = [right for right, certainty in told if certainty > 0.9]
    text = document.table(["place, by the labels", *(f"told: {name}" for name in columns)], rows)
    text += (
        f"\n{len(found)} tumors in {len(heads[: args.heads])} heads: {len(told)} places told, "
        f"{np.mean([right for right, _ in told]):.0%} of them right; of {len(sure)} of a "
        f"certainty over 0.9, {np.mean(sure):.0%}.\n"
    )
    print(text, "Factors of the tentorium:", fit(heads).round(2).tolist(), sep="\n")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
