"""What a cold `berth` imports before it reaches the service: each module is time on a slow phone."""

import subprocess
import sys
from pathlib import Path

PYAPP = Path(__file__).resolve().parents[2] / "pyapp"

# Everything but what the interpreter brings with it (python -I -S -c pass) and os with its own imports.
ALLOWED = {"_json", "_socket", "berth", "berth.cli", "berth.cli.client", "berth.home"}
WITH_OS = {"_collections_abc", "_stat", "abc", "_abc", "genericpath", "os", "os.path", "posixpath", "stat", "errno"}

LIST_MODULES = """
import sys
before = set(sys.modules)
sys.path.append({path!r})
sys.argv = ["berth", "list"]
from berth.cli import client
client._connect = lambda: sys.exit("\\n".join(sorted(set(sys.modules) - before)))
client.main()
"""


def test_the_command_imports_nothing_but_a_socket_before_it_connects() -> None:
    code = LIST_MODULES.format(path=str(PYAPP))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)

    assert set(done.stderr.split()) - WITH_OS <= ALLOWED
    assert "berth.cli.client" in done.stderr


def test_the_version_needs_no_connection() -> None:
    code = f"import sys; sys.path.append({str(PYAPP)!r}); sys.argv = ['berth', 'version']\n"
    code += "from berth.cli import client; client._connect = None; sys.exit(client.main())"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("berth ")
