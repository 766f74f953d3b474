"""A source on its device: decoded images in, arrays out."""

from typing import TYPE_CHECKING

from zoo_cli import devices

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.config import Preprocessing
    from zoo_cli.models.loading import LoadedModel


class Pixels:
    """Turns uint8 images (B, H, W, C) into what a network reads, (B, C, H, W) on its device."""

    def __init__(self, said: "Preprocessing", device: "torch.device"):
        import torch

        self.device = device
        self.mean = torch.tensor(said.mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(said.std, device=device).view(-1, 1, 1)

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        # Channels come last in the images, so this permutation is the channels_last layout already.
        x = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return (x.float() / 255 - self.mean) / self.std


class FeatureRunner:
    """A source on its device: uint8 images (B, H, W, C) in, features (B, D) and logits (B, K) out, as arrays."""

    def __init__(self, model: "LoadedModel", device: "torch.device", precision: str):
        import torch

        from zoo_cli.models.capture import FeatureExtractor

        self.device, self.precision = device, precision
        self.network = FeatureExtractor(model.module, model.tap).to(device).to(memory_format=torch.channels_last).eval()
        self.pixels = Pixels(model.preprocessing, device)

    def __call__(self, images: "torch.Tensor") -> "tuple[np.ndarray | None, np.ndarray | None]":
        import torch

        with torch.inference_mode(), devices.autocast(self.device, self.precision):
            features, logits = self.network(self.pixels(images))
        return _array(features), _array(logits)


def _array(tensor: "torch.Tensor | None") -> "np.ndarray | None":
    return None if tensor is None else tensor.float().cpu().numpy()
