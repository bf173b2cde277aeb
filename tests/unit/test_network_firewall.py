"""What the firewall is to have: its rules for iptables and nftables, and when they are put back."""

from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.network.firewall import ALL_LINKS, SEGMENTS, Ground, Guest, chains_of, most_connections, without_bounds
from berth.network.firewall_news import Patience
from berth.network.iptables import Iptables
from berth.network.iptables_text import JUMPS, emptied, missing_jumps, removal_text, rules_text
from berth.network.nft_expressions import NEW_RULE, removing, replacing
from berth.spec import Port

SUBNET = "172.28.0.0/16"


GUEST = Guest(name="web", link="berth0a0b0c0d", address="172.28.0.9", ports=(Port(8080, 80), Port(7, 7, 3, "udp")))


def ground(*guests: Guest) -> Ground:
    own = ("127.0.0.1", "192.0.2.2")
    return Ground(subnet=SUBNET, gateway="172.28.0.1", most=300, addresses=own, guests=guests)


def test_every_rule_is_in_a_chain_of_berths_and_about_containers_alone() -> None:
    text = rules_text(chains_of(ground(GUEST)))

    for line in text.splitlines():
        assert line.startswith(("*", ":BERTH-", "-A BERTH-", "COMMIT")), line
        if line.startswith("-A") and "-j BERTH-" not in line and "--to-destination" not in line:
            own = ("berth0a0b0c0d", ALL_LINKS, SUBNET, f"-i {SEGMENTS} ")
            assert any(part in line for part in own), line


def test_the_phone_hears_only_what_comes_from_containers_themselves() -> None:
    def admitted(ground: Ground) -> list[str]:
        lines = rules_text(chains_of(ground)).splitlines()
        return [line.removeprefix("-A BERTH-INPUT -i berth+ ") for line in lines if line.startswith("-A BERTH-INPUT")]

    answers = [f"-s {SUBNET} -d 172.28.0.1 -p {protocol} --dport 53 -j ACCEPT" for protocol in ("udp", "tcp")]
    assert admitted(ground()) == [
        "-d 127.0.0.0/8 -j DROP",
        "-p udp --dport 67 -j ACCEPT",
        f"! -s {SUBNET} -j DROP",
        *answers,
    ]
    six = Ground(subnet="fd00::/64", gateway="fd00::1", family=6)
    assert admitted(six)[:4] == [
        "-d ::1/128 -j DROP",
        "-s fe80::/10 -j RETURN",
        "-s ::/128 -j RETURN",
        "! -s fd00::/64 -j DROP",
    ]


def test_a_port_is_led_to_its_container_from_the_phones_own_addresses_only() -> None:
    lines = rules_text(chains_of(ground(GUEST))).splitlines()

    assert "-A BERTH-LOCAL -d 192.0.2.2 -j BERTH-PORTS" in lines
    assert "-A BERTH-LOCAL -d 172.28.0.1 -j BERTH-PORTS" in lines
    assert not any("-d 127.0.0.1" in line for line in lines)
    says = '-m comment --comment "web"'
    assert f"-A BERTH-PORTS -p tcp --dport 8080 {says} -j DNAT --to-destination 172.28.0.9:80" in lines
    assert f"-A BERTH-PORTS -p udp --dport 7:9 {says} -j DNAT --to-destination 172.28.0.9" in lines


@pytest.mark.parametrize(
    ("port", "rule"),
    [
        (Port(80, 80, bind="127.0.0.1"), None),
        (Port(80, 80, bind="::1"), None),
        (Port(80, 80, bind="2001:db8::1"), None),
        (Port(80, 80, bind="192.0.2.2"), "-d 192.0.2.2 -p tcp --dport 80"),
        (Port(80, 80, bind="0.0.0.0"), "-A BERTH-PORTS -p tcp --dport 80"),
        (Port(80, 90, 2), "-p tcp --dport 81"),
    ],
)
def test_where_a_port_is_bound_decides_its_rule(port: Port, rule: str | None) -> None:
    guest = Guest(name="web", link="berth0a0b0c0d", address="172.28.0.9", ports=(port,))
    made = [line for line in rules_text(chains_of(ground(guest))).splitlines() if "DNAT --to-destination" in line]

    assert (rule is None and not made) or any(rule is not None and rule in line for line in made)


def test_new_connections_are_counted_for_each_source_and_on_lans_of_gateways_for_all() -> None:
    text = rules_text(chains_of(ground(GUEST)))

    bound = "-m conntrack --ctstate NEW -m connlimit --connlimit-above 300"
    assert f"-A BERTH-CROWD -i {ALL_LINKS} {bound} -j DROP\n" in text
    assert f"-A BERTH-CROWD -i {SEGMENTS} {bound} --connlimit-mask 0 -j DROP\n" in text
    rest = rules_text(without_bounds(chains_of(ground(GUEST))))
    assert rest.splitlines() == [line for line in text.splitlines() if "connlimit" not in line]


