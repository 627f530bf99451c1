# SPDX-License-Identifier: Apache-2.0
"""Put a person's mask in the place of an automatic one, and bring the automatic one back.

The next run of the participant level makes everything that depends on the mask anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from bids_brainmask.analyses import catalog
from bids_brainmask.dataset import currency, readback, storage
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.hashes import fingerprint
from bids_brainmask.results import files
from bids_brainmask.voxels import image, masks


def manual(root: Path) -> Iterator[tuple[Path, Mapping]]:
    """Yield the path and the sidecar of each mask of a derivative dataset that is a person's."""
    for result in readback.read(root):
        for name, record in result.records.items():
            if catalog.analysis(name).correctable and record.get("Manual") is True:
                yield root / result.main(name), record


def adopt(root: Path, mask: Path, *, editor: str = "", image_name: str = "") -> Path:
    """Put a mask in the place of the automatic one, which is kept beside it.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    mask : Path
        On the grid of the image; two values. Its name is that of the mask to replace, unless
        `image_name` is given.
    editor : str
        Name of the person; empty: unknown.
    image_name : str
        Name of the image whose brain mask it is, such as ``sub-01_T1w.nii.gz``.

    Returns
    -------
    Path
        The mask that was replaced.

    Raises
    ------
    UsageError
        There is no such mask or image in the dataset.
    ImageError
        The mask does not fit.
    """
    result, name = _find(root, image_name or mask.name, by_image=bool(image_name))
    place, automatic = root / result.main(name), root / result.output(_automatic(name))
    _check_as_written(place)
    old = image.read_grid(place)
    new = image.read_binary(mask)
    image.check_same_grid((str(mask), str(place)), (new, old.volume))
    if name == "brain" and not new.data.any():
        raise ImageError(f"{mask}: the mask is empty; expected a brain. Draw it again.")
    record = dict(currency.read_record(place))
    if record.get("Manual") is not True:
        storage.write_bytes(automatic, place.read_bytes())
        _bind(automatic, {**record, "MadeFrom": {}})
    saved = datetime.fromtimestamp(mask.stat().st_mtime, UTC).isoformat(timespec="seconds")
    storage.write_bytes(place, image.to_bytes(image.mask_like(old, new.data), compress=True))
    given = {"CorrectedBy": editor} if editor else {}
    record.pop("CorrectedBy", None)
    digest = {"VoxelsSHA256": masks.digest(new.data)}
    _bind(place, {**record, "Manual": True, "Corrected": saved, **given, **digest})
    return place


def revert(root: Path, mask: str) -> Path:
    """Bring the automatic mask back in the place of a person's, which is lost.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    mask : str
        Name of the mask.

    Raises
    ------
    UsageError
        There is no such mask, or it is not manual.
    """
    result, name = _find(root, mask, by_image=False)
    place, automatic = root / result.main(name), root / result.output(_automatic(name))
    record = dict(currency.read_record(place))
    if record.get("Manual") is not True or not automatic.is_file():
        raise UsageError(
            f"{place}: expected a manual mask with the automatic one beside it. `brainmask adopt "
            f"{root} --list` lists the manual masks."
        )
    _check_as_written(place)
    digest = {"VoxelsSHA256": masks.digest(image.read_mask(automatic)), "Manual": False}
    storage.write_bytes(place, automatic.read_bytes())
    _bind(place, {k: v for k, v in record.items() if not k.startswith("Corrected")} | digest)
    for path in (storage.sidecar(automatic), automatic):
        with storage.output_errors(path):
            path.unlink(missing_ok=True)
    return place


def _check_as_written(place: Path) -> None:
    """Raise a `UsageError` if a mask has been edited and no run has taken it yet."""
    if not files.as_written(place, currency.read_record(place), {}) or currency.uncompressed(
        place
    ):
        raise UsageError(
            f"{place}: this mask, or a .nii file beside it, has been changed since the last run. "
            "Run the participant level first, which keeps it."
        )


def _automatic(analysis: str) -> str:
    return f"{catalog.analysis(analysis).main}_automatic"


def _find(root: Path, name: str, *, by_image: bool) -> tuple[Result, str]:
    """Find the image and the analysis of a mask by its name, or by that of the image."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder. Name the folder of the results.")
    stem = Path(name).name.split(".")[0]
    label = stem.split("_")[0].removeprefix("sub-")
    for result in readback.read(root, [label]) if label else []:
        for analysis in result.records:
            there = Path(result.main(analysis)).name.split(".")[0]
            wanted = f"{result.prefix}_{result.suffix}" if by_image else there
            if by_image and analysis != catalog.names()[0]:
                continue  # --for means the brain mask
            if catalog.analysis(analysis).correctable and wanted == stem:
                return result, analysis
    raise UsageError(
        f"{root}: no mask for {name}. Give the mask the name of the one that it replaces, or name "
        "its image with --for."
    )


def _bind(path: Path, record: Mapping) -> None:
    """Write the sidecar of a mask, bound to the file as it is now and to nothing made along."""
    with storage.output_errors(path):
        found = fingerprint(path)
    del found["Modified"]
    others = {k: v for k, v in record.get("Files", {}).items() if not k.endswith("mask.nii.gz")}
    storage.write_json(storage.sidecar(path), {**record, "Files": {path.name: found, **others}})
