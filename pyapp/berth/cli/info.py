"""`berth info`: all there is to tell of one container, or of the device."""

import os
import time

from berth.amounts import duration, size
from berth.cli.escapes import one_line
from berth.cli.flags import Invocation
from berth.cli.layout import wrapped
from berth.cli.output import print_json, room
from berth.engine.details import Details, read_details
from berth.engine.device import Device, read_device
from berth.home import find_home
from berth.service.session import Session

Fact = tuple[str, str]
_INDENT = 2


def info(invocation: Invocation, session: Session) -> int:
    """`berth info`."""
    home = find_home(os.environ)
    if not invocation.names:
        device = read_device(home)
        print_json(device) if invocation.json else _print(_about_device(device), session)
        return 0
    details = read_details(home, invocation.names[0])
    print_json(details) if invocation.json else _print(_about_container(details), session)
    return 0


def _print(groups: dict[str, list[Fact]], session: Session) -> None:
    """Print each group under its title; a long fact goes on below, further in than its name."""
    width, head = room(session), next(iter(groups))
    for title, facts in groups.items():
        told = [(name, text) for name, text in facts if text]
        if told or title == head:
            print("\n".join(wrapped(title, width, 0, _INDENT)))
        for name, text in told:
            line = one_line(f"{name}: {text}" if name else text)
            print("\n".join(wrapped(line, width, _INDENT, 2 * _INDENT)))


def _about_container(details: Details) -> dict[str, list[Fact]]:
    return {
        f"{details.name}: {details.state}": _life(details),
        "warnings": [("", sentence) for sentence in (*details.warnings, *map(_skipped, details.skipped))],
        "root": _root(details),
        "network": [
            ("kind", "the device's own" if details.network == "host" else details.network or ""),
            ("address", details.address or ""),
            ("traffic", _traffic(details)),
            ("host name", details.hostname or ""),
        ],
        "binds": [
            ("", f"{bind.source} at {bind.destination}{' (read-only)' if bind.read_only else ''}")
            for bind in details.binds
        ],
        "limits": [
            (group.path, " ".join(f"{file}={value}" for file, value in group.limits.items()))
            for group in details.cgroups
            if group.limits
        ],
        "isolation": _isolation(details),
    }


def _traffic(details: Details) -> str:
    if details.traffic is None:
        return ""
    return f"{size(details.traffic.received)} received, {size(details.traffic.sent)} sent"


def _life(details: Details) -> list[Fact]:
    usage = details.usage
    facts = [
        ("pid", str(details.pid or "")),
        ("monitor", str(details.monitor_pid or "") or ("none" if details.pid else "")),
        ("saved", "" if details.saved else "no; its settings are lost, but it runs"),
        ("last end", details.last_end or ""),
        ("started with the service", "yes" if details.autostart else ""),
        ("after", ", ".join(details.start_after)),
    ]
    if details.wakelock != "never":
        facts.append(("wakelock", f"{details.wakelock}; {'held now' if details.awake else 'not held now'}"))
    if details.selinux_permissive:
        facts.append(("SELinux", "is permissive on the whole device while it runs"))
    if usage is not None:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(details.started_at or 0))
        facts[2:2] = [
            ("up", f"{duration(usage.uptime)}, since {started}" if details.started_at else duration(usage.uptime)),
            ("memory", size(usage.memory)),
            ("processor time", duration(usage.cpu_time)),
            ("processes", str(usage.processes)),
        ]
    return facts


def _root(details: Details) -> list[Fact]:
    init = details.init or ""
    facts = [
        ("image" if details.image else "directory", details.rootfs or ""),
        ("init", f"{init} ({details.init_kind})" if details.init_kind else init),
    ]
    if details.image is not None and details.image.device:
        facts.append(("mounted from", details.image.device + (", read-only" if details.image.read_only else "")))
    if details.volatile:
        room_for_changes = details.options.volatile_size if details.options else None
        most = size(room_for_changes) if room_for_changes else "half of the memory"
        facts.append(("volatile", f"changes are kept in memory, {most} at most, and lost with its end"))
    return facts


def _isolation(details: Details) -> list[Fact]:
    keeper = details.devices
    facts = [("namespaces", ", ".join(details.namespaces))]
    if keeper is not None:
        told = {"bpf": "confined", "v1": "confined", "none": "NOT confined"}[keeper.keeper]
        facts.append(("devices", f"{told}: {keeper.reason}"))
    calls = dict.fromkeys(name for rule in details.seccomp for name in rule.names)
    return [
        *facts,
        ("capabilities", ", ".join(details.capabilities)),
        ("withheld", ", ".join(details.withheld)),
        ("oom_score_adj", "" if details.oom_score_adj is None else str(details.oom_score_adj)),
        ("system calls filtered", ", ".join(calls) or "none; no filter is installed"),
        ("reasons", f'"berth plan {details.name}" tells why, for each of them'),
    ]


def _skipped(bind: str) -> str:
    return f"skipped: {bind}"


def _about_device(device: Device) -> dict[str, list[Fact]]:
    return {
        f"berth {device.version}": [
            ("service", "runs" if device.service else 'does not run; "berth serve --background" starts it'),
            ("containers", f"{device.containers}, {len(device.running)} running"),
            ("running", ", ".join(device.running)),
            *(("kept back", f"{name}, because {why}") for name, why in device.kept_back.items()),
            ("kept in", f"{device.state_folder} ({size(device.free)} free)"),
            ("this boot's", device.run_folder),
        ],
        "device": [
            ("kernel", f"{device.kernel} {device.machine}"),
            ("Android", "no" if device.android is None else device.android or "yes"),
            (
                "SELinux",
                device.selinux + (f", for {', '.join(device.permissive_for)}" if device.permissive_for else ""),
            ),
            ("wakelocks", "yes" if device.wakelocks else "no; --wakelock has no effect"),
            ("memory", f"{size(device.memory)}, {size(device.memory_available)} of it available"),
            ("processors", str(device.cpus)),
        ],
        "cgroups": [
            ("", f"v{mount.version} at {mount.path}: {', '.join(mount.controllers) or 'no controllers'}")
            for mount in device.cgroups
        ]
        or [("", "none is mounted")],
    }
