"""The workspace that the commands of the rehearsal train in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_cli.pipeline import prepare

from ..pipeline import head_answers
from ..pipeline.transfer_workspace import make


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with stored answers of heads, one for each module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prepare.MAKERS, "head-labels", head_answers.MAKER)
        place = make(tmp_path_factory.mktemp("rehearsal") / "task")
        head_answers.write_answers(place)
        yield place
