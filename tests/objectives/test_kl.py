"""Distillation from one teacher, with labels and without: the formulas, and their limits."""

import pytest
import torch

from tests.objectives import cases, plain
from tests.objectives.cases import Case, agree
from tests.training import tiny_models as small
from zoo_cli.errors import UsageError
from zoo_cli.objectives.kl import KL, divergences
from zoo_cli.objectives.supervised import Supervised
from zoo_cli.objectives.teacher_context import TeacherContext
from zoo_cli.objectives.xe_kl import XeKL


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_kl_is_its_formula(seed, temperature):
    case = Case(seed, spread=6.0)
    found = case.found(KL(case.taught(temperature)))
    agree(
        found,
        case.wanted(
            lambda z: plain.mean(plain.kl(t, s, temperature) for t, s in zip(case.teachers[0], z, strict=True))
        ),
    )
    assert found[2] == {"distillation_kl": found[0]}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_xe_kl_is_its_formula_also_where_some_rows_have_no_label(alpha, temperature):
    case = Case(1, labelled=4)
    found = case.found(XeKL(case.taught(temperature), alpha=alpha))
    agree(found, case.wanted(lambda z: plain.xe_kl(z, case.teachers[0], case.labels, alpha, temperature)))
    right = (case.student[:4].argmax(1) == case.labels).double().mean()
    assert found[2]["labelled_accuracy"].item() == pytest.approx(right.item())


def test_the_divergence_is_zero_where_both_agree_and_positive_elsewhere():
    z = 5 * torch.randn(200, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert divergences(z, z.flip(0)).min() > 0
    torch.testing.assert_close(divergences(z, z + 3), torch.zeros(200, dtype=torch.float64), rtol=0, atol=1e-14)


def test_equal_answers_leave_no_gradient_at_all_in_either_precision():
    for dtype in (torch.float32, torch.float64):
        for temperature in (1.0, 0.7, 3.0):
            z = (8 * torch.randn(50, 11, generator=torch.Generator().manual_seed(1))).to(dtype).requires_grad_()
            divergences(z, z.detach().clone(), temperature).mean().backward()
            assert not z.grad.any()


def test_the_answers_that_teach_learn_nothing():
    logits, targets = (torch.randn(3, 4, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in (0, 1))
    divergences(logits, targets).sum().backward()
    assert logits.grad.any()
    assert targets.grad is None


def test_a_temperature_is_a_scale_of_the_logits_and_its_square_of_the_loss():
    """KL_T(z) = T^2 KL_1(z / T); and as T grows the gradient becomes that of a squared distance (Hinton 2015)."""
    case = Case(2)
    student, teacher = case.student.clone().requires_grad_(), case.teachers[0]
    torch.testing.assert_close(
        divergences(student * 4, teacher * 4, 4.0), 16 * divergences(student, teacher), rtol=1e-12, atol=1e-12
    )
    divergences(student, teacher, 1e4).sum().backward()
    apart = student.detach() - teacher
    limit = (apart - apart.mean(1, keepdim=True)) / apart.shape[1]
    torch.testing.assert_close(student.grad, limit, rtol=1e-3, atol=1e-3)


def test_a_common_offset_of_the_logits_costs_no_digits():
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
    exact = divergences(z.double(), z.flip(0).double())
    offset = torch.tensor(2.0**10)  # the sums of these are exact to 2^-13
    moved = (z * 2**13).round() / 2**13
    torch.testing.assert_close(
        divergences(moved + offset, moved.flip(0) + offset).double(), exact, rtol=2e-3, atol=1e-6
    )


def test_alpha_one_is_kl_and_alpha_zero_supervised_bit_for_bit():
    def run(make):
        student = small.Student()
        return small.Run(student, make(cases.taught(student)), small.batches(12, 0)).train()

    for alpha, other in ((1.0, KL), (0.0, lambda _: Supervised())):
        ours, theirs = run(lambda taught, alpha=alpha: XeKL(taught, alpha=alpha)), run(other)
        assert torch.equal(small.weights(ours.student), small.weights(theirs.student))
        assert [row["loss"] for row in ours.rows] == [row["loss"] for row in theirs.rows]


def test_the_answers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"logits \(2, 3\), targets \(1, 3\)"):
        divergences(torch.zeros(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_zero_to_one_is_a_users_error(alpha):
    with pytest.raises(UsageError, match=r"xe-kl:alpha=.* is not between 0 and 1; 1 is all teacher"):
        XeKL(Case().taught(), alpha=alpha)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_not_positive_is_a_users_error(temperature):
    with pytest.raises(UsageError, match="--kd-temperature"):
        TeacherContext((), small.Student(), 10, temperature)
