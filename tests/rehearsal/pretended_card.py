"""A pretended CUDA card on a machine without one: the real code runs, and its values come from the CPU.

    with pretend_card() as card:
        run("distill", "--device", "cuda", workspace=workspace)
    card.waits, card.launches

`Card` raises where a real card would: operands on two devices, numpy() of a card's tensor, cuda:1 beside cuda:0, a
stream that uses what another wrote without waiting, more memory than there is. It counts what makes the host wait
(.item(), bool(), blocking copies, nonzero, boolean masks) and what it launches, with the nearest line of zoo_cli.
It knows nothing of time.
"""

import contextlib
import sys
import threading
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from .pretended_autocast import PretendedAutocast
from .pretended_graph import graph_answers
from .pretended_streams import PretendedEvent, PretendedStream, Streams
from .pretended_tensor import Allocation, PretendedTensor

aten = torch.ops.aten
TOTAL = 80 * 2**30
CPU = torch.device("cpu")

WAITS = {
    aten._local_scalar_dense.default: "item or bool",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.bincount.default: "bincount",
    aten._unique2.default: "unique",
    aten.repeat_interleave.Tensor: "repeat_interleave",
    aten.equal.default: "equal",
}
"""Operations for whose result the host waits."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
FACTORIES = {aten.ones.default, aten.zeros.default, aten.full.default, aten.arange.start, aten.arange.default}
"""What C++ makes beside a card's tensor, on "meta"."""
NO_CPU_SCALARS = {aten.cat.default, aten.stack.default, aten.gather.default, aten.index_select.default}
"""Operations that take no tensor of the CPU, not even a number."""


class WrongDevice(RuntimeError):
    """Tensors of two devices in one operation."""


