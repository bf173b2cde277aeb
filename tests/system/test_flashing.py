"""Flashing the zip: every root manager's installer, and the phones and files that it refuses."""

import shutil
import stat
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import build
from packing.abi import ABIS
from packing.assemble import LIMIT
from tests import rootfs
from tests.flashing import product
from tests.flashing.bare import MAGISK, MANAGERS, MODULE, STEPS, Bare, Manager
from tests.host_state import HostState

pytestmark = pytest.mark.system

BERTH = f"{MODULE}/bin/berth"
PYTHON = f"{MODULE}/runtime/bin/python3"
UPDATE_BINARY = "META-INF/com/google/android/update-binary"

# A small /data: what is on it moves along.
ON_A_SMALL_DATA = (
    "/system/bin/sh",
    "-c",
    'mv /data /mnt/all; mkdir /data; mount -t tmpfs -o size=100m none /data; cp -a /mnt/all/. /data; exec "$@"',
    "sh",
)

DEMO = f"""
set -e
{BERTH} serve & service=$!
trap '{BERTH} stop flashed; kill $service; wait $service' EXIT
until [ -S /data/adb/berth/run/control.sock ]; do sleep 0.1; done
{BERTH} demo flashed
{BERTH} run flashed -- sh -c '. /etc/os-release; echo "inside: $ID, PID 1 is $(cat /proc/1/comm)"'
"""
IMAGE = f"""
set -e
cd /data
{MODULE}/runtime/bin/mke2fs -q -t ext4 image 8M
{MODULE}/runtime/bin/e2fsck -fy image
{MODULE}/runtime/bin/resize2fs image 16M
{MODULE}/runtime/bin/dumpe2fs -h image
"""


FIRST_WITH_A_BUTTON = {"Magisk": "Magisk 28.0", "KernelSU": "KernelSU 1.0.2", "APatch": "APatch 10927"}


@pytest.fixture
def folder(scratch: Path) -> Path:
    return scratch / "phone"


@pytest.fixture(scope="module")
def phone(berth_home: Path) -> Iterator[Bare]:
    """One that is flashed and rebooted, to look at."""
    bare = Bare(berth_home.parent / "flashed")
    flash(bare)
    bare.reboot()
    yield bare
    rootfs.remove(bare.root)


