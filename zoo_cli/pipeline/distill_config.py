"""What `zoo distill` learns from, as the user sets it. Importing this loads neither numpy nor torch."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zoo_cli import registry, specs
from zoo_cli.entries import Objective
from zoo_cli.errors import ParameterError

CROSS_TASK, HEADS = "cross-task", "heads"
TRANSFER_OBJECTIVES = tuple(name for name, entry in registry.OBJECTIVES.items() if entry.needs_teacher)
TEACHER_ORDERS = {"sequential": ("ascending", "descending", "given"), "parallel": (), "soup": ()}
"""How several teachers are combined, and the orders that each allows."""
TARGET_VIEWS = {"live": None, "stored": ("none", "flip"), "stored-clean": None}
"""Where the outputs of teachers come from, and the augmentations that each allows; None: all."""


@dataclass(frozen=True)
class CrossTaskConfig:
    """Cross-task distillation: labels, and the weighted pseudo-labels of many sources (paper 000).

    `weightings`: one student each; without any, and without `draws`, the default. `draws`: the number of students with
    random weights. `metric`, `on`: whose scores give the weights. `sources`: all if empty. `each_source`: one student
    for each source alone. `lam`: share of the labels in the loss, in [0, 1]. `kd_temperature`: T of the distillation.
    `min_weight`: sources below it are dropped. `pseudo`: folders of pseudo-labels instead of sources, `scores` their
    scores. `init`: the source whose weights the student's body starts from. `views`: the number of stored augmented
    views that the student sees, each with its own pseudo-labels; 0: views drawn anew, pseudo-labels of the plain one.

    Raises ParameterError for values out of range or that cannot be combined.
    """

    weightings: tuple[str, ...] = ()
    draws: int = 0
    metric: str = registry.DEFAULT_METRIC
    on: str | None = None
    sources: tuple[str, ...] = ()
    each_source: bool = False
    lam: float = registry.default_lam(CROSS_TASK)
    kd_temperature: float = 1.0
    min_weight: float = registry.DEFAULT_MIN_WEIGHT
    pseudo: tuple[Path, ...] = ()
    scores: Path | None = None
    student: str | None = None
    init: str | None = None
    views: int = 0

    def __post_init__(self) -> None:
        _check_views(self.views)
        if self.views and self.labels_only:
            raise ParameterError("`lam` 1 uses labels only, no stored views", "drop `views`")
        if self.views and self.pseudo:
            raise ParameterError("`pseudo` holds pseudo-labels of the plain view", "drop `views`")
        if not 0 <= self.lam <= 1:
            raise ParameterError(
                f"`lam` is {self.lam:g}", "expected a number from 0 (pseudo-labels only) to 1 (labels only)"
            )
        _check_temperature(self.kd_temperature)
        _check_min_weight(self.min_weight)
        if self.pseudo and self.sources:
            raise ParameterError("`sources` and `pseudo` cannot be combined", "drop one of them")
        if self.pseudo and self.each_source:
            raise ParameterError("`each_source` and `pseudo` cannot be combined", "give one `pseudo` at a time")
        if self.scores is not None and not self.pseudo:
            raise ParameterError("`scores` needs `pseudo`", "without it, zoo score makes the scores")
        if self.labels_only and (self.each_source or len(self.all_weightings) > 1):
            raise ParameterError("`lam` 1 uses labels only, no source", "drop `each_source` and `weightings`")

    @property
    def all_weightings(self) -> tuple[str, ...]:
        """The weightings, those of `draws` last."""
        random = tuple(f"random:seed={number}" for number in range(self.draws))
        return (*self.weightings, *random) or (registry.DEFAULT_WEIGHTING,)

    @property
    def labels_only(self) -> bool:
        """Whether no source is used."""
        return self.lam == 1

    @property
    def entry(self) -> Objective:
        """The objective in the registry."""
        return registry.OBJECTIVES[CROSS_TASK]


@dataclass(frozen=True)
class HeadsConfig:
    """Distillation from heads on the sources' stored features, which answer together in the task's classes.

    `objective`: heads, with parameters. `head`, `pool`: specs of the heads and of how they are pooled. `sources`: all
    if empty. `lam`: share of the labels in the loss, from 0 to below 1. `init`: the source whose weights the student's
    body starts from. `views`: the number of stored augmented views that the student sees, each with answers of its own;
    None: all that are stored, if they have the augmentation of the run; 0: views drawn anew, and answers for the plain
    one. Of the cross-task term alone: `weightings` (one student each; without any, the default), `metric`,
    `on`, `kd_temperature` and `min_weight`, see `CrossTaskConfig`.

    Raises ParameterError for values out of range.
    """

    objective: str = HEADS
    head: str = registry.DEFAULT_HEAD
    pool: str = registry.DEFAULT_POOL
    sources: tuple[str, ...] = ()
    lam: float = registry.default_lam(HEADS)
    weightings: tuple[str, ...] = ()
    metric: str = registry.DEFAULT_METRIC
    on: str | None = None
    kd_temperature: float = CrossTaskConfig.kd_temperature
    min_weight: float = CrossTaskConfig.min_weight
    student: str | None = None
    init: str | None = None
    views: int | None = None

    def __post_init__(self) -> None:
        _check_views(self.views or 0)
        if specs.split_spec(self.objective)[0] != HEADS:
            raise ParameterError(f'`objective` is "{self.objective}"', f"expected {HEADS}, or {HEADS}:key=value")
        if not 0 <= self.lam < 1:
            raise ParameterError(
                f"`lam` is {self.lam:g}",
                "expected a number from 0 (the pool only) to below 1; "
                "`objective` cross-task with `lam` 1 uses labels only",
            )
        _check_temperature(self.kd_temperature)
        _check_min_weight(self.min_weight)

    @property
    def entry(self) -> Objective:
        """The objective in the registry."""
        return registry.OBJECTIVES[HEADS]

    @property
    def weighting_options(self) -> tuple[str, ...]:
        """The options that only the cross-task term reads and that differ from their default."""
        names = ("weightings", "metric", "on", "kd_temperature", "min_weight")
        return tuple(name for name in names if getattr(self, name) != getattr(HeadsConfig, name))


@dataclass(frozen=True)
class TransferConfig:
    """General transfer: a trained student learns from teachers of its own classes (paper 002).

    `objective`: kl, xe-kl, mcl or dp, with parameters. `sources`: the teachers, all sources if empty. `teachers`: how
    several are combined: sequential, sequential:order=ORDER, parallel or soup. `targets`: live, stored or stored-clean.
    `kd_temperature`: T of the distillation.

    Raises ParameterError for values out of range or that cannot be combined.
    """

    objective: str
    sources: tuple[str, ...] = ()
    teachers: str = "sequential"
    targets: str = "live"
    kd_temperature: float = 1.0
    student: str | None = None

    def __post_init__(self) -> None:
        if self.objective_name not in TRANSFER_OBJECTIVES:
            raise specs.nearest("objective with teachers", self.objective_name, TRANSFER_OBJECTIVES)
        _check_temperature(self.kd_temperature)
        name, params = self._strategy
        if name not in TEACHER_ORDERS:
            raise specs.nearest("way of combining teachers", name, TEACHER_ORDERS)
        for key, value in params.items():
            if key != "order" or value not in TEACHER_ORDERS[name]:
                orders = [f"sequential:order={order}" for order in TEACHER_ORDERS["sequential"]]
                raise ParameterError(
                    f'`teachers` is "{self.teachers}"', f"one of: {', '.join([*TEACHER_ORDERS, *orders])}"
                )
        if name == "parallel" and self.objective_name != "dp":
            raise ParameterError(
                f"{self.objective_name} cannot choose a teacher for each sample, which `teachers` parallel needs",
                "set `objective` dp, or `teachers` sequential or soup",
            )
        if self.targets not in TARGET_VIEWS:
            raise ParameterError(
                f'`targets` is "{self.targets}"', specs.nearest("targets", self.targets, TARGET_VIEWS).hint
            )

    @property
    def objective_name(self) -> str:
        """The objective without its parameters."""
        return specs.split_spec(self.objective)[0]

    @property
    def entry(self) -> Objective:
        """The objective in the registry."""
        return registry.OBJECTIVES[self.objective_name]

    @property
    def combination(self) -> str:
        """How several teachers are combined."""
        return self._strategy[0]

    @property
    def order(self) -> str:
        """The order of sequential teachers, by default that of paper 002: the least accurate one first."""
        return self._strategy[1].get("order", "ascending")

    @property
    def stored(self) -> bool:
        """Whether the teachers' outputs are computed once, before the first step."""
        return self.targets != "live"

    def mirrored(self, augment: str) -> bool:
        """Whether outputs of the mirrored views are stored too."""
        return self.targets == "stored" and augment == "flip"

    @cached_property
    def _strategy(self) -> tuple[str, dict[str, str]]:
        return specs.split_spec(self.teachers)


DistillConfig = CrossTaskConfig | HeadsConfig | TransferConfig
"""What one command learns from."""


def _check_min_weight(value: float) -> None:
    if not 0 <= value < 1:
        raise ParameterError(f"`min_weight` is {value:g}", "expected a number from 0 to below 1")


def _check_views(value: int) -> None:
    if value < 0:
        raise ParameterError(f"`views` is {value}", "expected a whole number from 0 up")


def _check_temperature(value: float) -> None:
    if not 0 < value < math.inf:
        raise ParameterError(
            f"`kd_temperature` is {value:g}", "expected a number above 0; 1 leaves outputs as they are"
        )
