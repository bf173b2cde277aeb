"""What stands at /proc, /sys, /run and /etc/resolv.conf inside a container."""

from berth.host import Host, Rootfs
from berth.plan.model import BindMount, File, Link, Mask, Mount, ReadOnly, Resolvers, Step
from berth.spec import Spec

CONTAINER_WORD = "berth"

_MASKED = {
    "/proc/kcore": "the phone's memory",
    "/proc/keys": "keys of other containers and of the phone",
    "/proc/timer_list": "timers of the whole phone, kernel addresses",
    "/proc/sched_debug": "every process of the phone, by name",
    "/proc/sysrq-trigger": "one byte written there reboots or crashes the phone",
    "/proc/latency_stats": "what the phone's processes wait for",
    "/proc/scsi": "the phone's disks",
    "/sys/firmware": "device tree, ACPI tables and EFI variables",
    "/sys/fs/fuse": "connections of FUSE on the phone, which can be cut off there",
    "/sys/kernel/debug": "debugfs can crash the kernel",
    "/sys/kernel/tracing": "tracefs sees every process of the phone",
}
_READ_ONLY = {
    "/proc/sys": "settings of the phone's kernel",
    "/proc/irq": "where the phone's interrupts go",
    "/proc/bus": "the phone's buses",
    "/proc/asound": "the phone's sound cards",
}
_HARDWARE_SUBSYSTEMS = ("block", "bus", "class", "dev", "devices")

_UDEV_TRIGGER = """\
[Unit]
Description=Berth's safe udev trigger (usb, block, input, tty only)
ConditionPathExists=|/bin/udevadm
ConditionPathExists=|/sbin/udevadm
ConditionPathExists=|/usr/bin/udevadm
DefaultDependencies=no
Wants=systemd-udevd.service
After=systemd-udevd-kernel.socket systemd-udevd-control.socket
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/bin/env udevadm trigger --type=devices --action=add --subsystem-match=usb --subsystem-match=block \\
 --subsystem-match=input --subsystem-match=tty
"""
_UDEVD_UNITS = (
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-varlink.socket",
    "systemd-udevd.service",
)
_UDEVD_CONDITION = """\
[Unit]
ConditionPathIsReadWrite=
ConditionPathIsReadWrite=/sys/devices
"""


def proc_steps(spec: Spec) -> tuple[Step, ...]:
    """Return the steps that show /proc with what must be hidden or kept read-only."""
    steps: list[Step] = [Mount("/proc", "proc", ("nosuid", "nodev", "noexec"), reason="processes of this container")]
    if "nomask" in spec.privileged:
        return tuple(steps)
    steps += [ReadOnly(path, reason=why) for path, why in _READ_ONLY.items()]
    if spec.net != "host":
        why = "the network namespace is the container's own, and so are its settings"
        steps.append(ReadOnly("/proc/sys/net", writable=True, reason=why))
    steps += [Mask(path, reason=why) for path, why in _MASKED.items() if path.startswith("/proc")]
    return tuple(steps)


def sys_steps(spec: Spec) -> tuple[Step, ...]:
    """Return the steps that show /sys, read-only but for the hardware subsystems under `--hw-access`.

    systemd 258 and later takes a writable /sys for a physical machine and starts gettys on terminals that are not
    there, so the top stays read-only and the subsystems are bound over it, writable.
    """
    options = ("nosuid", "nodev", "noexec")
    steps: list[Step] = []
    if not spec.hw_access:
        steps.append(Mount("/sys", "sysfs", ("ro", *options), reason="devices of the phone, to look at"))
    else:
        steps.append(Mount("/sys", "sysfs", options, reason="hardware access"))
        steps.append(ReadOnly("/sys", reason="systemd tells a container by a read-only /sys"))
        why = "hardware access reaches this subsystem"
        steps += [ReadOnly(f"/sys/{name}", writable=True, reason=why) for name in _HARDWARE_SUBSYSTEMS]
    if "nomask" not in spec.privileged:
        steps += [Mask(path, reason=why) for path, why in _MASKED.items() if path.startswith("/sys")]
    return tuple(steps)


