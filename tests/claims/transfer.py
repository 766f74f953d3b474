"""What `transfer.sh` needs beside the commands: the images of each part, the workspaces, the choice, the tables.

    python -m tests.claims.transfer drawing FOLDER NAME=CARD.json … NAME=RUN … --data DATA --seed 0
    python -m tests.claims.transfer workspace FOLDER NAME=CARD.json … NAME=RUN … --train TRAIN --test TEST
    python -m tests.claims.transfer choose SEARCH.json --diverged COMMANDS --log SEARCH.tsv --out CHOSEN.json
    python -m tests.claims.transfer table WORK

A run is named STUDENT--TEACHERS--METHOD, with several teachers joined by +; one of the search goes on --STEPS--LR.
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
"""A teacher is weaker or stronger where its accuracy differs by more than this, else equal."""
METHODS = ("kl", "xe-kl", "mcl", "dp", "dp-unlabelled", "labels", "self", "dp-sequential", "dp-parallel", "dp-soup")
"""In the order of the tables."""
CONTROLS = ("labels", "self")
"""Labels without a teacher, and the student as its own teacher: what training does that no teacher did."""


def drawn(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which of the labels (N,) are drawn, bool: of every class the same share, rounded down."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen[rows[: int(share * len(rows))]] = True
    return chosen


def parts(data: Path, folder: Path, seed: int, pack: str = "cifar10") -> dict[str, int]:
    """Write the packs of one drawing and say how many images each has.

    `transfer`: half of the pack's test images, which no network was trained on, and `test` the other half. `seen`: as
    many images as `transfer` from the training part, which the pretrained networks were trained on. Every part has the
    same share of every class.
    """
    rng = np.random.default_rng(seed)
    told, train = (pq.read_table(data / f"{pack}-{part}.parquet") for part in ("test", "train"))
    labels = told["label"].to_numpy()
    half = drawn(labels, 0.5, rng)
    seen = drawn(train["label"].to_numpy(), half.sum() / train.num_rows, rng)
    found = {
        "transfer": told.filter(pa.array(half)),
        "test": told.filter(pa.array(~half)),
        "seen": train.filter(pa.array(seen)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return {name: table.num_rows for name, table in found.items()}


def workspace(folder: Path, networks: Mapping[str, Path], train: Path | None = None, test: Path | None = None) -> str:
    """The zoo.toml of a workspace whose networks are cards of pretrained ones, or folders of runs; written there.

    Without images it is one whose manifest is made by `held_out`. A card without weights beside it is the architecture
    alone: the student to train from nothing. Paths are absolute: the config.json of a run repeats those of its model,
    and is read from workspaces in other folders.
    """

    def place(path: Path) -> str:
        return path.resolve().as_posix()

    lines = ["[task]", 'name = "cifar10-general"', 'labelled = "all"']
    lines += [
        f'{key} = "parquet:{place(path)}"' for key, path in (("train", train), ("test", test)) if path is not None
    ]
    for name, path in networks.items():
        if path.suffix != ".json":
            lines += ["", "[[source]]", f'name = "{name}"', f'model = "file:{place(path)}"', 'trained_on = ["cifar10"]']
            continue
        card = json.loads(path.read_text())
        weights = path.with_suffix(".safetensors")
        module = Path(os.environ.get("MODELS", path.with_name("models.py")))
        lines += ["", "[[source]]", f'name = "{name}"'] if weights.exists() else ["", "[student]"]
        lines += [f'model = "python:{place(module)}:build"', f'args = {{ card = "{place(path)}" }}']
        if weights.exists():
            names = ", ".join(f'"{one}"' for one in card["class_names"])
            lines += [f'weights = "{place(weights)}"', f"classes = [{names}]", 'trained_on = ["cifar10"]']
        lines += [f"{key} = {card[said]}" for key, said in ASKED.items()]
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (folder / "zoo.toml").write_text(text)
    return text


ASKED = {"input_size": "input_size", "channels": "input_channels", "mean": "mean", "std": "std"}


def drawing(folder: Path, networks: Mapping[str, Path], data: Path, seed: int) -> dict[str, int]:
    """The parts and the workspaces of one drawing; how many images each part has.

    `unseen` and `seen` are transferred on, `search` is `unseen` without its test part. In `known-unseen` and
    `known-seen` nothing is trained: their test part is what the others train on.
    """
    packs = folder / "packs"
    counts = parts(data, packs, seed)
    for name, (train, test) in PLACES.items():
        workspace(folder / name, networks, packs / f"{train}.parquet", packs / f"{test}.parquet")
    workspace(folder / "search", networks)
    return counts


PLACES = {
    "unseen": ("transfer", "test"),
    "seen": ("seen", "test"),
    "known-unseen": ("test", "transfer"),
    "known-seen": ("transfer", "seen"),
}


def trial(run: str) -> dict[str, Any]:
    """What the name of a run of the search says: STUDENT--TEACHER--METHOD--STEPS--LR."""
    student, teacher, method, steps, lr = Path(run).name.split("--")
    return {"student": student, "teacher": teacher, "method": method, "steps": int(steps), "lr": float(lr)}


def trials(measured: Path, diverged: Path) -> list[dict[str, Any]]:
    """The runs that `zoo evaluate accuracy` measured, and those that diverged, which have no image right."""
    rows: list[dict[str, Any]] = json.loads(measured.read_text())["data"]
    names = {re.sub(r".*--name '([^']*)'.*", r"\1", line) for line in diverged.read_text().splitlines()}
    return rows + [{"run": name, "n": rows[0]["n"], "accuracy": 0.0, "nll": math.inf} for name in sorted(names)]


def choose(rows: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, float], list[dict[str, Any]]]:
    """The step count of all methods, the learning rate of each, and the trials with their marks.

    A trial is worth the mean accuracy on held-out images over the pairs searched; of equal ones, that of the lower
    negative log-likelihood. The step count is the one whose best trials, a method each, are worth most on the mean: it
    is the same for all. Raises ValueError where methods had different budgets.
    """
    worth: dict[str, dict[tuple[int, float], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    told = [{**trial(row["run"]), **{key: row[key] for key in ("n", "accuracy", "nll")}} for row in rows]
    for row in told:
        worth[row["method"]][row["steps"], row["lr"]].append((row["accuracy"], -row["nll"]))
    budgets = {method: sorted((key, len(found)) for key, found in grid.items()) for method, grid in worth.items()}
    if len({json.dumps(budget) for budget in budgets.values()}) != 1:
        raise ValueError(f"the methods were searched with different budgets: {budgets}")
    means = {
        method: {key: tuple(np.mean(found, axis=0).round(12)) for key, found in grid.items()}
        for method, grid in worth.items()
    }

    def best(method: str, steps: int) -> tuple[int, float]:
        return max((key for key in means[method] if key[0] == steps), key=lambda key: means[method][key])

    lengths = sorted({steps for grid in means.values() for steps, _ in grid})
    steps = max(lengths, key=lambda n: statistics.mean(means[method][best(method, n)][0] for method in means))
    rates = {method: best(method, steps)[1] for method in means}
    for row in told:
        row["mean_accuracy"] = float(means[row["method"]][row["steps"], row["lr"]][0])
        row["chosen"] = (row["steps"], row["lr"]) == (steps, rates[row["method"]])
    return steps, rates, told


def transfers(files: Sequence[Path]) -> list[dict[str, Any]]:
    """The transfers in answers of `zoo evaluate transfer`, one each; `student`, `method` and `given` (the teachers)."""
    rows = []
    for file in files:
        answer = json.loads(file.read_text())["data"]
        for row in answer["transfers"]:
            student, given, method = Path(row["after"]).name.split("--")[:3]
            rows.append({**row, "student": student, "given": given, "method": method})
    return sorted(rows, key=lambda row: METHODS.index(row["method"]))


def kind(row: Mapping[str, Any]) -> str:
    """weaker, equal or stronger: the one teacher of a transfer, by its accuracy beside the student's before."""
    ahead = row["teachers"][0]["difference"]
    return "stronger" if ahead > NEAR else "weaker" if ahead < -NEAR else "equal"


