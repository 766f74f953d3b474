"""The pixel cache gives the same bytes wherever it keeps the images."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.data.encoded_images import encode, make_image
from zoo_cli.config import Preprocessing
from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import make_view
from zoo_cli.images.pixel_cache import PixelCache, cache_geometry

HALF = (0.5, 0.5, 0.5)
CROPS = Preprocessing(24, HALF, HALF, resize=30)
GRAY = Preprocessing(20, (0.5,), (0.5,), channels=1)
COUNT = 600


@pytest.fixture(scope="module")
def items() -> list[Callable[[], bytes]]:
    data = [encode(make_image(40 + i % 3, 31 + i % 5, seed=i)) for i in range(COUNT)]
    return [lambda encoded=encoded: encoded for encoded in data]  # type: ignore[misc]


@pytest.mark.parametrize("preprocessing", [CROPS, GRAY])
@pytest.mark.parametrize("workers", [0, 3])
def test_memory_and_stream_give_the_views_bytes(
    items: list[Callable[[], bytes]], preprocessing: Preprocessing, workers: int
) -> None:
    reports: list[tuple[int, int]] = []
    cached = PixelCache(items, preprocessing, "cpu", workers, progress=lambda *report: reports.append(report))
    streamed = PixelCache(items, preprocessing, "cpu", workers, budget_bytes=cached.bytes - 1)
    assert (cached.place, streamed.place) == ("memory", "stream")
    assert reports == [(i + 1, COUNT) for i in range(COUNT)]
    indices = torch.tensor([5, 599, 0, 5, 255, 256, 257])
    batch = cached.batch(indices)
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, streamed.batch(indices))
    for row, index in zip(batch, indices.tolist(), strict=True):
        expected = make_view(make_image(40 + index % 3, 31 + index % 5, seed=index), cache_geometry(preprocessing))
        assert np.array_equal(row.permute(1, 2, 0).numpy(), expected)


def test_crops_have_room_with_a_resize() -> None:
    assert cache_geometry(CROPS).side == 30
    assert cache_geometry(GRAY).side == 20
    assert cache_geometry(Preprocessing(24, HALF, HALF, resize=20)).side == 24


def test_a_batch_is_a_copy(items: list[Callable[[], bytes]]) -> None:
    cache = PixelCache(items[:4], CROPS, "cpu", 0)
    cache.batch(torch.tensor([1])).zero_()
    assert int(cache.batch(torch.tensor([1])).max()) > 0


def test_an_image_that_no_longer_decodes_is_named(items: list[Callable[[], bytes]]) -> None:
    broken = [*items[:3], lambda: b""]
    with pytest.raises(ContractError, match=r"train/x\.png: the file is empty"):
        PixelCache(broken, CROPS, "cpu", 2, ids=["a", "b", "c", "train/x.png"])
    streamed = PixelCache(broken, CROPS, "cpu", 2, budget_bytes=0, ids=["a", "b", "c", "train/x.png"])
    with pytest.raises(ContractError, match=r"train/x\.png"):
        streamed.batch(torch.tensor([0, 3]))


def test_an_empty_cache_gives_empty_batches() -> None:
    assert PixelCache([], CROPS, "cpu", 2).batch(torch.tensor([], dtype=torch.long)).shape == (0, 3, 30, 30)


@pytest.mark.gpu
def test_a_gpu_keeps_the_same_bytes(items: list[Callable[[], bytes]]) -> None:
    indices = torch.tensor([5, 599, 0, 300])
    expected = PixelCache(items, CROPS, "cpu", 4).batch(indices)
    cache = PixelCache(items, CROPS, "cuda", 4)
    assert cache.place == "gpu"
    assert torch.equal(cache.batch(indices).cpu(), expected)
    cache.place, cache.images = "stream", None
    assert torch.equal(cache.batch(indices.cuda()).cpu(), expected)
