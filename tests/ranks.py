"""A command in several processes, as torchrun starts them: forks of one warm process that meet through gloo."""

import socket
from collections.abc import Sequence
from pathlib import Path

from tests.faults.processes import Process, start
from tests.workspaces import Result

VARIABLES = """
import os
os.environ.update(
    RANK="{rank}", LOCAL_RANK="{rank}", WORLD_SIZE="{count}", LOCAL_WORLD_SIZE="{count}",
    MASTER_ADDR="127.0.0.1", MASTER_PORT="{port}", ZOO_WORKERS="0",
)
"""
ON_STEP = """
from zoo_cli.progress import Progress
_advance, _steps = Progress.advance, []
def _count(self, more):
    _advance(self, more)
    if self.title == "train" and more:
        _steps.append(more)
        if len(_steps) == {step}:
            os.kill(os.getpid(), {signum})
Progress.advance = _count
"""
"""A signal to the process itself after a training step."""


def start_ranks(
    *arguments: str, workspace: Path, place: Path, count: int = 2, before: str = "", only: Sequence[str] = ()
) -> list[Process]:
    """Start a command in `count` processes. `before`: python that runs first in all of them, `only`: in each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(
            *arguments,
            workspace=workspace,
            before=VARIABLES.format(rank=rank, count=count, port=port)
            + before
            + (only[rank] if rank < len(only) else ""),
            place=place / f"rank-{rank}",
        )
        for rank in range(count)
    ]


def run_ranks(*arguments: str, workspace: Path, place: Path, **options: object) -> list[Result]:
    """Run a command in several processes, see `start_ranks`; their results in the order of their ranks."""
    started = start_ranks(*arguments, workspace=workspace, place=place, **options)  # type: ignore[arg-type]
    return [process.result() for process in started]
