"""Marks for some of the values of a parameter."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """The values as parameters of slow tests: `parametrize("seed", [0, *slow(1, 2)])`."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def slow_unless(values: Any, default: Any) -> list[Any]:
    """All values, those that are not among `default` as parameters of slow tests."""
    return [value if value in default else pytest.param(value, marks=pytest.mark.slow) for value in values]