def flash(bare: Bare) -> str:
    """Flash the zip and return what the manager showed."""
    result = bare.flash(product.zip_file("x86_64"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
def test_every_manager_installs_the_zip_and_finds_the_command_after_the_reboot(folder: Path, manager: Manager) -> None:
    bare = Bare(folder, manager)
    shown = flash(bare)
    bare.reboot()
    programs = f"{MODULE}/system/bin" if manager is MAGISK else manager.folder

    result = bare.run("/system/bin/sh", "-c", f"PATH={programs}; exec berth version")

    assert (result.stdout, result.stderr) == (f"berth {build.program_version()}\n", "")
    assert f"- {manager.name} " in shown
    assert f"- berth {build.program_version()} runs here" in shown
    assert f"  Before {FIRST_WITH_A_BUTTON[manager.name]} there is no button for modules" in shown
    assert (folder / f".{MODULE}/system").exists() == (manager is MAGISK)


def test_the_installer_also_runs_in_the_shell_of_android(folder: Path) -> None:
    result = Bare(folder).flash(product.zip_file("x86_64"), instead=["/system/bin/mksh"])

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("can do on this phone.\n- Done by the manager\n")


def test_the_zip_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    size = product.zip_file("x86_64").stat().st_size

    with capsys.disabled():
        print(f"\nthe zip for x86_64: {size / 1e6:.2f} MB")
    assert size <= LIMIT


def test_magisk_finds_the_command_to_put_into_system_bin(phone: Bare) -> None:
    command = phone.root / f".{MODULE}/system/bin/berth"

    assert command.read_bytes() == (phone.root / f".{BERTH}").read_bytes()
    assert stat.S_IMODE(command.stat().st_mode) == 0o755


def test_the_command_does_not_mind_what_termux_preloads(phone: Bare) -> None:
    preloads = ("LD_PRELOAD=/data/termux/libtermux-exec.so", "LD_LIBRARY_PATH=/data/termux")
    misleading = ("PYTHONHOME=/nowhere", "PYTHONPATH=/nowhere")

    result = phone.run("/system/bin/busybox", "env", *preloads, *misleading, BERTH, "version")

    assert (result.stdout, result.stderr) == (f"berth {build.program_version()}\n", "")


def test_the_command_tells_what_the_phone_can_do(phone: Bare) -> None:
    result = phone.run(BERTH, "check")

    assert f"e2fsck: {MODULE}/runtime/bin/e2fsck" in result.stdout
    assert result.stderr == ""


def test_the_embedded_demo_starts_as_a_container(folder: Path, host_unchanged: HostState) -> None:
    bare = Bare(folder)
    flash(bare)
    bare.reboot()

    result = bare.run("/system/bin/sh", "-c", DEMO)

    assert "inside: berth-demo, PID 1 is init\n" in result.stdout, result.stdout + result.stderr
    assert result.stdout.endswith("flashed: stopped\n")
    assert (result.returncode, result.stderr) == (0, "")


def test_images_are_made_checked_and_grown_with_what_is_bundled(phone: Bare) -> None:
    result = phone.run("/system/bin/sh", "-c", IMAGE)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "Block count:              16384" in result.stdout


@pytest.mark.full
def test_of_a_zip_for_several_processors_the_right_runtime_is_unpacked(folder: Path) -> None:
    bare = Bare(folder)
    shown = bare.flash(product.zip_file("arm64-v8a", "x86_64")).stdout
    bare.reboot()

    result = bare.run(BERTH, "version")

    assert (result.stdout, result.stderr) == (f"berth {build.program_version()}\n", ""), shown
    assert "- Processor x86_64" in shown
    loaders = sorted(path.name for path in (folder / f".{MODULE}/runtime/lib").glob("ld-linux*"))
    assert loaders == [ABIS["x86_64"].loader]
    assert list((folder / f".{MODULE}").glob("*.tar.xz")) == []


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"MAGISK_VER": "26.4", "MAGISK_VER_CODE": "26400"}, "needs Magisk 27.0, KernelSU 0.8.0 or APatch 10568"),
        ({"KSU": "true", "KSU_VER_CODE": "11550"}, "needs KernelSU 0.8.0 (11551) or newer; this is KernelSU (11550)"),
        ({"APATCH": "true", "APATCH_VER_CODE": "10567"}, "needs APatch 10568 or newer; this is APatch (10567)"),
        ({"API": "25"}, "needs Android 8 or newer (API 26); this is API 25"),
        ({"ARCH": "x86", "IS64BIT": "false"}, "runs on phones with arm64, arm or x64; this one is x86"),
        ({"ARCH": "arm64"}, "This zip holds nothing for arm64-v8a"),
        ({"ARCH": "arm", "IS64BIT": "false"}, "This zip holds nothing for armeabi-v7a"),
    ],
)
def test_a_phone_that_berth_is_not_for_is_told_why(folder: Path, environment: dict[str, str], reason: str) -> None:
    bare = Bare(folder)

    result = bare.flash(product.zip_file("x86_64"), environment=environment)

    assert result.returncode == 1
    assert reason in result.stdout
    assert not (folder / "data/adb/modules_update/berth").exists()
    assert not (folder / "data/adb/berth").exists()


def test_a_data_partition_that_is_full_is_told_of(folder: Path) -> None:
    result = Bare(folder).flash(product.zip_file("x86_64"), *ON_A_SMALL_DATA)

    assert result.returncode == 1
    assert "needs 120 MB free on /data" in result.stdout


