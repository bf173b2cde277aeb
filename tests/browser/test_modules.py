"""The page's pure functions, called in the browser: what goes in and what comes out."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE
from tests.dashboard import Dashboard

pytestmark = pytest.mark.system

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def blank(browser: Browser, service: Dashboard) -> Iterator[Page]:
    """A page that nobody uses, from which modules can be loaded."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"http://127.0.0.1:{service.port}/")
    yield page
    page.close()


@pytest.fixture(scope="module")
def call(blank: Page) -> Call:
    """`call("module.js", "name", argument, ...)` returns what the function returns, as JSON can tell it."""

    def call(module: str, name: str, *arguments: object) -> Any:
        script = "async ([module, name, given]) => (await import(module))[name](...given)"
        return blank.evaluate(script, [f"./{module}", name, list(arguments)])

    return call


TYPED = """async () => {
  const { InputQueue } = await import("./api/input_queue.js");
  const posted = [];
  const post = (body) => new Promise((keep, fail) => posted.push({ body: { ...body }, keep, fail }));
  const until = async (count) => {
    while (posted.length < count) await new Promise((keep) => setTimeout(keep, 1));
  };
  const queue = new InputQueue(post, () => {});
  for (const letter of "abc") queue.send(new TextEncoder().encode(letter));
  const atFirst = posted.length;
  posted[0].fail({ status: 0 });
  await until(2);
  queue.send(new TextEncoder().encode("d"));
  posted[1].keep();
  await until(3);
  posted[2].keep();
  const bodies = posted.map(({ body }) => body);
  const writers = new Set(bodies.map(({ writer }) => writer)).size;
  return [atFirst, bodies.map(({ number, data }) => [number, atob(data)]), writers];
}"""


def test_one_request_of_what_is_typed_is_under_way_and_the_next_has_all_that_came_meanwhile(blank: Page) -> None:
    at_first, posted, writers = blank.evaluate(TYPED)

    assert (at_first, writers) == (1, 1)
    assert posted == [[1, "a"], [1, "a"], [2, "bcd"]]  # the first did not arrive and is sent again as the same


@pytest.mark.parametrize(("status", "attempts", "told"), [(409, 1, 1), (404, 1, 1), (503, 2, 0)])
def test_what_is_typed_is_sent_again_only_where_that_helps(blank: Page, status: int, attempts: int, told: int) -> None:
    seen = blank.evaluate(
        """async (status) => {
          const { InputQueue } = await import("./api/input_queue.js");
          let attempts = 0;
          let told = 0;
          const post = async () => {
            attempts += 1;
            if (attempts === 1) throw { status };
          };
          const queue = new InputQueue(post, () => (told += 1));
          queue.send([65]);
          while (attempts < 2 && told < 1) await new Promise((keep) => setTimeout(keep, 1));
          return [attempts, told];
        }""",
        status,
    )

    assert seen == [attempts, told]


def test_what_nobody_looks_at_any_more_is_not_sent_again(blank: Page) -> None:
    posted = blank.evaluate(
        """async () => {
          const { InputQueue } = await import("./api/input_queue.js");
          const posted = [];
          const queue = new InputQueue(async ({ data }) => { posted.push(atob(data)); throw { status: 0 }; }, () => {});
          queue.send([65]);
          queue.leave();
          await new Promise((keep) => setTimeout(keep, 1));
          queue.send([66]);
          while (posted.length < 2) await new Promise((keep) => setTimeout(keep, 1));
          return posted;
        }"""
    )

    assert posted == ["A", "B"]


def test_a_whole_file_is_pasted_in_pieces_and_in_order(blank: Page) -> None:
    pasted = blank.evaluate(
        """async () => {
          const { InputQueue } = await import("./api/input_queue.js");
          const posted = [];
          const queue = new InputQueue(async ({ data }) => void posted.push(atob(data)), () => {});
          queue.send(new TextEncoder().encode("0123456789".repeat(50_000)));
          const length = () => posted.reduce((sum, piece) => sum + piece.length, 0);
          while (length() < 500_000) await new Promise((keep) => setTimeout(keep, 1));
          return [posted.join("") === "0123456789".repeat(50_000), Math.max(...posted.map((piece) => piece.length))];
        }"""
    )

    assert pasted == [True, 16_384]


def test_an_event_changes_one_container_and_leaves_the_state_before_it_alone(call: Call) -> None:
    old = {"name": "old", "state": "stopped"}
    new = {"name": "new", "state": "stopped"}
    before = {"ready": True, "containers": {"old": old}, "operations": {}}

    renamed = {"kind": "event", "event": "renamed", "name": "new", "detail": "old", "container": new}
    assert call("state.js", "reduce", before, renamed)["containers"] == {"new": new}
    removed = {"kind": "event", "event": "removed", "name": "old", "detail": "", "container": None}
    assert call("state.js", "reduce", before, removed)["containers"] == {}
    operation = {"kind": "operation", "operation": {"id": "1", "state": "running"}}
    assert call("state.js", "reduce", before, operation)["operations"] == {"1": {"id": "1", "state": "running"}}
    assert before["containers"] == {"old": old}


