# SPDX-License-Identifier: Apache-2.0
"""The methods text and its references, from the sidecars."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.rows import DEFAULT_SUFFIX
from bids_brainmask.models import registry, unet
from bids_brainmask.reports import templates
from bids_brainmask.voxels import rows

ALWAYS = (
    *("bids_brainmask", "gorgolewski2016", "gorgolewski2017"),
    *("yarkoni2019", "nibabel", "virtanen2020"),
)
"""References of every text, by their keys in references.bib."""


@dataclass(frozen=True)
class Use:
    """Images that were given to one model in one way."""

    images: int
    stripped: int  # number of images that are already skull-stripped
    parameters: Mapping
    near: Mapping  # of lesions: largest distance to the brain, and its model
    grid: str  # empty where it is not known
    precision: object  # number format of the network, as the sidecar has it
    shipped: bool  # whether the model is a part of this package
    citation: str
    notice: str
    cited: Sequence[str]  # keys of references


@dataclass(frozen=True)
class Account:
    """How one analysis was carried out."""

    name: str
    title: str
    sentence: str
    uses: Sequence[Use]


@dataclass(frozen=True)
class Methods:
    """Content of the methods text."""

    accounts: Sequence[Account]
    images: int
    suffixes: Sequence[str]
    software: Mapping[str, str]
    references: str
    """In BibTeX: what the text cites."""


def describe(
    records: Mapping[str, Sequence[Mapping]], suffixes: Iterable[str] = (DEFAULT_SUFFIX,)
) -> Methods:
    """Summarize the processing of results.

    Parameters
    ----------
    records : mapping of str to sequence of mapping
        Sidecars of the results of each analysis.
    suffixes : iterable of str
        Of the images.
    """
    library = bibliography()
    models = {model.sha256: model for model in registry.models().values()}
    accounts = [
        Account(
            name,
            catalog.analysis(name).title,
            catalog.analysis(name).methods,
            [_use(same, models, library) for same in _alike(found)],
        )
        for name, found in records.items()
    ]
    cited = {*ALWAYS, *(key for each in accounts for use in each.uses for key in use.cited)}
    software: dict[str, set[str]] = {}
    for record in itertools.chain(*records.values()):
        for name, version in _mapping(record.get("Software")).items():
            software.setdefault(name, set()).add(str(version))
    return Methods(
        accounts=accounts,
        images=max(map(len, records.values()), default=0),
        suffixes=sorted(set(suffixes)),
        software={name: " and ".join(sorted(found)) for name, found in software.items()},
        references="\n".join(entry for key, entry in library.items() if key in cited),
    )


def bibliography() -> dict[str, str]:
    """Read the package's references: BibTeX by key, each with a newline at its end."""
    text = templates.packaged("templates/references.bib")
    entries = re.findall(r"^@\w+\{([^,]+),.*?^\}\n", text, re.MULTILINE | re.DOTALL)
    bodies = re.findall(r"^@.*?^\}\n", text, re.MULTILINE | re.DOTALL)
    return dict(zip(entries, bodies, strict=True))


def _alike(records: Iterable[Mapping]) -> list[list[Mapping]]:
    """Put records of the same ways together, in the order in which they first come."""
    found: list[list[Mapping]] = []
    for record in records:
        for same in found:
            if all(same[0].get(key) == record.get(key) for key in ("Parameters", "Precision")):
                same.append(record)
                break
        else:
            found.append([record])
    return found


def _use(records: Sequence[Mapping], models: Mapping, library: Mapping[str, str]) -> Use:
    parameters = _mapping(records[0].get("Parameters"))
    sha256 = parameters.get("ModelSHA256")
    model = models.get(sha256) if isinstance(sha256, str) else None
    citation = records[0].get("ModelCitation")
    citation = citation if isinstance(citation, str) else ""
    cited = [*unet.named(model.architecture).cited] if model else []
    for key, entry in library.items():
        doi = re.search(r"doi = \{(.+)\}", entry)
        if doi and doi[1] in citation and key not in cited:
            cited.append(key)
    shipped = bool(model and not model.url)
    return Use(
        images=len(records),
        stripped=sum(record.get("AlreadyStripped") is True for record in records),
        parameters=parameters,
        near=_mapping(parameters.get("NearBrain")),
        grid=rows.grid(model.grid).methods if model else "",
        precision=records[0].get("Precision"),
        shipped=shipped,
        citation="" if model else citation,
        notice=notice if isinstance(notice := records[0].get("ModelNotice"), str) else "",
        cited=cited,
    )


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def markdown(value: str) -> str:
    """Escape text so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>&@$~^|{}])", r"\\\1", " ".join(value.split()))
