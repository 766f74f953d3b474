"""Distillation from heads: the formula against loops, its limits, and what it refuses."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.objectives import reference_loops
from tests.training import reference_loop
from tests.training import tiny_models as small
from zoo_cli.errors import UsageError
from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.heads import Heads
from zoo_cli.objectives.supervised import Batch, Supervised

LABELLED, UNLABELLED = 5, 4


class Fixed(nn.Module):
    """A student whose images are its features, so that a test can say what the loss must be."""

    def __init__(self, classes=small.CLASSES):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.head = nn.Linear(small.FEATURES, classes, dtype=torch.float64)

    def forward(self, images):
        return images, self.head(images)


def make(lam=0.3, seed=0, temperature=1.0, classes=small.CLASSES, **options):
    """The objective in float64; with sources only if `cross_task` is above 0."""
    sources = (small.COUNTS, small.KINDS, small.ALPHA) if options.get("cross_task") else ((), (), ())
    generator = torch.Generator().manual_seed(seed)
    return Heads(small.FEATURES, classes, *sources, generator, lam, temperature, **options).double()


def make_batch(sources, classes=small.CLASSES):
    """Random images and labels; the pool's answers with one row that is certain, and pseudo-labels behind them."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(LABELLED + UNLABELLED, small.FEATURES, generator=generator, dtype=torch.float64)
    pool, _, _ = reference_loop.case((classes,), ("softmax",), rows=UNLABELLED, seed=7)
    pool = (pool / 2).softmax(1)
    pool[0] = torch.eye(classes, dtype=torch.float64)[1]
    targets = pool.half()
    if sources:
        _, pseudo, _ = reference_loop.case(small.COUNTS, small.KINDS, rows=UNLABELLED)
        targets = torch.cat([targets, pseudo], 1)
    return Batch(images, torch.arange(LABELLED) % classes, targets)


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("cross_task", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("sharpen", [0.5, 1.0, 3.0])
def test_loss_and_gradient_match_loops(lam, cross_task, sharpen):
    batch = make_batch(cross_task > 0)
    goal = make(lam, cross_task=cross_task, sharpen=sharpen, temperature=2.0)
    results = []
    for reference in (False, True):
        student = Fixed()
        if reference:
            logits = student(batch.images)[1]
            term = 0.0
            if cross_task:
                scores = goal.sources.heads(batch.images[LABELLED:])
                offsets = goal.sources.offsets
                pseudo = batch.targets[:, small.CLASSES :]
                each = reference_loop.losses(scores, pseudo, offsets, small.KINDS, 2.0)
                term = sum(weight * loss for weight, loss in zip(small.ALPHA, each, strict=True))
            pool = batch.targets[:, : small.CLASSES].double()
            loss = reference_loops.heads(
                logits[:LABELLED], batch.labels, logits[LABELLED:], pool, term, lam, cross_task, sharpen
            )
        else:
            loss, _ = goal.loss(student, batch)
        loss.backward()
        results.append((loss.detach(), student.head.weight.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_terms_are_those_of_the_parts():
    batch = make_batch(sources=True)
    goal = make(0.2, cross_task=0.5, seed=4)
    loss, terms = goal.loss(Fixed(), batch)
    assert list(terms) == ["labelled_loss", "labelled_accuracy", "pool_kl", "distillation_loss", "distillation_kl"]
    parts = 0.5 * terms["pool_kl"] + 0.5 * terms["distillation_loss"]
    torch.testing.assert_close(loss.detach(), 0.2 * terms["labelled_loss"] + 0.8 * parts)
    cross_task = CrossTask(
        small.FEATURES, small.COUNTS, small.KINDS, small.ALPHA, torch.Generator().manual_seed(4), lam=0
    ).double()
    alone = dataclasses.replace(batch, targets=batch.targets[:, small.CLASSES :])
    assert torch.equal(cross_task.loss(Fixed(), alone)[0].detach(), terms["distillation_loss"])


def test_without_cross_task_there_are_no_source_heads():
    goal = make(0.2)
    assert not goal.state_dict()
    assert list(goal.loss(Fixed(), make_batch(sources=False))[1]) == ["labelled_loss", "labelled_accuracy", "pool_kl"]


def test_labels_alone_are_supervised_training():
    batch = make_batch(sources=False)
    assert torch.equal(make(1.0).loss(Fixed(), batch)[0], Supervised().loss(Fixed(), batch)[0])


def test_kl_is_zero_where_the_student_agrees():
    student, batch = Fixed(), make_batch(sources=False)
    answers = student(batch.images)[1][LABELLED:].softmax(1).detach()
    loss, terms = make(0.0).loss(student, dataclasses.replace(batch, targets=answers))
    loss.backward()
    assert abs(float(terms["pool_kl"])) < 1e-12
    assert float(student.head.weight.grad.abs().max()) < 1e-12


def test_rounding_to_float16_is_renormalised():
    """A thousand small answers lose mass: the loss must be that of answers which sum to 1."""
    classes = 1000
    student, batch = Fixed(classes), make_batch(sources=False, classes=classes)
    rounded = torch.full((UNLABELLED, classes), 1 / classes, dtype=torch.float64).half()
    assert not torch.equal(rounded.double().sum(1), torch.ones(UNLABELLED, dtype=torch.float64))
    exact = torch.full((UNLABELLED, classes), 1 / classes, dtype=torch.float64)
    losses = [
        make(0.0, classes=classes).loss(student, dataclasses.replace(batch, targets=targets))[0]
        for targets in (rounded, exact)
    ]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)


def test_sharpening_to_the_limit_is_the_best_answer():
    batch = make_batch(sources=False)
    hard = nn.functional.one_hot(batch.targets.argmax(1), small.CLASSES).half()
    sharpened = make(0.0, sharpen=1e-4).loss(Fixed(), batch)[0]
    expected = make(0.0).loss(Fixed(), dataclasses.replace(batch, targets=hard))[0]
    torch.testing.assert_close(sharpened, expected)
    assert sharpened.isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": 1.5}, "lam=1.5 is not between 0 and 1"),
        ({"lam": float("nan")}, "lam=nan"),
        ({"cross_task": -0.1}, "heads:cross_task=-0.1 is not between 0 and 1"),
        ({"cross_task": 2.0}, "heads:cross_task=2"),
        ({"sharpen": 0.0}, "heads:sharpen=0 is not positive"),
        ({"sharpen": float("inf")}, "heads:sharpen=inf"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        make(**options)


def test_targets_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"expected 4 columns"):
        make().loss(Fixed(), make_batch(sources=True))
    with pytest.raises(ValueError, match=r"expected 19 columns"):
        make(cross_task=0.5).loss(Fixed(), make_batch(sources=False))
    with pytest.raises(ValueError, match=r"targets None"):
        make().loss(Fixed(), dataclasses.replace(make_batch(sources=False), targets=None))


def test_sources_are_needed_only_with_cross_task():
    with pytest.raises(ValueError, match="0 sources"):
        Heads(small.FEATURES, small.CLASSES, (), (), (), torch.Generator(), cross_task=0.5)