def run_steps(spec: Spec, rootfs: Rootfs) -> tuple[Step, ...]:
    """Return the steps that make /run and what systemd reads there about its container."""
    word = "systemd and others find out here that they run in a container"
    steps: list[Step] = [
        Mount("/run", "tmpfs", ("nosuid", "nodev", "strictatime"), "mode=755", reason="state of this boot"),
        File("/run/systemd/container", f"{CONTAINER_WORD}\n", reason=word),
    ]
    if spec.hw_access:
        steps += _safe_udev(spec, rootfs)
    return tuple(steps)


def _safe_udev(spec: Spec, rootfs: Rootfs) -> list[Step]:
    """Tame the container's udev, whichever it has.

    Only systemd's is started, and has its trigger replaced.  Debian's init script does nothing where the top of /sys
    is read-only, Void's where `container` is set; OpenRC knows neither, so its trigger is masked.
    """
    units = "/run/systemd/system"
    crash = "triggering every device at once deadlocks or panics many Android kernels"
    steps: list[Step] = []
    if spec.net == "host":
        why = "udevd inside hears of the host's network interfaces, and would give them other names and addresses"
        steps.append(Link("/run/udev/rules.d/80-net-setup-link.rules", "/dev/null", reason=why))
    if rootfs.init_kind != "systemd":
        return [*steps, Mask("/etc/init.d/udev-trigger", reason=crash)]
    why = "udevd asks for a writable /sys, and without its sockets it would come too late for the trigger"
    return [
        *steps,
        Link(f"{units}/systemd-udev-trigger.service", "/dev/null", reason=crash),
        File(f"{units}/berth-udev-trigger.service", _UDEV_TRIGGER, reason="re-scan only what is safe to re-scan"),
        Link(f"{units}/sysinit.target.wants/berth-udev-trigger.service", "../berth-udev-trigger.service"),
        *(File(f"{units}/{unit}.d/berth.conf", _UDEVD_CONDITION, reason=why) for unit in _UDEVD_UNITS),
    ]


def bind_steps(spec: Spec) -> tuple[Step, ...]:
    """Return one step per bind that the user asked for, in the user's order."""
    return tuple(BindMount(bind.source, bind.destination, bind.read_only, "--bind-mount") for bind in spec.binds)


def resolver_steps(spec: Spec, host: Host, rootfs: Rootfs) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the steps that give the container its DNS servers, and warnings.

    A link into /run gets its target there; a regular file is the user's and stays, unless `--dns` was given or only
    the network of the container's own has a server that can be reached; a missing one gets an empty mount point.
    Without servers to name, nothing is done.
    """
    servers = spec.dns or _servers(spec, host)
    if not servers:
        return (), ()
    text = "".join(f"nameserver {server}\n" for server in servers)
    match rootfs.resolv_conf:
        case "link-to-run":
            why = "/etc/resolv.conf of this rootfs points here"
            return (File(rootfs.resolv_conf_target, text, reason=why),), ()
        case "missing":
            return (Resolvers("/etc/resolv.conf", servers, "the rootfs has none"),), ()
        case "file" if spec.dns:
            return (Resolvers("/etc/resolv.conf", servers, "--dns"),), ()
        case "file" if spec.net == "nat":
            return (Resolvers("/etc/resolv.conf", servers, "the phone answers for names, whatever its uplink"),), ()
        case "link" if spec.dns:
            target = rootfs.resolv_conf_target
            return (), (f"--dns: /etc/resolv.conf is a link to {target}, which is not there; names may not resolve",)
    return (), ()


def _servers(spec: Spec, host: Host) -> tuple[str, ...]:
    if spec.net == "nat":
        return (host.lease.gateway,) if host.lease else ()
    by_the_phone = spec.net == "host" or (spec.net == "lan" and spec.ip is not None)  # else its DHCP client is told
    return host.dns if by_the_phone else ()
