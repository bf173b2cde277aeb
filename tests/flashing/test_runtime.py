"""The bundled Python and programs of `build.py zip`, run with nothing of this system in their sight."""

import json
import os
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import build
from packing import apt, compiled, compiler, fetched, locked
from packing.abi import ABIS
from packing.contents import SUITE
from packing.elf import is_elf
from packing.order import Order, place
from packing.tree import files
from tests import rootfs
from tests.flashing import product
from tests.flashing.bare import MODULE, Bare

pytestmark = pytest.mark.system

EMULATORS = {"arm64-v8a": "/usr/bin/qemu-aarch64-static", "armeabi-v7a": "/usr/bin/qemu-arm-static"}
PYTHON = f"{MODULE}/runtime/bin/python3"
START = f"{MODULE}/pyapp/start.pyc"
PT_LOAD = 1
ELFCLASS64 = 2

IMPORT_PROGRAM = f"""
import importlib, pathlib, sys
pyapp = pathlib.Path("{MODULE}/pyapp")
sys.path += [str(pyapp), "{MODULE}/runtime/lib/packages"]
names = [str(p.relative_to(pyapp).with_suffix("")).replace("/", ".") for p in pyapp.glob("*/**/*.pyc")]
names += ["flask", "jinja2", "msgspec.json", "psutil", "tomli_w", "waitress", "werkzeug.serving"]
names += ["http.client", "pyroute2.netlink.rtnl.tcmsg", "tarfile", "tomllib", "urllib.request", "zipfile"]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name.removesuffix(".__init__"))
print(len(names))
"""
IMPORT_LIBRARIES = f"""
import importlib, pathlib, sys
packages = pathlib.Path("{MODULE}/runtime/lib/packages")
dynload = pathlib.Path("{MODULE}/runtime/lib/python3.13/lib-dynload")
sys.path += [str(packages)]
names = [p.name.partition(".")[0] for p in dynload.glob("*.so")]
names += [".".join([*p.relative_to(packages).parts[:-1], p.name.partition(".")[0]]) for p in packages.rglob("*.so")]
for name in names:
    importlib.import_module(name)
print(*sorted(names))
"""
END_A_THREAD = """
import ctypes, os, threading, time
libc = ctypes.CDLL(None)
thread = threading.Thread(target=lambda: libc.pthread_exit(None), daemon=True)
thread.start()
deadline = time.monotonic() + 60
while os.path.exists(f"/proc/self/task/{thread.native_id}") and time.monotonic() < deadline:
    time.sleep(0.01)
print("ended" if time.monotonic() < deadline else "still there", flush=True)
os._exit(0)
"""
SERVICE = """
"$@" serve & service=$!
until [ -S /data/adb/berth/run/control.sock ]; do sleep 0.1; done
"$@" list --json
kill $service; wait $service
"""


# What only a zip for 32-bit ARM needs is much to fetch, and minutes to compile.
PHONES = [pytest.param(abi, marks=pytest.mark.full) if ABIS[abi].compiled else abi for abi in ABIS]


@pytest.fixture(scope="module", params=PHONES)
def phone(request: pytest.FixtureRequest, berth_home: Path) -> Iterator["Emulated"]:
    """A bare phone of each processor with the module in place."""
    root = berth_home.parent / request.param
    yield Emulated(request.param, root)
    rootfs.remove(root)


@pytest.fixture(scope="module")
def native(berth_home: Path) -> Iterator["Emulated"]:
    """The one of this machine's processor, on which importing everything takes no minute."""
    root = berth_home.parent / "native"
    yield Emulated("x86_64", root)
    rootfs.remove(root)


class Emulated:
    """A bare phone with the module for `abi`, emulated where this machine has another processor."""

    def __init__(self, abi: str, root: Path) -> None:
        self.abi = abi
        self.bare = Bare(root)
        self.tree = product.tree(abi)
        subprocess.run(["cp", "-a", f"{self.tree}/.", self._module()], check=True)
        self.emulator: tuple[str, ...] = ()
        if ABIS[abi].machine != os.uname().machine:
            subprocess.run(["cp", EMULATORS[abi], root / "qemu"], check=True)
            self.emulator = ("/qemu",)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.bare.run(*self.emulator, *command)

    def _module(self) -> Path:
        module = self.bare.root / f".{MODULE}"
        module.mkdir(parents=True)
        return module


