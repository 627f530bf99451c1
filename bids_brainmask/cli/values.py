# SPDX-License-Identifier: Apache-2.0
"""Parsers of the values of options, such as labels, numbers and thresholds."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from bids_brainmask.analyses import catalog
from bids_brainmask.settings import EXECUTORS, LARGEST_BORDER

Number = TypeVar("Number", int, float)


def label(prefix: str) -> Callable[[str], str]:
    """Make a parser of labels, with or without ``sub-`` or ``ses-``."""

    def parse(text: str) -> str:
        bare = text.removeprefix(prefix)
        if not re.fullmatch("[A-Za-z0-9+]+", bare):
            raise argparse.ArgumentTypeError(
                f"expected a label of letters and digits, found {text!r}"
            )
        return bare

    return parse


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """Make a parser of numbers above zero."""

    def parse(text: str) -> Number:
        number = kind(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
        return number

    parse.__name__ = kind.__name__
    return parse


def probability(text: str) -> float:
    """Parse a number strictly between 0 and 1."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text}")
    return number


def distance(text: str) -> float:
    """Parse a distance in mm, of either sign, that a head can hold."""
    number = float(text)
    if not -LARGEST_BORDER <= number <= LARGEST_BORDER:
        raise argparse.ArgumentTypeError(
            f"expected mm between -{LARGEST_BORDER} and {LARGEST_BORDER}, found {text}"
        )
    return number


def threshold(text: str) -> tuple[str, float]:
    """Parse a probability, and its analysis if the text has one."""
    analysis, equals, number = text.rpartition("=")
    if equals and analysis not in catalog.names():
        named = ", ".join(f"{name}=P" for name in catalog.names())
        raise argparse.ArgumentTypeError(f"expected {named} or P, found {text}")
    return analysis, probability(number)


def executor(text: str) -> str:
    """Parse an executor: a name, or the address of a scheduler."""
    if text not in EXECUTORS and not re.fullmatch(r"(\w+://)?\S+:\d+", text):
        raise argparse.ArgumentTypeError(
            f"expected {', '.join(EXECUTORS)} or a scheduler's address such as "
            f"tcp://host:8786, found {text!r}"
        )
    return text
