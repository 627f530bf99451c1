# SPDX-License-Identifier: Apache-2.0
"""``brainmask rate``: the group report with ratings that are written to the dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brainmask.cli.values import positive
from bids_brainmask.signals import stoppable

if TYPE_CHECKING:
    from bids_brainmask.reports.rating_server import Decisions


def add_rate(commands: argparse._SubParsersAction) -> None:
    """``brainmask rate``: serve the group report to browsers of this machine."""
    rate = commands.add_parser(
        "rate",
        help="rate masks in a browser, with the ratings written to the dataset",
        description="Open the group report, and write each rating to "
        "OUTPUT_DIR/group_desc-ratings_given.tsv as it is given. Candidate lesions are accepted "
        "and rejected as by `brainmask adopt --lesions`. The report can be reached from "
        "this machine only. Ctrl+C stops; the ratings are kept.",
    )
    rate.add_argument("output_dir", type=Path, help="the derivative dataset")
    rate.add_argument("--rater", default="", metavar="NAME", help="your name, for the ratings")
    rate.add_argument(
        "--port",
        type=positive(int),
        default=0,
        metavar="N",
        help="port of this machine; if not given, the same free one for the dataset each time",
    )
    rate.add_argument(
        "--stop-after",
        type=positive(float),
        default=30.0,
        metavar="MINUTES",
        help="stop once no page was open for this time (default: %(default)g)",
    )
    rate.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )
    rate.set_defaults(command=run_rate)


def run_rate(args: argparse.Namespace) -> int:
    """Serve the group report until it is stopped; the address is printed."""
    from bids_brainmask.reports.rating_server import RatingServer

    with stoppable():
        decisions = _decisions(args.output_dir)
        server = RatingServer(
            args.output_dir, port=args.port, rater=args.rater, decisions=decisions
        )
        print(f"Rate at {server.address}", flush=True)
        print("Ratings are written as they are given. Ctrl+C stops.", file=sys.stderr)
        if not args.no_browser:
            import webbrowser

            webbrowser.open(server.address)
        try:
            server.run(60 * args.stop_after)
        except KeyboardInterrupt:
            pass  # as asked
        else:
            print("Stopped: no page was open.", file=sys.stderr)
        print(f"Ratings: {server.table.path}", file=sys.stderr)
    return 0


def _decisions(root: Path) -> Decisions:
    """Where decisions about candidate lesions are; NumPy is imported once there is one."""
    from bids_brainmask.reports.rating_server import Decisions

    def read() -> list[dict[str, str]]:
        from bids_brainmask.results import lesion_decisions

        return lesion_decisions.given(root)

    def put(rows: list[dict[str, str]]) -> list[Path]:
        from bids_brainmask.results import lesion_decisions

        return lesion_decisions.put(root, [("the page", row) for row in rows])

    return Decisions(read, put)
