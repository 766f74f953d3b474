"""The report of a whole workspace, drawn once for all tests."""

from pathlib import Path

import pytest

from tests.report.report_workspace import make_whole
from tests.workspaces import run


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which everything is stored, with its report.html."""
    place = make_whole(tmp_path_factory.mktemp("report") / "task")
    result = run("report", str(place))
    assert result.code == 0, result.err
    assert result.out == f"{place / 'report.html'}\n"
    return place
