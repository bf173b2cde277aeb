"""What the API takes and gives, as types: requests are validated by them and the OpenAPI document is made from them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from berth.engine.containers import Condition
from berth.engine.details import Details
from berth.engine.narration import Entry
from berth.engine.requirements import Requirement
from berth.service.operations import Operation
from berth.service.terminal import Terminal
from berth.spec import Name, Network, Port, Spec, WakelockPolicy

Seconds = Annotated[float, Meta(ge=0, le=86400)]
Bytes = Annotated[int, Meta(ge=1 << 20, le=1 << 50)]
Rows = Annotated[int, Meta(ge=1, le=1000)]
Word = Annotated[str, Meta(min_length=1, max_length=64)]
Base64 = Annotated[str, Meta(max_length=131072, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request."""


class Nothing(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty object."""


class SpecRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container to save."""

    spec: Spec


class StartRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for one start only; `volatile_size` is in bytes, half of the memory where it is null."""

    volatile: bool = False
    volatile_size: Bytes | None = None


class PlanRequest(StartRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container that need not be saved, and how it would be started."""

    spec: Spec


class StopRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many seconds it is killed."""

    timeout: Seconds = 30.0


class RenameRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new name."""

    name: Name


class PortsRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ports to show and ports to hide; one that is to be hidden is named by what the phone has of it."""

    add: Annotated[tuple[Port, ...], Meta(max_length=1024)] = ()
    remove: Annotated[tuple[Port, ...], Meta(max_length=1024)] = ()


class TerminalRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program to run in a terminal; with an empty `argv` the user's login shell."""

    container: Name
    user: Word = "root"
    rows: Rows = 24
    columns: Rows = 80
    argv: Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=256)] = ()


class InputRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes typed by `writer`, numbered from 1; a number that was taken already is ignored."""

    writer: Word
    number: Annotated[int, Meta(ge=1, le=1 << 53)]
    data: Base64


class ConsoleInput(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes typed at a console."""

    data: Base64


class SizeRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The size of a terminal, in characters."""

    rows: Rows
    columns: Rows


class TokenRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token is called, and whether it is for a page: those are forgotten when there are too many."""

    name: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$")]
    page: bool = False


class PairRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ticket that `berth dashboard` has made."""

    ticket: Annotated[str, Meta(min_length=1, max_length=128)]


class ProofRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token's id, and random bytes in hexadecimal that have never been used before."""

    id: Word
    nonce: Annotated[str, Meta(pattern=r"^[0-9a-f]{32,128}$")]


class SettingsRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set; what is left out stays.

    `autostart` is the order in which those start that start with the device: each then waits for the one before it.
    """

    safe_mode: bool | None = None
    history: bool | None = None
    autostart: Annotated[tuple[Name, ...], Meta(max_length=4096)] | None = None


class FileRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the device by its absolute `path`, or its `text`, which may come from elsewhere."""

    path: Annotated[str, Meta(max_length=4096)] = ""
    text: Annotated[str, Meta(max_length=32768)] | None = None


