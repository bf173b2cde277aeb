"""/etc/resolv.conf: who writes it, and that the user's own file is never touched."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.fixture
def root(rootfs: Factory) -> Path:
    root = rootfs("busybox")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    return root


def servers_of_host() -> list[str]:
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]


def servers_inside(berth: Berth) -> list[str]:
    lines = quick.inside(berth, "cat", "/etc/resolv.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]


@pytest.mark.parametrize("target", ["/run/systemd/resolve/stub-resolv.conf", "../run/resolvconf/resolv.conf"])
@pytest.mark.parametrize("flags", [(), ("--dns", "9.9.9.9,2620:fe::fe")])
def test_a_link_into_run_gets_its_target(berth: Berth, root: Path, target: str, flags: tuple[str, ...]) -> None:
    (root / "etc/resolv.conf").symlink_to(target)

    quick.start(berth, root, *flags)

    assert servers_inside(berth) == (flags[1].split(",") if flags else servers_of_host())
    berth.succeed("stop", "quay")
    assert (root / "etc/resolv.conf").readlink() == Path(target)
    assert os.listdir(root / "run") == []


def test_a_regular_file_is_left_alone(berth: Berth, root: Path) -> None:
    file = root / "etc/resolv.conf"
    file.write_bytes(b"# mine\nnameserver 192.0.2.7\n\xff")
    before = file.stat()

    quick.start(berth, root)

    assert servers_inside_raw(berth) == b"# mine\nnameserver 192.0.2.7\n\xff"
    berth.succeed("stop", "quay")
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def servers_inside_raw(berth: Berth) -> bytes:
    return bytes.fromhex(quick.shell(berth, "od -An -v -tx1 /etc/resolv.conf | tr -d ' \\n'"))


def test_with_dns_a_regular_file_is_covered_and_not_changed(berth: Berth, root: Path) -> None:
    file = root / "etc/resolv.conf"
    file.write_text("nameserver 192.0.2.7\n")
    before = file.stat()

    quick.start(berth, root, "--dns", "9.9.9.9", "--dns", "1.1.1.1")

    assert servers_inside(berth) == ["9.9.9.9", "1.1.1.1"]
    quick.shell(berth, "echo nameserver 192.0.2.8 >> /etc/resolv.conf")  # root inside may, and it is gone with the stop
    assert file.read_text() == "nameserver 192.0.2.7\n"
    berth.succeed("stop", "quay")
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_a_missing_file_gets_a_mount_point_that_goes_with_the_stop(berth: Berth, root: Path) -> None:
    quick.start(berth, root)

    assert servers_inside(berth) == servers_of_host()
    assert (root / "etc/resolv.conf").read_bytes() == b""
    berth.succeed("stop", "quay")
    assert not (root / "etc/resolv.conf").exists()


def test_without_a_network_nothing_is_done(berth: Berth, root: Path) -> None:
    quick.start(berth, root, "--net", "none")

    assert not (root / "etc/resolv.conf").exists()
    berth.succeed("stop", "quay")


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../../etc/hostname", "loop", "/proc/1/root/etc/hostname"]
)
def test_a_link_elsewhere_leads_to_nothing_of_the_hosts(berth: Berth, root: Path, target: str) -> None:
    (root / "etc/loop").symlink_to("resolv.conf")
    (root / "etc/resolv.conf").symlink_to(target)
    host = {path: Path(path).read_bytes() for path in ("/etc/passwd", "/etc/hostname", "/etc/resolv.conf")}
    mounts = Path("/proc/self/mountinfo").read_text()

    quick.start(berth, root, "--dns", "9.9.9.9")

    assert {path: Path(path).read_bytes() for path in host} == host
    assert Path("/proc/self/mountinfo").read_text() == mounts
    berth.succeed("stop", "quay")
    assert (root / "etc/resolv.conf").readlink() == Path(target)
