"""MCL: the loss of the fast weights, the update of the slow ones, and the weights that the student ends with."""

import copy
import dataclasses

import pytest
import torch

from tests.objectives import cases
from tests.objectives import reference_loops as reference
from tests.objectives.cases import Case, assert_agree
from tests.training import tiny_models as small
from tests.training.tiny_models import Run, weights
from zoo_cli import specs
from zoo_cli.errors import UsageError
from zoo_cli.objectives.mcl import MCL
from zoo_cli.objectives.teacher_context import TeacherContext
from zoo_cli.objectives.xe_kl import XeKL


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("k", [1, 2, 4, 5, 100])
def test_the_loss_is_its_formula(k, temperature):
    for seed in range(5):
        case = Case(seed, rows=8)
        actual = case.evaluate(MCL(case.context(temperature), k=k, alpha=0.68))
        assert_agree(
            actual,
            case.differentiate(
                lambda z, case=case: reference.mcl(z, case.teachers[0], case.labels, 0.68, k, temperature)
            ),
        )


def test_negative_flips_are_counted():
    counts = []
    for seed in range(5):
        case = Case(seed, rows=8)
        right = case.student.argmax(1) == case.labels
        counts.append((right & (case.teachers[0].argmax(1) != case.labels)).sum().item())
        assert case.evaluate(MCL(case.context()))[2]["negative_flips"].item() * 8 == pytest.approx(counts[-1])
    assert 0 < sum(counts) < 40


def test_only_labels_remain_if_all_rows_are_negative_flips():
    case = Case(0)
    case.labels = case.student.argmax(1)
    case.teachers = [-case.student]
    loss, gradient, terms = case.evaluate(MCL(case.context(), alpha=0.68))
    assert_agree(
        (loss, gradient),
        case.differentiate(lambda z: 0.32 * torch.nn.functional.cross_entropy(z, case.labels)),
    )
    assert terms["negative_flips"] == 1
    assert terms["distillation_kl"] == 0


def test_negative_flips_are_of_the_current_student():
    """The original is right and the teacher wrong, but the student is wrong by now: the row counts."""
    case = Case(0)
    case.original = 9.0 * torch.nn.functional.one_hot(case.labels, 5).double()
    case.student = 9.0 * torch.nn.functional.one_hot((case.labels + 1) % 5, 5).double()
    assert case.evaluate(MCL(case.context()))[2]["negative_flips"] == 0


def test_mcl_without_negative_flips_is_xe_kl():
    case = Case(1)
    case.labels = case.teachers[0].argmax(1)
    ours = case.evaluate(MCL(case.context(2.0), alpha=0.3, k=100))
    theirs = case.evaluate(XeKL(case.context(2.0), alpha=0.3))
    assert_agree(ours, theirs[:2])


def test_a_row_without_a_label_is_refused():
    case = Case(2, labelled=4)
    with pytest.raises(ValueError, match="2 rows have no label"):
        case.evaluate(MCL(case.context()))


def _make_mcl(student, steps=12, original=None, **options):
    """An MCL whose slow weights start from another network than the student, so that averages show both."""
    context = cases.make_context(student, steps=steps)
    original = small.Student(9).to(next(student.parameters()).dtype) if original is None else original
    return MCL(dataclasses.replace(context, original=original.eval()), **options)


def _slow(goal):
    return {key: value.clone() for key, value in goal.state_dict().items()}


@pytest.mark.parametrize(("steps", "every"), [(12, 2), (13, 2), (12, 1), (12, 5), (3, 2), (7, 7)])
@pytest.mark.parametrize("retention", [0.61, 0.0, 1.0, 0.05])
def test_slow_weights_keep_their_share_for_any_length(steps, every, retention):
    student = cases.EvalStudent().double()
    goal = _make_mcl(student, steps, retention=retention, steps_per_update=every)
    before = _slow(goal)
    Run(copy.deepcopy(student), goal, _double(small.batches(12, 0)), steps=steps, lr=0.0).train()
    for key, fast in student.state_dict().items():
        name = "slow/" + key.replace(".", "/")
        expected = retention * before[name] + (1 - retention) * fast if fast.is_floating_point() else fast
        torch.testing.assert_close(goal.state_dict()[name], expected, rtol=1e-12, atol=1e-14)


