"""The same work on many sources, on all cores."""

import importlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(function: Callable[[T], R], items: Sequence[T], *, small: bool) -> list[R]:
    """The results of a function of each item, in order.

    `small` work runs in as many threads as there are cores, each with one thread of BLAS, whose own threads gain
    nothing on small products. Without threadpoolctl, which comes with the extra metrics, BLAS cannot be limited, and
    the items run one after another, as large ones always do.
    """
    limits = None
    if small and len(items) > 1:
        try:
            limits = importlib.import_module("threadpoolctl").threadpool_limits
        except ImportError:
            limits = None
    if limits is None:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        with limits(1, "blas"):
            return list(pool.map(function, items))
    finally:
        # An interrupt waits for the items in progress, not for the rest.
        pool.shutdown(cancel_futures=True)
