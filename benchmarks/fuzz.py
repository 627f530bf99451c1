# SPDX-License-Identifier: Apache-2.0
"""Damaged headers, sidecars and filter files by the thousand: what comes out are our own errors.

python benchmarks/fuzz.py [--minutes 20] [--seed 1]

`headers` damages an image's bytes and reads it; `images` takes what could be read through the
whole extraction, with one comparison for a network, and `scans` through all that a run does to a
scan; `sidecars` and `filters` find the scans of a
dataset; `groups` makes the tables of the group level. Anything but a result or an error of the
package's ends the run, with the example that shows it. The tests run the same properties on fewer
examples, always the same ones.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fuzz_records
import hypothesis
import nibabel as nb
import numpy as np
from hypothesis import strategies as st

from bids_brainmask import app, plan
from bids_brainmask.analyses.brain import extract
from bids_brainmask.dataset import query
from bids_brainmask.errors import ImageError, NothingToDo, UsageError
from bids_brainmask.models import backends, registry
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image
from bids_brainmask.voxels.image import Source

SHAPE = (14, 15, 16)
"""Voxels of the sound image, of 12 mm."""


def sound(kind: type[nb.Nifti1Image], order: str) -> bytes:
    """Bytes of an image of a bright ball in a dimmer one, in air."""
    affine = np.diag([12.0, 12, 12, 1])
    affine[:3, 3] = -6 * (np.array(SHAPE) - 1)
    radius = np.linalg.norm(np.indices(SHAPE).T - (np.array(SHAPE) - 1) / 2, axis=-1).T
    data = np.where(radius < 4, 100, np.where(radius < 6, 40, 0)).astype(f"{order}i2")
    made = kind(data, affine, kind.header_class(endianness=order))
    made.set_qform(affine, 1)
    made.set_sform(affine, 1)
    return made.to_bytes()


SOUND = [(kind, sound(kind, order)) for kind in (nb.Nifti1Image, nb.Nifti2Image) for order in "<>"]

BRIGHT = (
    replace(registry.models()["embedded"], intensities="robust"),
    backends.Network(lambda x: (x > 0.7).astype(np.float32), "comparison 1", 16),
)
"""A model, and a network that takes what is bright for brain."""

EDGES = [-32768, -2, -1, 0, 1, 2, 3, 4, 7, 8, 16, 64, 128, 255, 256, 348, 511, 512, 540, 32767]
"""Numbers that headers and programs trip over."""


def numbers(kind: np.dtype) -> st.SearchStrategy:
    """Values of a field of a header."""
    if kind.kind == "S":
        return st.binary(max_size=kind.itemsize)
    if kind.kind == "f":
        return st.floats(width=8 * kind.itemsize) | st.sampled_from([float(x) for x in EDGES])
    limits = np.iinfo(kind)
    some = [x for x in EDGES if limits.min <= x <= limits.max]
    return st.integers(int(limits.min), int(limits.max)) | st.sampled_from(some)


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    """An image's name and its bytes: fields of the header lie, bytes are others, the end is."""
    kind, content = draw(st.sampled_from(SOUND))
    size = kind.header_class.sizeof_hdr
    header = kind.header_class(content[:size], check=False)
    fields = header.structarr.dtype
    for name in draw(st.lists(st.sampled_from(fields.names), max_size=4)):
        base, shape = fields[name].base, fields[name].shape
        place = draw(st.integers(0, shape[0] - 1)) if shape else ()
        header.structarr[name][place] = draw(numbers(base))
    content = bytearray(header.binaryblock + content[size:])
    for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        content = content[: draw(st.integers(0, len(content)))] + draw(st.binary(max_size=40))
    return draw(st.sampled_from([packed, plain, broken]))(draw, bytes(content))


