"""Whether a network answers as the stages read it: two images, in one batch and one by one."""

from pathlib import Path

import torch
from torch import Tensor

from zoo_cli.config import Source
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.extraction import Normaliser
from zoo_cli.models.loading import LoadedModel, load_model

TOLERANCE = 1e-3
"""Outputs are the same if max |a - b| is at most this times their standard deviation, plus `ROUNDING` of max |a|."""
ROUNDING = 1e-5
Outputs = dict[str, Tensor]
"""The features (B, D) and, with a head, the logits (B, K) of B images, by these names."""


def check_network(source: Source, root: Path, *, seed: int, untrained: bool) -> None:
    """Load a source's network and run it on two images of noise, on the CPU. See `load_model` for the parameters.

    Raises what `load_model` does, and ContractError for outputs of another shape or type, that are not finite, that
    differ from run to run, or that depend on the other images of their batch.
    """
    model = load_model(source, root, seed=seed, untrained=untrained)
    size, channels = model.preprocessing.input_size, model.preprocessing.channels
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, size, size, channels), dtype=torch.uint8, generator=generator)
    network = model.extractor()
    batch = _run(network, model, images)
    again = _run(network, model, images)
    for name, values in batch.items():
        if (difference := _difference(values, again[name])) is not None:
            raise ContractError(
                f"its {name} differ from run to run, by {difference:.2g} on the same images",
                "it is random in eval mode: fix its forward",
            )
    try:
        alone = [_run(network, model, image[None]) for image in images]
    except ZooError as error:
        raise ContractError(f"it runs two images, but not a single one: {error.message}", error.hint) from None
    for name, values in batch.items():
        if (difference := _difference(values, torch.cat([outputs[name] for outputs in alone]))) is not None:
            raise ContractError(
                f"its {name} depend on the other images of their batch: by {difference:.2g} in a batch of 1",
                "it must not normalise over the batch: fix its forward",
            )


def _run(network: FeatureExtractor, model: LoadedModel, images: Tensor) -> Outputs:
    """The outputs for uint8 images (B, H, W, C), checked each on its own."""
    normalise = Normaliser(model.preprocessing, torch.device("cpu"))
    with torch.inference_mode():
        features, logits = network(normalise(images))
    outputs = {"features": features} | ({} if logits is None else {"logits": logits})
    for name, width in (("features", model.tap.dim), ("logits", model.classes)):
        if name in outputs:
            _check_outputs(name, outputs[name], (len(images), width))
    return outputs


def _check_outputs(name: str, values: Tensor, shape: tuple[int, int]) -> None:
    if tuple(values.shape) != shape:
        shapes = ["x".join(map(str, each)) for each in (values.shape, shape)]
        raise ContractError(f"its {name} have the shape {shapes[0]}, expected {shapes[1]}", "fix its forward")
    if not values.is_floating_point():
        kind = str(values.dtype).removeprefix("torch.")
        raise ContractError(f"its {name} are of type {kind}, expected floating point", "fix its forward")
    if not torch.isfinite(values).all():
        raise ContractError(f"its {name} are not finite", "check its weights, and mean and std")


def _difference(first: Tensor, second: Tensor) -> float | None:
    """The largest difference of two outputs (B, W); None if they are the same but for rounding."""
    first, second = first.double(), second.double()
    difference = float((first - second).abs().max())
    allowed = TOLERANCE * float(first.std(unbiased=False)) + ROUNDING * float(first.abs().max())
    return None if difference <= allowed else difference
