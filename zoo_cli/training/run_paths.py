"""The folders and seeds of the runs of a command."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.store.lease import staging
from zoo_cli.store.swap import run_place

MAX_NAME_BYTES = 150
"""The longest name of a run without its label set: file systems allow 255 bytes, and temporary files beside it add to
that."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunShare:
    """Part `index`, from 1, of the runs of a command, which is dealt over `count` jobs."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """The share of a text such as 2/8. Raises ParameterError for another text."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ParameterError(f'`runs` is "{text}"', "expected I/N: part I of N, from 1/N to N/N")
        return cls(int(match[1]), int(match[2]))

    def take(self, runs: Sequence[T]) -> list[T]:
        """Every `count`-th of the runs, so that each job has about as many. Says so where that is none."""
        dealt = list(runs[self.index - 1 :: self.count])
        if runs and not dealt:
            console.say(f"part {self.index} of {self.count} has none of the {len(runs)} runs")
        return dealt


@dataclass(frozen=True)
class RunPath:
    """The folder of one run, and its seed. `overwrite`: it replaces the run there once it is finished."""

    path: Path
    seed: int
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """The folder in which it is made: beside `path` where it overwrites a run."""
        return staging(self.path) if self.overwrite else self.path


@dataclass(frozen=True)
class RunPaths:
    """The folders and seeds of a command's runs. Raises ParameterError for a bad name and for repeated seeds.

    `name`: of a single run, None to derive names from the options. `out`: its folder, None for runs/NAME. `seeds`: one
    run each, empty for the seed of the task. `overwrite`: start existing runs again. `share`: those of this process.
    """

    name: str | None = None
    out: Path | None = None
    seeds: tuple[int, ...] = ()
    overwrite: bool = False
    share: RunShare = RunShare()

    def __post_init__(self) -> None:
        name = self.name
        if name is not None and (
            not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name)
        ):
            hint = "it becomes a folder: no / or \\ and no leading dot; use `out` for a path"
            raise ParameterError(f'`name` is "{name}"', hint)
        if len(set(self.seeds)) < len(self.seeds):
            raise ParameterError("`seeds` repeats a seed", "give each seed once")

    def task_seeds(self, settings: Config) -> tuple[int, ...]:
        """The seeds, by default that of the task."""
        return self.seeds or (settings.task.seed,)

    def resolve(self, settings: Config, names: Sequence[str]) -> list[RunPath]:
        """The runs: one for each name, derived from the options, and seed.

        Raises UsageError for equal names, for a name too long for a folder, and for several runs in one folder.
        """
        seeds = self.task_seeds(settings)
        if len(set(names)) < len(names):
            raise UsageError("two of the requested runs are the same", "ask for each run once")
        if (self.name or self.out) and len(names) * len(seeds) > 1:
            raise ParameterError("`name` and `out` cannot be used with several runs", "drop them or ask for one run")
        out = self.out
        if out is not None and out.name in ("", ".."):
            out = Path(os.path.abspath(out))
        runs = [
            RunPath(
                out or (settings.run(self.name) if self.name else settings.default_run(f"{name}-s{seed}")),
                seed,
                self.overwrite,
            )
            for name in names
            for seed in seeds
        ]
        for run in runs:
            if run_place(run.path) != run.path:
                raise ParameterError(f"`out` is {run.path}: zoo uses such a name itself", "choose another name")
            own_name = run.path.name.removesuffix(f"-{settings.labels}")
            if (size := len(os.fsencode(own_name))) > MAX_NAME_BYTES:
                raise ParameterError(
                    f"the run name {run.path.name[:20]}… is too long: {size} bytes, at most {MAX_NAME_BYTES}",
                    "give a shorter `name`",
                )
        return runs
