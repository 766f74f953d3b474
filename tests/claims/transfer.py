"""The parts of `transfer.sh` in Python: the images of each part, the workspaces, the choice of settings.

    python -m tests.claims.transfer drawing FOLDER NAME=CARD.json … NAME=RUN … --data DATA --seed 0
    python -m tests.claims.transfer workspace FOLDER NAME=CARD.json … NAME=RUN … --train TRAIN --test TEST
    python -m tests.claims.transfer choose SEARCH.json --diverged COMMANDS --log SEARCH.tsv --out CHOSEN.json

A run is named STUDENT--TEACHERS--METHOD, several teachers joined by +; a run of the search also has --STEPS--LR.
"""

import argparse
import json
import math
import os
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


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
    arguments = parser.parse_args()
    if arguments.command == "drawing":
        counts = write_drawing(arguments.folder, dict(arguments.networks), arguments.data, arguments.seed)
        print(json.dumps(counts))
    elif arguments.command == "workspace":
        write_workspace(arguments.folder, dict(arguments.networks), arguments.train, arguments.test)
    else:
        steps, rates, trials = choose_settings(read_trials(arguments.file, arguments.diverged))
        lines = [list(trials[0]), *(list(row.values()) for row in trials)]
        arguments.log.write_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n")
        arguments.out.write_text(json.dumps({"steps": steps, "lr": rates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