def test_the_command_answers_without_anything_of_the_system(phone: Emulated) -> None:
    result = phone.run(PYTHON, "-IS", START, "version")

    assert (result.stdout, result.stderr) == (f"berth {build.program_version()}\n", "")


def test_the_command_answers_before_the_reboot_by_its_loader(phone: Emulated) -> None:
    elsewhere = phone.bare.root / "data/elsewhere"
    (phone.bare.root / f".{MODULE}").rename(elsewhere)
    try:
        loader = f"/data/elsewhere/runtime/lib/{ABIS[phone.abi].loader}"
        python, start = "/data/elsewhere/runtime/bin/python3", "/data/elsewhere/pyapp/start.pyc"
        result = phone.run(loader, python, "-IS", start, "version")
    finally:
        elsewhere.rename(phone.bare.root / f".{MODULE}")

    assert (result.stdout, result.stderr) == (f"berth {build.program_version()}\n", "")


def test_every_library_that_python_opens_can_be_opened(phone: Emulated) -> None:
    result = phone.run(PYTHON, "-IS", "-c", IMPORT_LIBRARIES)

    assert result.returncode == 0, result.stderr
    assert {"_ctypes", "_lzma", "_ssl", "msgspec._core", "psutil._psutil_linux"} <= set(result.stdout.split())


def test_a_thread_can_be_ended(phone: Emulated) -> None:
    result = phone.run(PYTHON, "-IS", "-c", END_A_THREAD)

    assert (result.returncode, result.stdout, result.stderr) == (0, "ended\n", "")


def test_the_service_answers_without_anything_of_the_system(phone: Emulated) -> None:
    (phone.bare.root / "data/adb/berth").mkdir()

    result = phone.bare.run("/system/bin/sh", "-c", SERVICE, "sh", *phone.emulator, PYTHON, "-IS", START)

    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == []


def test_all_of_the_program_can_be_imported(native: Emulated) -> None:
    result = native.run(PYTHON, "-IS", "-c", IMPORT_PROGRAM)

    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 100


@pytest.mark.parametrize("program", ["e2fsck", "mke2fs", "resize2fs", "dumpe2fs"])
def test_a_program_of_e2fsprogs_runs(phone: Emulated, program: str) -> None:
    result = phone.run(f"{MODULE}/runtime/bin/{program}", "-V")

    assert result.stderr.startswith((f"{program} 1.", "dumpe2fs 1.")), result


def test_every_program_can_be_loaded_with_pages_of_16_kib(phone: Emulated) -> None:
    # x86_64 has no larger ones, and a kernel that has them runs no 32-bit programs (CONFIG_COMPAT).
    wanted = 16 << 10 if phone.abi == "arm64-v8a" else 4 << 10
    loads = {name: alignments(path) for name, path in files(phone.tree) if is_elf(path)}

    assert {name: found for name, found in loads.items() if min(found) < wanted} == {}


def alignments(path: Path) -> list[int]:
    """Return the alignments of an ELF file's loaded segments (elf(5))."""
    content = path.read_bytes()
    wide = content[4] == ELFCLASS64
    (start,) = struct.unpack_from("<Q" if wide else "<I", content, 32 if wide else 28)
    size, count = struct.unpack_from("<HH", content, 54 if wide else 42)
    form = "<II6Q" if wide else "<8I"
    headers = [struct.unpack_from(form, content, start + index * size) for index in range(count)]
    return [header[7] for header in headers if header[0] == PT_LOAD]


def test_python_comes_compiled_and_is_never_compared_with_a_source(phone: Emulated) -> None:
    names = {name: path for name, path in files(phone.tree) if path.suffix in (".py", ".pyc")}

    assert [name for name in names if name.endswith(".py")] == []
    assert {path.read_bytes()[4:8] for path in names.values()} == {b"\1\0\0\0"}  # PEP 552: hash-based, unchecked


