"""The API by real HTTP with the real engine: containers, operations, what is told of them, and how errors are told."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import faults
from tests.dashboard import Dashboard, shared

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.fixture(scope="module")
def dashboard(berth_home: Path) -> Iterator[Dashboard]:
    with shared(berth_home) as dashboard:
        yield dashboard


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


def test_a_container_lives_its_whole_life_over_the_api(dashboard: Dashboard, root: Path) -> None:
    made = dashboard.post("/containers", {"spec": {"name": "life", "rootfs": str(root), "memory": 64 << 20}}, 201)
    assert made["spec"].items() >= {"name": "life", "rootfs": str(root), "memory": 64 << 20}.items()
    assert made["details"]["state"] == "stopped"

    plan = dashboard.post("/containers/life/plan", {})
    assert plan["running"] is False
    assert {"root", "namespaces", "cgroups", "mounts", "init"} <= plan["groups"].keys()

    started = dashboard.finish(dashboard.post("/containers/life/start", {}, 202))
    assert (started["state"], started["kind"], started["container"]) == ("done", "start", "life")
    (listed,) = dashboard.get("/containers")["containers"]
    assert (listed["name"], listed["state"]) == ("life", "running")
    assert started["sentence"] == f"life: started, init is {listed['pid']}"
    assert dashboard.get("/containers/life")["details"]["pid"] == listed["pid"]
    assert dashboard.post("/containers/life/plan", {})["name"] == "life"

    ask = "/containers/life/processes"
    faults.wait_until(lambda: len(dashboard.get(ask)["processes"]) == 2, "its init has come to its sleep")
    processes = dashboard.get(ask)["processes"]
    assert [process["inner_pid"] for process in processes if process["pid"] == listed["pid"]] == [1]
    sample = dashboard.get("/containers/life/statistics")
    assert sample["memory_limit"] == 64 << 20
    assert sample["processes"] == len(processes)

    restarted = dashboard.finish(dashboard.post("/containers/life/restart", {"timeout": 5}, 202))
    assert restarted["state"] == "done"
    assert dashboard.get("/containers/life")["details"]["pid"] != listed["pid"]

    refused = dashboard.ask("POST", "/containers/life/ports", {"add": [{"host": 8080, "container": 80}]})
    assert (refused.status, "has no ports to show" in refused.body["detail"]) == (409, True)
    refused = dashboard.ask("DELETE", "/containers/life")
    assert (refused.status, refused.headers["content-type"]) == (409, "application/problem+json")
    assert refused.body["detail"] == 'container life: is running and can\'t be removed; run "berth stop life" first'

    assert dashboard.finish(dashboard.post("/containers/life/stop", {}, 202))["sentence"] == "life: stopped"
    assert dashboard.post("/containers/life/rename", {"name": "after"})["spec"]["name"] == "after"
    assert dashboard.delete("/containers/after") == {"name": "after", "root": str(root)}
    assert dashboard.get("/containers") == {"containers": []}
    assert root.is_dir()


def test_a_change_holds_from_the_next_start_on(dashboard: Dashboard, root: Path) -> None:
    dashboard.start("change", root)
    spec = {**dashboard.get("/containers/change")["spec"], "hostname": "fresh", "autostart": True}

    changed = dashboard.ask("PUT", "/containers/change", {"spec": spec})
    assert (changed.status, changed.body["spec"]["hostname"]) == (200, "fresh")
    assert dashboard.get("/settings")["autostart"] == [{"name": "change", "start_after": []}]

    dashboard.finish(dashboard.post("/containers/change/restart", {"timeout": 0}, 202))
    assert dashboard.get("/containers/change")["details"]["hostname"] == "fresh"
    other = dashboard.ask("PUT", "/containers/change", {"spec": {**spec, "name": "other"}})
    assert other.status == 400
    dashboard.remove("change")


def test_the_order_of_the_starts_is_changed(dashboard: Dashboard, root: Path) -> None:
    for name in ("a", "b", "c"):
        dashboard.post("/containers", {"spec": {"name": name, "rootfs": str(root), "autostart": True}}, 201)

    changed = dashboard.ask("PUT", "/settings", {"autostart": ["c", "a", "b"]})

    assert changed.body["autostart"] == [
        {"name": "c", "start_after": []},
        {"name": "a", "start_after": ["c"]},
        {"name": "b", "start_after": ["a"]},
    ]
    refused = dashboard.ask("PUT", "/settings", {"autostart": ["c", "a"]})
    assert (refused.status, "load it again" in refused.body["detail"]) == (400, True)
    for name in ("a", "b", "c"):
        dashboard.delete(f"/containers/{name}")


def test_a_file_is_read_as_the_command_line_reads_it(dashboard: Dashboard, root: Path, scratch: Path) -> None:
    (scratch / "more.env").write_text("# a comment\nexport COLOUR='blue'\n")
    conf = scratch / "container.config"
    conf.write_text(f"name=my box\nrootfs_path={root}\nenv_file=more.env\nmemory_limit=1048576\nenable_gpu_mode=1\n")

    read = dashboard.post("/read/configuration", {"path": str(conf)})

    plain = {"name": "my-box", "rootfs": str(root), "init": "/sbin/init", "env": {"COLOUR": "blue"}, "memory": 1 << 20}
    assert read["spec"] == {**plain, "extra": {"enable_gpu_mode": "1"}}
    said = dashboard.berth("plan", "--conf", conf).stderr
    assert [f"{remark}\n" for remark in read["remarks"]] == [said]
    pasted = dashboard.post("/read/configuration", {"text": f'rootfs = "{root}"\nname = "toml"\nnet = "none"\n'})
    assert pasted["spec"].items() >= {"name": "toml", "rootfs": str(root), "net": "none"}.items()
    assert pasted["remarks"] == []
    assert dashboard.post("/read/variables", {"path": str(scratch / "more.env")}) == {"env": {"COLOUR": "blue"}}
    assert dashboard.get("/containers") == {"containers": []}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"path": "relative"}, "must be absolute"),
        ({"path": "/nowhere"}, "is no file of this device"),
        ({"path": "/dev/zero"}, "is no file of this device"),
        ({"path": "/dev"}, "is no file of this device"),
        ({}, "must be absolute"),
        ({"text": "no variable"}, "line 1"),
        ({"text": "x" * 40_000}, "text"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(dashboard: Dashboard, asked: dict[str, str], said: str) -> None:
    reply = dashboard.ask("POST", "/read/variables", asked)
    assert reply.status == 400
    assert said in reply.body["detail"]


def test_an_error_is_the_sentence_of_the_command_line(dashboard: Dashboard, scratch: Path) -> None:
    berth = dashboard.berth
    (scratch / "empty").mkdir()
    dashboard.post("/containers", {"spec": {"name": "empty", "rootfs": str(scratch / "empty")}}, 201)

    failed = dashboard.finish(dashboard.post("/containers/empty/start", {}, 202))
    assert failed["state"] == "failed"
    assert f"berth: {failed['sentence']}\n" == berth("start", "empty").stderr
    planned = dashboard.ask("POST", "/containers/empty/plan", {})
    assert (planned.status, planned.body["detail"]) == (409, failed["sentence"])
    missing = dashboard.ask("GET", "/containers/nothing")
    assert missing.status == 404
    assert f"berth: {missing.body['detail']}\n" == berth("info", "nothing").stderr
    dashboard.delete("/containers/empty")


WRONG: tuple[tuple[object, str], ...] = (
    ({}, "spec"),
    ({"spec": {"name": "../up", "rootfs": "/x"}}, "spec.name"),
    ({"spec": {"name": "both", "rootfs": "/x", "image": "/y"}}, "rootfs and image"),
    ({"spec": {"name": "self", "rootfs": "/"}}, "own system"),
    ({"spec": {"name": "odd", "rootfs": "/x", "colour": "red"}}, "colour"),
    ({"spec": {"name": "odd", "rootfs": "/x", "memory": "much"}}, "spec.memory"),
    ({"spec": {"name": "odd", "rootfs": "relative"}}, "rootfs"),
    (b"{", "the request is wrong"),
    (b"[]", "object"),
    (b"[" * 100_000, "the request is wrong"),
)


def test_a_wrong_request_is_refused_with_what_is_wrong_where(dashboard: Dashboard) -> None:
    for body, said in WRONG:
        reply = dashboard.ask("POST", "/containers", body)
        assert (reply.status, reply.body["status"], reply.body["type"]) == (400, 400, "about:blank")
        assert said in reply.body["detail"]
    assert dashboard.get("/containers") == {"containers": []}


def test_a_start_that_stands_still_is_cancelled_and_leaves_nothing(dashboard: Dashboard, root: Path) -> None:
    hook = root.parent / "hook"
    hook.write_text("#!/bin/sh\nexec sleep 1000\n")
    hook.chmod(0o755)
    spec = {"name": "still", "rootfs": str(root), "hooks": [{"stage": "prestart", "path": str(hook)}]}
    dashboard.post("/containers", {"spec": spec}, 201)

    begun = dashboard.post("/containers/still/start", {}, 202)
    faults.wait_until(lambda: faults.condition(dashboard.berth, "still") == "starting", "it is starting")
    path = f"/operations/{begun['id']}"
    faults.wait_until(lambda: dashboard.get(path)["step"] == "namespaces", "it has come to its hook")
    assert 0.3 < dashboard.get(path)["progress"] < 0.9
    assert "its root is being built" in dashboard.get(path)["log"]
    dashboard.post(f"{path}/cancel", {}, 202)

    ended = dashboard.finish(begun)
    assert (ended["state"], ended["sentence"]) == ("cancelled", "start still: was cancelled")
    assert dashboard.get("/containers/still")["details"]["state"] == "stopped"
    dashboard.delete("/containers/still")


def test_operations_outlive_the_web_process(dashboard: Dashboard, root: Path) -> None:
    faults.write_init(root, "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1000 & wait $!; done\n")
    dashboard.start("outlive", root)
    stopping = dashboard.post("/containers/outlive/stop", {"timeout": 3}, 202)
    web = dashboard.published["pid"]

    os.kill(web, signal.SIGKILL)
    dashboard.await_web(but=web)

    ended = dashboard.finish(stopping)
    assert (ended["state"], ended["sentence"], ended["progress"]) == ("done", "outlive: stopped", 1.0)
    assert [word for word in ("asked to end", "is killed", "being undone") if word not in ended["log"]] == []
    done = [one["kind"] for one in dashboard.get("/operations")["operations"] if one["container"] == "outlive"]
    assert done == ["start", "stop"]
    dashboard.delete("/containers/outlive")


def test_the_list_follows_what_the_command_line_does(dashboard: Dashboard, root: Path) -> None:
    berth = dashboard.berth

    def states() -> dict[str, str]:
        return {one["name"]: one["state"] for one in dashboard.get("/containers")["containers"]}

    assert states() == {}
    berth.succeed("start", "follow", "--rootfs", root)
    assert states() == {"follow": "running"}
    berth.succeed("stop", "follow")
    assert states() == {"follow": "stopped"}
    berth.succeed("rename", "follow", "followed")
    assert states() == {"followed": "stopped"}
    (berth.home / "containers" / "followed" / "container.toml").write_text("name = 7\n")
    faults.wait_until(lambda: dashboard.get("/containers")["containers"][0]["error"], "the wrong file is told of")
    shutil.rmtree(berth.home / "containers" / "followed")


def test_the_device_is_told_as_the_command_line_tells_it(dashboard: Dashboard) -> None:
    berth = dashboard.berth
    host, told = dashboard.get("/host"), json.loads(berth.succeed("info", "--json"))
    assert {key: host[key] for key in ("kernel", "machine", "memory", "cpus", "version")} == {
        key: told[key] for key in ("kernel", "machine", "memory", "cpus", "version")
    }
    check = dashboard.get("/check")
    assert check["fulfilled"] is True
    assert {one["key"] for one in check["requirements"]} == {
        one["key"] for one in json.loads(berth("check", "--json").stdout)
    }
    assert dashboard.get("/service")["port"] == dashboard.port
    assert dashboard.get("/host/statistics")["memory"] > 0


def test_the_log_is_told_from_its_end(dashboard: Dashboard, root: Path) -> None:
    faults.write_init(
        root, "#!/bin/sh\nfor n in 1 2 3; do echo line $n; done\ntrap 'exit 0' TERM\nsleep 1000 & wait $!\n"
    )
    dashboard.start("log", root)
    faults.wait_until(lambda: "line 3" in dashboard.get("/containers/log/log")["text"], "all lines are logged")
    assert dashboard.get("/containers/log/log?lines=1")["text"] == "line 3\r\n"
    assert dashboard.ask("GET", "/containers/log/log?lines=-1").status == 400
    assert dashboard.ask("GET", "/containers/log/log?other=1").status == 400
    dashboard.remove("log")


def test_who_changed_what_stands_in_the_audit_log(dashboard: Dashboard, root: Path) -> None:
    dashboard.start("audit", root)
    dashboard.remove("audit")
    done = [(entry["who"], entry["what"], entry["status"]) for entry in dashboard.get("/audit")["entries"]]
    assert ("test", "POST /api/v1/containers", 201) in done
    assert ("test", "DELETE /api/v1/containers/audit", 200) in done


def test_a_report_tells_of_the_device_and_of_nobody(dashboard: Dashboard, root: Path) -> None:
    dashboard.start("private-name", root)
    text = dashboard.get("/report")["text"]
    assert os.uname().release in text
    assert "container-1: running" in text
    assert "private-name" not in text
    assert str(root) not in text
    dashboard.remove("private-name")
