"""The peers, each told to do as nearly as it can what Berth does."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bench.match import Failed
from tests.bench.processes import Programs

_OCI_CAPABILITIES = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID", "SYS_CHROOT")
_OCI_MOUNTS = (
    ("/proc", "proc", ("nosuid", "nodev", "noexec")),
    ("/sys", "sysfs", ("ro", "nosuid", "nodev", "noexec")),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    ("/dev/shm", "tmpfs", ("nosuid", "nodev", "mode=1777")),
    ("/tmp", "tmpfs", ("nosuid", "nodev", "mode=1777")),
)
_NO_INTERFACES = "none"  # the host's network, as Berth's default is
VERSIONS = {
    "bubblewrap": ("bwrap", "--version"),
    "crun": ("crun", "--version"),
    "lxc": ("lxc-start", "--version"),
    "runc": ("runc", "--version"),
    "systemd-nspawn": ("systemd-nspawn", "--version"),
}


def version(name: str) -> str:
    """Return what peer `name` says of its version, "not installed" where it is missing."""
    try:
        answer = subprocess.run(VERSIONS[name], check=False, capture_output=True, text=True).stdout.splitlines()
    except FileNotFoundError:
        return "not installed"
    return answer[0].removeprefix(name).removeprefix(" version").strip() if answer else "unknown"


def bwrap(rootfs: Path, *program: str) -> list[str | Path]:
    """Return the command of a one-off in new namespaces of every kind; bwrap can only bind the host's /sys."""
    mounts = ["--proc", "/proc", "--ro-bind", "/sys", "/sys", "--dev", "/dev", "--tmpfs", "/tmp"]
    return ["bwrap", "--unshare-all", "--ro-bind", rootfs, "/", *mounts, *program]


def make_bundle(folder: Path, rootfs: Path, program: Sequence[str], *, read_only: bool) -> Path:
    """Make an OCI bundle for `program` on `rootfs` and return its folder."""
    bounded = [f"CAP_{name}" for name in _OCI_CAPABILITIES]
    config = {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": program,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), bounded),
        },
        "root": {"path": str(rootfs), "readonly": read_only},
        "hostname": "bench",
        "mounts": [
            {"destination": target, "type": kind, "source": kind, "options": options}
            for target, kind, options in _OCI_MOUNTS
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "cgroup", "network")]},
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Lxc:
    """LXC with its containers below a folder of this run's own."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        folder.mkdir()

    def add(
        self,
        name: str,
        rootfs: Path,
        init: str,
        halt_signal: str,
        *,
        bridge: str = "",
        address: str = "",
        gateway: str = "",
    ) -> None:
        """Write the config of container `name`, which is on the host's network, or has a link to `bridge`."""
        config = {
            "lxc.uts.name": name,
            "lxc.rootfs.path": f"dir:{rootfs}",
            "lxc.init.cmd": init,
            **(_linked(bridge, address, gateway) if bridge else {"lxc.net.0.type": _NO_INTERFACES}),
            "lxc.apparmor.profile": "unconfined",
            "lxc.mount.auto": "proc:mixed sys:mixed cgroup:mixed",
            "lxc.pty.max": "64",
            "lxc.signal.halt": halt_signal,
        }
        (self._folder / name).mkdir()
        (self._folder / name / "config").write_text("".join(f"{key} = {value}\n" for key, value in config.items()))

    def command(self, program: str, name: str, *rest: str) -> list[str | Path]:
        """Return a command line of one of LXC's programs for container `name`."""
        return [program, "-P", self._folder, "-n", name, *rest]

    def start(self, name: str) -> float:
        """Start container `name`; return milliseconds.  Raises Failed."""
        return self._programs.run(*self.command("lxc-start", name, "-d"))

    def stop(self, name: str, *, kill: bool = False) -> float:
        """Stop container `name`; return milliseconds.  Raises Failed."""
        return self._programs.run(*self.command("lxc-stop", name, *(["-k"] if kill else [])))

    def pid(self, name: str) -> int:
        """Return the pid of a running container's init; raises Failed."""
        command = [*self.command("lxc-info", name), "-p", "-H"]
        answer = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
        if not answer.isdigit():
            raise Failed("lxc-info: the container does not run")
        return int(answer)


def _linked(bridge: str, address: str, gateway: str) -> dict[str, str]:
    return {
        "lxc.net.0.type": "veth",
        "lxc.net.0.link": bridge,
        "lxc.net.0.flags": "up",
        "lxc.net.0.ipv4.address": address,
        "lxc.net.0.ipv4.gateway": gateway,
    }
