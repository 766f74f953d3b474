"""A pool's answers for images that were not part of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.heads.likelihood import softmax_rows
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.logmean import mean_logs
from zoo_cli.heads.neighbours import edge_weights
from zoo_cli.heads.pooled import JointHead
from zoo_cli.heads.standardise import Features, blocks, check_values

Array = NDArray[Any]

BLOCK = 1 << 23  # products of new and train rows in memory at once


def answer_joint(joint: JointHead, values: Sequence[Array], present: Array, classes: int) -> Array:
    """Answers (M, C) of the pool `kernel` for the features (M, D_s) of S sources, by its formula.

    `present` (P,): the classes with a label, of `classes`. Raises ContractError for other widths or numbers of rows.
    """
    count = check_new(values, [len(mean) for mean in joint.means])
    logits = np.tile(joint.intercept, (count, 1))
    for position, (mean, scale, weights) in enumerate(zip(joint.means, joint.scales, joint.weights, strict=True)):
        array = values[position]
        for rows in blocks(*array.shape):
            logits[rows] += ((array[rows] - mean) * scale) @ weights
    answers = np.zeros((count, classes))
    answers[:, present] = softmax_rows(logits, joint.temperature)
    return answers


def answer_heads(heads: Sequence[Head], values: Sequence[Array]) -> Array:
    """Answers (M, C) of the pool `logmean` for the features (M, D_s) of S sources: pass those of positive weight."""
    check_new(values, [len(head.mean) for head in heads])
    answers = (head.answer(values[position]) for position, head in enumerate(heads))
    return mean_logs(answers, heads[0].present)


def answer_neighbours(
    sources: Sequence[Features],
    weights: Array,
    values: Sequence[Array],
    probabilities: Array,
    present: Array,
    *,
    k: int = 10,
) -> Array:
    """Answers (M, C) of the pools `spread` and `product` from the k nearest train images: sum_j w_j p_j / sum_j w_j.

    `sources`: the train features of S sources and `weights` (S,) of the pool; `values`: the new features (M, D_s) of
    each; `probabilities` (N, C): the pool's answers for the train images. w = max(cos, 0)^3 of the pooled kernel,
    without principal components. An image without a neighbour has the same probability for all `present` classes (P,).

    Raises UsageError for k < 1, ContractError for other widths or numbers of rows.
    """
    if k < 1:
        raise UsageError(f"k={k} is below 1", "k is the number of neighbours")
    used = [int(position) for position in np.flatnonzero(weights)]
    count = check_new(values, [source.width for source in sources])
    train = len(probabilities)
    lengths, new_lengths = np.zeros(train), np.zeros(count)
    for position in used:
        features = sources[position]
        if len(features) != train:
            raise ContractError(f"a source has {len(features)} train rows and the pool {train}")
        for rows, phi in features.blocks():
            lengths[rows] += weights[position] * np.einsum("ij,ij->i", phi, phi)
        for rows in blocks(*values[position].shape):
            phi = (values[position][rows] - features.mean) * features.scale
            new_lengths[rows] += weights[position] * np.einsum("ij,ij->i", phi, phi)
    answers = np.zeros((count, probabilities.shape[1]))
    k = min(k, train)
    step = max(16, BLOCK // train)
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        products = np.zeros((part.stop - start, train))
        for position in used:
            features = sources[position]
            phi = (values[position][part] - features.mean) * (features.scale * weights[position])
            for rows, block in features.blocks():
                products[:, rows] += phi @ block.T
        norms = np.sqrt(new_lengths[part, None] * lengths)
        cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
        places = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        near = edge_weights(np.take_along_axis(cosines, places, axis=1))
        answers[part] = np.einsum("ij,ijc->ic", near, probabilities[places])
    sums = answers.sum(axis=1, keepdims=True)
    uniform = np.zeros_like(answers)
    uniform[:, present] = 1 / len(present)
    return np.asarray(np.divide(answers, sums, out=uniform, where=sums > 0))


def check_new(values: Sequence[Array], widths: Sequence[int]) -> int:
    """M, the rows of the new features (M, D_s). Raises ContractError for other widths or unequal numbers of rows."""
    if len(values) != len(widths):
        raise ContractError(f"features of {len(values)} sources for a pool of {len(widths)}")
    count = -1
    for position, width in enumerate(widths):
        check_values(values[position], width=width)
        if count not in (-1, len(values[position])):
            raise ContractError(f"sources have {count} and {len(values[position])} rows", "extract again")
        count = len(values[position])
    return count
