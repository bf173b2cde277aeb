"""A rooted phone with SELinux enforcing and f2fs: flash, reboot, touch nothing; then use it as a person would."""

import shlex

import pytest

from tests.device.phone.machine import BERTH, HOME, Phone
from tests.device.phone.scene import (
    IMAGE,
    MODULE,
    REFUSED,
    calls_inside,
    crash,
    description,
    info,
    label,
    make_tree,
    serves,
    service_pid,
    state,
)

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

RIGHT_LABEL = "u:object_r:vold_data_file:s0"
MODULES_LABEL = "u:object_r:system_file:s0"
PYTHON = f"{MODULE}/runtime/bin/python3"
TOOLS = "/system/etc/bench/busybox"
LOOP = "/dev/block/loop5"
NAME_SERVER = "10.0.2.3"
"""That of the phone's Wi-Fi (guest/system/bin/dumpsys)."""


def test_this_is_a_phone(phone: Phone) -> None:
    assert phone.read("/sys/fs/selinux/enforce") == "1"
    assert phone.read("/proc/self/attr/current").rstrip("\0") == f"u:r:{phone.configuration.manager}:s0"
    assert phone.output("uname", "-r").startswith(f"{phone.configuration.kernel}.")
    assert phone.sh("ls -d /tmp /run /usr /lib64 /etc/passwd /etc/resolv.conf /dev/shm /dev/loop0").out == ""
    assert ("casefold" in phone.read("/sys/fs/f2fs/vdb/features")) == (phone.configuration.kernel == "6.1")


def test_after_flash_and_reboot_the_service_and_the_container_are_up(phone: Phone) -> None:
    assert serves(phone)
    assert state(phone, "box") == "running"
    assert label(phone, IMAGE) == RIGHT_LABEL
    assert label(phone, PYTHON) == MODULES_LABEL
    assert "[" not in description(phone)


def test_only_the_service_is_never_killed_for_memory_and_containers_go_before_the_app_in_front(phone: Phone) -> None:
    service = service_pid(phone)
    box = info(phone, "box")
    below = f"for pid in $(cat /proc/{service}/task/{service}/children); do cat /proc/$pid/oom_score_adj; done"

    assert phone.read(f"/proc/{service}/oom_score_adj") == "-1000"
    # The worker that has just answered may end while they are looked at, and the next spare one is still being forked.
    phone.wait_until(lambda: {*phone.sh(below).out.split()} == {"0"}, "what the service has forked has no score")
    assert phone.read(f"/proc/{box['monitor_pid']}/oom_score_adj") == "0"
    assert phone.read(f"/proc/{box['pid']}/oom_score_adj") == "200"
    assert phone.inside("box", "cat", "/proc/self/oom_score_adj").out == "200\n"


def test_inside_the_keyring_is_hidden_and_the_shield_holds(phone: Phone) -> None:
    assert calls_inside(phone, "box") == REFUSED


def test_inside_are_the_phones_name_server_and_the_phones_time_zone(phone: Phone) -> None:
    assert phone.inside("box", "sh", "-c", "echo $TZ").out == "Europe/Berlin\n"
    assert f"nameserver {NAME_SERVER}" in phone.inside("box", "cat", "/etc/resolv.conf").out


def test_a_folder_on_data_may_have_what_data_itself_may_not(phone: Phone) -> None:
    make_tree(phone)

    phone.berth("start", "--name", "tree", "--rootfs", "/data/local/tree")

    mounts = phone.read(f"/proc/{info(phone, 'tree')['pid']}/mountinfo").splitlines()
    options = next(line.split()[5] for line in mounts if line.split()[4] == "/")
    assert not {"nosuid", "nodev"} & set(options.split(","))
    assert "nosuid,nodev" in phone.sh("grep ' /data ' /proc/mounts").out


def test_selinux_is_permissive_until_the_last_that_asked_for_it_is_gone(phone: Phone) -> None:
    make_tree(phone)
    phone.output("cp", "-r", "/data/local/tree", "/data/local/wood")
    for name in ("tree", "wood"):
        phone.berth("start", "--name", name, "--rootfs", f"/data/local/{name}", "--selinux-permissive", "--yes")
    assert phone.read("/sys/fs/selinux/enforce") == "0"

    phone.berth("stop", "wood", "--timeout", "0")
    assert phone.read("/sys/fs/selinux/enforce") == "0"
    tree = info(phone, "tree")
    phone.output("kill", "-9", str(tree["monitor_pid"]), str(tree["pid"]))
    phone.wait_until(lambda: state(phone, "tree") == "crashed", "both have ended")
    assert "what its crash left is undone" in phone.berth("recover")
    assert phone.read("/sys/fs/selinux/enforce") == "1"


def test_a_container_started_in_an_apps_root_shell_outlives_the_app(phone: Phone) -> None:
    make_tree(phone)
    words = f"{BERTH} start --name tree --rootfs /data/local/tree; {BERTH} run box -- sh -c 'exit 7'; echo $?"

    said = said_in_app(phone, words)

    assert said.startswith("tree: started, init is ")
    assert said.endswith("\n7")
    assert state(phone, "tree") == "running"
    assert " mine " not in phone.read(f"/proc/{info(phone, 'tree')['monitor_pid']}/mountinfo")


