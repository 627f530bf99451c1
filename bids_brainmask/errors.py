# SPDX-License-Identifier: Apache-2.0
"""Errors of this package, by what they concern.

::

    BrainMaskError
    ├── UsageError       the command cannot be carried out as given (exit status 2)
    ├── NothingToDo      the dataset holds no image that was asked for (exit status 3)
    ├── ImageError       one image cannot be read or used; the others go on (exit status 1)
    ├── OutputError      a result cannot be written
    ├── WorkerError      worker processes end, or cannot process scans
    └── ModelError       a model is unknown, absent, not the registered file, or unreadable

Messages say where, what was found, what was expected, and what to do.
"""

import re
from collections.abc import Iterable, Sequence


class BrainMaskError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(BrainMaskError):
    """The command cannot be carried out as given."""


class NothingToDo(BrainMaskError):  # noqa: N818 - it reads as what it is
    """The dataset holds no image that was asked for."""


class ImageError(BrainMaskError):
    """One image cannot be read or used.

    Parameters
    ----------
    message : str
    damaged : bool
        Whether the file is empty, cut off, or holds other bytes than those of an image.
    """

    def __init__(self, message: str, *, damaged: bool = False):
        super().__init__(message)
        self.damaged = damaged


class OutputError(BrainMaskError):
    """A result cannot be written."""


class WorkerError(BrainMaskError):
    """Worker processes end, or cannot process scans."""


class ModelError(BrainMaskError):
    """A model is unknown, absent, not the registered file, or unreadable."""


def in_a_line(error: Exception) -> str:
    """Fold an error's message into one line; the name of its type, if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def some_of(labels: Sequence[str]) -> str:
    """Join labels; only the first twenty of more, since a dataset may have a hundred thousand."""
    rest = len(labels) - 20
    return ", ".join(labels[:20]) + (f" and {rest} more" if rest > 0 else "")


PLACE = re.compile(
    r"(?<![\w/.:<])~?/(?=[\w.-])(?:[^\s/'\"<>|]+/)*"  # the folders of an absolute path
    r"|\b(?!https?:)[a-z]+://[^\s/'\"<>,;)]*/*(?:[^\s/'\"<>]+/)*"  # or of an address
)


def without_paths(text: str) -> str:
    """Keep of absolute paths and addresses in a message only what is behind the last slash."""
    return PLACE.sub("", text)


def to_install(extra: str) -> str:
    """Command that installs the packages of an extra."""
    return f"in the folder of the source code, pip install '.[{extra}]'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask for the known word that is most like a word; empty if none is like it.

    Returns
    -------
    str
        A sentence with a space before it.
    """
    from difflib import get_close_matches

    spelled = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), spelled, n=1)
    return f" Did you mean {spelled[near[0]]}?" if near else ""
