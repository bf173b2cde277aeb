"""Runs on the phone, as `adb forward` does: leads a port of its network to one of 127.0.0.1, as some user.

relay.py PORT THERE UID
"""

import os
import socket
import sys
import threading


def main(port: int, there: int, uid: int) -> None:
    """Lead everybody who connects to `port` on, as user `uid`."""
    listener = socket.create_server(("0.0.0.0", port))
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        threading.Thread(target=lead, args=(caller, there)).start()


def lead(caller: socket.socket, there: int) -> None:
    """Copy both ways until one end has closed."""
    with caller, socket.socket() as inner:
        inner.connect(("127.0.0.1", there))  # create_connection wants more of Python than the phone's has
        back = threading.Thread(target=copy, args=(inner, caller))
        back.start()
        copy(caller, inner)
        back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the end, and pass that on."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