@pytest.mark.full
def test_a_shell_in_a_container_has_a_terminal_and_its_exit_code_comes_back(phone: Phone) -> None:
    ended, _, said = phone.output(PYTHON, "-IS", "-c", AT_A_TERMINAL, BERTH, "enter", "box").partition("\n")

    assert ended == "5"
    assert "/dev/pts/" in said


# As adb's shell or Termux: a program at a terminal, into which somebody types when it shows its prompt.
AT_A_TERMINAL = """
import os, pty, sys
child, terminal = pty.fork()
if not child:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while b"# " not in said:
    said += os.read(terminal, 4096)
os.write(terminal, b"tty; exit 5\\n")
try:
    while data := os.read(terminal, 4096):
        said += data
except OSError:
    pass  # EIO: nobody has the other end any more
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode(), sep="\\n")
"""


def test_a_service_that_the_button_started_outlives_the_root_manager(phone: Phone) -> None:
    phone.output("kill", str(service_pid(phone)))
    phone.wait_until(lambda: not serves(phone), "the service is down")

    said = said_in_app(phone, f"{TOOLS} sh {MODULE}/action.sh")

    assert said.startswith("The service is down; starting it.")
    assert "The dashboard opens in" in said
    service = service_pid(phone)
    phone.output("kill", "-9", str(service))
    phone.wait_until(lambda: service_pid(phone) not in (0, service) and serves(phone), "service.sh brings it back")


# cgroup.kill came with 5.14; before, and up to Android 14, ActivityManager goes on until nobody is left.
END_ALL = "cat {0}/cgroup.procs; kill -9 $(cat {0}/cgroup.procs)"


def said_in_app(phone: Phone, words: str) -> str:
    """Run `words` in the root shell of an app, end the app, and return what they said.

    As in Termux: mounts of its own, and the app's cgroup, with which ActivityManager ends everything.
    """
    app = phone.configuration.app_group
    own = f"{TOOLS} mount --make-rprivate /; {TOOLS} mount -t tmpfs mine /mnt; {words}; echo >/data/done; sleep 600"
    shell = f"echo $$ >{app}/cgroup.procs; exec {TOOLS} unshare -m sh -c {shlex.quote(own)}"
    phone.output("mkdir", app)
    phone.sh(f"{TOOLS} setsid sh -c {shlex.quote(shell)} </dev/null >/data/said 2>&1 &")
    phone.wait_until(lambda: phone.run("ls", "/data/done").code == 0, "it has been done", 120.0)
    phone.wait_until(lambda: not phone.sh(END_ALL.format(app)).out, "the app is gone")
    return phone.read("/data/said")


@pytest.mark.only(kernel="6.1")
def test_an_image_mounts_with_our_label_and_with_no_other(phone: Phone) -> None:
    phone.output("cp", "/mnt/parcel/box.img", "/data/local/other.img")
    mounts = (
        "mkdir -p /mnt/other && mount -t ext4 {0} /mnt/other; code=$?; umount /mnt/other; losetup -d {0}; exit $code"
    )
    attempt = f"losetup {LOOP} /data/local/other.img && {mounts.format(LOOP)}"
    for wrong in ("shell_data_file", "adb_data_file", "system_data_file"):
        phone.output("chcon", f"u:object_r:{wrong}:s0", "/data/local/other.img")
        phone.sh("echo 3 >/proc/sys/vm/drop_caches")
        assert phone.sh(attempt).code != 0
    assert "avc:  denied  { read }" in phone.sh("dmesg").out

    phone.berth("start", "--name", "other", "--rootfs-img", "/data/local/other.img")

    assert label(phone, "/data/local/other.img") == RIGHT_LABEL
    assert phone.inside("other", "cat", "/etc/hostname").code in (0, 1)
    phone.berth("stop", "other")
    phone.sh("echo 3 >/proc/sys/vm/drop_caches")
    assert phone.sh(attempt).code == 0


def test_a_service_that_is_killed_comes_back_and_its_container_goes_on(phone: Phone) -> None:
    service, init = service_pid(phone), info(phone, "box")["pid"]

    phone.output("kill", "-9", str(service))

    phone.wait_until(lambda: service_pid(phone) not in (0, service) and serves(phone), "the service is back")
    assert info(phone, "box")["pid"] == init
    phone.berth("stop", "box")


@pytest.mark.full
def test_five_crashes_end_in_the_description(phone: Phone) -> None:
    phone.output("mv", f"{MODULE}/runtime/bin/python3", f"{MODULE}/runtime/bin/gone")
    phone.output("kill", "-9", str(service_pid(phone)))

    phone.wait_until(lambda: "[" in description(phone), "the root manager says it", 90.0)

    assert description(phone).startswith("[The service died 5 times in a row and was stopped")


