"""The order of training on several domains: one domain a step, exact counts in every epoch, bit-equal after a stop."""

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.experts.single_workspace import expert, make
from tests.pipeline.test_bytes import contents
from tests.workspaces import CLASSES, run
from zoo_cli.pipeline.expert_config import KINDS
from zoo_cli.progress import Progress
from zoo_cli.store import parquet_files
from zoo_cli.training.round_plan import RoundPlan
from zoo_cli.training.rounds import draw_step

SIZES = (50, 7, 20)


@pytest.mark.parametrize(("per_domain", "batch_size"), [(20, 8), (20, 6), (3, 2), (50, 64), (2, 2), (17, 4), (9, 8)])
def test_counts_of_every_epoch_are_exact(per_domain: int, batch_size: int) -> None:
    plan = RoundPlan.of(SIZES, per_domain, batch_size, seed=1)
    for epoch in range(3):
        seen: dict[int, list[int]] = {domain: [] for domain in range(3)}
        for step in range(epoch * plan.epoch_steps, (epoch + 1) * plan.epoch_steps):
            taken = draw_step(plan, step)
            assert taken.epoch == epoch
            assert 2 <= len(taken.positions) <= max(batch_size, 3)
            assert taken.slots.tolist() == list(
                range(len(seen[taken.domain]), len(seen[taken.domain]) + len(taken.slots))
            )
            seen[taken.domain] += taken.positions.tolist()
        for domain, size in enumerate(SIZES):
            assert len(seen[domain]) == per_domain
            assert set(seen[domain]) <= set(range(size))
            if size >= per_domain:
                assert len(set(seen[domain])) == per_domain


def test_each_round_has_each_domain_once() -> None:
    plan = RoundPlan.of(SIZES, 40, 8, seed=0)
    rounds = [tuple(draw_step(plan, step).domain for step in range(start, start + 3)) for start in range(0, 300, 3)]
    assert all(sorted(order) == [0, 1, 2] for order in rounds)
    assert len(set(rounds)) == 6
    assert rounds != [
        tuple(draw_step(RoundPlan.of(SIZES, 40, 8, seed=1), step).domain for step in range(start, start + 3))
        for start in range(0, 300, 3)
    ]


def test_small_domain_is_drawn_with_replacement() -> None:
    plan = RoundPlan.of((7, 7000), 7000, 7000, seed=0)
    by_domain = {taken.domain: Counter(taken.positions.tolist()) for taken in (draw_step(plan, 0), draw_step(plan, 1))}
    assert by_domain[1] == Counter(range(7000))
    assert all(850 < by_domain[0][position] < 1150 for position in range(7))  # 1000 ± 29


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two domains of the same images; "few" has four of a class."""
    workspace = make(tmp_path_factory.mktemp("rounds") / "task")
    for name in CLASSES:
        (workspace / "few" / name).mkdir(parents=True)
        for number in range(4):
            shutil.copy(workspace / "images" / name / f"{number:02}.png", workspace / "few" / name)
    return workspace


def train(workspace: Path, kind: str, *arguments: str, out: str | None = None) -> int:
    words = ("--data", f"few=folder:{workspace / 'few'}", "--multi", kind, *arguments)
    return expert(workspace, *words, out=out or f"zoo/{kind}").code


def test_term_inside_a_round_resumes_bit_equal(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(workspace, "adapter") == 0
    expected = contents(workspace / "zoo/adapter")
    shutil.rmtree(workspace / "zoo/adapter")
    advance = Progress.advance
    stops = iter((1, 4, 3))
    left = [next(stops)]

    def count(self: Progress, more: int) -> None:
        advance(self, more)
        left[0] -= self.title == "train" and more > 0
        if left[0] == 0:
            left[0] = next(stops, -1)
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", count)
        assert [train(workspace, "adapter") for _ in range(4)] == [143, 143, 143, 0]
    assert contents(workspace / "zoo/adapter") == expected


def test_overwriting_replaces_all_of_a_folder(workspace: Path) -> None:
    assert train(workspace, "multi-bn", "--steps", "2", out="zoo/again") == 0
    assert train(workspace, "shared", "--steps", "2", out="zoo/again") == 2
    assert train(workspace, "shared", "--steps", "2", "--overwrite", out="zoo/again") == 0
    assert json.loads((workspace / "zoo/again/config.json").read_text())["zoo"]["multi"] == "shared"
    assert train(workspace, "shared", "--steps", "2", out="zoo/alone") == 0
    assert contents(workspace / "zoo/again").keys() == contents(workspace / "zoo/alone").keys()


@pytest.mark.parametrize("kind", KINDS)
def test_folder_holds_each_domain(workspace: Path, kind: str) -> None:
    assert train(workspace, kind, "--steps", "2", "--per-domain", "10", out=f"zoo/each-{kind}") == 0
    folder = workspace / f"zoo/each-{kind}"
    record = json.loads((folder / "config.json").read_text())["zoo"]
    assert [domain["name"] for domain in record["domains"]] == ["shapes", "few"] == record["trained_on"]
    for name, count in (("shapes", 6), ("few", 3)):
        ids = (
            parquet_files.read_parquet(folder / "domains" / name / "predictions.parquet", ["id"])
            .column("id")
            .to_pylist()
        )
        assert len(ids) == count
        assert all(each.startswith(f"{name}/train/") for each in ids)
        means = parquet_files.read_parquet(folder / "domains" / name / "source_means.parquet")
        assert means.column("class").to_pylist() == list(CLASSES)
    listed = run("evaluate", "accuracy", str(folder / "domains/few"), "--json", workspace=workspace)
    assert [row["n"] for row in listed.data] == [3]


def test_network_with_nothing_to_adapt_leaves_no_folder(workspace: Path) -> None:
    words = ("--data", f"few=folder:{workspace / 'few'}", "--multi", "multi-bn", "--model", "alpha")
    result = expert(workspace, *words, out="zoo/nothing")
    assert (result.code, result.error.split(";")[0]) == (
        2,
        "the network has no batch norm, so multi-bn has nothing to adapt",
    )
    assert not (workspace / "zoo/nothing").exists()
