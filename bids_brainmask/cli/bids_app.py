# SPDX-License-Identifier: Apache-2.0
"""The BIDS App's command line: ``bids-brainmask BIDS_DIR OUTPUT_DIR LEVEL [options]``.

Large packages are imported only after the arguments are checked.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from bids_brainmask.cli import options
from bids_brainmask.errors import BrainMaskError, ModelError, NothingToDo, UsageError
from bids_brainmask.settings import LEVELS, RESEARCH_ONLY, Settings
from bids_brainmask.signals import stoppable

if TYPE_CHECKING:
    from bids_brainmask.plan import Run

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; the process's own if not given.

    Returns
    -------
    int
        Exit status: see the help.
    """
    top = options.parser()
    words = options.dashed(sys.argv[1:] if argv is None else argv)
    settings = options.settings_of(top.parse_args(words))
    start_logging(settings.verbose)
    try:
        with stoppable():
            return run(settings)
    except BrainMaskError as error:
        print(f"{top.prog}: error: {error}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt:
        print(f"{top.prog}: interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130


def exit_status(error: BrainMaskError) -> int:
    """Exit status of an error that ended the run."""
    if isinstance(error, NothingToDo):
        return 3
    return 2 if isinstance(error, UsageError | ModelError) else 1


def run(settings: Settings) -> int:
    """Run a level, and print a table of the outcome of every image at the end."""
    if settings.analysis_level == "group":
        return run_group(settings)
    from bids_brainmask.plan import prepare

    run = prepare(settings)
    if settings.dry_run:
        print_scans(run)
        return 0
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from bids_brainmask.execution import driver

    outcomes = []
    with logging_redirect_tqdm(), closing(driver.process(run)) as found:
        bar = tqdm(total=len(run.plans), unit="image", disable=not sys.stderr.isatty())
        for outcome in found:
            outcomes.append(outcome)
            level = logging.ERROR if outcome.status == "failed" else logging.INFO
            place = f"[{len(outcomes)}/{len(run.plans)}] {outcome.plan.scan.relative}"
            log.log(level, "%s: %s: %s", place, outcome.status, outcome.detail)
            bar.update()
        bar.close()
    print_outcomes(sorted(outcomes, key=lambda outcome: outcome.plan.scan.relative))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def run_group(settings: Settings) -> int:
    """Run the group level on the existing derivatives, and print the files written."""
    from bids_brainmask.reports import group

    for path in group.write(settings):
        print(path)
    return 0


def print_scans(run: Run) -> None:
    """Print the planned work, tab-separated with a header: a line per image and analysis.

    A file that two analyses make is in the line of the second one.
    """
    from bids_brainmask.analyses import catalog

    print("input", "analysis", "model", "outputs", sep="\t")
    for plan in run.plans:
        for analysis in plan.analyses:
            outputs = [
                str(path)
                for kind, path in plan.files.items()
                if catalog.output(kind).made_by[-1] == analysis
            ]
            model = run.models.get(analysis)
            name = f"{model.name}-{model.version}" if model else "n/a"
            print(plan.scan.relative, analysis, name, " ".join(outputs), sep="\t")
        if plan.refusal:
            print(plan.scan.relative, plan.refusal, "", "", sep="\t")


def print_outcomes(outcomes: Iterable) -> None:
    """Print a table of images with outcome and reason, and the totals."""
    outcomes = list(outcomes)
    width = max(len(outcome.plan.scan.relative) for outcome in outcomes)
    print(f"\n{'image':{width}}  status   detail")
    for outcome in outcomes:
        detail = " ".join(outcome.detail.split())
        print(f"{outcome.plan.scan.relative:{width}}  {outcome.status:7}  {detail}")
    count = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("done", "skipped", "failed", "refused")
    }
    print(RESEARCH_ONLY)
    print(", ".join(f"{n} {status}" for status, n in count.items() if n or status != "refused"))


def start_logging(verbose: int) -> None:
    """Log to standard error: warnings and progress; with -v steps; with -vv all messages."""
    logging.captureWarnings(capture=True)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    level = LEVELS[min(verbose, 2)]
    logging.getLogger("bids_brainmask").setLevel(level)
    log.setLevel(min(logging.INFO, level))
    if verbose > 1:
        logging.getLogger().setLevel(logging.DEBUG)
