"""The plan of `run --rm`: a fresh, read-only container around one program, gone with it."""

from berth.host import Host
from berth.plan import init_environment, namespaces
from berth.plan.capabilities import plan_one_off_capabilities
from berth.plan.cgroups import plan_cgroups
from berth.plan.devices import device_steps, plan_devices
from berth.plan.filesystems import bind_steps, proc_steps, sys_steps
from berth.plan.model import DevicePolicy, Mount, Plan, SysctlPolicy
from berth.plan.mounts import is_guarded, plan_mounts
from berth.plan.seccomp import plan_syscall_rules
from berth.plan.sysctls import plan_sysctls
from berth.plan.whole_device import plan_oom_score_adj
from berth.spec import Spec

_NO_DEVICES = DevicePolicy("none", reason="no capability to make or mount devices is left")


def plan_one_off(spec: Spec, argv: tuple[str, ...], environment: dict[str, str], host: Host, *, terminal: bool) -> Plan:
    """Return what running `argv` in a fresh container on `host` will do; raises BerthError for what can't work.

    Cgroups are made only where a limit or a lifted protection asks for them: the capabilities that are left can
    neither make a device node nor mount, so there is nothing to confine.
    """
    confined = not (spec.privileged or spec.cap_add)
    limited = spec.memory is not None or spec.cpus is not None or spec.pids_limit is not None
    capabilities = plan_one_off_capabilities(spec)
    guarded = is_guarded(spec, host, capabilities)
    return Plan(
        name=spec.name,
        hostname=spec.hostname or spec.name,
        argv=argv,
        environment={**init_environment(spec, host), **environment},
        namespaces=namespaces(spec, host),
        steps=(
            *device_steps(spec, host),
            *proc_steps(spec),
            *sys_steps(spec),
            Mount("/tmp", "tmpfs", ("nosuid", "nodev"), "mode=1777", reason="the one place to write"),
            *bind_steps(spec),
        ),
        cgroups=plan_cgroups(spec, host, systemd=None) if limited or not confined else (),
        devices=_NO_DEVICES if confined else plan_devices(spec, host),
        capabilities=capabilities,
        sysctls=SysctlPolicy(reason=_NO_DEVICES.reason) if confined else plan_sysctls(spec, host, capabilities),
        syscall_rules=plan_syscall_rules(spec, host, capabilities, guarded=guarded),
        mounts=plan_mounts(spec, guarded=guarded),
        read_only_root=True,
        console=terminal,
        network=spec.net,
        oom_score_adj=plan_oom_score_adj(spec, host),
    )
