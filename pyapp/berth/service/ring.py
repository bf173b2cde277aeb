"""The last bytes of a stream, by their position in it."""


class Ring:
    """Keeps at most `most` bytes; `end` is how many there have ever been."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self.end = 0

    def add(self, data: bytes) -> None:
        """Add `data` behind what is there, forgetting the oldest."""
        self._data += data
        self.end += len(data)
        if len(self._data) > 2 * self._most:  # not at every byte: that would copy all each time
            del self._data[: -self._most]

    def read(self, position: int, most: int) -> tuple[bytes, int]:
        """Return up to `most` bytes from `position` on, and how many before them are forgotten."""
        oldest = self.end - min(self._most, len(self._data))
        missed = max(0, oldest - position)
        begin = len(self._data) - (self.end - position - missed)
        return bytes(self._data[begin : begin + most]), missed