def test_no_path_of_the_machine_that_built_it_is_inside(phone: Emulated) -> None:
    here = os.fsencode(build.ROOT)

    assert [name for name, path in files(phone.tree) if here in path.read_bytes()] == []


def test_everything_that_is_bundled_has_its_licence(phone: Emulated) -> None:
    licences = json.loads((phone.tree / "licenses.json").read_text())

    assert {"berth", "busybox-static", "e2fsprogs", "flask", "libc6", "python3.13-minimal"} <= {
        licence["name"] for licence in licences
    }
    for licence in licences:
        assert licence["licences"]
        assert all((phone.tree / text).stat().st_size for text in licence["texts"])
    assert (phone.tree / "licenses/common/GPL-2").is_file()


@pytest.mark.full
def test_a_debian_package_that_is_not_the_one_in_the_signed_index_is_fetched_again(scratch: Path) -> None:
    mirrors = apt.find_mirrors(None)
    (package,) = apt.fetch(["libuuid1"], "arm64", mirrors, scratch)
    package.path.write_bytes(b"something else")

    assert apt.fetch(["libuuid1"], "arm64", mirrors, scratch) == [package]
    assert apt.digest_of(package.path) == package.sha256


@pytest.mark.full
def test_an_index_of_debians_that_somebody_else_has_signed_is_not_believed(scratch: Path) -> None:
    strangers = scratch / "usr/share/keyrings/strangers.gpg"
    strangers.parent.mkdir(parents=True)
    strangers.write_bytes(b"")
    known = apt.private_root(scratch / "apt", "arm64", apt.find_mirrors(None), SUITE, strangers)

    shown = subprocess.run(["apt-cache", "show", "libuuid1"], check=False, capture_output=True, env=known)

    assert (shown.returncode, shown.stdout) == (100, b"")


@pytest.mark.parametrize("abi", ["x86_64", pytest.param("armeabi-v7a", marks=pytest.mark.full)])
def test_the_same_downloads_give_the_same_bytes_anywhere(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, abi: str
) -> None:
    first = product.zip_file(abi)
    second = Order(build.ROOT, product.CACHE, scratch / "again.zip", build.program_version(), [abi])
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(scratch)
    umask = os.umask(0o077)
    try:
        place(second, "packing.assemble")
    finally:
        os.umask(umask)

    assert second.target.read_bytes() == first.read_bytes()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_same_sources_are_compiled_to_the_same_bytes_anywhere(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abi = ABIS["armeabi-v7a"]
    product.tree(abi.name)
    got = fetched.recall(abi.name, build.LOCK, product.CACHE)
    (psutil,) = (source for source in got.sources if source.name == "psutil")
    built = compiler.existing(abi, product.CACHE)

    first = compiled.make([psutil], built, got.compiler, product.CACHE)["psutil/_psutil_linux.so"]
    elsewhere = scratch / "a folder with a longer name"
    (scratch / "Python.h").write_text("#error a user's header\n")
    monkeypatch.setenv("CPATH", str(scratch))
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    second = compiled.make([psutil], built, got.compiler, elsewhere)["psutil/_psutil_linux.so"]

    assert second.is_relative_to(elsewhere)
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.full
def test_a_zip_for_32_bit_arm_says_what_was_compiled_by_what(scratch: Path) -> None:
    locked_hashes = {digest for entry in locked.read(build.LOCK) for digest in entry.hashes}

    with zipfile.ZipFile(product.zip_file("armeabi-v7a")) as archive:
        told = json.loads(archive.read("manifest.json"))["abis"]["armeabi-v7a"]

    assert [source["name"] for source in told["sources"]] == ["msgspec", "psutil"]
    assert {source["sha256"] for source in told["sources"]} <= locked_hashes
    assert {"cpp-14-arm-linux-gnueabihf", "libpython3.13-dev"} <= {package["name"] for package in told["compiler"]}
    assert all(len(package["sha256"]) == 64 for package in told["compiler"])
