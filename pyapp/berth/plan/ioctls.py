"""Which ioctls a container is refused: those of whole file systems, which are the host's, and a few beside them.

A descriptor of any file is enough for the first, and a folder that is a container's root lies on a file system of the
host's.  SYS_ADMIN is all that the kernel asks for, and root inside has it.
"""

from typing import Final

from berth.plan.model import ArgumentTest, SyscallRule

_INT: Final = 0xFFFFFFFF  # the kernel reads the number as `int`
_ANY_SIZE: Final = 0xC000FFFF  # direction, type and number: the size differs between 32 and 64 bits
_TYPE_AND_NUMBER: Final = 0xFFFF

# ioctl_fs(2), and the same for f2fs.
_HALTED_OR_CHANGED: Final = {
    0xC0045877: "FIFREEZE",
    0xC0045878: "FITHAW",
    0x8004587D: "FS_IOC_SHUTDOWN",
    0x40006607: "EXT4_IOC_GROUP_EXTEND",
    0x40006608: "EXT4_IOC_GROUP_ADD",
    0x40006610: "EXT4_IOC_RESIZE_FS",
    0x4000F510: "F2FS_IOC_RESIZE_FS",
    0x4000662E: "EXT4_IOC_SET_TUNE_SB_PARAM",  # 6.18: what is done at an error, the owner of what is kept free
    0x4000586E: "XFS_IOC_FSGROWFSDATA",
    0x40009403: "BTRFS_IOC_RESIZE",
    0x4000940A: "BTRFS_IOC_ADD_DEV",
    0x4000940B: "BTRFS_IOC_RM_DEV",
    0x4000943A: "BTRFS_IOC_RM_DEV_V2",
    0xC0009435: "BTRFS_IOC_DEV_REPLACE",
    0x4000943F: "BTRFS_IOC_SNAP_DESTROY_V2",  # 5.7: a subvolume by its number
}
_LOOKED_UP_AT_BOOT: Final = {
    0x40009432: "FS_IOC_SETFSLABEL",
    0x4000662C: "EXT4_IOC_SETFSUUID",
    0x40009413: "BTRFS_IOC_DEFAULT_SUBVOL",
}
_KEYS_OF_FBE: Final = {
    0xC0006617: "FS_IOC_ADD_ENCRYPTION_KEY",
    0xC0006618: "FS_IOC_REMOVE_ENCRYPTION_KEY",
    0xC0006619: "FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS",
}
_BY_HANDLE: Final = {
    0x0000586B: "XFS_IOC_OPEN_BY_HANDLE",
    0x0000586C: "XFS_IOC_READLINK_BY_HANDLE",
    0x0000587A: "XFS_IOC_ATTRLIST_BY_HANDLE",
    0x0000587B: "XFS_IOC_ATTRMULTI_BY_HANDLE",
}
_TIOCCONS: Final = 0x541D  # ioctl_console(2)

_SIOCGSKNS: Final = 0x894C  # 4.10

# ioctl_nsfs(2), 6.11.
_OTHER_MOUNT_NAMESPACES: Final = {0xB70B: "NS_MNT_GET_NEXT", 0xB70C: "NS_MNT_GET_PREV"}


def refused_ioctls() -> tuple[SyscallRule, ...]:
    """Return a rule for each ioctl that a container is refused."""
    return (
        *_rules(_HALTED_OR_CHANGED, _ANY_SIZE, "halts or changes the file system of the host that a folder lies on"),
        *_rules(_LOOKED_UP_AT_BOOT, _ANY_SIZE, "changes by what the host finds that file system when it boots"),
        *_rules(_KEYS_OF_FBE, _ANY_SIZE, "is about the phone's keys of file-based encryption"),
        *_rules(_BY_HANDLE, _TYPE_AND_NUMBER, "reaches every file of a file system, as open_by_handle_at does"),
        *_rules({_TIOCCONS: "TIOCCONS"}, _INT, "has what is written to the host's console come out inside"),
        # A socket that is a caller's stream, or by which a process tells that it has entered, was made on the host.
        *_rules({_SIOCGSKNS: "SIOCGSKNS"}, _INT, "hands out the network namespace of the host by any socket of its"),
        *_rules(
            _OTHER_MOUNT_NAMESPACES,
            _TYPE_AND_NUMBER,
            "hands the host's mount namespace to whoever has SYS_ADMIN",
            errno="ENOTTY",
        ),
    )


def _rules(numbers: dict[int, str], mask: int, why: str, errno: str = "EPERM") -> tuple[SyscallRule, ...]:
    return tuple(
        SyscallRule(
            names=("ioctl",),
            errno=errno,
            when=(ArgumentTest(index=1, mask=mask, value=number & mask),),
            reason=f"{name} {why}",
        )
        for number, name in numbers.items()
    )
