"""What a search on held-out images found: its log, the length of training for all, each method's best settings.

    python -m tests.claims.choose SEARCH length             # steps
    python -m tests.claims.choose SEARCH plan single p=12   # a line for each setting: flags, colon, its methods
    python -m tests.claims.choose SEARCH log                # writes SEARCH/log.jsonl, prints what was chosen

Reads the runs in SEARCH/tried/*/*. A setting is as good as the mean accuracy of its runs (of the method "single": one
of every source) on the held-out images; the mean negative log-likelihood parts equals. One length is chosen for all
methods: that of the best mean over methods, of the settings that every length was tried with.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo_cli.evaluation import flip_statistics, predictions
from zoo_cli.pipeline import source_weights
from zoo_cli.store import files

Row = dict[str, Any]
SETTINGS = ("steps", "lr", "lam", "augment")


def method(run: str) -> str:
    """Of which method a run is, by its folder's name: labels-only, fixmatch, single, random, or a weighting's slug."""
    name = re.sub(r"-s[0-9]+$", "", run)
    for start, found in (
        ("fixmatch", "fixmatch"),
        ("cross-task-from-", "single"),
        ("cross-task-parc-random", "random"),
    ):
        if name.startswith(start):
            return found
    return name.removeprefix("cross-task-parc-")


def slug(spec: str) -> str:
    """A method as `method` calls it, from what the scripts call it: p=12 is p12."""
    return spec if spec in ("labels-only", "fixmatch", "single", "random") else source_weights.weighting_slug(spec)


def measured(run: Path) -> Row:
    """One run: its method and settings, its accuracy and negative log-likelihood on the images that it predicts."""
    said, told = files.read_json(run / "run.json"), predictions.load_predictions(run)
    quality = flip_statistics.prediction_quality(told.labels, told.logits)
    settings = {key: said["options"][key] for key in SETTINGS}
    name = {"method": method(run.name), "run": run.name, **settings, "seed": said["options"]["seed"]}
    return {**name, "n": len(told.labels), "accuracy": quality["accuracy"], "nll": quality["nll"]}


def read(search: Path) -> list[Row]:
    """All finished runs of a search, in the order of their names."""
    return [measured(path.parent) for path in sorted((search / "tried").glob("*/*/predictions.parquet"))]


def settings(rows: Sequence[Row]) -> list[Row]:
    """A row for every method and setting: the means of its runs."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["method"], *(row[key] for key in SETTINGS)].append(row)
    means = []
    for (name, *values), group in groups.items():
        found = {key: sum(row[key] for row in group) / len(group) for key in ("accuracy", "nll")}
        means.append({"method": name, **dict(zip(SETTINGS, values, strict=True)), "runs": len(group), **found})
    return means


def length(rows: Sequence[Row]) -> int:
    """The number of steps for all methods."""
    means = settings(rows)
    lengths = sorted({row["steps"] for row in means})
    tried = {steps: {_setting(row) for row in means if row["steps"] == steps} for steps in lengths}
    common = set.intersection(*tried.values())
    groups = {steps: [row for row in means if row["steps"] == steps and _setting(row) in common] for steps in lengths}
    chosen: int = max(lengths, key=lambda steps: (_mean(groups[steps], "accuracy"), -_mean(groups[steps], "nll")))
    return chosen


def best(rows: Sequence[Row], name: str) -> Row:
    """The settings of a method, at the length of all."""
    steps = length(rows)
    found = [row for row in settings(rows) if row["method"] == name and row["steps"] == steps]
    if not found:
        raise SystemExit(f"the search has no run of {name}")
    return max(found, key=lambda row: (row["accuracy"], -row["nll"]))


def plan(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, list[str]]:
    """The methods, as the scripts call them, under the flags of their best settings: equal flags, one command."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in methods:
        one = best(rows, slug(name))
        flags = [f"--{key} {one[key]:g}" for key in SETTINGS[:3]]
        found[" ".join([*flags, f"--augment {one['augment']}"])].append(name)
    return found


def table(rows: Sequence[Row]) -> str:
    """What was chosen, in markdown: of every method how many settings were tried, and the worst, the best."""
    lines = [
        "| method | settings | steps | lr | lam | augment | held-out accuracy | worst |",
        "|---|---:|---:|---:|---:|---|---:|---:|",
    ]
    means = settings(rows)
    for name in dict.fromkeys(row["method"] for row in means):
        one = best(rows, name)
        tried = [row["accuracy"] for row in means if row["method"] == name]
        chosen = f"{one['steps']} | {one['lr']:g} | {one['lam']:g} | {one['augment']}"
        shown = f"{chosen} | {100 * one['accuracy']:.1f} | {100 * min(tried):.1f}"
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
    said = parser.parse_args()
    rows = read(said.search)
    if said.what == "length":
        print(length(rows))
    elif said.what == "plan":
        for flags, names in plan(rows, said.method).items():
            print(f"{flags}:{' '.join(names)}")
    else:
        files.write_lines(said.search / "log.jsonl", rows)
        print(f"{len(rows)} runs, {rows[0]['n']} images held out\n\n{table(rows)}")


if __name__ == "__main__":
    main()
