"""The firewall's rules as text for iptables-restore: chains of Berth's own and no other.

The built-in chains get one jump each.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from berth.network.firewall import Chains, Line

_PREFIX: Final = "BERTH-"
JUMPS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "filter": {"FORWARD": ("FORWARD",), "INPUT": ("INPUT",)},
    "nat": {"LOCAL": ("PREROUTING", "OUTPUT"), "PORTS": (), "POSTROUTING": ("POSTROUTING",)},
    "mangle": {"CROWD": ("PREROUTING",), "MSS": ("FORWARD",)},
}
"""By table, Berth's chains and the built-in ones that jump to each."""

_STATES: Final = {"new": "NEW", "known": "RELATED,ESTABLISHED", "translated": "DNAT"}


def rules_text(chains: Chains, missing: Iterable[tuple[str, str, str]] = ()) -> str:
    """Return the input of `iptables-restore --noflush` that makes Berth's chains what they must be, as a whole.

    `missing` are the jumps (table, built-in chain, Berth's chain) that have to be put first in their chain as well.
    """
    lines: list[str] = []
    for table, content in JUMPS.items():
        lines += [f"*{table}", *(f":{_PREFIX}{chain} - [0:0]" for chain in content)]
        lines += [f"-A {_PREFIX}{chain} {_text(line)}" for chain in content for line in chains[chain]]
        lines += [f"-I {builtin} 1 -j {chain}" for where, builtin, chain in missing if where == table]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def missing_jumps(saved: str) -> tuple[tuple[str, str, str], ...]:
    """Return the jumps that `saved`, the output of iptables-save, does not have."""
    there = set(_jumps_in(saved))
    wanted = (
        (table, builtin, f"{_PREFIX}{chain}")
        for table, chains in JUMPS.items()
        for chain in chains
        for builtin in chains[chain]
    )
    return tuple(jump for jump in wanted if jump not in there)


def emptied(saved: str, chains: Chains) -> bool:
    """Tell whether `saved` has no rule in one of Berth's chains that is to hold some."""
    there = {line.split(" ", 2)[1] for line in saved.splitlines() if line.startswith(f"-A {_PREFIX}")}
    return any(lines and f"{_PREFIX}{chain}" not in there for chain, lines in chains.items())


def removal_text(saved: str) -> str:
    """Return the input of `iptables-restore --noflush` that takes away all of Berth's that `saved` has; "" for none."""
    table = ""
    jumps: dict[str, list[str]] = {}
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        table = line[1:] if line.startswith("*") else table
        chain = line[1:].partition(" ")[0]
        if line.startswith(f":{_PREFIX}"):
            chains.setdefault(table, []).append(chain)
    for where, builtin, chain in _jumps_in(saved):
        jumps.setdefault(where, []).append(f"-D {builtin} -j {chain}")
    lines: list[str] = []
    for where in dict.fromkeys((*jumps, *chains)):
        own = chains.get(where, [])
        lines += [f"*{where}", *jumps.get(where, ()), *(f"-F {chain}" for chain in own)]
        lines += [*(f"-X {chain}" for chain in own), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def _jumps_in(saved: str) -> Iterator[tuple[str, str, str]]:
    table = ""
    for line in saved.splitlines():
        table = line[1:] if line.startswith("*") else table
        match line.split():
            case ["-A", builtin, "-j", chain] if chain.startswith(_PREFIX) and not builtin.startswith(_PREFIX):
                yield table, builtin, chain


def _text(line: Line) -> str:
    words = [
        *_condition("-i", line.came_by),
        *_condition("-o", line.leaves_by),
        *_condition("-s", line.source),
        *_condition("-d", line.destination),
        *_condition("-p", line.protocol),
    ]
    if line.verdict == "clamp":
        words.append("--tcp-flags SYN,RST SYN")
    if line.ports is not None:
        first, last = line.ports
        words.append(f"--dport {first}" if first == last else f"--dport {first}:{last}")
    if line.state:
        words.append(f"-m conntrack --ctstate {_STATES[line.state]}")
    if line.most:
        words.append(f"-m connlimit --connlimit-above {line.most}{' --connlimit-mask 0' if line.together else ''}")
    if line.guest:
        words.append(f'-m comment --comment "{line.guest}"')
    return " ".join((*words, "-j", _target(line)))


def _condition(option: str, value: str) -> tuple[str, ...]:
    if not value:
        return ()
    return ("!", option, value[1:]) if value.startswith("!") else (option, value)


def _target(line: Line) -> str:
    match line.verdict:
        case "ports":
            return f"{_PREFIX}PORTS"
        case "translate" if line.target_port:
            address = f"[{line.target}]" if ":" in line.target else line.target
            return f"DNAT --to-destination {address}:{line.target_port}"
        case "translate":
            return f"DNAT --to-destination {line.target}"
        case "clamp":
            return "TCPMSS --clamp-mss-to-pmtu"
        case plain:
            return plain.upper()
