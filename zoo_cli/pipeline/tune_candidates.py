"""The candidates of `zoo tune`: those of the built-in list, or of a TOML file. Importing this loads no torch."""

import tomllib
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from zoo_cli import registry, specs, system_errors
from zoo_cli.config_values import convert_value
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.pipeline.distill_config import CROSS_TASK, HEADS, CrossTaskConfig, HeadsConfig
from zoo_cli.pipeline.finetune_config import FIXMATCH, FinetuneConfig
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.training_config import TrainingConfig

OBJECTIVES = (LABELS_ONLY, CROSS_TASK, HEADS, FIXMATCH)
OWNERS = {"pool": (HEADS,), "weighting": (CROSS_TASK,), "lam": (CROSS_TASK, HEADS, FIXMATCH)}
"""The objectives that have a key."""
MOST = 32
"""The most candidates of a search: with more of them hardly any gain is certain."""


@dataclass(frozen=True)
class Candidate:
    """One way to train the student. None: the default of the objective, or what the flags of the command say.

    `objective`: labels-only, cross-task, heads or fixmatch. `lam`: share of the labels in the loss. `pool`: of the
    heads. `weighting`: of the sources. Raises ParameterError for values out of range, and for keys that the objective
    does not have.
    """

    name: str
    objective: str
    lam: float | None = None
    lr: float | None = None
    augment: str | None = None
    pool: str | None = None
    weighting: str | None = None

    def __post_init__(self) -> None:
        RunPaths(self.name)
        if self.objective not in OBJECTIVES:
            raise specs.nearest("objective", self.objective, OBJECTIVES)
        for key, objectives in OWNERS.items():
            if getattr(self, key) is not None and self.objective not in objectives:
                raise ParameterError(f"`{key}` belongs to `objective` {' or '.join(objectives)}", "drop it")
        if self.lam == 1 and self.objective == CROSS_TASK:
            raise ParameterError("`lam` 1 uses labels only", f"set `objective` {LABELS_ONLY}")
        self.config((), None)
        self.training(TrainingConfig())

    def config(self, sources: Sequence[str], student: str | None) -> CrossTaskConfig | HeadsConfig | FinetuneConfig:
        """What it learns from, of some sources (all if empty)."""
        lam: dict[str, Any] = {} if self.lam is None else {"lam": self.lam}
        if self.objective == LABELS_ONLY:
            return CrossTaskConfig(lam=1.0, student=student)
        if self.objective == CROSS_TASK:
            weightings = () if self.weighting is None else (specs.resolve("weighting", self.weighting).spec,)
            return CrossTaskConfig(weightings=weightings, sources=tuple(sources), student=student, **lam)
        if self.objective == FIXMATCH:
            return FinetuneConfig((student or "student",), FIXMATCH, **lam)
        pool = registry.DEFAULT_POOL if self.pool is None else specs.resolve("pool", self.pool).spec
        return HeadsConfig(pool=pool, sources=tuple(sources), student=student, **lam)

    def training(self, options: TrainingConfig) -> TrainingConfig:
        """Training options with its learning rate and augmentation in place of theirs."""
        own = {key: value for key in ("lr", "augment") if (value := getattr(self, key)) is not None}
        return replace(options, **own)

    @property
    def settings(self) -> dict[str, Any]:
        """What it sets, by key."""
        return {key: value for key, value in asdict(self).items() if key != "name" and value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.settings.items())


BASELINE = Candidate(LABELS_ONLY, LABELS_ONLY)
CANDIDATES = (
    Candidate("heads", HEADS),
    Candidate("heads-flip", HEADS, augment="flip"),
    Candidate("heads-logmean", HEADS, pool="logmean"),
    Candidate("heads-lr0.03", HEADS, lr=0.03),
    Candidate("cross-task", CROSS_TASK),
    Candidate("labels-only-lr0.03", LABELS_ONLY, lr=0.03),
)
"""The candidates without a file. Few: each one widens the intervals of all."""


def load_candidates(path: Path) -> tuple[Candidate, ...]:
    """The candidates of a TOML file: a table [[candidate]] each, with keys of `Candidate`.

    Raises UsageError for a file that is not valid TOML, an unknown key or objective, and values of the wrong type or
    out of range.
    """
    try:
        system_errors.refuse_special(path)
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise system_errors.translate(error) or UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", "fix that line") from None
    for key in data:
        _check_key(key, ("candidate",), str(path))
    tables = data.get("candidate", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"[candidate] of {path} is not a list of tables", "write [[candidate]], with two brackets")
    if not 1 <= len(tables) <= MOST:
        raise UsageError(f"{path} has {len(tables)} candidates", f"write 1 to {MOST} tables [[candidate]]")
    candidates = tuple(
        _parse_candidate(table, f"[[candidate]] {number} of {path}") for number, table in enumerate(tables, 1)
    )
    _check_distinct(candidates, path)
    return candidates


def _parse_candidate(table: dict[str, Any], where: str) -> Candidate:
    annotations = typing.get_type_hints(Candidate)
    values = {}
    for key, value in table.items():
        _check_key(key, [field.name for field in fields(Candidate)], where)
        values[key] = convert_value(key, value, annotations[key], where)
    if "objective" not in values:
        raise UsageError(f'no "objective" in {where}', f"one of: {', '.join(OBJECTIVES)}")
    parts = [f"{key}{value}" for key, value in values.items() if key not in ("name", "objective")]
    values.setdefault("name", "-".join([values["objective"], *parts]).replace(":", "-").replace("/", "-"))
    try:
        return Candidate(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message.replace('`', '')}", error.hint.replace("`", "")) from None


def _check_distinct(candidates: Sequence[Candidate], path: Path) -> None:
    names, values = [LABELS_ONLY], [BASELINE.settings]
    for candidate in candidates:
        if candidate.name in names:
            used = "labels only, which is always tried" if candidate.name == LABELS_ONLY else "another one"
            raise UsageError(f'a candidate of {path} has the name "{candidate.name}" of {used}', "rename it")
        if candidate.settings in values:
            other = names[values.index(candidate.settings)]
            raise UsageError(f"{candidate.name} of {path} sets what {other} sets", "drop it")
        names.append(candidate.name)
        values.append(candidate.settings)


def _check_key(key: str, names: Sequence[str], where: str) -> None:
    if key not in names:
        raise UsageError(f'unknown key "{key}" in {where}', specs.suggest_name(key, names))
