"""The Python API: what the commands do, as functions that return values and print nothing.

Warnings arrive as Python warnings of the class `ZooWarning`; errors are the exceptions of `zoo_cli.errors`.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from zoo_cli import config, console, registry
from zoo_cli.config import Config
from zoo_cli.pipeline import extract as extract_stage
from zoo_cli.pipeline import pseudo_label as pseudo_label_stage
from zoo_cli.pipeline import rank as rank_stage
from zoo_cli.pipeline import score as score_stage
from zoo_cli.pipeline import split as split_stage
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.metric_specs import ScoreConfig, parse_metric
from zoo_cli.pipeline.pseudo_label import PseudoLabelSummary
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.scoring import ScoreResult
from zoo_cli.pipeline.split import SplitConfig, SplitSummary
from zoo_cli.store.feature_store import SourceSummary

P = ParamSpec("P")
R = TypeVar("R")
PathLike = str | os.PathLike[str]


class ZooWarning(UserWarning):
    """Something that a command would warn of on stderr."""


@dataclass
class _Silent(console.Console):
    """A console that prints nothing, and turns its warnings into Python's."""

    verbosity: int = -1

    def warn(self, text: str) -> None:
        warnings.warn(text, ZooWarning, stacklevel=4)


def _silent(function: Callable[P, R]) -> Callable[P, R]:
    """The function with nothing printed."""

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, console.use(_Silent(nowhere, nowhere)):
            return function(*args, **kwargs)

    return quiet


class Workspace:
    """A folder with a zoo.toml. Its methods are the stages of the pipeline; each makes what it needs and is missing.

    Paths among their arguments are relative to where Python runs, those in zoo.toml to the file.
    """

    def __init__(self, root: PathLike = "."):
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    @property
    def config(self) -> Config:
        """What zoo.toml says now. Raises UsageError where it is not valid."""
        return config.load(self.root)

    @_silent
    def split(self, options: SplitConfig | None = None) -> SplitSummary | None:
        """Draw labelled, unlabelled, test and probe images, and check and hash every one."""
        return split_stage.split(self.config, options)

    @_silent
    def extract(self, sources: Sequence[str] = (), options: ExtractConfig | None = None) -> list[SourceSummary]:
        """Store features and logits of sources, all of them and the student by default."""
        settings = self.config
        return extract_stage.extract(settings, settings.select(sources) if sources else settings.models, options)

    @_silent
    def score(self, metric: str | Sequence[str], *, on: str | None = None, sources: Sequence[str] = ()) -> ScoreResult:
        """The scores of sources on the probe set, higher is better, and of the student's starting features."""
        settings, texts = self.config, [metric] if isinstance(metric, str) else metric
        metrics = tuple(parse_metric(text, on) for text in texts)
        return score_stage.score(settings, ScoreConfig(metrics, settings.select(sources)))

    @_silent
    def rank(
        self,
        metric: str | Sequence[str] = registry.DEFAULT_METRIC,
        *,
        on: str | None = None,
        weighting: str = registry.DEFAULT_WEIGHTING,
        sources: Sequence[str] = (),
    ) -> Ranking:
        """The sources in order, with intervals, weights and a verdict; `.rows`, `.to_arrow()`, `.to_pandas()`."""
        settings = self.config
        spec = rank_stage.parse_ranking([metric] if isinstance(metric, str) else metric, on, weighting)
        return rank_stage.rank(settings, spec, ScoreConfig(spec.metrics, settings.select(sources)))

    @_silent
    def pseudo_label(self, sources: Sequence[str] = ()) -> list[PseudoLabelSummary]:
        """Store the class probabilities of sources on the labelled and unlabelled images."""
        settings = self.config
        return pseudo_label_stage.pseudo_label(settings, settings.select(sources))