def test_a_kernel_that_is_too_old_is_told_of(folder: Path) -> None:
    bare = Bare(folder, outside=("setarch", "--uname-2.6"))  # uname then says 2.6.x: personality(2), UNAME26

    result = bare.flash(product.zip_file("x86_64"))

    assert result.returncode == 1
    assert "- Kernel 2.6." in result.stdout
    assert "needs Linux 3.18 or newer" in result.stdout


@pytest.mark.full
def test_what_an_older_kernel_lacks_is_told_in_words(folder: Path) -> None:
    bare = Bare(folder)
    uname = folder / "system/bin/uname"
    uname.unlink()
    uname.write_text("#!/system/bin/sh\necho 4.4.302-perf\n")
    uname.chmod(0o755)

    shown = bare.flash(product.zip_file("x86_64"), instead=["/system/bin/mksh"]).stdout

    told = shown.partition("- Kernel 4.4.302-perf\n")[2].partition("- Processor")[0]
    lacking = ("cgroup2", "cgroup namespaces", "kernel keyrings")
    assert [word in line for word, line in zip(lacking, told.splitlines(), strict=True)] == [True, True, True]
    assert "Done. After the reboot" in shown


def test_a_zip_that_was_cut_off_is_refused(folder: Path, scratch: Path) -> None:
    cut = scratch / "cut.zip"
    whole = product.zip_file("x86_64").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])

    result = Bare(folder).flash(cut)

    assert result.returncode == 1
    assert not (folder / "data/adb/modules_update/berth").exists()


def in_recovery(bare: Bare) -> subprocess.CompletedProcess[str]:
    """Do what a recovery does with the zip: run its update-binary, and read what to show from a descriptor."""
    zip_file = bare.root / "data/berth.zip"
    shutil.copyfile(product.zip_file("x86_64"), zip_file)
    with zipfile.ZipFile(zip_file) as archive:
        archive.extract(UPDATE_BINARY, bare.root / "data")
    return bare.run("/system/bin/sh", f"/data/{UPDATE_BINARY}", "3", "1", "/data/berth.zip")


def test_a_recovery_without_magisk_is_told_what_is_missing(folder: Path) -> None:
    result = in_recovery(Bare(folder))

    assert result.returncode == 1
    assert result.stdout.startswith("ui_print Berth is installed from Magisk, KernelSU or APatch")


# By Magisk's util_functions.sh: in a recovery there is no reboot to wait for, so the module lies in its place at once.
UTIL_FUNCTIONS = f"""
MAGISK_VER=27.0
MAGISK_VER_CODE=27000
install_module() {{
  [ "$OUTFD" = 1 ] || exit 1
  ARCH=x64 API=34 IS64BIT=true BOOTMODE=false TMPDIR=/data MODPATH={MODULE}
  . /data/manager.sh
}}
"""


def test_a_recovery_has_magisk_install_the_zip(folder: Path) -> None:
    bare = Bare(folder)
    (folder / "data/adb/magisk/util_functions.sh").write_text(UTIL_FUNCTIONS)
    shutil.copyfile(STEPS, folder / "data/manager.sh")

    result = in_recovery(bare)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("can do on this phone.\n- Done by the manager\n")
    command = bare.run("/system/bin/sh", "-c", f"PATH={MODULE}/system/bin; exec berth version")
    assert (command.stdout, command.stderr) == (f"berth {build.program_version()}\n", "")


def test_settings_survive_an_update_and_only_root_may_read_them(folder: Path) -> None:
    bare = Bare(folder, MAGISK)
    flash(bare)
    bare.reboot()
    assert stat.S_IMODE((folder / "data/adb/berth").stat().st_mode) == 0o700
    kept = folder / "data/adb/berth/containers/debian/container.toml"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")

    shown = flash(bare)
    shutil.rmtree(folder / f".{MODULE}")
    bare.reboot()

    assert kept.read_text() == "kept"
    assert "Settings and containers in /data/adb/berth are kept" in shown
