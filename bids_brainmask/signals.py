# SPDX-License-Identifier: Apache-2.0
"""Turn SIGTERM and SIGHUP into an exception, so that a run cleans up before it ends."""

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
    """Raised for SIGTERM and SIGHUP; the exit status is 128 plus its number, as in a shell."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stop` for SIGTERM and SIGHUP while the context lasts.

    So no partial file, worker or job is left. A SIGHUP that is ignored stays so: see ``nohup``.

    Python drops exceptions raised in a weak reference's callback or in ``__del__``, after a call
    of `sys.unraisablehook`. A SIGTERM or Ctrl-C at such a moment would be lost; the hook raises
    the signal again a little later.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "SIGALRM"):
        yield  # only the main thread can handle signals; Windows has no SIGTERM to handle
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stop(number)

    def dropped(found: sys.UnraisableHookArgs) -> None:
        number = signal.SIGINT if found.exc_type is KeyboardInterrupt else None
        if isinstance(found.exc_value, Stop):
            number = signal.Signals(found.exc_value.number)
        if number is None:
            hook(found)
            return
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, AGAIN)

    ours = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = [(number, signal.getsignal(number)) for number in ours]
    hook, sys.unraisablehook = sys.unraisablehook, dropped
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)
        sys.unraisablehook = hook


@contextmanager
def postponed() -> Iterator[None]:
    """Hear SIGTERM, SIGHUP and Ctrl-C only when the context ends.

    Then whatever was started within it can be ended. Of several signals the first counts. Signals
    that end the process at once, or are ignored, stay so. Only the main thread hears signals:
    elsewhere nothing is changed.
    """
    heard: list[int] = []
    ours = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM))
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ours if main}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])
