# SPDX-License-Identifier: Apache-2.0
"""The Boutiques descriptor of the BIDS App, made from its parser.

Boutiques: https://boutiques.github.io; the descriptor is of its schema 0.5.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bids_brainmask
from bids_brainmask.cli import options
from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry

SCHEMES = {
    "docker": "docker",
    "library": "singularity",
    "oras": "singularity",
    "shub": "singularity",
}
"""Boutiques' type of a container image, by the scheme of its address."""


def boutiques(image: str = "") -> dict:
    """Describe the BIDS App's command line in Boutiques' format.

    Parameters
    ----------
    image : str
        Address of a container image with the app in its search path, such as
        ``docker://name/of-image:tag``. Empty: the installed app is used.

    Returns
    -------
    dict
        For a JSON file.

    Raises
    ------
    UsageError
        The image is not an address.
    """
    parser = options.parser()
    inputs = {action: _input(action, parser.prog) for action in _settable(parser)}
    keys = [each["value-key"] for each in inputs.values()]
    container = {"container-image": _container(image)} if image else {}
    return {
        "name": parser.prog,
        "description": parser.description,
        "tool-version": bids_brainmask.__version__,
        "schema-version": "0.5",
        "author": "The bids_brainmask developers",
        "url": bids_brainmask.CODE_URL,
        "tags": {"domain": ["neuroinformatics", "mri", "bids"]},
        "command-line": " ".join([parser.prog, *keys]),
        "shell": "/bin/bash",  # Boutiques' default is a login shell, which resets the image's PATH
        **container,
        "inputs": list(inputs.values()),
        "groups": _groups(parser, inputs),
        "output-files": [
            {
                "id": "derivatives",
                "name": "Derivative dataset",
                "description": "Masks, their sidecars, and reports",
                "path-template": "[OUTPUT_DIR]",
                "optional": True,  # nothing is written if there is nothing to do
            }
        ],
        "error-codes": [
            {"code": int(code), "description": meaning}
            for code, meaning in re.findall(
                r"^  ([1-9])  (.+)$", parser.epilog or "", re.MULTILINE
            )
        ],
        "suggested-resources": {
            "ram": max(model.memory_gb for model in registry.models().values())
        },
    }


def _settable(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """List the options and arguments of a run, the required ones first."""
    actions = [action for action in parser._actions if action.dest not in ("help", "version")]
    return sorted(actions, key=lambda action: bool(action.option_strings))


def _input(action: argparse.Action, program: str) -> dict:
    """Describe an argument."""
    flag = max(action.option_strings, key=len, default="")
    name = flag.lstrip("-").replace("-", "_") or action.dest
    found = {
        "id": name,
        "name": " ".join(filter(None, [flag or name, _metavar(action)])),
        **_type(action),
        "value-key": f"[{name.upper()}]",
        "optional": not action.required,
    }
    if action.help:
        found["description"] = action.help % {**vars(action), "prog": program}
    if flag:
        found["command-line-flag"] = flag
    if action.choices:
        found["value-choices"] = list(action.choices)
    if flag and action.nargs == "+":  # one level: workflows run each as a step of its own
        found |= {"list": True, "min-list-entries": 1}
    if found["type"] != "Flag" and action.default not in (None, ()):
        found["default-value"] = list(action.default) if found.get("list") else action.default
    return found


def _metavar(action: argparse.Action) -> str:
    """Return the placeholder of the value in the help; empty if there is none."""
    named = action.option_strings and isinstance(action.metavar, str)
    return str(action.metavar) if named else ""


def _type(action: argparse.Action) -> dict:
    """Type of an argument, found by parsing some numbers with its own parser."""
    if action.nargs == 0:
        return {"type": "Flag"}
    if action.type is None:
        return {"type": "String"}
    one = _parsed(action, "1")
    if one is None:  # refused, as by a number of copies, of which there are two or more
        one = _parsed(action, "10")
    if isinstance(one, Path):
        return {"type": "File"}
    if not isinstance(one, int | float):
        return {"type": "String"}
    found = {"type": "Number", "integer": isinstance(one, int)}
    if _parsed(action, "-1") is None:
        found |= {"minimum": 0, "exclusive-minimum": _parsed(action, "0") is None}
    return found


def _parsed(action: argparse.Action, text: str) -> Any:
    """Parse a text; None if the argument refuses it."""
    try:
        return action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError):
        return None


def _groups(parser: argparse.ArgumentParser, inputs: Mapping[argparse.Action, dict]) -> list[dict]:
    """List the headings of the help with their options."""
    named = {
        group.title: [inputs[action]["id"] for action in group._group_actions if action in inputs]
        for group in parser._action_groups
        if group not in (parser._positionals, parser._optionals)
    }
    return [
        {"id": re.sub(r"\W", "_", title), "name": title, "members": members}
        for title, members in named.items()
        if title and members
    ]


def _container(image: str) -> dict:
    """Describe a container image by its address."""
    scheme, _, name = image.rpartition("://")
    if not re.fullmatch(r"\w[\w.:@/-]*(?<!\.sif)", name) or scheme not in ("", *SCHEMES):
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise UsageError(
            f"--container {image}: expected the address of an image in a registry, with "
            f"{known} or no prefix, such as docker://name/of-image:tag. For an image in a file, "
            "give the address that it was made from."
        )
    if SCHEMES[scheme or "docker"] == "docker":
        return {"type": "docker", "image": name}
    return {"type": "singularity", "image": name, "index": f"{scheme}://"}
