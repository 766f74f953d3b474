"""The stored augmented views of an image: the same pixels for every network, whatever its input.

`augment_image` makes a view of the decoded image. Sources in `zoo extract --views` and the student in `zoo distill` see
the whole of it, resized to their own input size and normalised, and nothing else. It runs on the CPU, in the threads
that decode, so that the pixels are equal wherever a network runs.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from PIL import Image

from zoo_cli.config import Preprocessing
from zoo_cli.images import augmentation
from zoo_cli.images.decoding import BadImage, Geometry, Getter, Pixels, make_view, open_decoded, view_geometry
from zoo_cli.images.in_order import map_in_order
from zoo_cli.store.view_set import ViewSet

LARGEST = 512  # pixels of the shorter side from which all kinds but "crop" are made: their cost grows with the area

ViewRequest = tuple[Getter, str, Sequence[int]]
"""What to decode, the id of the sample, and which of its views to make."""


def augment_image(image: Image.Image, views: ViewSet, view: int, sample_id: str) -> Image.Image:
    """View `view` of a decoded RGB image, a function of (seed, view, sample) and its pixels alone.

    "crop" cuts a box (8-100 % of the area, sides 3:4 to 4:3) at whole pixels of the image as decoded, and mirrors it at
    random. The other kinds are `augmentation.augment`, a square of the image's shorter side, for which an image with a
    shorter side above 512 pixels is first shrunk to that.
    """
    sample = torch.tensor([number_sample(sample_id)])
    if views.augment == "crop":
        boxes, mirrored = augmentation.draw_crops(image.height, image.width, seed=views.seed, epoch=view, sample=sample)
        left, top, wide, tall = boxes[0].tolist()
        wide, tall = max(1, round(wide)), max(1, round(tall))
        left, top = min(round(left), image.width - wide), min(round(top), image.height - tall)
        cropped = image.crop((left, top, left + wide, top + tall))
        return cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored[0] else cropped
    side = min(image.size)
    if side > LARGEST:
        scale, side = LARGEST / side, LARGEST
        size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    augmented = augmentation.augment(pixels, views.augment, side, seed=views.seed, epoch=view, sample=sample)
    return Image.fromarray((augmented[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


def whole_geometry(preprocessing: Preprocessing) -> Geometry:
    """How a network sees an augmented view: the whole of it at its input size, without a crop of its own."""
    return view_geometry(preprocessing)._replace(resize=None)


def load_augmented_views(
    items: Iterable[ViewRequest], views: ViewSet, geometries: Iterable[Geometry], workers: int
) -> Iterator[tuple[int, dict[Geometry, Pixels] | BadImage]]:
    """Decode every image once: yields its position and, per geometry, its requested views (V, H, W, C) uint8.

    As `decoding.load_views`, with BadImage for an image that cannot be used.
    """
    distinct = tuple(dict.fromkeys(geometries))

    def load(item: ViewRequest) -> dict[Geometry, Pixels] | BadImage:
        getter, sample_id, requested = item
        try:
            with open_decoded(getter()) as image:
                augmented = [augment_image(image, views, view, sample_id) for view in requested]
        except BadImage as bad:
            return bad
        return {geometry: np.stack([make_view(each, geometry) for each in augmented]) for geometry in distinct}

    with closing(map_in_order(load, items, workers, name_of=lambda item: item[1])) as results:
        yield from enumerate(results)


def number_sample(sample_id: str) -> int:
    """The number of a sample in its random numbers, in [0, 2^63): of its id, so that other images do not change it."""
    return int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8], "big") >> 1
