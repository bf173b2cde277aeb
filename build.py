#!/usr/bin/env python3
"""Set up, run, test and measure Berth on a Debian machine.

    python3 build.py setup    make .venv/ with the locked packages and .venv/bin/berth
    python3 build.py run      set up, start the service and a small container called demo
    python3 build.py test     install what the tests need and run all of them; arguments go on to pytest
    python3 build.py bench    install the peers, compare with them and write docs/performance.md
    python3 build.py zip      build the flashable module

Every command says what it is about to install and why, does only what is still missing, and can be run again at any
time.  Standard library only: this is what runs before anything is installed.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  an older Python gets a sentence, no traceback
    sys.exit("build.py: Python 3.11 or newer is needed; on Debian 12 and later that is what python3 is")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
PYTHON = VENV / "bin" / "python"
BERTH = VENV / "bin" / "berth"
LOCK = ROOT / "requirements.lock"
TEST_LOCK = ROOT / "requirements-test.lock"
sys.path.insert(0, str(ROOT / "pyapp"))  # of it only `packing` and `demo`, which need nothing but the standard library
WEBROOT = ROOT / "webroot"

# Debian packages by what they are for; the reason is shown before anything is installed.
RUN_NEEDS = {"busybox-static": "the programs of the demo container"}
TEST_NEEDS = {
    "acpica-tools": "compiles the battery of the virtual phone",
    "attr": "reads SELinux labels on the virtual phone",
    "busybox-static": "the smallest root file system to start",
    "chromium": "the browser in which the dashboard's page is tried",
    "curl": "asks the web servers of containers",
    "e2fsprogs": "makes and checks the ext4 images",
    "f2fs-tools": "makes /data of the virtual phone",
    "fuse2fs": "a file system that no overlay can lie on",
    "iproute2": "makes network devices that come and go, and the networks of a phone",
    "iptables": "the firewall of a phone",
    "libseccomp2": "the reference our seccomp filters are compared with",
    "mksh": "the shell of Android, for its completion",
    "mmdebstrap": "makes the Debian root file systems, one for each init",
    "qemu-user-static": "runs the programs of an ARM phone",
    "patchelf": "gives the tools of the virtual phone their own place for libraries",
    "qemu-system-arm": "ARM processors with a kernel of their own",
    "qemu-system-x86": "the virtual machine for what this kernel lacks",
    "qemu-utils": "the disk of the virtual phone, which can be put back",
    "secilc": "compiles the SELinux policy of the virtual phone",
    "shellcheck": "reads the shell scripts",
    "toybox": "the tools of Android",
    "wrk": "asks the dashboard for much at once",
}
BENCH_NEEDS = {
    "bubblewrap": "a peer to compare with",
    "busybox-static": "the root file system that all of them start",
    "crun": "a peer to compare with",
    "e2fsprogs": "makes the ext4 image that is started",
    "lxc": "a peer to compare with",
    "mmdebstrap": "makes the Debian root file system that all of them boot",
    "runc": "a peer to compare with",
    "systemd-container": "a peer to compare with (systemd-nspawn)",
    "wrk": "asks the dashboard for much at once",
}

SHEBANG_LIMIT = 255  # BINPRM_BUF_SIZE less the line's end; 127 before Linux 5.1, where no developer is
DASHBOARD_SECONDS = 20.0  # for the web process of a slow machine to come up
WHAT_NEXT = """
What to type next:
  .venv/bin/berth enter demo             a shell inside; leave it with "exit"
  .venv/bin/berth run demo -- ps         one command inside
  .venv/bin/berth logs demo              what its console printed
  .venv/bin/berth stop demo              end it; nothing is left behind
