# SPDX-License-Identifier: Apache-2.0
"""The BIDS App's command line: ``bids-brainmask BIDS_DIR OUTPUT_DIR LEVEL [options]``.

Large packages are imported only after the arguments are checked.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from bids_brainmask import machine
from bids_brainmask.cli import options
from bids_brainmask.errors import BrainMaskError, ModelError, NothingToDo, UsageError
from bids_brainmask.settings import LOG_LEVELS, Settings
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
    machine.tune_python()
    top = options.parser()
    words = options.dashed(sys.argv[1:] if argv is None else argv)
    levels = options.each_level(top.parse_args(words))
    start_logging(levels[0].verbose, quiet=levels[0].quiet)
    try:
        with stoppable():
            return max(run(settings) for settings in levels)
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
    """Run a level: say what it does, a line for each image, and what to look at in the end."""
    if settings.analysis_level == "group":
        return run_group(settings)
    from bids_brainmask.plan import prepare

    run = prepare(settings)
    if settings.dry_run:
        print_scans(run)
        return 0
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from bids_brainmask.cli import messages
    from bids_brainmask.execution import driver
    from bids_brainmask.results import corrections, orphans

    for line in messages.at_start(run):
        log.info("%s", line)
    if settings.overwrite_manual:
        count = corrections.count(run)
        log.warning(
            "--overwrite-manual: the manual masks of %d of %d images are replaced",
            count,
            len(run.plans),
        )
    outcomes = []
    with logging_redirect_tqdm(), closing(driver.process(run)) as found:
        hidden = settings.quiet or not sys.stderr.isatty()
        bar = tqdm(total=len(run.plans), unit="image", disable=hidden)
        for outcome in found:
            outcomes.append(outcome)
            level = logging.ERROR if outcome.status == "failed" else logging.INFO
            place = f"[{len(outcomes)}/{len(run.plans)}] {outcome.plan.scan.relative}"
            log.log(level, "%s: %s: %s", place, outcome.status, outcome.detail)
            bar.update()
        bar.close()
    for line in orphans.settle(settings):
        log.warning("%s", line)
    for line in messages.at_end(run, outcomes):
        print(line)
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def run_group(settings: Settings) -> int:
    """Run the group level on the existing derivatives, and print the files written.

    Images without results are told of. The status is 1 if a folder of results cannot be read.
    """
    if settings.dry_run:
        log.info("group: would write the tables and reports of %s", settings.output_dir)
        return 0
    from bids_brainmask.reports import group

    closed = group.tell_missing(settings)
    written = group.write(settings)
    if not settings.quiet:
        from bids_brainmask.cli import messages

        print(*messages.after_group(written), sep="\n")
    return 1 if closed else 0


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
            model = run.of(plan).models.get(analysis)
            name = f"{model.name}-{model.version}" if model else "n/a"
            print(plan.scan.relative, analysis, name, " ".join(outputs), sep="\t")
        if plan.refusal:
            print(plan.scan.relative, plan.refusal, "", "", sep="\t")


def start_logging(verbose: int, *, quiet: bool = False) -> None:
    """Log to standard error: warnings and progress; with -v steps; with -vv all messages.

    Quiet: only warnings and errors.
    """
    logging.captureWarnings(capture=True)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    level = LOG_LEVELS[min(verbose, 2)]
    logging.getLogger("bids_brainmask").setLevel(level)
    log.setLevel(logging.WARNING if quiet else min(logging.INFO, level))
    if verbose > 1:
        logging.getLogger().setLevel(logging.DEBUG)
