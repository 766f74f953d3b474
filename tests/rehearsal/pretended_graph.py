"""torch.cuda.CUDAGraph for a pretended card: a capture records operations and computes nothing, a replay repeats them.

As on a card, a replay works on the very tensors of the capture, operations of the CPU are not repeated, and whatever
lets the host wait ends a capture with an error.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .pretended_tensor import PretendedTensor

if TYPE_CHECKING:
    from .pretended_card import Card

aten = torch.ops.aten
RUNNING_STATISTICS = {aten.native_batch_norm.default: slice(3, 5)}
"""Arguments that an operation changes although its schema does not say so."""


class Call(NamedTuple):
    """An operation of a capture, and the tensors of the card that it returned."""

    operation: Any
    args: Any
    kwargs: Any
    outputs: list[PretendedTensor]


class PretendedGraph:
    """torch.cuda.CUDAGraph."""

    card: "Card"

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def pool(self) -> tuple[int, int]:
        return (0, 1)

    def replay(self) -> None:
        card = self.card
        with card.uncounted(), torch.no_grad():
            for call in self.calls:
                outputs = [x for x in tree_leaves(call.operation(*call.args, **call.kwargs)) if isinstance(x, Tensor)]
                for recorded, output in zip(call.outputs, outputs, strict=True):
                    if recorded is not output and not call.operation.is_view:
                        recorded.inner.copy_(output.inner)
                        recorded.stream, recorded.written = output.stream, output.written
        if card.counting:
            card.launches["graph"] += 1


class Recorder(TorchDispatchMode):
    """Records what is launched on a card, and the values that it changes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        for x in tree_leaves(self._changed(func, args, kwargs)):
            if isinstance(x, PretendedTensor):
                self.before.append((x.inner, x.inner.clone()))
        values = func(*args, **kwargs)
        outputs = [x for x in tree_leaves(values) if isinstance(x, Tensor)]
        if outputs and all(isinstance(x, PretendedTensor) for x in outputs):
            self.calls.append(Call(func, args, kwargs, outputs))
        elif not outputs and any(isinstance(x, PretendedTensor) for x in tree_leaves((args, kwargs))):
            self.calls.append(Call(func, args, kwargs, []))
        return values

    def undo(self) -> None:
        for inner, values in reversed(self.before):
            inner.copy_(values)

    @staticmethod
    def _changed(func: Any, args: Any, kwargs: Any) -> list[Any]:
        changed = list(args[RUNNING_STATISTICS[func]]) if func in RUNNING_STATISTICS else []
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                changed.append(args[position] if position < len(args) else kwargs.get(argument.name))
        return changed


@contextlib.contextmanager
def capture(card: "Card", graph: PretendedGraph, stream: Any) -> Iterator[None]:
    """torch.cuda.graph."""

    def refuse(what: str) -> None:
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")

    recorder = Recorder()
    random_state = torch.get_rng_state()
    card.streams.synchronize()
    card.count_wait = refuse  # type: ignore[method-assign]
    try:
        with torch.cuda.stream(stream), card.uncounted(), recorder:
            yield
    finally:
        del card.count_wait
        recorder.undo()
        torch.set_rng_state(random_state)
        card.streams.synchronize()
    graph.calls = recorder.calls


def graph_answers(card: "Card") -> dict[str, Any]:
    """What torch.cuda has for graphs."""

    def enter(graph: PretendedGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global") -> Any:
        assert pool is None
        assert capture_error_mode in ("global", "thread_local", "relaxed")
        return capture(card, graph, stream)

    return {"CUDAGraph": type("CUDAGraph", (PretendedGraph,), {"card": card}), "graph": enter}
