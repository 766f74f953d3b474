"""Stored augmented views: a function of seed, view and sample; the same for every network, in memory or streamed."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import augmentation
from zoo_cli.images.augmented_views import LARGEST, augment_image, load_augmented_views, number_sample, whole_geometry
from zoo_cli.images.decoding import BadImage, make_view
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.store.view_set import VIEW_KINDS, ViewSet

IDS = ("first", "second", "third")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture, whose every pixel says where it is."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image) -> Callable[[], bytes]:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue


def network(size: int, channels: int = 3, resize: int | None = None) -> Preprocessing:
    return Preprocessing(size, (0.5,) * channels, (0.25,) * channels, resize, channels=channels)


@pytest.mark.parametrize("kind", VIEW_KINDS)
def test_view_is_a_function_of_seed_view_and_sample(kind: str) -> None:
    image = picture(40, 30)
    views = ViewSet(4, kind, seed=1)
    pixels = [augment_image(image, views, view, name).tobytes() for view in range(4) for name in IDS]
    again = [augment_image(image, ViewSet(9, kind, seed=1), view, name).tobytes() for view in range(4) for name in IDS]
    assert pixels == again
    assert len(set(pixels)) > 1
    other = [augment_image(image, ViewSet(4, kind, seed=2), view, name).tobytes() for view in range(4) for name in IDS]
    assert pixels != other


@pytest.mark.parametrize("kind", VIEW_KINDS)
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (700, 40), (900, 600)])
def test_images_of_any_size_have_views(kind: str, size: tuple[int, int]) -> None:
    for view in range(3):
        result = augment_image(picture(*size), ViewSet(3, kind), view, "first")
        assert min(result.size) >= 1
        assert kind == "crop" or result.size == (min(*size, LARGEST),) * 2


def test_crops_are_boxes_of_the_image() -> None:
    """At whole pixels, mirrored in about half of the views, of 8 to 100 % of the area and sides 3:4 to 4:3."""
    image = picture(200, 150)
    pixels = np.asarray(image)
    mirrored = 0
    for view in range(60):
        boxes, flips = augmentation.draw_crops(150, 200, seed=0, epoch=view, sample=torch.tensor([number_sample("a")]))
        left, top, wide, tall = (round(each) for each in boxes[0].tolist())
        left, top = min(left, 200 - wide), min(top, 150 - tall)
        expected = pixels[top : top + tall, left : left + wide]
        result = np.asarray(augment_image(image, ViewSet(60), view, "a"))
        np.testing.assert_array_equal(result, expected[:, ::-1] if flips[0] else expected)
        assert 0.075 < wide * tall / (200 * 150) <= 1
        assert 0.74 < wide / tall < 1.35
        mirrored += bool(flips[0])
    assert 15 < mirrored < 45


def test_other_kinds_are_those_of_training() -> None:
    image = picture(30, 30)
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    for kind in set(VIEW_KINDS) - {"crop"}:
        expected = augmentation.augment(
            batch, kind, 30, seed=5, epoch=2, sample=torch.tensor([number_sample("second")])
        )
        result = np.asarray(augment_image(image, ViewSet(3, kind, seed=5), 2, "second"))
        np.testing.assert_allclose(result / 255, expected[0].permute(1, 2, 0), atol=0.51 / 255)


@pytest.mark.parametrize("kind", ["crop", "rand"])
@pytest.mark.parametrize("free", [None, 0])
def test_cache_holds_what_extraction_loads(kind: str, free: int | None) -> None:
    """Three networks of other sizes see the same view of each image, from memory or decoded for every batch."""
    images = [picture(40, 30, seed) for seed in range(3)]
    getters = [encoded(image) for image in images]
    views = ViewSet(2, kind)
    networks = [network(12), network(20, resize=24), network(8, channels=1)]
    geometries = [whole_geometry(each) for each in networks]
    items = [(getter, name, range(2)) for getter, name in zip(getters, IDS, strict=True)]
    loaded = dict(load_augmented_views(items, views, geometries, 2))
    for preprocessing, geometry in zip(networks, geometries, strict=True):
        cache = PixelCache(getters, preprocessing, "cpu", 2, budget_bytes=free, ids=IDS, views=views)
        assert cache.place == ("memory" if free is None else "stream")
        positions, view = torch.tensor([2, 0, 2, 1]), torch.tensor([0, 1, 1, 0])
        batch = cache.batch(positions, view)
        for pixels, position, number in zip(batch, positions.tolist(), view.tolist(), strict=True):
            result = loaded[position]
            assert not isinstance(result, BadImage)
            np.testing.assert_array_equal(pixels.permute(1, 2, 0), result[geometry][number])
            direct = make_view(augment_image(images[position], views, number, IDS[position]), geometry)
            np.testing.assert_array_equal(pixels.permute(1, 2, 0), direct)


def test_bad_image_is_named() -> None:
    items = [(lambda: b"no image", "first", range(2))]
    ((_, result),) = load_augmented_views(items, ViewSet(2), [whole_geometry(network(8))], 0)
    assert isinstance(result, BadImage)


@pytest.mark.parametrize(("count", "kind"), [(0, "crop"), (-1, "crop"), (2, "none"), (2, "colour")])
def test_view_sets_out_of_range_are_refused(count: int, kind: str) -> None:
    with pytest.raises(UsageError):
        ViewSet(count, kind)
