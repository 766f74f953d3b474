"""The verdict of `zoo rank` compared with the gain of distilling from each source over labels only.

    python -m tests.claims.fits check WORKSPACE       # fails if the expert of the task itself is ranked
    python -m tests.claims.fits table WORK/few

Reads WORKSPACE/rank.json, the output of `zoo rank --json`, and the runs `cross-task-from-SOURCE` and `labels-only`. A
source gains if the difference is above two of its paired standard errors, and costs if it is below minus two.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli import config
from zoo_cli.store import files

from .table import BASE, is_correct, load_students, paired_gain

ERRORS = 2.0  # standard errors


def check_excluded(workspace: Path) -> list[str]:
    """The excluded sources, each with its reason. Raises SystemExit if a source that has seen the task is ranked."""
    settings, ranking = config.load(workspace), files.read_json(workspace / "rank.json")
    names = {settings.task.name, *settings.task.aliases}
    leaking = {source.name for source in settings.sources if names & set(source.trained_on)}
    excluded = {row["source"]: row["excluded"] for row in ranking["data"] if row["rank"] is None}
    if leaking - set(excluded):
        raise SystemExit(f"{workspace}: {', '.join(sorted(leaking - set(excluded)))} has seen the task and is ranked")
    return [f"{name}, {reason}" for name, reason in excluded.items()]


def compare_sources(workspace: Path) -> list[dict[str, Any]]:
    """Every ranked source of a workspace: its score, whether it fits, its gain over labels only, its standard error."""
    ranking = files.read_json(workspace / "rank.json")
    fits = set(ranking["meta"]["verdict"]["fits"])
    base = load_students(workspace)[BASE].share
    rows = []
    for row in ranking["data"]:
        finished = (workspace / "runs").glob(f"cross-task-from-{row['source']}-s[0-9]*/predictions.parquet")
        runs = sorted(path.parent for path in finished)
        if row["rank"] is None or not runs:
            continue
        share = np.mean([is_correct(run) for run in runs], axis=0)
        gain, error = paired_gain(share, base)
        source = {"source": row["source"], "score": row["value"], "fits": row["source"] in fits}
        outcome = "gains" if gain > ERRORS * error else "costs" if gain < -ERRORS * error else "level"
        rows.append({**source, "accuracy": float(share.mean()), "gain": gain, "error": error, "outcome": outcome})
    return rows


def format_table(folder: Path) -> str:
    """Every target of a folder of workspaces, and how often the verdict was right, in markdown."""
    lines = ["| target | source | PARC | fits | accuracy | gain | |", "|---|---|---:|---|---:|---:|---|"]
    counts: dict[tuple[bool, str], int] = {}
    notes = []
    for workspace in sorted(path.parent for path in folder.glob("*/rank.json")):
        for row in compare_sources(workspace):
            shown = f"{100 * row['accuracy']:.1f} | {100 * row['gain']:+.1f} ± {100 * row['error']:.1f}"
            verdict = "yes" if row["fits"] else "no"
            start = f"| {workspace.name} | {row['source']} | {row['score']:.3f} | {verdict} |"
            lines.append(f"{start} {shown} | {row['outcome']} |")
            key = row["fits"], row["outcome"]
            counts[key] = counts.get(key, 0) + 1
        sentence = files.read_json(workspace / "rank.json")["meta"]["verdict"]["sentence"]
        notes.append(f"{workspace.name}: {sentence}. Excluded: {'; '.join(check_excluded(workspace)) or 'none'}.")
    for fits, name in ((True, "fit"), (False, "do not fit")):
        shown = [f"{counts.get((fits, outcome), 0)} {outcome}" for outcome in ("gains", "level", "costs")]
        notes.append(f"of the sources that {name}: {', '.join(shown)}")
    return "\n".join(lines) + "\n\n" + "\n".join(notes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("check", "table"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "check":
        check_excluded(arguments.folder)
    else:
        print(format_table(arguments.folder))


if __name__ == "__main__":
    main()
