"""`python3 build.py run`, on a checkout that is set up already: what a user sees first."""

import os
import subprocess
import sys

import pytest

import build
from tests import quick
from tests.program import Berth

SECONDS = 300.0
pytestmark = [pytest.mark.system, pytest.mark.timeout(3 * SECONDS)]  # it runs twice, and tells what it said


def build_run(berth: Berth) -> str:
    done = subprocess.run(
        [sys.executable, build.ROOT / "build.py", "run"],
        check=False, env={**os.environ, **berth.environment}, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_build_run_starts_the_service_and_the_demo_and_says_what_to_type_next(berth: Berth) -> None:
    first = build_run(berth)

    assert quick.info(berth, "demo")["state"] == "running"
    assert "demo: running" in first
    assert "What to type next:\n  .venv/bin/berth enter demo" in first
    assert "#ticket=" in first
    assert quick.inside(berth, "echo", "afloat", name="demo") == "afloat"
    again = build_run(berth)
    assert "container demo is running already" in again
    assert "demo: running" in again

    berth.succeed("stop", "demo")
    berth.succeed("serve", "--end")
