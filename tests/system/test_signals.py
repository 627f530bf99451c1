# SPDX-License-Identifier: Apache-2.0
"""Signals end a run, whatever the interpreter is doing when they come."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import ExitStack

import pytest

from bids_brainmask import signals
from bids_brainmask.signals import stoppable


class Thing:
    """Something to refer to."""


class Deaf:
    """Something that hears a signal on its way out."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        ring(self.number)


def ring(number):
    """Give this process a signal, and wait until it is heard."""
    os.kill(os.getpid(), number)
    for _ in range(1000):
        pass  # Python hears signals between two instructions


def in_a_callback(number):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: ring(number))
    del thing
    assert reference() is None


def in_a_finaliser(number):
    thing = Deaf(number)
    del thing


def in_the_collection(number):
    """Where a cycle of objects is taken apart."""
    thing = Deaf(number)
    thing.itself = thing
    del thing
    gc.collect()


def in_another_callback(ended):
    """Where a second signal is dropped as well: it comes after 10 ms."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: ended.append(time.sleep(1)))
    del thing
    assert reference() is None


def twice(number):
    ended = []
    in_a_callback(number)
    in_another_callback(ended)
    time.sleep(0.1)
    assert not ended  # the second one's sleep was cut short


def state():
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT)]
    return *handlers, sys.unraisablehook, signal.getitimer(signal.ITIMER_REAL)


def too_late(number):
    """Where all is done before the signal comes again."""
    signals.AGAIN = 100  # so that it is too late on the slowest machine
    before = state()
    with stoppable():
        in_a_callback(number)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert state() == before


def other_errors(_):
    """They are reported as ever."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: 1 / 0)
    del thing
    assert reference() is None
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def postponed(number):
    """While something is started."""
    before = state()
    with ExitStack() as stack:
        with signals.postponed():
            ring(number)
            ring(signal.SIGINT)
            stack.callback(lambda: sys.stdout.write(f"ended {state() == before}\n"))
            sys.stdout.write("started\n")
        sys.stdout.write("not reached: the signal is heard first\n")


WHERE = {
    one.__name__: one
    for one in (
        *(ring, in_a_callback, in_a_finaliser, in_the_collection, twice, other_errors),
        postponed,
    )
}


def main(name: str, number: int) -> int:
    """Do something in a run of 20 seconds."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which some shells switch off
    if name == "too_late":
        too_late(number)
        return 0
    before = state()
    try:
        with stoppable():
            assert state() != before
            WHERE[name](number)
            time.sleep(0 if name == "other_errors" else 20)
    except KeyboardInterrupt:
        return 130
    finally:
        assert state() == before
    return 0


def child(name: str, number: int = signal.SIGTERM) -> subprocess.CompletedProcess:
    """Run `main` in a process of its own, which a signal may end."""
    command = [sys.executable, "-W", "error", __file__, name, str(int(number))]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", ["ring", "in_a_callback", "in_a_finaliser", "in_the_collection"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_is_heard_at_any_moment(name, number, status):
    start = time.monotonic()
    done = child(name, number)
    assert time.monotonic() - start < 15
    # No word of an exception that was ignored.
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_signal_that_comes_to_nothing_twice_is_heard_in_the_end():
    done = child("twice")
    assert (done.returncode, done.stderr) == (143, "")


def test_a_signal_that_comes_when_all_is_done_comes_to_nothing():
    done = child("too_late")
    assert (done.returncode, done.stderr) == (0, "")


def test_other_errors_that_are_dropped_are_reported_as_before():
    done = child("other_errors")
    assert done.returncode == 0
    assert done.stderr.startswith("Exception ignored in")
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_that_is_postponed_ends_what_was_started(number, status):
    done = child("postponed", number)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == "started\nended True\n"  # with the handlers as before


@pytest.mark.parametrize("context", [stoppable, signals.postponed])
def test_only_the_main_thread_hears_signals(context):
    """Elsewhere, as in a program that uses the package, nothing is changed."""
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with context():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
