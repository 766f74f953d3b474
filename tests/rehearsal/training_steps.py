"""What the steps of a command wait for and launch, apart from set-up, log rows, checkpoints and predictions."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from zoo_cli.objectives.supervised import Batch
from zoo_cli.training import loop, step_time

from .pretended_card import Card


@contextmanager
def count_steps(card: Card) -> Iterator[Callable[[], int]]:
    """Within it `card` counts what happens between the making of a batch and the end of its step, and nothing else.

    Other threads than this one are counted. The function returned gives the number of steps.
    """
    steps = 0
    is_probing = False
    train, step, move, probe = loop.train, loop.Trainer.step, Batch.to, step_time.time_steps

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with card.counted() if not is_probing else card.uncounted():
                return function(*args, **kwargs)

        return call

    def count(trainer: loop.Trainer, *args: Any, **kwargs: Any) -> None:
        nonlocal steps
        steps += not is_probing
        counted(step)(trainer, *args, **kwargs)

    def probing(*args: Any, **kwargs: Any) -> Any:
        nonlocal is_probing
        is_probing = True
        try:
            return probe(*args, **kwargs)
        finally:
            is_probing = False

    def train_counted(student: Any, objective: Any, batch_fn: Callable[[int], Batch], *args: Any, **kwargs: Any) -> Any:
        return train(student, objective, counted(batch_fn), *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, card.uncounted():
        patch.setattr(loop, "train", train_counted)
        patch.setattr(loop.Trainer, "step", count)
        patch.setattr(Batch, "to", counted(move))
        patch.setattr(step_time, "time_steps", probing)
        yield lambda: steps
