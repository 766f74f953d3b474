"""The demonstration's images: reproducible by seed, and on the digits' own scale."""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from zoo_cli.demo import demo_data
from zoo_cli.errors import UsageError

COUNT = 120


def draw(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return demo_data.draw_images(kind, COUNT, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_the_seed_determines_every_pixel(kind: str) -> None:
    images, labels = draw(kind)
    images_again, labels_again = draw(kind)
    np.testing.assert_array_equal(images, images_again)
    np.testing.assert_array_equal(labels, labels_again)
    other_images, _ = draw(kind, 1)
    assert (images != other_images).any()


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_images_have_the_digits_format(kind: str) -> None:
    images, labels = draw(kind)
    digits, truth = demo_data.load_digits()
    assert images.dtype == digits.dtype == np.uint8
    assert images.shape == (COUNT, *digits.shape[1:])
    assert labels.dtype == truth.dtype == np.int64
    assert set(np.unique(images)) <= set(np.unique(digits)), "levels that the digits lack"
    assert images.max() == digits.max() == 255
    assert images.min() == digits.min() == 0


@pytest.mark.parametrize("kind", ["printed-digits", "letters"])
def test_glyphs_have_the_digits_gray_levels(kind: str) -> None:
    levels = np.rint(np.arange(17) * 255 / 16)
    np.testing.assert_array_equal(np.unique(demo_data.load_digits()[0]), levels)
    np.testing.assert_array_equal(np.unique(draw(kind)[0]), levels)


@pytest.mark.parametrize("kind", ["printed-digits", "letters"])
def test_glyphs_fill_the_height_of_the_image(kind: str) -> None:
    images, _ = draw(kind)
    for row in (0, -1):
        assert (images[:, row].max(1) > 0).mean() > 0.95


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_classes_are_balanced(kind: str) -> None:
    counts = np.bincount(draw(kind)[1])
    assert len(counts) == len(demo_data.KINDS[kind][0])
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_images_of_a_class_differ(kind: str) -> None:
    images, labels = draw(kind)
    for label in np.unique(labels):
        of_class = images[labels == label]
        assert len(np.unique(of_class, axis=0)) > len(of_class) // 2
        assert of_class.any((1, 2)).all(), "an empty image"


def test_class_names_are_unique() -> None:
    for classes, _ in demo_data.KINDS.values():
        assert len(set(classes)) == len(classes)


def test_every_font_is_in_matplotlib() -> None:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    assert [font for font in demo_data.FONTS if not (folder / font).is_file()] == []


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")])
def test_a_missing_package_names_the_extra(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        demo_data.check_packages()
    assert str(caught.value) == f'zoo demo needs {package}; pip install "zoo-cli[demo]"'
