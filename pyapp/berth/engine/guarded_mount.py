"""Mounts what a container asks for, in its place: the caller's memory may change after a look at it, ours does not.

Everything here runs in a process made for one question.  It stays in the host's PID namespace, where nobody inside can
see it.
"""

import errno
import os
import re
import resource
import stat
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from berth.engine.allowed import Allowed
from berth.engine.caller import Caller
from berth.kernel import errand
from berth.kernel.capabilities import NUMBERS, drop_bounding, permitted, set_capabilities
from berth.kernel.file_systems import MountFlags, create, open_context, read_listed
from berth.kernel.memory import read_page, read_string
from berth.kernel.mounts import move_mount
from berth.kernel.namespaces import setns
from berth.kernel.notifications import Question, answer, answer_with_descriptor, let_pass, waits
from berth.kernel.syscalls import number_of
from berth.plan.mounts import may_mount_device, names_a_file, split_options, way_to_mount

_PATH_MAX: Final = 4096
_OPTIONS: Final = 4096
_FSOPEN_CLOEXEC: Final = 1
_GIVEN_OUT: Final = (b"tmpfs", b"ramfs")  # whoever has a context of another type could name a disk to it

# A path or an option that means a descriptor of the caller's.
_OWN_DESCRIPTOR: Final = re.compile(rb"/(?:proc/(?:thread-)?self|dev)/fd/(\d{1,7})|(?:^|,)(?:fd|rfdno|wfdno)=(\d{1,7})")
_OWN_DESCRIPTOR_PATH: Final = re.compile(rb"/(?:proc/(?:thread-)?self|dev)/fd/(\d{1,7})(?:/(.*))?")


class _MountCall(Struct, frozen=True, kw_only=True):
    """The arguments of a mount(2), copied from the caller."""

    source: bytes | None
    target: bytes
    filesystem: bytes
    flags: int
    data: bytes | None


def reply(listener: int, question: Question, caller: Caller, allowed: Allowed) -> None:
    """Answer `question` of `caller`; raises OSError with the errno that is the answer."""
    is_fsopen = question.number == number_of("fsopen", question.audit)
    if caller.in_user_namespace:
        if is_fsopen:  # what is opened there could be handed to somebody who may more
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        let_pass(listener, question)  # the kernel itself allows only what has no device and is not the host's
        return
    if not caller.has("SYS_ADMIN"):
        raise PermissionError(errno.EPERM, "no SYS_ADMIN")
    if is_fsopen:
        _give_context(listener, question, caller)
        return
    call = _read_call(caller.memory, question.arguments)
    if not waits(listener, question):
        return
    answer(listener, question, _mount(call, caller, allowed))


def _give_context(listener: int, question: Question, caller: Caller) -> None:
    address = question.arguments[0]
    # libmount asks with a null pointer whether fsopen is there.
    name = read_string(caller.memory, address, _PATH_MAX) if address else None
    if name is None or name not in _GIVEN_OUT:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # so that the caller falls back on mount(2)
    context = open_context(name)
    flags = question.arguments[1] & 0xFFFFFFFF
    answer_with_descriptor(listener, question, context, close_on_exec=bool(flags & _FSOPEN_CLOEXEC))


def _read_call(memory: int, arguments: tuple[int, ...]) -> _MountCall:
    source, target, filesystem, flags, data = arguments[:5]
    place = read_string(memory, target, _PATH_MAX)
    if not filesystem:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return _MountCall(
        source=read_string(memory, source, _PATH_MAX) if source else None,
        target=place,
        filesystem=read_string(memory, filesystem, _PATH_MAX),
        flags=flags,
        data=read_page(memory, data, _OPTIONS).partition(b"\0")[0] if data else None,
    )


def _mount(call: _MountCall, caller: Caller, allowed: Allowed) -> int:
    """Mount, and return the errno that came of it, 0 for success."""
    name = os.fsdecode(call.filesystem)
    way = way_to_mount(allowed.mounts, name, read_listed())
    if way == "unknown":
        os.close(open_context(call.filesystem))  # has the kernel load a module
        way = way_to_mount(allowed.mounts, name, read_listed())
    match way:
        case "plain":
            return _errno_of_children(_send_errand(call, caller))
        case "device":
            return _errno_of(lambda: _mount_device(call, caller, allowed))
        case _:
            return errno.EPERM if way == "refused" else errno.ENODEV


def _errno_of(work: Callable[[], object]) -> int:
    """Do `work` in a child; return the errno that it ended with."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or errno.EIO)
        finally:
            os._exit(errno.EIO)
    return _errno_of_children(pid)


def _errno_of_children(first: int) -> int:
    """Wait for all children; return the errno that `first` ended with, or the child that it left behind instead."""
    ends = {}
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            break
        ends[ended] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else errno.EINTR
    own = ends.pop(first)
    return next(iter(ends.values()), own)


def _send_errand(call: _MountCall, caller: Caller) -> int:
    """Have a file system without a device mounted from inside all of the caller's namespaces, by the child returned."""
    texts = [text for text in (call.source, call.target, call.data) if text is not None]
    numbers = {int(found) for text in texts for pair in _OWN_DESCRIPTOR.findall(text) for found in pair if found}
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the caller may have been given high numbers
    return errand.start(
        errand.MountArguments(call.source, call.target, call.filesystem, call.flags, call.data),
        errand.Place(caller.namespaces, caller.root, caller.cwd),
        errand.Identity(caller.uid, caller.gid, caller.groups, caller.capabilities & permitted()),
        {number: caller.copy(number) for number in numbers},
    )


def _mount_device(call: _MountCall, caller: Caller, allowed: Allowed) -> None:
    """Mount a file system on a block device: made where the host's paths hold, shown where the caller's do."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    mount_namespace = {word: fd for word, fd in caller.namespaces.items() if word == "mount"}
    flags = MountFlags.read(call.flags)
    options = split_options(os.fsdecode(call.data or b""))
    if call.source is None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if any(names_a_file(key, value) for key, value in options):
        raise PermissionError(errno.EPERM, "an option names another file")
    _enter(caller, mount_namespace)
    source, target = _open(caller, call.source), _open(caller, call.target)
    found = os.fstat(source)
    if not stat.S_ISBLK(found.st_mode):
        raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))
    device = os.major(found.st_rdev), os.minor(found.st_rdev)
    if not may_mount_device(allowed.devices, *device, read_only=flags.read_only or "ro" in dict(options)):
        raise PermissionError(errno.EPERM, "the device may not be opened")
    setns(own, "mount")
    tree = create(call.filesystem, f"/proc/self/fd/{source}", flags, options)
    _enter(caller, mount_namespace)
    _take_identity(caller)
    move_mount(tree, target)


def _enter(caller: Caller, namespaces: dict[str, int]) -> None:
    for word, fd in namespaces.items():
        setns(fd, word)
    os.fchdir(caller.root)
    os.chroot(".")
    os.fchdir(caller.cwd)


def _take_identity(caller: Caller) -> None:
    """Keep no capability that the caller does not have in force."""
    keep = tuple(name for name, number in NUMBERS.items() if caller.capabilities & 1 << number)
    os.setgroups(caller.groups)
    drop_bounding(keep)
    set_capabilities(keep)


def _open(caller: Caller, path: bytes) -> int:
    """Open `path` as the caller would; "self" is the caller, and not who looks."""
    own = _OWN_DESCRIPTOR_PATH.fullmatch(path)
    if own is None:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    fd = caller.copy(int(own[1]))
    return os.open(own[2], os.O_PATH | os.O_CLOEXEC, dir_fd=fd) if own[2] else fd
