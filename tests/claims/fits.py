"""The verdict of `zoo rank` against what distilling from each source has gained over labels only.

    python -m tests.claims.fits barred WORKSPACE      # fails where the expert of the task itself is ranked
    python -m tests.claims.fits table WORK/few

Reads WORKSPACE/rank.json, what `zoo rank --json` says, and the runs `cross-task-from-SOURCE` and `labels-only`. A
source gains where the difference is above two of its paired standard errors, and costs where it is below.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli import config
from zoo_cli.store import files

from .table import BASE, correct, difference, students

SURE = 2.0


def barred(workspace: Path) -> list[str]:
    """What is excluded, in phrases. Raises SystemExit where a source that has seen the task takes part."""
    settings, told = config.load(workspace), files.read_json(workspace / "rank.json")
    names = {settings.task.name, *settings.task.aliases}
    leaking = {source.name for source in settings.sources if names & set(source.trained_on)}
    excluded = {row["source"]: row["excluded"] for row in told["data"] if row["rank"] is None}
    if leaking - set(excluded):
        raise SystemExit(f"{workspace}: {', '.join(sorted(leaking - set(excluded)))} has seen the task and is ranked")
    return [f"{name}, {why}" for name, why in excluded.items()]


def rows(workspace: Path) -> list[dict[str, Any]]:
    """Every ranked source of a workspace: its score, whether it fits, its gain over labels only and the error of it."""
    told = files.read_json(workspace / "rank.json")
    fits = set(told["meta"]["verdict"]["fits"])
    base = students(workspace)[BASE].share
    found = []
    for row in told["data"]:
        finished = (workspace / "runs").glob(f"cross-task-from-{row['source']}-s[0-9]*/predictions.parquet")
        runs = sorted(path.parent for path in finished)
        if row["rank"] is None or not runs:
            continue
        share = np.mean([correct(run) for run in runs], axis=0)
        gain, doubt = difference(share, base)
        said = {"source": row["source"], "score": row["value"], "fits": row["source"] in fits}
        outcome = "gains" if gain > SURE * doubt else "costs" if gain < -SURE * doubt else "level"
        found.append({**said, "accuracy": float(share.mean()), "gain": gain, "doubt": doubt, "outcome": outcome})
    return found


def table(folder: Path) -> str:
    """Every target of a folder of workspaces, and how often the verdict was right, in markdown."""
    lines = ["| target | source | PARC | fits | accuracy | gain | |", "|---|---|---:|---|---:|---:|---|"]
    counts: dict[tuple[bool, str], int] = {}
    notes = []
    for workspace in sorted(path.parent for path in folder.glob("*/rank.json")):
        for row in rows(workspace):
            shown = f"{100 * row['accuracy']:.1f} | {100 * row['gain']:+.1f} ± {100 * row['doubt']:.1f}"
            verdict = "yes" if row["fits"] else "no"
            start = f"| {workspace.name} | {row['source']} | {row['score']:.3f} | {verdict} |"
            lines.append(f"{start} {shown} | {row['outcome']} |")
            key = row["fits"], row["outcome"]
            counts[key] = counts.get(key, 0) + 1
        said = files.read_json(workspace / "rank.json")["meta"]["verdict"]["sentence"]
        notes.append(f"{workspace.name}: {said}. Excluded: {'; '.join(barred(workspace)) or 'none'}.")
    for fits, name in ((True, "fit"), (False, "do not fit")):
        told = [f"{counts.get((fits, outcome), 0)} {outcome}" for outcome in ("gains", "level", "costs")]
        notes.append(f"of the sources that {name}: {', '.join(told)}")
    return "\n".join(lines) + "\n\n" + "\n".join(notes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("barred", "table"))
    parser.add_argument("folder", type=Path)
    said = parser.parse_args()
    if said.what == "barred":
        barred(said.folder)
    else:
        print(table(said.folder))


if __name__ == "__main__":
    main()
