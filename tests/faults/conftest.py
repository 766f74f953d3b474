"""Workspaces of a test's own, and what every error must look like."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import workspaces


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[..., Path]:
    """Makes workspaces: `workspace(upto="extract")`, `workspace(labelled="all")`."""
    made: list[Path] = []

    def make(**said: object) -> Path:
        made.append(workspaces.make(tmp_path / f"task{len(made)}", **said))  # type: ignore[arg-type]
        return made[-1]

    return make
