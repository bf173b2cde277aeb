"""SELinux is permissive as long as anybody asks for that, and afterwards what it was before."""

from pathlib import Path

import pytest

from berth.android import selinux as android
from berth.engine import selinux
from berth.engine.journal import Journal, RunFolder
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import boot_id


class Device:
    """A device whose SELinux is a file, with a run folder of its own."""

    def __init__(self, folder: Path, enforce: Path) -> None:
        self.home = Home(str(folder), f"{folder}/run")
        self.run = self.home.run
        self.enforce = enforce
        self._journals: dict[str, Journal] = {}

    def start(self, name: str) -> None:
        """Have container `name` ask."""
        folder = RunFolder(self.home, name)
        folder.make()
        self._journals[name] = Journal.create(folder.journal)
        selinux.make_permissive(self.run, name, self._journals[name])

    def stop(self, name: str) -> None:
        """Have container `name` end as it should."""
        selinux.give_back(self.run, name)
        self.lose(name)

    def lose(self, name: str) -> None:
        """Remove the record of container `name`, and nothing else."""
        self._journals.pop(name).remove()

    @property
    def enforcing(self) -> bool:
        return self.enforce.read_text() == "1"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    enforce = tmp_path / "enforce"
    enforce.write_text("1")
    monkeypatch.setattr(android, "_ENFORCE", str(enforce))
    return Device(tmp_path / "home", enforce)


def test_the_last_of_several_puts_it_back(device: Device) -> None:
    device.start("a")
    device.start("b")
    assert not device.enforcing
    assert selinux.askers(device.run) == ("a", "b")

    device.stop("a")
    assert not device.enforcing
    device.stop("b")
    assert device.enforcing


def test_what_was_permissive_before_stays_so(device: Device) -> None:
    device.enforce.write_text("0")

    device.start("a")
    device.stop("a")

    assert not device.enforcing


def test_giving_back_twice_does_no_harm(device: Device) -> None:
    device.start("a")
    device.stop("a")
    device.enforce.write_text("0")  # the phone's user has made it so since

    selinux.give_back(device.run, "a")
    selinux.settle(device.run)

    assert not device.enforcing


def test_whoever_has_no_record_any_more_is_not_waited_for(device: Device) -> None:
    device.start("a")
    device.lose("a")
    assert selinux.askers(device.run) == ()

    selinux.settle(device.run)

    assert device.enforcing


def test_an_earlier_boot_counts_for_nothing(device: Device) -> None:
    device.start("a")
    for path in Path(device.run, "selinux").iterdir():
        path.write_text("another boot")

    selinux.give_back(device.run, "a")

    assert not device.enforcing
    assert list(Path(device.run, "selinux").iterdir()) == []


def test_the_boot_is_written_down_before_selinux_is_changed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*, on: bool) -> None:
        raise KeyboardInterrupt(on)

    monkeypatch.setattr(selinux, "set_enforcing", die)
    with pytest.raises(KeyboardInterrupt):
        device.start("a")
    monkeypatch.undo()

    assert Path(device.run, "selinux", ".enforcing").read_text() == boot_id()
    assert Path(device.run, "selinux", "a").read_text() == boot_id()


def test_a_kernel_that_can_not_do_it_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(android, "_ENFORCE", "/proc/version")  # exists and refuses to be written
    device = Device(tmp_path, Path("/proc/version"))
    monkeypatch.setattr(selinux, "is_enforcing", lambda: True)

    with pytest.raises(BerthError, match=r"^container a: SELinux can't be made permissive \(.+\); start it without"):
        device.start("a")
