"""The workspace that the commands of the rehearsal train in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..pipeline import head_answers


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with stored answers of heads, one for each module."""
    with head_answers.workspace_with_answers(tmp_path_factory.mktemp("rehearsal") / "task") as place:
        yield place
