"""`parallel_map`: the same results in the same order, and an early end after an error."""

import importlib.util
import threading
import time

import pytest

from zoo_cli.pipeline import parallel

INSTALLED = importlib.util.find_spec("threadpoolctl") is not None


@pytest.mark.parametrize("small", [False, True])
def test_results_are_in_the_order_of_the_items(small: bool) -> None:
    def late(item: int) -> int:
        time.sleep(0.01 * (3 - item % 3))
        return item * item

    assert parallel.parallel_map(late, list(range(9)), small=small) == [item * item for item in range(9)]


@pytest.mark.parametrize("small", [False, True])
def test_error_skips_waiting_items(small: bool) -> None:
    started = []

    def failing(item: int) -> None:
        started.append(item)
        if item == 0:
            raise ValueError("the first item")
        time.sleep(0.05)

    with pytest.raises(ValueError, match="the first item"):
        parallel.parallel_map(failing, list(range(200)), small=small)
    assert len(started) < 200


@pytest.mark.skipif(not INSTALLED, reason="needs threadpoolctl")
def test_small_work_runs_in_other_threads() -> None:
    def where(_: int) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert not any(parallel.parallel_map(where, [1, 2], small=True))
    assert all(parallel.parallel_map(where, [1, 2], small=False))
