# SPDX-License-Identifier: Apache-2.0
"""Signals end a run, whatever the interpreter is doing when they come."""

import gc
import os
import signal
import sys
import threading
import time
import weakref

import pytest

from bids_brainmask.stopping import stoppable


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


def run(*acts):
    """Do what a run does, as far as it comes."""
    with stoppable():
        for act in acts:
            act()
        time.sleep(20)


@pytest.mark.parametrize("where", [ring, in_a_callback, in_a_finaliser, in_the_collection])
@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_is_heard_at_any_moment(where, number, raised, capsys):
    start = time.monotonic()
    with pytest.raises(raised) as stopped:
        run(lambda: where(number))
    assert time.monotonic() - start < 10
    assert getattr(stopped.value, "code", 143) == 143
    assert not capsys.readouterr().err  # no word of an exception that was ignored


def test_a_signal_that_comes_to_nothing_twice_is_heard_in_the_end():
    """As it comes again, the next callback may be running."""
    begun, ended = [], []

    def slow(_):
        begun.append(True)
        ended.append(time.sleep(1))

    def another():
        thing = Thing()
        reference = weakref.ref(thing, slow)
        del thing
        assert reference() is None

    with pytest.raises(SystemExit):
        run(lambda: in_a_callback(signal.SIGTERM), another)
    assert begun
    assert not ended  # the signal came in the middle of it, and once more after it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_errors_that_are_dropped_are_reported_as_before(monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)

    def fail(_):
        raise ValueError("in a callback")

    with stoppable():
        thing = Thing()
        reference = weakref.ref(thing, fail)
        del thing
        assert reference() is None
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert [str(one.exc_value) for one in heard] == ["in a callback"]


def test_everything_is_as_before_afterwards():
    def state():
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT)]
        return *handlers, sys.unraisablehook, signal.getitimer(signal.ITIMER_REAL)

    before = state()
    with stoppable():
        assert state() != before
    assert state() == before
    with pytest.raises(SystemExit):
        run(lambda: in_a_callback(signal.SIGTERM))
    assert state() == before
    with stoppable():
        in_a_callback(signal.SIGTERM)  # and all is done before it comes again
    assert state() == before
    time.sleep(0.1)


def test_only_the_main_thread_hears_signals():
    """Elsewhere, as in a program that uses the package, nothing is changed."""
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with stoppable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]
