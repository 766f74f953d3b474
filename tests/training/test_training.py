"""The loop: its steps, bit-equal repetition and resumption, and how it stops."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training import tiny_models
from tests.training.tiny_models import Run, weights
from zoo_cli.errors import ContractError, ParameterError, UsageError, ZooError
from zoo_cli.objectives.supervised import Batch, Objective, Supervised
from zoo_cli.training import loop
from zoo_cli.training.loop import NonFinite, State, learning_rate
from zoo_cli.training.training_config import LoopOptions


def test_constant_schedule_is_the_rate():
    options = LoopOptions(steps=7, lr=0.3, schedule="constant")
    assert [learning_rate(options, step) for step in range(7)] == [0.3] * 7


def test_cosine_schedule_is_half_a_wave():
    options = LoopOptions(steps=8, lr=2.0, schedule="cosine")
    assert learning_rate(options, 0) == 2.0
    assert learning_rate(options, 4) == pytest.approx(1.0)
    assert [learning_rate(options, step) for step in range(8)] == pytest.approx(
        [2 * math.cos(math.pi * step / 16) ** 2 for step in range(8)]
    )


def test_steps_schedule_falls_at_half_and_five_sixths():
    options = LoopOptions(steps=30, lr=1.0, schedule="steps")
    rates = [learning_rate(options, step) for step in range(30)]
    assert rates == pytest.approx([1.0] * 15 + [0.1] * 10 + [0.01] * 5)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "steps"])
def test_warmup_is_linear(schedule):
    options = LoopOptions(steps=100, lr=0.4, warmup=4, schedule=schedule)
    assert [learning_rate(options, step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "steps"])
@pytest.mark.parametrize("warmup", [0, 10, 50])
def test_rates_lie_between_zero_and_lr(schedule, warmup):
    options = LoopOptions(steps=10, lr=0.4, warmup=warmup, schedule=schedule)
    assert all(0 < learning_rate(options, step) <= 0.4 for step in range(10))


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"lr": -1.0},
        {"lr": math.nan},
        {"momentum": math.inf},
        {"schedule": "step"},
        {"precision": "fp16"},
        {"warmup": -1},
        {"momentum": 0.0, "nesterov": True},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        LoopOptions(**{"steps": 10, **options})


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_step_is_sgd_with_momentum_and_weight_decay(momentum, nesterov):
    """Against the update rule written out, for three steps in float64."""
    student = tiny_models.Student().double()
    student.drop.p = 0.0
    parameters = {name: p.detach().clone() for name, p in student.named_parameters()}
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}

    def batch(step: int) -> Batch:
        single = tiny_models.batches(12, 0)(step)
        return Batch(single.images.double(), single.labels)

    model = tiny_models.Student().double().train()
    model.drop.p = 0.0
    for step in range(3):
        for p in parameters.values():
            p.requires_grad_()
        loss = nn.functional.cross_entropy(
            torch.func.functional_call(model, parameters, batch(step).images)[1], batch(step).labels
        )
        grads = torch.autograd.grad(loss, list(parameters.values()))
        for (name, p), g in zip(list(parameters.items()), grads, strict=True):
            g = g + 0.01 * p.detach()
            velocity[name] = momentum * velocity[name] + g
            moved = g + momentum * velocity[name] if nesterov else velocity[name]
            parameters[name] = p.detach() - 0.1 * moved
    run = Run(
        student,
        Supervised(),
        batch,
        steps=3,
        lr=0.1,
        momentum=momentum,
        weight_decay=0.01,
        nesterov=nesterov,
        schedule="constant",
    ).train()
    for name, p in run.student.named_parameters():
        torch.testing.assert_close(p.detach(), parameters[name].detach(), rtol=1e-12, atol=1e-12)


def test_training_lowers_the_logged_loss():
    run = Run(goal=tiny_models.objective(lam=0.9), steps=200, lr=0.1, log_every=20).train()
    assert run.rows[-1]["labelled_loss"] < 0.7 * run.rows[0]["labelled_loss"]
    assert run.rows[-1]["labelled_accuracy"] > run.rows[0]["labelled_accuracy"] + 0.2
    assert run.rows[-1]["distillation_kl"] < run.rows[0]["distillation_kl"]


def test_equal_seeds_give_equal_bits():
    first, second, other = (Run(seed=seed).train() for seed in (1, 1, 2))
    assert torch.equal(weights(first.student), weights(second.student))
    assert torch.equal(weights(first.goal), weights(second.goal))
    assert first.rows == second.rows
    assert not torch.equal(weights(first.student), weights(other.student))


def test_global_random_state_is_untouched():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = Run().train()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert torch.equal(weights(first.student), weights(Run().train().student))


@pytest.fixture(scope="module")
def unbroken():
    return Run(steps=30, checkpoint_every=1, warmup=3).train()


@settings(max_examples=15, deadline=None)
@given(breaks=st.lists(st.integers(1, 29), max_size=3, unique=True).map(sorted))
def test_resume_anywhere_is_bit_equal(unbroken, breaks):
    rows, state = [], None
    for stop in [*breaks, None]:
        seeds = iter(range(90, 100))  # what the networks hold before a resume does not matter
        student = tiny_models.Student(0 if state is None else next(seeds))
        goal = tiny_models.objective(seed=0 if state is None else next(seeds))
        run = Run(student, goal, steps=30, warmup=3, resume=state, stop_after=stop).train()
        rows += run.rows
        state = run.states[-1]
        assert run.outcome == loop.Outcome(stop or 30, stopped=stop is not None)
        assert state.step == run.outcome.step
    assert torch.equal(weights(run.student), weights(unbroken.student))
    assert torch.equal(weights(run.goal), weights(unbroken.goal))
    assert rows == unbroken.rows


def test_state_survives_safetensors_and_json(unbroken, tmp_path):
    from safetensors.torch import load_file, save_file

    state = unbroken.states[16]
    save_file(state.tensors, tmp_path / "state.safetensors")
    read = State(state.step, load_file(tmp_path / "state.safetensors"), json.loads(json.dumps(state.log)))
    run = Run(steps=30, warmup=3, resume=read).train()
    assert torch.equal(weights(run.student), weights(unbroken.student))


def test_state_is_a_copy(unbroken):
    first, last = unbroken.states[0].tensors, unbroken.states[-1].tensors
    assert not torch.equal(first["model/conv.weight"], last["model/conv.weight"])
    assert not torch.equal(first["momentum/objective/heads.weight"], last["momentum/objective/heads.weight"])
    assert not torch.equal(first["rng/cpu"], last["rng/cpu"])
    assert first["model/norm.num_batches_tracked"] == 1


def test_resume_of_finished_run_does_nothing(unbroken):
    run = Run(steps=30, warmup=3, resume=unbroken.states[-1]).train()
    assert run.outcome == loop.Outcome(30, stopped=False)
    assert torch.equal(weights(run.student), weights(unbroken.student))
    assert not run.rows
    assert not run.states


def test_checkpoints_and_rows_come_when_due_and_at_the_end():
    run = Run(steps=12, checkpoint_every=5, log_every=5).train()
    assert [state.step for state in run.states] == [5, 10, 12]
    assert [row["step"] for row in run.rows] == [5, 10, 12]
    never = Run(steps=12, checkpoint_every=0, log_every=0).train()
    assert [state.step for state in never.states] == [row["step"] for row in never.rows] == [12]


def test_rows_are_means_over_their_interval():
    each = Run(steps=10, log_every=1).train().rows
    pairs = Run(steps=10, log_every=4).train().rows
    for row, steps in zip(pairs, (each[:4], each[4:8], each[8:]), strict=True):
        for name in ("loss", "labelled_loss", "distillation_loss", "distillation_kl", "labelled_accuracy"):
            assert row[name] == pytest.approx(sum(step[name] for step in steps) / len(steps), rel=1e-12)
        assert row["lr"] == steps[-1]["lr"]
        assert row["step"] == steps[-1]["step"]
    assert list(pairs[0]) == [
        "step", "loss", "labelled_loss", "labelled_accuracy", "distillation_loss", "distillation_kl", "lr",
    ]  # fmt: skip
    json.dumps(pairs)


def test_stop_saves_its_step():
    run = Run(stop_after=4).train()
    assert run.outcome == loop.Outcome(4, stopped=True)
    assert [state.step for state in run.states] == [4]
    assert run.stop_calls == 4


def test_stop_at_last_step_finishes():
    assert Run(steps=4, stop_after=4).train().outcome == loop.Outcome(4, stopped=False)


class Breaks(Supervised):
    """Supervised training whose loss is not finite at one step, counted from 1."""

    def __init__(self, at: int, value: float = math.nan):
        super().__init__()
        self.at = at
        self.calls = 0
        self.value = value

    def loss(self, student, batch):
        self.calls += 1
        loss, terms = super().loss(student, batch)
        return (loss * self.value if self.calls == self.at else loss), terms


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("waits", [False, True])
def test_non_finite_loss_changes_no_weight(monkeypatch, value, waits):
    """`waits`: as on a GPU, where the loss is not read before the next row, here that of step 9."""
    if waits:
        monkeypatch.setattr(loop, "_reading_is_free", lambda _: False)
    goal = Breaks(7, value)
    run = Run(goal=goal, batch=tiny_models.batches(12, 0), steps=20, log_every=3, checkpoint_every=5)
    with pytest.raises(NonFinite, match="the loss is not finite at step 7; lower --lr") as raised:
        run.train()
    assert raised.value.step == 7
    assert goal.calls == (9 if waits else 7)
    good = Run(goal=Breaks(0), batch=tiny_models.batches(12, 0), steps=20, stop_after=6).train()
    for actual, expected in zip(run.student.parameters(), good.student.parameters(), strict=True):
        assert torch.equal(actual, expected)
    assert [state.step for state in run.states] == [5]
    assert [row["step"] for row in run.rows] == [3, 6]


@pytest.mark.parametrize("every", [1, 4, 5])
def test_no_state_is_saved_after_non_finite_loss(monkeypatch, every):
    monkeypatch.setattr(loop, "_reading_is_free", lambda _: False)
    run = Run(
        goal=Breaks(4), batch=tiny_models.batches(12, 0), steps=20, log_every=0, checkpoint_every=every, stop_after=6
    )
    with pytest.raises(NonFinite, match="step 4"):
        run.train()
    assert [state.step for state in run.states] == list(range(every, 4, every))


def test_non_finite_gradient_reaches_no_state():
    class Hidden(Supervised):
        def loss(self, student, batch):
            loss, terms = super().loss(student, batch)
            zero = student.head.bias.sum() * 0
            return loss + (zero.sqrt() - zero.sqrt().detach()), terms  # 0, with the gradient 0 * inf

    run = Run(goal=Hidden(), batch=tiny_models.batches(12, 0), steps=1)
    with pytest.raises(NonFinite, match=r"model/head.bias is not finite at step 1"):
        run.train()
    assert not run.states


def test_resume_into_another_model_is_refused(unbroken):
    state = unbroken.states[3]
    with pytest.raises(ContractError, match=r"objective/heads.weight is \(15, 12\) there and missing here"):
        Run(goal=Supervised(), batch=tiny_models.batches(12, 0), steps=30, resume=state).train()
    wider = tiny_models.Student()
    wider.head = nn.Linear(tiny_models.FEATURES, 9)
    with pytest.raises(ContractError, match=r"model/head.weight is \(4, 12\) there and \(9, 12\) here"):
        Run(wider, steps=30, resume=state).train()


def test_frozen_parameters_do_not_change():
    student = tiny_models.Student()
    student.conv.weight.requires_grad_(False)
    before = student.conv.weight.clone()
    run = Run(student).train()
    assert torch.equal(student.conv.weight, before)
    assert "momentum/model/conv.weight" not in run.states[-1].tensors


def test_running_statistics_are_those_of_training():
    student = tiny_models.Student().eval()
    Run(student).train()
    assert student.training
    assert student.norm.num_batches_tracked == 12
    assert student.norm.running_mean.any()


def test_bf16_weights_are_float32_and_close_to_fp32():
    exact, short = Run(lr=0.001).train(), Run(lr=0.001, precision="bf16").train()
    assert all(p.dtype == torch.float32 for p in short.student.parameters())
    assert not torch.equal(weights(exact.student), weights(short.student))
    torch.testing.assert_close(weights(short.student), weights(exact.student), rtol=0.05, atol=0.01)


class SlowWeights(Supervised):
    """Weight averaging: a step after that of the optimiser, and a buffer of its own."""

    def __init__(self, student: nn.Module, tau: float):
        super().__init__()
        self.tau = tau
        self.register_buffer("slow", student.head.weight.detach().clone())
        self.steps: list[int] = []

    def after_step(self, student, step):
        self.steps.append(step)
        self.slow.mul_(self.tau).add_(student.head.weight, alpha=1 - self.tau)


def test_objective_with_averaged_weights_resumes():
    def run(**options):
        student = tiny_models.Student()
        return Run(student, SlowWeights(student, 0.9), tiny_models.batches(12, 0), **options).train()

    whole = run()
    assert whole.goal.steps == list(range(1, 13))
    part = run(stop_after=5)
    rest = run(resume=part.states[-1])
    assert torch.equal(weights(whole.goal), weights(rest.goal))
    still = tiny_models.Student()
    goal = SlowWeights(still, 0.9)
    goal.slow.add_(1)
    Run(still, goal, tiny_models.batches(12, 0), lr=0.0).train()
    torch.testing.assert_close(goal.slow - still.head.weight, torch.full_like(goal.slow, 0.9**12))


def test_out_of_memory_error_has_advice():
    class Greedy(Objective):
        def loss(self, student, batch):  # noqa: ARG002
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")

    with pytest.raises(ZooError, match=r"Tried to allocate 9 GiB \(step 1\); lower --batch-size") as raised:
        Run(goal=Greedy()).train()
    assert raised.value.code == 1


@pytest.mark.gpu
def test_gpu_trains_resumes_and_stops_at_a_bad_loss():
    device = torch.device("cuda")

    def run(goal, resume=None, stop_after=None, steps=12):
        run = Run(
            goal=goal, batch=tiny_models.batches(), steps=steps, resume=resume, stop_after=stop_after, precision="bf16"
        )
        outcome = loop.train(
            run.student, goal, run.batch, run.options, device=device, seed=0, resume=resume,
            save=run.states.append, log=run.rows.append, should_stop=run.stop,
        )  # fmt: skip
        return run, outcome

    whole, _ = run(tiny_models.objective())
    part, outcome = run(tiny_models.objective(), stop_after=5)
    assert outcome == loop.Outcome(5, stopped=True)
    rest, _ = run(tiny_models.objective(), resume=part.states[-1])
    torch.testing.assert_close(weights(whole.student), weights(rest.student), rtol=1e-2, atol=1e-3)
    assert all(tensor.device.type == "cpu" for tensor in whole.states[-1].tensors.values())
    with pytest.raises(NonFinite, match="step 7"):
        run(Breaks(7), steps=20)


def test_steps_fall_at_the_places_that_are_named():
    options = LoopOptions(steps=90, lr=1.0, schedule="steps:at=1/3,2/3")
    rates = [loop.learning_rate(options, step) for step in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("places", ["", "1/3,1/3", "0", "1", "2/3,1/3", "x", "1/0", "1e999999999", "-1/2", "1/3;2/3"])
def test_places_that_are_not_ascending_shares_are_refused(places):
    with pytest.raises(ParameterError, match="ascending shares"):
        LoopOptions(steps=5, schedule=f"steps:at={places}")


@pytest.mark.parametrize("schedule", ["cosine:at=1/2", "steps:1/2", "steps:"])
def test_parameters_of_other_schedules_are_refused(schedule):
    with pytest.raises(ParameterError, match="write a name alone"):
        LoopOptions(steps=5, schedule=schedule)
