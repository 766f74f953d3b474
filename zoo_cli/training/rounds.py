"""The batches of training on several domains: one domain a step, each a function of its step alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.images import augmentation, random_numbers
from zoo_cli.images.packed_copy import move_together
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.batch_source import BatchSource
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.round_plan import RoundPlan


@dataclass(frozen=True)
class RoundStep:
    """The domain of a step, its epoch, and the images that it takes.

    `slots` (B,): which of the epoch's images of the domain, from 0; `positions` (B,): which of the domain's images.
    """

    domain: int
    epoch: int
    slots: Tensor
    positions: Tensor


def draw_step(plan: RoundPlan, step: int) -> RoundStep:
    """What a step, counted from 0, takes. Every round has one step for each domain, in an order drawn for it."""
    count = len(plan.sizes)
    round_number, turn = divmod(step, count)
    order = random_numbers.permutation(random_numbers.derive_seed(plan.seed, "round"), round_number, count)
    domain = int(order[turn])
    epoch, number = divmod(round_number, plan.rounds)
    first, end = plan.slots(number)
    positions = _draw_epoch(plan, domain, epoch)[first:end]
    return RoundStep(domain, epoch, torch.arange(first, end), positions)


def make_round_batches(
    cache: ImageCache,
    rows: Sequence[np.ndarray],
    plan: RoundPlan,
    preprocessing: Preprocessing,
    augment: str,
) -> BatchSource:
    """The function from a step to its batch. `rows`: those of each domain's training images (N_d,)."""
    pixels = cache.pixels(preprocessing)
    places = [cache.positions(domain_rows) for domain_rows in rows]
    labels = [torch.from_numpy(cache.images.labels[domain_rows]) for domain_rows in rows]

    def batch(step: int) -> Batch:
        drawn_step = draw_step(plan, step)
        domain = drawn_step.domain
        position = places[domain][drawn_step.positions]
        height, width = pixels.image_shape[1:]
        # By slot, not by image: one that an epoch repeats is augmented anew.
        view = augmentation.plan_views(
            augment,
            preprocessing.input_size,
            height,
            width,
            seed=random_numbers.derive_seed(plan.seed, f"views {domain}"),
            epoch=torch.full_like(drawn_step.slots, drawn_step.epoch),
            sample=drawn_step.slots,
        )
        numbers = {"position": position, "labels": labels[domain][drawn_step.positions], **view.numbers}
        moved = move_together(numbers, cache.device)
        images = pixels.batch(moved["position"] if pixels.place == "gpu" else position)
        views = augmentation.apply_plan(images, view, moved, preprocessing.mean, preprocessing.std)
        return Batch(views, moved["labels"], domain=domain)

    return BatchSource(batch, cache, [pixels], [])


@lru_cache(maxsize=64)  # as many domains at a time; 100,000 images take 0.8 MB each
def _draw_epoch(plan: RoundPlan, domain: int, epoch: int) -> Tensor:
    """The images (per_domain,) of a domain that an epoch takes, as positions among them."""
    size = plan.sizes[domain]
    seed = random_numbers.derive_seed(plan.seed, f"domain {domain}")
    if size >= plan.per_domain:
        return random_numbers.permutation(seed, epoch, size)[: plan.per_domain].clone()
    numbers = random_numbers.uniform(seed, epoch, torch.arange(plan.per_domain), 1)[:, 0].double()
    return (numbers * size).long().clamp_(max=size - 1)
