"""What `zoo predict` runs on decoded images: a network of its own, or the sources of a pool."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from zoo_cli.images.decoding import Geometry
from zoo_cli.store.provenance import Inputs


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities (M, C) of images; `logits` (M, C) float32: the network's outputs, None if heads answered."""

    probs: np.ndarray
    logits: np.ndarray | None = None


@dataclass(frozen=True)
class Predictor:
    """A model on its device. `name`: what messages call it; `classes`: names (C,) in the order of its answers.

    `geometries`: the views of an image that `answer` takes, as uint8 (M, H, W, channels). `batch_size`: images at a
    time. `inputs`: what its answers depend on. `has_logits`: whether they have logits.
    """

    name: str
    classes: tuple[str, ...]
    geometries: tuple[Geometry, ...]
    batch_size: int
    inputs: Inputs
    has_logits: bool
    answer: Callable[[Mapping[Geometry, np.ndarray]], Answers]