def test_rates_need_two_samples_of_the_same_life(call: Call) -> None:
    empty: dict[str, Any] = {"host": None, "containers": {}}

    def sample(at: float, cpu_time: float) -> dict[str, Any]:
        return {"at": at, "host": {}, "containers": {"one": {"cpu_time": cpu_time, "network": None, "memory": 1}}}

    first = call("usage.js", "withSample", empty, sample(10, 3))
    assert first["containers"]["one"][-1]["cpu"] is None
    second = call("usage.js", "withSample", first, sample(12, 4))
    assert second["containers"]["one"][-1]["cpu"] == 50
    restarted = call("usage.js", "withSample", second, sample(14, 0.5))
    assert restarted["containers"]["one"][-1]["cpu"] is None
    ended = call("usage.js", "withSample", restarted, {"at": 16, "host": {}, "containers": {}})
    assert ended["containers"] == {}


def test_the_devices_processors_are_busy_for_a_part_of_the_time_between_two_samples(call: Call) -> None:
    usage: dict[str, Any] = {"host": None, "containers": {}}
    shown = []
    for at, cpu_time in ((10, 100), (12, 103), (14, 90), (16, 200)):  # 14: a clock of the kernel that went back
        usage = call(
            "usage.js", "withSample", usage, {"at": at, "host": {"cpu_time": cpu_time, "cpus": 4}, "containers": {}}
        )
        shown.append(usage["host"]["cpu_percent"])

    assert shown == [None, 37.5, None, 100]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;link\x1b\\text", "text"),
        ("10%\r100%\r\n".rstrip("\n"), "100%"),
        ("bell\x07 and \x9b8mC1", "bell and 8mC1"),
        ("<b>bold</b>", "<b>bold</b>"),
    ],
)
def test_a_line_of_a_log_is_read_as_a_person_would(call: Call, line: str, read: str) -> None:
    assert call("log_text.js", "readable", line) == read


def test_pieces_of_a_log_are_joined_to_lines(call: Call) -> None:
    lines = call("log_text.js", "withText", ["one", "tw"], "o\nthree\n")

    assert lines == ["one", "two", "three", ""]
    assert len(call("log_text.js", "withText", [], "x\n" * 6000)) == 5000
    assert len(call("log_text.js", "withText", ["10%\r" * 30_000], "20%\r")[0]) == 100_000  # a line that never ends


def test_what_is_sought_is_marked_whatever_its_case(call: Call) -> None:
    assert call("log_text.js", "marked", "An Error, an error", "error") == [
        ["An ", False],
        ["Error", True],
        [", an ", False],
        ["error", True],
    ]


@pytest.mark.parametrize(
    ("key", "held", "application", "sent"),
    [
        ({"cursor": "A"}, {}, False, "\x1b[A"),
        ({"cursor": "A"}, {}, True, "\x1bOA"),
        ({"cursor": "D"}, {"ctrl": True}, True, "\x1b[1;5D"),
        ({"cursor": "C"}, {"alt": True}, False, "\x1b[1;3C"),
        ({"send": "\t"}, {}, False, "\t"),
        ({"send": "/"}, {"alt": True}, False, "\x1b/"),
    ],
)
def test_a_key_sends_what_a_terminal_sends(
    call: Call, key: dict[str, str], held: dict[str, bool], application: bool, sent: str
) -> None:
    assert call("touch_keys.js", "bytesOf", key, held, application) == sent


@pytest.mark.parametrize(("typed", "sent"), [("c", "\x03"), ("[", "\x1b"), ("é", "é"), (" ", "\x00"), ("word", "word")])
def test_ctrl_makes_control_characters_of_single_letters_only(call: Call, typed: str, sent: str) -> None:
    assert call("touch_keys.js", "withHeld", typed, {"ctrl": True, "alt": False}) == sent


@pytest.mark.parametrize("text", ["512M", "1G", "1K", "1000", "3T"])
def test_a_size_is_printed_as_it_was_typed(call: Call, text: str) -> None:
    assert call("sizes.js", "printSize", call("sizes.js", "parseSize", text)) == text


def test_more_than_json_can_tell_is_no_size(call: Call) -> None:
    assert math.isnan(call("sizes.js", "parseSize", "9" * 400))
    assert math.isnan(call("sizes.js", "parseSize", "9000T"))


