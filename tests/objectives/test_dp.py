"""Data partitioning: who teaches which row, what is logged of it, and that a teacher with nothing to add is idle."""

import dataclasses
import itertools

import pytest
import torch

from tests.objectives import cases, plain
from tests.objectives.cases import Case, Table, Teacher, agree
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
        found = case.found(DP(case.taught(temperature), **way))
        agree(found, case.wanted(lambda z, args=args: plain.dp(z, *args, temperature)))
        chosen = plain.choices(*args)
        assert found[2]["given"].item() == pytest.approx(sum(choice > 0 for choice in chosen) / 8)


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_every_way_gives_some_rows_to_every_candidate(way):
    """The formula above is not compared on rows that all go one way."""
    seen = set()
    for seed in range(4):
        case = Case(seed, rows=8, classes=4, teachers=3)
        labels = case.labels if way["labels"] else None
        seen |= set(plain.choices(case.original, case.teachers, labels, way["select"], way["confidence"]))
    assert seen == {0, 1, 2, 3}


def test_the_ways_differ():
    case = Case(0, rows=40, classes=4, teachers=2)
    found = [
        tuple(
            plain.choices(case.original, case.teachers, case.labels if way["labels"] else None, *list(way.values())[1:])
        )
        for way in WAYS
    ]
    assert len(set(found)) == len(WAYS)


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_ties_stay_with_the_original_student(way):
    """Teachers as sure as the original of its class, of another opinion elsewhere; right where that is wrong not."""
    rows = 6
    # powers of 2, whose sum is the same in any order
    original = torch.tensor([[1.0, 0.25, 0.125, 0.0625]], dtype=torch.float64).log().repeat(rows, 1)
    same = original[:, [0, 2, 1, 3]]
    taught = TeacherContext((Teacher(Table(same)), Teacher(Table(original))), Table(original).eval(), 10)
    student = Table(torch.zeros(rows, 4, dtype=torch.float64))
    batch = Batch(torch.eye(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.long))
    loss, terms = DP(taught, **way).loss(student, batch)
    assert terms["given"] == 0
    wanted = plain.mean(plain.kl(t, s) for t, s in zip(original, student.logits, strict=True))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)


