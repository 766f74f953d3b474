"""The stages of a plan: commands with the flags that hold for each of their units of work."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from zoo_cli import registry
from zoo_cli.pipeline.distill_config import CrossTaskConfig, DistillConfig, TransferConfig
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.pipeline.metric_specs import MetricSpec, parse_metric
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.shards import WHOLE, Shard
from zoo_cli.training.training_config import TrainingConfig

TRAINING = ("distill", "finetune")
"""The stages whose units are runs."""
SEARCH = "tune"
"""The stage whose units are searches, each with the run of what it chose."""
OF_LABELS = ("split", "score", *TRAINING, SEARCH)
"""The stages that read which images are labelled; `pseudo-label` does with --head alone."""


@dataclass(frozen=True)
class PoolRequest:
    """A pool of heads, as `zoo pseudo-label --head` makes it. `with_student`: one head is on the student's features."""

    head: str
    pool: str
    with_student: bool = False


@dataclass(frozen=True, eq=False)
class Stage:
    """A command of a plan. `words`: its flags, the same in every unit, without those that choose a unit.

    `text`: the command as typed, without `zoo` and seeds; units of stages of one text are of one kind.
    `sources`: by name, all if empty; `shard`: of their parts. Of one command each: `metrics` and `seed` of scores, the
    `pool` of pseudo-labels, and what runs learn from, how they train, and their seeds; without them, that of the task.
    """

    command: str
    words: tuple[str, ...] = ()
    text: str = ""
    sources: tuple[str, ...] = ()
    metrics: tuple[MetricSpec, ...] = ()
    seed: int | None = None
    pool: PoolRequest | None = None
    config: DistillConfig | FinetuneConfig | TuneConfig | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: tuple[int, ...] = ()
    shard: Shard = WHOLE

    @property
    def title(self) -> str:
        """The command and its flags, without `zoo`."""
        return self.text or shlex.join([self.command, *self.words])

    @property
    def by_labels(self) -> bool:
        """Whether each label set has units of its own."""
        return self.command in OF_LABELS or self.pool is not None

    def waits_for(self, earlier: Sequence["Stage"]) -> list["Stage"]:
        """Those of the earlier stages of a plan that must be done before its units start."""
        config = self.config
        if isinstance(config, TransferConfig):
            return list(earlier)  # its student and teachers are runs
        needed: tuple[str, ...] = ("split", "extract", "score", "pseudo-label")
        if self.command == "finetune" or (isinstance(config, CrossTaskConfig) and config.labels_only):
            needed = ("split",)
        elif self.command not in (*TRAINING, SEARCH):
            needed = ("split", "extract") if self.command != "extract" else ("split",)
        return [stage for stage in earlier if stage.command in needed]


def default_stages() -> tuple[Stage, ...]:
    """What comes before training."""
    metric = registry.DEFAULT_METRIC
    return (
        Stage("split"),
        Stage("extract"),
        Stage("score", ("--metric", metric), metrics=(parse_metric(metric, None),)),
        Stage("pseudo-label"),
    )
