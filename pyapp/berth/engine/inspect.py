"""Reads the device and a root file system into the plain values that `plan` decides from."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from functools import cache

from msgspec.structs import replace

from berth.android.properties import read_property
from berth.android.resolvers import read_resolvers
from berth.android.system import is_android
from berth.android.wakelocks import WAKE_LOCK
from berth.engine.cgroup_mounts import read_host_mounts
from berth.engine.getties import read_getties
from berth.errors import BerthError
from berth.home import Home, find_home
from berth.host import DeviceNode, Host, InitKind, ResolvConf, Rootfs, SelinuxMode
from berth.kernel.bpf import probe_device_bpf
from berth.kernel.call import KernelError
from berth.kernel.files import read_file
from berth.kernel.mounts import mount_id, read_mounts
from berth.kernel.paths import open_in_root, read_in_root
from berth.kernel.sockets import sockets_need_a_group
from berth.kernel.syscalls import MACHINES

_TOOLS = ("e2fsck",)
_TOOL_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/system/bin", "/vendor/bin")
_RAMFS = ("rootfs", "ramfs")
_KINDS: tuple[tuple[str, InitKind], ...] = (
    ("systemd", "systemd"),
    ("busybox", "busybox"),
    ("runit", "runit"),
    ("openrc-init", "openrc"),
    ("s6-", "s6"),
)


def read_host(home: Home | None = None, *, devices: bool = False, resolvers: bool = False) -> Host:
    """Return what this device offers containers of `home`.

    Its /dev and its name servers only when they are asked for: both take time.  Raises BerthError for a processor Berth
    does not know, OSError when /proc is not mounted.
    """
    return replace(
        _read_lasting(),
        selinux=_selinux(),
        cpus=os.cpu_count() or 1,
        cgroups=read_host_mounts(),
        filesystems=frozenset(line.split()[-1] for line in _read("/proc/filesystems").splitlines()),
        tools=_tools(),
        devices=read_device_nodes() if devices else (),
        dns=_resolvers() if resolvers else (),
        home=home.tag if home else "",
        time_zone=read_property("persist.sys.timezone") if resolvers else "",
    )


@cache  # a service that has read it once forks it along
def _read_lasting() -> Host:
    """Return what stays as it is while this kernel runs; the rest of a Host is left out."""
    uname = os.uname()
    if uname.machine not in MACHINES:
        raise BerthError(f"the processor of this machine is {uname.machine}; Berth runs on {', '.join(MACHINES)} only")
    return Host(
        kernel=_version(uname.release),
        machine=uname.machine,
        android=is_android(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        cgroup_namespace=os.path.exists("/proc/self/ns/cgroup"),
        device_bpf=probe_device_bpf(),
        root_is_ramfs=_root_is_ramfs(),
        network_groups=sockets_need_a_group(),
        wakelocks=os.path.exists(WAKE_LOCK),
    )


def _read(path: str) -> str:
    try:
        return read_file(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _version(release: str) -> tuple[int, int]:
    major, minor = re.match(r"(\d+)\.(\d+)", release).groups()  # type: ignore[union-attr]  # every kernel has both
    return int(major), int(minor)


def _selinux() -> SelinuxMode:
    match _read("/sys/fs/selinux/enforce").strip():
        case "1":
            return "enforcing"
        case "0":
            return "permissive"
    return "off"


def _root_is_ramfs() -> bool:
    for entry in read_mounts():
        if entry.target == "/":
            return entry.filesystem in _RAMFS
    return True  # a root that /proc/self/mountinfo does not list is the kernel's first rootfs


def _tools() -> dict[str, str]:
    found = {}
    beside_python = os.path.dirname(sys.executable)  # a phone's own may be years older than the image
    for tool in _TOOLS:
        for folder in (beside_python, *_TOOL_FOLDERS):
            path = f"{folder}/{tool}"
            if os.access(path, os.X_OK):
                found[tool] = path
                break
    return found


def _resolvers() -> tuple[str, ...]:
    if _read_lasting().android:
        return read_resolvers(_name_servers(f"{find_home(os.environ).state}/resolv.conf"))
    return _name_servers("/etc/resolv.conf")


def _name_servers(path: str) -> tuple[str, ...]:
    """Return those in the file at `path`, as resolv.conf(5) has it; none when it is not there."""
    words = (line.split() for line in _read(path).splitlines())
    return tuple(word[1] for word in words if len(word) > 1 and word[0] == "nameserver")


def device_folders() -> Iterator[tuple[str, list[str]]]:
    """Yield each folder of the host's /dev and what is in it, but for what is mounted below.

    Those are terminals, shared memory, and on old Androids cgroups with a folder for every process.
    """
    device = os.lstat("/dev").st_dev
    for folder, folders, names in os.walk("/dev"):
        folders[:] = [name for name in folders if _device_of(os.path.join(folder, name)) == device]
        yield folder, names


def _device_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except FileNotFoundError:
        return None


def read_device_nodes() -> tuple[DeviceNode, ...]:
    """Return the device nodes in the host's /dev, by path."""
    found = []
    for folder, names in device_folders():
        for name in names:
            path = os.path.join(folder, name)
            try:
                node = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISCHR(node.st_mode) or stat.S_ISBLK(node.st_mode):
                major, minor = os.major(node.st_rdev), os.minor(node.st_rdev)
                relative = os.path.relpath(path, "/dev")
                found.append(DeviceNode(relative, node.st_mode, major, minor, node.st_uid, node.st_gid))
    return tuple(sorted(found, key=lambda node: node.path))


