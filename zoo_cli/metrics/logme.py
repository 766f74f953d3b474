"""LogME: log of the maximum evidence of a linear model on the features.

You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import PRECISE, Spectrum
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

Array = NDArray[Any]

EPS = 1e-5  # added to both denominators while iterating, as in the published code: without it no fixed point may exist
CLOSE, SECANT_CLOSE = 1e-13, 1e-9
ENTRIES = 1 << 18  # of a block of classes
ROUNDS = 20_000
SECANT_ROUNDS = 40
LONGEST_STEP = 30.0  # of the logarithm, over that of a plain step


def logme(probe: Probe) -> float:
    """Log evidence per sample, at its maximum over both precisions, averaged over the classes. Higher is better.

    Inputs (N, D): features, neither centred nor standardised, without an intercept. Each class's one-hot column is
    regressed on them; prior precision alpha and noise precision beta are the fixed point of MacKay's updates, with 1e-5
    added to both denominators, and the evidence is computed at alpha and beta without that constant.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`. Notes `unbounded` where the features fit
    a class without error, so that only the constant 1e-5 in the updates bounds its evidence.

    Departs from the published code: the log determinant has all its D terms for D > N as well, and the fixed point is
    iterated to 1e-13 instead of for 11 rounds.
    """
    return _score(probe, secant=False)


def on_subsamples(probe: Probe, subsamples: Subsamples) -> Array:
    """The scores of subsamples (H,), NaN where undefined; the fixed points are reached by secant steps."""
    return np.array([score_or_nan(_score, probe.take(*part), secant=True) for part in subsamples.parts])


def on_permutations(probe: Probe, targets: Sequence[Classes]) -> Array:
    """The scores (P,) under other labels of the same samples, likewise."""
    return np.array([score_or_nan(_score, probe.with_labels(target), secant=True) for target in targets])


def _score(probe: Probe, *, secant: bool) -> float:
    probe.require_classes()
    fit = _fit(probe, probe.matrix.spectrum, secant)
    values = probe.matrix.spectrum.values
    imprecise = len(values) < min(probe.size - 1, probe.matrix.width) or values[-1] < PRECISE * values[0]
    if imprecise and fit.lam.min() < PRECISE * values[0]:
        fit = _fit(probe, probe.matrix.exact_spectrum, secant)
    if (fit.residual < EPS).any():
        probe.notes.append("unbounded")
    return float(fit.evidence.mean()) / probe.size


@dataclass(frozen=True)
class _Fit:
    """For each class (C,): the log evidence, alpha / beta, and the squared residual."""

    evidence: Array
    lam: Array
    residual: Array


def _fit(probe: Probe, spectrum: Spectrum, secant: bool) -> _Fit:
    """The features are their centred rows plus their mean, F'F = V S V' + m m' with m = sqrt(N) mean, so that every
    quantity follows from the centred decomposition by the Sherman-Morrison formula; all sums have positive terms."""
    count, sizes = float(probe.size), probe.target.sizes
    s, root = spectrum.values, np.sqrt(spectrum.values)
    t = probe.projected(spectrum)
    mean = probe.matrix.mean
    if spectrum.right is not None:
        z = spectrum.right.T @ mean * np.sqrt(count)
    else:
        assert spectrum.left is not None
        z = spectrum.left.T @ probe.matrix.tilt * np.sqrt(count) / root
    whole = count * float(mean @ mean)
    outside = whole - float(z @ z)
    if len(s) == probe.matrix.width or outside < 1e-12 * whole:
        outside = 0.0
    top = sizes / np.sqrt(count)
    rest = np.maximum(sizes - (t**2).sum(axis=0) - top**2, 0.0)
    if len(s) == probe.size - 1:
        rest = np.zeros_like(rest)

    def measure(lam: Array, t: Array, top: Array, rest: Array) -> tuple[Array, Array, Array, Array, Array]:
        inverse = s[:, None] + lam
        np.divide(1.0, inverse, out=inverse)
        kappa = z**2 @ inverse + outside / lam
        scaled = t * inverse
        tau = (top - (z * root) @ scaled) / (1 + kappa)
        weights, shift = root[:, None] * scaled, z[:, None] * inverse
        weights += np.multiply(shift, tau, out=shift)
        m2 = np.einsum("ij,ij->j", weights, weights) + outside * (tau / lam) ** 2
        np.multiply((z * root)[:, None], inverse, out=shift)
        residuals = np.multiply(lam, scaled, out=scaled)
        residuals -= np.multiply(shift, tau, out=shift)
        r2 = np.einsum("ij,ij->j", residuals, residuals) + tau**2 + rest
        share, trace = s @ inverse, inverse.sum(axis=0)
        squares = np.multiply(inverse, inverse, out=inverse)
        gamma = share + lam * (z**2 @ squares + outside / lam**2) / (1 + kappa)
        free = (count - 1 - len(s)) + lam * trace + (1 + (z**2 * s) @ squares) / (1 + kappa)
        return m2, r2, gamma, free, kappa

    def solve(t: Array, top: Array, rest: Array) -> tuple[Array, Array, Array]:
        def update(lam: Array, moving: Array) -> Array:
            m2, r2, gamma, free, _ = measure(lam, t[:, moving], top[moving], rest[moving])
            return np.asarray(gamma / (m2 + EPS) / (free / (r2 + EPS)))

        lam, moving = _accelerate(update, len(top)) if secant else (np.ones(len(top)), np.arange(len(top)))
        for _ in range(ROUNDS if len(moving) else 0):
            new = update(lam[moving], moving)
            far = np.abs(new - lam[moving]) > CLOSE * new
            lam[moving] = new
            moving = moving[far]
            if not len(moving):
                break
        m2, r2, gamma, free, _ = measure(lam, t, top, rest)
        alpha, beta = gamma / m2, free / r2
        # Their ratio differs slightly from lam, the fixed point with EPS.
        *_, kappa = measure(alpha / beta, t, top, rest)
        determinant = np.log(alpha + beta * s[:, None]).sum(axis=0) + np.log1p(kappa)
        evidence = (
            len(s) * np.log(alpha) + count * np.log(beta) - determinant - beta * r2 - alpha * m2
        ) / 2 - count / 2 * np.log(2 * np.pi)
        return evidence, lam, r2

    step = max(1, ENTRIES // max(1, len(s)))
    blocks = [slice(start, start + step) for start in range(0, len(sizes), step)]
    fits = [solve(t[:, block], top[block], rest[block]) for block in blocks]
    return _Fit(*(np.concatenate(parts) for parts in zip(*fits, strict=True)))


def _accelerate(update: Callable[[Array, Array], Array], count: int) -> tuple[Array, Array]:
    """The fixed points (C,) of `update`, which takes some of them and their positions, from 1 on; and the positions of
    those that are not reached.

    Secant steps on the logarithm: the plain iteration converges linearly, often slowly. Where a slope is not that of a
    contraction, a plain step is taken. The error of a secant step is about the product of the two before it, so that
    one below SECANT_CLOSE is the last.
    """
    place = np.zeros(count)
    moving = np.arange(count)
    before, last = np.zeros(count), np.zeros(count)
    for number in range(SECANT_ROUNDS):
        step = np.log(update(np.exp(place[moving]), moving)) - place[moving]
        factor = np.ones(len(moving))
        if number:
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = 1 + (step - before[moving]) / last[moving]
            contracts = (slope > 0) & (slope < 1)
            factor[contracts] = np.minimum(1 / (1 - slope[contracts]), LONGEST_STEP)
        far = np.abs(step) > SECANT_CLOSE
        before[moving], last[moving] = step, step * factor
        place[moving] += last[moving]
        moving = moving[far]
        if not len(moving):
            break
    return np.exp(place), moving
