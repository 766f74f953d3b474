"""What `zoo finetune` trains, as the user sets it. Importing this loads neither numpy nor torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import registry, specs
from zoo_cli.entries import Objective
from zoo_cli.errors import ParameterError

FIXMATCH = "fixmatch"
THRESHOLD, TEMPERATURE, UNLABELLED_WEIGHT = 0.95, 1.0, 1.0
"""The defaults of fixmatch."""
OBJECTIVES = tuple(name for name, entry in registry.OBJECTIVES.items() if entry.command == "finetune")


@dataclass(frozen=True)
class FinetuneConfig:
    """Training of pretrained models on the labels of the task.

    `sources`: models by name or PROVIDER:NAME, `student`, `best` or `best:ARCHITECTURE`; one run each. `freeze`: "body"
    trains only the new head. `metric`: selects the best source. `among`: the folder of an expert of several domains, of
    which the best source is one. `rates`: learning rates of a sweep, which uses the
    best one; empty: the rate of the training options. For fixmatch only: `threshold` of confidence, `temperature` of
    its own outputs, `unlabelled_weight` of the unlabelled loss, or instead `lam`, the share of the labels in the loss.

    Raises ParameterError for values out of range or that cannot be combined.
    """

    sources: tuple[str, ...]
    objective: str = "supervised"
    freeze: str | None = None
    metric: str | None = None
    among: Path | None = None
    rates: tuple[float, ...] = ()
    threshold: float | None = None
    temperature: float | None = None
    lam: float | None = None
    unlabelled_weight: float | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise specs.nearest("objective of zoo finetune", self.objective, OBJECTIVES)
        if self.freeze not in (None, "body"):
            raise ParameterError(f'`freeze` is "{self.freeze}"', "expected body; by default all layers are trained")
        if len(set(self.rates)) < len(self.rates):
            raise ParameterError("`rates` repeats a learning rate", "give each rate once")
        for rate in self.rates:
            if not 0 <= rate < math.inf:
                raise ParameterError(f"`rates` holds {rate:g}", "expected finite numbers from 0 up")
        for name in ("threshold", "temperature", "lam", "unlabelled_weight"):
            if getattr(self, name) is not None and not self.uses_unlabelled:
                raise ParameterError(f"`{name}` belongs to `objective` fixmatch", "drop it")
        if self.lam is not None and self.unlabelled_weight is not None:
            raise ParameterError("`lam` and `unlabelled_weight` cannot be combined", "drop one of them")
        if self.lam is not None and not 0 <= self.lam <= 1:
            raise ParameterError(
                f"`lam` is {self.lam:g}", "expected a number from 0 (unlabelled images only) to 1 (labels only)"
            )
        for name in ("threshold", "unlabelled_weight"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ParameterError(f"`{name}` is {value:g}", "expected a finite number from 0 up")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ParameterError(f"`temperature` is {self.temperature:g}", "expected a number above 0")

    @property
    def uses_unlabelled(self) -> bool:
        """Whether it learns from unlabelled images too."""
        return self.objective == FIXMATCH

    @property
    def entry(self) -> Objective:
        """The objective in the registry."""
        return registry.OBJECTIVES[self.objective]

    @property
    def parameters(self) -> dict[str, float | None]:
        """The parameters of fixmatch with their defaults, as run.json holds them; None if unused."""
        if not self.uses_unlabelled:
            return {}
        weight = UNLABELLED_WEIGHT if self.lam is None else None
        return {
            "threshold": THRESHOLD if self.threshold is None else self.threshold,
            "temperature": TEMPERATURE if self.temperature is None else self.temperature,
            "lam": self.lam,
            "unlabelled_weight": weight if self.unlabelled_weight is None else self.unlabelled_weight,
        }

    def run_name(self, source: str) -> str:
        """The name of the student of a source, without its seed."""
        first = "finetune" if self.objective == "supervised" else self.objective
        return "-".join([first, *(["head"] if self.freeze else []), source])
