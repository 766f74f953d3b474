"""The result of a search on held-out images: its log, the training length of all methods, the best settings of each.

    python -m tests.claims.choose SEARCH length             # steps
    python -m tests.claims.choose SEARCH plan single p=12   # a line per setting: flags, colon, its methods
    python -m tests.claims.choose SEARCH log                # writes SEARCH/log.jsonl, prints what was chosen

Reads the runs in SEARCH/tried/*/*. A setting is judged by the mean accuracy of its runs (of the method "single": one of
every source) on the held-out images, ties by the mean negative log-likelihood. One length is chosen for all methods:
the one with the best mean over methods, of the settings tried at every length.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.evaluation import flip_statistics, predictions
from zoo_cli.store import files

Row = dict[str, Any]
SETTINGS = ("steps", "lr", "lam", "augment")


def method_name(run: str) -> str:
    """The method of a run, from its folder's name: labels-only, fixmatch, single, random, or a weighting's slug."""
    name = re.sub(r"-s[0-9]+$", "", run)
    for start, method in (
        ("fixmatch", "fixmatch"),
        ("cross-task-from-", "single"),
        ("cross-task-parc-random", "random"),
    ):
        if name.startswith(start):
            return method
    return name.removeprefix("cross-task-parc-")


def method_slug(spec: str) -> str:
    """The name that `method_name` gives a method of the scripts: p12 for p=12."""
    return spec if spec in ("labels-only", "fixmatch", "single", "random") else specs.slug(spec)


def measure_run(run: Path) -> Row:
    """One run: its method and settings, its accuracy and negative log-likelihood on the images that it predicts."""
    options, stored = files.read_json(run / "run.json")["options"], predictions.load_predictions(run)
    quality = flip_statistics.prediction_quality(stored.labels, stored.logits)
    settings = {key: options[key] for key in SETTINGS}
    name = {"method": method_name(run.name), "run": run.name, **settings, "seed": options["seed"]}
    return {**name, "n": len(stored.labels), "accuracy": quality.accuracy, "nll": quality.nll}


def read_runs(search: Path) -> list[Row]:
    """All finished runs of a search, in the order of their names."""
    return [measure_run(path.parent) for path in sorted((search / "tried").glob("*/*/predictions.parquet"))]


def average_settings(rows: Sequence[Row]) -> list[Row]:
    """A row for every method and setting: the means of its runs."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["method"], *(row[key] for key in SETTINGS)].append(row)
    means = []
    for (name, *values), group in groups.items():
        quality = {key: sum(row[key] for row in group) / len(group) for key in ("accuracy", "nll")}
        means.append({"method": name, **dict(zip(SETTINGS, values, strict=True)), "runs": len(group), **quality})
    return means


def choose_length(rows: Sequence[Row]) -> int:
    """The number of steps for all methods."""
    means = average_settings(rows)
    lengths = sorted({row["steps"] for row in means})
    tried = {steps: {_setting(row) for row in means if row["steps"] == steps} for steps in lengths}
    common = set.intersection(*tried.values())
    groups = {steps: [row for row in means if row["steps"] == steps and _setting(row) in common] for steps in lengths}
    chosen: int = max(lengths, key=lambda steps: (_mean(groups[steps], "accuracy"), -_mean(groups[steps], "nll")))
    return chosen


def choose_settings(rows: Sequence[Row], name: str) -> Row:
    """The best settings of a method, at the length of all methods."""
    steps = choose_length(rows)
    tried = [row for row in average_settings(rows) if row["method"] == name and row["steps"] == steps]
    if not tried:
        raise SystemExit(f"the search has no run of {name}")
    return max(tried, key=lambda row: (row["accuracy"], -row["nll"]))


def plan_commands(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, list[str]]:
    """The methods, as the scripts call them, by the flags of their best settings: equal flags, one command."""
    plan: dict[str, list[str]] = defaultdict(list)
    for name in methods:
        chosen = choose_settings(rows, method_slug(name))
        flags = [f"--{key} {chosen[key]:g}" for key in SETTINGS[:3]]
        plan[" ".join([*flags, f"--augment {chosen['augment']}"])].append(name)
    return plan


def format_choices(rows: Sequence[Row]) -> str:
    """The choices in markdown: for every method the number of settings tried, the best of them, and the worst."""
    lines = [
        "| method | settings | steps | lr | lam | augment | held-out accuracy | worst |",
        "|---|---:|---:|---:|---:|---|---:|---:|",
    ]
    means = average_settings(rows)
    for name in dict.fromkeys(row["method"] for row in means):
        best = choose_settings(rows, name)
        tried = [row["accuracy"] for row in means if row["method"] == name]
        chosen = f"{best['steps']} | {best['lr']:g} | {best['lam']:g} | {best['augment']}"
        shown = f"{chosen} | {100 * best['accuracy']:.1f} | {100 * min(tried):.1f}"
        lines.append(f"| {name} | {len(tried)} | {shown} |")
    return "\n".join(lines)


def _setting(row: Row) -> tuple[Any, ...]:
    return row["method"], row["lr"], row["lam"], row["augment"]


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("search", type=Path)
    parser.add_argument("what", choices=("length", "plan", "log"))
    parser.add_argument("method", nargs="*")
    arguments = parser.parse_args()
    rows = read_runs(arguments.search)
    if arguments.what == "length":
        print(choose_length(rows))
    elif arguments.what == "plan":
        for flags, names in plan_commands(rows, arguments.method).items():
            print(f"{flags}:{' '.join(names)}")
    else:
        files.write_lines(arguments.search / "log.jsonl", rows)
        print(f"{len(rows)} runs, {rows[0]['n']} images held out\n\n{format_choices(rows)}")


if __name__ == "__main__":
    main()
