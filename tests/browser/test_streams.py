"""What comes by itself: terminals, consoles, logs, statistics; and that nothing is lost when the connection is."""

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import faults, rootfs
from tests.browser.conftest import Opener, Snap, go
from tests.dashboard import Dashboard
from tests.load import sleeps

pytestmark = pytest.mark.system

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
MARKUP = "<img src=x onerror=alert(1)>"  # may also be a folder's name
UNMEASURED_SECONDS = 3.0  # longer than from one sample to the next
CHATTY = f"""\
#!/bin/sh
trap 'exit 0' TERM
for line in one two three; do echo "line $line"; done
printf '\\033[31m%s\\033[0m\\033]0;<b>title</b>\\007\\n' '{HOSTILE}'
while read word; do echo "heard $word"; done
while :; do sleep 1000 & wait $!; done
"""


def shown(page: Page) -> str:
    """The text on the screen of the terminal."""
    return "\n".join(page.locator(".xterm-rows > div").all_inner_texts()).replace("\u00a0", " ")


def await_text(page: Page, text: str) -> None:
    expect(page.locator(".xterm-rows")).to_contain_text(text)


def start(dashboard: Dashboard, name: str, root: Path) -> None:
    dashboard.berth.succeed("start", "--name", name, "--rootfs", root)


def runs(page: Page, dashboard: Dashboard, name: str, program: str) -> bool:
    """Tell whether `program` runs in container `name`; until it does, the shell takes a Ctrl-C for a letter."""
    page.wait_for_timeout(1)  # what the page asks of the bridge is done by this thread, while it is in a call of page
    return program in dashboard.berth.succeed("run", name, "--", "ps", "-o", "args")


