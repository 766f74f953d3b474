"""Seconds until the first screen of help, and milliseconds of a TAB.

python -m tests.bench.bench_startup
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from zoo_cli.commands import command_line, completions

ROUNDS, TABS = 11, 200
QUIET = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
LIMIT = 10.0
"""Milliseconds allowed for a TAB."""
LINES = {
    "command": ("zoo ra", ("zoo", "ra")),
    "weighting": ("zoo rank --weighting=p=", ("zoo", "rank", "--weighting", "=", "p", "=")),
    "architecture": ("zoo distill --student torchvision:", ("zoo", "distill", "--student", "torchvision", ":")),
    "source": ("zoo extract --source ", ("zoo", "extract", "--source", "")),
    "flag": ("zoo distill --", ("zoo", "distill", "--")),
}
CALL = """
source "$1"
compopt() { :; }  # it works only while readline completes
COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS=("${@:5}") COMP_CWORD=$(($# - 5))
start=$EPOCHREALTIME
for ((tab = 0; tab < $4; tab++)); do _zoo zoo "$3"; done
end=$EPOCHREALTIME
echo "$((${end/[.,]/} - ${start/[.,]/})) ${#COMPREPLY[@]}"
"""


def startup() -> dict[str, dict[str, float]]:
    """Medians of ROUNDS of an empty Python program, of `zoo --help` and of one command's help, timed in turns.

    Wall time, and processor time, which is not affected by other programs.
    """
    forms = {
        "python -c pass": ["-c", "pass"],
        "zoo --help": ["-m", "zoo_cli", "--help"],
        "zoo rank --help": ["-m", "zoo_cli", "rank", "--help"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for turn in range(ROUNDS + 1):  # the first one warms up
        for name, words in forms.items():
            start = time.perf_counter()
            child = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ, file_actions=[QUIET])
            _, status, used = os.wait4(child, 0)
            assert status == 0, name
            if turn:
                times[name].append((time.perf_counter() - start, used.ru_utime + used.ru_stime))
    return {
        name: {"seconds": round(statistics.median(wall), 3), "processor seconds": round(statistics.median(busy), 3)}
        for name, (wall, busy) in ((name, zip(*pairs, strict=True)) for name, pairs in times.items())
    }


def tab() -> dict[str, float]:
    """Milliseconds of one TAB in bash: the mean of TABS in one process, in a workspace of forty sources."""
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "zoo.bash"
        script.write_text(completions.render_script("bash", command_line.describe_program()))
        for number in range(20):
            (Path(folder) / "features" / f"source=stored-{number}").mkdir(parents=True)
        tables = [f'[[source]]\nname = "declared-{number}"\nmodel = "torchvision:resnet50"\n' for number in range(20)]
        (Path(folder) / "zoo.toml").write_text("".join(tables))
        for name, (line, words) in LINES.items():
            typed = "" if words[-1] in ("=", ":") else words[-1]
            call = ["bash", "-c", CALL, "bash", str(script), line, typed, str(TABS), *words]
            result = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True)
            microseconds, offered = map(int, result.stdout.split())
            assert offered, result.stderr
            times[name] = round(microseconds / TABS / 1000, 3)
    return times


@pytest.mark.bench
def test_help_is_quick() -> None:
    times = startup()
    assert times["zoo --help"]["processor seconds"] < 0.5, times


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_tab_is_quick() -> None:
    times = tab()
    assert max(times.values()) <= LIMIT, times


if __name__ == "__main__":
    print(json.dumps({"start-up": startup(), "milliseconds of one TAB in bash": tab()}, indent=1))
