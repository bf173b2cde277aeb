"""What is to be known of a container's network before it starts."""

from berth.spec import Spec


def network_warnings(spec: Spec) -> tuple[str, ...]:
    """Return what its network can't do, in sentences."""
    found = []
    if spec.net == "lan":
        found.append(
            "--net=lan: the phone and this container can't reach each other by this network, and many Wi-Fi drivers "
            "and access points let only the phone's own address through; where the container gets no address or no "
            "answer, use --net=nat"
        )
        if spec.ip is None:
            found.append(
                "--net=lan: its address comes from the LAN by a DHCP client inside; by ipvlan, which shares the "
                "phone's MAC address, that must send an identifier of its own, or --ip names an address"
            )
    if spec.net in ("lan", "gateway") and spec.ports:
        found.append(f"--port: is not needed with --net={spec.net}, where its own address shows everything it has")
    if spec.net == "gateway" and spec.ip is not None:
        found.append("--ip: is not used with --net=gateway, where the gateway gives it an address")
    if spec.net in ("host", "none") and (spec.ports or spec.ip is not None):
        found.append(f"--port and --ip: are not used with --net={spec.net}; --net=nat gives it a network with both")
    return tuple(found)
