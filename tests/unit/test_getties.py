"""Which terminals an init keeps a getty on."""

import pytest

from berth.engine.getties import named_by_services, named_in_inittab

DEBIAN = """\
# /etc/inittab
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
#2:23:respawn:/sbin/getty 38400 tty9
1:2345:respawn:/sbin/getty --noclear 38400 tty1
2:23:respawn:/sbin/getty 38400 tty2
T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100
z6:6:respawn:/sbin/sulogin --force
"""
ALPINE = """\
::sysinit:/sbin/openrc sysinit
::wait:/sbin/openrc default
tty1::respawn:/sbin/getty 38400 tty1
tty2::askfirst:-/bin/sh
#ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100
::ctrlaltdel:/sbin/reboot
"""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (DEBIAN, ("tty1", "tty2")),
        (ALPINE, ("tty1", "tty2")),
        ("c1:12345:respawn:/sbin/agetty --noclear 38400 /dev/tty12 linux\n", ("tty12",)),
        ("x:2:once:/sbin/getty 38400 tty3\n", ()),
        ("x:2:respawn:/usr/bin/watch-tty3 tty0 pretty4 tty5x tty123\n", ()),
        ("\n".join(f"{n}:2:respawn:/sbin/getty tty{n}" for n in range(1, 64)), tuple(f"tty{n}" for n in range(1, 13))),
        ("", ()),
        ("respawn tty1\n:::\n\0:\udcff", ()),
    ],
    ids=["debian", "alpine", "path", "once", "others", "many", "empty", "odd"],
)
def test_an_inittab_names_its_terminals(text: str, names: tuple[str, ...]) -> None:
    assert named_in_inittab(text) == names


def test_services_of_runit_name_their_terminals() -> None:
    services = ["sshd", "getty-tty2", "agetty-tty1", "getty-ttyS0", "agetty-tty1.old", "agetty-console"]

    assert named_by_services(services) == ("tty1", "tty2")
