"""Netlink's attributes, packed.  See netlink(7)."""

import struct


def attribute(kind: int, data: bytes) -> bytes:
    """Return the attribute `kind` with `data` in it, filled up to where the next may begin."""
    size = 4 + len(data)
    return struct.pack("=HH", size, kind) + data + bytes(-size % 4)
