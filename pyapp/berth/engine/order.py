"""What a start is ordered with and what it answers: data that processes hand to each other."""

import os
from typing import Self

import msgspec
from msgspec import Struct

from berth.errors import BerthError
from berth.home import Home
from berth.host import Host
from berth.plan.model import Plan
from berth.spec import Hook, HookStage, Spec, StartOptions

IMAGE_FOLDER = "/mnt/berth"


class Order(Struct, frozen=True, kw_only=True):
    """A start in all its detail, of the home at `state` and `run`.

    `plan` is None for an image: what is in it decides too, and that is seen only when it is mounted.  `notices` say
    what the network has to tell.
    """

    state: str
    run: str
    spec: Spec
    options: StartOptions
    host: Host
    plan: Plan | None
    notices: tuple[str, ...]

    @property
    def home(self) -> Home:
        """Where the container's things are kept."""
        return Home(self.state, self.run)

    @property
    def image_target(self) -> str:
        """Where its image is mounted, among the mounts of its monitor."""
        return os.path.join(IMAGE_FOLDER, self.spec.name)

    def hooks(self, stage: HookStage) -> tuple[Hook, ...]:
        """Return the hooks of one stage, in the order in which they run."""
        return tuple(hook for hook in self.spec.hooks if hook.stage == stage)

    def write(self) -> int:
        """Return a file in memory (memfd_create(2), Linux 3.17) that holds this; raises OSError."""
        fd = os.memfd_create("order", os.MFD_CLOEXEC)
        with open(fd, "wb", closefd=False) as file:
            file.write(self.encode())
        return fd

    def encode(self) -> bytes:
        """Return this as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def read(cls, fd: int) -> Self:
        """Return what `write` wrote."""
        return cls.decode(os.pread(fd, os.fstat(fd).st_size, 0))

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Return what was encoded."""
        return msgspec.json.decode(encoded, type=cls)


class Started(Struct, frozen=True):
    """What a start has to tell: init's pid on the host, the binds that were skipped, and what else is worth knowing."""

    pid: int
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


class StartFailed(BerthError):
    """A start failed in an orderly way: everything is undone."""
