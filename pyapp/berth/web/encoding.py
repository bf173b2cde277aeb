"""Bytes in JSON."""

import base64
import binascii

from berth.errors import UsageError


def to_base64(data: bytes) -> str:
    """Return `data` in base64."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Return the bytes that `text` stands for; raises UsageError for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("data: this is no base64") from error