def _double(batches):
    def batch(step):
        single = batches(step)
        return dataclasses.replace(single, images=single.images.double())

    return batch


@pytest.mark.parametrize("every", [1, 2, 5])
def test_slow_weights_are_their_closed_form(every):
    """tau^n original + sum_j (1 - tau) tau^(n - j) fast_j; statistics are averaged too, integers copied."""
    student = small.Student().double()
    original = small.Student(9).double()
    untouched = weights(original)
    goal = _make_mcl(student, original=original, steps_per_update=every, tau=0.8)
    before = _slow(goal)
    run = Run(student, goal, _double(small.batches(12, 0)), lr=0.1, checkpoint_every=1).train()
    fast = [state.tensors for state in run.states if state.step % every == 0]
    n = len(fast)
    assert n == 12 // every
    assert torch.equal(weights(original), untouched)
    for key in student.state_dict():
        name = "slow/" + key.replace(".", "/")
        if key == "norm.num_batches_tracked":
            assert goal.state_dict()[name] == n * every
            continue
        expected = 0.8**n * before[name] + sum(0.2 * 0.8 ** (n - 1 - j) * fast[j][f"model/{key}"] for j in range(n))
        torch.testing.assert_close(goal.state_dict()[name], expected, rtol=1e-12, atol=1e-14)


def test_student_ends_with_the_slow_weights():
    student = small.Student()
    goal = MCL(cases.make_context(student))
    run = Run(student, goal, small.batches(12, 0), lr=0.1).train()
    fast = run.states[-1].tensors
    for key, value in run.student.state_dict().items():
        slow = goal.state_dict()["slow/" + key.replace(".", "/")]
        assert torch.equal(value, slow.to(value.dtype))
        if value.is_floating_point():
            assert not torch.equal(value, fast[f"model/{key}"])
    assert run.student.norm.num_batches_tracked == 12


def test_retention_zero_is_fast_and_one_is_initial():
    for retention, ends in ((0.0, "fast"), (1.0, "initial")):
        student = small.Student()
        initial = {key: value.clone() for key, value in student.state_dict().items()}
        run = Run(student, MCL(cases.make_context(student), retention=retention), small.batches(12, 0)).train()
        fast = {key: run.states[-1].tensors[f"model/{key}"] for key in initial}
        expected = fast if ends == "fast" else initial
        assert all(torch.equal(run.student.state_dict()[key], expected[key]) for key in initial if "tracked" not in key)


