"""Threads that work on items in order: one that cannot start, or gives no answer, ends the work."""

import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from zoo_cli.errors import ZooError
from zoo_cli.images import in_order
from zoo_cli.images.in_order import map_in_order, paused


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A short limit; the event that ends what hangs."""
    monkeypatch.setattr(in_order, "SILENCE", 0.4)
    monkeypatch.setattr(in_order, "TICK", 0.05)
    end = threading.Event()
    yield end
    end.set()


def name(item: int) -> str:
    return f"image-{item}"


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_item_without_an_answer_is_named(workers: int, short: threading.Event) -> None:
    results = map_in_order(lambda n: short.wait(10) if n == 5 else n, range(9), workers, name_of=name)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ZooError, match="image-5: no answer for 0 s") as caught:
        next(results)
    assert caught.value.code == 1


@pytest.mark.usefixtures("short")
def test_slow_items_that_answer_are_awaited() -> None:
    def work(item: int) -> int:
        time.sleep(0.2)
        return item

    assert list(map_in_order(work, range(6), 2)) == list(range(6))


@pytest.mark.usefixtures("short")
def test_a_thread_that_must_wait_is_awaited() -> None:
    def work(item: int) -> int:
        with paused():
            time.sleep(0.8)
        return item

    assert list(map_in_order(work, range(1), 1)) == [0]


def test_one_that_others_wait_for_is_named(short: threading.Event) -> None:
    lock = threading.Lock()
    taken = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            with lock:
                taken.set()
                short.wait(10)
        taken.wait(10)
        with paused(), lock:
            return item

    with pytest.raises(ZooError, match="image-1: no answer"):
        list(map_in_order(work, range(3), 3, name_of=name))


@pytest.mark.usefixtures("short")
def test_a_slow_consumer_ends_nothing() -> None:
    results = map_in_order(lambda n: time.sleep(0.1) or n, range(3), 1)
    for expected in range(3):
        assert next(results) == expected
        time.sleep(0.5)


@pytest.mark.parametrize("started", [0, 2])
def test_a_thread_that_cannot_start_ends_the_work(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    start, count = threading.Thread.start, [0]

    def failing(thread: threading.Thread) -> None:
        count[0] += 1
        if count[0] > started:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    with pytest.raises(ZooError, match=f"image-{started}: no thread to decode it: can't start") as caught:
        list(map_in_order(lambda n: n, range(9), 4, name_of=name))
    assert caught.value.code == 1


def test_errors_of_the_function_are_its_own() -> None:
    def work(item: int) -> int:
        raise TimeoutError(f"the disk of {item}")

    with pytest.raises(TimeoutError, match="the disk of 0"):
        list(map_in_order(work, range(3), 2))


def test_threads_end_with_the_work() -> None:
    before = set(threading.enumerate())
    assert list(map_in_order(lambda n: n, range(100), 3)) == list(range(100))
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert not set(threading.enumerate()) - before
