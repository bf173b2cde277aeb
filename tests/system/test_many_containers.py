"""Many starts, one after the other and all at once: nothing is left of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import callers, faults, host_state, quick
from tests.program import Berth
from tests.service import Service

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.fixture
def service(berth: Berth) -> Iterator[Service]:
    """A service, for speed, as long as the test takes."""
    with callers.service(berth):
        yield Service(berth)


def await_rest(service: Service) -> None:
    """Wait until all processes of the service are there that stay, and none that does not."""
    web_listens = (service.run / "web.json").exists
    there = (service.spare, service.zygote, service.web, web_listens, lambda: not service.workers())
    faults.wait_until(lambda: all(one() for one in there), "the service is at rest")


def test_of_two_starts_at_once_exactly_one_wins(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root)

    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(lambda _: berth("start", "quay", "--rootfs", root, "--init", init), range(4)))

    assert sorted(end.returncode for end in ends) == [0, 1, 1, 1]
    assert {end.stderr for end in ends if end.returncode} == {
        'berth: container quay: is running already; see "berth info quay"\n'
    }
    assert quick.inside(berth, "hostname") == "quay"
    berth.succeed("stop", "quay")


def test_a_hundred_starts_and_stops_leave_nothing(berth: Berth, rootfs: Factory, service: Service) -> None:
    root = rootfs("busybox")
    quick.start(berth, root)
    berth.succeed("stop", "quay")
    await_rest(service)
    before, files = host_state.look(berth.home), faults.tree(root)
    kept = sorted(path.name for path in (berth.home / "run").rglob("*"))

    for _ in range(100):
        berth.succeed("start", "quay")
        berth.succeed("stop", "quay")

    assert host_state.difference(before, berth.home) == []
    assert faults.tree(root) == files
    assert sorted(path.name for path in (berth.home / "run").rglob("*")) == kept


def test_fifty_containers_in_parallel_leave_nothing(berth: Berth, rootfs: Factory, service: Service) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root)
    names = [f"quay{number}" for number in range(50)]
    await_rest(service)
    before, files = host_state.look(berth.home), faults.tree(root)

    with ThreadPoolExecutor(10) as pool:
        starts = list(pool.map(lambda name: berth("start", name, "--rootfs", root, "--init", init), names))
    assert [end.stderr for end in starts if end.returncode] == []
    hostnames = [Path(f"/proc/{quick.info(berth, name)['pid']}/ns/uts").stat().st_ino for name in names[:5]]
    assert len(set(hostnames)) == 5
    assert len(berth.succeed("stop", "--all", seconds=120).splitlines()) == 50

    assert host_state.difference(before, berth.home) == []
    assert faults.tree(root) == files
