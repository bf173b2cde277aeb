"""Which of the phone's folders can't be read before its first unlock after a boot (file-based encryption)."""

from berth.spec import Spec

_ENCRYPTED_UNTIL_UNLOCKED = (
    "/data/data",
    "/data/media",
    "/data/misc_ce",
    "/data/system_ce",
    "/data/user",
    "/data/vendor_ce",
    "/mnt/expand",
    "/mnt/media_rw",
    "/mnt/pass_through",
    "/mnt/runtime",
    "/mnt/user",
    "/sdcard",
    "/storage",
)


def needs_unlock(spec: Spec) -> bool:
    """Tell whether a start of `spec` reads anything that the phone's owner must unlock first."""
    paths = (spec.rootfs, spec.image, *(bind.source for bind in spec.binds), *(hook.path for hook in spec.hooks))
    return any(
        path == folder or path.startswith(f"{folder}/")
        for path in paths
        if path is not None
        for folder in _ENCRYPTED_UNTIL_UNLOCKED
    )
