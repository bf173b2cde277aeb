"""Commands that change what runs: start, demo, stop, restart, rename, rm, recover, safe-mode, scan."""

import json
import os
import sys
from collections.abc import Callable, Mapping

from berth import values
from berth.android.module import describe
from berth.cli import specs
from berth.cli.escapes import one_line
from berth.cli.flags import Invocation
from berth.cli.inside import attach
from berth.cli.layout import wrapped
from berth.cli.output import room
from berth.droidspaces import load_conf
from berth.engine import at_rest, containers, launch
from berth.engine import recover as recovering
from berth.engine import safe_mode as safe
from berth.engine import scan as scanning
from berth.engine import stop as stopping
from berth.engine.demo import make_demo
from berth.engine.narration import PERMISSIVE
from berth.errors import BerthError
from berth.home import Home, find_home
from berth.kernel.call import explain
from berth.kernel.processes import end_with, fork
from berth.service.session import Session
from berth.spec import Spec
from berth.store import list_names, load_spec, read_text

_DEMO = "demo"
_STOP_SECONDS = 30.0
_HANGING = 2


def start(invocation: Invocation, session: Session) -> int:
    """`berth start`."""
    home = find_home(os.environ)
    spec = read_spec(home, invocation, session)
    if spec.selinux_permissive and not _is_permissive(home, spec.name):
        _confirm(invocation, session, spec.name, f"While {spec.name} runs, SELinux is permissive: {PERMISSIVE}.")
    _start(home, spec, invocation)
    if invocation.switch("foreground"):
        return attach(home, spec.name, session)
    return 0


def demo(invocation: Invocation, session: Session) -> int:
    """`berth demo`: the container is made the first time."""
    home = find_home(os.environ)
    name = invocation.name or _DEMO
    _start(home, load_spec(home, name) if name in list_names(home) else make_demo(home, name), invocation)
    if not invocation.json:
        print(f'a shell inside: "berth enter {name}"; its end: "berth stop {name}"')
    return 0


def _start(home: Home, spec: Spec, invocation: Invocation) -> None:
    started = launch.start(home, spec, specs.start_options(invocation))
    told = {"name": spec.name, "pid": started.pid, "skipped": started.skipped, "warnings": started.warnings}
    _say(invocation, told, f"{spec.name}: started, init is {started.pid}")
    for sentence in (*started.warnings, *(f"skipped: {bind}" for bind in started.skipped)):
        print(f"{spec.name}: {sentence}", file=sys.stderr)


def _is_permissive(home: Home, name: str) -> bool:
    """Whether container `name` is saved with a permissive SELinux, and that was confirmed then."""
    return name in list_names(home) and load_spec(home, name).selinux_permissive


def _confirm(invocation: Invocation, session: Session, name: str, consequence: str) -> None:
    """Have the caller type `name`, unless `--yes` was given; raises BerthError for anything else."""
    if invocation.switch("yes"):
        return
    print(consequence, file=sys.stderr)
    print("Type its name to go on: ", end="", file=sys.stderr, flush=True)
    if session.read_line() != name:
        raise BerthError(f"container {name}: nothing was done, because its name was not typed; type it, or give --yes")


def _say(invocation: Invocation, told: Mapping[str, object], sentence: str) -> None:
    print(json.dumps(told) if invocation.json else sentence, flush=True)


def read_spec(home: Home, invocation: Invocation, session: Session) -> Spec:
    """Return the spec that the command line describes: flags over `--conf` or over what is saved."""
    conf = invocation.text("conf")
    if conf is not None:
        imported = load_conf(session.path(conf), net_chosen="net" in invocation.options)
        saved: Spec | None = imported.spec
        for remark in imported.remarks(conf):
            print(remark, file=sys.stderr)
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
    return _each(invocation, names, lambda name: stopping.stop(home, name, seconds), "stopped")