@pytest.mark.parametrize(
    "said",
    [
        "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?",
        "Can't lock /run/xtables.lock: Resource temporarily unavailable",
    ],
)
def test_connections_are_counted_after_a_moment_in_which_another_program_held_the_lock(
    said: str, tmp_path: Path
) -> None:
    """As netd may for longer than iptables waits; bounds are given up where there is no match for them alone."""
    held, rules = tmp_path / "held", tmp_path / "rules"
    tool = tmp_path / "iptables-restore"
    tool.write_text(f'#!/bin/sh\nif [ -e {held} ]; then rm {held}; echo "{said}" >&2; exit 4; fi\ncat > {rules}\n')
    tool.chmod(0o755)
    held.touch()
    firewall = Iptables(str(tmp_path), 4)

    with pytest.raises(BerthError, match=r"xtables.lock"):
        firewall.begin(ground(GUEST))
    firewall.begin(ground(GUEST))

    assert "connlimit" in rules.read_text()


@pytest.mark.parametrize(("table", "most"), [("8192", 4096), ("262144", 16384), ("0", 0), ("", 0), (None, 0)])
def test_the_bound_is_half_of_what_the_phone_remembers_and_no_more_than_it_can_look_through(
    table: str | None, most: int
) -> None:
    assert most_connections(table) == most


def test_others_come_before_the_door_is_closed_behind_a_container() -> None:
    other = Guest(name="db", link="berth0a0b0c0e", address="172.28.0.10")
    lines = [line for line in rules_text(chains_of(ground(GUEST, other))).splitlines() if "BERTH-FORWARD " in line]

    admitted = [n for n, line in enumerate(lines) if "-o berth" in line and line.endswith("ACCEPT")]
    refused = [n for n, line in enumerate(lines) if f"-o {ALL_LINKS}" in line and line.endswith("DROP")]
    assert len(admitted) == 4  # other containers, answers, and two ports
    assert max(admitted) < min(refused)


def test_a_container_without_ports_changes_nothing_in_the_firewall() -> None:
    other = Guest(name="db", link="berth0a0b0c0e", address="172.28.0.10")

    assert chains_of(ground(GUEST, other)) == chains_of(ground(GUEST))


def test_nftables_gets_every_rule_and_is_replaced_as_a_whole() -> None:
    chains = chains_of(ground(GUEST))
    messages = replacing(4, chains, clamp=True)

    rules = [body for kind, _, body in messages if kind == NEW_RULE]
    assert sum(b"connlimit" in body for body in rules) == 2
    assert len(rules) == sum(map(len, chains.values())) + len(chains["LOCAL"])  # which two hooks lead to
    assert len(rules) - len([m for m in replacing(4, chains, clamp=False) if m[0] == NEW_RULE]) == len(chains["MSS"])
    assert messages[: len(removing(4))] == removing(4)
    assert sum(b"web\0" in body for body in rules) == sum(bool(line.guest) for part in chains.values() for line in part)


def test_jumps_that_are_missing_are_found_and_all_is_taken_back() -> None:
    saved = "*filter\n:INPUT ACCEPT [0:0]\n:BERTH-FORWARD - [0:0]\n-A FORWARD -j BERTH-FORWARD\n-A FORWARD -j tether\n"

    missing = missing_jumps(saved)

    assert ("filter", "FORWARD", "BERTH-FORWARD") not in missing
    assert ("nat", "OUTPUT", "BERTH-LOCAL") in missing
    assert len(missing) == sum(len(builtins) for chains in JUMPS.values() for builtins in chains.values()) - 1
    taken_back = "*filter\n-D FORWARD -j BERTH-FORWARD\n-F BERTH-FORWARD\n-X BERTH-FORWARD\nCOMMIT\n"
    assert removal_text(saved) == taken_back
    assert removal_text("*filter\n-A FORWARD -j tether\nCOMMIT\n") == ""


def test_a_chain_that_lost_its_rules_is_found() -> None:
    chains = chains_of(ground(GUEST))
    whole = "".join(f"-A BERTH-{chain} -j ACCEPT\n" for chain in chains)

    assert not emptied(whole, chains)
    assert emptied(whole.replace("-A BERTH-PORTS -j ACCEPT\n", ""), chains)


def test_what_is_broken_again_and_again_is_mended_less_and_less_often() -> None:
    patience, now, waited = Patience(0.03), 100.0, []
    for _ in range(14):
        waited.append(patience.seconds(now))
        patience.mended(now := now + waited[-1])

    assert waited[:3] == [0.03, 0.06, 0.12]
    assert waited[-1] == 60
    assert patience.seconds(now + 200) == 0.03
