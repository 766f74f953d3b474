"""The same bytes wherever images are kept."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.data.pictures import encoded, picture
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
    data = [encoded(picture(40 + i % 3, 31 + i % 5, seed=i)) for i in range(COUNT)]
    return [lambda one=one: one for one in data]  # type: ignore[misc]


@pytest.mark.parametrize("preprocessing", [CROPS, GRAY])
@pytest.mark.parametrize("workers", [0, 3])
def test_memory_and_stream_give_the_bytes_of_the_view(
    items: list[Callable[[], bytes]], preprocessing: Preprocessing, workers: int
) -> None:
    told: list[tuple[int, int]] = []
    kept = PixelCache(items, preprocessing, "cpu", workers, progress=lambda done, total: told.append((done, total)))
    streamed = PixelCache(items, preprocessing, "cpu", workers, budget_bytes=kept.bytes - 1)
    assert (kept.place, streamed.place) == ("memory", "stream")
    assert told == [(i + 1, COUNT) for i in range(COUNT)]
    indices = torch.tensor([5, 599, 0, 5, 255, 256, 257])
    batch = kept.batch(indices)
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, streamed.batch(indices))
    for row, index in zip(batch, indices.tolist(), strict=True):
        true = make_view(picture(40 + index % 3, 31 + index % 5, seed=index), cache_geometry(preprocessing))
        assert np.array_equal(row.permute(1, 2, 0).numpy(), true)


def test_crops_have_room_where_a_resize_is_known() -> None:
    assert cache_geometry(CROPS).kept == 30
    assert cache_geometry(GRAY).kept == 20
    assert cache_geometry(Preprocessing(24, HALF, HALF, resize=20)).kept == 24


def test_a_batch_is_a_copy(items: list[Callable[[], bytes]]) -> None:
    cache = PixelCache(items[:4], CROPS, "cpu", 0)
    cache.batch(torch.tensor([1])).zero_()
    assert int(cache.batch(torch.tensor([1])).max()) > 0


def test_an_image_that_went_bad_is_named(items: list[Callable[[], bytes]]) -> None:
    broken = [*items[:3], lambda: b""]
    with pytest.raises(ContractError, match=r"train/x\.png: the file is empty"):
        PixelCache(broken, CROPS, "cpu", 2, ids=["a", "b", "c", "train/x.png"])
    streamed = PixelCache(broken, CROPS, "cpu", 2, budget_bytes=0, ids=["a", "b", "c", "train/x.png"])
    with pytest.raises(ContractError, match=r"train/x\.png"):
        streamed.batch(torch.tensor([0, 3]))


def test_no_images_are_no_trouble() -> None:
    assert PixelCache([], CROPS, "cpu", 2).batch(torch.tensor([], dtype=torch.long)).shape == (0, 3, 30, 30)


@pytest.mark.gpu
def test_a_gpu_keeps_the_same_bytes(items: list[Callable[[], bytes]]) -> None:
    indices = torch.tensor([5, 599, 0, 300])
    true = PixelCache(items, CROPS, "cpu", 4).batch(indices)
    kept = PixelCache(items, CROPS, "cuda", 4)
    assert kept.place == "gpu"
    assert torch.equal(kept.batch(indices).cpu(), true)
    kept.place, kept.images = "stream", None
    assert torch.equal(kept.batch(indices.cuda()).cpu(), true)