class Card(TorchDispatchMode):
    """The cards of a machine, `cards` of them, each with `free` bytes.

    `waits`: how often the host waited, by (what, line); `launches`: how often an operation was launched; neither counts
    in `uncounted`. `before_launch(operation, line)` may raise what a card would.
    """

    def __init__(self, cards: int = 1, free: int = TOTAL):
        super().__init__()
        self.cards, self.free, self.current, self.last = cards, free, 0, 0
        self.allocated = [0] * cards
        self.peak = [0] * cards
        self.allocations: weakref.WeakValueDictionary[int, Allocation] = weakref.WeakValueDictionary()
        self.streams = Streams()
        self._thread = threading.local()
        self.waits: Counter[tuple[str, str]] = Counter()
        self.launches: Counter[str] = Counter()
        self.before_launch: Callable[[str, str], None] = lambda _operation, _line: None
        self.pinned_memory: dict[int, Tensor] = {}  # kept, so that no address is used twice

    @property
    def counting(self) -> bool:
        return getattr(self._thread, "counting", True)

    def counted(self) -> contextlib.AbstractContextManager[None]:
        """Within it this thread counts; threads do so from their beginning."""
        return self._set_counting(True)

    def uncounted(self) -> contextlib.AbstractContextManager[None]:
        """Within it this thread does not count."""
        return self._set_counting(False)

    @contextlib.contextmanager
    def _set_counting(self, counting: bool) -> Iterator[None]:
        before = self.counting
        self._thread.counting = counting
        try:
            yield
        finally:
            self._thread.counting = before

    def reset_counts(self) -> None:
        self.waits.clear()
        self.launches.clear()

    def count_wait(self, what: str) -> None:
        self.streams.synchronize()
        if self.counting:
            self.waits[what, nearest_line()] += 1

    def allocate(self, inner: Tensor, index: int) -> Allocation:
        """The memory of a tensor; that of a view is its base's. Raises torch.OutOfMemoryError beyond `free`."""
        storage = inner.untyped_storage()
        allocation = self.allocations.get(storage.data_ptr()) if storage.nbytes() else None
        if allocation is not None:
            return allocation
        size = storage.nbytes()
        if self.allocated[index] + size > self.free:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes. GPU {index} has a total capacity of {self.free} "
                f"bytes of which {self.free - self.allocated[index]} bytes is free."
            )
        self.allocated[index] += size
        self.peak[index] = max(self.peak[index], self.allocated[index])
        allocation = Allocation(self, index, size)
        if size:
            self.allocations[storage.data_ptr()] = allocation
        return allocation

    def place(self, device: Any) -> torch.device:
        """The device that a name means here. Raises RuntimeError for a card that does not exist."""
        device = torch.device(device)
        if device.type == "meta":
            return torch.device("cuda", self.last)
        if device.type == "cuda":
            index = self.current if device.index is None else device.index
            if index >= self.cards:
                raise RuntimeError("CUDA error: invalid device ordinal")
            self.last = index
            return torch.device("cuda", index)
        return device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        ours = [x for x in tensors if isinstance(x, PretendedTensor)]
        device = kwargs.get("device")
        if func is aten._to_copy.default:
            return self._copy(args[0], **kwargs)
        if func is aten.copy_.default and ours:
            return self._copy_into(*args, **kwargs)
        if device is not None and device.type == "meta" and func is aten.scalar_tensor.default:
            return func(*args, **{**kwargs, "device": CPU})
        if device is not None and device.type == "meta" and func in FACTORIES:
            return PretendedTensor(func(*args, **{**kwargs, "device": CPU}), self, self.last)
        if not ours and (device is None or device.type != "cuda"):
            return func(*args, **kwargs)
        if func is aten.is_pinned.default:
            return False
        return self._launch(func, args, kwargs, tensors, ours)

    def _launch(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], ours: list[PretendedTensor]) -> Any:
        indexes = {x.index for x in ours}
        self.last = max(indexes, default=self.last)
        index: int | None = min(indexes, default=0)
        if kwargs.get("device") is not None:
            target = self.place(kwargs["device"])
            kwargs["device"] = CPU
            index = target.index if target.type == "cuda" else None
        if len(indexes) > 1:
            raise WrongDevice(f"{func}: tensors on {sorted(indexes)} at {nearest_line()}")
        self._check_devices(func, args, tensors, ours)
        for x in ours:
            self.streams.check(x.stream, x.written, f"{func} at {nearest_line()}")
        if func in WAITS and kwargs.get("output_size") is None:
            self.count_wait(WAITS[func])
        elif not func.is_view:
            self.before_launch(str(func), nearest_line())
            if self.counting:
                self.launches[str(func)] += 1
        by_inner = {id(x.inner): x for x in ours}
        values = func(
            *tree_map_only(PretendedTensor, lambda x: x.inner, args),
            **tree_map_only(PretendedTensor, lambda x: x.inner, kwargs),
        )

        def wrap(x: Tensor) -> Tensor:
            if id(x) in by_inner:
                same = by_inner[id(x)]
                same.stream, same.written = self.streams.stamp()
                return same
            if index is None:
                return x
            wrapped = PretendedTensor(x, self, index)
            if func.is_view and ours:
                wrapped.stream, wrapped.written = ours[0].stream, ours[0].written
            return wrapped

        return tree_map_only(Tensor, wrap, values)

    def _check_devices(self, func: Any, args: Any, tensors: list[Tensor], ours: list[PretendedTensor]) -> None:
        plain = [x for x in tensors if not isinstance(x, PretendedTensor)]
        if func in INDEXING:
            if not isinstance(args[0], PretendedTensor):
                raise WrongDevice(f"{func}: indices should be on the same device as the indexed tensor (cpu)")
            for x in plain:
                if x.ndim or x.dtype == torch.bool:
                    self.count_wait("index of the host")
            if any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in args[1]):
                self.count_wait("boolean mask as index")
        elif ours and plain:
            shapes = [tuple(x.shape) for x in plain if x.ndim or func in NO_CPU_SCALARS]
            if shapes:
                raise WrongDevice(f"{func}: cuda beside cpu {shapes} at {nearest_line()}")

    def _copy(
        self, x: Tensor, *, dtype: Any = None, device: Any = None, non_blocking: bool = False,
        memory_format: Any = None, **_: Any,
    ) -> Tensor:  # fmt: skip
        if not isinstance(x, PretendedTensor) and x.is_meta:
            return aten._to_copy.default(x, dtype=dtype, device=device, memory_format=memory_format)
        source = x.device if isinstance(x, PretendedTensor) else CPU
        target = source if device is None else self.place(device)
        inner = x.inner if isinstance(x, PretendedTensor) else x
        if isinstance(x, PretendedTensor):
            self.streams.check(x.stream, x.written, f"copy at {nearest_line()}")
        values = aten._to_copy.default(inner, dtype=dtype, memory_format=memory_format)
        if source == target == CPU:
            return values
        self._count_copy(source, target, x, non_blocking)
        return values if target == CPU else PretendedTensor(values, self, target.index)

    def _copy_into(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        devices = [x.device if isinstance(x, PretendedTensor) else CPU for x in (source, target)]
        inner = [x.inner if isinstance(x, PretendedTensor) else x for x in (source, target)]
        for x in (source, target):
            if isinstance(x, PretendedTensor):
                self.streams.check(x.stream, x.written, f"copy_ at {nearest_line()}")
        pinned = target if devices[1] == CPU else source
        self._count_copy(*devices, pinned, non_blocking)
        inner[1].copy_(inner[0])
        if isinstance(target, PretendedTensor):
            target.stream, target.written = self.streams.stamp()
        return target

    def _count_copy(self, source: torch.device, target: torch.device, host: Tensor, non_blocking: bool) -> None:
        """Count a copy. `host`: the tensor whose pinned memory makes it asynchronous."""
        self.before_launch("copy", nearest_line())
        if source == target:
            if self.counting:
                self.launches["copy"] += 1
            return
        way = "between cards" if source.type == target.type else f"{source.type} to {target.type}"
        if not non_blocking:
            self.count_wait(f"blocking copy, {way}")
        elif source.type == "cpu" and not self.is_pinned(host):
            self.count_wait(f"copy of pageable memory, {way}")
        elif self.counting:
            self.launches[f"copy, {way}"] += 1

    def pin(self, x: Tensor) -> Tensor:
        """A copy in pinned memory, which views of it share."""
        if isinstance(x, PretendedTensor):
            return x.pin_memory()
        copied = x.clone()
        self.pinned_memory[copied.untyped_storage().data_ptr()] = copied
        return copied

    def is_pinned(self, x: Tensor) -> bool:
        return not isinstance(x, PretendedTensor) and x.untyped_storage().data_ptr() in self.pinned_memory


def nearest_line() -> str:
    """The nearest line of zoo_cli on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if "/zoo_cli/" in file:
            return f"{file.split('/zoo_cli/')[1]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "outside"


@contextlib.contextmanager
def pretend_card(cards: int = 1, free: int = TOTAL) -> Iterator[Card]:
    """Within it, in every thread, torch sees CUDA cards with so many free bytes each."""
    torch._C._ensureCUDADeviceGuardSet()  # a guard that asks no driver
    card = Card(cards, free)
    with contextlib.ExitStack() as stack:
        for owner, name, value in _replacements(card):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        # torch.tensor(..., device="cuda") is then seen by the mode.
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(_forget_devices)
        _forget_devices()
        stack.enter_context(PretendedAutocast())
        stack.enter_context(card)
        yield card


def _replacements(card: Card) -> list[tuple[Any, str, Any]]:
    """What torch is asked about cards, and the answers."""
    states: dict[int, Tensor] = {}
    run = threading.Thread.run

    def number(device: Any = None) -> int:
        name = "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device
        return card.place(name).index

    def run_with_card(thread: threading.Thread) -> None:
        with PretendedAutocast(), card:
            run(thread)

    def pin_memory(x: Tensor, *_: Any) -> Tensor:
        return card.pin(x)

    def empty(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        made = plain_empty(*size, **options)
        return card.pin(made) if pin_memory else made

    plain_empty = torch.empty
    stream_type = type("Stream", (PretendedStream,), {"streams": card.streams})

    @contextlib.contextmanager
    def enter_stream(stream: PretendedStream | None) -> Iterator[None]:
        with contextlib.nullcontext() if stream is None else card.streams.entered(stream.number):
            yield

    @contextlib.contextmanager
    def enter_device(device: Any) -> Iterator[None]:
        before, card.current = card.current, number(device)
        try:
            yield
        finally:
            card.current = before

    answers = {
        "is_available": lambda: True,
        "device_count": lambda: card.cards,
        "current_device": lambda: card.current,
        "set_device": lambda device: setattr(card, "current", number(device)),
        "device": enter_device,
        "get_device_name": lambda *_: "Pretended card",
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda *_: types.SimpleNamespace(
            name="Pretended card", total_memory=TOTAL, major=9, minor=0, multi_processor_count=132
        ),
        "mem_get_info": lambda d=None: (card.free - card.allocated[number(d)], TOTAL),
        "memory_allocated": lambda d=None: card.allocated[number(d)],
        "memory_reserved": lambda d=None: card.allocated[number(d)],
        "max_memory_allocated": lambda d=None: card.peak[number(d)],
        "reset_peak_memory_stats": lambda d=None: card.peak.__setitem__(number(d), card.allocated[number(d)]),
        "synchronize": lambda *_: card.count_wait("synchronize"),
        "empty_cache": lambda: None,
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "get_rng_state": lambda d="cuda": states.get(number(d), torch.zeros(16, dtype=torch.uint8)).clone(),
        "set_rng_state": lambda s, d="cuda": states.__setitem__(number(d), s.clone()),
        "default_generators": tuple(torch.Generator() for _ in range(card.cards)),
        "Stream": stream_type,
        "Event": PretendedEvent,
        "stream": enter_stream,
        "current_stream": lambda *_: stream_type(number=card.streams.current),
        "default_stream": lambda *_: stream_type(number=0),
        **graph_answers(card),
    }
    return [
        *((torch.cuda, name, answer) for name, answer in answers.items()),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (Tensor, "pin_memory", pin_memory),
        (Tensor, "is_pinned", lambda x, *_: card.is_pinned(x)),
        (torch, "empty", empty),
        (threading.Thread, "run", run_with_card),
    ]


def _forget_devices() -> None:
    """Forget what was decided, or made, for a card that only one test sees."""
    from zoo_cli.objectives import segmented, segments

    for cached in (segmented._choose_implementation, segments.constant_tensor):
        cached.cache_clear()
