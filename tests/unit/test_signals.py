"""A signal is noticed from the first moment on, or a Ctrl-C is lost."""

import _signal  # type: ignore[import-not-found]  # typeshed does not know what signal is made of
import os
import select
import signal

import pytest

from berth.kernel.signals import Wakeup


def test_a_signal_that_arrives_as_soon_as_it_is_caught_wakes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    catch = _signal.signal

    def catch_and_send(number: int, action: object) -> object:
        before = catch(number, action)
        os.kill(os.getpid(), number)
        return before

    monkeypatch.setattr(_signal, "signal", catch_and_send)
    news = Wakeup(signal.SIGUSR1)
    monkeypatch.undo()
    with news:
        assert select.select([news], [], [], 0)[0] == [news]
        assert news.arrived == {signal.SIGUSR1}