def test_fast_weights_do_not_depend_on_slow_ones():
    """Until the end they are bit-equal to those of a run with other slow weights."""
    runs = []
    for options in ({}, {"retention": 0.1, "steps_per_update": 3}):
        student = small.Student()
        runs.append(Run(student, MCL(cases.make_context(student), **options), small.batches(12, 0), lr=0.1).train())
    ours, theirs = ({k: v for k, v in run.states[-1].tensors.items() if "slow" not in k} for run in runs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    ours, theirs = ([{**row, "retention": None} for row in run.rows] for run in runs)
    assert ours == theirs


def test_reset_copies_slow_weights_and_keeps_momentum():
    def run(stop_after):
        student = small.Student()
        goal = MCL(cases.make_context(student), tau=0.5, steps_per_update=3, reset=True)
        return Run(student, goal, small.batches(12, 0), lr=0.1, stop_after=stop_after).train().states[-1].tensors

    updated, between = run(6), run(7)
    for key in small.Student().state_dict():
        slow = "objective/slow/" + key.replace(".", "/")
        assert torch.equal(updated[f"model/{key}"], updated[slow].to(updated[f"model/{key}"].dtype))
        assert torch.equal(updated[slow], between[slow])
    assert not torch.equal(between["model/conv.weight"], updated["model/conv.weight"])
    assert updated["momentum/model/conv.weight"].any()


def test_thousands_of_small_updates_are_not_lost():
    """The paper's 5,005 updates, by a ten-thousandth of a difference in the fourth digit."""
    original, fast = small.Student().head, small.Student().head
    fast.load_state_dict({key: value * (1 + 1e-4) for key, value in original.state_dict().items()})
    goal = MCL(TeacherContext((), original, 5005), steps_per_update=1)
    with torch.no_grad():
        for step in range(1, 5006):
            goal.after_step(fast, step)
    for key, value in original.state_dict().items():
        apart = fast.state_dict()[key].double() - value.double()
        moved = goal.state_dict()[f"slow/{key}"] - value.double()
        torch.testing.assert_close(moved, (1 - 0.61) * apart, rtol=1e-6, atol=0)


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stop", [1, 4, 5, 11])
def test_resume_between_updates_is_bit_equal(every, reset, stop):
    original = small.Student()

    def run(seed=0, **options):
        context = dataclasses.replace(cases.make_context(original), original=copy.deepcopy(original).eval())
        goal = MCL(context, steps_per_update=every, reset=reset)
        if seed:  # resuming replaces the slow weights
            goal.load_state_dict({key: value + 1 for key, value in goal.state_dict().items()})
        return Run(small.Student(seed), goal, small.batches(12, 0), lr=0.1, **options).train()

    whole, part = run(), run(stop_after=stop)
    rest = run(seed=7, resume=part.states[-1])
    assert torch.equal(weights(rest.student), weights(whole.student))
    assert torch.equal(weights(rest.goal), weights(whole.goal))
    assert part.rows + rest.rows == whole.rows


def test_retention_of_the_paper_is_61_percent():
    student = small.Student()
    goal = MCL(cases.make_context(student, steps=10010))
    assert goal.tau == pytest.approx(0.9999, abs=2e-6)
    assert MCL(cases.make_context(student), tau=goal.tau).tau ** 5005 == pytest.approx(0.61)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "mcl:alpha=1.5 is not between 0 and 1"),
        ({"retention": -0.1}, "mcl:retention=-0.1 is not between 0 and 1"),
        ({"tau": 1.01}, "mcl:tau=1.01 is not between 0 and 1"),
        ({"tau": float("nan")}, "mcl:tau=nan"),
        ({"k": 0}, "mcl:k=0 is below 1; expected a positive integer"),
        ({"steps_per_update": 0}, "mcl:steps_per_update=0 is below 1"),
        (
            {"steps_per_update": 13},
            "mcl:steps_per_update=13 is more than the 12 steps of the run",
        ),
        ({"retention": 0.5, "tau": 0.9}, "mcl:retention and mcl:tau cannot be combined; each determines the other"),
    ],
)
def test_value_out_of_range_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        MCL(cases.make_context(small.Student()), **options)


def test_parameters_come_from_a_spec():
    method = specs.resolve("objective", "mcl:retention=0.5,k=7,tau=none,reset=true,steps_per_update=3")
    assert method.function is MCL
    assert method.params == {"retention": 0.5, "k": 7, "tau": None, "reset": True, "steps_per_update": 3}
    with pytest.raises(UsageError, match="expected an integer"):
        specs.resolve("objective", "mcl:steps_per_update=1.5")


def test_log_has_the_retention():
    student = small.Student()
    goal = MCL(cases.make_context(student, steps=13), tau=0.5, steps_per_update=3)
    assert goal.summarize_means({"loss": 1.0}) == {"loss": 1.0, "retention": 0.5**4}
    kept = MCL(cases.make_context(student, steps=1000), retention=0.61).summarize_means({})["retention"]
    assert kept == pytest.approx(0.61)