@st.composite
def odd(draw) -> tuple[str, bytes]:
    """An image's name and its bytes: whole, of any shape, place, type and intensities."""
    shape = [draw(st.integers(2, 24)) for _ in range(3)]
    sizes = [draw(st.floats(30, 300)) / side for side in shape]
    shear = [draw(st.floats(-1, 1)) for _ in range(9)]
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[draw(st.permutations(range(3)))] * signs) * sizes
    affine[:3, :3] += draw(st.sampled_from([0, 0, 1e-3, 0.1, 1])) * np.reshape(shear, (3, 3))
    affine[:3, 3] = [draw(st.floats(-1e6, 1e6)) for _ in range(3)]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    data = draw(st.sampled_from(INTENSITIES))(rng, shape)
    kind = np.dtype(draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"])))
    if kind.kind != "f":
        data = np.clip(np.nan_to_num(data), np.iinfo(kind).min, np.iinfo(kind).max)
    made = nb.Nifti1Image(data.astype(kind), affine, dtype=kind)
    content = bytearray(made.to_bytes())
    if draw(st.booleans()):
        scaling = draw(st.floats(width=32)), draw(st.floats(width=32))
        content[112:120] = np.array(scaling, "<f4").tobytes()  # slope and intercept
    return "t1.nii", bytes(content)


INTENSITIES = (
    lambda rng, shape: rng.normal(100, 30, shape),
    lambda rng, shape: rng.random(shape),
    lambda rng, shape: 200.0 * (rng.random(shape) > 0.99),
    lambda rng, shape: rng.integers(9) + 1.0 * (np.indices(shape).sum(0) == 0),
    lambda rng, shape: 1e11 * rng.normal(size=shape),
    lambda rng, shape: 1e-44 * rng.normal(size=shape),
    lambda rng, shape: 1e-18 * rng.normal(size=shape),
    lambda rng, shape: np.where(rng.random(shape) > 0.5, rng.normal(size=shape), np.nan),
    lambda rng, shape: rng.integers(1, 9) * np.indices(shape)[0],
)
"""How an image's intensities may be spread."""


def plain(draw, content: bytes) -> tuple[str, bytes]:
    """Bytes as they are, under either name."""
    return draw(st.sampled_from(["t1.nii"] * 3 + ["t1.nii.gz"])), content


def packed(draw, content: bytes) -> tuple[str, bytes]:
    """Bytes gzipped, perhaps with more behind."""
    rest = draw(st.sampled_from([b""] * 3 + [b"\0", b"x"]))
    return "t1.nii.gz", gzip.compress(content, 1) + rest


def broken(draw, content: bytes) -> tuple[str, bytes]:
    """Bytes gzipped, of which one is another."""
    zipped = bytearray(gzip.compress(content, 1))
    zipped[draw(st.integers(0, len(zipped) - 1))] ^= draw(st.integers(1, 255))
    return "t1.nii.gz", bytes(zipped)


def read(folder: Path, file: tuple[str, bytes]) -> Source | None:
    """Read an image; None where it was refused, in one line that begins with its path."""
    path = folder / file[0]
    path.write_bytes(file[1])
    source, refusal = None, ""
    try:
        source = image.read(path)
    except ImageError as error:
        refusal = str(error)
    if not source:
        assert refusal.startswith(f"{path}: ")
        assert "\n" not in refusal
        return None
    data = source.volume.data
    assert data.dtype == np.float32
    assert np.isfinite(data).all()
    assert data.min() < data.max()
    assert np.isfinite(source.volume.affine).all()
    return source


def headers(folder: Path, file: tuple[str, bytes]) -> str:
    """Read an image, and write a mask and a brain like it, whole and on its grid."""
    source = read(folder, file)
    with contextlib.suppress(ImageError):
        image.read_labels(folder / file[0])
    if not source:
        return "refused"
    mask = source.volume.data > np.median(source.volume.data)
    for made in (image.mask_like(source, mask), image.brain_like(source, mask)):
        again = type(source.file).from_bytes(image.to_bytes(made, compress=False))
        np.testing.assert_array_equal(again.affine, source.volume.affine)
        assert again.shape == mask.shape
    return "read"


def images(folder: Path, file: tuple[str, bytes]) -> str:
    """Extract a brain with a comparison for a network: a mask, or none was found."""
    source = read(folder, file)
    if not source:
        return "refused"
    try:
        found = extract(source, *BRIGHT, 0.5)
    except ImageError:
        return "no brain"
    assert found.mask.any()
    assert found.mask.shape == source.volume.data.shape
    json.dumps(found.quality, allow_nan=False)
    return "mask"


def scans(folder: Path, file: tuple[str, bytes]) -> str:
    """Do all that is done to a scan, its figures too."""
    path = folder / file[0]
    path.write_bytes(file[1])
    run = plan.prepare(dataset(folder, analyses=("brain",)))  # whatever a sidecar says
    job = replace(run.plans[0], scan=replace(run.plans[0].scan, path=path))
    try:
        return app.segment_scan(job, run, {"brain": BRIGHT[1]}).status
    except ImageError:
        return "refused"


WORDS = ["t1w", "session", "run", "acquisition", "part", "suffix", "subject", "extension", "path"]
KEYS = st.sampled_from(["ContrastBolusIngredient", *WORDS]) | st.text(max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "none", "GADOLINIUM", "\ud800", "../..", 10**30, -(2**63)])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def documents(top: st.SearchStrategy) -> st.SearchStrategy[bytes]:
    """Bytes that are JSON, that was JSON before it was cut, or anything, or deep."""
    whole = top.map(lambda value: json.dumps(value).encode())
    cut = st.tuples(whole, st.integers(0, 40)).map(lambda pair: pair[0][: pair[1]])
    deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"1" * 5000])
    return whole | cut | st.binary(max_size=40) | deep