def signed(value: float) -> str:
    """A share as points of a hundred with its sign."""
    return f"{100 * value:+.1f}"


def marked(row: Mapping[str, Any]) -> str:
    """The delta in points, with the outcome of McNemar's test where it decides."""
    mark = {"success": " ▲", "failure": " ▼"}.get(row["outcome"], "")
    return f"{signed(row['delta'])}{mark} ({row['gained']}/{row['lost']})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table in Markdown; the first `texts` columns are words, the others numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * texts + "---:|" * (len(head) - texts)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def pairs(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each student and its teachers, one column for each method: the delta of accuracy."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        found[row["student"], row["given"]][row["method"]] = row
    lines = []
    for (student, given), by in sorted(found.items()):
        first = next(iter(by.values()))
        ahead = ", ".join(signed(teacher["difference"]) for teacher in first["teachers"])
        offered = ", ".join(f"{100 * teacher['complementary']:.1f}" for teacher in first["teachers"])
        cells = [marked(by[method]) if method in by else "" for method in methods]
        lines.append([student, given, f"{100 * first['accuracy_before']:.1f}", ahead, offered, *cells])
    return markdown(["student", "teacher", "before", "teacher ahead", "it alone knows", *methods], lines, 2)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each method over the transfers from one teacher: how many succeed, and by how much."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        counts = [sum(row["outcome"] == name for row in mine) for name in ("success", "undecided", "failure")]
        of: dict[str, list[float]] = defaultdict(list)
        taken, offered = 0, 0
        for row in mine:
            of[kind(row)].append(row["delta"])
            taken += row["teachers"][0]["transferred"]
            offered += row["teachers"][0]["offered"]
        means = [signed(statistics.mean(of[name])) if of[name] else "" for name in ("weaker", "equal", "stronger")]
        ups = sum(row["delta"] > 0 for row in mine)
        lines.append(
            [
                method,
                f"{ups} of {len(mine)} ({100 * ups / len(mine):.0f} %)",
                " / ".join(map(str, counts)),
                signed(statistics.mean(row["delta"] for row in mine)),
                *means,
                f"{100 * taken / offered:.0f} %" if offered else "",
            ]
        )
    head = ["method", "delta > 0", "success / undecided / failure", "mean delta", "weaker", "equal", "stronger"]
    return markdown([*head, "of what it alone knew"], lines)


