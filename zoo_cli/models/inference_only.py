"""Networks that another runtime computes: they can be run, but neither trained nor differentiated."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from zoo_cli.errors import UsageError
from zoo_cli.models.capture import Tap


class InferenceOnly(nn.Module, ABC):
    """A network whose layers torch does not see. Images (B, channels, size, size) to logits (B, K) or features (B, D).

    `weight_count`: its number of weights; its multiply-accumulates are not known.
    """

    weight_count: int

    @abstractmethod
    def find_tap(self, example: Tensor) -> Tap:
        """Where its features and logits are read, after a run on `example` (2, channels, size, size)."""


def refuse_training(module: nn.Module, title: str) -> None:
    """Raise UsageError, with `title` before it, for a network that has no weights to train."""
    if isinstance(module, InferenceOnly):
        raise UsageError(
            f"{title} can be run, but not trained",
            "name the model that it was exported from, or use it as a source",
        )