AGENTS = st.fixed_dictionaries({"ContrastBolusIngredient": st.just("GADOLINIUM") | VALUES})
SIDECARS = documents(AGENTS | st.dictionaries(KEYS, VALUES, max_size=4) | VALUES)
FILTERS = documents(
    st.fixed_dictionaries({"t1w": st.dictionaries(KEYS, VALUES, max_size=3) | VALUES}) | VALUES
)


def dataset(folder: Path, **options) -> Settings:
    """Settings of a run over a dataset of one participant, which is made if need be."""
    root = folder / "bids"
    if not root.is_dir():
        (root / "sub-01/anat").mkdir(parents=True)
        (root / "sub-01/anat/sub-01_T1w.nii.gz").touch()
        about = {"Name": "Fuzz", "BIDSVersion": "1.10.0"}
        (root / "dataset_description.json").write_text(json.dumps(about))
    return Settings(
        bids_dir=root, output_dir=folder / "out", analysis_level="participant", **options
    )


def sidecars(folder: Path, content: bytes) -> str:
    """Find a scan whose sidecar is anything."""
    settings = dataset(folder)
    (settings.bids_dir / "sub-01/anat/sub-01_T1w.json").write_bytes(content)
    (scan,) = query.find_scans(settings)
    return "contrast" if scan.contrast else "no contrast"


def filters(folder: Path, content: bytes) -> str:
    """Find the scans that a filter file which is anything asks for."""
    path = folder / "filter.json"
    path.write_bytes(content)
    try:
        query.find_scans(dataset(folder, bids_filter_file=path))
    except (UsageError, NothingToDo) as error:
        return type(error).__name__
    return "found"


PROPERTIES: dict[str, tuple[Callable[[Path, object], str], st.SearchStrategy, int]] = {
    "headers": (headers, damaged(), 200),
    "images": (images, odd(), 20),
    "scans": (scans, odd(), 3),
    "sidecars": (sidecars, SIDECARS, 20),
    "filters": (filters, FILTERS, 20),
    "groups": (
        fuzz_records.groups,
        st.lists(
            fuzz_records.damaged(),
            min_size=fuzz_records.TOGETHER,
            max_size=fuzz_records.TOGETHER,
        ),
        30,
    ),
}
"""What is asserted of what, and how many examples of it are tried in a round."""


def check(name: str, folder: Path, examples: int, **options) -> Counter:
    """Try a property on examples, and count what came out; what is wrong is raised.

    Parameters
    ----------
    name : str
        One of `PROPERTIES`.
    folder : Path
        For the files.
    examples : int
    **options
        Of Hypothesis: ``derandomize`` for the same examples every time.
    """
    seed = options.pop("seed", None)
    holds, examples_of, _ = PROPERTIES[name]
    found = Counter()

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],  # to make an example smaller takes minutes
        suppress_health_check=list(hypothesis.HealthCheck),
        **options,
    )
    @hypothesis.given(examples_of)
    def test(example):
        found[holds(folder, example)] += 1

    (hypothesis.seed(seed)(test) if seed is not None else test)()
    return found


def main() -> None:
    """Try all properties in turns, for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("error")
    logging.disable()  # thousands of warnings are told to nobody
    found = {name: Counter() for name in PROPERTIES}
    end = time.monotonic() + 60 * args.minutes
    seed = args.seed
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            for name, (_, _, examples) in PROPERTIES.items():
                found[name] += check(name, Path(folder), examples, seed=seed)
            seed += 1
    print(f"seeds {args.seed} to {seed - 1}")
    for name, counts in found.items():
        print(f"{name}: {counts.total()} examples:", dict(counts.most_common()))


if __name__ == "__main__":
    main()
