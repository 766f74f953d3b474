"""Batches made ahead by a thread: the same batches in the same order, errors where they belong, and no thread left."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.tiny_models import CPU, Run, Student, batches, objective, weights
from zoo_cli.errors import ContractError, Interrupted, ZooError
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.batch_source import BatchSource
from zoo_cli.training.batches_ahead import AHEAD, BatchesAhead
from zoo_cli.training.loop import NonFinite

MAKE = batches()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class FullGpu:
    """In the place of an image cache that can leave the GPU once."""

    def __init__(self) -> None:
        self.can_leave_gpu = True

    def leave_gpu(self) -> None:
        assert self.can_leave_gpu
        self.can_leave_gpu = False


def streamed(make: Callable[[int], Batch] = MAKE) -> BatchSource:
    """A batch function that decodes its images."""
    return BatchSource(make, SimpleNamespace(can_leave_gpu=False), [SimpleNamespace(place="stream")], [])  # type: ignore[arg-type, list-item]


def movable(gpu: FullGpu) -> BatchSource:
    """A batch function whose images are on a GPU."""
    return BatchSource(MAKE, gpu, [], [])  # type: ignore[arg-type]


class Recorder:
    """A batch function, and the steps and threads that it was called with."""

    def __init__(self, make: Callable[[int], Batch] = MAKE):
        self.make = make
        self.steps: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, step: int) -> Batch:
        self.steps.append(step)
        self.threads.add(threading.current_thread().name)
        return self.make(step)


def failing(step: int, error: BaseException) -> Callable[[int], Batch]:
    def make(asked: int) -> Batch:
        if asked == step:
            raise error
        return MAKE(asked)

    return make


def test_batches_come_in_order_from_one_thread() -> None:
    recorder = Recorder()
    with BatchesAhead(streamed(recorder), CPU, 7) as ahead:
        for step in range(7):
            batch = ahead.batch(step)
            for name, tensor in vars(MAKE(step)).items():
                assert tensor is None or torch.equal(getattr(batch, name), tensor)
    assert recorder.steps == list(range(7))
    assert recorder.threads == {"batches_0"}


def test_only_two_are_made_ahead() -> None:
    recorder = Recorder()
    with BatchesAhead(streamed(recorder), CPU, 100) as ahead:
        ahead.batch(0)
        wait_until(lambda: len(recorder.steps) == 1 + AHEAD)
        time.sleep(0.05)
        assert recorder.steps == [0, 1, 2]
        ahead.batch(1)
    assert set(recorder.steps) <= {0, 1, 2, 3}


def test_batches_in_memory_need_no_thread_on_a_cpu() -> None:
    recorder = Recorder()
    with BatchesAhead(recorder, CPU, 3) as ahead:
        ahead.batch(0)
    assert (recorder.steps, recorder.threads) == ([0], {threading.current_thread().name})


def test_another_step_than_the_next_starts_anew() -> None:
    with BatchesAhead(streamed(), CPU, 20) as ahead:
        for step in (0, 5, 6, 2):
            assert torch.equal(ahead.batch(step).images, MAKE(step).images)


@pytest.mark.parametrize("error", [ContractError("train/x.png: the file is empty"), MemoryError(), KeyError("bug")])
def test_an_error_reaches_its_own_step_as_it_is(error: Exception) -> None:
    with BatchesAhead(streamed(failing(2, error)), CPU, 9) as ahead:
        ahead.batch(0)
        ahead.batch(1)
        with pytest.raises(type(error)) as raised:
            ahead.batch(2)
    assert raised.value is error


def test_an_error_ahead_of_a_stop_is_not_raised() -> None:
    run = Run(batch=streamed(failing(4, ContractError("never needed"))), stop_after=4).train()
    assert (run.outcome.step, run.outcome.stopped) == (4, True)


def test_interruption_waits_for_the_batch_in_the_making_alone() -> None:
    entered, leave = threading.Event(), threading.Event()

    def make(step: int) -> Batch:
        if step == 1:
            entered.set()
            leave.wait(10)
        return MAKE(step)

    recorder = Recorder(make)

    def train() -> None:
        with BatchesAhead(streamed(recorder), CPU, 50) as ahead:
            ahead.batch(0)
            entered.wait(10)
            timer.start()
            raise Interrupted(15)

    timer = threading.Timer(0.05, leave.set)
    with pytest.raises(Interrupted):
        train()
    assert recorder.steps == [0, 1]
    timer.join()


def test_streamed_run_has_the_bits_of_one_from_memory() -> None:
    whole, ahead = Run().train(), Run(batch=streamed()).train()
    assert torch.equal(weights(ahead.student), weights(whole.student))
    assert ahead.rows == whole.rows


@pytest.mark.parametrize("stop_after", [1, 5])
def test_streamed_run_resumes_exactly(stop_after: int) -> None:
    stopped = Run(batch=streamed(), stop_after=stop_after).train()
    resumed = Run(batch=streamed(), resume=stopped.states[-1]).train()
    assert torch.equal(weights(resumed.student), weights(Run().train().student))


def test_divergence_ends_the_thread() -> None:
    def make(step: int) -> Batch:
        batch = MAKE(step)
        return dataclasses.replace(batch, images=batch.images * torch.nan) if step == 3 else batch

    with pytest.raises(NonFinite, match="step 4"):
        Run(batch=streamed(make)).train()


def out_of_memory(owner: Any, method: str, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise OutOfMemoryError after this call of a method, counted from 1."""
    original, calls = getattr(owner, method), 0

    def failing_once(*arguments: Any) -> Any:
        nonlocal calls
        result = original(*arguments)
        calls += 1
        if calls == call:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return result

    monkeypatch.setattr(owner, method, failing_once)


def test_step_without_memory_is_taken_again_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout has drawn, and batch norm and the log have counted, when the backward pass fails."""
    whole = Run().train()
    out_of_memory(torch.autograd, "backward", 5, monkeypatch)
    gpu = FullGpu()
    run = Run(batch=movable(gpu)).train()
    assert not gpu.can_leave_gpu
    assert torch.equal(weights(run.student), weights(whole.student))
    assert run.rows == whole.rows


def test_step_that_changed_weights_is_not_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = objective()
    out_of_memory(goal, "after_step", 5, monkeypatch)
    gpu = FullGpu()
    run = Run(goal=goal, batch=movable(gpu))
    with pytest.raises(ZooError, match=r"Tried to allocate 2.00 GiB \(step 5\)"):
        run.train()
    assert gpu.can_leave_gpu


def test_memory_that_stays_full_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    student = Student()

    def forward(_images: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(student, "forward", forward)
    gpu = FullGpu()
    with pytest.raises(ZooError, match="step 1"):
        Run(student=student, batch=movable(gpu)).train()
    assert not gpu.can_leave_gpu


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.005)
