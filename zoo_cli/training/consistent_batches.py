"""Batches in which the student sees exactly the stored views for which its targets hold (Beyer et al. 2022)."""

import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.images import augmentation
from zoo_cli.images.packed_copy import move_together
from zoo_cli.objectives.supervised import Batch
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.batch_source import BatchSource
from zoo_cli.training.batches import draw_indices
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.stored_rows import StoredRows
from zoo_cli.training.streams import IndexStreams


def make_consistent_batch_fn(
    cache: ImageCache, streams: IndexStreams, preprocessing: Preprocessing, views: ViewSet, targets: Tensor
) -> BatchSource:
    """The function from a step to its batch, as `batches.make_batch_fn` gives it without views.

    In epoch e of the unlabelled stream the student sees view e mod V of every image, with the targets of that view:
    `targets` (V, Nu, sum K), in the order of the stream. Labels hold for every view: the labelled half has the same
    augmentation, drawn anew in each epoch.
    """
    labelled = cache.pixels_of(preprocessing, streams.labelled)
    unlabelled = cache.pixels_of(preprocessing, streams.unlabelled, views)
    labels = torch.from_numpy(cache.images.labels[streams.labelled])
    manifest_rows = torch.from_numpy(streams.labelled)
    stored = StoredRows("targets", targets, cache.device, cache.gpu_budget(), views=True)

    def batch(step: int) -> Batch:
        sizes = streams.batch_sizes
        row, epoch = draw_indices(streams.seed, "labelled", len(streams.labelled), step, sizes[0])
        height, width = labelled.image_shape[1:]
        plan = augmentation.plan_views(
            views.augment,
            preprocessing.input_size,
            height,
            width,
            seed=streams.seed,
            epoch=epoch,
            sample=2 * manifest_rows[row] + 1,
        )
        chosen, epoch = draw_indices(streams.seed, "unlabelled", len(streams.unlabelled), step, sizes[1])
        view = epoch % views.count
        numbers = {"row": row, "chosen": chosen, "view": view, "labels": labels[row], **plan.numbers}
        moved = move_together(numbers | stored.numbers(chosen, view), cache.device)
        on_gpu = unlabelled.place == "gpu"
        random_views = augmentation.apply_plan(
            labelled.batch(moved["row"] if labelled.place == "gpu" else row),
            plan,
            moved,
            preprocessing.mean,
            preprocessing.std,
        )
        stored_views = augmentation.normalise(
            unlabelled.batch(*((moved["chosen"], moved["view"]) if on_gpu else (chosen, view))).float() / 255,
            preprocessing.mean,
            preprocessing.std,
        )
        return Batch(torch.cat([random_views, stored_views]), moved["labels"], stored.take(moved))

    return BatchSource(batch, cache, [labelled, unlabelled], [stored])
