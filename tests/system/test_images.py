"""Images mounted for real: what is checked, what is refused, and that nothing is left behind."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.errors import BerthError, UsageError
from berth.kernel.loop import attach, list_loops
from berth.kernel.mounts import MNT_DETACH, MountEntry, mount_id, read_mounts, umount
from berth.spec import FsckPolicy
from berth.storage.images import MountedImage, mount_image

pytestmark = pytest.mark.system

E2FSCK = "/sbin/e2fsck"
DAY = 86400
Mount = Callable[..., MountedImage]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean image with a file in it, made once."""
    folder = tmp_path_factory.mktemp("clean")
    root = folder / "root"
    root.mkdir()
    (root / "hello").write_text("from the image")
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-d", root, folder / "clean.img", "8M"], check=True)
    return folder / "clean.img"


@pytest.fixture
def image(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(clean, tmp_path / "ubuntu.img"))


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, after its unmounts no mount, loop device or descriptor of it is left."""
    fds = set(os.listdir("/proc/self/fd"))
    yield
    for entry in reversed(mounts_under(tmp_path)):
        umount(entry.target, MNT_DETACH)
    for path in tmp_path.rglob("*.img"):
        assert gone(path, tmp_path)
    assert set(os.listdir("/proc/self/fd")) == fds


@pytest.fixture
def mounted(tmp_path: Path) -> Mount:
    """Mount an image at the folder `at`."""

    def mount_at(
        image: Path | str,
        at: str = "a",
        *,
        policy: FsckPolicy = "auto",
        read_only: bool = False,
        tools: dict[str, str] | None = None,
        now: int | None = None,
    ) -> MountedImage:
        target = tmp_path / "mnt" / at
        target.mkdir(parents=True, exist_ok=True)
        return mount_image(
            str(image),
            str(target),
            policy=policy,
            read_only=read_only,
            tools={"e2fsck": E2FSCK} if tools is None else tools,
            now=int(time.time()) if now is None else now,
            node_folder=str(tmp_path),
        )

    return mount_at


def mounts_under(folder: Path) -> list[MountEntry]:
    return [entry for entry in read_mounts() if entry.target.startswith(f"{folder}/")]


def loops_on(path: Path, folder: Path) -> list[int]:
    status = path.stat()
    return [
        loop.number for loop in list_loops(str(folder)) if (loop.device, loop.inode) == (status.st_dev, status.st_ino)
    ]


def gone(path: Path, folder: Path) -> bool:
    """Whether its loop devices go: with the last who looks at them, or with a namespace, which a kernel thread ends."""
    deadline = time.monotonic() + 5
    while loops_on(path, folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not loops_on(path, folder)


def debugfs(image: Path, *requests: str) -> None:
    for request in requests:
        subprocess.run(["/sbin/debugfs", "-w", "-R", request, image], check=True, capture_output=True)


def header(image: Path) -> str:
    return subprocess.run(["/sbin/dumpe2fs", "-h", image], check=True, capture_output=True, text=True).stdout


def spying_e2fsck(folder: Path, status: int | None = None) -> tuple[dict[str, str], Path]:
    """An e2fsck that notes its arguments and environment, then is the real one or ends with `status`."""
    script, log = folder / "e2fsck", folder / "e2fsck.log"
    end = f'exec {E2FSCK} "$@"' if status is None else f"exit {status}"
    script.write_text(f'#!/bin/sh\n{{ echo "$@"; echo "LC_ALL=$LC_ALL HOME=$HOME"; }} >> {log}\n{end}\n')
    script.chmod(0o755)
    return {"e2fsck": str(script)}, log


def refused(mount: Mount, tmp_path: Path, image: Path | str, *texts: str, **options: object) -> None:
    """Assert that the start is refused in one sentence with all `texts`, and that no loop device or mount is left."""
    path = Path(image)
    before = mounts_under(tmp_path), loops_on(path, tmp_path) if path.exists() else []
    with pytest.raises(BerthError) as raised:
        mount(image, "refused", **options)
    sentence = str(raised.value)
    assert sentence.startswith(f"image {image}: ")
    assert "\n" not in sentence
    for text in texts:
        assert text in sentence
    deadline = time.monotonic() + 5
    while path.exists() and loops_on(path, tmp_path) != before[1] and time.monotonic() < deadline:
        time.sleep(0.02)  # somebody else may be looking at the loop device just now, which keeps it
    assert (mounts_under(tmp_path), loops_on(path, tmp_path) if path.exists() else []) == before


# -- what is mounted, and how


def test_a_clean_image_is_mounted_without_a_check(image: Path, tmp_path: Path, mounted: Mount) -> None:
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, tools=tools)

    assert (tmp_path / "mnt/a/hello").read_text() == "from the image"
    (entry,) = mounts_under(tmp_path)
    assert (entry.filesystem, entry.options[0], entry.source) == ("ext4", "rw", f"/dev/loop{result.loop}")
    assert (entry.id, entry.device) == (result.mount_id, result.device)
    assert result.backing == (image.stat().st_dev, image.stat().st_ino)
    assert result.warnings == ()
    assert not log.exists()


def test_what_was_written_is_there_after_the_next_mount(image: Path, tmp_path: Path, mounted: Mount) -> None:
    mounted(image)
    (tmp_path / "mnt/a/new").write_text("kept")
    umount(str(tmp_path / "mnt/a"))

    assert gone(image, tmp_path)
    mounted(image)
    assert (tmp_path / "mnt/a/new").read_text() == "kept"


def test_a_read_only_mount_changes_no_byte(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "feature needs_recovery")
    before = image.read_bytes()

    result = mounted(image, read_only=True)

    with pytest.raises(OSError, match="Read-only file system"):
        (tmp_path / "mnt/a/new").write_text("x")
    assert (
        "noload" in mounts_under(tmp_path)[0].super_options or "norecovery" in mounts_under(tmp_path)[0].super_options
    )
    umount(str(tmp_path / "mnt/a"))
    assert image.read_bytes() == before
    assert "its journal was not replayed" in result.warnings[0]


def test_an_error_inside_never_panics_the_phone(image: Path, tmp_path: Path, mounted: Mount) -> None:
    subprocess.run(["/sbin/tune2fs", "-e", "panic", image], check=True, capture_output=True)

    mounted(image)

    assert "errors=panic" not in mounts_under(tmp_path)[0].super_options
    assert "errors=remount-ro" in mounts_under(tmp_path)[0].super_options


@pytest.mark.parametrize("read_only", [False, True])
def test_an_image_without_a_journal_is_mounted(tmp_path: Path, mounted: Mount, read_only: bool) -> None:
    image = tmp_path / "ext2.img"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", image, "8M"], check=True)

    mounted(image, read_only=read_only)

    assert len(mounts_under(tmp_path)) == 1


# -- checks


def test_recorded_errors_are_repaired_first(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2")
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, tools=tools)

    assert log.read_text().splitlines() == [f"-f -y /dev/loop{result.loop}", "LC_ALL=C HOME="]
    assert "errors were recorded" in result.warnings[0]
    assert "repaired" in result.warnings[0]
    umount(str(tmp_path / "mnt/a"))
    assert "Filesystem state:         clean\n" in header(image)


def test_a_damaged_directory_is_repaired_first(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_inode_field hello links_count 7")

    result = mounted(image, policy="always")

    assert "repaired" in result.warnings[0]
    assert (tmp_path / "mnt/a/hello").stat().st_nlink == 1


def test_an_unclean_image_is_checked(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 0")
    tools, log = spying_e2fsck(tmp_path)

    assert "not unmounted cleanly" in mounted(image, tools=tools).warnings[0]
    assert log.exists()


def test_a_journal_is_replayed_by_the_mount_without_a_check(image: Path, tmp_path: Path, mounted: Mount) -> None:
    """The image is copied while a file was just synced to it, as a phone leaves it whose battery ran out."""
    mounted(image)
    (tmp_path / "mnt/a/synced").write_text("in the journal")
    fd = os.open(tmp_path / "mnt/a/synced", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    crashed = Path(shutil.copy(image, tmp_path / "crashed.img"))
    assert "needs_recovery" in header(crashed)
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(crashed, "b", tools=tools)

    assert (tmp_path / "mnt/b/synced").read_text() == "in the journal"
    assert result.warnings == ()
    assert not log.exists()


@pytest.mark.parametrize(("days", "checked"), [(29, False), (31, True)])
def test_an_image_is_checked_after_thirty_days(
    image: Path, tmp_path: Path, mounted: Mount, days: int, checked: bool
) -> None:
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, tools=tools, now=int(time.time()) + days * DAY)

    assert log.exists() == checked
    assert result.warnings == ()


def test_a_check_that_was_made_is_not_due_again(image: Path, tmp_path: Path, mounted: Mount) -> None:
    year_2020 = "20200101000000"
    debugfs(image, f"set_super_value lastcheck {year_2020}", f"set_super_value mkfs_time {year_2020}")
    tools, log = spying_e2fsck(tmp_path)

    for _ in range(2):
        mounted(image, tools=tools)
        umount(str(tmp_path / "mnt/a"))

    assert len(log.read_text().splitlines()) == 2  # arguments and environment of one run


def test_a_clock_in_1970_does_not_cause_a_check(image: Path, tmp_path: Path, mounted: Mount) -> None:
    tools, log = spying_e2fsck(tmp_path)

    mounted(image, tools=tools, now=60)

    assert not log.exists()


def test_never_mounts_errors_with_a_warning(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2")
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, policy="never", tools=tools)

    assert "--fsck=never" in result.warnings[0]
    assert not log.exists()


@pytest.mark.parametrize(("status", "text"), [(4, "could not repair"), (8, "can't work on"), (32, "cancelled")])
def test_an_image_that_e2fsck_gives_up_is_not_mounted(
    image: Path, tmp_path: Path, mounted: Mount, status: int, text: str
) -> None:
    tools, _ = spying_e2fsck(tmp_path, status)

    refused(mounted, tmp_path, image, text, "--fsck=never", policy="always", tools=tools)


@pytest.mark.parametrize("status", [1, 2, 3])
def test_an_image_that_e2fsck_repaired_is_mounted(image: Path, tmp_path: Path, mounted: Mount, status: int) -> None:
    tools, _ = spying_e2fsck(tmp_path, status)

    assert "repaired" in mounted(image, policy="always", tools=tools).warnings[0]


def test_e2fsck_killed_by_a_signal_is_a_refusal(image: Path, tmp_path: Path, mounted: Mount) -> None:
    script = tmp_path / "e2fsck"
    script.write_text(f"#!/bin/sh\nkill -{signal.SIGKILL.value} $$\n")
    script.chmod(0o755)

    refused(mounted, tmp_path, image, "signal 9", policy="always", tools={"e2fsck": str(script)})


def test_endless_output_of_e2fsck_is_drained(image: Path, tmp_path: Path, mounted: Mount) -> None:
    script = tmp_path / "e2fsck"
    script.write_text("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho\necho the last line\nexit 4\n")
    script.chmod(0o755)

    refused(mounted, tmp_path, image, "(the last line)", policy="always", tools={"e2fsck": str(script)})


@pytest.mark.parametrize("policy", ["auto", "always"])
def test_without_e2fsck_an_image_with_errors_is_refused(
    image: Path, tmp_path: Path, mounted: Mount, policy: FsckPolicy
) -> None:
    debugfs(image, "set_super_value state 2")

    refused(mounted, tmp_path, image, "errors were recorded", "install e2fsprogs", policy=policy, tools={})


def test_without_e2fsck_a_stale_image_is_mounted_with_a_warning(image: Path, mounted: Mount) -> None:
    result = mounted(image, tools={}, now=int(time.time()) + 40 * DAY)

    assert "not checked for 40 days" in result.warnings[0]


def test_a_check_before_a_read_only_mount_only_looks(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2")
    before = image.read_bytes()
    tools, log = spying_e2fsck(tmp_path)

    mounted(image, read_only=True, tools=tools)
    umount(str(tmp_path / "mnt/a"))

    assert log.read_text().startswith("-f -n ")
    assert image.read_bytes() == before


def test_damage_is_no_base_for_a_read_only_mount(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2", "set_inode_field hello links_count 7")

    refused(mounted, tmp_path, image, "start it once without --volatile", read_only=True)


# -- what is no image, or a broken one


def test_a_directory_is_pointed_to_rootfs(tmp_path: Path, mounted: Mount) -> None:
    refused(mounted, tmp_path, tmp_path, "--rootfs")
    with pytest.raises(UsageError):
        mounted(tmp_path)


def test_a_pipe_and_a_character_device_are_refused_without_being_opened(tmp_path: Path, mounted: Mount) -> None:
    os.mkfifo(tmp_path / "pipe")

    refused(mounted, tmp_path, tmp_path / "pipe", "neither a file nor a block device")
    refused(mounted, tmp_path, "/dev/zero", "neither a file nor a block device")


def test_a_missing_image_is_named(tmp_path: Path, mounted: Mount) -> None:
    refused(mounted, tmp_path, tmp_path / "nowhere.img", "there is no such file")


@pytest.mark.parametrize("content", [b"", b"short", bytes(8 << 20)], ids=["empty", "short", "zeros"])
def test_a_file_without_a_file_system_is_refused(tmp_path: Path, mounted: Mount, content: bytes) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(content)

    refused(mounted, tmp_path, path, 'no ext4 file system found; make one with "mkfs.ext4"')


def test_a_fat_image_is_refused(tmp_path: Path, mounted: Mount) -> None:
    boot = bytearray(512)
    boot[0:3] = b"\xeb\x3c\x90"
    boot[3:11] = b"mkfs.fat"
    boot[54:62] = b"FAT16   "
    boot[510:512] = b"\x55\xaa"
    path = tmp_path / "fat.img"
    path.write_bytes(bytes(boot).ljust(8 << 20, b"\0"))

    refused(mounted, tmp_path, path, "no ext4 file system found")


def test_half_a_download_is_refused(image: Path, tmp_path: Path, mounted: Mount) -> None:
    os.truncate(image, 4 << 20)

    refused(mounted, tmp_path, image, "8388608 bytes but only 4194304", "download it again")


@pytest.mark.parametrize("policy", ["auto", "never"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_corrupt_superblock_ends_in_one_sentence(
    image: Path, tmp_path: Path, mounted: Mount, policy: FsckPolicy, read_only: bool
) -> None:
    with image.open("r+b") as stream:
        stream.seek(1024 + 0x20)  # blocks, clusters and inodes per group; magic, state and size stay as they are
        stream.write(b"\xff" * 12)

    refused(mounted, tmp_path, image, "--fsck=always", policy=policy, read_only=read_only)


def test_what_mount_refuses_always_repairs(tmp_path: Path, mounted: Mount) -> None:
    """Where the checksum of the superblock is wrong, mount fails; e2fsck falls back on a copy (from 8 MB up)."""
    image = tmp_path / "16M.img"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", image, "16M"], check=True)
    with image.open("r+b") as stream:
        stream.seek(1024 + 0x3FC)
        stream.write(b"\0\0\0\0")
    refused(mounted, tmp_path, image, "--fsck=always")

    mounted(image, policy="always")

    assert (tmp_path / "mnt/a/lost+found").is_dir()


def test_an_image_on_a_read_only_file_system_starts_volatile_only(image: Path, tmp_path: Path, mounted: Mount) -> None:
    inner = tmp_path / "outer.img"
    root = tmp_path / "outer"
    root.mkdir()
    shutil.copy(image, root / "inner.img")
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-d", root, inner, "32M"], check=True)
    mounted(inner, "outer", read_only=True)
    inner_image = tmp_path / "mnt/outer/inner.img"

    refused(mounted, tmp_path, inner_image, "can only be read", "--volatile")
    mounted(inner_image, "inner", read_only=True)

    assert (tmp_path / "mnt/inner/hello").exists()


def test_a_missing_target_leaves_no_loop_device(image: Path, tmp_path: Path) -> None:
    with pytest.raises(BerthError, match="No such file"):
        mount_image(
            str(image),
            str(tmp_path / "nowhere"),
            policy="auto",
            read_only=False,
            tools={},
            now=int(time.time()),
            node_folder=str(tmp_path),
        )

    assert gone(image, tmp_path)


# -- one image, several users


def test_read_only_twice_is_fine(image: Path, tmp_path: Path, mounted: Mount) -> None:
    mounted(image, "a", read_only=True)
    mounted(image, "b", read_only=True)

    assert (tmp_path / "mnt/a/hello").exists()
    assert (tmp_path / "mnt/b/hello").exists()


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_a_writer_shares_its_image_with_nobody(
    image: Path, tmp_path: Path, mounted: Mount, first: bool, second: bool
) -> None:
    loop = mounted(image, "a", read_only=first).loop

    refused(mounted, tmp_path, image, f"by loop device {loop}", read_only=second)
    os.link(image, tmp_path / "other-name.img")
    refused(mounted, tmp_path, tmp_path / "other-name.img", f"by loop device {loop}", read_only=second)


def test_an_image_is_free_again_right_after_its_unmount(image: Path, tmp_path: Path, mounted: Mount) -> None:
    for _ in range(10):
        mounted(image)
        umount(str(tmp_path / "mnt/a"))


@pytest.mark.parametrize(("theirs", "ours"), [(False, False), (False, True), (True, False)])
def test_a_loop_device_of_somebody_who_takes_no_lock_counts_too(
    image: Path, tmp_path: Path, mounted: Mount, theirs: bool, ours: bool
) -> None:
    fd = os.open(image, os.O_RDONLY if theirs else os.O_RDWR)
    with attach(fd, read_only=theirs, name="stranger", node_folder=str(tmp_path)) as stranger:
        os.close(fd)
        word = "read-only" if theirs else "writable"
        refused(mounted, tmp_path, image, f"in use {word} by loop device {stranger.number}", read_only=ours)


def test_an_image_that_is_just_being_checked_is_refused(image: Path, tmp_path: Path, mounted: Mount) -> None:
    """The first start is still in e2fsck when the second one comes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = tmp_path / "e2fsck"
    script.write_text(f"#!/bin/sh\necho started > {pipe}\nread go < {pipe}\nexit 0\n")
    script.chmod(0o755)
    first = threading.Thread(
        target=mounted, args=(image, "a"), kwargs={"policy": "always", "tools": {"e2fsck": script}}
    )
    first.start()
    try:
        assert pipe.read_text() == "started\n"
        for read_only in (False, True):
            with pytest.raises(BerthError, match="in use writable by loop device"):
                mounted(image, "b", read_only=read_only)
    finally:
        pipe.write_text("go\n")
        first.join()

    assert [Path(entry.target).name for entry in mounts_under(tmp_path)] == ["a"]


