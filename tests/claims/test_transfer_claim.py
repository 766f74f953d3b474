"""The claim of general transfer stays honest: its parts are disjoint, its search gives every method the same budget."""

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

from ..shared_material import SHARED
from . import transfer

SCRIPT = Path(__file__).with_name("transfer.sh")


def pack(file: Path, count: int, start: int) -> None:
    ids = [f"{start + k}" for k in range(count)]
    pq.write_table(pa.table({"id": ids, "label": pa.array(np.arange(count) % 4, pa.int32())}), file)


def test_the_halves_share_no_image_and_every_class_has_its_part(tmp_path: Path) -> None:
    pack(tmp_path / "p-train.parquet", 400, 0)
    pack(tmp_path / "p-test.parquet", 200, 1000)
    assert transfer.parts(tmp_path, tmp_path / "out", 0, "p") == {"transfer": 100, "test": 100, "seen": 100}
    read = {name: pq.read_table(tmp_path / "out" / f"{name}.parquet") for name in ("transfer", "test", "seen")}
    ids = {name: set(table["id"].to_pylist()) for name, table in read.items()}
    assert not ids["transfer"] & ids["test"]
    assert ids["transfer"] | ids["test"] == {str(1000 + k) for k in range(200)}
    assert all(int(name) < 400 for name in ids["seen"]), "what the networks were trained on"
    for table in read.values():
        assert set(Counter(table["label"].to_pylist()).values()) == {25}
    transfer.parts(tmp_path, tmp_path / "other", 1, "p")
    assert set(pq.read_table(tmp_path / "other" / "test.parquet")["id"].to_pylist()) != ids["test"]


def trial(method: str, steps: int, lr: float, accuracy: float, nll: float = 1.0) -> dict[str, Any]:
    return {"run": f"a--b--{method}--{steps}--{lr}", "n": 10, "accuracy": accuracy, "nll": nll}


def test_each_method_gets_its_best_rate_at_one_step_count_for_all() -> None:
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
    steps, rates, told = transfer.choose(rows)
    assert steps == 20, "the mean of both methods, not the best of one"
    assert rates == {"kl": 0.2, "dp": 0.1}, "of equal accuracies the lower negative log-likelihood"
    assert [row["chosen"] for row in told] == [
        *(False, False, False, True),
        *(False, False, True, False),
    ]


def test_a_search_of_unequal_budgets_is_refused() -> None:
    rows = [trial("kl", 10, 0.1, 0.5), trial("kl", 10, 0.2, 0.5), trial("dp", 10, 0.1, 0.5)]
    with pytest.raises(ValueError, match="different budgets"):
        transfer.choose(rows)


def test_a_trial_that_diverged_counts_and_loses(tmp_path: Path) -> None:
    measured, diverged = tmp_path / "search.json", tmp_path / "diverged.txt"
    measured.write_text(json.dumps({"data": [trial("kl", 10, 0.1, 0.2), trial("dp", 10, 0.1, 0.2)]}))
    line = "zoo distill -C 'x' --student a --objective {} --lr 0.3 --name 'a--b--{}--10--0.3' "
    diverged.write_text("".join(line.format(m, m) + "\n" for m in ("kl", "dp", "dp")))
    rows = transfer.trials(measured, diverged)
    assert len(rows) == 4, "named once however often it was tried"
    assert transfer.choose(rows)[1] == {"kl": 0.1, "dp": 0.1}
    assert math.isinf(rows[-1]["nll"])


def moved(method: str, delta: float, ahead: float, outcome: str) -> dict[str, Any]:
    teacher = {"difference": ahead, "transferred": 3, "offered": 6, "complementary": 0.06}
    said = {"student": "a", "given": "b", "method": method, "outcome": outcome}
    return {**said, "accuracy_before": 0.5, "delta": delta, "gained": 5, "lost": 3, "teachers": [teacher]}


def test_success_is_counted_as_the_paper_counts_it_and_as_the_test_does() -> None:
    rows = [
        moved("kl", 0.03, 0.2, "success"),
        moved("kl", 0.001, 0.005, "undecided"),
        moved("kl", -0.04, -0.2, "failure"),
        moved("kl", 0.0, -0.02, "undecided"),
    ]
    line = transfer.summary(rows).splitlines()[-1]
    assert line == "| kl | 2 of 4 (50 %) | 1 / 2 / 1 | -0.2 | -2.0 | +0.1 | +3.0 | 50 % |"


@pytest.mark.skipif(SHARED is None or shutil.which("bash") is None, reason="needs the development material")
@pytest.mark.parametrize("size", ["small", "full"])
def test_the_search_tries_every_method_alike_and_never_on_the_test_part(size: str, tmp_path: Path) -> None:
    said = subprocess.run(
        ["bash", str(SCRIPT), size, str(tmp_path / "work")],
        env={**os.environ, "PLAN": "1", "PYTHON": sys.executable, "ZOO_SHARED": str(SHARED), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = [line for line in said.stdout.splitlines() if "--objective" in line]
    assert lines
    assert all("/search' " in line for line in lines), "what is planned before the choice is on held-out images"
    names = [transfer.trial(line.partition("--name '")[2].partition("'")[0]) for line in lines]
    budgets: dict[str, list[tuple[Any, ...]]] = {}
    for name in names:
        budgets.setdefault(name["method"], []).append((name["student"], name["steps"], name["lr"]))
    assert set(budgets) == {"kl", "xe-kl", "mcl", "dp", "dp-unlabelled", "labels"}
    assert len({tuple(sorted(budget)) for budget in budgets.values()}) == 1
    task = (tmp_path / "work" / "drawing-0" / "search" / "zoo.toml").read_text().partition("[[source]]")[0]
    assert "train" not in task
    assert "test" not in task