@pytest.mark.parametrize(
    ("kind", "text", "read"),
    [
        ("binds", "/a:/b", [{"source": "/a", "destination": "/b"}]),
        ("binds", "/a:/b:ro", [{"source": "/a", "destination": "/b", "read_only": True}]),
        ("binds", "/a:/b:rw", [{"source": "/a", "destination": "/b"}]),
        ("number", "1.5", 1.5),
        ("number", "", None),
    ],
)
def test_what_is_written_is_read_as_the_command_line_reads_it(blank: Page, kind: str, text: str, read: object) -> None:
    script = "async ([kind, text]) => (await import('./spec.js')).NOTATION[kind].read(text)"

    assert blank.evaluate(script, [kind, text]) == read


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("number", "1e400"),
        ("number", "Infinity"),
        ("number", "1e"),
        ("size", "many"),
        ("binds", "/a:/b:RO"),
        ("binds", "/a"),
        ("binds", "/a:/b:ro:rw"),
    ],
)
def test_what_can_not_be_read_is_never_taken_for_something_else(blank: Page, kind: str, text: str) -> None:
    script = "async ([kind, text]) => (await import('./spec.js')).NOTATION[kind].read(text)"

    assert math.isnan(blank.evaluate(script, [kind, text]))


def test_an_option_that_is_changed_and_changed_back_is_as_it_was(call: Call) -> None:
    spec = {"name": "x", "memory": 1, "hostname": "y"}
    there = call("spec.js", "withOption", spec, "memory", 2)

    assert list(call("spec.js", "withOption", there, "memory", 1)) == list(spec)


def test_a_page_that_stays_open_forgets_old_operations(call: Call) -> None:
    known = {f"o{number}": {"id": f"o{number}"} for number in range(100)}
    state = {"ready": True, "containers": {}, "operations": known}
    after = call("state.js", "reduce", state, {"kind": "operation", "operation": {"id": "new"}})

    assert list(after["operations"]) == [*list(known)[1:], "new"]


@pytest.mark.parametrize(("text", "size"), [("", None), ("1.5 g", 3 << 29), ("2GiB", 2 << 30), ("64mb", 64 << 20)])
def test_a_size_is_read_in_every_common_spelling(call: Call, text: str, size: int | None) -> None:
    assert call("sizes.js", "parseSize", text) == size


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, []),
        ({"privileged": ["nomask"], "hw_access": True}, ["danger.nomask", "danger.hw_access"]),
        ({"binds": [{"source": "/sdcard/Download", "destination": "/d"}]}, []),
        ({"binds": [{"source": "/data/adb", "destination": "/d"}]}, ["danger.binds"]),
        ({"binds": [{"source": "/", "destination": "/host"}]}, ["danger.binds"]),
        ({"binds": [{"source": "/", "destination": "/host", "read_only": True}]}, []),
        ({"binds": [{"source": "//", "destination": "/host"}]}, ["danger.binds"]),
        ({"binds": [{"source": "/sdcard/../data/./adb/", "destination": "/d"}]}, ["danger.binds"]),
        ({"binds": [{"source": "/dev/block", "destination": "/d"}]}, ["danger.binds"]),
        ({"binds": [{"source": "/data/local/shared", "destination": "/d"}]}, []),
        ({"hooks": [{"stage": "prestart", "path": "/x"}]}, ["danger.hooks"]),
        ({"selinux_permissive": True}, ["danger.selinux_permissive"]),
    ],
)
def test_what_can_do_harm_is_known(call: Call, spec: dict[str, object], told: list[str]) -> None:
    assert call("spec.js", "dangers", spec) == told


@pytest.mark.parametrize(
    ("option", "spec", "shown"),
    [
        ({"key": "memory"}, {}, True),
        ({"key": "ports", "nets": ["nat"]}, {}, False),
        ({"key": "ports", "nets": ["nat"]}, {"net": "nat"}, True),
        ({"key": "ports", "nets": ["nat"]}, {"net": "none", "ports": [{"host": 80, "container": 80}]}, True),
        ({"key": "fsck"}, {"rootfs": "/srv"}, False),
        ({"key": "fsck"}, {"image": "/srv.img"}, True),
    ],
)
def test_an_option_is_shown_where_it_means_anything_or_is_set(
    call: Call, option: dict[str, object], spec: dict[str, object], shown: bool
) -> None:
    assert call("spec.js", "applies", option, spec) is shown


@pytest.mark.parametrize(
    ("wanted", "given"), [(["zh-TW", "en"], "zh-CN"), (["fr", "en-GB"], "en"), (["fr"], "en"), (["zh-CN"], "zh-CN")]
)
def test_the_nearest_language_is_spoken(call: Call, wanted: list[str], given: str) -> None:
    assert call("language.js", "preferred", wanted, ["en", "zh-CN"]) == given