def restart(invocation: Invocation, session: Session) -> int:
    """`berth restart`."""
    home = find_home(os.environ)
    seconds = _seconds(invocation)

    def again(name: str) -> None:
        found = containers.look_up(home, name)
        spec = load_spec(home, name)
        if found.condition == "stopped":
            print(f"{name}: was stopped, so it is only started", file=sys.stderr, flush=True)
        else:
            stopping.stop(home, name, seconds)
        launch.start(home, spec, found.record.options if found.record else specs.start_options(invocation))

    return _each(invocation, _named(home, invocation), again, "restarted")


def _named(home: Home, invocation: Invocation) -> tuple[str, ...]:
    if not invocation.switch("all"):
        return invocation.names
    return tuple(name for name in containers.recorded_names(home) if containers.look_up(home, name).runs)


def _seconds(invocation: Invocation) -> float:
    text = invocation.text("timeout")
    return _STOP_SECONDS if text is None else values.seconds("--timeout", text)


def _each(invocation: Invocation, names: tuple[str, ...], action: Callable[[str], None], done: str) -> int:
    """Do `action` for every name, all of them even if one fails; several at once, each in a process of its own."""
    if len(names) == 1:
        action(names[0])
        _say(invocation, {"name": names[0], "result": done}, f"{names[0]}: {done}")
        return 0
    sys.stdout.flush()
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
            _say(invocation, {"name": name, "result": done}, f"{name}: {done}")
    return code


def _fork(action: Callable[[str], None], name: str) -> int:
    pid = fork()
    if pid == 0:
        end_with(lambda: action(name), _complain)
    return pid


def _complain(error: BaseException) -> None:
    said = explain(error) if isinstance(error, OSError) else str(error)
    os.write(2, f"berth: {said}\n".encode(errors="backslashreplace"))


def rename(invocation: Invocation, session: Session) -> int:
    """`berth rename`."""
    old, new = invocation.names[0], invocation.words[0]
    at_rest.rename(find_home(os.environ), old, new)
    _say(invocation, {"name": new, "was": old}, f"{old}: is now {new}")
    return 0


def remove(invocation: Invocation, session: Session) -> int:
    """`berth rm`."""
    home = find_home(os.environ)
    name = invocation.names[0]
    root = at_rest.removable(home, name)
    _confirm(invocation, session, name, f"This forgets container {name}; its root {root} stays.")
    at_rest.remove(home, name)
    _say(invocation, {"name": name, "result": "removed", "root": root}, f"{name}: removed; {root} is untouched")
    return 0


def recover(invocation: Invocation, session: Session) -> int:
    """`berth recover`."""
    home = find_home(os.environ)
    for name in set(invocation.names) - set(containers.run_folder_names(home)):
        load_spec(home, name)  # says that there is no such container, where that is so
    done = recovering.recover(home, invocation.names)
    return _report(invocation, session, done, "there is nothing to recover")


def scan(invocation: Invocation, session: Session) -> int:
    """`berth scan`."""
    done = scanning.scan(find_home(os.environ))
    return _report(invocation, session, done, "no running container is without its record")


def safe_mode(invocation: Invocation, session: Session) -> int:
    """`berth safe-mode`."""
    home = find_home(os.environ)
    kept_back = safe.kept_back(home)
    if not invocation.switch("again"):
        sentences = [f"{name}: does not start by itself, because {why}" for name, why in kept_back.items()]
        told = sentences or ["nothing is kept from starting by itself"]
        _say(invocation, {"kept_back": kept_back}, _laid_out(told, session))
        return 0
    safe.try_again(home)
    describe("")
    saved = list_names(home)
    names = tuple(name for name in kept_back if name in saved and load_spec(home, name).autostart)
    return _each(invocation, names, lambda name: safe.start_on_probation(home, name), "started")


def _report(invocation: Invocation, session: Session, sentences: list[str], otherwise: str) -> int:
    _say(invocation, {"done": sentences}, _laid_out(sentences or [otherwise], session))
    return 0


def _laid_out(sentences: list[str], session: Session) -> str:
    """Each sentence from a line of its own on, as wide as the caller's terminal; a program gets them as they are."""
    width = room(session)
    if width is None:
        return "\n".join(sentences)
    return "\n".join(line for sentence in sentences for line in wrapped(one_line(sentence), width, hanging=_HANGING))