class ConfigurationRequest(FileRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of `--conf`; with `net_chosen` it doesn't matter that its network is not known here."""

    net_chosen: bool = False


class Subscription(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that a stream tells of; `id` is the page's own word for it."""

    id: Word
    kind: Literal["events", "statistics", "log", "terminal", "console"]
    container: Annotated[str, Meta(max_length=64)] = ""
    containers: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()
    seconds: Annotated[float, Meta(ge=1, le=60)] = 2.0
    cursor: Annotated[str, Meta(max_length=64)] = ""
    terminal: Annotated[str, Meta(max_length=64)] = ""
    position: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class StreamRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a stream tells of from its beginning."""

    subscriptions: Annotated[tuple[Subscription, ...], Meta(max_length=64)] = ()


class StreamChange(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a stream tells of from now on, and what no more."""

    add: Annotated[tuple[Subscription, ...], Meta(max_length=64)] = ()
    drop: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()


class Summary(Struct, frozen=True, kw_only=True):
    """A container in a list; `address` is the one that Berth gave it, `error` says why its settings can't be read."""

    name: str
    state: Condition
    pid: int | None = None
    root: str | None = None
    image: bool = False
    network: Network | None = None
    address: str | None = None
    started_at: float | None = None
    autostart: bool = False
    last_end: str | None = None
    error: str | None = None


class Summaries(Struct, frozen=True):
    """All containers, by name."""

    containers: tuple[Summary, ...]


class Container(Struct, frozen=True, kw_only=True):
    """One container: what is saved (null for one that only runs), and all there is to tell."""

    spec: Spec | None
    details: Details


class HistoryPoint(Struct, frozen=True, kw_only=True):
    """What was used at a moment: percent of one processor since the point before, bytes; null where it did not run."""

    at: float
    cpu: float | None = None
    memory: int | None = None


class HistoryAnswer(Struct, frozen=True):
    """A history, oldest first; `on` says whether one is kept, `seconds` how often at most something is written down."""

    on: bool
    seconds: float
    points: tuple[HistoryPoint, ...]


class ReadConfiguration(Struct, frozen=True):
    """What a file asks for, and what there is to say about it; it need not name a root."""

    spec: Spec
    remarks: tuple[str, ...]


class ReadVariables(Struct, frozen=True):
    """Variables by name."""

    env: dict[str, str]


class Removed(Struct, frozen=True):
    """A container that was forgotten, and its root, which stays."""

    name: str
    root: str


class PlanAnswer(Struct, frozen=True, kw_only=True):
    """What a start would do, in words; `running` says that this is what the start of a running one did."""

    name: str
    running: bool
    skipped: tuple[str, ...]
    groups: dict[str, tuple[Entry, ...]]


class Process(Struct, frozen=True, kw_only=True):
    """A process in a container; `inner_pid` is what it is called inside, `memory` in bytes, `cpu_time` in seconds."""

    pid: int
    inner_pid: int
    user: str
    command: str
    state: str
    memory: int
    cpu_time: float


class Processes(Struct, frozen=True):
    """The processes in a container, by pid."""

    processes: tuple[Process, ...]


class Log(Struct, frozen=True):
    """The end of a log; `cursor` is where a stream goes on."""

    text: str
    cursor: str


class Check(Struct, frozen=True):
    """What the device has and lacks; `fulfilled` says that containers can run."""

    fulfilled: bool
    requirements: tuple[Requirement, ...]


class Service(Struct, frozen=True, kw_only=True):
    """The service; `port` is null while the web process does not listen."""

    version: str
    pid: int | None
    port: int | None
    running: bool


class OperationList(Struct, frozen=True):
    """Operations, oldest first, without their logs."""

    operations: tuple[Operation, ...]


class Terminals(Struct, frozen=True):
    """Terminals, oldest first."""

    terminals: tuple[Terminal, ...]


class Taken(Struct, frozen=True):
    """The number of the last input that was taken."""

    number: int


class AutostartEntry(Struct, frozen=True):
    """A container that starts with the service, and those of the others that it waits for."""

    name: str
    start_after: tuple[str, ...]


class WakelockEntry(Struct, frozen=True):
    """A container that keeps the device awake, and when."""

    name: str
    policy: WakelockPolicy


class Settings(Struct, frozen=True, kw_only=True):
    """What holds for all containers.

    In safe mode nothing starts by itself; `kept_back` tells what does not, and why, in safe mode and without.
    `history` says that what is used is written down every few minutes, `autostart` is in the order of the starts.
    """

    safe_mode: bool
    history: bool
    kept_back: dict[str, str]
    autostart: tuple[AutostartEntry, ...]
    wakelock: tuple[WakelockEntry, ...]


class TokenEntry(Struct, frozen=True, kw_only=True):
    """A token without its secret; `current` is the one that this request came with."""

    id: str
    name: str
    uid: int
    created_at: float
    used_at: float | None
    current: bool


class Tokens(Struct, frozen=True):
    """Tokens, oldest first."""

    tokens: tuple[TokenEntry, ...]


class App(Struct, frozen=True, kw_only=True):
    """An app that is paired: its packages (elsewhere than on Android the user), and how many tokens it has."""

    uid: int
    names: tuple[str, ...]
    tokens: int
    used_at: float | None
    current: bool


class Apps(Struct, frozen=True):
    """Paired apps, by uid."""

    apps: tuple[App, ...]


class NewToken(Struct, frozen=True):
    """A token with its secret, told this once."""

    token: str
    id: str
    name: str


class Proof(Struct, frozen=True):
    """HMAC-SHA256 over `berth HOST NONCE`, in hexadecimal; its key is the SHA-256 of the token."""

    proof: str


class AuditEntry(Struct, frozen=True):
    """Who did what, and what came of it."""

    at: float
    who: str
    uid: int
    what: str
    status: int


class Audit(Struct, frozen=True):
    """What was done lately, newest last."""

    entries: tuple[AuditEntry, ...]


class Report(Struct, frozen=True):
    """A report of a bug, without names and addresses."""

    text: str


class Problem(Struct, frozen=True, kw_only=True):
    """Why there is no answer, as RFC 9457 has it; `detail` is the sentence to show."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