def test_of_two_starts_at_once_exactly_one_wins(clean: Path, tmp_path: Path, mounted: Mount) -> None:
    """Eight rounds of three starts that are let go together."""
    for number in range(8):
        image = Path(shutil.copy(clean, tmp_path / f"{number}.img"))
        gate = threading.Barrier(3)
        results: list[MountedImage | BerthError] = []

        def start(
            name: str,
            image: Path = image,
            gate: threading.Barrier = gate,
            results: list[MountedImage | BerthError] = results,
        ) -> None:
            gate.wait()
            try:
                results.append(mounted(image, name))
            except BerthError as error:
                results.append(error)

        threads = [threading.Thread(target=start, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [type(result) for result in results].count(MountedImage) == 1
        (entry,) = mounts_under(tmp_path)
        assert len(loops_on(image, tmp_path)) == 1
        umount(entry.target)


def test_kill_9_of_the_mounting_process_leaves_nothing(image: Path, tmp_path: Path, mounted: Mount) -> None:
    """As the monitor does it: in a mount namespace of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            libc.unshare(0x20000)
            libc.mount(None, b"/", None, 0x44000, None)
            mounted(image)
            os.write(writer, b"mounted")
            signal.pause()
        os._exit(1)
    try:
        assert os.read(reader, 7) == b"mounted"
        refused(mounted, tmp_path, image, "in use writable")
        os.kill(pid, signal.SIGKILL)
    finally:
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)

    assert gone(image, tmp_path)
    mounted(image)


# -- block devices


@pytest.fixture
def block_device(image: Path, tmp_path: Path) -> Iterator[str]:
    """The image as a block device; it is a loop device only because this machine has no other to give."""
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        with attach(fd, read_only=False, name="disk", node_folder=str(tmp_path)) as device:
            yield device.path
            for entry in reversed(mounts_under(tmp_path)):
                umount(entry.target, MNT_DETACH)
    finally:
        os.close(fd)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_block_device_is_mounted_without_a_loop_device(
    block_device: str, tmp_path: Path, mounted: Mount, read_only: bool
) -> None:
    result = mounted(block_device, read_only=read_only)

    assert result.loop is None
    assert result.device == os.stat(block_device).st_rdev
    (entry,) = mounts_under(tmp_path)
    assert (entry.source, entry.options[0]) == (block_device, "ro" if read_only else "rw")


def test_a_block_device_with_errors_is_checked(block_device: str, image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(Path(block_device), "set_super_value state 2")
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(block_device, tools=tools)

    assert log.read_text().startswith(f"-f -y {block_device}\n")
    assert "repaired" in result.warnings[0]


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_a_block_device_has_one_writer(
    block_device: str, tmp_path: Path, mounted: Mount, first: bool, second: bool
) -> None:
    mounted(block_device, "a", read_only=first)
    node = tmp_path / "another-node"
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(block_device).st_rdev)

    refused(mounted, tmp_path, block_device, "mounted or held by something else", read_only=second)
    refused(mounted, tmp_path, node, "mounted or held by something else", read_only=second)


def test_a_block_device_is_read_by_several(block_device: str, tmp_path: Path, mounted: Mount) -> None:
    mounted(block_device, "a", read_only=True)
    mounted(block_device, "b", read_only=True)

    assert len(mounts_under(tmp_path)) == 2


def test_of_two_starts_of_a_block_device_exactly_one_wins(block_device: str, tmp_path: Path, mounted: Mount) -> None:
    node = tmp_path / "another-node"
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(block_device).st_rdev)
    for _ in range(5):
        gate = threading.Barrier(2)
        errors: list[BerthError] = []

        def start(path: str, name: str, gate: threading.Barrier = gate, errors: list[BerthError] = errors) -> None:
            gate.wait()
            try:
                mounted(path, name)
            except BerthError as error:
                errors.append(error)

        threads = [threading.Thread(target=start, args=args) for args in ((block_device, "a"), (str(node), "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        (entry,) = mounts_under(tmp_path)
        assert len(errors) == 1
        umount(entry.target)


def test_a_file_and_the_block_device_on_it_are_one_image(
    block_device: str, image: Path, tmp_path: Path, mounted: Mount
) -> None:
    refused(mounted, tmp_path, image, "in use writable by loop device")
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        with attach(fd, read_only=False, name="second", node_folder=str(tmp_path)) as second:
            refused(mounted, tmp_path, block_device, f"by loop device {second.number}")
    finally:
        os.close(fd)


def test_the_mount_of_an_image_is_identified(image: Path, tmp_path: Path, mounted: Mount) -> None:
    result = mounted(image)
    fd = os.open(tmp_path / "mnt/a", os.O_PATH)
    try:
        assert mount_id(fd) == result.mount_id
    finally:
        os.close(fd)
