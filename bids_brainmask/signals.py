# SPDX-License-Identifier: Apache-2.0
"""Signals that end a run: it unwinds, so that nothing is left half done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.01
"""Seconds after which a signal is given again that came to nothing."""


class Stop(SystemExit):
    """SIGTERM came; the exit status is that of a shell's commands, 128 more than its number."""


SIGNALS = {Stop: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
"""The signal that raises each."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Have SIGTERM unwind this process: no file is left half done, and no worker or job behind.

    Python drops what is raised while it calls a weak reference's callback or a ``__del__``: it
    tells `sys.unraisablehook`, and goes on. SIGTERM and Ctrl-C that come at such a moment would
    come to nothing, and are therefore given again a little later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # which alone can be told of signals
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
