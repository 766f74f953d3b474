"""The set of sources that a score of sets chooses: stored beside the scores of its sources, told below them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import registry
from zoo_cli.config import STUDENT
from zoo_cli.registry import Metric
from zoo_cli.specs import Method
from zoo_cli.store import files

if TYPE_CHECKING:
    from zoo_cli.metrics.probe import Probe
    from zoo_cli.ranking.ensembles import MemberPart
    from zoo_cli.ranking.uncertainty import Replicates


def ensemble_path(scores: Path) -> Path:
    """Where the set lies, beside the scores of its metric."""
    return scores.with_suffix(".json")


def member_part(facts: Metric, probe: "Probe", drawn: "Replicates") -> "MemberPart | None":
    """What a source brings into sets; None where the metric is one of single sources."""
    from zoo_cli.ranking import ensembles

    return (
        ensembles.member_part(registry.imported(facts.member), probe, drawn.half_samples.parts)
        if facts.joined
        else None
    )


def choose_ensemble(
    method: Method,
    facts: Metric,
    rows: Sequence[dict[str, Any]],
    drawn: "Replicates",
    *,
    seed: int,
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """The set that grows from the best source. Rows without a value have no part; `left_out` may not enter."""
    from zoo_cli.ranking import ensembles, uncertainty

    def interval(gain: float, gains: Any) -> tuple[float | None, float | None]:
        found = uncertainty.half_sample_interval(gain, gains, drawn.half_samples.share, seed=seed)
        return found.low, found.high

    parts = {row["source"]: found for row in rows if (found := row.pop("part", None)) is not None}
    may = {name: found for name, found in parts.items() if name != STUDENT and name not in left_out}
    steps, stopped = ensembles.grow_ensemble(may, registry.imported(facts.joined), interval)
    return {
        "metric": method.spec,
        "score": steps[-1].score if steps else None,
        "sources": [asdict(step) for step in steps],
        "stopped_at": None if stopped is None else asdict(stopped),
        "left_out": dict(left_out),
    }


def write_ensemble(scores: Path, chosen: Mapping[str, Any], made_from: Mapping[str, Any]) -> None:
    """Store the set beside its scores."""
    files.write_json(ensemble_path(scores), {**chosen, "inputs": dict(made_from)})


def load_ensemble(scores: Path) -> dict[str, Any]:
    """The set as stored, without what it was made from."""
    said = files.read_json(ensemble_path(scores))
    return {key: value for key, value in said.items() if key != "inputs"}


def describe_ensemble(chosen: Mapping[str, Any]) -> list[str]:
    """The set in lines for people."""
    steps, stopped = chosen["sources"], chosen["stopped_at"]
    if not steps:
        return [f"{chosen['metric']}: no source has a value, and there is no set"]
    lines = [f"{chosen['metric']} of a set: {steps[0]['source']} alone {steps[0]['score']:.4f}"]
    lines += [f"  with {step['source']} {step['score']:.4f}, adds {_gain(step)}" for step in steps[1:]]
    if stopped is not None:
        lines.append(f"  {stopped['source']} would add {_gain(stopped)}, less than its uncertainty")
    return lines + [f"  {name} may not enter: {reason}" for name, reason in chosen["left_out"].items()]


def _gain(step: Mapping[str, Any]) -> str:
    interval = "" if step["low"] is None else f" [{step['low']:.4f}, {step['high']:.4f}]"
    return f"{step['gain']:.4f}{interval}"
