"""The batches of a run, each a function of its step alone."""

import torch
from torch import Tensor

from zoo_cli import ranks
from zoo_cli.config import Preprocessing
from zoo_cli.images import augmentation, random_numbers
from zoo_cli.images.packed_copy import move_together
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training.batch_source import BatchSource
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.stored_rows import StoredRows
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
) -> BatchSource:
    """The function from a step to its batch: images augmented on the device, their labels and stored targets.

    `targets` (Nu, sum K): the pseudo-labels of the unlabelled stream, in its order. `teacher_logits` (V, M, N, C): of
    M teachers on the N rows of the streams; V is 1 for the plain view, 2 for the plain and the mirrored one.
    `strong_views`: add a second, harder view of the unlabelled rows.
    """
    pixels = cache.pixels(preprocessing)
    labelled, unlabelled = cache.positions(streams.labelled), cache.positions(streams.unlabelled)
    labels = torch.from_numpy(cache.images.labels[streams.labelled])
    manifest_rows, used = torch.from_numpy(cache.rows), cache.positions(streams.rows)
    stored_targets = stored_logits = None
    if targets is not None:
        stored_targets = StoredRows("targets", targets, cache.device, cache.gpu_budget())
    if teacher_logits is not None:
        by_row = teacher_logits.transpose(1, 2).contiguous()
        stored_logits = StoredRows("logits", by_row, cache.device, cache.gpu_budget(), views=True)
    has_views = teacher_logits is not None and len(teacher_logits) > 1

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
        first_unlabelled = len(chosen["labelled"])

        def plan(rows: slice, strong: bool) -> augmentation.ViewPlan:
            height, width = pixels.image_shape[1:]
            return augmentation.plan_views(
                augment,
                preprocessing.input_size,
                height,
                width,
                seed=streams.seed,
                epoch=epoch[rows],
                sample=sample[rows],
                strong=strong,
            )

        weak = plan(slice(None), False)
        strong = plan(slice(first_unlabelled, None), True) if strong_views else None
        numbers = {"position": position, "labels": labels[chosen["labelled"]], **weak.numbers}
        if strong is not None:
            numbers |= strong.numbers
        if stored_targets is not None:
            numbers |= stored_targets.numbers(chosen["unlabelled"])
        if stored_logits is not None:
            view = torch.zeros(len(position), dtype=torch.int64)
            if has_views:
                view = augmentation.draw_mirrored(streams.seed, epoch, sample).long()
            numbers |= stored_logits.numbers(torch.searchsorted(used, position), view)
        # One copy for all of them: a GPU is not waited for while a batch is made.
        moved = move_together(numbers, cache.device)
        images = pixels.batch(moved["position"] if pixels.place == "gpu" else position)
        statistics = preprocessing.mean, preprocessing.std
        return Batch(
            augmentation.apply_plan(images, weak, moved, *statistics),
            moved["labels"],
            None if stored_targets is None else stored_targets.take(moved),
            None if strong is None else augmentation.apply_plan(images[first_unlabelled:], strong, moved, *statistics),
            None if stored_logits is None else stored_logits.take(moved).transpose(0, 1),
        )

    return BatchSource(batch, cache, [pixels], [rows for rows in (stored_targets, stored_logits) if rows is not None])


def draw_indices(seed: int, name: str, count: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    """The images of a stream of `count` that a step takes, and their epochs: int64 (size,) each.

    `name`: "labelled" or "unlabelled". Where several processes share a batch, only the share of this one.
    """
    stream_seed = random_numbers.derive_seed(seed, f"{name} stream")
    first, length = ranks.share(size)
    return random_numbers.index_stream(stream_seed, count, step * size + first, length)
