"""The parts of pyroute2 that are used: what netlink and DHCP messages look like.

Importing `pyroute2` itself imports all of it, with asyncio, ssl and multiprocessing.  Its message classes need none of
that, so the package is entered past its front door (docs/decisions/only-the-codec-of-pyroute2.md).
"""

import importlib.util
import sys
import types

if "pyroute2" not in sys.modules:
    _spec = importlib.util.find_spec("pyroute2")
    assert _spec is not None
    assert _spec.submodule_search_locations is not None
    _package = types.ModuleType("pyroute2")
    _package.__path__ = list(_spec.submodule_search_locations)
    sys.modules["pyroute2"] = _package

from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = ["fibmsg", "ifaddrmsg", "ifinfmsg", "ndmsg", "nlmsg", "rtmsg"]
