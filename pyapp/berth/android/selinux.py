"""Whether SELinux forbids what its policy does not allow, or only says so.  See selinux(8)."""

from berth.kernel.files import read_file, write_file

_ENFORCE = "/sys/fs/selinux/enforce"


def is_enforcing() -> bool:
    """Tell whether SELinux is there and forbids.  Raises OSError where it can't be read."""
    try:
        return read_file(_ENFORCE).strip() == b"1"
    except FileNotFoundError:
        return False


def set_enforcing(*, on: bool) -> None:
    """Have SELinux forbid, or not.

    Raises OSError: EACCES where the policy does not let the caller, EINVAL in kernels that can't (without
    CONFIG_SECURITY_SELINUX_DEVELOP).
    """
    write_file(_ENFORCE, b"1" if on else b"0")
