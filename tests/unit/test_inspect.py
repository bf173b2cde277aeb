"""What is read of a device, where it is not as this one."""

import os

import pytest

from berth.engine import inspect
from berth.errors import BerthError


def test_a_processor_that_berth_does_not_know_gets_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    known = os.uname()
    strange = os.uname_result((known.sysname, known.nodename, known.release, known.version, "mips64"))
    monkeypatch.setattr(os, "uname", lambda: strange)
    inspect._read_lasting.cache_clear()

    with pytest.raises(BerthError, match=r"the processor of this machine is mips64; Berth runs on x86_64, .*only"):
        inspect.read_host()
