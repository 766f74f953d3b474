"""H-score: how much of the labels lies in the span of the features.

Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer Learning"; shrunk: Ibrahim,
Ponomareva and Mazumder 2021, "Newer is not always better: Rethinking transferability metrics", with the shrinkage of
Ledoit and Wolf 2004.
"""

import numpy as np
from scipy import linalg

from zoo_cli.errors import Undefined
from zoo_cli.metrics.matrix import well_conditioned
from zoo_cli.metrics.probe import Probe


def hscore(probe: Probe, *, shrunk: bool = False) -> float:
    """tr(cov(F)^+ cov(E[F | y])). Higher is better.

    Inputs (N, D): features. The squared length of the scaled one-hot labels within the span of the centred features;
    singular values below 8 max(N, D) eps of the largest count as 0. In [0, min(C - 1, D)]. With N - 1 independent
    directions, the usual case for D >= N, it is C - 1 for any features: `saturated`.
    `shrunk`: the covariance is shrunk towards a multiple of the identity, by the share that Ledoit and Wolf estimate;
    the score does not saturate then, and lies in about [0, C - 1].

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`.

    The published code inverts a singular covariance, where rounding noise decides the result.
    """
    probe.require_classes()
    return _shrunk(probe) if shrunk else _plain(probe)


def ceiling(probe: Probe, *, shrunk: bool = False) -> float:
    """min(C - 1, D); times N / (N - 1) if `shrunk`, whose two covariances have different denominators."""
    most = float(min(len(probe.target.counts) - 1, probe.matrix.width))
    return most * probe.size / (probe.size - 1) if shrunk else most


def _plain(probe: Probe) -> float:
    matrix, sizes = probe.matrix, probe.target.sizes
    # Where the Gram matrix is far from singular, rounding cannot pass for a direction.
    if matrix.tall:
        factor = well_conditioned(matrix.gram)
        if factor is not None:
            inner = linalg.solve_triangular(factor, probe.sums.T, lower=True, check_finite=False)
            return float(((inner**2).sum(axis=0) / sizes).sum())
    elif well_conditioned(matrix.gram + matrix.gram.trace() / probe.size**2) is not None:
        return float(len(sizes) - 1)
    return float(((probe.projected(matrix.exact_spectrum) ** 2).sum(axis=0) / sizes).sum())


def _shrunk(probe: Probe) -> float:
    matrix, sizes, count = probe.matrix, probe.target.sizes, float(probe.size)
    gram, lengths = matrix.gram, matrix.lengths
    mean = float(lengths.sum()) / count / matrix.width
    squares = float(np.vdot(gram, gram)) / count**2
    noise = max(0.0, (float(lengths @ lengths) / count - squares) / count)
    spread = squares - matrix.width * mean**2
    share = 1.0 if spread <= noise else noise / spread
    # By columns, or by rows with Woodbury's identity: the smaller of the two gives the same numbers.
    shrunk = gram * ((1 - share) / count)
    shrunk.flat[:: len(shrunk) + 1] += share * mean
    try:
        factor = linalg.cho_factor(shrunk.T, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        raise Undefined("singular_covariance") from None
    if matrix.tall:
        inner = linalg.solve_triangular(factor[0], probe.sums.T, lower=True, check_finite=False)
        between = (inner**2).sum(axis=0)
    else:
        inner = linalg.cho_solve(factor, probe.class_gram.T, check_finite=False)
        between = probe.target.sums(inner).diagonal()
    return float((1 - share) * (between / sizes).sum() / (count - 1))