def searched(told: Sequence[Mapping[str, Any]]) -> str:
    """One line for each method of the search: the mean accuracy on held-out images by step count and rate."""
    keys = sorted({(row["steps"], row["lr"]) for row in told})
    by: dict[str, dict[tuple[int, float], Mapping[str, Any]]] = defaultdict(dict)
    for row in sorted(told, key=lambda row: METHODS.index(row["method"])):
        by[row["method"]][row["steps"], row["lr"]] = row
    lines = []
    for method, found in by.items():
        cells = [f"{100 * found[key]['mean_accuracy']:.1f}" + " *" * found[key]["chosen"] for key in keys]
        lines.append([method, *cells])
    return markdown(["method", *(f"{steps} steps at {lr:g}" for steps, lr in keys)], lines)


def known(seen: Sequence[Mapping[str, Any]], unseen: Sequence[Mapping[str, Any]]) -> str:
    """One line for each network: how well it knows images of its training part, and images it was not trained on."""
    lines = []
    for one, other in zip(seen, unseen, strict=True):
        cells = [f"{100 * row['accuracy']:.1f}" for row in (one, other)] + [f"{row['nll']:.3f}" for row in (one, other)]
        lines.append([one["run"], *cells])
    return markdown(["network", "seen: accuracy", "unseen: accuracy", "seen: nll", "unseen: nll"], lines)


