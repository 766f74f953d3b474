"""Batches in which the student sees exactly the stored views for which its targets hold (Beyer et al. 2022)."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo_cli.config import Preprocessing
from zoo_cli.images import augmentation
from zoo_cli.objectives.supervised import Batch
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.batches import draw_indices, move_if_small
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.streams import IndexStreams


def make_consistent_batch_fn(
    cache: ImageCache, streams: IndexStreams, preprocessing: Preprocessing, views: ViewSet, targets: Tensor
) -> Callable[[int], Batch]:
    """The function from a step to its batch, as `batches.make_batch_fn` gives it without views.

    In epoch e of the unlabelled stream the student sees view e mod V of every image, with the targets of that view:
    `targets` (V, Nu, sum K), in the order of the stream. Labels hold for every view: the labelled half has the same
    augmentation, drawn anew in each epoch.
    """
    labelled = cache.pixels_of(preprocessing, streams.labelled)
    unlabelled = cache.pixels_of(preprocessing, streams.unlabelled, views)
    labels = torch.from_numpy(cache.images.labels[streams.labelled])
    manifest_rows = torch.from_numpy(streams.labelled)
    stored = move_if_small(targets, cache.device)
    assert stored is not None

    def batch(step: int) -> Batch:
        sizes = streams.batch_sizes
        row, epoch = draw_indices(streams.seed, "labelled", len(streams.labelled), step, sizes[0])
        random_views = augmentation.augment(
            labelled.batch(row),
            views.augment,
            preprocessing.input_size,
            seed=streams.seed,
            epoch=epoch,
            sample=2 * manifest_rows[row] + 1,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )
        chosen, epoch = draw_indices(streams.seed, "unlabelled", len(streams.unlabelled), step, sizes[1])
        view = epoch % views.count
        stored_views = augmentation.normalise(
            unlabelled.batch(chosen, view).float() / 255, preprocessing.mean, preprocessing.std
        )
        return Batch(
            torch.cat([random_views, stored_views]),
            labels[row],
            stored[view.to(stored.device), chosen.to(stored.device)],
        )

    return batch
