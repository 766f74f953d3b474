"""Sources on their device: decoded images in, feature and logit arrays out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from zoo_cli import devices
from zoo_cli.config import Preprocessing
from zoo_cli.models.loading import LoadedModel

Outputs = dict[str, tuple[np.ndarray | None, np.ndarray | None]]
"""By source, its features (B, D) and logits (B, K) of the same images."""


class Normaliser:
    """Turns uint8 images (B, H, W, C) into a network's input: float32 (B, C, H, W), normalised, on its device."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device):
        self.device = device
        self.mean = torch.tensor(preprocessing.mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(preprocessing.std, device=device).view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        # Channels are last in the images, so the permuted tensor is already in channels_last layout.
        x = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return (x.float() / 255 - self.mean) / self.std


class FeatureRunner:
    """A source on a device: uint8 images (B, H, W, C) in, features (B, D) and logits (B, K) out, as float32 arrays.

    `precision`: see `devices.arithmetic`. Logits are None for a source without a head. `ForwardPasses` moves `network`
    to the device.
    """

    def __init__(self, model: LoadedModel, device: torch.device, precision: str):
        devices.check_precision(precision, device)
        self.device, self.precision = device, precision
        self.network = model.extractor().to(memory_format=torch.channels_last).eval()
        self.normalise = Normaliser(model.preprocessing, device)

    def __call__(self, images: Tensor) -> tuple[np.ndarray | None, np.ndarray | None]:
        with torch.inference_mode(), devices.arithmetic(self.device, self.precision):
            features, logits = self.network(self.normalise(images))
        return _to_numpy(features), _to_numpy(logits)


class SharedBodyRunner(nn.Module):
    """Sources with the same `body_key` on a device: the body is run once, and the head of each on its features."""

    def __init__(self, models: Sequence[LoadedModel], device: torch.device, precision: str):
        super().__init__()
        first, *others = models
        self.names = [model.source.name for model in models]
        self.first = FeatureRunner(first, device, precision)
        self.body = self.first.network
        self.heads = nn.ModuleList([other.module.get_submodule(other.tap.head or "") for other in others])

    def run(self, images: Tensor) -> Outputs:
        """The outputs of each source, by name, for uint8 images (B, H, W, C)."""
        features, logits = self.first(images)
        outputs = {self.names[0]: (features, logits)}
        if features is None:
            return outputs
        for name, head in zip(self.names[1:], self.heads, strict=True):
            with torch.inference_mode(), devices.arithmetic(self.first.device, self.first.precision):
                logits = _to_numpy(head(torch.from_numpy(features).to(self.first.device)))
            outputs[name] = (features, logits)
        return outputs


def body_key(model: LoadedModel) -> tuple[object, ...]:
    """Equal for models of which one run gives the features of all, and their linear heads the logits."""
    is_shared = model.body and model.tap.in_head and not model.tap.pool and model.tap.head
    return (model.body, model.preprocessing, model.tap.module) if is_shared else (model.source.name,)


def _to_numpy(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.float().cpu().numpy()