"""


class BuildError(Exception):
    """What stops a command; `str()` is the sentence to show."""


def main(arguments: Sequence[str]) -> int:
    """Carry out the command line `arguments` and return the exit code."""
    commands: dict[str, Callable[[list[str]], None]] = {
        "setup": lambda _: setup(),
        "run": lambda _: run(),
        "test": test,
        "bench": bench,
        "zip": build_zip,
    }
    parser = argparse.ArgumentParser(usage="python3 build.py COMMAND [ARGUMENT ...]", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("command", choices=commands, metavar="COMMAND", help="one of " + ", ".join(commands))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="for test, bench and zip only")
    options = parser.parse_args(arguments or ["--help"])
    if options.arguments and options.command not in ("test", "bench", "zip"):
        parser.error(f"{options.command} takes no arguments, and here is {shlex.join(options.arguments)}")
    try:
        commands[options.command](options.arguments)
    except BuildError as error:
        print(f"build.py {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"build.py {options.command}: interrupted; run it again to go on from here", file=sys.stderr)
        return 130
    return 0


# The commands


def setup() -> None:
    """Make `.venv/` so that `.venv/bin/berth` works."""
    refuse_odd_path(str(ROOT))
    make_venv()
    install_locked(LOCK)
    install_program()
    make_dashboard()


def run() -> None:
    """Set up, start the service, start the container `demo` and show it."""
    need_root("run", "containers need mounts and namespaces")
    setup()
    install_packages(RUN_NEEDS)
    demo = CACHE / "rootfs" / "demo"
    if not demo.exists():
        sys.path.insert(0, str(ROOT / "pyapp"))
        from demo import busybox  # the program's own: it is packed into the zip, too

        say(f"making the demo's root file system in {demo.relative_to(ROOT)}")
        busybox.make_rootfs(demo)
    call([BERTH, "serve", "--background"], "the service did not start; see its message above")
    if is_running("demo"):
        say("container demo is running already")
    else:
        call([BERTH, "start", "--name", "demo", "--rootfs", demo], "container demo did not start; see above")
    call([BERTH, "info", "demo"], "berth info demo failed; see its message above")
    print(WHAT_NEXT, flush=True)
    show_dashboard()


def show_dashboard() -> None:
    """Print a link that opens the dashboard, once the web process listens."""
    until = time.monotonic() + DASHBOARD_SECONDS
    while True:
        answer = subprocess.run([BERTH, "dashboard", "--json"], check=False, capture_output=True, text=True)
        if answer.returncode == 0:
            told = json.loads(answer.stdout)
            print(f"The dashboard, for the browser of the user with uid {told['uid']}, within {told['seconds']:.0f} s:")
            print(f"  {told['url']}\nLater, .venv/bin/berth dashboard prints another link.", flush=True)
            return
        if time.monotonic() > until:
            raise BuildError(
                f"{answer.stderr.strip().removeprefix('berth: ')}; see service.log where containers are kept"
            )
        time.sleep(0.1)


def is_running(name: str) -> bool:
    """Return whether container `name` exists and is running."""
    answer = subprocess.run([BERTH, "info", name, "--json"], check=False, capture_output=True, text=True)
    return answer.returncode == 0 and json.loads(answer.stdout)["state"] == "running"


def test(arguments: list[str]) -> None:
    """Install what the tests need, then run the checkers and the tests; `arguments` go on to pytest."""
    need_root("test", "the system tests start containers")
    setup()
    install_locked(TEST_LOCK)
    install_packages(TEST_NEEDS)
    steps: dict[str, list[str | Path]] = {
        "ruff check": [PYTHON, "-m", "ruff", "check", "."],
        "ruff format": [PYTHON, "-m", "ruff", "format", "--check", "."],
        "mypy": [PYTHON, "-m", "mypy", "--strict"],
        "import-linter": [VENV / "bin" / "lint-imports", "--no-logo", "--cache-dir", CACHE / "import-linter"],
        "shellcheck": ["shellcheck", "--", *shell_scripts()],
        "pytest": ["setpriv", "--pdeathsig", "TERM", "--", PYTHON, "-m", "tests.side_by_side", *arguments],
    }
    failed: list[str] = []
    summary: list[str] = []
    began = time.monotonic()
    for name, command in steps.items():
        say(f"test: {name}")
        started = time.monotonic()
        result = execute(command)
        summary.append(f"{name} {'failed' if result else 'passed'} in {time.monotonic() - started:.1f} s")
        if result:
            failed.append(name)
    say(f"{'; '.join(summary)}; all of it in {time.monotonic() - began:.0f} s")
    if failed:
        raise BuildError(f"failed: {', '.join(failed)}")


def bench(arguments: list[str]) -> None:
    """Install the peers and run the benchmark, which gets `arguments`."""
    need_root("bench", "it starts containers")
    setup()
    install_packages(BENCH_NEEDS)
    call([PYTHON, "-m", "tests.bench", *arguments], "the benchmark failed; see its message above")


def build_zip(arguments: list[str]) -> None:
    """Build `dist/berth-VERSION.zip`; `pyapp/packing` does it."""
    from packing import abi, errors, fetched, order

    parser = argparse.ArgumentParser(prog="build.py zip", description="Build the flashable module.  Needs no root.")
    about = f"for which processor (again for another); {abi.DEFAULT} when left out"
    parser.add_argument("--abi", action="append", choices=[*abi.ABIS], help=about)
    parser.add_argument("--debian-mirror", metavar="URL", help="where Debian's packages come from, if not as here")
    parser.add_argument("--cached", action="store_true", help="use what the last build fetched, without the network")
    parser.add_argument(
        "--releases", metavar="URL", default="", help="folder of published zips, for updates by managers"
    )
    options = parser.parse_args(arguments)
    make_dashboard()
    target = ROOT / "dist" / f"berth-{program_version()}.zip"
    wanted = order.Order(ROOT, CACHE / "zip", target, program_version(), options.abi or [abi.DEFAULT], options.releases)
    try:
        if not options.cached:
            fetched.fetch(wanted.abis, wanted.lock, options.debian_mirror, wanted.cache)
        order.place(wanted, "packing.assemble")
    except errors.PackingError as error:
        raise BuildError(str(error)) from error
    say(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.2f} MB")


def program_version() -> str:
    """Return the version of Berth in this checkout."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


