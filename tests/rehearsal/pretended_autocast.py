"""torch.autocast("cuda", bfloat16) for pretended tensors, which C++ does not cast because they are on "meta"."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from .pretended_tensor import PretendedTensor

LOWER = {
    torch.conv1d, torch.conv2d, torch.conv3d, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum,
    functional.linear, functional.conv2d, functional.scaled_dot_product_attention, torch._C._nn.linear,
    Tensor.matmul, Tensor.__matmul__, Tensor.mm,
}  # fmt: skip
"""What autocast computes in the lower precision."""
FULL = {
    torch.softmax, torch.log_softmax, torch.exp, torch.log, torch.sum, torch.pow, torch.norm, torch.cumsum, torch.prod,
    torch.logsumexp, functional.softmax, functional.log_softmax, functional.cross_entropy, functional.layer_norm,
    functional.nll_loss, Tensor.softmax, Tensor.log_softmax, Tensor.exp, Tensor.log, Tensor.sum, Tensor.pow,
    Tensor.cumsum, Tensor.logsumexp,
}  # fmt: skip
"""What autocast computes in float32."""


class PretendedAutocast(TorchFunctionMode):
    """Casts the arguments of the listed functions while autocast is on for CUDA."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda") if func in LOWER else torch.float32 if func in FULL else None
            if dtype is not None:

                def cast(x: Tensor) -> Tensor:
                    is_cast = x.is_floating_point() and x.dtype != torch.float64
                    return x.to(dtype) if isinstance(x, PretendedTensor) and is_cast else x

                args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
        return func(*args, **kwargs)
