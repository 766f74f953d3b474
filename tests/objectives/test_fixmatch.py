"""FixMatch: its formula, its threshold, and that without confident predictions it is supervised training."""

import dataclasses
import inspect

import pytest
import torch

from tests.objectives import cases
from tests.objectives import reference_loops as reference
from tests.objectives.cases import Table, assert_agree
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
        labelled, weak, strong = _parts(leaf)
        expected = reference.fixmatch(labelled, batch.labels, weak, strong, threshold, temperature, pair)
        expected.backward()
        assert_agree((loss.detach(), student.logits.grad), (expected.detach(), leaf.grad))
        sure = (_parts(logits)[1] / temperature).softmax(1).amax(1) >= threshold
        assert terms["confident"].item() == pytest.approx(sure.double().mean().item())


def test_threshold_selects_some_rows():
    shares = [FixMatch(0.6).loss(Table(_case(seed)[0]), _case(seed)[1])[1]["confident"].item() for seed in range(3)]
    assert 0 < sum(shares) < 3


def test_weak_views_have_no_gradient():
    logits, batch = _case()
    student = Table(logits)
    FixMatch(0.0, lam=0.0).loss(student, batch)[0].backward()
    labelled, weak, strong = _parts(student.logits.grad)
    assert not labelled.any()
    assert not weak.any()
    assert strong.any(1).all()


def test_loss_is_averaged_over_all_unlabelled_rows():
    logits, batch = _case()
    logits[4:10] = 0
    logits[4, 2] = 50.0
    _, terms = FixMatch().loss(Table(logits), batch)
    expected = reference.cross_entropy(logits[10], 2) / 6
    assert terms["confident"].item() == pytest.approx(1 / 6)
    assert terms["unlabelled_loss"].item() == pytest.approx(expected.item())


def test_prediction_at_the_threshold_counts():
    logits, batch = _case(classes=2)
    logits[4:10] = 0  # probabilities of exactly a half
    assert FixMatch(0.5).loss(Table(logits), batch)[1]["confident"] == 1
    assert FixMatch(0.5000001).loss(Table(logits), batch)[1]["confident"] == 0


def test_all_rows_go_through_the_student_together():
    calls = []
    student = small.Student()
    student.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    FixMatch().loss(student, cases.strong_view_batches(6, 4)(0))
    assert calls == [14]


def _joined(batch):
    """The same rows in the same order, for supervised training."""

    def joined(step):
        views = batch(step)
        return dataclasses.replace(views, images=torch.cat([views.images, views.strong]), strong=None)

    return joined


def test_threshold_above_one_is_supervised_training():
    batch = cases.strong_view_batches()
    ours = Run(goal=FixMatch(1.01, unlabelled_weight=1.0), batch=batch).train()
    theirs = Run(goal=Supervised(), batch=_joined(batch)).train()
    assert torch.equal(weights(ours.student), weights(theirs.student))
    for name in ("loss", "labelled_loss", "labelled_accuracy"):
        assert [row[name] for row in ours.rows] == [row[name] for row in theirs.rows]
    assert {row["confident"] for row in ours.rows} == {row["unlabelled_loss"] for row in ours.rows} == {0}


@pytest.mark.parametrize("lam", [0.5, 0.25, 1.0])
def test_threshold_above_one_scales_supervised_gradient(lam):
    batch = cases.strong_view_batches()
    gradients = []
    for goal, views in ((FixMatch(1.01, lam=lam), batch(0)), (Supervised(), _joined(batch)(0))):
        student = small.Student()
        student.drop.p = 0.0
        goal.loss(student, views)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters()]))
    assert torch.equal(gradients[0], lam * gradients[1])


def test_confident_predictions_change_the_student():
    batch = cases.strong_view_batches()
    runs = [Run(goal=FixMatch(threshold), batch=batch).train() for threshold in (1.01, 0.0)]
    assert not torch.equal(weights(runs[0].student), weights(runs[1].student))


@pytest.mark.parametrize(("strong", "message"), [(None, "0 strong views of 6"), (slice(0, 5), "5 strong views of 6")])
def test_batch_without_strong_views_is_refused(strong, message):
    batch = cases.strong_view_batches()(0)
    batch = dataclasses.replace(batch, strong=None if strong is None else batch.strong[strong])
    with pytest.raises(ValueError, match=message):
        FixMatch().loss(small.Student(), batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"lam": 1.2}, "lam=1.2"),
        ({"unlabelled_weight": -1.0}, "unlabelled_weight=-1"),
        ({"unlabelled_weight": float("inf")}, "unlabelled_weight=inf"),
    ],
)
def test_value_out_of_range_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        FixMatch(**options)


def test_no_parameter_comes_from_a_spec():
    kinds = {p.kind for p in inspect.signature(FixMatch).parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
