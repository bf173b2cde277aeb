"""The caller's side: hands the command to a worker, copies a terminal's bytes, passes signals on.

This is all that a cold `berth` imports while a supervisor runs, so nothing is imported that isn't needed to
reach the socket: json, signal and socket each cost as much as the whole interpreter does.
"""

import _socket
import os
import sys

from berth.home import find_home

_ENVIRONMENT = ("TERM", "LANG", "COLUMNS", "NO_COLOR")
_EXIT = b'{"exit":'
# By these a process of ours may get into a running container: to run something there, or to mount in its place.
_MAY_ENTER = {"enter", "run", "start", "demo", "stop", "restart", "recover", "scan"}
_MAY_ENTER_ONE_OFF = ("--init", "--cap-add", "--privileged")  # its program can't inspect, nor mount, without these


def main() -> int:
    """Run the command that the process was given; return its exit code, or end with it."""
    _open_missing_streams()
    argv = sys.argv[1:]
    if argv in (["version"], ["--version"]):
        from berth import __version__

        print(f"berth {__version__}")
        return 0
    if "serve" in argv:
        _map_files_read_only()
        from berth.cli.main import serve_if_asked

        code = serve_if_asked(argv)  # the service is this very process, so that who started it can end it
        if code is not None:
            return code
    # At once: what Python would do now, freeing one object after the other, is an eighth of a quick command's time.
    os._exit(_be_served(argv))


def _be_served(argv: list[str]) -> int:
    try:
        return _converse(_connect() or _fork_worker(argv), argv)
    except (BrokenPipeError, ConnectionResetError):
        os.write(2, b'berth: the process that served this command was killed; run "berth recover"\n')
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        os.write(2, f"berth: this command can't be served: {error.strerror}\n".encode())
        return 1


def _open_missing_streams() -> None:
    """Open /dev/null for each standard stream that the caller has closed: else the next thing opened would be that."""
    while (number := os.open("/dev/null", os.O_RDWR)) < 3:
        pass
    os.close(number)


def _map_files_read_only() -> None:
    """Execute this very command again on read-only mounts, import there all that it needs, and leave them."""
    from importlib import import_module

    from berth.engine.own_files import map_read_only, return_outside

    map_read_only()
    for name in ("berth.cli.main", "binascii"):  # the one of all that is imported later which is a file of its own
        import_module(name)
    return_outside()


def _may_enter(argv: list[str]) -> bool:
    if "--rm" in argv:
        return any(word.startswith(_MAY_ENTER_ONE_OFF) for word in argv)
    return not _MAY_ENTER.isdisjoint(argv)


def _fork_worker(argv: list[str]) -> _socket.socket:
    if _may_enter(argv):
        _map_files_read_only()
    from berth.cli.main import run
    from berth.service.worker import fork_worker

    return _socket.socket(fileno=fork_worker(run).detach())


def _connect() -> _socket.socket | None:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    path = find_home(os.environ).socket
    folder = -1
    try:
        if len(path) > 100:  # longer than a socket address: name it by its folder
            folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
            path = f"/proc/self/fd/{folder}/control.sock"
        sock.connect(path)
    except OSError:
        sock.close()
        return None
    finally:
        if folder >= 0:
            os.close(folder)
    return sock


def _converse(sock: _socket.socket, argv: list[str]) -> int:
    _send_request(sock, argv)
    relay = None
    buffer = b""
    while True:
        while b"\n" not in buffer:
            data, ancillary, _, _ = sock.recvmsg(65536, 128)
            if not data:
                raise ConnectionResetError
            buffer += data
            if ancillary or relay is not None or not buffer.startswith(_EXIT):
                from berth.cli.relay import Relay

                relay = relay or Relay(sock)
                relay.take(ancillary)
        line, _, buffer = buffer.partition(b"\n")
        if line.startswith(_EXIT):
            return int(line[len(_EXIT) : -1])
        assert relay is not None
        code = relay.follow(line, buffer)
        if code is not None:
            return code


def _send_request(sock: _socket.socket, argv: list[str]) -> None:
    words = ",".join(map(_quote, argv))
    environment = ",".join(f"{_quote(k)}:{_quote(os.environ[k])}" for k in _ENVIRONMENT if k in os.environ)
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = "/"
    foreground = "true" if _in_foreground() else "false"
    surroundings = f'"cwd":{_quote(cwd)},"env":{{{environment}}},"foreground":{foreground}'
    request = f'{{"call":"command","argv":[{words}],{surroundings}}}\n'.encode()
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    sent = sock.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    while sent < len(request):
        sent += sock.send(request[sent:])


def _in_foreground() -> bool:
    """Tell whether input and output are a terminal whose keys are for this process."""
    try:
        return os.isatty(0) and os.isatty(1) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return True  # not this session's terminal, so there is no job control


def _quote(word: str) -> str:
    """Return `word` as a JSON string, bytes that are no UTF-8 as the lone surrogates that os.fsencode knows."""
    from _json import encode_basestring_ascii

    return encode_basestring_ascii(word)
