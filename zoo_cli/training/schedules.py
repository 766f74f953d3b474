"""Learning-rate schedules: constant, cosine, and steps at places of the run."""

import math
import re
from fractions import Fraction

from zoo_cli import specs
from zoo_cli.errors import ParameterError

NAMES = ("constant", "cosine", "steps")
PLACES = (Fraction(1, 2), Fraction(5, 6))
"""Where "steps" falls by default: 30 epochs with steps at 15 and 25 (paper 001, fine-tuning)."""


def check_schedule(text: str) -> None:
    """Raise ParameterError for an unknown schedule, and for places that are not ascending shares of a run."""
    name, sign, rest = text.partition(":")
    if name not in NAMES:
        raise ParameterError(f'`schedule` is "{text}"', specs.nearest("schedule", name, NAMES).hint)
    if not sign:
        return
    if name != "steps" or not rest.startswith("at="):
        raise ParameterError(f'`schedule` is "{text}"', "write a name alone, or e.g. steps:at=1/3,2/3")
    try:
        places = parse_places(text)
    except (ValueError, ZeroDivisionError):
        places = ()
    if not places or list(places) != sorted(set(places)) or places[0] <= 0 or places[-1] >= 1:
        raise ParameterError(
            f'`schedule` is "{text}"', "expected ascending shares of the run between 0 and 1, e.g. steps:at=1/3,2/3"
        )


def parse_places(text: str) -> tuple[Fraction, ...]:
    """The places of `steps` or `steps:at=1/3,2/3`, as shares of the run. Raises ValueError for what is not a number."""
    _, sign, places = text.partition(":at=")
    return tuple(map(_parse_place, places.split(","))) if sign else PLACES


def scheduled_rate(schedule: str, lr: float, step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step, counted from 0, of a run of `steps`. The warm-up is linear, up to the rate `lr`.

    "cosine" falls from `lr` after the warm-up to 0 at the end; "steps" divides `lr` by ten from each of its places on.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule == "cosine":
        done = (step - warmup) / (steps - warmup)
        return lr * (1 + math.cos(math.pi * done)) / 2
    if schedule.startswith("steps"):
        return lr * 0.1 ** sum(step * place.denominator >= steps * place.numerator for place in parse_places(schedule))
    return lr


def _parse_place(text: str) -> Fraction:
    # Fraction itself would take minutes for 1e999999999.
    if not re.fullmatch(r"\s*[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,9})?\s*", text):
        raise ValueError(text)
    return Fraction(text.strip())
