"""What a container asks of the whole device: who dies first without memory, whether it sleeps, what SELinux does."""

from berth.host import Host
from berth.plan.model import Wakelock
from berth.spec import Spec

OOM_SCORE_ADJ_ANDROID = 200
"""After all that waits in the background, before what the phone's user looks at.

ActivityManager gives the app in front 0, a visible one 100, one that plays music 200, and what is only kept in memory
700 and more (ProcessList.java).  lmkd never looks at containers, as it knows ActivityManager's processes alone; the
kernel does, as did its lowmemorykiller up to 4.9, and to both a process at 0 is as dear as the app in front.
"""


def plan_oom_score_adj(spec: Spec, host: Host) -> int:
    """Return the oom_score_adj of all the container's processes.  See proc(5)."""
    if spec.oom_score_adj is not None:
        return spec.oom_score_adj
    return OOM_SCORE_ADJ_ANDROID if host.android else 0


def plan_wakelock(spec: Spec, host: Host) -> Wakelock | None:
    """Return the wakelock that is held for the container; None where there is none to hold."""
    if spec.wakelock == "never" or not host.wakelocks:
        return None
    when = "while it runs" if spec.wakelock == "running" else "while it runs and the device has power"
    return Wakelock(f"berth-{spec.name}", spec.wakelock, f"--wakelock={spec.wakelock}: no suspend {when}")


def plan_selinux_permissive(spec: Spec, host: Host) -> bool:
    """Return whether SELinux is made permissive for as long as the container runs."""
    return spec.selinux_permissive and host.selinux != "off"


def whole_device_warnings(spec: Spec, host: Host) -> tuple[str, ...]:
    """Return a sentence for each wish that this device can't fulfil."""
    warnings = []
    if spec.wakelock != "never" and not host.wakelocks:
        warnings.append(
            f"--wakelock={spec.wakelock} has no effect, because this kernel has no /sys/power/wake_lock"
            " (CONFIG_PM_WAKELOCKS)"
        )
    if spec.selinux_permissive and host.selinux == "off":
        warnings.append("--selinux-permissive has no effect, because this device has no SELinux")
    return tuple(warnings)
