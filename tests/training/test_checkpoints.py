"""Checkpoints that a thread writes: one at a time, all before the end, and no error is lost."""

import threading
import time

import pytest
import torch

from tests.training.tiny_models import Run
from zoo_cli.training import loop
from zoo_cli.training.checkpoints import CheckpointWriter, State


class Copied:
    """An event after which the copies of a GPU are complete."""

    def synchronize(self) -> None:
        time.sleep(0.05)


def state(step: int) -> State:
    return State(step, {}, {}, Copied())  # type: ignore[arg-type]


def test_states_are_written_in_order_and_all_before_the_end():
    written, threads = [], set()

    def save(saved: State) -> None:
        written.append(saved.step)
        threads.add(threading.current_thread())

    with CheckpointWriter(save) as writer:
        for step in range(3):
            writer.save(state(step))
            assert len(written) == step  # the copies are not complete yet, and the one before is written
    assert written == [0, 1, 2]
    assert threading.main_thread() not in threads


def test_last_state_is_written_when_training_fails():
    written: list[State] = []

    def fail_after_saving() -> None:
        with CheckpointWriter(written.append) as writer:
            writer.save(state(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_saving()
    assert [saved.step for saved in written] == [1]


@pytest.mark.parametrize("saves", [1, 2])
def test_error_of_the_thread_is_raised(saves):
    def save(_: State) -> None:
        raise OSError("no space left")

    def save_all() -> None:
        with CheckpointWriter(save) as writer:
            for step in range(saves):
                writer.save(state(step))

    with pytest.raises(OSError, match="no space left"):
        save_all()


def test_complete_states_are_saved_at_once():
    threads = []
    with CheckpointWriter(lambda _: threads.append(threading.current_thread())) as writer:
        writer.save(State(1, {}, {}))
        assert threads == [threading.main_thread()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_non_finite_tensors_are_noticed_at_once(dtype):
    largest = torch.finfo(dtype).max
    values = torch.tensor([[1.0, -largest], [torch.nan, 1.0], [1.0, -torch.inf], [0.0, 0.0]], dtype=dtype)
    assert loop.are_finite(list(values)) == [True, False, False, True]
    assert loop.are_finite([torch.ones(2), values[1]]) == [True, False]
    assert loop.are_finite([]) == []


def test_channels_last_training_is_close_and_leaves_plain_memory():
    plain = Run().train()
    other = Run(channels_last=True).train()
    for a, b in zip(plain.student.parameters(), other.student.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert b.is_contiguous()
    part = Run(channels_last=True, stop_after=5).train()
    rest = Run(channels_last=True, resume=part.states[-1]).train()
    assert all(tensor.is_contiguous() for tensor in part.states[-1].tensors.values())
    for a, b in zip(rest.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(a, b)
