"""Who keeps a container from writing the settings of the host's kernel."""

from typing import Final

from berth.host import Host
from berth.plan.model import SysctlPolicy
from berth.spec import Spec

_SINCE: Final = (5, 2)


def plan_sysctls(spec: Spec, host: Host, capabilities: tuple[str, ...]) -> SysctlPolicy:
    """Return whether a BPF program refuses sysctls to the container; a read-only /proc/sys alone can be mounted anew.

    Those of the network stay with whoever may administer it.  `--privileged=nomask` lifts it all.
    """
    if "nomask" in spec.privileged:
        return SysctlPolicy(reason="--privileged=nomask: root inside can change every setting of the host's kernel")
    has_cgroup2 = "cgroup2" in host.filesystems or any(mount.version == 2 for mount in host.cgroups)
    if host.kernel < _SINCE or not host.device_bpf or not has_cgroup2:
        why = "this kernel has no sysctl programs (CONFIG_CGROUP_BPF, 5.2)" if has_cgroup2 else "no cgroup2"
        return SysctlPolicy(reason=f"{why}: root inside can mount /proc anew and write core_pattern")
    net = spec.net != "host" or "NET_ADMIN" in capabilities
    which = "all but those of its network" if net else "all"
    return SysctlPolicy(True, net, f"a BPF program refuses to write sysctls ({which}), also through a fresh /proc")
