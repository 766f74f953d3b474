import numpy as np
from scipy.special import logsumexp

from zoo_cli.heads.likelihood import log_sum_rows


def test_log_sum_of_rows_is_that_of_scipy_to_the_last_bit() -> None:
    draw = np.random.default_rng(0)
    for shape, temperature in (((500, 20), 0.01), ((500, 20), 1.0), ((7, 1), 1.0), ((60, 1000), 0.5)):
        logits = draw.standard_normal(shape) / temperature
        for rows in (logits, np.round(logits), logits.astype(np.float32)):  # rounded: several largest values
            assert np.array_equal(log_sum_rows(rows), logsumexp(rows, axis=1))
