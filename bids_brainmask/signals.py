# SPDX-License-Identifier: Apache-2.0
"""Turn SIGTERM into an exception, so that a run cleans up before it ends."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.01
"""Seconds after which a lost signal is raised again."""


class Stop(SystemExit):
    """Raised for SIGTERM; the exit status is 128 plus its number, as in a shell."""


SIGNALS = {Stop: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
"""Signal of each exception."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stop` for SIGTERM while the context lasts: no partial file, worker or job is left.

    Python drops exceptions raised in a weak reference's callback or in ``__del__``, after a call
    of `sys.unraisablehook`. A SIGTERM or Ctrl-C at such a moment would be lost; the hook raises
    the signal again a little later.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "SIGALRM"):
        yield  # only the main thread can handle signals; Windows has no SIGTERM to handle
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stop(128 + number)

    def dropped(found: sys.UnraisableHookArgs) -> None:
        number = SIGNALS.get(found.exc_type)
        if number is None:
            hook(found)
            return
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, AGAIN)

    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGALRM)]
    hook, sys.unraisablehook = sys.unraisablehook, dropped
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)
        sys.unraisablehook = hook
