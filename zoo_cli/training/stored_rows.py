"""Stored values of the images, of which every batch takes its rows: pseudo-labels, logits of teachers."""

from collections.abc import Mapping

import torch
from torch import Tensor


class StoredRows:
    """Stored values (N, …), or (V, N, …) with `views`, on a GPU if they take at most `gpu_bytes` of it, else in RAM.

    Rows are taken where the values are: `numbers` gives what has to be copied to the device for them, beside the other
    numbers of a batch, and `take` then gives the rows there.
    """

    def __init__(self, name: str, values: Tensor, device: torch.device, gpu_bytes: int, *, views: bool = False):
        self.name = name
        self.device = device
        self.count = values.shape[1] if views else 0
        flat = values.flatten(0, 1) if views else values
        self.values = flat.to(device) if device.type == "cuda" and flat.nbytes <= gpu_bytes else flat

    @property
    def on_gpu(self) -> bool:
        """Whether the values are kept on a GPU."""
        return self.values.device.type == "cuda"

    def leave_gpu(self) -> None:
        """Move the values to RAM."""
        self.values = self.values.cpu()

    def numbers(self, row: Tensor, view: Tensor | None = None) -> dict[str, Tensor]:
        """The positions of rows (B,), int64, of one view each; or, if they are on another device, the values there."""
        index = row if view is None else view * self.count + row
        if self.values.device.type == self.device.type:
            return {f"{self.name} index": index}
        return {self.name: self.values.index_select(0, index)}

    def take(self, numbers: Mapping[str, Tensor]) -> Tensor:
        """The rows (B, …), from what `numbers` gave, on the device."""
        if self.name in numbers:
            return numbers[self.name]
        return self.values.index_select(0, numbers[f"{self.name} index"])
