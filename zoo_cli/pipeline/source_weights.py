"""The weights of sources in a student of their pseudo-labels: of those that have a head, under a weighting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import console, specs
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, ParameterError
from zoo_cli.store import feature_files, files
from zoo_cli.store.source_record import has_source_record, load_source_record
from zoo_cli.weighting import file

YES, NO, UNKNOWN = "yes", "no", "unknown"
"""Whether a source can teach by pseudo-labels; unknown: nothing but its score is known, which counts as yes."""


class NoWeight(ParameterError):
    """No source has a weight, so that none can teach."""


@dataclass(frozen=True)
class SourceWeights:
    """The weights (S,) of sources, and those that were too small and have gone to the others.

    They sum to 1, or are all 0 if no source is left.
    """

    values: np.ndarray
    dropped: tuple[float, ...] = ()


def check_teaching(settings: Config, names: Sequence[str], features: Sequence[Path] = ()) -> dict[str, str]:
    """Whether each source can teach by pseudo-labels: yes, no if it has no head, or unknown.

    `features`: stored outputs by path, in place of the sources of a workspace; their outputs may be elsewhere.
    """
    by_path = {feature_files.display_name(path): path for path in features}
    teaching = {}
    for name in names:
        if name in by_path:
            teaching[name] = YES if feature_files.has_outputs(by_path[name]) else UNKNOWN
            if teaching[name] == YES and feature_files.output_width(by_path[name]) == 1:
                teaching[name] = NO
        elif not features and has_source_record(settings, name):
            teaching[name] = YES if load_source_record(settings, name).can_teach else NO
        else:
            teaching[name] = UNKNOWN
    return teaching


def weigh_sources(
    method: specs.Method,
    values: np.ndarray,
    names: Sequence[str],
    teaching: Mapping[str, str],
    *,
    zero_means_none: bool,
    metric: str,
    min_weight: float,
) -> SourceWeights:
    """The weights of sources by their scores (S,), NaN if undefined; a source that cannot teach weighs 0.

    The weighting sees only the others, so that `nearest` takes the best of them. `zero_means_none`: see the registry.
    Weights below `min_weight` are dropped, the rest is renormalised.
    """
    weights = np.zeros(len(names))
    able = np.array([teaching.get(name) != NO for name in names], dtype=bool)
    chosen = [name for name in names if teaching.get(name) != NO]
    if not chosen:
        if names and np.isnan(values).all():
            console.warn(f"no source has a {metric} score: no weights")
        return SourceWeights(weights)
    if method.name == "file":
        headless = [name for name in names if name not in chosen]
        weights[able] = load_weights(Path(method.params["path"]), chosen, headless)
    elif np.isnan(values[able]).all():
        console.warn(f"no source has a {metric} score: no weights")
    else:
        if zero_means_none and np.nanmax(values[able]) <= 0:
            console.warn("no positive similarity: the weights are equal")
        weights[able] = method.function(values[able], chosen, zero_means_none, **method.params)
    return drop_small_weights(weights, min_weight)


def weigh_without_scores(
    method: specs.Method, names: Sequence[str], min_weight: float, silent: Sequence[str] = ()
) -> SourceWeights:
    """The weights of sources without scores, under a weighting that needs none. `silent`: others that cannot teach."""
    if method.name == "file":
        weights = load_weights(Path(method.params["path"]), names, silent)
    else:
        weights = np.asarray(method.function(np.ones(len(names)), list(names), False, **method.params))
    return drop_small_weights(weights, min_weight)


def drop_small_weights(weights: np.ndarray, min_weight: float) -> SourceWeights:
    """The weights (S,) with those below `min_weight` set to 0 and the rest renormalised; as they are if none is."""
    small = (weights > 0) & (weights < min_weight)
    if not small.any():
        return SourceWeights(weights)
    kept = np.where(small, 0.0, weights)
    return SourceWeights(kept / kept.sum() if kept.any() else kept, tuple(map(float, weights[small])))


def load_weights(path: Path, names: Sequence[str], headless: Sequence[str] = ()) -> np.ndarray:
    """The weights (S,) of the named sources in a weights.json. Those of `headless` sources go to the others."""
    content = files.read_json(path)
    rows = content.get("sources") if isinstance(content, dict) else None
    if isinstance(rows, list):
        weighed = [row for row in rows if not _is_left_out(row, names, headless)]
        if _has_weight(rows, headless) and not _has_weight(weighed, names):
            raise ContractError(
                f"{path}: no source with a head weighs more than 0, so that none can teach by pseudo-labels",
                "--objective heads learns from the others",
            )
        content = {**content, "sources": weighed}
    try:
        return np.asarray(file.file(np.zeros(len(names)), list(names), False, weights=content))
    except ContractError as error:
        raise ContractError(f"{path}: {error.message}", error.hint) from None


def describe_headless(headless: Sequence[str], best: str | None, taken: str | None, single: bool) -> str:
    """The sources without a head, what becomes of their weight, and the objective that uses them, in one line.

    `best`: the first of the ranking, if it is one of them; `taken`: the source that weighs most, None if all are 0;
    `single`: whether the weighting takes one source alone.
    """
    if taken is None:
        return (
            f"{', '.join(headless)}: no source with a head is left, so none can teach by pseudo-labels; "
            "--objective heads learns from their features"
        )
    if single and best is not None:
        return (
            f"{best} ranks first, but has no head and cannot teach by pseudo-labels: nearest takes {taken}, "
            f"the best that can; --objective heads learns from {best} too"
        )
    verbs, their = ("has no head and cannot", "its") if len(headless) == 1 else ("have no head and cannot", "their")
    return (
        f"{', '.join(headless)} {verbs} teach by pseudo-labels: weight 0; "
        f"--objective heads learns from {their} features"
    )


def _is_left_out(row: object, names: Sequence[str], headless: Sequence[str]) -> bool:
    """Whether a row of a weights file is of no source that is weighed: one that cannot teach, or weighs 0.

    zoo rank also lists the excluded sources, with weight 0.
    """
    if not isinstance(row, dict) or row.get("source") in names:
        return False
    weight = row.get("weight")
    if row.get("source") in headless and weight:
        console.warn(
            f"{row['source']} cannot teach, without a head or collapsed: its weight {weight} goes to the others"
        )
        return True
    return bool(weight == 0)


def _has_weight(rows: Sequence[object], names: Sequence[str]) -> bool:
    return any(isinstance(row, dict) and row.get("source") in names and row.get("weight") for row in rows)
