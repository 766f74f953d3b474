"""Data partitioning: which teacher each row learns from, what is logged, and that a useless teacher changes nothing."""

import dataclasses
import itertools

import pytest
import torch

from tests.objectives import cases
from tests.objectives import reference_loops as reference
from tests.objectives.cases import Case, Table, Teacher, assert_agree
from tests.training import tiny_models as small
from tests.training.tiny_models import Run, weights
from zoo_cli import specs
from zoo_cli.errors import UsageError
from zoo_cli.objectives.dp import DP
from zoo_cli.objectives.kl import KL
from zoo_cli.objectives.supervised import Batch
from zoo_cli.objectives.teacher_context import TeacherContext

WAYS = [
    {"labels": labels, "select": select, "confidence": confidence}
    for labels, select, confidence in itertools.product((True, False), ("prob", "flip"), ("prob", "logit"))
    if labels or select == "prob"
]


def _name(way):
    return "-".join(str(value) for value in way.values())


@pytest.mark.parametrize("way", WAYS, ids=_name)
@pytest.mark.parametrize("teachers", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_dp_is_its_formula(way, teachers, temperature):
    for seed in range(4):
        case = Case(seed, rows=8, classes=4, teachers=teachers)
        labels = case.labels if way["labels"] else None
        args = (case.original, case.teachers, labels, way["select"], way["confidence"])
        actual = case.evaluate(DP(case.context(temperature), **way))
        assert_agree(actual, case.differentiate(lambda z, args=args: reference.dp(z, *args, temperature)))
        chosen = reference.choose(*args)
        assert actual[2]["given"].item() == pytest.approx(sum(choice > 0 for choice in chosen) / 8)


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_every_way_chooses_every_candidate(way):
    """So that the formula above is tested for every candidate."""
    seen = set()
    for seed in range(4):
        case = Case(seed, rows=8, classes=4, teachers=3)
        labels = case.labels if way["labels"] else None
        seen |= set(reference.choose(case.original, case.teachers, labels, way["select"], way["confidence"]))
    assert seen == {0, 1, 2, 3}


def test_the_ways_differ():
    case = Case(0, rows=40, classes=4, teachers=2)
    choices = [
        tuple(
            reference.choose(
                case.original, case.teachers, case.labels if way["labels"] else None, *list(way.values())[1:]
            )
        )
        for way in WAYS
    ]
    assert len(set(choices)) == len(WAYS)


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_ties_stay_with_the_original_student(way):
    """Teachers as confident as the original in its class, with other probabilities elsewhere."""
    rows = 6
    # powers of 2, whose sum is the same in any order
    original = torch.tensor([[1.0, 0.25, 0.125, 0.0625]], dtype=torch.float64).log().repeat(rows, 1)
    same = original[:, [0, 2, 1, 3]]
    context = TeacherContext((Teacher(Table(same)), Teacher(Table(original))), Table(original).eval(), 10)
    student = Table(torch.zeros(rows, 4, dtype=torch.float64))
    batch = Batch(torch.eye(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.long))
    loss, terms = DP(context, **way).loss(student, batch)
    assert terms["given"] == 0
    expected = reference.mean(reference.kl(t, s) for t, s in zip(original, student.logits, strict=True))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_better_teacher_everywhere_is_plain_distillation():
    case = Case(3)
    case.original = torch.zeros_like(case.original)
    case.teachers[0][torch.arange(6), case.labels] = 9.0
    ours, theirs = case.evaluate(DP(case.context())), case.evaluate(KL(case.context()))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert ours[2]["given"] == 1


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_order_and_repetition_of_teachers_do_not_matter(way):
    case = Case(4, rows=12, classes=4, teachers=2)
    first, second = case.teachers
    once = case.evaluate(DP(case.context(), **way))
    for order in ([first, second, first], [second, first]):
        case.teachers = order
        again = case.evaluate(DP(case.context(), **way))
        assert torch.equal(again[0], once[0])
        assert torch.equal(again[1], once[1])
        assert again[2]["given"] == once[2]["given"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_student_as_its_own_teacher_does_not_change(way, dtype):
    """Batch norm and dropout in eval, no weight decay, no momentum: no gradient, and no bit changes in 6 steps."""
    student = cases.EvalStudent().to(dtype)
    context = dataclasses.replace(
        cases.make_context(student), teachers=(Teacher(cases.EvalStudent().to(dtype)),), temperature=2.0
    )
    goal, batches = DP(context, **way), small.batches(12, 0)

    def batch(step):
        single = batches(step)
        return Batch(single.images.to(dtype), single.labels)

    loss, terms = goal.loss(student, batch(0))
    loss.backward()
    assert terms["given"] == 0
    assert all(p.grad.abs().max() <= 1e-12 for p in student.parameters())
    before = weights(student)
    Run(student, goal, batch, steps=6, lr=0.5, momentum=0.0, weight_decay=0.0).train()
    assert torch.equal(weights(student), before)
    moved = cases.EvalStudent().to(dtype)
    Run(moved, DP(cases.make_context(moved), **way), batch, steps=6, lr=0.5, momentum=0.0, weight_decay=0.0).train()
    assert not torch.equal(weights(moved), before)


def test_original_is_the_student_before_the_first_step():
    """A student that has changed is pulled back where the teacher is no better."""
    case = Case(5)
    case.teachers = [case.original.clone()]
    actual = case.evaluate(DP(case.context()))
    assert_agree(
        actual,
        case.differentiate(lambda z: reference.mean(reference.kl(t, s) for t, s in zip(case.original, z, strict=True))),
    )
    assert actual[1].abs().max() > 0.01


def test_labels_false_reads_no_labels():
    class Unread:
        def __getattribute__(self, name):
            raise AssertionError(f"labels.{name}")

    case = Case(6)
    with_labels = case.evaluate(DP(case.context(), labels=False))
    without = case.evaluate(DP(case.context(), labels=False), Batch(case.images, Unread()))
    assert torch.equal(with_labels[0], without[0])
    assert set(without[2]) == {"distillation_kl", "given"}


def test_row_without_label_is_refused():
    case = Case(7, labelled=4)
    with pytest.raises(ValueError, match="2 rows have no label"):
        case.evaluate(DP(case.context()))


@pytest.mark.parametrize("way", [way for way in WAYS if way["labels"]], ids=_name)
@pytest.mark.parametrize("teachers", [1, 2])
def test_flips_match_a_count_by_loops(way, teachers):
    totals = [0, 0, 0, 0]
    for seed in range(6):
        case = Case(seed, rows=8, classes=3, teachers=teachers)
        chosen = reference.choose(case.original, case.teachers, case.labels, way["select"], way["confidence"])
        expected = reference.flips(case.original, case.teachers, case.labels, chosen)
        terms = case.evaluate(DP(case.context(), **way))[2]
        names = ("positive_flips", "positive_given", "negative_flips", "negative_given")
        assert [terms[name].item() * 8 for name in names] == pytest.approx(expected)
        totals = [a + b for a, b in zip(totals, expected, strict=True)]
    assert min(totals[:3]) > 0
    if way["select"] == "flip":
        assert totals[1] == totals[0]
        assert totals[3] == 0
    elif way["confidence"] == "logit":
        assert totals[3] > 0  # by probability such rows are rare


def test_ratios_of_logged_means_are_shares_of_flips():
    """One image per step, so that most steps have no flip: the logged means are numbers, and divide correctly."""
    student = small.Student()
    context = cases.make_context(student)
    single_images = small.batches(1, 0)
    run = Run(cases.EvalStudent(), DP(context), single_images, steps=40, lr=0.0, log_every=40).train()
    images = torch.cat([single_images(step).images for step in range(40)])
    labels = torch.cat([single_images(step).labels for step in range(40)])
    with torch.no_grad():
        own, theirs = context.original(images)[1], context.teachers[0](images)
    chosen = reference.choose(own, [theirs], labels, "prob", "prob")
    positive, given, negative, lost = reference.flips(own, [theirs], labels, chosen)
    row = run.rows[0]
    assert 0 < positive < 40
    assert 0 < negative < 40
    assert row["positive_given"] / row["positive_flips"] == pytest.approx(given / positive)
    assert row["positive_share"] == pytest.approx(given / positive)
    assert "negative_share" not in DP(cases.make_context(small.Student())).summarize_means(
        {"negative_flips": 0.0, "negative_given": 0.0}
    )
    assert row["negative_given"] / row["negative_flips"] == pytest.approx(lost / negative)
    assert row["given"] == pytest.approx(sum(choice > 0 for choice in chosen) / 40)


def test_flips_without_labels_are_a_usage_error():
    with pytest.raises(UsageError, match="dp:select=flip needs labels; use labels=true"):
        DP(Case().context(), labels=False, select="flip")


def test_parameters_come_from_a_spec():
    method = specs.resolve("objective", "dp:labels=false,confidence=logit")
    assert method.function is DP
    assert method.params == {"labels": False, "confidence": "logit"}
    with pytest.raises(UsageError, match="one of: prob, flip"):
        specs.resolve("objective", "dp:select=both")
