"""The page in a root manager's web view: another origin, a `ksu` object that executes for real, TCP where it is let.

The web view is stood in for by Chromium with the manager's address answered from `webroot/` and the bridge's two calls.
"""

import os
import subprocess

from playwright.sync_api import BrowserContext, Page, Route

import build
from tests.dashboard import Dashboard

MANAGER = "https://mui.kernelsu.org"
COLOURS = ":root { --primary: #123456; --primaryContainer: #fedcba; }"  # Android's, as KernelSU's web view tells them
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json"}
# What KernelSU's web view offers: answers come by the name of a function, lines of a program by an object's name.
KSU = """
let pause = 10;  // ms; longer while nothing is printed and nobody asks for anything
window.ksu = {
  exec(command, options, name) {
    pause = 10;
    executed(command).then(([code, output, complaint]) => window[name](code, output, complaint));
  },
  async spawn(command, words, options, name) {
    const program = await spawned(command);
    for (;;) {
      const [lines, code] = await printed(program);
      for (const line of lines) window[name].stdout.emit('data', line);
      if (code !== null) return window[name].emit('exit', code);
      pause = lines.length > 0 ? 10 : Math.min(pause * 1.2, 100);
      await new Promise((keep) => setTimeout(keep, pause));
    }
  },
};
"""


class Bridge:
    """Executes what the page asks for, as root, like the manager's."""

    def __init__(self, dashboard: Dashboard) -> None:
        path = f"{build.BERTH.parent}:{os.environ['PATH']}"
        self.environment = {**dashboard.berth.environment, "PATH": path}
        self.address = f"{MANAGER}/index.html"
        self.programs: dict[int, subprocess.Popen[bytes]] = {}
        self._begun: dict[int, bytes] = {}  # of each program the line that it has not ended yet
        self.commands: list[str] = []
        self._spawned = 0

    def execute(self, command: str) -> tuple[int, str, str]:
        self.commands.append(command)
        done = subprocess.run(
            ["sh", "-c", command], check=False, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    def spawn(self, command: str) -> int:
        program = subprocess.Popen(
            ["sh", "-c", f"exec {command.partition(' ')[2]}"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert program.stdout is not None
        os.set_blocking(program.stdout.fileno(), False)
        self._spawned += 1
        self.programs[self._spawned] = program
        return self._spawned

    def printed(self, number: int) -> tuple[list[str], int | None]:
        """Return the whole lines since the last time, and the exit code of a program that has printed them all."""
        program = self.programs[number]
        assert program.stdout is not None
        code = program.poll()  # before what it has printed is read, or its last words would be missed
        *lines, self._begun[number] = (self._begun.get(number, b"") + (program.stdout.read() or b"")).split(b"\n")
        return [line.decode() for line in lines], code

    def end(self) -> None:
        """End what was spawned, which a manager does with its web view."""
        for program in self.programs.values():
            program.kill()
            program.wait()
            assert program.stdout is not None
            program.stdout.close()
        self.programs.clear()
        self._begun.clear()


def manager_page(context: BrowserContext, bridge: Bridge, *, tcp: bool) -> Page:
    """Return a web view of the manager's; with TCP to 127.0.0.1, or with every attempt refused."""
    if tcp:  # Chrome asks its user; a web view has nobody to ask
        context.grant_permissions(["local-network-access"])
    page = context.new_page()
    page.expose_function("executed", bridge.execute)
    page.expose_function("spawned", bridge.spawn)
    page.expose_function("printed", bridge.printed)
    page.add_init_script(KSU)
    page.route(f"{MANAGER}/**", _serve)
    if not tcp:
        page.route("http://127.0.0.1:*/**", lambda route: route.abort())
    return page


def _serve(route: Route) -> None:
    """Answer with a file of the module, as the web view does."""
    name = route.request.url.removeprefix(MANAGER).partition("?")[0].lstrip("/") or "index.html"
    if name == "internal/colors.css":
        route.fulfill(status=200, body=COLOURS, content_type=TYPES[".css"])
        return
    path = build.WEBROOT / name
    found = path.is_file()
    kind = TYPES.get(path.suffix, "image/svg+xml")
    route.fulfill(status=200, body=path.read_bytes() if found else b"", content_type=kind)
