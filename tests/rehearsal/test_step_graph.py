"""A step as a CUDA graph, on a pretended card: the bits of the plain step, and the plain step where it cannot be."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zoo_cli import console
from zoo_cli.objectives.supervised import Batch, Supervised
from zoo_cli.training import loop
from zoo_cli.training.checkpoints import CheckpointWriter, State
from zoo_cli.training.training_config import LoopOptions

from ..pipeline.test_objectives_resume import COMMANDS, LENGTH
from ..pipeline.transfer_workspace import make, model, ok, stopped
from ..training import tiny_models
from .pretended_card import Card, pretend_card

CUDA = torch.device("cuda")


@pytest.fixture
def card() -> Iterator[Card]:
    with pretend_card() as pretended:
        yield pretended


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("graph") / "task")


class Training:
    """A run of the loop on the card."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.rows: list[dict[str, float]] = []

    def train(self, objective=None, *, graph: bool, resume: State | None = None, steps: int = 12) -> dict[str, Tensor]:
        """The last state of a run, by name."""
        loop.train(
            tiny_models.Student(),
            tiny_models.objective() if objective is None else objective,
            tiny_models.batches() if objective is None else tiny_models.batches(12, 0),
            LoopOptions(steps=steps, log_every=3, checkpoint_every=5),
            device=CUDA,
            seed=0,
            resume=resume,
            save=self.states.append,
            log=self.rows.append,
            should_stop=lambda: False,
            graph=graph,
        )
        return self.states[-1].tensors


def assert_equal_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_graph_gives_the_bits_of_plain_steps(card: Card) -> None:
    plain, graph = Training(), Training()
    expected = plain.train(graph=False)
    assert card.launches["graph"] == 0
    assert_equal_bits(graph.train(graph=True), expected)
    assert card.launches["graph"] == 12 - 3
    assert graph.rows == plain.rows


@pytest.mark.usefixtures("card")
def test_graph_resumes_bit_equal() -> None:
    whole, rest = Training(), Training()
    expected = whole.train(graph=True)
    assert [state.step for state in whole.states] == [5, 10, 12]
    assert_equal_bits(rest.train(graph=True, resume=whole.states[0]), expected)
    assert rest.rows == whole.rows[1:]


class Reads(Supervised):
    """An objective that reads its loss on the host."""

    def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = super().loss(student, batch)
        assert loss.item() >= 0
        return loss, terms


@pytest.mark.usefixtures("card")
def test_step_that_waits_falls_back_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Training().train(Supervised(), graph=False)
    warnings: list[str] = []
    monkeypatch.setattr(console, "warn", warnings.append)
    assert_equal_bits(Training().train(Reads(), graph=True), expected)
    (warning,) = warnings
    assert warning.startswith("the step does not run as a CUDA graph (CUDA error: operation not permitted when")


@pytest.mark.parametrize("graph", [False, True])
def test_checkpoint_waits_for_the_card_twice(card: Card, graph: bool) -> None:
    """For the sums of the log, and for what is finite; and its thread, for the copies, which are not pageable."""
    options = LoopOptions(steps=10)
    trainer = loop.Trainer(tiny_models.Student(), tiny_models.objective(), options, CUDA, graph=graph)
    for step in range(5):
        trainer.step(step, tiny_models.batches()(step).to(CUDA, trainer.order))
    card.reset_counts()
    with CheckpointWriter(lambda _: None) as writer:
        writer.save(trainer.state(5))
    assert sorted(what for what, _ in card.waits.elements()) == ["synchronize", "tolist", "tolist"]


@pytest.mark.usefixtures("card")
def test_graph_stops_at_a_non_finite_loss() -> None:
    class Diverges(Supervised):
        def loss(self, student: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            loss, terms = super().loss(student, batch)
            return loss / (student.norm.num_batches_tracked != 7), terms

    run = Training()
    with pytest.raises(loop.NonFinite, match="the loss is not finite at step 7"):
        run.train(Diverges(), graph=True)
    assert [state.step for state in run.states] == [5]
    assert [row["step"] for row in run.rows] == [3, 6]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "mcl:reset" else pytest.mark.slow)
        for name in ("cross-task", "fixmatch", "kl", "mcl", "mcl:reset", "dp", "stored", "sequential", "soup", "sweep")
    ],
)
def test_commands_train_the_same_student_as_a_graph(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    students = []
    command = (*COMMANDS[name], *LENGTH, "--device", "cuda")
    with pretend_card() as card:
        for form in ("off", "graph", "stopped"):
            shutil.rmtree(workspace / "runs", ignore_errors=True)
            card.reset_counts()
            if form == "stopped":
                assert stopped(6, *command, workspace=workspace, monkeypatch=monkeypatch).code == 143
            result = ok(*command, *(() if form == "stopped" else ("--compile", form)), workspace=workspace)
            assert "warning" not in result.err
            assert bool(card.launches["graph"]) == (form != "off")
            students.append(model(workspace / "runs" / "mine"))
    assert students[0] == students[1] == students[2]
