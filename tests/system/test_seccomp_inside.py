"""The filter as a container has it: each call is tried by a program inside, by 64-bit and by 32-bit calls.

The container keeps every capability but two on which the filter depends, so that nothing else refuses; and one with all
of them and without a filter answers something else, or it would prove nothing.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from berth.kernel.syscalls import I386, X86_64, Architecture
from tests import leftovers, quick, rootfs
from tests.program import Berth
from tests.system.test_seccomp import EXPECTED, HARMLESS, Width

pytestmark = pytest.mark.system

# For another kernel or host than this one: where the monitor does not mount, and where the root is a ramfs.
NOT_HERE: Final = ("fsconfig", "setns")
WIDTHS: Final[dict[Width, Architecture]] = {64: X86_64, 32: I386}
EACH_CALL: Final[list[tuple[str, Width]]] = [
    (name, width)
    for name in HARMLESS
    for width, architecture in WIDTHS.items()
    if name in architecture.numbers and name not in NOT_HERE
]
NAMES: Final = ("calls-free", "calls-filtered")
BINDS: Final = ("/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro")  # this machine's own Python
CALLER: Final = """\
import ctypes, json, os, sys
from calls32 import call_32

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call_64(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return -ctypes.get_errno() if result < 0 else result


def errno_of(width, number, arguments):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        caller = os.getpid()
        result = (call_64 if width == 64 else call_32)(number, *arguments)
        if os.getpid() == caller:  # not the child of a clone that got through
            os.write(writer, b"%d" % max(0, -result))
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    return int(os.read(reader, 16))


print(json.dumps([errno_of(*asked) for asked in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def answers(berth_home: Path) -> Iterator[dict[str, dict[tuple[str, Width], int]]]:
    """Return the errno of each call in each of the two containers, 0 for success."""
    berth, folder = Berth(berth_home), Path(tempfile.mkdtemp(dir=berth_home.parent))
    folder.chmod(0o755)
    root = rootfs.copy(rootfs.directory("busybox"), folder / "busybox")
    (root / "opt").mkdir()
    (root / "opt/caller.py").write_text(CALLER)
    (root / "opt/calls32.py").write_bytes(Path(__file__).parents[1].joinpath("calls32.py").read_bytes())
    flags = ("-B", ",".join(BINDS))
    quick.start(berth, root, *flags, "--privileged=nocaps,noseccomp", name="calls-free")
    shield = ("--keyring-filter", "--block-nested-namespaces")
    quick.start(
        berth, root, *flags, "--privileged=nocaps", "--cap-drop=NET_ADMIN,SYSLOG", *shield, name="calls-filtered"
    )
    yield {name: ask(berth, name) for name in NAMES}
    leftovers.stop_containers(berth)
    for name in NAMES:
        berth.succeed("rm", name, "--yes")
    rootfs.remove(folder)


def ask(berth: Berth, name: str) -> dict[tuple[str, Width], int]:
    asked = [(width, WIDTHS[width].numbers[call], HARMLESS[call]) for call, width in EACH_CALL]
    told = berth.succeed("run", name, "--", "/usr/bin/python3", "-B", "/opt/caller.py", stdin=json.dumps(asked))
    return dict(zip(EACH_CALL, json.loads(told), strict=True))


@pytest.mark.parametrize(("name", "width"), EACH_CALL)
def test_a_refused_call_fails_with_its_errno_inside(
    answers: dict[str, dict[tuple[str, Width], int]], name: str, width: Width
) -> None:
    assert answers["calls-filtered"][name, width] == EXPECTED[name], "inside it is answered otherwise"
    assert answers["calls-free"][name, width] != EXPECTED[name]
