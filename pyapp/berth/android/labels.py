"""SELinux labels of image files: which type decides whether the kernel may read what it has mounted."""

import errno
import os
import stat

from berth.errors import BerthError

IMAGE_LABEL = "u:object_r:vold_data_file:s0"
"""The type that AOSP's kernel.te lets the kernel read and write: without it a loop mount fails with EIO."""

_ATTRIBUTE = "security.selinux"


def label_image(image: str) -> None:
    """Give the file `image` the label with which it can be mounted, and read that back.

    Nothing is done on a file system without labels, and to a block device.  Raises BerthError where another label
    stays.  That is looked at because a permissive domain may set any type, also one that the policy doesn't know.
    """
    try:
        if not stat.S_ISREG(os.stat(image).st_mode) or _label(image) == IMAGE_LABEL:
            return
        os.setxattr(image, _ATTRIBUTE, IMAGE_LABEL.encode() + b"\0")
        found = _label(image)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOENT):
            return
        raise BerthError(
            f"image {image}: its SELinux label can't be set to {IMAGE_LABEL} ({error.strerror}); move it to /data"
        ) from error
    if found != IMAGE_LABEL:
        raise BerthError(
            f"image {image}: its SELinux label is {found} and does not become {IMAGE_LABEL}; move it to /data"
        )


def _label(path: str) -> str:
    try:
        return os.getxattr(path, _ATTRIBUTE).rstrip(b"\0").decode(errors="backslashreplace")
    except OSError as error:
        if error.errno == errno.ENODATA:
            return "missing"
        raise
