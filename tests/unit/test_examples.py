# SPDX-License-Identifier: Apache-2.0
"""The examples of docstrings show what happens."""

import doctest
import importlib
from pathlib import Path

import pytest

import bids_brainmask

PACKAGE = Path(bids_brainmask.__file__).parent

SLOW = {"bids_brainmask.api.extractors.find_meningiomas"}
"""A network looks at a whole head: more than three seconds."""


def examples():
    """Examples of the package; to import the modules without any would take seconds."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>> " in text and "doctest: +SKIP" not in text:
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            for example in doctest.DocTestFinder().find(importlib.import_module(name)):
                if example.examples:
                    slow = [pytest.mark.slow] if example.name in SLOW else []
                    yield pytest.param(example, id=example.name, marks=slow)


@pytest.mark.parametrize("example", list(examples()))
def test_an_example_shows_what_happens(example):
    said = []
    assert not doctest.DocTestRunner().run(example, out=said.append).failed, "".join(said)
