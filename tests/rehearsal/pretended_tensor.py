"""A tensor that says it is on a card and keeps its values on the CPU.

To torch's C++ it is on "meta", so that autograd needs no stream and no driver; its values are in `inner`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .pretended_card import Card

aten = torch.ops.aten


@dataclass
class Allocation:
    """The bytes of one storage on a card, given back when the last tensor that uses it is gone."""

    card: "Card"
    index: int
    size: int

    def __del__(self) -> None:
        self.card.allocated[self.index] -= self.size


class PretendedTensor(Tensor):
    """`inner` as a tensor of `card`, on cuda:`index`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    card: "Card"
    inner: Tensor
    index: int
    allocation: Allocation
    stream: int
    written: int

    @staticmethod
    def __new__(cls, inner: Tensor, card: "Card", index: int) -> "PretendedTensor":
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device="meta",
        )

    def __init__(self, inner: Tensor, card: "Card", index: int):
        assert type(inner) is Tensor or isinstance(inner, torch.nn.Parameter), type(inner)
        self.inner, self.card, self.index = inner, card, index
        self.allocation = card.allocate(inner, index)
        self.stream, self.written = card.streams.stamp()

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Reached outside of the mode only, e.g. when a test compares afterwards.
        flat = torch.utils._pytree.tree_leaves((args, kwargs))
        card = next(x.card for x in flat if isinstance(x, PretendedTensor))
        return card.__torch_dispatch__(func, types, args, kwargs)

    device = property(lambda self: torch.device("cuda", self.index))
    is_cuda = property(lambda _: True)
    is_cpu = property(lambda _: False)
    is_meta = property(lambda _: False)

    def get_device(self) -> int:
        return self.index

    def to(self, *args: Any, copy: bool = False, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        # "meta" is what C++ takes every card for.
        is_named = device is not None and device.type != "meta"
        target = self.card.place(device) if is_named else self.device
        dtype = dtype or self.dtype
        fits = layout in (None, torch.preserve_format) or self.is_contiguous(memory_format=layout)
        if target == self.device and dtype == self.dtype and fits and not copy:
            return self
        return aten._to_copy.default(self, dtype=dtype, device=target, non_blocking=non_blocking, memory_format=layout)

    def cpu(self, **_: Any) -> Tensor:
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False, **_: Any) -> Any:
        return self.to(torch.device("cuda") if device is None else torch.device(device), non_blocking=non_blocking)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        self.card.count_wait("tolist")
        return self.inner.tolist()

    def pin_memory(self, *_: Any) -> Tensor:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")

    def record_stream(self, stream: Any) -> None:
        """The allocator's business: memory is never reused here."""

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = PretendedTensor(self.inner.clone(), self.card, self.index).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            copied._is_param = True
        memo[id(self)] = copied
        return copied

    def __repr__(self, **_: Any) -> str:
        return f"PretendedTensor({self.inner!r}, cuda:{self.index})"
