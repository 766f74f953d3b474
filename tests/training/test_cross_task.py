"""The cross-task objective: equation 4, its limits, and what it shows of itself."""

import math

import pytest
import torch

from tests.training import reference_loop, tiny_models
from zoo_cli import specs
from zoo_cli.errors import UsageError
from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.supervised import Batch, Supervised


class Fixed(torch.nn.Module):
    """A student whose images are its features, so that a test can say what the loss must be."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(tiny_models.FEATURES, tiny_models.CLASSES, dtype=torch.float64)

    def forward(self, images):
        return images, self.head(images)


def _case(labelled=5, unlabelled=4):
    _, targets, offsets = reference_loop.case(tiny_models.COUNTS, tiny_models.KINDS, rows=unlabelled)
    images = torch.randn(labelled + unlabelled, tiny_models.FEATURES, dtype=torch.float64)
    return Fixed(), Batch(images, torch.arange(labelled) % tiny_models.CLASSES, targets), offsets


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_equation_four(lam, temperature):
    student, batch, offsets = _case()
    objective = tiny_models.objective(lam, temperature=temperature).double()
    loss, terms = objective.loss(student, batch)
    labelled = torch.nn.functional.cross_entropy(student(batch.images[:5])[1], batch.labels)
    scores = objective.heads(batch.images[5:])
    each = reference_loop.losses(scores, batch.targets, offsets, tiny_models.KINDS, temperature)
    distilled = (torch.tensor(tiny_models.ALPHA, dtype=torch.float64) * each).sum()
    torch.testing.assert_close(loss, lam * labelled + (1 - lam) * distilled, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(terms["distillation_loss"], distilled.detach(), rtol=1e-12, atol=1e-12)
    assert 0 < terms["distillation_kl"] < terms["distillation_loss"]
    assert ("labelled_loss" in terms) == (lam > 0)
    assert not any(term.requires_grad for term in terms.values())


def test_labelled_accuracy_counts_labelled_rows():
    student, batch, _ = _case()
    right = student(batch.images)[1][:5].argmax(1)
    _, terms = tiny_models.objective().double().loss(student, Batch(batch.images, right, batch.targets))
    assert terms["labelled_accuracy"] == 1


def test_source_heads_read_the_students_features():
    """After dropout: a student that drops everything leaves the heads with their biases alone."""
    student = tiny_models.Student()
    student.drop.p = 1.0
    goal = tiny_models.objective(lam=0.0)
    goal.loss(student.train(), tiny_models.batches()(0))[0].backward()
    assert not goal.heads.weight.grad.any()
    assert goal.heads.bias.grad.any()


def test_both_halves_share_one_forward_pass():
    calls = []
    student = tiny_models.Student()
    student.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    tiny_models.objective().loss(student, tiny_models.batches(6, 4)(0))
    assert calls == [10]


def test_one_source_is_nearest_bit_for_bit():
    """Weights (0, 1, 0) whose sources are dropped, and the one source alone: one computation, the same bits."""
    runs = []
    for counts, kinds, alpha in (((7,), ("softmax",), (1.0,)), ((3, 7, 5), tiny_models.KINDS[:1] * 3, (0.0, 1.0, 0.0))):
        positive = [s for s, a in enumerate(alpha) if a > 0]
        goal = CrossTask(
            tiny_models.FEATURES,
            [counts[s] for s in positive],
            [kinds[s] for s in positive],
            [alpha[s] for s in positive],
            torch.Generator().manual_seed(3),
        )
        runs.append(tiny_models.Run(goal=goal, batch=tiny_models.batches(columns=7)).train())
    assert torch.equal(tiny_models.weights(runs[0].student), tiny_models.weights(runs[1].student))
    assert runs[0].rows == runs[1].rows


def test_sources_of_weight_zero_leave_the_loss_unchanged():
    student, batch, _ = _case()
    alone = CrossTask(tiny_models.FEATURES, (3,), ("sigmoid",), (1.0,), torch.Generator()).double()
    among = CrossTask(
        tiny_models.FEATURES, tiny_models.COUNTS, tiny_models.KINDS, (0.0, 1.0, 0.0), torch.Generator()
    ).double()
    with torch.no_grad():
        alone.heads.weight.copy_(among.heads.weight[7:10])
        alone.heads.bias.copy_(among.heads.bias[7:10])
    loss, _ = among.loss(student, batch)
    expected, _ = alone.loss(student, Batch(batch.images, batch.labels, batch.targets[:, 7:10]))
    torch.testing.assert_close(loss, expected, rtol=1e-14, atol=0)
    loss.backward()
    assert not among.heads.weight.grad[:7].any()
    assert not among.heads.weight.grad[10:].any()


def test_lam_one_is_supervised_training():
    runs = []
    for goal in (CrossTask(tiny_models.FEATURES, (), (), (), torch.Generator(), lam=1.0), Supervised()):
        runs.append(tiny_models.Run(goal=goal, batch=tiny_models.batches(12, 0)).train())
    assert torch.equal(tiny_models.weights(runs[0].student), tiny_models.weights(runs[1].student))
    assert runs[0].rows == runs[1].rows
    assert not list(runs[0].goal.parameters())


def test_heads_are_drawn_as_in_torch_from_the_generator():
    before = torch.get_rng_state()
    draws = [tiny_models.objective(seed=seed).heads for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0].weight, draws[1].weight)
    assert not torch.equal(draws[0].weight, draws[2].weight)
    big = CrossTask(100, (4000,), ("softmax",), (1.0,), torch.Generator().manual_seed(0)).heads
    theirs = torch.nn.Linear(100, 4000)
    for ours, reference in zip(big.parameters(), theirs.parameters(), strict=True):
        assert ours.abs().max() <= 1 / math.sqrt(100)
        assert ours.abs().max().item() == pytest.approx(reference.abs().max().item(), rel=1e-2)
        assert ours.std().item() == pytest.approx(reference.std().item(), rel=5e-2)


def test_loss_under_autocast_is_float32():
    student = tiny_models.Student().eval()
    batch = tiny_models.batches(32, 32)(0)
    exact, _ = tiny_models.objective().loss(student, batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert student(batch.images)[1].dtype == torch.bfloat16
        loss, terms = tiny_models.objective().loss(student, batch)
    assert {loss.dtype, *(term.dtype for term in terms.values())} == {torch.float32}
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize(
    ("batch", "lam"),
    [(tiny_models.batches(0, 6), 0.8), (tiny_models.batches(6, 0), 0.8), (tiny_models.batches(6, 0), 0.0)],
)
def test_batch_without_a_needed_half_is_refused(batch, lam):
    with pytest.raises(ValueError, match="the batch has no"):
        tiny_models.objective(lam).loss(tiny_models.Student(), batch(0))


def test_lam_zero_needs_no_labels():
    loss, terms = tiny_models.objective(0.0).loss(tiny_models.Student(), tiny_models.batches(0, 6)(0))
    assert loss == terms["distillation_loss"]


@pytest.mark.parametrize("options", [{"lam": 1.1}, {"lam": -0.1}, {"lam": math.nan}, {"temperature": 0.0}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match=r"lam=|temperature="):
        tiny_models.objective(**options)


def test_flags_are_not_parameters_of_the_spec():
    with pytest.raises(UsageError, match="lam"):
        specs.resolve("objective", "cross-task:lam=0.5")
    method = specs.resolve("objective", "cross-task")
    assert method.params == {}
    assert method.function is CrossTask


@pytest.mark.gpu
def test_gpu_agrees_with_cpu():
    losses = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        student, goal = tiny_models.Student().eval().to(device), tiny_models.objective().to(device)
        loss, _ = goal.loss(student, tiny_models.batches(32, 32)(0).to(device))
        loss.backward()
        losses.append([loss.cpu(), *(p.grad.cpu() for p in (*student.parameters(), *goal.parameters()))])
    for cpu, gpu in zip(*losses, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-3, atol=1e-4)