def read_rootfs(root: int, init: str, shown: str) -> Rootfs:
    """Return the facts about the root file system open at descriptor `root`; `shown` names it in errors.

    Raises BerthError when `init` is missing there or can't be executed.
    """
    path, kind = _find_init(root, init, shown)
    filesystem, casefold = _filesystem(root)
    resolv_conf, target = _resolv_conf(root)
    return Rootfs(
        init=path,
        init_kind=kind,
        systemd=_systemd_version(root) if kind == "systemd" else None,
        filesystem=filesystem,
        casefold=casefold,
        resolv_conf=resolv_conf,
        resolv_conf_target=target,
        getties=read_getties(root, kind),
    )


def _find_init(root: int, init: str, shown: str) -> tuple[str, InitKind]:
    advice = 'unpack a whole distribution there, or name its init with "--init PATH"'
    try:
        fd = open_in_root(root, init)
    except KernelError as error:
        raise BerthError(f"rootfs {shown}: {init} is not there ({error.strerror}); {advice}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
            raise BerthError(f"rootfs {shown}: {init} is not an executable file; {advice}")
        # The link names the path below the root's own mount: what follows the root's is inside the container.
        whole, base = os.readlink(f"/proc/self/fd/{fd}"), os.readlink(f"/proc/self/fd/{root}")
        path = whole.removeprefix(base.rstrip("/"))
        return path, _init_kind(root, path)
    finally:
        os.close(fd)


def _init_kind(root: int, path: str) -> InitKind:
    kind = kind_by_name(path)
    if kind != "unknown":
        return kind
    head = read_in_root(root, path, 1 << 20) or b""
    if head.startswith(b"#!"):
        return "s6" if b"s6-svscan" in head or b"s6-linux-init" in head else "unknown"
    if b"BusyBox v" in head:
        return "busybox"
    if b"/etc/inittab" in head and b"/initctl" in head:  # its strings; 3.x has them, and so has 2.88
        return "sysvinit"
    return "unknown"


def kind_by_name(path: str) -> InitKind:
    """Return what kind of init the file `path` is as far as its name tells, "unknown" where it does not.

    What counts is who is PID 1: OpenRC below sysvinit's or BusyBox's init is asked to end as those are.
    """
    name = os.path.basename(path)
    return next((kind for beginning, kind in _KINDS if name.startswith(beginning)), "unknown")


def _systemd_version(root: int) -> int | None:
    for folder in ("/usr/lib/systemd", "/lib/systemd"):
        try:
            fd = open_in_root(root, folder, os.O_RDONLY | os.O_DIRECTORY)
        except KernelError:
            continue
        try:
            names = os.listdir(fd)
        finally:
            os.close(fd)
        versions = [re.match(r"libsystemd-(?:shared|core)-(\d+)", name) for name in names]
        found = [int(match.group(1)) for match in versions if match]
        if found:
            return max(found)
    return None


def _filesystem(root: int) -> tuple[str, bool]:
    """Return the type of the file system at `root` and whether it folds case."""
    mount = mount_id(root)
    for entry in read_mounts():
        if entry.id == mount:
            return entry.filesystem, _folds_case(entry.source, entry.filesystem)
    return "unknown", False


def _folds_case(source: str, filesystem: str) -> bool:
    """Tell it by f2fs' own list of features (Linux 5.4 and Android's kernels; ext4 publishes nothing per device)."""
    device = os.path.basename(os.path.realpath(source))
    return "casefold" in _read(f"/sys/fs/{filesystem}/{device}/features")


def _resolv_conf(root: int) -> tuple[ResolvConf, str]:
    try:
        fd = open_in_root(root, "/etc/resolv.conf", follow=False)
    except KernelError:
        return "missing", ""
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            return "file", ""
        target = os.path.normpath(os.path.join("/etc", os.readlink("", dir_fd=fd)))
    finally:
        os.close(fd)
    if target.startswith(("/run/", "/var/run/")):
        return "link-to-run", target.removeprefix("/var") if target.startswith("/var") else target
    return ("file" if read_in_root(root, target, 1) is not None else "link"), target
