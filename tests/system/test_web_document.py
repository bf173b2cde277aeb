"""The OpenAPI document against what the API does: requests made up from it, right and wrong, each answer as it says.

Not tried there: streams, which never end, revoking the token that is used, and a few requests that the document's
language can't tell from right ones (a container has one root, exactly one of two).
"""

import subprocess
from pathlib import Path

import pytest

import build
from tests.dashboard import shared

SECONDS = 900.0
pytestmark = [pytest.mark.system, pytest.mark.timeout(SECONDS + 300)]  # or it would be given up long before that


def test_every_answer_is_as_the_document_says(berth_home: Path, scratch: Path) -> None:
    with shared(berth_home) as dashboard:
        command: list[str | Path] = [
            build.VENV / "bin" / "schemathesis",
            "run",
            f"http://127.0.0.1:{dashboard.port}/api/v1/openapi.json",
            "--header",
            f"Authorization: Bearer {dashboard.token}",
            "--phases=coverage,fuzzing",
            "--max-examples=8",
            "--seed=1",
            "--no-color",
            "--request-timeout=120",
            "--exclude-checks=positive_data_acceptance",
            "--exclude-path-regex=/tokens/|/apps/|/(start|restart)$",  # "/" is a root that it finds, and would boot
        ]
        result = subprocess.run(
            command,
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            env={"HOME": str(scratch)},
        )
        assert result.returncode == 0, result.stdout[-4000:]
        for container in dashboard.get("/containers")["containers"]:
            dashboard.delete(f"/containers/{container['name']}")
