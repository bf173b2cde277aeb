"""Which file systems can be the lower layer of an overlay, and what to do about the others.

Overlayfs answers EINVAL for a lower file system that hashes or compares names in its own way, which is what folding
case means (`ovl_dentry_weird` in fs/overlayfs/util.c).  It is asked before anything is done.
"""

from typing import Final

from berth.host import Rootfs

_WAY_OUT: Final = "put it into an ext4 image (--rootfs-img) or start without --volatile"
_FOLDS_CASE: Final = frozenset(
    {"vfat", "msdos", "exfat", "texfat", "ntfs", "ntfs3", "sdcardfs", "esdfs", "hfs", "hfsplus"}
)
# Android's shared storage: neither owners, modes nor links; others may hide even from root.
_IN_USER_SPACE: Final = ("fuse", "fuseblk")


def overlay_objection(rootfs: Rootfs) -> str | None:
    """Return why `rootfs` can't be started volatile, in one sentence with the way out; None where it can.

    A network file system is fine as a lower layer, and so is an overlay, once: how deep it is nested already can't be
    seen from here, and is left to the mount.
    """
    kind = rootfs.filesystem
    if rootfs.casefold:
        return f"--volatile: the rootfs is on {kind} with case folding, which can't carry an overlay; {_WAY_OUT}"
    if kind in _FOLDS_CASE:
        return f"--volatile: the rootfs is on {kind}, which folds case and can't carry an overlay; {_WAY_OUT}"
    if kind in _IN_USER_SPACE or kind.startswith("fuse."):
        return f"--volatile: the rootfs is on {kind} (shared storage), which can't carry an overlay; {_WAY_OUT}"
    return None
