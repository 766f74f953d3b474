"""The small task with a fourth source, "delta", and the best source, "beta", without a head of its own."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from tests.pipeline.transfer_workspace import ok
from tests.workspaces import MODEL, edit
from tests.workspaces import make as make_task


def make(folder: Path) -> Path:
    """A workspace of its own in `folder`, after `zoo rank`."""
    shutil.copytree(_template(), folder)
    return folder


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="zoo-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = make_task(folder / "task")
    edit(place, 'name = "beta"', 'name = "beta"\nhead = false')
    edit(place, "width = 7, classes = 5", "width = 4, classes = 4")
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(f'\n[[source]]\nname = "delta"{MODEL.format(width=3, classes=4)}')
    ok("rank", workspace=place)
    return place
