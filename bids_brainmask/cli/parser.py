# SPDX-License-Identifier: Apache-2.0
"""A command line whose help and errors are in plain words."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from bids_brainmask.errors import did_you_mean
from bids_brainmask.settings import REMEMBERED

REWORDED = (
    (r"^argument ", ""),
    (r"the following arguments are required: (.+)", r"missing: \1."),
    (r"expected one argument", "expected a value."),
    (r"expected at least one argument", "expected at least one value."),
    (r"unrecognized arguments: (.+)", r"not expected: \1."),
    (r"ignored explicit argument (.+)", r"takes no value, found \1."),
    (r"invalid int value: (.+)", r"expected a whole number, found \1."),
    (r"invalid \w+ value: (.+)", r"expected a number, found \1."),
)
"""Messages of `argparse`, and ours."""


class Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Show values once, defaults as they are typed, and the epilog as it is."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.nargs == 0 or action.default in (None, (), "", False):
            return action.help  # the help says what absence means
        if action.help and "(default" in action.help:
            return action.help
        text = super()._get_help_string(action)
        if text and isinstance(action.default, tuple):
            text = text.replace("%(default)s", " ".join(action.default))
        return text

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs != "+":
            return super()._format_args(action, default_metavar)
        (one,) = self._metavar_formatter(action, default_metavar)(1)
        return f"{one} ..."


class Version(argparse.Action):
    """Print the version, with ``-v`` also how to cite it, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print and end."""
        print(self.const)
        if {"-v", "-vv", "--verbose"} & set(getattr(parser, "words", ())):
            from bids_brainmask.cli.citation import BIBTEX

            print(BIBTEX)
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A command line.

    Parameters
    ----------
    same : mapping of str to str
        Options of other programs, and ours of the same meaning.
    answers : mapping of str to str
        Options that other programs have, and what to do here.
    **options
        For `argparse.ArgumentParser`.
    """

    def __init__(
        self,
        *,
        same: Mapping[str, str] | None = None,
        answers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("formatter_class", Formatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options, add_help=False)
        self.same, self.answers = same or {}, answers or {}
        self._positionals.title = "arguments"
        self.add_argument("-h", "--help", action="help", help="print this help")

    def add_version(self, text: str) -> None:
        """Add the option that prints the version."""
        self.add_argument(
            "--version",
            action=Version,
            nargs=0,
            const=text,
            help="print the version; with -v, also how to cite it",
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse a command line, in which options of other programs are translated or answered.

        ``typed`` in the result has those of `REMEMBERED` that the command line gives, whatever
        their value.
        """
        words = list(sys.argv[1:] if args is None else args)
        self.words = words
        end = words.index("--") if "--" in words else len(words)
        if not self._subparsers:  # else the options may be those of a command
            words[:end] = [self._known(word) for word in words[:end]]
        named = {word.partition("=")[0] for word in words[:end]}
        known = self._option_string_actions
        typed = {known[name].dest for name in named if name in known}
        namespace = namespace or argparse.Namespace()
        namespace.typed = tuple(sorted(typed & REMEMBERED))
        return super().parse_known_args(words, namespace)

    def _known(self, word: str) -> str:
        """Return a word of the command line; end with an answer to an unknown option."""
        name, equals, value = word.partition("=")
        if not re.match(r"--?[A-Za-z]", word) or name in self._option_string_actions:
            return word
        if name in self.same:
            return self.same[name] + equals + value
        if name in self.answers:
            return self.error(f"{name}: {self.answers[name]}")
        if not word.startswith("--") and word[:2] in self._option_string_actions:
            return word  # several short options, or one with its value
        guess = did_you_mean(name, self._option_string_actions)
        return self.error(f"{name}: no such option.{guess} {self.prog} --help lists all options.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"expected {one_of(known)}, found {value!r}.{did_you_mean(str(value), known)}",
            )

    def error(self, message: str) -> NoReturn:
        """End with one line and exit status 2."""
        for theirs, ours in REWORDED:
            message = re.sub(theirs, ours, message)
        if re.match(r"(missing: .*)?LEVEL", message):
            message += " Give BIDS_DIR OUTPUT_DIR LEVEL in this order, before the options."
        self.exit(2, f"{self.prog}: error: {message}\n")


def one_of(words: Iterable[str]) -> str:
    """Join the possible words with commas and a last "or"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
