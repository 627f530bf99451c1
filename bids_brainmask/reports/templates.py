# SPDX-License-Identifier: Apache-2.0
"""Templates and scripts of the participant reports and the group report."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

from bids_brainmask.settings import RESEARCH_ONLY


@functools.cache  # a template is compiled once
def environment(**filters: Callable) -> jinja2.Environment:
    """Jinja2 with the package's templates: all values are escaped, and a missing one is an error.

    Parameters
    ----------
    **filters : callable
        What a template may show values with, by name.

    Returns
    -------
    jinja2.Environment
    """
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: packaged(f"templates/{name}")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    made.globals["research_only"] = RESEARCH_ONLY
    return made


def packaged(name: str) -> str:
    """Text of a file of the package's data, by its folder and name."""
    return (importlib.resources.files("bids_brainmask.data") / name).read_text(encoding="utf-8")


def allow(script: bytes) -> str:
    """Name a script by its hash, as a page's policy does: one that came with a name never runs."""
    digest = hashlib.sha256(script).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
