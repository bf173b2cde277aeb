"""Runs in the virtual machine what the tests outside ask for: a line of JSON on a virtio port, and one in answer."""

import glob
import json
import os
import subprocess
import time

PATIENCE = 30  # seconds that the port may take to appear


def main() -> None:
    """Answer until the tests hang up, then turn the machine off."""
    with open(find_port(), "r+b", buffering=0) as port:
        port.write(b"{}\n")
        buffer = b""
        while data := port.read(65536):
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                answer = memoryview(json.dumps(carry_out(**json.loads(line))).encode() + b"\n")
                while answer:
                    answer = answer[port.write(answer) :]
    subprocess.run(["poweroff", "-f"], check=True)


def find_port() -> str:
    """Return the only virtio port that there is."""
    for _ in range(PATIENCE * 10):
        if found := glob.glob("/dev/vport*"):
            return found[0]
        time.sleep(0.1)
    raise TimeoutError("no virtio port has appeared")


def carry_out(argv: list[str], seconds: float) -> dict[str, object]:
    """Run a program and return its exit code and what it printed; 124 for one that took too long, as timeout(1)."""
    try:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, env=dict(os.environ)
        )
    except subprocess.TimeoutExpired as error:
        return {"code": 124, "out": text(error.stdout), "err": text(error.stderr)}
    except OSError as error:
        return {"code": 127, "out": "", "err": str(error)}
    return {"code": done.returncode, "out": text(done.stdout), "err": text(done.stderr)}


def text(raw: bytes | None) -> str:
    """Return output as it can be sent."""
    return (raw or b"").decode(errors="backslashreplace")


if __name__ == "__main__":
    main()
