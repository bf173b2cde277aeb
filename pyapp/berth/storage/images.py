"""Root file system images: open, lock, compare, check and mount, so that one image never has two writers.

Who may use an image, and who wins when two starts want it at once:

- A regular file is locked by flock(2) before anything else: exclusively by a writable mount, shared by read-only ones.
  The loop device keeps the open file description, so the kernel itself holds the lock exactly as long as
  the loop device lives; nothing is left to release, and `kill -9` can't leave it behind.
- Others (losetup, mount -o loop) take no lock.  So once our own loop device is there, every loop device is compared
  by backing device and inode.  Looking after attaching leaves no gap between look and use.
- A block device has no loop device.  The kernel refuses a read-only mount beside a writable one, and O_EXCL finds a
  writable mount beside any other.  The lock, on the device's entry in sysfs because one device may have several
  nodes, only spans the time from that look to the mount.

Every descriptor is close-on-exec and closed on return.  Whatever fails takes the loop device with it.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct

from berth.errors import BerthError, UsageError
from berth.kernel.call import KernelError
from berth.kernel.loop import attach, list_loops
from berth.kernel.mounts import MNT_DETACH, MS_RDONLY, fd_path, mount, umount
from berth.spec import FsckPolicy
from berth.storage.check import check_file_system
from berth.storage.ext4 import SUPERBLOCK_END, Superblock, read_superblock
from berth.storage.kinds import way_out

# Seconds between the three tries for something busy: on 4.14 a loop device may be stale for a moment, and the one
# of a container that just stopped goes a moment after its mount.
_SETTLING: Final = (0.1, 0.4)
_NOT_READABLE: Final = {
    errno.ENOENT: "there is no such file",
    errno.ENXIO: "there is no such device",
    errno.ENODEV: "there is no such device",
    errno.EROFS: "it can only be read; start with --volatile or move it to where it can be written",
    errno.EACCES: "it may not be opened; look at its SELinux label and at the options of the mount it lies on",
    errno.ENOKEY: "it is still encrypted; unlock the phone once after boot",
}
_REFUSED: Final = {
    errno.EROFS: "it can only be read; start with --volatile",
    errno.EBUSY: "it is mounted or held by something else; end that first",
    errno.ENODEV: "this kernel has no ext4; it needs CONFIG_EXT4_FS",
}
_Result = TypeVar("_Result")


class ImageBusy(BerthError):
    """Somebody else has the image."""


class MountedImage(Struct, frozen=True):
    """A mounted image: the number of its loop device (None: a block device), and warnings, sentences each."""

    loop: int | None
    warnings: tuple[str, ...]


class _Image(Struct, frozen=True):
    name: str
    fd: int
    read_only: bool
    status: os.stat_result

    @property
    def is_block_device(self) -> bool:
        return stat.S_ISBLK(self.status.st_mode)

    def error(self, reason: str) -> BerthError:
        return BerthError(f"image {self.name}: {reason}")

    def busy(self, reason: str) -> ImageBusy:
        return ImageBusy(f"image {self.name}: {reason}")


def mount_image(
    image: str,
    target: str,
    *,
    policy: FsckPolicy,
    read_only: bool,
    tools: dict[str, str],
    now: int,
    node_folder: str,
) -> MountedImage:
    """Check the ext4 file or block device `image` and mount it at the directory `target`.

    A read-only mount neither replays the journal nor changes a byte.  The loop device goes with the mount.  `tools`
    maps "e2fsck" to its absolute path, `now` is in seconds since 1970, `node_folder` takes nodes for loop
    devices while they have none and must not be mounted nodev.

    Raises UsageError where `image` can't be an image, ImageBusy where it is in use, BerthError where it is damaged or
    refused; then neither mount nor loop device is left.
    """
    with contextlib.ExitStack() as stack:
        opened = _open(image, read_only)
        stack.callback(os.close, opened.fd)
        lock = _lock(opened, node_folder)
        stack.callback(os.close, lock)
        superblock = _superblock(opened)
        loop = None
        source = image
        if opened.is_block_device:
            _refuse_claimed(opened)
        else:
            try:
                device = stack.enter_context(
                    attach(opened.fd, read_only=read_only, name=image, node_folder=node_folder)
                )
            except KernelError as error:
                raise opened.error(f"no loop device can be had ({error}); it needs CONFIG_BLK_DEV_LOOP") from error
            loop, source = device.number, device.path
        _refuse_shared(opened, loop, node_folder)
        warnings = check_file_system(
            image, source, superblock, policy=policy, read_only=read_only, e2fsck=tools.get("e2fsck"), now=now
        )
        _mount(opened, source, target)
        _refuse_without_root(opened, target)
        return MountedImage(loop, warnings)


def _open(image: str, read_only: bool) -> _Image:
    """Look first and open then: opening a pipe would wait, and opening some devices does something."""
    try:
        place = os.open(image, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise _not_opened(image, error) from error
    try:
        status = os.fstat(place)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"image {image}: this is a directory; name it with --rootfs instead")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
            raise UsageError(f"image {image}: neither a file nor a block device; give an ext4 image")
        # A block device is only read here: one that is open for writing may not be mountable (6.8).
        mode = os.O_RDONLY if read_only or stat.S_ISBLK(status.st_mode) else os.O_RDWR
        try:
            return _Image(image, os.open(fd_path(place), mode | os.O_CLOEXEC), read_only, status)
        except OSError as error:
            raise _not_opened(image, error) from error
    finally:
        os.close(place)


def _not_opened(image: str, error: OSError) -> BerthError:
    return BerthError(f"image {image}: {_NOT_READABLE.get(error.errno or 0, f'it does not open ({error.strerror})')}")


def _lock(image: _Image, node_folder: str) -> int:
    """Return a descriptor that holds the lock; a file's own one, duplicated, so that the loop device holds it too."""
    if image.is_block_device:
        fd = os.open(f"{_sysfs(image.status.st_rdev)}/dev", os.O_RDONLY | os.O_CLOEXEC)
    else:
        fd = os.dup(image.fd)
    operation = fcntl.LOCK_NB | (fcntl.LOCK_SH if image.read_only else fcntl.LOCK_EX)
    try:
        _settled(lambda: fcntl.flock(fd, operation), errno.EAGAIN)
    except OSError as error:
        os.close(fd)
        if error.errno != errno.EAGAIN:
            raise image.error(f"it can't be locked ({error.strerror})") from error
        _refuse_shared(image, None, node_folder)
        raise image.busy("another start or program has locked it; wait until that has ended") from error
    return fd


