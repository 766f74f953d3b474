"""The batches of a run, each a function of its step alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from zoo_cli.pipeline.image_cache import ImageCache
from zoo_cli.pipeline.streams import IndexStreams

if TYPE_CHECKING:
    import torch

    from zoo_cli.config import Preprocessing
    from zoo_cli.objectives.supervised import Batch


def batches(
    pictures: ImageCache,
    streams: "IndexStreams",
    said: "Preprocessing",
    augment: str,
    *,
    targets: "torch.Tensor | None" = None,
    answers: "torch.Tensor | None" = None,
    strong: bool = False,
) -> "Callable[[int], Batch]":
    """The batch of a step, a function of the step alone: images augmented on the device, labels, what is stored.

    `targets` (Nu, sum K): of the unlabelled stream, in its order. `answers` (V, M, N, C): the teachers' stored logits
    of the N rows of the streams, of the plain view and, where V is 2, of the mirrored one. `strong`: a second view of
    the rows without labels.
    """
    import torch

    from zoo_cli.images import augmentation, random_numbers
    from zoo_cli.objectives.supervised import Batch

    cache = pictures.cache(said)
    labelled, unlabelled = pictures.places(streams.labelled), pictures.places(streams.unlabelled)
    labels = torch.from_numpy(pictures.images.labels[streams.labelled])
    numbers, taking_part = torch.from_numpy(pictures.rows), pictures.places(streams.rows)
    targets, answers = _near(targets, pictures.device), _near(answers, pictures.device)
    nothing = torch.empty(0, dtype=torch.int64)

    def batch(step: int) -> Batch:
        places, epochs, samples = [], [], []
        picked = {"labelled": nothing, "unlabelled": nothing}
        # One sample may stand in both halves in one epoch: odd numbers for one stream, even for the other.
        for name, pool, count, odd in (
            ("labelled", labelled, streams.batch[0], 1),
            ("unlabelled", unlabelled, streams.batch[1], 0),
        ):
            if not count:
                continue
            seed = random_numbers.derive_seed(streams.seed, f"{name} stream")
            chosen, epoch = random_numbers.index_stream(seed, len(pool), step * count, count)
            picked[name] = chosen
            places.append(pool[chosen])
            epochs.append(epoch)
            samples.append(2 * numbers[pool[chosen]] + odd)
        place, epoch, sample = torch.cat(places), torch.cat(epochs), torch.cat(samples)
        pixels = cache.batch(place)
        first = streams.batch[0] if strong else len(place)

        def views(rows: slice, strong: bool) -> torch.Tensor:
            return augmentation.augment(
                pixels[rows],
                augment,
                said.input_size,
                strong=strong,
                seed=streams.seed,
                epoch=epoch[rows],
                sample=sample[rows],
                mean=said.mean,
                std=said.std,
            )

        told = None
        if answers is not None:
            side = torch.zeros(len(place), dtype=torch.int64)
            if len(answers) > 1:
                side = augmentation.draw_mirrored(streams.seed, epoch, sample).long()
            answered = torch.searchsorted(taking_part, place)
            told = answers[side.to(answers.device), :, answered.to(answers.device)].transpose(0, 1)
        return Batch(
            views(slice(None), False),
            labels[picked["labelled"]],
            None if targets is None else targets[picked["unlabelled"].to(targets.device)],
            views(slice(first, None), True) if strong else None,
            told,
        )

    return batch


def _near(stored: "torch.Tensor | None", device: "torch.device") -> "torch.Tensor | None":
    """On the GPU, where at most half of its free memory is needed for it."""
    import torch

    if stored is not None and device.type == "cuda" and stored.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        return stored.to(device)
    return stored
