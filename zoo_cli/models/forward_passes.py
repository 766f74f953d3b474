"""Forward passes of one or several networks on a device, in batches that fit into its memory."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from zoo_cli import console, device_errors
from zoo_cli.errors import ZooError

T = TypeVar("T")

SHARED_BATCH = 32
"""Batches are not halved below this size while another network takes up memory: it is moved away first."""


class Movable(Protocol):
    """A network, or what holds one."""

    def to(self, device: torch.device, /) -> object:
        """Move to a device, in place."""


class ForwardPasses:
    """Runs networks on one device. On a GPU that runs out of memory, batches become smaller, or networks take turns.

    `size`: images per pass, None for `auto_size`, which is halved for a network that runs out; a size that the user set
    is kept. A network is moved to the device when it first runs. If not all fit there, the one that came last makes
    room: in a cycle over all networks, most then stay where they are.
    """

    def __init__(self, device: torch.device, size: int | None, auto_size: int):
        self.device = device
        self.automatic = size is None
        self.size = auto_size if size is None else size
        self._sizes: dict[str, int] = {}
        self._on_device: list[Movable] = []
        self._taking_turns = False

    def run(self, name: str, network: Movable, forward: Callable[[Tensor], T], images: Tensor) -> list[T]:
        """The results of `forward` on images (B, …), in their order: of all at once, or of the pieces that fit.

        `network`: what `forward` runs, `name`: what messages call it. No image is passed twice if a piece fails.
        Raises ZooError if a batch of the size that the user set, or a single image, does not fit.
        """
        results: list[T] = []
        done = 0
        while done < len(images):
            piece = images[done : done + self._sizes.get(name, self.size)]
            try:
                self._load(network)
                results.append(forward(piece))
                done += len(piece)
                continue
            except RuntimeError as error:
                if not device_errors.is_out_of_memory(error):
                    raise
            # After the handler, since the traceback of its error keeps the activations.
            self._make_room(name, network, len(piece))
        return results

    def _load(self, network: Movable) -> None:
        if not any(other is network for other in self._on_device):
            network.to(self.device)
            self._on_device.append(network)

    def _make_room(self, name: str, network: Movable, size: int) -> None:
        """Make room for a pass of `size` images, or for the network itself if it could not be loaded."""
        loaded = any(other is network for other in self._on_device)
        others = [other for other in self._on_device if other is not network]
        if others and not (loaded and self.automatic and size > SHARED_BATCH):
            others[-1].to(torch.device("cpu"))
            self._on_device = [other for other in self._on_device if other is not others[-1]]
            if not self._taking_turns:
                self._taking_turns = True
                console.warn("the networks do not fit in GPU memory together: they take turns, which is slower")
        elif loaded and self.automatic and size > 1:
            self._sizes[name] = size // 2
            console.warn(f"out of GPU memory: {name} continues with batches of {size // 2}")
        elif not loaded:
            raise ZooError(f"{name} does not fit in GPU memory", "use --device cpu")
        elif self.automatic:
            raise ZooError(f"{name} runs out of GPU memory on a single image", "use --device cpu")
        else:
            raise ZooError(f"{name} runs out of GPU memory with --batch-size {self.size}", "lower it, or leave it out")
        torch.cuda.empty_cache()
