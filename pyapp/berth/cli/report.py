"""Commands that tell: show, list, info, plan, check, version."""

import json
import os

from berth import __version__
from berth.cli import lifecycle, specs
from berth.cli.flags import Invocation
from berth.engine import containers, launch
from berth.engine.inspect import read_host
from berth.errors import BerthError
from berth.home import find_home
from berth.service.session import Session
from berth.store import last_end, load_spec


def version(invocation: Invocation, session: Session) -> int:
    """`berth version`."""
    print(json.dumps({"version": __version__}) if invocation.json else f"berth {__version__}")
    return 0


def list_all(invocation: Invocation, session: Session) -> int:
    """`berth list`."""
    home = find_home(os.environ)
    for name in containers.all_names(home):
        container = containers.look_up(home, name)
        print(name if invocation.switch("names") else f"{name:24} {container.condition}")
    return 0


def show(invocation: Invocation, session: Session) -> int:
    """`berth show`."""
    return list_all(invocation, session)


def info(invocation: Invocation, session: Session) -> int:
    """`berth info`."""
    home = find_home(os.environ)
    name = invocation.names[0]
    container = containers.look_up(home, name)
    spec = load_spec(home, name)
    record = container.record
    told = {
        "name": name,
        "state": container.condition,
        "pid": record.init[0] if record and record.init else None,
        "monitor_pid": record.monitor[0] if record and record.monitor else None,
        "rootfs": spec.rootfs or spec.image,
        "init": spec.init,
        "started_at": record.started_at if record else None,
        "address": None,
        "skipped": list(record.skipped) if record else [],
        "warnings": list(record.warnings) if record else [],
        "last_end": last_end(home, name),
    }
    if invocation.json:
        print(json.dumps(told))
    else:
        for key, value in told.items():
            print(f"{key}: {value}")
    return 0


def plan(invocation: Invocation, session: Session) -> int:
    """`berth plan`."""
    home = find_home(os.environ)
    spec = lifecycle.read_spec(home, invocation, session)
    made = launch.check(spec, specs.start_options(invocation), read_host(devices=spec.hw_access))
    if made is None:
        raise BerthError("plan: an image can't be planned yet")
    for step in made.steps:
        print(step.describe() + (f"  # {step.reason}" if step.reason else ""))
    return 0


def check(invocation: Invocation, session: Session) -> int:
    """`berth check`."""
    print(read_host())
    return 0
