"""What the demonstration draws: the same for the same seed, on the digits' own scale, nothing missing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from zoo_cli.demo import demo_data
from zoo_cli.errors import UsageError

COUNT = 120


def drawn(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return demo_data.draw(kind, COUNT, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_a_seed_decides_every_pixel(kind: str) -> None:
    images, labels = drawn(kind)
    again, same = drawn(kind)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, same)
    others, _ = drawn(kind, 1)
    assert (images != others).any()


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_drawn_images_look_like_the_digits_to_a_network(kind: str) -> None:
    images, labels = drawn(kind)
    digits, truth = demo_data.handwritten()
    assert images.dtype == digits.dtype == np.uint8
    assert images.shape == (COUNT, *digits.shape[1:])
    assert labels.dtype == truth.dtype == np.int64
    assert set(np.unique(images)) <= set(np.unique(digits)), "levels that the digits do not have"
    assert images.max() == digits.max() == 255
    assert images.min() == digits.min() == 0


@pytest.mark.parametrize("kind", ["printed-digits", "letters"])
def test_glyphs_have_the_grey_levels_of_the_digits(kind: str) -> None:
    levels = np.rint(np.arange(17) * 255 / 16)
    np.testing.assert_array_equal(np.unique(demo_data.handwritten()[0]), levels)
    np.testing.assert_array_equal(np.unique(drawn(kind)[0]), levels)


@pytest.mark.parametrize("kind", ["printed-digits", "letters"])
def test_glyphs_fill_the_height_of_the_image(kind: str) -> None:
    images, _ = drawn(kind)
    for row in (0, -1):
        assert (images[:, row].max(1) > 0).mean() > 0.95


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_every_class_is_drawn_equally_often(kind: str) -> None:
    counts = np.bincount(drawn(kind)[1])
    assert len(counts) == len(demo_data.KINDS[kind][0])
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("kind", demo_data.KINDS)
def test_the_images_of_a_class_differ_from_each_other(kind: str) -> None:
    images, labels = drawn(kind)
    for label in np.unique(labels):
        of_class = images[labels == label]
        assert len(np.unique(of_class, axis=0)) > len(of_class) // 2
        assert of_class.any((1, 2)).all(), "an empty image"


def test_every_class_has_a_name_of_its_own() -> None:
    for classes, _ in demo_data.KINDS.values():
        assert len(set(classes)) == len(classes)


def test_every_font_is_one_that_matplotlib_carries() -> None:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    assert [font for font in demo_data.FONTS if not (folder / font).is_file()] == []


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")])
def test_a_missing_package_is_one_line_that_names_the_extra(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as refused:
        demo_data.check()
    assert str(refused.value) == f'zoo demo needs {package}; pip install "zoo-cli[demo]"'