def test_a_shell_is_one_press_away_and_takes_what_is_typed(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    start(dashboard, "shell", root)
    page.get_by_role("link", name="Terminal of shell").click()
    await_text(page, "#")
    page.keyboard.type("echo $((6*7)) is it\n")
    await_text(page, "42 is it")
    snap(page, "terminal")

    page.keyboard.type("sleep 1001\n")
    faults.wait_until(lambda: runs(page, dashboard, "shell", "sleep 1001"), "the terminal is the program's")
    page.get_by_role("button", name="Ctrl").click()
    expect(page.get_by_role("button", name="Ctrl")).to_have_attribute("aria-pressed", "true")
    page.keyboard.type("c")
    page.keyboard.type("echo back $((40+3))\n")
    await_text(page, "back 43")
    page.get_by_role("button", name="Up", exact=True).click()
    page.keyboard.type(" again\n")
    await_text(page, "back 43 again")


def test_a_terminal_outlives_a_reload_and_a_killed_web_process(page: Page, dashboard: Dashboard, root: Path) -> None:
    start(dashboard, "kept", root)
    go(page, "containers", "kept", "terminal")
    await_text(page, "#")
    page.keyboard.type("kept=remembered\n")
    page.keyboard.type("echo $kept first\n")
    await_text(page, "remembered first")

    page.reload()
    await_text(page, "remembered first")  # what was on the screen is there again
    page.keyboard.type("echo $kept second\n")
    await_text(page, "remembered second")

    killed = dashboard.published["pid"]
    os.kill(killed, signal.SIGKILL)
    dashboard.await_web(but=killed)
    page.keyboard.type("echo $kept third\n")
    await_text(page, "remembered third")
    assert shown(page).count("remembered third") == 1
    assert len(dashboard.get("/terminals")["terminals"]) == 1


def test_a_terminal_is_copied_and_pasted_into(page: Page, dashboard: Dashboard, root: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    start(dashboard, "pasted", root)
    go(page, "containers", "pasted", "terminal")
    await_text(page, "#")
    page.evaluate("navigator.clipboard.writeText('echo pasted $((6*7))')")
    page.get_by_role("button", name="Paste", exact=True).click()
    await_text(page, "echo pasted $((6*7))")
    page.keyboard.press("Enter")
    await_text(page, "pasted 42")

    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert "pasted 42" in page.evaluate("navigator.clipboard.readText()")


def test_several_terminals_are_apart_and_are_closed(page: Page, dashboard: Dashboard, root: Path) -> None:
    with (root / "etc" / "passwd").open("a") as passwd:
        passwd.write("visitor:x:1234:1234::/:/bin/sh\n")
    start(dashboard, "many", root)
    go(page, "containers", "many", "terminal")
    await_text(page, "#")
    page.keyboard.type("echo in the first\n")
    await_text(page, "in the first")
    page.get_by_label("User of a new terminal").fill("visitor")
    page.get_by_role("button", name="New terminal").click()
    expect(page.get_by_role("button", name="2 · visitor")).to_have_attribute("aria-pressed", "true")
    await_text(page, "$")
    page.keyboard.type("echo $(id -u)\n")
    await_text(page, "1234")
    assert "in the first" not in shown(page)

    page.get_by_role("button", name="Close terminal 2").click()
    await_text(page, "in the first")
    page.keyboard.type("exit\n")
    expect(page.get_by_text("The shell has ended")).to_be_visible()
    expect(page.get_by_text("No terminal is open.")).to_be_visible()


def test_a_terminal_is_as_large_as_its_place(opened: Opener, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    start(dashboard, "sized", root)
    page = opened({"width": 1280, "height": 800})
    go(page, "containers", "sized", "terminal")
    await_text(page, "#")

    def size() -> tuple[int, int]:
        page.wait_for_timeout(
            1
        )  # what the page asks of the bridge is done by this thread, while it is in a call of page
        terminal = dashboard.get("/terminals")["terminals"][0]
        return terminal["rows"], terminal["columns"]

    faults.wait_until(lambda: size()[1] > 100, "the terminal is as wide as the window")
    wide = size()
    page.set_viewport_size({"width": 360, "height": 740})
    faults.wait_until(lambda: size()[1] < 60, "the terminal is as narrow as the window")
    narrow = size()
    page.get_by_role("button", name="Larger letters").click()
    faults.wait_until(lambda: size()[1] < narrow[1], "larger letters leave room for fewer")
    assert wide[1] > narrow[1]


def test_a_full_screen_program_runs(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    start(dashboard, "editing", root)
    go(page, "containers", "editing", "terminal")
    await_text(page, "#")
    page.keyboard.type("vi /tmp/note\n")
    await_text(page, "~")
    page.keyboard.type("ihello from a phone")
    page.get_by_role("button", name="Esc").click()
    await_text(page, "- /tmp/note")  # or what follows Escape at once is taken for the rest of a key
    snap(page, "vi")
    page.keyboard.type(":wq\n")
    page.keyboard.type("cat /tmp/note; echo e''nd\n")
    await_text(page, "end")
    assert "hello from a phone" in shown(page)


def test_htop_and_vim_of_a_debian_run(page: Page, dashboard: Dashboard, snap: Snap) -> None:
    debian = rootfs.directory("debian-systemd")  # as it is: nothing is written to it
    dashboard.berth.succeed("start", "--name", "debian", "--rootfs", debian, "--volatile")
    go(page, "containers", "debian", "terminal")
    await_text(page, "#")
    page.keyboard.type("htop\n")
    await_text(page, "[Main]")
    await_text(page, "VIRT")
    snap(page, "htop")
    page.keyboard.type("q")
    expect(page.locator(".xterm-rows")).to_contain_text(re.compile("root@.*root@", re.DOTALL))  # the next prompt
    page.keyboard.type("clear; vim.tiny /tmp/note\n")
    await_text(page, "[New]")
    page.keyboard.type("ihello from Debian")
    await_text(page, "hello from Debian")
    snap(page, "vim")
    page.get_by_role("button", name="Esc").click()
    page.keyboard.type(":wq\n")
    await_text(page, "root@")  # what is typed while it ends is thrown away
    page.keyboard.type("cat /tmp/note; echo e''nd\n")
    await_text(page, "end")
    assert "hello from Debian" in shown(page)


def test_a_script_in_a_path_a_host_name_or_a_terminals_title_is_only_text(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    folder = root.rename(root.parent / MARKUP)
    start(dashboard, "hostile", folder)
    expect(page.get_by_text(str(folder))).to_be_visible()
    snap(page, "hostile")
    go(page, "containers", "hostile")
    expect(page.get_by_text(MARKUP).first).to_be_visible()
    go(page, "containers", "hostile", "terminal")
    await_text(page, "#")
    page.keyboard.type(
        f"hostname '{MARKUP}'; printf '\\033]0;{MARKUP}\\007\\033]2;{MARKUP}\\007'; echo \"$(hostname)\" e''nd\n"
    )
    await_text(page, "end")
    page.keyboard.type(f"sh -c 'sleep 1000; :' '{MARKUP}' &\n")
    go(page, "containers", "hostile", "processes")
    expect(page.get_by_role("cell", name=MARKUP).first).to_be_visible()  # its child is called so, too, for a moment
    assert page.locator("img[src='x']").count() == 0

    other = dashboard.berth.home / "containers" / "broken"
    other.mkdir()
    (other / "container.toml").write_text(f'name = "broken"\n"{MARKUP}" = 1\n')
    go(page)
    page.reload()
    expect(page.get_by_text(MARKUP).first).to_be_visible()
    assert page.locator("img[src='x']").count() == 0


def test_a_log_is_followed_searched_and_never_markup(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    start(dashboard, "chatty", faults.write_init(root, CHATTY))
    go(page, "containers", "chatty", "logs")
    log = page.get_by_role("log")
    expect(log).to_contain_text(HOSTILE)
    assert "\x1b" not in log.inner_text()
    assert "title" not in log.inner_text()

    dashboard.post("/containers/chatty/console/input", {"data": "bmV3cwo="}, 204)  # news
    expect(log).to_contain_text("heard news")
    page.get_by_label("Search the log").fill("LINE t")
    expect(page.get_by_role("status").get_by_text("2 lines")).to_be_visible()
    expect(log.locator("mark")).to_have_text(["line t", "line t"])
    expect(log).not_to_contain_text("line one")
    snap(page, "log")


def test_a_console_is_seen_and_typed_into(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    start(dashboard, "heard", faults.write_init(root, CHATTY))
    go(page, "containers", "heard", "console")
    await_text(page, "line three")
    page.keyboard.type("hello\n")
    await_text(page, "heard hello")
    snap(page, "console")


def test_processes_and_statistics_are_shown(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    start(dashboard, "busy", root)
    go(page, "containers", "busy", "processes")
    expect(page.get_by_role("cell", name="1", exact=True)).to_be_visible()
    expect(page.get_by_role("cell", name="/sbin/init").first).to_be_visible()
    snap(page, "processes")
    go(page, "containers", "busy", "statistics")
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.get_by_text("100 % is one processor.")).to_be_visible()
    snap(page, "statistics")


def test_a_page_recovers_from_a_killed_web_process(page: Page, dashboard: Dashboard, root: Path) -> None:
    killed = dashboard.published["pid"]
    os.kill(killed, signal.SIGKILL)
    dashboard.await_web(but=killed)
    start(dashboard, "later", root)
    expect(page.get_by_text("later", exact=True)).to_be_visible()
    expect(page.get_by_text("The service does not answer")).to_have_count(0)


@pytest.mark.address
def test_nothing_is_measured_while_nobody_looks_at_figures(page: Page, dashboard: Dashboard, root: Path) -> None:
    start(dashboard, "measured", root)
    expect(page.locator(".sparkline path").first).to_be_visible()  # it is measured now, every two seconds
    go(page, "settings")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    faults.wait_until(lambda: sleeps(dashboard.published["pid"], UNMEASURED_SECONDS), "nothing wakes the web process")


def test_two_hundred_containers_are_found_quickly(desktop: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    for number in range(200):
        folder = dashboard.berth.home / "containers" / f"many-{number}"
        folder.mkdir(parents=True)
        (folder / "container.toml").write_text(f'version = 1\nname = "many-{number}"\nrootfs = "{root}"\n')
    desktop.reload()
    expect(desktop.locator(".container-card")).to_have_count(200)
    snap(desktop, "two-hundred")
    took = desktop.evaluate(
        """async () => {
          const field = document.querySelector('input[type=search]');
          const times = [];
          for (const text of ['many-19', '', 'many-18', '', 'many-17']) {
            const begin = performance.now();
            field.value = text;
            field.dispatchEvent(new Event('input', {bubbles: true}));
            await new Promise((keep) => requestAnimationFrame(() => requestAnimationFrame(keep)));
            times.push(performance.now() - begin);
          }
          return Math.min(...times);
        }"""
    )  # a busy machine slows one or the other down
    expect(desktop.locator(".container-card")).to_have_count(11)  # 17 and 170 to 179
    assert took < 1000