def test_a_teacher_that_knows_better_everywhere_is_plain_distillation():
    case = Case(3)
    case.original = torch.zeros_like(case.original)
    case.teachers[0][torch.arange(6), case.labels] = 9.0
    ours, theirs = case.found(DP(case.taught())), case.found(KL(case.taught()))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert ours[2]["given"] == 1


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_a_teacher_named_twice_counts_once_and_the_order_of_teachers_does_not_matter(way):
    case = Case(4, rows=12, classes=4, teachers=2)
    first, second = case.teachers
    once = case.found(DP(case.taught(), **way))
    for order in ([first, second, first], [second, first]):
        case.teachers = order
        again = case.found(DP(case.taught(), **way))
        assert torch.equal(again[0], once[0])
        assert torch.equal(again[1], once[1])
        assert again[2]["given"] == once[2]["given"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_a_student_taught_by_itself_does_not_move(way, dtype):
    """Batch norm and dropout in eval, no weight decay, no momentum: no gradient, and not a bit changes in 6 steps."""
    student = cases.Still().to(dtype)
    taught = dataclasses.replace(cases.taught(student), teachers=(Teacher(cases.Still().to(dtype)),), temperature=2.0)
    goal, plain_batch = DP(taught, **way), small.batches(12, 0)

    def batch(step):
        found = plain_batch(step)
        return Batch(found.images.to(dtype), found.labels)

    loss, terms = goal.loss(student, batch(0))
    loss.backward()
    assert terms["given"] == 0
    assert all(p.grad.abs().max() <= 1e-12 for p in student.parameters())
    before = weights(student)
    Run(student, goal, batch, steps=6, lr=0.5, momentum=0.0, weight_decay=0.0).train()
    assert torch.equal(weights(student), before)
    moved = cases.Still().to(dtype)
    Run(moved, DP(cases.taught(moved), **way), batch, steps=6, lr=0.5, momentum=0.0, weight_decay=0.0).train()
    assert not torch.equal(weights(moved), before)


def test_the_original_student_is_the_one_before_the_first_step():
    """A student that has moved is drawn back where the teacher has nothing to say."""
    case = Case(5)
    case.teachers = [case.original.clone()]
    found = case.found(DP(case.taught()))
    agree(
        found,
        case.wanted(lambda z: plain.mean(plain.kl(t, s) for t, s in zip(case.original, z, strict=True))),
    )
    assert found[1].abs().max() > 0.01


def test_without_labels_none_is_read():
    class Unread:
        def __getattribute__(self, name):
            raise AssertionError(f"labels.{name}")

    case = Case(6)
    with_labels = case.found(DP(case.taught(), labels=False))
    without = case.found(DP(case.taught(), labels=False), Batch(case.images, Unread()))
    assert torch.equal(with_labels[0], without[0])
    assert set(without[2]) == {"distillation_kl", "given"}


def test_a_row_without_a_label_is_refused_where_labels_are_asked_for():
    case = Case(7, labelled=4)
    with pytest.raises(ValueError, match="2 rows have no label"):
        case.found(DP(case.taught()))


@pytest.mark.parametrize("way", [way for way in WAYS if way["labels"]], ids=_name)
@pytest.mark.parametrize("teachers", [1, 2])
def test_the_flips_are_counted_as_a_person_counts_them(way, teachers):
    totals = [0, 0, 0, 0]
    for seed in range(6):
        case = Case(seed, rows=8, classes=3, teachers=teachers)
        chosen = plain.choices(case.original, case.teachers, case.labels, way["select"], way["confidence"])
        wanted = plain.flips(case.original, case.teachers, case.labels, chosen)
        terms = case.found(DP(case.taught(), **way))[2]
        names = ("positive_flips", "positive_given", "negative_flips", "negative_given")
        assert [terms[name].item() * 8 for name in names] == pytest.approx(wanted)
        totals = [a + b for a, b in zip(totals, wanted, strict=True)]
    assert min(totals[:3]) > 0
    if way["select"] == "flip":
        assert totals[1] == totals[0]
        assert totals[3] == 0
    elif way["confidence"] == "logit":
        assert totals[3] > 0  # by probability such rows are rare


def test_ratios_of_logged_means_are_the_shares_of_all_flips():
    """One image a step, so that most steps have no flip at all: the row holds numbers, and they divide rightly."""
    student = small.Student()
    taught = cases.taught(student)
    one = small.batches(1, 0)
    run = Run(cases.Still(), DP(taught), one, steps=40, lr=0.0, log_every=40).train()
    images = torch.cat([one(step).images for step in range(40)])
    labels = torch.cat([one(step).labels for step in range(40)])
    with torch.no_grad():
        own, theirs = taught.original(images)[1], taught.teachers[0](images)
    chosen = plain.choices(own, [theirs], labels, "prob", "prob")
    positive, given, negative, lost = plain.flips(own, [theirs], labels, chosen)
    row = run.rows[0]
    assert 0 < positive < 40
    assert 0 < negative < 40
    assert row["positive_given"] / row["positive_flips"] == pytest.approx(given / positive)
    assert row["positive_share"] == pytest.approx(given / positive)
    assert "negative_share" not in DP(cases.taught(small.Student())).told(
        {"negative_flips": 0.0, "negative_given": 0.0}
    )
    assert row["negative_given"] / row["negative_flips"] == pytest.approx(lost / negative)
    assert row["given"] == pytest.approx(sum(choice > 0 for choice in chosen) / 40)


def test_flips_without_labels_are_a_users_error():
    with pytest.raises(UsageError, match="dp:select=flip asks for labels; take labels=true"):
        DP(Case().taught(), labels=False, select="flip")


def test_its_parameters_are_those_a_spec_can_say():
    method = specs.resolve("objective", "dp:labels=false,confidence=logit")
    assert method.function is DP
    assert method.params == {"labels": False, "confidence": "logit"}
    with pytest.raises(UsageError, match="one of: prob, flip"):
        specs.resolve("objective", "dp:select=both")
