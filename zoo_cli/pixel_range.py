"""The range of the mean and std with which images are normalised: those of pixel values in [0, 1]."""

import math
from collections.abc import Sequence

from zoo_cli.errors import UsageError

LARGEST_STD = 2.0
"""Values in [0, 1] have a std of at most 0.5; networks of values in [-1, 1] and the like divide by a little more."""


def check_normalisation(mean: Sequence[float], std: Sequence[float], where: str) -> None:
    """Raise UsageError, with `where` before it, unless mean and std can be of pixel values in [0, 1]."""
    if not (all(map(math.isfinite, (*mean, *std))) and all(value > 0 for value in std)):
        raise UsageError(f"{where}: mean and std must be finite, std above 0", "give them for pixel values in [0, 1]")
    if all(0 <= value <= 1 for value in mean) and all(value <= LARGEST_STD for value in std):
        return
    declared = [f"{key} = {_list(values)}" for key, values in (("mean", mean), ("std", std)) if values]
    message = f"{where}: {', '.join(declared)}: expected those of pixel values in [0, 1]"
    if all(0 <= value <= 255 for value in (*mean, *std)):
        scaled = [
            f"{key} = {_list([value / 255 for value in values])}"
            for key, values in (("mean", mean), ("std", std))
            if values
        ]
        raise UsageError(message, f"divided by 255: {', '.join(scaled)}")
    raise UsageError(message, f"a mean is from 0 to 1, a std at most {LARGEST_STD:g}")


def _list(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"
