"""Places on a link where filters look at what arrives, and at what leaves.  See tc(8), tc-bpf(8).

Filters are asked in the order of their priority, until one decides.
"""

import errno
import socket
import struct
from typing import Final

from berth.kernel.call import KernelError
from berth.kernel.classic_bpf import INSTRUCTION_BYTES
from berth.network.attributes import attribute
from berth.network.netlink import NLM_F_CREATE, NLM_F_EXCL, RTM_NEWQDISC, RTM_NEWTFILTER, Netlink

INGRESS: Final = 0xFFFFFFF2  # TC_H_MIN_INGRESS
EGRESS: Final = 0xFFFFFFF3  # TC_H_MIN_EGRESS
_PLACE: Final = 0xFFFFFFF1  # TC_H_INGRESS, TC_H_CLSACT
_HANDLE: Final = 0xFFFF0000
_TCMSG: Final = struct.Struct("=BxxxiIII")  # family, link, handle, parent, info
_KIND, _OPTIONS = 1, 2  # TCA_*
_OPS_LEN, _OPS, _FLAGS = 4, 5, 8  # TCA_BPF_*
_ACT_DIRECT: Final = struct.pack("=I", 1)  # the program's answer is the decision (4.4)
_MODE: Final = NLM_F_CREATE | NLM_F_EXCL

UNKNOWN: Final = (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL)
"""What a kernel answers that has not what it is asked for."""


def open_ingress(netlink: Netlink, index: int, name: str) -> None:
    """Give link `index`, called `name`, a place for filters of what arrives; raises KernelError."""
    _open(netlink, index, name, b"ingress\0")


def open_both(netlink: Netlink, index: int, name: str) -> None:
    """Give it places for what arrives and what leaves; raises KernelError, ENOENT before Linux 4.5."""
    _open(netlink, index, name, b"clsact\0")


def add_program(netlink: Netlink, index: int, name: str, place: int, program: bytes) -> None:
    """Have a program of classic BPF decide first at a `place` that is open; raises KernelError.

    ENOENT is for a kernel without CONFIG_NET_CLS_BPF.
    """
    count = struct.pack("=H", len(program) // INSTRUCTION_BYTES)
    options = attribute(_OPS_LEN, count) + attribute(_OPS, program) + attribute(_FLAGS, _ACT_DIRECT)
    body = _TCMSG.pack(socket.AF_UNSPEC, index, 0, place, everything(1))
    body += attribute(_KIND, b"bpf\0") + attribute(_OPTIONS, options)
    netlink.ask_packed(RTM_NEWTFILTER, name, _MODE, body)


def look_at_arrivals(netlink: Netlink, index: int, name: str, program: bytes) -> None:
    """Have a program decide of what arrives by link `index`; a kernel that can't do that lets all pass.

    Raises KernelError.
    """
    try:
        open_ingress(netlink, index, name)
        add_program(netlink, index, name, INGRESS, program)
    except KernelError as error:
        if error.errno not in UNKNOWN:
            raise


def everything(priority: int) -> int:
    """Return what a filter of that `priority` says to be asked about packets of every protocol."""
    return priority << 16 | socket.htons(3)  # ETH_P_ALL


def _open(netlink: Netlink, index: int, name: str, kind: bytes) -> None:
    body = _TCMSG.pack(socket.AF_UNSPEC, index, _HANDLE, _PLACE, 0) + attribute(_KIND, kind)
    netlink.ask_packed(RTM_NEWQDISC, name, _MODE, body)
