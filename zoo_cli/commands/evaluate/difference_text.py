"""Intervals and paired differences as one line of text."""

from zoo_cli.evaluation import flip_statistics
from zoo_cli.evaluation.accuracy_intervals import Interval, PairedDifference
from zoo_cli.quantities import percent

VERDICTS = {"success": "better", "failure": "worse", "undecided": "no difference shown"}
"""By the outcome of McNemar's test, see `flip_statistics.outcome`."""
INTERVALS = "90 % intervals cover the choice of test images, not the training"
TEST = f"p: McNemar's exact test at {100 * flip_statistics.LEVEL:.0f} %"


def format_accuracy(accuracy: float, interval: Interval) -> str:
    """`73.9 % [70.8, 76.7]`."""
    return f"{percent(accuracy)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def format_difference(difference: PairedDifference, corrected: float | None = None) -> str:
    """`+1.3 points [-2.9, +5.4], p = 0.64: no difference shown`.

    `corrected`: p corrected for several tests, which then decides; shown where that changes the verdict.
    """
    verdict = VERDICTS[flip_statistics.outcome(difference.difference, difference.p_value)]
    tests = _p_text(difference.p_value)
    if corrected is not None:
        uncorrected, verdict = verdict, VERDICTS[flip_statistics.outcome(difference.difference, corrected)]
        tests += f", {corrected:.3f} corrected" if verdict != uncorrected else ""
    return f"{format_points(difference).replace(' ', ' points ', 1)}, {tests}: {verdict}"


def format_points(difference: PairedDifference) -> str:
    """`+1.3 [-2.9, +5.4]`."""
    return format_gain(difference.difference, difference.low, difference.high)


def format_gain(gain: float, low: float | None = None, high: float | None = None) -> str:
    """`+1.3 [-2.9, +5.4]`, or `+1.3` without an interval."""
    return _points(gain) if low is None or high is None else f"{_points(gain)} [{_points(low)}, {_points(high)}]"


def _points(fraction: float) -> str:
    text = f"{100 * fraction:+.1f}"
    return "+0.0" if text == "-0.0" else text


def _p_text(p: float) -> str:
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.3f}"
