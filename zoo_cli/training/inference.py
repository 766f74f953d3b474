"""The logits that a network with a head gives for images of the task."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoo_cli import devices
from zoo_cli.config import Preprocessing
from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import BadImage, view_geometry
from zoo_cli.images.view_batches import view_batches
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.extraction import Normaliser
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.store.manifest import Images
from zoo_cli.training.image_cache import ImageCache

BATCH = 256


def predict_rows(
    network: FeatureExtractor,
    preprocessing: Preprocessing,
    images: Images,
    rows: np.ndarray,
    device: torch.device,
    workers: int | None,
    class_order: Sequence[int] | None = None,
) -> np.ndarray:
    """The logits (M, C), float32, of a network on rows (M,) of the manifest.

    `class_order`: the column of each class of the task, see `models.label_space`; None: in order. The network is moved
    to `device` and put in eval mode. Raises ContractError for an image that cannot be read, ZooError if a single image
    does not fit in GPU memory.
    """
    network.eval()
    geometry = view_geometry(preprocessing)
    normalise = Normaliser(preprocessing, device)

    def on_bad(row: int, error: BadImage) -> None:
        raise ContractError(f"{images.ids[row]}: {error}", "zoo split --overwrite leaves it out")

    def predict_piece(pixels: Tensor) -> np.ndarray:
        return predict_batch(network, normalise(pixels))

    passes = ForwardPasses(device, None, BATCH)
    pieces: list[np.ndarray] = []
    for batch in view_batches(images, rows.tolist(), [geometry], BATCH, devices.workers(workers), on_bad):
        pieces += passes.run("the network", network, predict_piece, torch.from_numpy(batch.views[geometry]))
    logits = _join(pieces, network)
    return logits if class_order is None else logits[:, list(class_order)]


def predict_cached(
    network: FeatureExtractor, preprocessing: Preprocessing, cache: ImageCache, rows: np.ndarray
) -> np.ndarray:
    """The logits (M, C), float32, of a network on rows (M,) of the manifest that a cache holds.

    As in `predict_rows`, the network is moved to the device of the cache and put in eval mode.
    """
    network.eval()

    def predict_piece(piece: Tensor) -> np.ndarray:
        (views,) = cache.evaluation_views(preprocessing, piece.numpy(), len(piece))
        return predict_batch(network, views)

    passes = ForwardPasses(cache.device, None, BATCH)
    return _join(passes.run("the network", network, predict_piece, torch.from_numpy(rows)), network)


def predict_batch(network: FeatureExtractor, batch: Tensor) -> np.ndarray:
    """The logits (B, C), float32, of a network in eval mode on one batch (B, channels, H, W) on its device."""
    # Rounding depends on the memory order, so it is channels last for all batches, also for a single channel.
    channels_last = batch.permute(0, 2, 3, 1)
    with torch.inference_mode():
        copy = torch.empty(channels_last.shape, dtype=batch.dtype, device=batch.device).copy_(channels_last)
        logits = network(copy.permute(0, 3, 1, 2))[1]
        assert logits is not None, "a network without a head predicts nothing"
        return np.asarray(logits.float().cpu().numpy())


def _join(pieces: Sequence[np.ndarray], network: FeatureExtractor) -> np.ndarray:
    return np.concatenate(pieces) if pieces else np.zeros((0, network.tap.classes), np.float32)
