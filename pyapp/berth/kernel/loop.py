"""Loop devices: a file seen as a block device, by ioctl.  See loop(4).

Every device attached here is autocleared: it lives while a descriptor or a mount holds it, and the kernel takes
it away with the last of them, however we end.  Meanwhile it keeps the backing file's open file description, and
with it any flock(2) taken there.

Nodes are not taken for granted: they are /dev/loopN with devtmpfs, /dev/block/loopN on Android (made by ueventd,
some time later), or missing.  A missing one is made in a folder of the caller's, which must not be mounted nodev.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from berth.kernel.call import KernelError

# linux/loop.h; these ioctls predate the encoding of sizes in their numbers, so they are the same everywhere
LOOP_SET_FD: Final = 0x4C00
LOOP_CLR_FD: Final = 0x4C01
LOOP_SET_STATUS64: Final = 0x4C04
LOOP_GET_STATUS64: Final = 0x4C05
LOOP_CONFIGURE: Final = 0x4C0A
LOOP_CTL_GET_FREE: Final = 0x4C82

LO_FLAGS_READ_ONLY: Final = 1
LO_FLAGS_AUTOCLEAR: Final = 4

# struct loop_info64: lo_device, lo_inode, lo_rdevice, lo_offset, lo_sizelimit, lo_number, lo_encrypt_type,
# lo_encrypt_key_size, lo_flags, lo_file_name, lo_crypt_name, lo_encrypt_key, lo_init[2]
_INFO: Final = struct.Struct("=5Q4I64s64s32s2Q")
# struct loop_config: fd, block_size, info, reserved[8]
_CONFIG: Final = struct.Struct(f"=2I{_INFO.size}s64x")

_CALLS: Final = {
    LOOP_SET_FD: "LOOP_SET_FD",
    LOOP_SET_STATUS64: "LOOP_SET_STATUS64",
    LOOP_GET_STATUS64: "LOOP_GET_STATUS64",
    LOOP_CONFIGURE: "LOOP_CONFIGURE",
    LOOP_CTL_GET_FREE: "LOOP_CTL_GET_FREE",
}
# Each lost race for a free number means that somebody else won one, so this many starts may run side by side.
_RACES: Final = 256
_GONE: Final = (errno.ENOENT, errno.ENXIO, errno.ENODEV)


class LoopDevice(Struct, frozen=True):
    """A loop device of ours; `fd` keeps it alive, `path` is a node for calls that want one."""

    fd: int
    number: int
    path: str


class LoopInfo(Struct, frozen=True):
    """A loop device in use: by whomever, in whatever mount namespace.

    `device` and `inode` are st_dev and st_ino of the backing file, `block_device` its st_rdev where it is itself a
    block device, else 0; `name` is what whoever attached it called it (63 bytes at most).
    """

    number: int
    device: int
    inode: int
    block_device: int
    read_only: bool
    name: str


@contextlib.contextmanager
def attach(backing: int, *, read_only: bool, name: str, node_folder: str) -> Iterator[LoopDevice]:
    """Attach the open file `backing` to a free loop device for the time of a `with` block.

    `backing` may be closed meanwhile.  When the block ends, the loop device goes unless something mounted holds it.
    The number is taken by LOOP_CONFIGURE (Linux 5.8), or before by LOOP_SET_FD and LOOP_SET_STATUS64: there, being
    killed between the two leaves a loop device without autoclear.  Raises KernelError.
    """
    configured, number = _take_free(backing, read_only, name, node_folder)
    try:
        # A kernel without CONFIG_BLK_DEV_WRITE_MOUNTED (6.8) mounts no device that is open for writing.
        fd = _open_path(f"/proc/self/fd/{configured}", os.O_RDONLY)
    finally:
        os.close(configured)
    try:
        with _node(number, node_folder) as path:
            yield LoopDevice(fd, number, path)
    finally:
        os.close(fd)


def list_loops(node_folder: str) -> list[LoopInfo]:
    """Return every loop device in use, by number.  Raises KernelError."""
    return [info for number in _numbers_in_use() if (info := _read_info(number, node_folder)) is not None]


def _take_free(backing: int, read_only: bool, name: str, node_folder: str) -> tuple[int, int]:
    mode = os.O_RDONLY if read_only else os.O_RDWR
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    control = _open("loop-control", "/sys/class/misc", stat.S_IFCHR, os.O_RDWR, node_folder)
    try:
        for race in range(_RACES):
            number = _ioctl(control, LOOP_CTL_GET_FREE, 0, "/dev/loop-control")
            try:
                fd = _open(f"loop{number}", "/sys/block", stat.S_IFBLK, mode, node_folder)
                try:
                    _configure(fd, backing, flags, name, f"loop{number}")
                except BaseException:
                    os.close(fd)
                    raise
                return fd, number
            except KernelError as error:
                lost = error.errno == errno.EBUSY or error.errno in _GONE
                if not lost or race == _RACES - 1:
                    raise
    finally:
        os.close(control)
    raise AssertionError("unreachable: the last race returns or raises")


def _configure(fd: int, backing: int, flags: int, name: str, path: str) -> None:
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, os.fsencode(name)[:63], b"", b"", 0, 0)
    try:
        _ioctl(fd, LOOP_CONFIGURE, bytearray(_CONFIG.pack(backing, 0, info)), path)
        return
    except KernelError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            raise
    _ioctl(fd, LOOP_SET_FD, backing, path)
    try:
        _ioctl(fd, LOOP_SET_STATUS64, bytearray(info), path)
    except BaseException:
        fcntl.ioctl(fd, LOOP_CLR_FD, 0)
        raise


@contextlib.contextmanager
def _node(number: int, node_folder: str) -> Iterator[str]:
    """A path for loop device `number`, which is ours, so that nobody else makes or removes this node."""
    name = f"loop{number}"
    device = _device_number("/sys/block", name)
    existing = _existing_node(name, stat.S_IFBLK, device)
    if existing:
        yield existing
        return
    path = f"{node_folder}/{name}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # left by a start that was killed
    _mknod(path, stat.S_IFBLK, device)
    try:
        yield path
    finally:
        os.unlink(path)


def _numbers_in_use() -> list[int]:
    names = (name.removeprefix("loop") for name in os.listdir("/sys/block") if name.startswith("loop"))
    # The folder `loop` is there exactly while a file is attached (2.6.37).
    return sorted(int(name) for name in names if name.isdigit() and os.path.isdir(f"/sys/block/loop{name}/loop"))


def _read_info(number: int, node_folder: str) -> LoopInfo | None:
    """What is attached to loop device `number`; None once it is gone."""
    name = f"loop{number}"
    buffer = bytearray(_INFO.size)
    try:
        fd = _open(name, "/sys/block", stat.S_IFBLK, os.O_RDONLY, node_folder)
        try:
            _ioctl(fd, LOOP_GET_STATUS64, buffer, name)
        finally:
            os.close(fd)
    except KernelError as error:
        if error.errno in _GONE:
            return None
        raise
    device, inode, block_device, _, _, _, _, _, flags, file_name, *_ = _INFO.unpack(buffer)
    return LoopInfo(
        number=number,
        device=device,
        inode=inode,
        block_device=block_device,
        read_only=bool(flags & LO_FLAGS_READ_ONLY),
        name=os.fsdecode(file_name.rstrip(b"\0")),
    )


def _open(name: str, sysfs: str, kind: int, mode: int, node_folder: str) -> int:
    """Open the device that sysfs knows by `name`, through a node made and removed on the spot where there is none."""
    device = _device_number(sysfs, name)
    path = _existing_node(name, kind, device)
    made = None
    if path is None:
        path = made = f"{node_folder}/{name}.{os.urandom(4).hex()}"
        _mknod(made, kind, device)
    try:
        return _open_path(path, mode)
    finally:
        if made:
            os.unlink(made)


def _open_path(path: str, mode: int) -> int:
    try:
        return os.open(path, mode | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", error.errno or 0, path) from None


def _existing_node(name: str, kind: int, device: int) -> str | None:
    for path in (f"/dev/{name}", f"/dev/block/{name}"):
        with contextlib.suppress(OSError):
            node = os.stat(path)
            if stat.S_IFMT(node.st_mode) == kind and node.st_rdev == device:
                return path
    return None


def _device_number(sysfs: str, name: str) -> int:
    """Ask sysfs: with the parameter loop.max_part (Android sets it) loop device 1 is 7:8, not 7:1."""
    path = f"{sysfs}/{name}/dev"
    try:
        with open(path) as stream:
            major, minor = stream.read().split(":")
    except OSError as error:
        raise KernelError("read", error.errno or 0, path) from None
    return os.makedev(int(major), int(minor))


def _mknod(path: str, kind: int, device: int) -> None:
    try:
        os.mknod(path, kind | 0o600, device)
    except OSError as error:
        raise KernelError("mknod", error.errno or 0, path) from None


def _ioctl(fd: int, request: int, argument: int | bytearray, path: str) -> int:
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as error:
        raise KernelError(_CALLS[request], error.errno or 0, path) from None
