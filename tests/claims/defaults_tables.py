"""The tables of the comparison of defaults: `python -m tests.claims.defaults_tables WORK`, in markdown."""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .defaults import COMPARED, GRID, HEADS, LABELS_ONLY, POOLS, UNFLAGGED, Method
from .defaults_workspaces import DEVELOPMENT, LABELS, PACKS, STUDENTS

Row = dict[str, Any]
Accuracies = Mapping[str, Mapping[str, list[float]]]
"""By method and pack, the accuracy of each draw."""


def load_rows(work: Path) -> list[Row]:
    return [json.loads(line) for line in (work / "results.jsonl").read_text().splitlines()]


def group_accuracies(rows: Sequence[Row], packs: Sequence[str], labels: int, student: str) -> Accuracies:
    """The accuracies of one budget and student, of draws in which every method of the pack is finished."""
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: row["draw"]):
        if row["pack"] in packs and row["labels"] == labels and row["student"] == student:
            groups[row["method"]][row["pack"]].append(row["accuracy"])
    return groups


def mean_accuracy(accuracies: Mapping[str, list[float]], packs: Sequence[str]) -> float:
    return float(np.mean([np.mean(accuracies[pack]) for pack in packs]))


def finished_packs(groups: Accuracies, methods: Sequence[Method], packs: Sequence[str]) -> list[str]:
    """The packs for which every method has a student."""
    return [pack for pack in packs if all(groups.get(method.name, {}).get(pack) for method in methods)]


def format_grid(rows: Sequence[Row]) -> str:
    """Mean accuracy over the development packs by lam and augmentation."""
    lines = [f"| method | {' | '.join(f'{labels} a class' for labels in LABELS)} |", "|---|" + "---:|" * len(LABELS)]
    groups = {labels: group_accuracies(rows, DEVELOPMENT, labels, "scratch") for labels in LABELS}
    packs = {labels: finished_packs(groups[labels], GRID, DEVELOPMENT) for labels in LABELS}
    for method in GRID:
        cells = [
            f"{100 * mean_accuracy(groups[labels][method.name], packs[labels]):.1f}" if packs[labels] else ""
            for labels in LABELS
        ]
        lines.append(f"| {method.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{labels} a class: {', '.join(packs[labels])}" for labels in LABELS)])


def format_students(rows: Sequence[Row], labels: int, student: str, methods: Sequence[Method]) -> str:
    """Methods by packs: mean over draws, the mean over packs, and the mean gain over the best labels only."""
    groups = group_accuracies(rows, PACKS, labels, student)
    packs = finished_packs(groups, methods, PACKS)
    if not packs:
        return "nothing is finished"
    means = {method.name: mean_accuracy(groups[method.name], packs) for method in methods}
    base = max((method.name for method in methods if method.objective == LABELS_ONLY), key=means.__getitem__)
    draws = [len(groups[base][pack]) for pack in packs]
    lines = [f"| method | {' | '.join(packs)} | mean | gain |", "|---|" + "---:|" * (len(packs) + 2)]
    for method in methods:
        cells = " | ".join(f"{100 * np.mean(groups[method.name][pack]):.1f}" for pack in packs)
        gain = f"{100 * (means[method.name] - means[base]):+.1f}"
        lines.append(f"| {method.name} | {cells} | {100 * means[method.name]:.1f} | {gain} |")
    heads = next(method.name for method in methods if method.objective == HEADS)
    gains = [100 * (np.mean(groups[heads][pack]) - np.mean(groups[base][pack])) for pack in packs]
    large = sum(gain >= 5 for gain in gains)
    return "\n".join(
        [
            *lines,
            "",
            f"Draws: {min(draws)} to {max(draws)}. Heads less {base}: "
            f"{', '.join(f'{gain:+.1f}' for gain in gains)}; 5 points or more on {large} of {len(packs)}.",
        ]
    )


def format_pools(rows: Sequence[Row], labels: int) -> str:
    """Pools by packs: accuracy on the unlabelled images / estimate, over draws; then bias and coverage."""
    chosen = [row for row in rows if row["method"].startswith("pool-") and row["labels"] == labels]
    chosen = [row for row in chosen if row["pack"] in PACKS]
    packs = [pack for pack in PACKS if any(row["pack"] == pack for row in chosen)]
    lines = [f"| pool | {' | '.join(packs)} | mean | bias | covered |", "|---|" + "---:|" * (len(packs) + 3)]
    for pool in POOLS:
        own = [row for row in chosen if row["method"] == f"pool-{pool}"]
        cells = []
        for pack in packs:
            truth, estimate = (
                np.mean([row[key] for row in own if row["pack"] == pack and row["estimate"] is not None])
                for key in ("accuracy", "estimate")
            )
            cells.append(f"{100 * truth:.1f} / {100 * estimate:.1f}")
        known = [row for row in own if row["estimate"] is not None]
        mean = np.mean([np.mean([row["accuracy"] for row in own if row["pack"] == pack]) for pack in packs])
        bias = np.mean([row["estimate"] - row["accuracy"] for row in known])
        covered = sum(row["low"] <= row["accuracy"] <= row["high"] for row in known)
        lines.append(
            f"| {pool} | {' | '.join(cells)} | {100 * mean:.1f} | {100 * bias:+.1f} | {covered} of {len(known)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    rows = load_rows(parser.parse_args().work)
    print(f"### Choice\n\n{format_grid(rows)}\n")
    for labels in LABELS:
        for student in STUDENTS:
            table = format_students(rows, labels, student, COMPARED[student])
            print(f"### {labels} a class, {student}\n\n{table}\n")
        table = format_students(rows, labels, "scratch", UNFLAGGED)
        print(f"### {labels} a class, scratch, without further flags\n\n{table}\n")
        print(f"### Pools, {labels} a class\n\n{format_pools(rows, labels)}\n")


if __name__ == "__main__":
    main()
