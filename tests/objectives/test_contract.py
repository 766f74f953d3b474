"""What must hold for every objective of the table."""

import copy
import dataclasses
import inspect

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.objectives import cases
from tests.training import tiny_models as small
from tests.training.tiny_models import Run, weights
from zoo_cli import registry
from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.fixmatch import FixMatch
from zoo_cli.objectives.heads import Heads
from zoo_cli.objectives.supervised import Batch, Objective, Supervised
from zoo_cli.training import schedules

OBJECTIVES = sorted(registry.OBJECTIVES)
WITH_TEACHER = [name for name in OBJECTIVES if registry.OBJECTIVES[name].needs_teacher]
SINGLE = [name for name in WITH_TEACHER if name != "dp"]


def make(name, student, steps=12, teachers=1):
    """(objective, batches) for a small student."""
    entry = registry.OBJECTIVES[name]
    if entry.needs_teacher:
        context = cases.make_context(student, teachers, steps)
        return registry.load(entry)(context), small.batches(12, 0)
    if name == "cross-task":
        return small.objective(), small.batches()
    if name == "heads":
        generator = torch.Generator().manual_seed(0)
        sources = (small.COUNTS, small.KINDS, small.ALPHA, generator)
        goal = Heads(small.FEATURES, small.CLASSES, *sources, cross_task=0.3, sharpen=0.7)
        return goal, small.batches(columns=small.CLASSES + sum(small.COUNTS))
    if name == "fixmatch":
        return FixMatch(threshold=0.4), cases.strong_view_batches()
    assert name == "supervised"
    return Supervised(), small.batches(12, 0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_is_finite_and_terms_are_detached(name):
    student = small.Student().train()
    goal, batches = make(name, student)
    loss, terms = goal.loss(student, batches(0))
    assert isinstance(goal, Objective)
    assert terms
    for value in (loss, *terms.values()):
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.isfinite()
    assert loss.requires_grad
    assert not any(term.requires_grad for term in terms.values())
    again = goal.loss(copy.deepcopy(student), batches(1))[1]
    assert list(again) == list(terms)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_copy_of_an_objective_shares_its_networks(name):
    student = small.Student().train()
    goal, _ = make(name, student)
    assert copy.deepcopy(goal).context is goal.context


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_lowers_the_loss(name):
    student = cases.EvalStudent()
    goal, batches = make(name, student, steps=60)
    run = Run(student, goal, lambda step: batches(step % 3), steps=60, lr=0.05, log_every=6).train()
    assert 0 <= run.rows[-1]["loss"] < run.rows[0]["loss"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_runs_are_bit_equal(name):
    runs = []
    for _ in range(2):
        student = small.Student()
        runs.append(Run(student, *make(name, student), lr=0.1).train())
    assert torch.equal(weights(runs[0].student), weights(runs[1].student))
    assert runs[0].rows == runs[1].rows


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("stop", [1, 5, 8, 11])
def test_resume_after_any_step_is_bit_equal(name, stop):
    """A resumed objective, too, sees the student as it was before the first step."""
    original = small.Student()
    goal, batches = make(name, original)
    whole = Run(copy.deepcopy(original), goal, batches, lr=0.1).train()
    part = Run(copy.deepcopy(original), make(name, original)[0], batches, lr=0.1, stop_after=stop).train()
    rest = Run(small.Student(8), make(name, original)[0], batches, lr=0.1, resume=part.states[-1]).train()
    assert torch.equal(weights(rest.student), weights(whole.student))
    assert part.rows + rest.rows == whole.rows


@pytest.mark.parametrize("name", OBJECTIVES)
def test_resume_after_the_end_is_bit_equal(name):
    original = small.Student()
    goal, batches = make(name, original)
    whole = Run(copy.deepcopy(original), goal, batches, lr=0.1).train()
    again = Run(small.Student(8), make(name, original)[0], batches, lr=0.1, resume=whole.states[-1]).train()
    assert not again.rows
    assert torch.equal(weights(again.student), weights(whole.student))


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_teachers_and_original_student_stay_unchanged(name):
    """No gradient, no step, no running statistics, no train mode, nothing in checkpoints."""
    student = small.Student()
    goal, batches = make(name, student)
    networks = [*goal.context.teachers, goal.context.original]
    before = [weights(network) for network in networks]
    run = Run(student, goal, batches, lr=0.1).train()
    for network, bits in zip(networks, before, strict=True):
        assert torch.equal(weights(network), bits)
        assert not any(module.training for module in network.modules())
        assert all(p.grad is None for p in network.parameters())
    assert not torch.equal(weights(student), before[-1])
    assert not list(goal.parameters())
    slow = len(student.state_dict()) if name == "mcl" else 0
    assert sum(key.startswith("objective/") for key in run.states[-1].tensors) == slow


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_stored_teacher_logits_replace_the_teachers(name):
    student = cases.EvalStudent()
    goal, batches = make(name, student)
    batch = batches(0)
    expected = goal.loss(student, batch)[0]
    logits = torch.stack([teacher(batch.images) for teacher in goal.context.teachers]).detach()
    goal.context = dataclasses.replace(goal.context, teachers=())
    assert torch.equal(goal.loss(student, dataclasses.replace(batch, teacher_logits=logits))[0], expected)
    half = goal.loss(student, dataclasses.replace(batch, teacher_logits=logits.half()))[0]
    assert half.item() == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("name", SINGLE)
def test_several_teachers_are_refused(name):
    student = small.Student()
    with pytest.raises(ValueError, match="2 teachers, expected one"):
        make(name, student, teachers=2)
    goal, batches = make(name, student)
    batch = dataclasses.replace(batches(0), teacher_logits=torch.zeros(2, 12, 4))
    with pytest.raises(ValueError, match="2 teachers, expected one"):
        goal.loss(student, batch)


class HalfPrecisionStudent(small.Student):
    """A student whose logits have a half type, as under autocast."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype
        self.eval()

    def forward(self, images):
        features, logits = super().forward(images)
        return features, logits.to(self.dtype)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(name, dtype):
    half, exact = HalfPrecisionStudent(dtype), cases.EvalStudent()
    goal, batches = make(name, exact)
    loss, terms = goal.loss(half, batches(0))
    assert {loss.dtype, *(term.dtype for term in terms.values())} == {torch.float32}
    assert loss.item() == pytest.approx(goal.loss(exact, batches(0))[0].item(), rel=0.05)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bf16_trains_near_fp32(name):
    runs = []
    for precision in ("fp32", "bf16"):
        student = small.Student()
        runs.append(Run(student, *make(name, student), lr=0.001, precision=precision).train())
    torch.testing.assert_close(weights(runs[1].student), weights(runs[0].student), rtol=0.05, atol=0.01)
    assert runs[1].rows[0]["loss"] == pytest.approx(runs[0].rows[0]["loss"], rel=0.1)


class SyncRecorder(TorchDispatchMode):
    """Records operations that make the host wait for a GPU: reading a number, or a shape that depends on numbers."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal") or any(
            index is not None and index.dtype == torch.bool for index in indices
        ):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_step_synchronises(name):
    student = small.Student()
    goal, batches = make(name, student)
    batch = batches(0)
    with SyncRecorder() as syncs:
        loss, _ = goal.loss(student, batch)
        loss.backward()
        with torch.no_grad():
            goal.after_step(student, 2)
            goal.finish(student)
    assert not syncs.names


def test_synchronisation_is_recorded():
    x = torch.arange(3.0)
    with SyncRecorder() as syncs:
        float(x.sum())
        x[x > 1]
    assert syncs.names == ["_local_scalar_dense", "index"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_entries_of_the_table_are_correct(name):
    entry = registry.OBJECTIVES[name]
    kind = registry.load(entry)
    assert entry.command in ("distill", "finetune")
    assert entry.schedule in schedules.NAMES
    first, *rest = inspect.signature(kind).parameters.values() if kind is not Supervised else (None,)
    assert entry.needs_teacher == (first is not None and first.name == "context")
    if entry.needs_teacher:
        assert all(p.kind is p.KEYWORD_ONLY for p in rest)
    if isinstance(entry.labels, str):
        assert next(p for p in rest if p.name == entry.labels).annotation is bool
    if entry.labels is False and kind not in (CrossTask, FixMatch, Heads):
        student = small.Student()
        goal, batches = make(name, student)
        goal.loss(student, Batch(batches(0).images, torch.zeros(0, dtype=torch.long)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gpu_agrees_with_cpu_without_synchronising(name):
    results = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        student = cases.EvalStudent()
        goal, batches = make(name, student)
        if registry.OBJECTIVES[name].needs_teacher:
            for network in (*goal.context.teachers, goal.context.original):
                network.to(device)
        student, goal, batch = student.to(device), goal.to(device), batches(0).to(device)
        goal.loss(student, batch)  # constants are copied once
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            loss, terms = goal.loss(student, batch)
            loss.backward()
            with torch.no_grad():
                goal.after_step(student, 2)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        gradient = torch.cat([p.grad.flatten() for p in student.parameters()])
        results.append([loss.detach().cpu(), gradient.cpu(), *(term.cpu() for term in terms.values())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
