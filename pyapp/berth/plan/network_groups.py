"""Android's network groups: its older kernels open sockets only for their members (CONFIG_ANDROID_PARANOID_NETWORK).

A distribution knows nothing of them, so that there only root has a network: `apt`, which steps down, fails.  They go
into the rootfs's own files, because with a bind over /etc/group `groupadd` could not replace that.
"""

from berth.host import Host
from berth.plan.model import NetworkGroups, Step
from berth.spec import Spec

INET = 3003  # may open internet sockets; see android_filesystem_config.h
GROUPS = {
    "aid_net_bt_admin": 3001,
    "aid_net_bt": 3002,
    "aid_inet": INET,
    "aid_net_raw": 3004,
    "aid_net_admin": 3005,
    "aid_net_bw_stats": 3006,
}
_ORDINARY = range(1000, 60000)


def network_group_steps(spec: Spec, host: Host) -> tuple[Step, ...]:
    """Return the step that makes the groups known where the kernel asks for them, unless they are to be kept away."""
    if not host.network_groups or spec.keep_groups:
        return ()
    why = "this kernel gives a network only to members of Android's groups; --keep-groups leaves them away"
    return (NetworkGroups("/etc/group", why),)


def with_groups(group: str, passwd: str) -> str:
    """Return the content `group` of an /etc/group with those of Android's groups that it lacks, by name or number.

    root is in all of them, the ordinary users of `passwd` (1000 to 59999) in the one that opens sockets.
    """
    lines = [line.split(":") for line in group.splitlines()]
    names, numbers = {line[0] for line in lines}, {line[2] for line in lines if len(line) > 2}
    users = [line[0] for line in _rows(passwd) if int(line[2]) in _ORDINARY]
    added = "".join(
        f"{name}:x:{number}:{','.join(['root', *users] if number == INET else ['root'])}\n"
        for name, number in GROUPS.items()
        if name not in names and str(number) not in numbers
    )
    return f"{group}\n{added}" if added and group and not group.endswith("\n") else group + added


def with_apt(passwd: str) -> str:
    """Return the content `passwd` of an /etc/passwd in which apt's own user, if there is one, may open sockets."""
    lines = passwd.splitlines(keepends=True)
    for index, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == "_apt" and len(fields) > 3:
            lines[index] = ":".join([*fields[:3], str(INET), *fields[4:]])
    return "".join(lines)


def _rows(passwd: str) -> list[list[str]]:
    rows = [line.split(":") for line in passwd.splitlines()]
    return [row for row in rows if len(row) > 3 and row[2].isascii() and row[2].isdigit()]
