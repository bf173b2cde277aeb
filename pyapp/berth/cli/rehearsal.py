"""What a service goes through before anybody asks, so that its forks find it done: all that only decides.

What is read of the device is kept by whoever looked first.  And code that has run is memory that is already its own
where a spare worker has run it, and memory that a fork need not copy where the service has: Python writes to code until
it has run for some eight times.
"""

import contextlib
import os

from berth.cli import specs
from berth.cli.flags import parse
from berth.engine.inspect import read_host
from berth.engine.order import Order
from berth.engine.warm import look_up_calls
from berth.errors import BerthError
from berth.home import find_home
from berth.host import Rootfs
from berth.kernel import seccomp
from berth.plan import plan
from berth.plan.one_off import plan_one_off
from berth.spec import StartOptions
from berth.store import spec_from_toml, to_toml

_START = ("start", "--name=none", "--rootfs=/none")
_ONE_OFF = ("run", "--rm", "--rootfs=/none", "--", "/none")


def rehearse() -> None:
    """Read a command line and decide, for a start and for a one-off, all that there is to decide; nothing is done."""
    look_up_calls()
    home = find_home(os.environ)
    with contextlib.suppress(BerthError, OSError):  # whoever starts a container is told of it
        host = read_host(home)
        spec = specs.spec_from(parse(list(_START)), None, directory="/", read=str)
        spec = spec_from_toml(to_toml(spec), "")
        decided = plan(spec, StartOptions(), host, Rootfs(init="/sbin/init"))
        order = Order(
            state=home.state, run=home.run, spec=spec, options=StartOptions(), host=host, plan=decided, notices=()
        )
        Order.decode(order.encode())
        invocation = parse(list(_ONE_OFF))
        spec = specs.one_off_from(invocation, directory="/", read=str)
        quick = plan_one_off(spec, invocation.words, {}, host, terminal=False)
        for rules in (decided.syscall_rules, quick.syscall_rules):
            seccomp.assemble(rules, host.machine)
