"""The processors that a zip can hold a runtime for, and what each is called by whom."""

from typing import NamedTuple


class Abi(NamedTuple):
    """One processor: `name` is Android's word, `debian` dpkg's, `machine` the kernel's and the wheels'."""

    name: str
    debian: str
    machine: str
    triplet: str
    loader: str  # the file name of glibc's dynamic loader
    # Where nobody publishes wheels: the machine whose are taken without their libraries, and what is compiled instead.
    wheels_of: str = ""
    compiled: tuple[str, ...] = ()


ABIS = {
    abi.name: abi
    for abi in (
        Abi("arm64-v8a", "arm64", "aarch64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
        Abi("x86_64", "amd64", "x86_64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
        Abi(
            "armeabi-v7a",
            "armhf",
            "armv7l",
            "arm-linux-gnueabihf",
            "ld-linux-armhf.so.3",
            wheels_of="aarch64",
            compiled=("msgspec", "psutil"),  # markupsafe has in Python what its library does faster
        ),
    )
}
DEFAULT = "arm64-v8a"


def of_machine(machine: str) -> Abi | None:
    """Return the Abi of `machine` as uname(2) names it, or None."""
    return next((abi for abi in ABIS.values() if abi.machine == machine), None)
