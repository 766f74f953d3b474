"""The batches of a run, each a function of its step alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.free_memory import free_gpu_memory
from zoo_cli.images import augmentation, random_numbers
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.streams import IndexStreams


def make_batch_fn(
    cache: ImageCache,
    streams: IndexStreams,
    preprocessing: Preprocessing,
    augment: str,
    *,
    targets: Tensor | None = None,
    teacher_logits: Tensor | None = None,
    strong_views: bool = False,
) -> Callable[[int], Batch]:
    """The function from a step to its batch: images augmented on the device, their labels and stored targets.

    `targets` (Nu, sum K): the pseudo-labels of the unlabelled stream, in its order. `teacher_logits` (V, M, N, C): of
    M teachers on the N rows of the streams; V is 1 for the plain view, 2 for the plain and the mirrored one.
    `strong_views`: add a second, harder view of the unlabelled rows.
    """
    pixels = cache.pixels(preprocessing)
    labelled, unlabelled = cache.positions(streams.labelled), cache.positions(streams.unlabelled)
    labels = torch.from_numpy(cache.images.labels[streams.labelled])
    manifest_rows, used = torch.from_numpy(cache.rows), cache.positions(streams.rows)
    targets, teacher_logits = move_if_small(targets, cache.device), move_if_small(teacher_logits, cache.device)

    def batch(step: int) -> Batch:
        positions, epochs, samples = [], [], []
        chosen = {name: torch.empty(0, dtype=torch.int64) for name in ("labelled", "unlabelled")}
        # A sample can be in both halves of one epoch: odd numbers for one stream, even for the other.
        for name, stream, size, odd in (
            ("labelled", labelled, streams.batch_sizes[0], 1),
            ("unlabelled", unlabelled, streams.batch_sizes[1], 0),
        ):
            if not size:
                continue
            chosen[name], epoch = draw_indices(streams.seed, name, len(stream), step, size)
            positions.append(stream[chosen[name]])
            epochs.append(epoch)
            samples.append(2 * manifest_rows[positions[-1]] + odd)
        position, epoch, sample = torch.cat(positions), torch.cat(epochs), torch.cat(samples)
        images = pixels.batch(position)
        first_unlabelled = streams.batch_sizes[0] if strong_views else len(position)

        def augmented(rows: slice, strong: bool) -> Tensor:
            return augmentation.augment(
                images[rows],
                augment,
                preprocessing.input_size,
                strong=strong,
                seed=streams.seed,
                epoch=epoch[rows],
                sample=sample[rows],
                mean=preprocessing.mean,
                std=preprocessing.std,
            )

        logits = None
        if teacher_logits is not None:
            view = torch.zeros(len(position), dtype=torch.int64)
            if len(teacher_logits) > 1:
                view = augmentation.draw_mirrored(streams.seed, epoch, sample).long()
            row = torch.searchsorted(used, position)
            device = teacher_logits.device
            logits = teacher_logits[view.to(device), :, row.to(device)].transpose(0, 1)
        return Batch(
            augmented(slice(None), False),
            labels[chosen["labelled"]],
            None if targets is None else targets[chosen["unlabelled"].to(targets.device)],
            augmented(slice(first_unlabelled, None), True) if strong_views else None,
            logits,
        )

    return batch


def draw_indices(seed: int, name: str, count: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    """The images of a stream of `count` that a step takes, and their epochs: int64 (size,) each.

    `name`: "labelled" or "unlabelled".
    """
    stream_seed = random_numbers.derive_seed(seed, f"{name} stream")
    return random_numbers.index_stream(stream_seed, count, step * size, size)


def move_if_small(stored: Tensor | None, device: torch.device) -> Tensor | None:
    """A tensor on the GPU, if it takes at most half of the free memory there."""
    if stored is not None and device.type == "cuda" and stored.nbytes <= free_gpu_memory(device) // 2:
        return stored.to(device)
    return stored
