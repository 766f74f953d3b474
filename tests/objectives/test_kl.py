"""Distillation from one teacher, with and without labels: the formulas and their limits."""

import pytest
import torch

from tests.objectives import cases
from tests.objectives import reference_loops as reference
from tests.objectives.cases import Case, assert_agree
from tests.training import tiny_models as small
from zoo_cli.errors import UsageError
from zoo_cli.objectives.kl import KL, kl_divergences
from zoo_cli.objectives.supervised import Supervised
from zoo_cli.objectives.teacher_context import TeacherContext
from zoo_cli.objectives.xe_kl import XeKL


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_kl_is_its_formula(seed, temperature):
    case = Case(seed, spread=6.0)
    actual = case.evaluate(KL(case.context(temperature)))
    assert_agree(
        actual,
        case.differentiate(
            lambda z: reference.mean(reference.kl(t, s, temperature) for t, s in zip(case.teachers[0], z, strict=True))
        ),
    )
    assert actual[2] == {"distillation_kl": actual[0]}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_xe_kl_is_its_formula_with_unlabelled_rows(alpha, temperature):
    case = Case(1, labelled=4)
    actual = case.evaluate(XeKL(case.context(temperature), alpha=alpha))
    assert_agree(
        actual,
        case.differentiate(lambda z: reference.xe_kl(z, case.teachers[0], case.labels, alpha, temperature)),
    )
    right = (case.student[:4].argmax(1) == case.labels).double().mean()
    assert actual[2]["labelled_accuracy"].item() == pytest.approx(right.item())


def test_divergence_is_zero_for_equal_logits_else_positive():
    z = 5 * torch.randn(200, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert kl_divergences(z, z.flip(0)).min() > 0
    torch.testing.assert_close(kl_divergences(z, z + 3), torch.zeros(200, dtype=torch.float64), rtol=0, atol=1e-14)


def test_equal_logits_have_exactly_zero_gradient():
    for dtype in (torch.float32, torch.float64):
        for temperature in (1.0, 0.7, 3.0):
            z = (8 * torch.randn(50, 11, generator=torch.Generator().manual_seed(1))).to(dtype).requires_grad_()
            kl_divergences(z, z.detach().clone(), temperature).mean().backward()
            assert not z.grad.any()


def test_targets_have_no_gradient():
    logits, targets = (torch.randn(3, 4, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in (0, 1))
    kl_divergences(logits, targets).sum().backward()
    assert logits.grad.any()
    assert targets.grad is None


def test_temperature_scales_logits_and_loss():
    """KL_T(z) = T^2 KL_1(z / T); and as T grows the gradient becomes that of a squared distance (Hinton 2015)."""
    case = Case(2)
    student, teacher = case.student.clone().requires_grad_(), case.teachers[0]
    torch.testing.assert_close(
        kl_divergences(student * 4, teacher * 4, 4.0), 16 * kl_divergences(student, teacher), rtol=1e-12, atol=1e-12
    )
    kl_divergences(student, teacher, 1e4).sum().backward()
    apart = student.detach() - teacher
    limit = (apart - apart.mean(1, keepdim=True)) / apart.shape[1]
    torch.testing.assert_close(student.grad, limit, rtol=1e-3, atol=1e-3)


def test_common_offset_costs_no_digits():
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
    exact = kl_divergences(z.double(), z.flip(0).double())
    offset = torch.tensor(2.0**10)  # the sums of these are exact to 2^-13
    moved = (z * 2**13).round() / 2**13
    torch.testing.assert_close(
        kl_divergences(moved + offset, moved.flip(0) + offset).double(), exact, rtol=2e-3, atol=1e-6
    )


def test_alpha_one_is_kl_and_zero_supervised():
    def run(make):
        student = small.Student()
        return small.Run(student, make(cases.make_context(student)), small.batches(12, 0)).train()

    for alpha, other in ((1.0, KL), (0.0, lambda _: Supervised())):
        ours, theirs = run(lambda context, alpha=alpha: XeKL(context, alpha=alpha)), run(other)
        assert torch.equal(small.weights(ours.student), small.weights(theirs.student))
        assert [row["loss"] for row in ours.rows] == [row["loss"] for row in theirs.rows]


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"logits \(2, 3\), targets \(1, 3\)"):
        kl_divergences(torch.zeros(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_zero_to_one_is_a_usage_error(alpha):
    with pytest.raises(UsageError, match=r"xe-kl:alpha=.* is not between 0 and 1; 1 is all teacher"):
        XeKL(Case().context(), alpha=alpha)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_nonpositive_temperature_is_a_usage_error(temperature):
    with pytest.raises(UsageError, match=r"temperature=.* is not positive"):
        TeacherContext((), small.Student(), 10, temperature)
