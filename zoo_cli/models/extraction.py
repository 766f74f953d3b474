"""A source on its device: decoded images in, feature and logit arrays out."""

import numpy as np
import torch
from torch import Tensor

from zoo_cli import devices
from zoo_cli.config import Preprocessing
from zoo_cli.models.loading import LoadedModel


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


def _to_numpy(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.float().cpu().numpy()
