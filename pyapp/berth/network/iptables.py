"""Carries rules out by the system's own iptables, the one tool every Android has.

netd, Docker and others change the same tables at the same time, so every call waits for the lock (`-w`), and only whole
chains of Berth's own are replaced, each in one transaction.
"""

import re
import subprocess
from typing import Final

from berth.errors import BerthError
from berth.network.firewall import Chains, Ground, chains_of, without_bounds
from berth.network.iptables_text import emptied, missing_jumps, removal_text, rules_text
from berth.network.model import Family

_NAMES: Final[dict[Family, str]] = {4: "iptables", 6: "ip6tables"}
_WAIT_SECONDS: Final = "5"
_LOCK: Final = re.compile("xtables.lock")  # which every version says of it, some by the name of its file


class Iptables:
    """The firewall of one address family; `folder` is where the tools are."""

    kind = "iptables"

    def __init__(self, folder: str, family: Family) -> None:
        self._save = [f"{folder}/{_NAMES[family]}-save"]
        self._restore = [f"{folder}/{_NAMES[family]}-restore", "--noflush", "-w", _WAIT_SECONDS]
        self._applied: Chains | None = None
        self._bounds = True

    def apply(self, ground: Ground, *, check: bool) -> bool:
        """Make the rules those of `ground`; with `check`, put back what another program took away.

        Tells whether anything had to be done.  Raises BerthError with what iptables said.
        """
        chains = self._chains(ground)
        saved = self._saved() if check else ""
        missing = missing_jumps(saved) if check else ()
        if chains == self._applied and not missing and not (check and emptied(saved, chains)):
            return False
        self._applied = None
        self._replace(chains, missing)
        return True

    def begin(self, ground: Ground) -> None:
        """Make the rules for the first time; raises BerthError.

        Nothing is read before: a jump that is there already is doubled, and both are taken away at the end.
        """
        self._applied = None
        self._replace(self._chains(ground), missing_jumps(""))

    def remove(self) -> None:
        """Take away all of Berth's; raises BerthError."""
        self._applied = None
        if text := removal_text(self._saved()):
            self._run(self._restore, text)

    def missing(self) -> tuple[str, ...]:
        """Return, in words, the jumps to Berth's chains that are not there; raises BerthError."""
        return tuple(f"{builtin} -> {chain} (table {table})" for table, builtin, chain in missing_jumps(self._saved()))

    def has_nat(self) -> bool:
        """Tell whether tool and kernel can translate addresses of this family: many phones can't for IPv6."""
        try:
            return subprocess.run([*self._save, "-t", "nat"], capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def _chains(self, ground: Ground) -> Chains:
        chains = chains_of(ground)
        return chains if self._bounds else without_bounds(chains)

    def _replace(self, chains: Chains, missing: tuple[tuple[str, str, str], ...]) -> None:
        """Make the chains; where that fails it is tried without bounds, for which not every kernel has a match.

        Not where another program held the lock: what would be done without is done without ever after.
        """
        try:
            self._run(self._restore, rules_text(chains, missing))
        except BerthError as error:
            rest = without_bounds(chains)
            if rest == chains or _LOCK.search(str(error)):
                raise
            self._run(self._restore, rules_text(rest, missing))
            self._bounds, chains = False, rest
        self._applied = chains

    def _saved(self) -> str:
        return self._run(self._save, "")

    @staticmethod
    def _run(command: list[str], text: str) -> str:
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BerthError(f"{command[0]}: {error.strerror}; the firewall can't be set up by it") from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            raise BerthError(f"{command[0]}: {said[0]}; the firewall was not changed")
        return done.stdout