def test_a_container_that_takes_the_phone_down_is_kept_back_and_one_command_tries_again(phone: Phone) -> None:
    crash(phone)

    assert info(phone)["kept_back"] == {"box": "the phone went down while it was starting"}
    assert state(phone, "box") == "stopped"
    assert description(phone).startswith("[Safe mode: not started by itself")

    assert phone.berth("safe-mode", "--again") == "box: started"
    assert state(phone, "box") == "running"
    assert "[" not in description(phone)


def test_uninstalling_deletes_nothing_through_a_live_mount(phone: Phone) -> None:
    place = f"{HOME}/containers/box/mnt"
    phone.output("touch", "/data/media/0/photo", f"{HOME}/delete-data-on-uninstall")
    phone.output("mkdir", place)
    phone.output("mount", "-o", "bind", "/data/media/0", place)

    said = phone.script(f"{MODULE}/uninstall.sh")

    assert f"{place} is still mounted, so {HOME} was not deleted" in said
    assert phone.run("ls", "/data/media/0/photo", IMAGE, f"{HOME}/containers/box/container.toml").code == 0
    assert not serves(phone)


@pytest.mark.full
def test_removed_in_the_manager_the_module_goes_with_the_reboot_and_data_only_when_asked(phone: Phone) -> None:
    phone.output("touch", f"{MODULE}/remove")
    phone.reboot()
    assert phone.sh(f"ls -d {MODULE}").out == ""
    assert phone.run("ls", IMAGE, f"{HOME}/containers/box/container.toml").code == 0


@pytest.mark.full
def test_labels_that_were_changed_are_set_again_at_boot(phone: Phone) -> None:
    phone.output("chcon", "-R", "u:object_r:adb_data_file:s0", f"{MODULE}/runtime")

    phone.script(f"{MODULE}/post-fs-data.sh")  # by itself: at boot the manager here sets all labels first

    assert f"the SELinux labels of {MODULE} were wrong and are set again" in phone.read(f"{HOME}/service.log")
    assert label(phone, PYTHON) == MODULES_LABEL


@pytest.mark.full
def test_the_users_file_keeps_everything_from_starting(phone: Phone) -> None:
    phone.output("touch", f"{HOME}/safe")
    phone.reboot()
    phone.wait_until(lambda: serves(phone), "the service is up")
    assert list(info(phone)["kept_back"]) == ["box"]
    assert state(phone, "box") == "stopped"


@pytest.mark.only(kernel="6.1")
def test_a_volatile_start_on_a_file_system_that_folds_case_is_refused_with_the_way_out(phone: Phone) -> None:
    make_tree(phone)

    refused = phone.run(BERTH, "start", "--name", "tree", "--rootfs", "/data/local/tree", "--volatile")

    assert refused.code == 1
    assert "image" in refused.err
    phone.berth("stop", "box")
    phone.berth("start", "box", "--volatile")
    assert phone.inside("box", "touch", "/changed").code == 0
    phone.berth("restart", "box")
    assert phone.inside("box", "ls", "/changed").code != 0


# PSS in MB: what is a process's own, and its part of what it shares.
MOST = {"service": 18.0, "web": 40.0}
MOST_OF_BOTH = 55.0


def test_the_service_is_small(phone: Phone, capsys: pytest.CaptureFixture[str]) -> None:
    phone.wait_until(lambda: phone.run("ls", f"{HOME}/run/web.json").code == 0, "the dashboard is served")
    used = pss(phone)

    with capsys.disabled():
        print(f"\nPSS in MB after boot: {', '.join(f'{name} {size:.1f}' for name, size in used.items())}")
    assert {name for name, most in MOST.items() if used[name] > most} == set()
    assert sum(used[name] for name in MOST) <= MOST_OF_BOTH


def pss(phone: Phone) -> dict[str, float]:
    """Return how much memory each of Berth's processes has, in MB, by the name that it gave itself."""
    each = 'read -r name <"$p/comm"; echo "$name=$(grep ^Pss: "$p/smaps_rollup")"'
    lines = phone.sh(f"for p in /proc/[0-9]*; do {each}; done 2>/dev/null").out.splitlines()
    found = (line.removeprefix("berth: ").split("=") for line in lines if line.startswith("berth: "))
    return {name: int(text.split()[1]) * 1024 / 1e6 for name, text in found if text}


def test_the_service_answers_soon_after_its_script_was_started(
    phone: Phone, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.berth("stop", "box")
    phone.output("kill", str(service_pid(phone)))
    phone.wait_until(lambda: phone.run("ls", f"{HOME}/run/control.sock").code != 0, "the service has ended")

    began, ended = phone.output("sh", "-c", FIRST_ANSWER.format(module=MODULE, home=HOME)).split()

    took = float(ended) - float(began)
    with capsys.disabled():
        print(f"\nservice.sh to the first answer: {took:.2f} s on an emulated processor")
    assert took < 120, "it is 3 s where nothing else runs"


FIRST_ANSWER = """
read -r began _ </proc/uptime
setsid "$BUSYBOX" sh {module}/service.sh </dev/null >/dev/null 2>&1 &
until [ -S {home}/run/control.sock ]; do sleep 0.01; done
{module}/bin/berth list >/dev/null || exit
read -r ended _ </proc/uptime
echo "$began $ended"
"""
