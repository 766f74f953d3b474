"""`zoo predict --out` stopped by a signal or a kill: the file is whole, the old one, or absent."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import start
from tests.workspaces import run

Make = Callable[..., Path]
SLOWLY = """
import time
from zoo_cli.training import inference
_predict = inference.predict_batch
def slowly(*arguments):
    time.sleep(0.2)
    return _predict(*arguments)
inference.predict_batch = slowly
"""


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_prediction_leaves_the_old_file(
    workspace: Make, tmp_path: Path, name: str, signum: int, code: int
) -> None:
    place = workspace(upto="split")
    out = place / "predictions" / name
    flags = ("predict", "student", "--data", f"folder:{place}/images", "--batch-size", "2", "--out", str(out))
    assert run(*flags, workspace=place).code == 0
    whole = out.read_bytes()
    out.write_text("old", encoding="utf-8")
    process = start(*flags, workspace=place, before=SLOWLY, place=tmp_path / "log")
    process.until(lambda: list(out.parent.glob(f".{name}.*.tmp")))
    process.send(signum)
    assert process.result().code == code
    assert out.read_text(encoding="utf-8") == "old"
    assert len(list(out.parent.iterdir())) == (1 if signum == signal.SIGTERM else 2)
    assert run(*flags, workspace=place).code == 0
    assert out.read_bytes() == whole
    assert list(out.parent.iterdir()) == [out]
