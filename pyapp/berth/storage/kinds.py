"""What a file is that was given as a root file system and is none: told by its first bytes, with a way out.

Pure.  The bytes are those of file(1)'s magic(5).
"""

from typing import Final

_UNPACK: Final = "unpack it into a folder, as root and with its owners (tar -xpf), and give that with --rootfs"
_ONE_PARTITION: Final = "give its root partition: losetup -P shows each as a device"
_COMPRESSED: Final = "unpack it first: an archive into a folder for --rootfs, an image to a file for --rootfs-img"

_KINDS: Final = (
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x1f\x8b", "compressed by gzip", _COMPRESSED),
    (0, b"\xfd7zXZ\0", "compressed by xz", _COMPRESSED),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _COMPRESSED),
    (0, b"BZh", "compressed by bzip2", _COMPRESSED),
    (0, b"PK\x03\x04", "a zip archive", _COMPRESSED),
    (0, b"hsqs", "a squashfs", "unpack it into a folder with unsquashfs, and give that with --rootfs"),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image", "make a plain one of it with simg2img"),
    (0, b"QFI\xfb", "a disk in qcow2", "make a plain one of it with qemu-img convert -O raw"),
    (512, b"EFI PART", "a whole disk with partitions", _ONE_PARTITION),
)
_DEFAULT: Final = 'make one with "mkfs.ext4"'


def way_out(head: bytes, default: str = _DEFAULT) -> str:
    """Return the half of a sentence that says what to do about a file which begins with `head`.

    `default` is that for a file of which nothing is known; 1 KB is enough to know it.
    """
    for place, magic, what, advice in _KINDS:
        if head[place : place + len(magic)] == magic:
            return f"it is {what}; {advice}"
    return default
