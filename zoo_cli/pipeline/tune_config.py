"""What `zoo tune` searches, as the user sets it. Importing this loads neither numpy nor torch."""

from dataclasses import dataclass
from pathlib import Path

from zoo_cli.errors import ParameterError
from zoo_cli.training.training_config import parse_duration


def name_run(seed: int) -> str:
    """The name of the run of what a search chose, without the label set."""
    return f"tuned-s{seed}"


@dataclass(frozen=True)
class TuneConfig:
    """What a search tries, and how long. `candidates`: a TOML file; None: the built-in list.

    `budget`: a number of runs, or the time of their training, e.g. 30m; None: 20 splits. `sources`: all if empty.
    `seed`: of the splits and students, None for that of the task. Raises ParameterError for a budget that is neither.
    """

    candidates: Path | None = None
    budget: str | None = None
    sources: tuple[str, ...] = ()
    student: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        hint = "write a number of runs, or a time, e.g. 3h50m or 90m"
        try:
            positive = self.budget is None or bool(self.runs or self.seconds)
        except ParameterError:
            raise ParameterError(f'`budget` is "{self.budget}"', hint) from None
        if not positive:
            raise ParameterError(f"`budget` is {self.budget}", hint)

    @property
    def runs(self) -> int | None:
        """The number of runs, if the budget is one."""
        return int(self.budget) if self.budget is not None and self.budget.isdecimal() else None

    @property
    def seconds(self) -> float | None:
        """The time of the training, if the budget is one."""
        return None if self.budget is None or self.runs is not None else parse_duration(self.budget)
