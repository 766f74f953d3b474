"""An ensemble of sources as lines of text."""

from zoo_cli.pipeline.ensemble_choice import Ensemble
from zoo_cli.ranking.ensembles import Step


def ensemble_notes(ensemble: Ensemble) -> list[str]:
    """What each source adds, and which sources may not enter."""
    if not ensemble.sources:
        return [f"{ensemble.metric}: no source has a value, so there is no ensemble"]
    first, *added = ensemble.sources
    lines = [f"{ensemble.metric} of an ensemble: {first.source} alone {first.score:.4f}"]
    lines += [f"  with {step.source} {step.score:.4f}, adds {_gain(step)}" for step in added]
    if ensemble.stopped_at is not None:
        stopped = ensemble.stopped_at
        lines.append(f"  {stopped.source} would add {_gain(stopped)}, less than its uncertainty")
    return lines + [f"  {name} may not enter: {reason}" for name, reason in ensemble.left_out.items()]


def _gain(step: Step) -> str:
    interval = "" if step.low is None else f" [{step.low:.4f}, {step.high:.4f}]"
    return f"{step.gain:.4f}{interval}"
