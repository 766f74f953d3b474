"""What a part of the first minutes needs and gives."""

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

Finding = dict[str, Any]
"""One line of the output."""


@dataclass(frozen=True)
class Setting:
    """The device, whether sizes are those of a CPU, and when the time is over, in the seconds of time.monotonic."""

    device: torch.device
    small: bool
    deadline: float

    @property
    def is_card(self) -> bool:
        return self.device.type == "cuda"

    def seconds_left(self, most: float) -> float:
        """The time that a part may take, at most `most`."""
        return max(1.0, min(most, self.deadline - time.monotonic()))

    def run_python(self, *arguments: str, most: float, prefix: tuple[str, ...] = ()) -> Finding:
        """Run Python in a process of its own: its exit code, seconds, and the end of what it prints."""
        command = [*prefix, sys.executable, *arguments]
        start = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.seconds_left(most), check=False)
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            code, out, err = "timeout", _text(error.stdout), _text(error.stderr)
        seconds = round(time.monotonic() - start, 1)
        return {"code": code, "seconds": seconds, "out": out.strip()[-2500:], "err": err.strip()[-800:] if code else ""}


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
