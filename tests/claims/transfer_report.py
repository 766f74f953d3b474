"""The results of `transfer.sh` in Markdown: the search, and the transfers of every drawing.

python -m tests.claims.transfer_report WORK
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .transfer import choose_settings, read_trials

NEAR = 0.01
"""A teacher is weaker or stronger if its accuracy differs by more than this, else equal."""
KINDS = ("weaker", "equal", "stronger")
METHODS = ("kl", "xe-kl", "mcl", "dp", "dp-unlabelled", "labels", "self", "dp-sequential", "dp-parallel", "dp-soup")
"""In the order of the tables."""
CONTROLS = ("labels", "self")
"""Labels without a teacher, and the student as its own teacher: the effect of training alone."""


def read_transfers(files: Sequence[Path]) -> list[dict[str, Any]]:
    """The transfers in outputs of `zoo evaluate transfer`, with their `student`, `method` and `given` (teachers)."""
    rows = []
    for file in files:
        answer = json.loads(file.read_text())["data"]
        for row in answer["transfers"]:
            student, given, method = Path(row["after"]).name.split("--")[:3]
            rows.append({**row, "student": student, "given": given, "method": method})
    return sorted(rows, key=lambda row: METHODS.index(row["method"]))


def teacher_kind(row: Mapping[str, Any]) -> str:
    """weaker, equal or stronger: the only teacher of a transfer, compared with the student before."""
    ahead = row["teachers"][0]["difference"]
    return "stronger" if ahead > NEAR else "weaker" if ahead < -NEAR else "equal"


def format_points(value: float) -> str:
    """A share as signed percentage points."""
    return f"{100 * value:+.1f}"


def format_delta(row: Mapping[str, Any]) -> str:
    """The delta in points, with the outcome of McNemar's test unless undecided."""
    mark = {"success": " ▲", "failure": " ▼"}.get(row["outcome"], "")
    return f"{format_points(row['delta'])}{mark} ({row['gained']}/{row['lost']})"


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table in Markdown; the first `texts` columns are text, the others numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * texts + "---:|" * (len(head) - texts)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def format_pairs(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per student and teachers, a column per method: the delta of the accuracy."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by_pair: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_pair[row["student"], row["given"]][row["method"]] = row
    lines = []
    for (student, given), by in sorted(by_pair.items()):
        first = next(iter(by.values()))
        ahead = ", ".join(format_points(teacher["difference"]) for teacher in first["teachers"])
        offered = ", ".join(f"{100 * teacher['complementary']:.1f}" for teacher in first["teachers"])
        cells = [format_delta(by[method]) if method in by else "" for method in methods]
        lines.append([student, given, f"{100 * first['accuracy_before']:.1f}", ahead, offered, *cells])
    return format_table(["student", "teacher", "before", "teacher ahead", "it alone knows", *methods], lines, 2)


def format_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per method over the transfers from one teacher: how many succeed, and by how much."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        counts = [sum(row["outcome"] == name for row in own) for name in ("success", "undecided", "failure")]
        deltas: dict[str, list[float]] = defaultdict(list)
        taken, offered = 0, 0
        for row in own:
            deltas[teacher_kind(row)].append(row["delta"])
            taken += row["teachers"][0]["transferred"]
            offered += row["teachers"][0]["offered"]
        means = [format_points(statistics.mean(deltas[name])) if deltas[name] else "" for name in KINDS]
        ups = sum(row["delta"] > 0 for row in own)
        lines.append(
            [
                method,
                f"{ups} of {len(own)} ({100 * ups / len(own):.0f} %)",
                " / ".join(map(str, counts)),
                format_points(statistics.mean(row["delta"] for row in own)),
                *means,
                f"{100 * taken / offered:.0f} %" if offered else "",
            ]
        )
    head = ["method", "delta > 0", "success / undecided / failure", "mean delta", "weaker", "equal", "stronger"]
    return format_table([*head, "of what it alone knew"], lines)


def format_search(trials: Sequence[Mapping[str, Any]]) -> str:
    """A line per method of the search: the mean accuracy on held-out images by step count and rate."""
    keys = sorted({(row["steps"], row["lr"]) for row in trials})
    by: dict[str, dict[tuple[int, float], Mapping[str, Any]]] = defaultdict(dict)
    for row in sorted(trials, key=lambda row: METHODS.index(row["method"])):
        by[row["method"]][row["steps"], row["lr"]] = row
    lines = []
    for method, settings in by.items():
        cells = [f"{100 * settings[key]['mean_accuracy']:.1f}" + " *" * settings[key]["chosen"] for key in keys]
        lines.append([method, *cells])
    return format_table(["method", *(f"{steps} steps at {lr:g}" for steps, lr in keys)], lines)


def format_known(seen: Sequence[Mapping[str, Any]], unseen: Sequence[Mapping[str, Any]]) -> str:
    """A line per network: its quality on images of its training part, and on images that it was not trained on."""
    lines = []
    for on_seen, on_unseen in zip(seen, unseen, strict=True):
        rows = (on_seen, on_unseen)
        cells = [f"{100 * row['accuracy']:.1f}" for row in rows] + [f"{row['nll']:.3f}" for row in rows]
        lines.append([on_seen["run"], *cells])
    return format_table(["network", "seen: accuracy", "unseen: accuracy", "seen: nll", "unseen: nll"], lines)


def format_complementary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Student by row, teacher by column: what the teacher has right and the student wrong, in percent; and controls."""
    plain = [row for row in rows if "untrained" not in row["teacher"]]
    names = list(dict.fromkeys(row["student"] for row in rows))
    cell = {(row["student"], row["teacher"]): f"{100 * row['complementary']:.1f}" for row in plain}
    untrained = {row["student"]: row["complementary"] for row in rows if "untrained" in row["teacher"]}
    accuracy = {row["student"]: row["student_accuracy"] for row in rows}
    lines = []
    for name in names:
        control = f"{100 * untrained[name]:.1f}" if name in untrained else ""
        lines.append([name, f"{100 * accuracy[name]:.1f}", *(cell.get((name, other), "") for other in names), control])
    return format_table(["student", "accuracy", *names, "untrained"], lines)


def format_report(work: Path) -> str:
    """The results in a WORK folder of `transfer.sh`, in Markdown."""

    def data(file: Path) -> Any:
        return json.loads(file.read_text())["data"]

    blocks: list[str] = []
    every: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for drawing in sorted(work.glob("drawing-*")):
        _, _, trials = choose_settings(read_trials(drawing / "search.json", drawing / "diverged.txt"))
        blocks += [f"## {drawing.name}", "Held-out accuracy of the search; * is chosen.", format_search(trials)]
        blocks += [
            "The images of the transfers.",
            format_known(data(drawing / "known-seen.json"), data(drawing / "known-unseen.json")),
        ]
        for place in ("unseen", "seen"):
            rows = read_transfers(sorted((drawing / place).glob(f"{place}-*.json")))
            every[place] += rows
            single = [row for row in rows if "+" not in row["given"]]
            parts = {
                "from one teacher": [row for row in single if row["method"] not in CONTROLS],
                "without another teacher": [row for row in single if row["method"] in CONTROLS],
                "from several": [row for row in rows if "+" in row["given"]],
            }
            for name, part in parts.items():
                if part:
                    blocks += [
                        f"On {place} images, {name}: delta in points, ▲ ▼ by McNemar (gained/lost).",
                        format_pairs(part),
                    ]
    for place, rows in every.items():
        single = [row for row in rows if "+" not in row["given"] and row["method"] not in CONTROLS]
        if single:
            blocks += [f"## All drawings, on {place} images", format_summary(single)]
    blocks += [
        "## What each knows that another does not, % of the test images",
        format_complementary(data(work / "ours/pairs.json")),
    ]
    return "\n\n".join(blocks) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    print(format_report(parser.parse_args().work), end="")


if __name__ == "__main__":
    main()