def _superblock(image: _Image) -> Superblock:
    head = os.pread(image.fd, SUPERBLOCK_END, 0)
    try:
        superblock = read_superblock(head)
    except ValueError as error:
        raise image.error(f"{error}; {way_out(head)}") from error
    size = os.lseek(image.fd, 0, os.SEEK_END)
    if superblock.size > size:
        raise image.error(
            f"its file system has {superblock.size} bytes but only {size} are there; copy or download it again"
        )
    return superblock


def _refuse_claimed(image: _Image) -> None:
    """Refuse to write to a block device that is mounted, or held by swap, dm or md: O_EXCL shows it."""
    if image.read_only:
        return
    try:
        _settled(lambda: os.close(os.open(fd_path(image.fd), os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)), errno.EBUSY)
    except OSError as error:
        told = image.busy if error.errno == errno.EBUSY else image.error
        raise told(_REFUSED.get(error.errno or 0, f"it does not open ({error.strerror})")) from error


def _refuse_shared(image: _Image, own: int | None, node_folder: str) -> None:
    """Refuse an image that another loop device has, unless both only read; `own` is the loop device it is on now.

    An image named as /dev/loopN is looked for by the file behind it.
    """
    status = image.status
    loops = list_loops(node_folder)
    files, devices = {(status.st_dev, status.st_ino)}, set()
    if image.is_block_device:
        own = _loop_number(status.st_rdev)
        devices = {status.st_rdev}
        files = {(loop.device, loop.inode) for loop in loops if loop.number == own}
    for loop in loops:
        same = (loop.device, loop.inode) in files or loop.block_device in devices
        if same and loop.number != own and not (image.read_only and loop.read_only):
            raise image.busy(
                f"it is in use {'read-only' if loop.read_only else 'writable'} by loop device {loop.number};"
                " stop the container or program that has it mounted"
            )


def _sysfs(device: int) -> str:
    return f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"


def _loop_number(device: int) -> int | None:
    """The number of the loop device with st_rdev `device`; None for any other, also a partition on one."""
    number = os.path.basename(os.path.realpath(_sysfs(device))).removeprefix("loop")
    return int(number) if number.isdigit() else None


def _mount(image: _Image, source: str, target: str) -> None:
    # An image may ask for a panic when it finds an error; that would be the phone's.
    data = "errors=remount-ro,noload" if image.read_only else "errors=remount-ro"
    flags = MS_RDONLY if image.read_only else 0
    try:
        _settled(lambda: mount(source, target, "ext4", flags, data), errno.EBUSY, os.sync)
    except KernelError as error:
        if error.errno in _REFUSED:
            raise image.error(_REFUSED[error.errno]) from error
        raise image.error(
            f"the kernel refuses its file system ({error.strerror}); it is damaged (try --fsck=always) or has"
            " features that this kernel lacks (dmesg says which)"
        ) from error


def _refuse_without_root(image: _Image, target: str) -> None:
    """Unmount and refuse a file system whose root directory is damaged."""
    try:
        os.close(os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        umount(target, MNT_DETACH)
        raise image.error(f"its root directory can't be opened ({error.strerror}); try --fsck=always") from error


def _settled(attempt: Callable[[], _Result], busy: int, between: Callable[[], None] | None = None) -> _Result:
    """Make `attempt` up to three times as long as it fails with the errno `busy`."""
    for delay in _SETTLING:
        try:
            return attempt()
        except OSError as error:
            if error.errno != busy:
                raise
        if between:
            between()
        time.sleep(delay)
    return attempt()
