"""Every command and flag of `berth`, in one table that the parser, help and completion all read."""

from __future__ import annotations


class Flag:
    """A flag as it may be written.

    `kind` decides what it takes: "switch" nothing (`--flag=no` switches a saved one off), "text" one value, "list"
    values split at commas and "each" values kept whole, both repeatable, "pairs" two values, repeatable.  `value`
    names the value in help; `choices` are the words it is made of, where those are fixed.
    """

    __slots__ = ("aliases", "choices", "kind", "name", "short", "summary", "value")

    def __init__(
        self,
        name: str,
        kind: str,
        summary: str,
        *,
        short: str = "",
        value: str = "",
        choices: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.summary = summary
        self.short = short
        self.value = value
        self.choices = choices
        self.aliases = aliases

    @property
    def arity(self) -> int:
        """How many values it takes."""
        return {"switch": 0, "pairs": 2}.get(self.kind, 1)


class Command:
    """A command: how many `containers` and further `words` it takes, each as (least, most), and its flags.

    `rest` says that the words are another program's command line, to be passed on untouched.
    """

    __slots__ = ("containers", "flags", "name", "rest", "summary", "usage", "words")

    def __init__(
        self,
        name: str,
        usage: str,
        summary: str,
        *,
        containers: tuple[int, int] = (0, 0),
        words: tuple[int, int] = (0, 0),
        flags: tuple[Flag, ...] = (),
        rest: bool = False,
    ) -> None:
        self.name = name
        self.usage = usage
        self.summary = summary
        self.containers = containers
        self.words = words
        self.flags = (*flags, HELP)
        self.rest = rest

    def flag(self, spelled: str) -> Flag | None:
        """Its flag written `spelled` (--name or -n); None where it has no such flag."""
        if spelled.startswith("--"):
            name = spelled[2:]
            return next((flag for flag in self.flags if name == flag.name or name in flag.aliases), None)
        return next((flag for flag in self.flags if spelled[1:] == flag.short), None)


NETWORKS = ("host", "nat", "lan", "gateway", "none")
FSCK_POLICIES = ("auto", "always", "never")
WAKELOCK_POLICIES = ("never", "running", "charging")
PRIVILEGES = ("nomask", "nocaps", "noseccomp", "unfiltered-dev")
HOOK_STAGES = ("prestart", "prechroot", "poststop")
SHELLS = ("bash", "mksh")

# Flags of Droidspaces whose feature is not here yet: said so, rather than "did you mean".
NOT_YET = (
    "gateway-bridge",
    "gpu", "virgl", "virgl-flags", "pulse-audio", "termux-x11", "tx11-flags", "allow-userns",
    "enable-android-storage",
)  # fmt: skip

# What other programs of this kind call these commands.
OTHER_NAMES = {
    "attach": "console",
    "create": "start",
    "delete": "rm",
    "exec": "run",
    "kill": "stop",
    "log": "logs",
    "ls": "list",
    "ps": "show",
    "remove": "rm",
    "shell": "enter",
    "status": "info",
}

NAME = Flag("name", "text", "The container.", short="n", value="NAME")
NAMES = Flag("name", "text", "The containers.", short="n", value="NAME[,NAME]")
HELP = Flag("help", "switch", "Show this.")
JSON = Flag("json", "switch", "Print JSON for programs.")
ROOTFS = Flag("rootfs", "text", "Directory that is its root.", short="r", value="DIR")
HOSTNAME = Flag("hostname", "text", "Its host name.", short="h", value="HOST")
NET = Flag(
    "net",
    "text",
    "The device's network, one of its own behind NAT, a place on the device's LAN or another container's, or nothing.",
    value="host|nat|lan|gateway|none",
    choices=NETWORKS,
)
NAT = (
    Flag("port", "list", "NAT: show its ports as the device's.", value="[ADDR:]HOST[:CONT][/tcp|udp]"),
    Flag("ip", "text", "NAT, LAN: its address.", value="ADDRESS", aliases=("nat-ip",)),
    Flag("upstream", "list", "NAT: leave by the first of these interfaces that is up.", value="LINK"),
    Flag("isolated", "switch", "NAT: keep other containers away."),
    Flag("bridge", "switch", "NAT: a link to the others on the bridge berth0, not to the device alone."),
    Flag("disable-ipv6", "switch", "NAT: without IPv6."),
    Flag("bandwidth-down", "text", "NAT: limit of what it receives a second.", value="SIZE"),
    Flag("bandwidth-up", "text", "NAT: limit of what it sends a second.", value="SIZE"),
)
LAN = (
    Flag("lan", "switch", "Short for --net=lan."),
    Flag("lan-iface", "text", "LAN: the device's interface to it.", value="LINK"),
    Flag("gateway", "text", "Gateway: the container that is the router.", value="NAME", aliases=("gateway-container",)),
    Flag("gateway-net", "text", "Gateway: which of its LANs; lan where not given.", value="LAN"),
    Flag("gateway-iface", "text", "Gateway: what it calls that; eth1 where not given.", value="LINK"),
)
ENV = Flag("env", "each", "Set a variable.", value="KEY=VALUE")
ENV_FILE = Flag("env-file", "each", "Read variables from a file.", short="E", value="FILE")
ALL = Flag("all", "switch", "All running containers.")
TIMEOUT = Flag("timeout", "text", "Kill it after so many seconds.", value="SECONDS")

LIMITS = (
    Flag("memory", "text", "Limit of memory, such as 1G.", short="m", value="SIZE"),
    Flag("cpus", "text", "Limit of processors, such as 1.5.", value="NUMBER"),
    Flag("pids-limit", "text", "Limit of processes.", value="NUMBER"),
)
SECURITY = (
    Flag(
        "privileged",
        "list",
        "Lift protections: nomask, nocaps, noseccomp, unfiltered-dev; full lifts all.",
        value="WHAT",
        choices=(*PRIVILEGES, "full"),
    ),
    Flag("cap-add", "list", "Leave it a capability.", value="CAP"),
    Flag("cap-drop", "list", "Take a capability away.", value="CAP"),
    Flag("block-nested-namespaces", "switch", "Deadlock shield, for kernels like 4.14 that hang with systemd."),
    Flag("keyring-filter", "switch", "Hide the kernel's keyrings; always on below kernel 5.0."),
)
SPEC = (
    ROOTFS,
    Flag("rootfs-img", "text", "ext4 image or block device that is its root.", short="i", value="FILE"),
    HOSTNAME,
    Flag("init", "text", "Its first program; /sbin/init where not given.", value="PATH"),
    Flag("volatile", "switch", "Keep changes in memory, for this start only.", short="V"),
    Flag("volatile-size", "text", "Room for them; half of memory where not given.", value="SIZE"),
    NET,
    *NAT,
    *LAN,
    Flag("bind-mount", "list", "Show a path of the device inside.", short="B", value="SRC:DST[:ro]", aliases=("bind",)),
    ENV,
    ENV_FILE,
    Flag("dns", "list", "Name servers.", short="d", value="ADDRESS"),
    *LIMITS,
    *SECURITY,
    Flag("force-cgroupv1", "switch", "Show cgroup v1 inside."),
    Flag("hw-access", "switch", "Give it the device's hardware.", short="H"),
    Flag("keep-groups", "switch", "Add none of Android's network groups."),
    Flag("oom-score-adj", "text", "When memory runs out: -1000 never kills it, 1000 kills it first.", value="NUMBER"),
    Flag(
        "wakelock",
        "text",
        "Keep the device awake never, while it runs, or while it runs and the device has power.",
        value="never|running|charging",
        choices=WAKELOCK_POLICIES,
    ),
    Flag("selinux-permissive", "switch", "While it runs, SELinux forbids nothing on the whole device."),
    Flag("hook", "each", "Run a program at prestart, prechroot or poststop.", value="STAGE=PATH"),
    Flag("fsck", "text", "When to check an image first.", value="auto|always|never", choices=FSCK_POLICIES),
    Flag("autostart", "switch", "Start it with the service."),
    Flag("start-after", "list", "Wait for these containers then.", value="NAME"),
    Flag("conf", "text", "Read it from a file of Berth or Droidspaces.", short="C", value="FILE", aliases=("config",)),
    Flag("reset", "switch", "Forget what was saved, but for the root."),
)
ONE_OFF = (
    Flag("rm", "switch", "One-off: in a fresh read-only container, gone afterwards."),
    ROOTFS,
    Flag("map", "pairs", "With --rm: show SRC at DST, read-only.", value="SRC DST"),
    Flag("vol", "pairs", "With --rm: show SRC at DST, writable.", value="SRC DST"),
    Flag("init", "switch", "With --rm: run the program under a small reaper."),
    HOSTNAME,
    NET,
    *LIMITS,
    *SECURITY,
)
ENTER = (NAME, ENV, ENV_FILE)
YES = Flag("yes", "switch", "Do not ask.", short="y")
START = (NAME, *SPEC, Flag("foreground", "switch", "Stay, attached to its console.", short="f"), YES, JSON)
STOP = (NAMES, ALL, TIMEOUT, JSON)
RUN = (NAME, Flag("user", "text", "As this user.", short="u", value="USER"), ENV, ENV_FILE, *ONE_OFF)
LOGS = (
    NAME,
    Flag("follow", "switch", "Go on as it grows.", short="f"),
    Flag("lines", "text", "Only so many of the last lines.", value="NUMBER"),
    JSON,
)
LIST = (Flag("names", "switch", "Only the names."), JSON)
RM = (NAME, YES, JSON)
DASHBOARD = (Flag("uid", "text", "For the browser of this user; the one who used sudo, or root.", value="UID"), JSON)
API = (Flag("stream", "switch", "Print the frames of a stream."),)
SERVE = (
    Flag("background", "switch", "Detach from the terminal."),
    Flag("end", "switch", "End the service that runs; containers go on."),
    Flag("no-dashboard", "switch", "Without the dashboard, which needs some 30 MB."),
    JSON,
)

SAFE_MODE = (Flag("again", "switch", "Start them, and let them start by themselves again."), JSON)

MANY = 1 << 16  # more words than a command line holds

NET_USAGE = "[diagnose|port|subnet ...]"

_ROWS = (
    Command("start", "[NAME]", "Start a container and save it.", containers=(0, 1), flags=START),
    Command("demo", "[NAME]", "Start a tiny container that comes with Berth.", containers=(0, 1), flags=(NAME, JSON)),
    Command("stop", "NAME...", "Stop containers.", containers=(1, MANY), flags=STOP),
    Command("restart", "NAME...", "Stop containers, start them again.", containers=(1, MANY), flags=STOP),
    Command("enter", "NAME [USER]", "Open a shell inside.", containers=(1, 1), words=(0, 1), flags=ENTER),
    Command(
        "run", "NAME [--] CMD...", "Run a program inside.", containers=(1, 1), words=(1, MANY), flags=RUN, rest=True
    ),
    Command("console", "NAME", "Attach to its console; Ctrl-] detaches.", containers=(1, 1), flags=(NAME,)),
    Command("logs", "NAME", "Print what its console said.", containers=(1, 1), flags=LOGS),
    Command("show", "", "List the running containers.", flags=(JSON,)),
    Command("list", "", "List all containers.", flags=LIST),
    Command("info", "[NAME]", "Tell about a container or the device.", containers=(0, 1), flags=(NAME, JSON)),
    Command("net", NET_USAGE, "Tell who is on the network, and which way it goes.", words=(0, MANY), flags=(JSON,)),
    Command("plan", "[NAME]", "Tell what a start would do, and why.", containers=(0, 1), flags=(NAME, *SPEC, JSON)),
    Command("rename", "OLD NEW", "Give a container another name.", containers=(1, 1), words=(1, 1), flags=(NAME, JSON)),
    Command("rm", "NAME", "Forget a container; its root stays.", containers=(1, 1), flags=RM),
    Command("recover", "[NAME...]", "Undo what a crash left.", containers=(0, MANY), flags=(NAMES, JSON)),
    Command("safe-mode", "", "Tell what does not start by itself, and why.", flags=SAFE_MODE),
    Command("scan", "", "Find running containers without records.", flags=(JSON,)),
    Command("check", "", "Tell what this device has and lacks.", flags=(JSON,)),
    Command("updates", "", "Look for a newer version of Berth.", flags=(JSON,)),
    Command("events", "[NAME...]", "Print what happens, as it happens.", containers=(0, MANY), flags=(NAMES, JSON)),
    Command("serve", "", "Be the service.", flags=SERVE),
    Command("dashboard", "", "Open the dashboard, or print a link that does.", flags=DASHBOARD),
    Command("api", "METHOD PATH [BODY]", "Ask the dashboard's API, for its page.", words=(0, 3), flags=API),
    Command("version", "", "Print the version.", flags=(JSON,)),
    Command("help", "[COMMAND]", "Explain a command.", words=(0, 1)),
    Command("completion", "|".join(SHELLS), "Print a completion script.", words=(1, 1)),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _ROWS}
