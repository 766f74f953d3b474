"""Values that are computed once from an object and kept with it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")


class Cached:
    """Keeps values computed from an object with the object, under a key, for every metric that reads it."""

    @cached_property
    def _values(self) -> dict[str, Any]:
        return {}

    def cached(self, key: str, compute: Callable[[], T]) -> T:
        """The value under `key`, computed by the first call."""
        if key not in self._values:
            self._values[key] = compute()
        value: T = self._values[key]
        return value

    def is_cached(self, key: str) -> bool:
        """Whether the value under `key` is known already."""
        return key in self._values
