"""The claim of general transfer: its parts are disjoint, its search gives every method the same budget."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.marks import slow_unless

from ..shared_material import SHARED
from . import transfer

SCRIPT = Path(__file__).with_name("transfer.sh")


def write_pack(file: Path, count: int, start: int) -> None:
    ids = [f"{start + k}" for k in range(count)]
    pq.write_table(pa.table({"id": ids, "label": pa.array(np.arange(count) % 4, pa.int32())}), file)


def test_parts_are_disjoint_and_balanced(tmp_path: Path) -> None:
    write_pack(tmp_path / "p-train.parquet", 400, 0)
    write_pack(tmp_path / "p-test.parquet", 200, 1000)
    assert transfer.write_parts(tmp_path, tmp_path / "out", 0, "p") == {"transfer": 100, "test": 100, "seen": 100}
    tables = {name: pq.read_table(tmp_path / "out" / f"{name}.parquet") for name in ("transfer", "test", "seen")}
    ids = {name: set(table["id"].to_pylist()) for name, table in tables.items()}
    assert not ids["transfer"] & ids["test"]
    assert ids["transfer"] | ids["test"] == {str(1000 + k) for k in range(200)}
    assert all(int(name) < 400 for name in ids["seen"]), "from the images that the networks were trained on"
    for table in tables.values():
        assert set(Counter(table["label"].to_pylist()).values()) == {25}
    transfer.write_parts(tmp_path, tmp_path / "other", 1, "p")
    assert set(pq.read_table(tmp_path / "other" / "test.parquet")["id"].to_pylist()) != ids["test"]


def trial(method: str, steps: int, lr: float, accuracy: float, nll: float = 1.0) -> dict[str, Any]:
    return {"run": f"a--b--{method}--{steps}--{lr}", "n": 10, "accuracy": accuracy, "nll": nll}


def test_each_method_gets_its_best_rate_at_one_step_count() -> None:
    rows = [
        trial("kl", 10, 0.1, 0.5),
        trial("kl", 10, 0.2, 0.9),
        trial("kl", 20, 0.1, 0.6),
        trial("kl", 20, 0.2, 0.6, 0.5),
        trial("dp", 10, 0.1, 0.1),
        trial("dp", 10, 0.2, 0.1),
        trial("dp", 20, 0.1, 0.8),
        trial("dp", 20, 0.2, 0.7),
    ]
    steps, rates, trials = transfer.choose_settings(rows)
    assert steps == 20, "by the mean of both methods, not the best of one"
    assert rates == {"kl": 0.2, "dp": 0.1}, "ties by the negative log-likelihood"
    assert [row["chosen"] for row in trials] == [
        *(False, False, False, True),
        *(False, False, True, False),
    ]


def test_unequal_budgets_are_refused() -> None:
    rows = [trial("kl", 10, 0.1, 0.5), trial("kl", 10, 0.2, 0.5), trial("dp", 10, 0.1, 0.5)]
    with pytest.raises(ValueError, match="different budgets"):
        transfer.choose_settings(rows)


def test_diverged_trial_counts_as_all_wrong(tmp_path: Path) -> None:
    measured, diverged = tmp_path / "search.json", tmp_path / "diverged.txt"
    measured.write_text(json.dumps({"data": [trial("kl", 10, 0.1, 0.2), trial("dp", 10, 0.1, 0.2)]}))
    line = "zoo distill -C 'x' --student a --objective {} --lr 0.3 --name 'a--b--{}--10--0.3' "
    diverged.write_text("".join(line.format(m, m) + "\n" for m in ("kl", "dp", "dp")))
    rows = transfer.read_trials(measured, diverged)
    assert len(rows) == 4, "a trial counts once, however often it diverged"
    assert transfer.choose_settings(rows)[1] == {"kl": 0.1, "dp": 0.1}
    assert math.isinf(rows[-1]["nll"])


@pytest.mark.skipif(SHARED is None or shutil.which("bash") is None, reason="needs the development material")
@pytest.mark.parametrize("size", slow_unless(["small", "full"], ("small",)))
def test_search_has_equal_budgets_and_no_test_part(size: str, tmp_path: Path) -> None:
    result = subprocess.run(
        ["bash", str(SCRIPT), size, str(tmp_path / "work")],
        env={**os.environ, "PLAN": "1", "PYTHON": sys.executable, "ZOO_SHARED": str(SHARED), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = [line for line in result.stdout.splitlines() if "--objective" in line]
    assert lines
    assert all("/search' " in line for line in lines), "before the choice only held-out images are used"
    names = [transfer.parse_trial(line.partition("--name '")[2].partition("'")[0]) for line in lines]
    budgets: dict[str, list[tuple[Any, ...]]] = {}
    for name in names:
        budgets.setdefault(name["method"], []).append((name["student"], name["steps"], name["lr"]))
    assert set(budgets) == {"kl", "xe-kl", "mcl", "dp", "dp-unlabelled", "labels"}
    assert len({tuple(sorted(budget)) for budget in budgets.values()}) == 1
    task = (tmp_path / "work" / "drawing-0" / "search" / "zoo.toml").read_text().partition("[[source]]")[0]
    assert "train" not in task
    assert "test" not in task
