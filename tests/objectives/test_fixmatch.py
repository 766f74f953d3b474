"""FixMatch: its formula, what a threshold does, and that without confident answers it is supervised training."""

import dataclasses
import inspect

import pytest
import torch

from tests.objectives import cases, plain
from tests.objectives.cases import Table, agree
from tests.training import tiny_models as small
from tests.training.tiny_models import Run, weights
from zoo_cli.errors import UsageError
from zoo_cli.objectives.fixmatch import FixMatch
from zoo_cli.objectives.supervised import Batch, Supervised


def _case(seed=0, labelled=4, unlabelled=6, classes=4, spread=3.0):
    """(logits of all rows, batch): labelled, weak and strong rows of an identity matrix."""
    generator = torch.Generator().manual_seed(seed)
    rows = labelled + 2 * unlabelled
    logits = spread * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    images = torch.eye(rows, dtype=torch.float64)
    split = labelled + unlabelled
    return logits, Batch(images[:split], torch.arange(labelled) % classes, strong=images[split:])


def _parts(logits, labelled=4, unlabelled=6):
    return logits.split([labelled, unlabelled, unlabelled])


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95, 1.1])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize(
    ("options", "pair"),
    [
        ({}, (0.5, 0.5)),
        ({"lam": 0.8}, (0.8, 0.2)),
        ({"lam": 0.0}, (0.0, 1.0)),
        ({"unlabelled_weight": 2.5}, (1, 2.5)),
    ],
)
def test_fixmatch_is_its_formula(threshold, temperature, options, pair):
    for seed in range(3):
        logits, batch = _case(seed)
        student = Table(logits)
        loss, terms = FixMatch(threshold, temperature, **options).loss(student, batch)
        loss.backward()
        leaf = logits.clone().requires_grad_()
        told, weak, strong = _parts(leaf)
        wanted = plain.fixmatch(told, batch.labels, weak, strong, threshold, temperature, pair)
        wanted.backward()
        agree((loss.detach(), student.logits.grad), (wanted.detach(), leaf.grad))
        sure = (_parts(logits)[1] / temperature).softmax(1).amax(1) >= threshold
        assert terms["confident"].item() == pytest.approx(sure.double().mean().item())


def test_a_threshold_between_takes_some_rows_and_leaves_others():
    shares = [FixMatch(0.6).loss(Table(_case(seed)[0]), _case(seed)[1])[1]["confident"].item() for seed in range(3)]
    assert 0 < sum(shares) < 3


def test_the_weak_views_are_judges_and_never_learn():
    logits, batch = _case()
    student = Table(logits)
    FixMatch(0.0, lam=0.0).loss(student, batch)[0].backward()
    told, weak, strong = _parts(student.logits.grad)
    assert not told.any()
    assert not weak.any()
    assert strong.any(1).all()


def test_the_sum_is_divided_by_all_unlabelled_rows_and_not_by_the_confident():
    logits, batch = _case()
    logits[4:10] = 0
    logits[4, 2] = 50.0
    _, terms = FixMatch().loss(Table(logits), batch)
    wanted = plain.cross_entropy(logits[10], 2) / 6
    assert terms["confident"].item() == pytest.approx(1 / 6)
    assert terms["unlabelled_loss"].item() == pytest.approx(wanted.item())


def test_an_answer_at_the_threshold_counts():
    logits, batch = _case(classes=2)
    logits[4:10] = 0  # probabilities of exactly a half
    assert FixMatch(0.5).loss(Table(logits), batch)[1]["confident"] == 1
    assert FixMatch(0.5000001).loss(Table(logits), batch)[1]["confident"] == 0


def test_all_three_kinds_of_rows_go_through_the_student_together():
    calls = []
    student = small.Student()
    student.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    FixMatch().loss(student, cases.views(6, 4)(0))
    assert calls == [14]


def _joined(batch):
    """The same rows for supervised training, in the same order."""

    def joined(step):
        found = batch(step)
        return dataclasses.replace(found, images=torch.cat([found.images, found.strong]), strong=None)

    return joined


def test_a_threshold_above_one_is_supervised_training_bit_for_bit():
    batch = cases.views()
    ours = Run(goal=FixMatch(1.01, unlabelled_weight=1.0), batch=batch).train()
    theirs = Run(goal=Supervised(), batch=_joined(batch)).train()
    assert torch.equal(weights(ours.student), weights(theirs.student))
    for name in ("loss", "labelled_loss", "labelled_accuracy"):
        assert [row[name] for row in ours.rows] == [row[name] for row in theirs.rows]
    assert {row["confident"] for row in ours.rows} == {row["unlabelled_loss"] for row in ours.rows} == {0}


@pytest.mark.parametrize("lam", [0.5, 0.25, 1.0])
def test_a_threshold_above_one_leaves_lam_times_the_supervised_gradient(lam):
    batch = cases.views()
    gradients = []
    for goal, found in ((FixMatch(1.01, lam=lam), batch(0)), (Supervised(), _joined(batch)(0))):
        student = small.Student()
        student.drop.p = 0.0
        goal.loss(student, found)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters()]))
    assert torch.equal(gradients[0], lam * gradients[1])


def test_confident_answers_change_what_is_learnt():
    batch = cases.views()
    runs = [Run(goal=FixMatch(threshold), batch=batch).train() for threshold in (1.01, 0.0)]
    assert not torch.equal(weights(runs[0].student), weights(runs[1].student))


@pytest.mark.parametrize(("strong", "said"), [(None, "0 strong views of 6"), (slice(0, 5), "5 strong views of 6")])
def test_a_batch_whose_strong_views_are_missing_is_refused(strong, said):
    batch = cases.views()(0)
    batch = dataclasses.replace(batch, strong=None if strong is None else batch.strong[strong])
    with pytest.raises(ValueError, match=said):
        FixMatch().loss(small.Student(), batch)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"threshold": -0.1}, "--threshold -0.1"),
        ({"threshold": float("nan")}, "--threshold nan"),
        ({"temperature": 0.0}, "--temperature 0"),
        ({"temperature": float("inf")}, "--temperature inf"),
        ({"lam": 1.2}, "--lam 1.2"),
        ({"unlabelled_weight": -1.0}, "--unlabelled-weight -1"),
        ({"unlabelled_weight": float("inf")}, "--unlabelled-weight inf"),
    ],
)
def test_a_value_out_of_range_is_a_users_error(options, flag):
    with pytest.raises(UsageError, match=flag):
        FixMatch(**options)


def test_what_flags_say_is_no_parameter_of_the_spec():
    kinds = {p.kind for p in inspect.signature(FixMatch).parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
