"""A fixture that makes workspaces."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import workspaces


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[..., Path]:
    """Makes workspaces: `workspace(upto="extract")`, `workspace(labelled="all")`."""
    places: list[Path] = []

    def make(**options: object) -> Path:
        places.append(workspaces.make(tmp_path / f"task{len(places)}", **options))  # type: ignore[arg-type]
        return places[-1]

    return make