# The virtual environment


def make_venv() -> None:
    """Make `.venv/`, or make it anew after the checkout was moved or its Python replaced."""
    stamp = VENV / "checkout"
    if stamp.is_file() and stamp.read_text() == venv_identity():
        return
    if importlib.util.find_spec("ensurepip") is None:
        install_packages({"python3-venv": "makes .venv/, which keeps Python packages apart from the system's"})
    say("making .venv/")
    call([sys.executable, "-m", "venv", "--clear", VENV], f"{sys.executable} could not make a virtual environment")
    stamp.write_text(venv_identity())


def venv_identity() -> str:
    """Return what `.venv/` depends on: where it stands (its scripts say so) and its Python; "" if that is gone."""
    try:
        version = subprocess.run(
            [PYTHON, "-IS", "-c", "import sys; print(sys.version)"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{ROOT}\n{version.stdout}"


def install_locked(lock: Path) -> None:
    """Install exactly what `lock` names, checked by hash, unless that was done already."""
    stamp = VENV / f"{lock.name}.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    names = [line.split("==")[0] for line in lock.read_text().splitlines() if "==" in line]
    say(f"installing into .venv/ what {lock.name} names: {', '.join(names)}")
    call(
        [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--require-hashes", "--requirement", lock],
        f"pip could not install {lock.name}; see its message above, check the network and run this again",
    )
    stamp.write_text(digest)


def install_program() -> None:
    """Make `import berth` work in `.venv/` and write `.venv/bin/berth`."""
    packages = VENV / "lib" / venv_python_name() / "site-packages"
    replace(packages / "berth.pth", f"{ROOT / 'pyapp'}\n", 0o644)
    replace(BERTH, launcher(str(PYTHON), [str(ROOT / "pyapp"), str(packages)]), 0o755)


def venv_python_name() -> str:
    """Return the folder name of the Python in `.venv/`, such as "python3.11"."""
    return next((VENV / "lib").glob("python3.*")).name


def make_dashboard() -> None:
    """Fetch the packages that the dashboard's page is made with, unless they are there already."""
    from packing import errors, front_end

    if not front_end.is_fetched(WEBROOT, CACHE / "packages") and shutil.which("npm") is None:
        install_packages({"npm": "fetches the packages of the dashboard"})
    try:
        if front_end.make(WEBROOT, CACHE / "packages"):
            say("put the packages that webroot/packages.lock names into webroot/vendor/")
    except errors.PackingError as error:
        raise BuildError(str(error)) from error


def launcher(python: str, search_path: Sequence[str]) -> str:
    """Return the text of the `berth` command, which starts `python` with `search_path` behind the standard library.

    -I and -S leave out `site` and what a user's environment adds to it, which is a quarter of the start of Python.
    """
    shebang = f"#!{python} -IS\n"
    if " " in python or len(os.fsencode(shebang)) > SHEBANG_LIMIT:
        # The kernel splits that line at the first space and cuts it: a shell runs Python on the file, to which
        # the same line is a string.
        shebang = f"#!/bin/sh\n'''exec' \"{python}\" -IS \"$0\" \"$@\"\n' '''\n"
    return (
        f"{shebang}import sys\nimport _signal\n\n"
        # Until a program inside has the keys, Ctrl-C ends the command at once, without a word from Python.
        "if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:\n"
        "    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)\n"
        f"sys.path += {list(search_path)!r}\n"
        # A developer's tools bring it, a phone has none; msgspec would take it, which is an eighth of a cold start.
        "sys.modules['typing_extensions'] = None\n\n"
        "from berth.__main__ import main\n\n"
        "sys.exit(main())\n"
    )


def refuse_odd_path(path: str) -> None:
    """Refuse a place for the checkout that neither a shell line nor a `.pth` file can name."""
    odd = sorted(set(path) & set("\"'\\$`\n\r"))
    if odd or not path.isprintable():
        raise BuildError(f"the path {path!r} contains {' '.join(map(repr, odd))}; move the checkout to a plainer one")


def replace(path: Path, text: str, mode: int) -> None:
    """Write `text` to `path` in one step, so that a program which is being started never sees half of it."""
    if path.is_file() and path.read_text() == text:
        return
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


# Debian packages


def install_packages(needs: Mapping[str, str]) -> None:
    """Install with apt those of `needs` (package: reason) that are missing, after saying which and why."""
    missing = {package: why for package, why in needs.items() if package not in installed_packages(needs)}
    if not missing:
        return
    for package, why in missing.items():
        say(f"installing {package}: {why}")
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        raise BuildError(f"there is no apt-get here (Berth is developed on Debian); install {names} by hand")
    need_root("installing packages", f"apt-get is to install {names}")
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]  # a fresh machine upgrades itself in the background
    surroundings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if execute([*apt, "update"], surroundings):
        say("apt-get update failed; going on with the package lists that are there")
    call(
        [*apt, "install", "--yes", "--no-install-recommends", *missing],
        f"apt-get could not install {names}; see its message above, check the network and run this again",
        surroundings,
    )


def installed_packages(names: Mapping[str, str]) -> set[str]:
    """Return those of `names` that dpkg has installed."""
    if shutil.which("dpkg-query") is None:
        return set()
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *names]
    answer = subprocess.run(query, check=False, capture_output=True, text=True)
    return {line.removeprefix("installed ") for line in answer.stdout.splitlines() if line.startswith("installed ")}


# Small things


def shell_scripts() -> list[Path]:
    """Return the shell scripts of the repository, by name or first line."""
    return [path for path in repository_files() if path.suffix == ".sh" or is_shell_script(path)]


def repository_files() -> Iterator[Path]:
    """Yield the files that belong to the repository, in order, leaving out what is made from them."""
    for folder, folders, files in os.walk(ROOT):
        made = (".", "__pycache__", "dist", *(["vendor"] if Path(folder) == WEBROOT else []))
        folders[:] = sorted(name for name in folders if name == ".ci" or not name.startswith(made))
        yield from (Path(folder, name) for name in sorted(files))


def is_shell_script(path: Path) -> bool:
    """Return whether the first line of `path` names a shell."""
    with path.open("rb") as file:
        first = file.readline(SHEBANG_LIMIT).split()
    return bool(first) and first[0].startswith(b"#!") and first[-1].rpartition(b"/")[2] in (b"sh", b"bash", b"mksh")


def need_root(what: str, why: str) -> None:
    """Refuse to go on as anybody but root."""
    if os.geteuid() != 0:
        raise BuildError(f"{what} needs root, because {why}; run it again as root")


def call(command: Sequence[str | Path], failure: str, environment: Mapping[str, str] | None = None) -> None:
    """Run `command` in the checkout; raise BuildError with the sentence `failure` when it fails."""
    result = execute(command, environment)
    if result:
        raise BuildError(f"{failure} (exit code {result})")


def execute(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> int:
    """Run `command` in the checkout, its output going where ours goes, and return its exit code (127: not found)."""
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
    except FileNotFoundError:
        print(f"{command[0]}: not found", file=sys.stderr)
        return 127
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # it has been told as well, and may have much to clean up
        raise


def say(sentence: str) -> None:
    """Print what happens next, marked off from the output of the programs that are called."""
    print(f"==> {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
