"""The `net` process: links, addresses, routes, firewall, DHCP, names and ports of containers with `--net=nat`.

Nothing but `codec` and what is built on it imports pyroute2, and nobody but that process, and the one that diagnoses a
network, imports those.
"""
