"""P(best) is calibrated: among sources with P(best) = p, a share of about p are the best."""

import numpy as np
import pytest

from zoo_cli.metrics.parc import leave_one_out, parc
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import standings, uncertainty

SAMPLES, CLASSES, WIDTH, SOURCES, LARGE = 120, 6, 16, 4, 1200


def simulate(trials: int, seed: int, large: int = LARGE) -> tuple[np.ndarray, np.ndarray]:
    """P(best) of four sources on each of many tasks, (T, 4), and the index of the best one, (T,).

    The sources of a task differ slightly in the distance between their classes; the best is by PARC on a probe of
    `large` samples: ten times as many have a third of the error of the small one, five times as many less than half.
    """
    chances, truth = [], []
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        centres = rng.standard_normal((SOURCES, CLASSES, WIDTH)) * rng.uniform(0.45, 0.65, (SOURCES, 1, 1))

        def draw_probe(count: int, source: int, rng: np.random.Generator = rng, centres: np.ndarray = centres) -> Probe:
            labels = np.arange(count) % CLASSES
            return Probe.of(rng.standard_normal((count, WIDTH)) + centres[source][labels], labels)

        small = [draw_probe(SAMPLES, source) for source in range(SOURCES)]
        draws = [uncertainty.jackknife_interval(parc(probe), leave_one_out(probe), seed=trial).draws for probe in small]
        chances.append(standings.best_probability(np.array(draws)))
        truth.append(int(np.argmax([parc(draw_probe(large, source)) for source in range(SOURCES)])))
    return np.array(chances), np.array(truth)


def test_p_best_matches_the_observed_frequency() -> None:
    chances, truth = simulate(60, seed=1, large=5 * SAMPLES)
    predicted, observed = chances.max(axis=1).mean(), (chances.argmax(axis=1) == truth).mean()
    assert abs(predicted - observed) < 0.15  # two and a half standard errors of sixty trials


@pytest.mark.slow
def test_p_best_is_calibrated_from_small_to_large() -> None:
    chances, truth = simulate(600, seed=2)
    right = (np.arange(SOURCES)[None] == truth[:, None]).ravel()
    flat = chances.ravel()
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = (flat >= low) & (flat < high)
        assert inside.sum() > 50
        assert abs(flat[inside].mean() - right[inside].mean()) < 0.08, (low, high)
