"""Class lists of several data sets: matched by name, so that labels never shift."""

from collections.abc import Iterator

import pytest

from zoo_cli.data.samples import Data, Sample, align_labels, union_classes
from zoo_cli.errors import ContractError


def make_data(classes: tuple[str, ...] | None, *labels: int | None) -> Data:
    def samples() -> Iterator[Sample]:
        return (Sample(str(i), f"{i}.png", None, label, None) for i, label in enumerate(labels))

    return Data(classes, samples)


def test_a_missing_class_shifts_nothing() -> None:
    test = align_labels(make_data(("cat", "eel"), 0, 1, None), ("cat", "dog", "eel"), "folder:test")
    assert test.classes == ("cat", "dog", "eel")
    assert [s.label for s in test.samples()] == [0, 2, None]


def test_an_unknown_class_suggests_the_nearest() -> None:
    with pytest.raises(ContractError, match=r'"dogs" of folder:test .*did you mean "dog"'):
        align_labels(make_data(("cat", "dogs"), 0), ("cat", "dog"), "folder:test")


def test_forget_drops_unknown_labels() -> None:
    pool = align_labels(make_data(("2023", "cat"), 0, 1), ("ant", "cat"), "folder:pool", forget=True)
    assert [s.label for s in pool.samples()] == [None, 1]


def test_data_without_labels_is_unchanged() -> None:
    pool = make_data(None, None)
    assert align_labels(pool, ("cat",), "folder:pool") is pool


def test_union_appends_the_classes_of_later_data_sets() -> None:
    assert union_classes([make_data(("cat", "eel")), make_data(None), make_data(("ant", "cat"))]) == (
        "cat",
        "eel",
        "ant",
    )
    assert union_classes([make_data(None)]) is None
