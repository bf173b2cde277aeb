"""A plan in words: what a start would do, and why, in the order in which it is done."""

from msgspec import Struct

from berth.amounts import size
from berth.engine.preview import Preview
from berth.host import InitKind
from berth.plan.capabilities import withheld
from berth.plan.cgroups import group_path
from berth.plan.model import ArgumentTest, Cgroup, DeviceRule, Plan, SyscallRule
from berth.rules import CAPABILITIES
from berth.spec import Spec

_NAMESPACES = {
    "mount": "its mounts are its own",
    "pid": "its processes see only each other, and init is PID 1",
    "uts": "its host name is its own",
    "ipc": "its System V objects and message queues are its own",
    "cgroup": "its own cgroup is the root that it sees",
    "network": "its network is its own",
}
_STAGES = {
    "prestart": "on the host, when the namespaces are there",
    "prechroot": "in the container's namespaces, after all mounts",
    "poststop": "on the host, when it has ended",
}


PERMISSIVE = "then nothing keeps apps from the system and from each other's data but their user ids"


class Entry(Struct, frozen=True):
    """One thing that a start does, and why ("" where that is plain)."""

    what: str
    why: str = ""


def describe(spec: Spec, found: Preview) -> dict[str, list[Entry]]:
    """Return the plan in words, by group; a group in which nothing is done is left out."""
    made = found.plan
    groups = {
        "root": _root(spec, found),
        "namespaces": [Entry(word, _NAMESPACES.get(word, "")) for word in made.namespaces],
        "cgroups": [entry for cgroup in made.cgroups for entry in _cgroup(cgroup, made.name)],
        "devices": _devices(made),
        "kernel settings": _sysctls(made),
        "mounts": [Entry(step.describe(), step.reason) for step in made.steps],
        "capabilities": _capabilities(spec, made),
        "system calls": [Entry(_rule(rule), rule.reason) for rule in made.syscall_rules]
        or [Entry("no filter", "--privileged=noseccomp")],
        "whole device": _whole_device(made),
        "init": _init(made),
        "hooks": [Entry(f"{hook.stage}: {hook.path}", _STAGES[hook.stage]) for hook in spec.hooks],
        "warnings": [
            *map(Entry, made.warnings),
            *(Entry(f"bind {source} is skipped", "it is not there") for source in found.skipped),
        ],
    }
    return {title: entries for title, entries in groups.items() if entries}


def _root(spec: Spec, found: Preview) -> list[Entry]:
    made = found.plan
    entries = [Entry(f"directory {spec.rootfs}")] if spec.rootfs else [Entry(f"image {spec.image}", found.check)]
    if found.recorded:
        entries.append(Entry("it runs: this is what its start did"))
    if made.volatile:
        entries.append(Entry(f"overlay with {size(made.volatile_size)} of memory for changes", "--volatile"))
    if made.read_only_root:
        entries.append(Entry("read-only"))
    return entries


def _cgroup(cgroup: Cgroup, name: str) -> list[Entry]:
    group = group_path(cgroup, name)
    entries = [Entry(f"v{cgroup.version} {group}", cgroup.reason)]
    entries += [Entry(f"set {file} to {value}", f"kept by {group}") for file, value in cgroup.limits]
    return entries


def _devices(made: Plan) -> list[Entry]:
    policy = made.devices
    keeper = {"bpf": "kept by a BPF program", "v1": "kept by the v1 devices hierarchy", "none": "NOT confined"}
    return [Entry(keeper[policy.keeper], policy.reason), *(Entry(_device(rule), rule.reason) for rule in policy.rules)]


def _sysctls(made: Plan) -> list[Entry]:
    policy = made.sysctls
    return [Entry("kept by a BPF program" if policy.kept else "kept by the mounts only", policy.reason)]


def _device(rule: DeviceRule) -> str:
    kind = {"b": "block", "c": "character", "a": "any"}[rule.kind]
    numbers = ":".join("*" if number is None else str(number) for number in (rule.major, rule.minor))
    return f"allow {rule.access} {kind} {numbers}"


def _capabilities(spec: Spec, made: Plan) -> list[Entry]:
    reasons = withheld(spec)
    left_out = [Entry(f"without {name}", reasons.get(name, "--cap-drop")) for name in CAPABILITIES]
    kept = {f"without {name}" for name in made.capabilities}
    return [
        Entry(f"keep {', '.join(made.capabilities) or 'none'}"),
        *(entry for entry in left_out if entry.what not in kept),
    ]


def _rule(rule: SyscallRule) -> str:
    tests = " and ".join(map(_test, rule.when))
    answer = "ask the monitor" if rule.asks else f"answer {rule.errno}"
    return f"{', '.join(rule.names)} {answer}" + (f" when {tests}" if tests else "")


def _test(test: ArgumentTest) -> str:
    whole = test.mask in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    argument = f"argument {test.index + 1}" + ("" if whole else f" & {test.mask:#x}")
    return f"{argument} {'is not' if test.negate else 'is'} {test.value:#x}"


def _whole_device(made: Plan) -> list[Entry]:
    entries = [Entry(f"oom_score_adj {made.oom_score_adj}", "who is killed first when memory runs out")]
    if made.wakelock is not None:
        entries.append(Entry(f"hold the wakelock {made.wakelock.name}", made.wakelock.reason))
    if made.selinux_permissive:
        entries.append(Entry("make SELinux permissive until the last container that asked has ended", PERMISSIVE))
    return entries


def _init(made: Plan) -> list[Entry]:
    kinds: dict[InitKind, str] = {"unknown": "of an unknown kind"}
    return [
        Entry(f"execute {' '.join(made.argv)} ({kinds.get(made.init_kind, made.init_kind)})"),
        Entry(f"host name {made.hostname}"),
        Entry(f"environment {' '.join(f'{key}={value}' for key, value in made.environment.items())}"),
    ]