def complementary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Student by row, teacher by column: what the teacher has right and the student wrong, in percent; and controls."""
    plain = [row for row in rows if "untrained" not in row["teacher"]]
    names = list(dict.fromkeys(row["student"] for row in rows))
    cell = {(row["student"], row["teacher"]): f"{100 * row['complementary']:.1f}" for row in plain}
    untrained = {row["student"]: row["complementary"] for row in rows if "untrained" in row["teacher"]}
    accuracy = {row["student"]: row["student_accuracy"] for row in rows}
    lines = []
    for name in names:
        told = f"{100 * untrained[name]:.1f}" if name in untrained else ""
        lines.append([name, f"{100 * accuracy[name]:.1f}", *(cell.get((name, other), "") for other in names), told])
    return markdown(["student", "accuracy", *names, "untrained"], lines)


def report(work: Path) -> str:
    """All that a WORK folder of `transfer.sh` says, in Markdown."""

    def data(file: Path) -> Any:
        return json.loads(file.read_text())["data"]

    found: list[str] = []
    every: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for drawing in sorted(work.glob("drawing-*")):
        _, _, told = choose(trials(drawing / "search.json", drawing / "diverged.txt"))
        found += [f"## {drawing.name}", "Held-out accuracy of the search; * is chosen.", searched(told)]
        found += [
            "What is transferred on.",
            known(data(drawing / "known-seen.json"), data(drawing / "known-unseen.json")),
        ]
        for place in ("unseen", "seen"):
            rows = transfers(sorted((drawing / place).glob(f"{place}-*.json")))
            every[place] += rows
            lone = [row for row in rows if "+" not in row["given"]]
            parts = {
                "from one teacher": [row for row in lone if row["method"] not in CONTROLS],
                "without another teacher": [row for row in lone if row["method"] in CONTROLS],
                "from several": [row for row in rows if "+" in row["given"]],
            }
            for name, some in parts.items():
                if some:
                    found += [f"On {place} images, {name}: delta in points, ▲ ▼ by McNemar (gained/lost).", pairs(some)]
    for place, rows in every.items():
        lone = [row for row in rows if "+" not in row["given"] and row["method"] not in CONTROLS]
        if lone:
            found += [f"## All drawings, on {place} images", summary(lone)]
    found += [
        "## What each knows that another does not, % of the test images",
        complementary(data(work / "ours/pairs.json")),
    ]
    return "\n\n".join(found) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("drawing", "workspace"):
        asked = commands.add_parser(name)
        asked.add_argument("folder", type=Path)
        asked.add_argument("networks", nargs="+", type=lambda one: (one.split("=", 1)[0], Path(one.split("=", 1)[1])))
        if name == "drawing":
            asked.add_argument("--data", type=Path, required=True)
            asked.add_argument("--seed", type=int, required=True)
    asked.add_argument("--train", type=Path)
    asked.add_argument("--test", type=Path)
    asked = commands.add_parser("choose")
    asked.add_argument("file", type=Path)
    asked.add_argument("--diverged", type=Path, required=True)
    asked.add_argument("--log", type=Path, required=True)
    asked.add_argument("--out", type=Path, required=True)
    asked = commands.add_parser("table")
    asked.add_argument("work", type=Path)
    said = parser.parse_args()
    if said.command == "drawing":
        print(json.dumps(drawing(said.folder, dict(said.networks), said.data, said.seed)))
    elif said.command == "workspace":
        workspace(said.folder, dict(said.networks), said.train, said.test)
    elif said.command == "choose":
        steps, rates, told = choose(trials(said.file, said.diverged))
        said.log.write_text(
            "\n".join("\t".join(map(str, line)) for line in [list(told[0]), *(list(row.values()) for row in told)])
            + "\n"
        )
        said.out.write_text(json.dumps({"steps": steps, "lr": rates}, indent=1) + "\n")
    else:
        print(report(said.work), end="")


if __name__ == "__main__":
    main()
