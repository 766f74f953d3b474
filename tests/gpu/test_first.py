"""The two commands for the first minutes on a card run on a CPU, so that no minute is lost to a mistake in them."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("command", ["correctness", "figures"])
def test_first_minutes_run_on_a_cpu(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.first", command, "cpu", "small"], capture_output=True, text=True, check=True
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(findings) > 5
    assert [finding for finding in findings if "error" in finding or finding.get("code", 0) != 0] == []
