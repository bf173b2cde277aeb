"""Decide everything a start will do, and do nothing: `plan(spec, options, host, rootfs)` is pure.

One module per concern; this one puts their answers in the order in which the kernel needs them.
"""

from berth.errors import BerthError
from berth.host import Host, Rootfs
from berth.plan.capabilities import plan_capabilities
from berth.plan.cgroups import inside_cgroups, plan_cgroups
from berth.plan.devices import device_steps, hugepage_steps, plan_devices, terminal_steps
from berth.plan.filesystems import CONTAINER_WORD, bind_steps, proc_steps, resolver_steps, run_steps, sys_steps
from berth.plan.model import Plan
from berth.plan.mounts import is_guarded, plan_mounts
from berth.plan.network import network_warnings
from berth.plan.network_groups import network_group_steps
from berth.plan.overlay import overlay_objection
from berth.plan.seccomp import plan_syscall_rules
from berth.plan.sysctls import plan_sysctls
from berth.plan.whole_device import (
    plan_oom_score_adj,
    plan_selinux_permissive,
    plan_wakelock,
    whole_device_warnings,
)
from berth.spec import Spec, StartOptions

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def plan(spec: Spec, options: StartOptions, host: Host, rootfs: Rootfs) -> Plan:
    """Return what starting `spec` on `host` will do, in order, each step with its reason.

    Raises BerthError with one sentence for what can't work: a limit without its controller, an overlay on a file
    system that can't carry one, a systemd that refuses the only cgroups there are.
    """
    if options.volatile and (objection := overlay_objection(rootfs)):
        raise BerthError(f"container {spec.name}: {objection}")
    resolvers, warnings = resolver_steps(spec, host, rootfs)
    steps = (
        *device_steps(spec, host),  # first: files are masked by the container's own /dev/null
        *hugepage_steps(host, rootfs),
        *terminal_steps(rootfs),
        *proc_steps(spec),
        *sys_steps(spec),
        *run_steps(spec, rootfs),
        *inside_cgroups(spec, host, systemd=rootfs.systemd),
        *resolvers,
        *network_group_steps(spec, host),
        *bind_steps(spec),
    )
    capabilities = plan_capabilities(spec)
    guarded = is_guarded(spec, host, capabilities)
    return Plan(
        name=spec.name,
        hostname=spec.hostname or spec.name,
        argv=(spec.init,),
        environment=init_environment(spec, host),
        namespaces=namespaces(spec, host),
        steps=steps,
        cgroups=plan_cgroups(spec, host, systemd=rootfs.systemd),
        devices=plan_devices(spec, host),
        capabilities=capabilities,
        syscall_rules=plan_syscall_rules(spec, host, capabilities, guarded=guarded),
        mounts=plan_mounts(spec, guarded=guarded),
        sysctls=plan_sysctls(spec, host, capabilities),
        init_kind=rootfs.init_kind,
        volatile=options.volatile,
        volatile_size=options.volatile_size or host.memory // 2,
        network=spec.net,
        lease=host.lease if spec.net == "nat" else None,
        oom_score_adj=plan_oom_score_adj(spec, host),
        wakelock=plan_wakelock(spec, host),
        selinux_permissive=plan_selinux_permissive(spec, host),
        warnings=(*warnings, *_warnings(host), *network_warnings(spec), *whole_device_warnings(spec, host)),
    )


def init_environment(spec: Spec, host: Host) -> dict[str, str]:
    """Return the environment in which init starts; what the user set wins."""
    return {
        "PATH": _PATH,
        "HOME": "/root",
        "TERM": "xterm-256color",
        "container": CONTAINER_WORD,
        **({"TZ": host.time_zone} if host.time_zone else {}),
        **spec.env,
    }


def namespaces(spec: Spec, host: Host) -> tuple[str, ...]:
    """Return the new namespaces that a container gets, by the words of `Plan.namespaces`."""
    words = ["mount", "pid", "uts", "ipc"]
    if host.cgroup_namespace:
        words.append("cgroup")
    if spec.net != "host":
        words.append("network")
    return tuple(words)


def _warnings(host: Host) -> tuple[str, ...]:
    if host.root_is_ramfs:
        return ("the root is a ramfs, so pivot_root is not possible; the host's mounts were detached instead",)
    return ()
