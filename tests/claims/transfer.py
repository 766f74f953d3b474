"""The parts of `transfer.sh` in Python: the images of each part, the workspaces, the choice, the tables.

    python -m tests.claims.transfer drawing FOLDER NAME=CARD.json … NAME=RUN … --data DATA --seed 0
    python -m tests.claims.transfer workspace FOLDER NAME=CARD.json … NAME=RUN … --train TRAIN --test TEST
    python -m tests.claims.transfer choose SEARCH.json --diverged COMMANDS --log SEARCH.tsv --out CHOSEN.json
    python -m tests.claims.transfer table WORK

A run is named STUDENT--TEACHERS--METHOD, several teachers joined by +; a run of the search also has --STEPS--LR.
"""

import argparse
import json
import math
import os
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NEAR = 0.01
"""A teacher is weaker or stronger if its accuracy differs by more than this, else equal."""
KINDS = ("weaker", "equal", "stronger")
METHODS = ("kl", "xe-kl", "mcl", "dp", "dp-unlabelled", "labels", "self", "dp-sequential", "dp-parallel", "dp-soup")
"""In the order of the tables."""
CONTROLS = ("labels", "self")
"""Labels without a teacher, and the student as its own teacher: the effect of training alone."""


def draw_share(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Whether each of the labels (N,) is drawn, bool: the same share of every class, rounded down."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen[rows[: int(share * len(rows))]] = True
    return chosen


def write_parts(data: Path, folder: Path, seed: int, pack: str = "cifar10") -> dict[str, int]:
    """Write the packs of one drawing; the number of images in each.

    `transfer`: half of the pack's test images, which no network was trained on; `test`: the other half. `seen`: as many
    images as `transfer` from the training part, which the pretrained networks were trained on. Every part has the same
    share of every class.
    """
    rng = np.random.default_rng(seed)
    test, train = (pq.read_table(data / f"{pack}-{part}.parquet") for part in ("test", "train"))
    labels = test["label"].to_numpy()
    half = draw_share(labels, 0.5, rng)
    seen = draw_share(train["label"].to_numpy(), half.sum() / train.num_rows, rng)
    parts = {
        "transfer": test.filter(pa.array(half)),
        "test": test.filter(pa.array(~half)),
        "seen": train.filter(pa.array(seen)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in parts.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return {name: table.num_rows for name, table in parts.items()}


def write_workspace(
    folder: Path, networks: Mapping[str, Path], train: Path | None = None, test: Path | None = None
) -> str:
    """Write the zoo.toml of a workspace whose networks are cards of pretrained ones, or folders of runs; its text.

    Without images the manifest comes from `held_out`. A card without weights beside it is an architecture alone: the
    student to train from scratch. Paths are absolute: the config.json of a run repeats those of its model, and is read
    from workspaces in other folders.
    """

    def absolute(path: Path) -> str:
        return path.resolve().as_posix()

    lines = ["[task]", 'name = "cifar10-general"', 'labelled = "all"']
    lines += [
        f'{key} = "parquet:{absolute(path)}"' for key, path in (("train", train), ("test", test)) if path is not None
    ]
    for name, path in networks.items():
        if path.suffix != ".json":
            lines += [
                "",
                "[[source]]",
                f'name = "{name}"',
                f'model = "file:{absolute(path)}"',
                'trained_on = ["cifar10"]',
            ]
            continue
        card = json.loads(path.read_text())
        weights = path.with_suffix(".safetensors")
        module = Path(os.environ.get("MODELS", path.with_name("models.py")))
        lines += ["", "[[source]]", f'name = "{name}"'] if weights.exists() else ["", "[student]"]
        lines += [f'model = "python:{absolute(module)}:build"', f'args = {{ card = "{absolute(path)}" }}']
        if weights.exists():
            names = ", ".join(f'"{name}"' for name in card["class_names"])
            lines += [f'weights = "{absolute(weights)}"', f"classes = [{names}]", 'trained_on = ["cifar10"]']
        lines += [f"{key} = {card[entry]}" for key, entry in CARD_KEYS.items()]
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (folder / "zoo.toml").write_text(text)
    return text


CARD_KEYS = {"input_size": "input_size", "channels": "input_channels", "mean": "mean", "std": "std"}


def write_drawing(folder: Path, networks: Mapping[str, Path], data: Path, seed: int) -> dict[str, int]:
    """Write the parts and the workspaces of one drawing; the number of images in each part.

    Transfers are trained in `unseen` and `seen`; `search` is `unseen` without its test part. In `known-unseen` and
    `known-seen` nothing is trained: their test part is what the others train on.
    """
    packs = folder / "packs"
    counts = write_parts(data, packs, seed)
    for name, (train, test) in PARTS.items():
        write_workspace(folder / name, networks, packs / f"{train}.parquet", packs / f"{test}.parquet")
    write_workspace(folder / "search", networks)
    return counts


PARTS = {
    "unseen": ("transfer", "test"),
    "seen": ("seen", "test"),
    "known-unseen": ("test", "transfer"),
    "known-seen": ("transfer", "seen"),
}


def parse_trial(run: str) -> dict[str, Any]:
    """The parts of the name of a run of the search, STUDENT--TEACHER--METHOD--STEPS--LR."""
    student, teacher, method, steps, lr = Path(run).name.split("--")
    return {"student": student, "teacher": teacher, "method": method, "steps": int(steps), "lr": float(lr)}


def read_trials(measured: Path, diverged: Path) -> list[dict[str, Any]]:
    """The runs measured by `zoo evaluate accuracy`, and those that diverged, which count as all wrong."""
    rows: list[dict[str, Any]] = json.loads(measured.read_text())["data"]
    names = {re.sub(r".*--name '([^']*)'.*", r"\1", line) for line in diverged.read_text().splitlines()}
    return rows + [{"run": name, "n": rows[0]["n"], "accuracy": 0.0, "nll": math.inf} for name in sorted(names)]


def choose_settings(rows: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, float], list[dict[str, Any]]]:
    """The step count of all methods, the learning rate of each, and the trials with their marks.

    A trial is judged by its mean accuracy on held-out images over the pairs searched, ties by the negative
    log-likelihood. One step count is chosen for all methods: the one whose best trials, one per method, have the best
    mean. Raises ValueError if methods had different budgets.
    """
    values: dict[str, dict[tuple[int, float], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    trials = [{**parse_trial(row["run"]), **{key: row[key] for key in ("n", "accuracy", "nll")}} for row in rows]
    for row in trials:
        values[row["method"]][row["steps"], row["lr"]].append((row["accuracy"], -row["nll"]))
    budgets = {method: sorted((key, len(pairs)) for key, pairs in grid.items()) for method, grid in values.items()}
    if len({json.dumps(budget) for budget in budgets.values()}) != 1:
        raise ValueError(f"the methods were searched with different budgets: {budgets}")
    means = {
        method: {key: tuple(np.mean(pairs, axis=0).round(12)) for key, pairs in grid.items()}
        for method, grid in values.items()
    }

    def best(method: str, steps: int) -> tuple[int, float]:
        return max((key for key in means[method] if key[0] == steps), key=lambda key: means[method][key])

    lengths = sorted({steps for grid in means.values() for steps, _ in grid})
    steps = max(lengths, key=lambda n: statistics.mean(means[method][best(method, n)][0] for method in means))
    rates = {method: best(method, steps)[1] for method in means}
    for row in trials:
        row["mean_accuracy"] = float(means[row["method"]][row["steps"], row["lr"]][0])
        row["chosen"] = (row["steps"], row["lr"]) == (steps, rates[row["method"]])
    return steps, rates, trials


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


def parse_network(text: str) -> tuple[str, Path]:
    """NAME=PATH in two parts."""
    name, _, path = text.partition("=")
    return name, Path(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("drawing", "workspace"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("networks", nargs="+", type=parse_network)
        if name == "drawing":
            command.add_argument("--data", type=Path, required=True)
            command.add_argument("--seed", type=int, required=True)
    command.add_argument("--train", type=Path)
    command.add_argument("--test", type=Path)
    command = commands.add_parser("choose")
    command.add_argument("file", type=Path)
    command.add_argument("--diverged", type=Path, required=True)
    command.add_argument("--log", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command = commands.add_parser("table")
    command.add_argument("work", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "drawing":
        counts = write_drawing(arguments.folder, dict(arguments.networks), arguments.data, arguments.seed)
        print(json.dumps(counts))
    elif arguments.command == "workspace":
        write_workspace(arguments.folder, dict(arguments.networks), arguments.train, arguments.test)
    elif arguments.command == "choose":
        steps, rates, trials = choose_settings(read_trials(arguments.file, arguments.diverged))
        lines = [list(trials[0]), *(list(row.values()) for row in trials)]
        arguments.log.write_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n")
        arguments.out.write_text(json.dumps({"steps": steps, "lr": rates}, indent=1) + "\n")
    else:
        print(format_report(arguments.work), end="")


if __name__ == "__main__":
    main()
