"""Commands that change what runs: start, stop, restart, rename, rm, recover, scan, serve."""

import json
import os
from collections.abc import Callable

from berth import values
from berth.cli import specs
from berth.cli.flags import Invocation
from berth.droidspaces import load_conf
from berth.engine import containers, launch
from berth.engine import recover as recovering
from berth.engine import scan as scanning
from berth.engine import stop as stopping
from berth.engine.journal import RunFolder
from berth.errors import BerthError
from berth.home import Home, find_home
from berth.service.session import Session
from berth.spec import Spec
from berth.store import list_names, load_spec, read_text
from berth.store import remove as remove_saved
from berth.store import rename as rename_saved

_STOP_SECONDS = 30.0


def start(invocation: Invocation, session: Session) -> int:
    """`berth start`."""
    home = find_home(os.environ)
    spec = read_spec(home, invocation, session)
    state = launch.start(home, spec, specs.start_options(invocation))
    if invocation.json:
        print(json.dumps({"name": state.name, "pid": state.init[0] if state.init else None}))
    else:
        print(f"{spec.name}: started, init is {state.init[0] if state.init else '?'}")
    for sentence in (*state.warnings, *(f"skipped: {bind}" for bind in state.skipped)):
        print(f"{spec.name}: {sentence}")
    if invocation.switch("foreground"):
        from berth.cli.inside import attach

        return attach(home, spec.name, session)
    return 0


def read_spec(home: Home, invocation: Invocation, session: Session) -> Spec:
    """Return the spec that the command line describes: flags over `--conf` or over what is saved."""
    conf = invocation.text("conf")
    if conf is not None:
        imported = load_conf(session.path(conf), net_chosen="net" in invocation.options)
        saved: Spec | None = imported.spec
        for key in imported.kept:
            print(f"{conf}: {key} is kept, but Berth does not know it")
    else:
        name = specs.name_of(invocation)
        saved = load_spec(home, name) if name in list_names(home) or not _has_root(invocation) else None
    spec = specs.spec_from(invocation, saved, directory=session.cwd, read=lambda path: read_text(session.path(path)))
    for path in (spec.rootfs, spec.image, *(bind.source for bind in spec.binds)):
        if path is not None:
            session.path(path)
    return spec


def _has_root(invocation: Invocation) -> bool:
    return bool(invocation.options.keys() & {"rootfs", "rootfs-img"})


def stop(invocation: Invocation, session: Session) -> int:
    """`berth stop`."""
    home = find_home(os.environ)
    names = _named(home, invocation)
    seconds = _seconds(invocation)
    return _each(names, lambda name: stopping.stop(home, name, seconds), "stopped")


def restart(invocation: Invocation, session: Session) -> int:
    """`berth restart`."""
    home = find_home(os.environ)
    seconds = _seconds(invocation)

    def again(name: str) -> None:
        record = containers.look_up(home, name).record
        spec = load_spec(home, name)
        stopping.stop(home, name, seconds)
        launch.start(home, spec, record.options if record else specs.start_options(invocation))

    return _each(_named(home, invocation), again, "restarted")


def _named(home: Home, invocation: Invocation) -> tuple[str, ...]:
    if not invocation.switch("all"):
        return invocation.names
    return tuple(name for name in containers.recorded_names(home) if containers.look_up(home, name).runs)


def _seconds(invocation: Invocation) -> float:
    text = invocation.text("timeout")
    return _STOP_SECONDS if text is None else values.seconds("--timeout", text)


def _each(names: tuple[str, ...], action: Callable[[str], None], done: str) -> int:
    """Do `action` for every name, all of them even if one fails; several at once, each in a process of its own."""
    if len(names) == 1:
        action(names[0])
        print(f"{names[0]}: {done}")
        return 0
    children = {_fork(action, name): name for name in names}
    code = 0
    while children:
        pid, status = os.wait()
        name = children.pop(pid, None)
        if name is None:
            continue
        if status:
            code = 1
        else:
            print(f"{name}: {done}")
    return code


def _fork(action: Callable[[str], None], name: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        action(name)
        code = 0
    except (BerthError, OSError) as error:
        os.write(2, f"berth: {error}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(code)


def rename(invocation: Invocation, session: Session) -> int:
    """`berth rename`."""
    home = find_home(os.environ)
    old, new = invocation.names[0], invocation.words[0]
    with RunFolder(home, old).locked():
        _refuse_running(home, old, "be renamed")
        rename_saved(home, old, new)
    print(f"{old}: is now {new}")
    return 0


def remove(invocation: Invocation, session: Session) -> int:
    """`berth rm`."""
    home = find_home(os.environ)
    name = invocation.names[0]
    spec = load_spec(home, name)
    if not invocation.switch("yes"):
        print(f"This forgets container {name}; its root {spec.rootfs or spec.image} stays.")
        print("Type its name to go on: ", end="", flush=True)
        if input() != name:
            raise BerthError(f"container {name}: not removed")
    with RunFolder(home, name).locked():
        _refuse_running(home, name, "be removed")
        remove_saved(home, name)
    print(f"{name}: removed; {spec.rootfs or spec.image} is untouched")
    return 0


def _refuse_running(home: Home, name: str, what: str) -> None:
    condition = containers.look_up(home, name).condition
    if condition != "stopped":
        raise BerthError(f'container {name}: is {condition} and can\'t {what}; run "berth stop {name}" first')


def recover(invocation: Invocation, session: Session) -> int:
    """`berth recover`."""
    sentences = recovering.recover(find_home(os.environ))
    print("\n".join(sentences) if sentences else "there is nothing to recover")
    return 0


def scan(invocation: Invocation, session: Session) -> int:
    """`berth scan`."""
    sentences = scanning.scan(find_home(os.environ))
    print("\n".join(sentences) if sentences else "no running container is without its record")
    return 0


