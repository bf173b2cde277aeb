r"""A container's words on the caller's terminal: what it prints is text and colour, and no command to the terminal.

A log holds whatever root in a container wrote.  Escape sequences can retitle a window, make the terminal type an answer
into the shell, or hide what was said; so only line ends, tabs and colours (SGR) get through.
"""

import codecs
import re

_KEPT = r"\x1b\[[0-9;:]{0,64}m"
_DROPPED = (
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: cursor, erasing, modes, reports
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC, DCS, SOS, PM, APC: until their end, or that of the line
    r"|\x1b[ -/]*[0-Z\\`-~]"  # all others
    r"|\r+(?=\n)"
)
_SAFE = r"\n\t -~\xa0-\u2029\u202f-\u2065\u206a-\U0010ffff"  # no controls, and nothing that turns text around
_TOKENS = re.compile(f"(?P<kept>{_KEPT})|(?P<dropped>{_DROPPED})|(?P<control>[^{_SAFE}])")
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]*\x1b?|[ -/]*)?|\r+)\Z")
_LONGEST = 4096
_RESET = "\x1b[0m"


class Neutraliser:
    """Turns bytes, as they come, into text that is safe on a terminal."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._coloured = False

    def feed(self, data: bytes) -> str:
        """Return the text of `data`; a sequence that is cut off at its end waits for the next piece."""
        text = self._rest + self._decode(data)
        self._rest = ""
        cut = _UNFINISHED.search(text)
        if cut is not None and len(cut.group()) < _LONGEST:
            self._rest = cut.group()
            text = text[: cut.start()]
        return self._neutralise(text)

    def finish(self) -> str:
        """Return what waited for more, and the end of all colours where there were any."""
        rest = self._neutralise(self._rest + self._decode(b"", True))
        self._rest = ""
        return rest + (_RESET if self._coloured else "")

    def _neutralise(self, text: str) -> str:
        return _TOKENS.sub(self._replace, text)

    def _replace(self, token: re.Match[str]) -> str:
        if token["kept"]:
            self._coloured = True
            return token["kept"]
        if token["dropped"]:
            return ""
        return "\n" if token["control"] == "\r" else _visible(token["control"])


def one_line(text: str) -> str:
    """Return `text` on one line, with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() else _visible(letter) for letter in text)


def _visible(letter: str) -> str:
    """Return a control character as people write it: ^G, and U+FFFD for those that have no such spelling."""
    code = ord(letter)
    if code < 0x20:
        return f"^{chr(code + 0x40)}"
    return "^?" if code == 0x7F else "\ufffd"
