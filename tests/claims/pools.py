"""What pools of heads answer on the packs, and how near the estimate of their accuracy is.

    OMP_NUM_THREADS=1 python -m tests.claims.pools run WORK            # appends to WORK/pools.jsonl; resumes
    OMP_NUM_THREADS=1 python -m tests.claims.pools run WORK --pool product:k=5 --pool product:k=20
    python -m tests.claims.pools accuracy WORK                         # tables in markdown
    python -m tests.claims.pools estimate WORK --pool product
    python -m tests.claims.pools widening WORK                         # of the interval, from 5 labels a class on
    OMP_NUM_THREADS=1 python -m tests.claims.pools components WORK     # the graph from principal components

WORK is that of pools.sh. A trial is one draw of labels on one pack: as many of every class as asked for, or all but one
of a smaller class. Ridge heads; accuracy is that on the unlabelled images. "oracle": the best single head, which nobody
knows; "chosen": the pool of least leave-one-out negative log-likelihood.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli import registry, specs
from zoo_cli.heads import principal_components, spread
from zoo_cli.heads.estimate import WIDENING, estimate_accuracy
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.store import feature_files
from zoo_cli.store.manifest import load_manifest

from .pool_packs import PACKS, sources_of

Row = dict[str, Any]
COUNTS, DRAWS = (2, 5, 20), 10
WIDTHS = (256, 384, 512)


def load_pack(workspace: Path) -> tuple[np.ndarray, list[Features]]:
    """The true classes (N,) and the features of every source of a workspace."""
    images = load_manifest(workspace / "manifest.parquet", workspace)
    sources = []
    for name in sources_of(workspace.name):
        folder = workspace / "features" / f"source={name}"
        stored = feature_files.load_outputs(folder, ids=images.ids, columns=("embedding",))
        assert stored.embedding is not None
        sources.append(Features.of(stored.embedding))
    return np.asarray(images.truth()), sources


def draw_labels(truth: np.ndarray, count: int, draw: int) -> TargetLabels:
    """`count` labels of every class, of a smaller class all but one."""
    generator = np.random.default_rng([draw, count])
    labels = np.full(len(truth), -1)
    for number in range(truth.max() + 1):
        rows = generator.permutation(np.flatnonzero(truth == number))
        labels[rows[: min(count, len(rows) - 1)]] = number
    return TargetLabels.of(labels, int(truth.max()) + 1)


def measure_accuracy(probabilities: np.ndarray, truth: np.ndarray, targets: TargetLabels) -> float:
    """The share of the unlabelled images that are answered right."""
    return float((probabilities.argmax(axis=1) == truth)[targets.unlabelled].mean())


def measure_trial(truth: np.ndarray, sources: Sequence[Features], targets: TargetLabels, pools: list[str]) -> Row:
    """The single heads' accuracies and, for each pool, its accuracy, loss and estimate."""
    heads = fit_heads(specs.resolve("head", "ridge"), sources, targets)
    answers = (head.answer(source.values) for head, source in zip(heads, sources, strict=True))
    row: Row = {"labels": len(targets), "single": [measure_accuracy(values, truth, targets) for values in answers]}
    for spec in pools:
        result: Pool = pool_heads(specs.resolve("pool", spec), sources, heads, targets)
        estimate = estimate_accuracy(result, targets)
        row[spec] = {
            "accuracy": measure_accuracy(result.probabilities, truth, targets),
            "nll": result.nll,
            "estimate": [estimate.accuracy, estimate.low, estimate.high],
        }
    return row


def run(work: Path, pools: list[str], counts: Sequence[int], draws: int) -> None:
    """Append the trials that are missing, one JSON object a line."""
    path = work / "pools.jsonl"
    finished = {(row["pack"], row["count"], row["draw"], spec) for row in read(work) for spec in row}
    for pack in (name for name in PACKS if (work / name / "features").exists()):
        truth, sources = load_pack(work / pack)
        for count in counts:
            for draw in range(draws):
                missing = [spec for spec in pools if (pack, count, draw, spec) not in finished]
                if missing:
                    row = measure_trial(truth, sources, draw_labels(truth, count, draw), missing)
                    with path.open("a") as lines:
                        lines.write(json.dumps({"pack": pack, "count": count, "draw": draw, **row}) + "\n")


def read(work: Path) -> Iterator[Row]:
    """The trials measured so far; later lines add further pools to earlier ones."""
    path = work / "pools.jsonl"
    rows: dict[tuple[str, int, int], Row] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        rows.setdefault((row["pack"], row["count"], row["draw"]), {}).update(row)
    return iter(rows.values())


def format_accuracies(rows: list[Row], pools: list[str], count: int) -> str:
    """Accuracy in percent by pack, mean over draws, with the oracle's head and the pool chosen by its loss."""
    lines = [f"| {count} a class | oracle | {' | '.join(pools)} | chosen |", "|---|" + "---:|" * (len(pools) + 2)]
    table = []
    for pack in PACKS:
        trials = [row for row in rows if row["pack"] == pack and row["count"] == count]
        if trials:
            values = [[max(row["single"]), *(row[spec]["accuracy"] for spec in pools)] for row in trials]
            for row, numbers in zip(trials, values, strict=True):
                numbers.append(row[min(pools, key=lambda spec: row[spec]["nll"])]["accuracy"])
            table.append(np.mean(values, axis=0))
            lines.append(f"| {pack} | " + " | ".join(f"{100 * value:.1f}" for value in table[-1]) + " |")
    lines.append("| **mean** | " + " | ".join(f"{100 * value:.1f}" for value in np.mean(table, axis=0)) + " |")
    return "\n".join(lines)


def format_estimates(rows: list[Row], spec: str, counts: Sequence[int]) -> str:
    """Bias and width in points and coverage in percent, by pack and over all, for each number of labels."""
    heads = [f"{name}, {count}" for count in counts for name in ("bias", "covered", "width")]
    lines = [f"| {spec} | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    groups = {pack: [row for row in rows if row["pack"] == pack] for pack in PACKS}
    for pack, trials in {**groups, "**all**": rows}.items():
        cells = []
        for count in counts:
            values = np.array(
                [[row[spec]["accuracy"], *row[spec]["estimate"]] for row in trials if row["count"] == count]
            )
            if len(values):
                accuracy, middle, low, high = values.T
                covered = np.mean((low <= accuracy) & (accuracy <= high))
                cells += [f"{100 * np.mean(middle - accuracy):+.1f}", f"{100 * covered:.0f}"]
                cells.append(f"{100 * np.mean(high - low):.0f}")
        if cells:
            lines.append(f"| {pack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def format_widening(rows: list[Row], pools: Sequence[str], counts: Sequence[int]) -> str:
    """The widening that covers 90 % of the trials, from all packs but one, and how often it covers on that one."""
    lines = ["| pool | widening, all packs | without one pack | covered on that pack |", "|---|---:|---:|---:|"]
    for spec in pools:
        factors: dict[str, list[float]] = {}
        for row in rows:
            middle, low, high = row[spec]["estimate"]
            if row["count"] in counts:  # an end that was cut to 0 or 1 is the nearer one
                reach = max(high - middle, middle - low) / WIDENING
                factors.setdefault(row["pack"], []).append(abs(middle - row[spec]["accuracy"]) / reach)
        chosen = {
            pack: np.quantile([x for other in factors if other != pack for x in factors[other]], 0.9)
            for pack in factors
        }
        covered = np.mean([x <= chosen[pack] for pack, values in factors.items() for x in values])
        whole = np.quantile([x for values in factors.values() for x in values], 0.9)
        ends = f"{min(chosen.values()):.2f} to {max(chosen.values()):.2f}"
        lines.append(f"| {spec} | {whole:.2f} | {ends} | {100 * covered:.0f} |")
    return "\n".join(lines)


def compare_components(work: Path, counts: Sequence[int], draws: int) -> str:
    """Accuracy of `product` with the exact graph, and its mean change with that of principal components."""
    lines = ["| | exact | " + " | ".join(map(str, WIDTHS)) + " |", "|---|" + "---:|" * (len(WIDTHS) + 1)]
    few = spread.FEW
    for count in counts:
        table = []
        for pack in (name for name in PACKS if (work / name / "features").exists()):
            truth, sources = load_pack(work / pack)
            for draw in range(draws):
                targets = draw_labels(truth, count, draw)
                heads = fit_heads(specs.resolve("head", "ridge"), sources, targets)
                accuracies = []
                for width in (None, *WIDTHS):
                    spread.FEW = few if width is None else 0
                    principal_components.COMPONENTS = width or 0
                    result = pool_heads(specs.resolve("pool", "product"), sources, heads, targets)
                    accuracies.append(measure_accuracy(result.probabilities, truth, targets))
                table.append(accuracies)
        exact, *others = 100 * np.mean(table, axis=0)
        changes = " | ".join(f"{value - exact:+.2f}" for value in others)
        lines.append(f"| {count} a class | {exact:.1f} | {changes} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "accuracy", "estimate", "widening", "components"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--pool", action="append", help="a pool's spec; by default all of the table")
    parser.add_argument("--count", type=int, action="append", help="labels a class")
    parser.add_argument("--draws", type=int, default=DRAWS)
    arguments = parser.parse_args()
    pools, counts = arguments.pool or list(registry.POOLS), arguments.count or COUNTS
    if arguments.what == "run":
        run(arguments.work, pools, counts, arguments.draws)
    elif arguments.what == "components":
        print(compare_components(arguments.work, counts, arguments.draws))
    else:
        rows = list(read(arguments.work))
        tables = {
            "accuracy": lambda: [format_accuracies(rows, pools, count) for count in counts],
            "estimate": lambda: [format_estimates(rows, spec, counts) for spec in pools],
            "widening": lambda: [format_widening(rows, pools, [count for count in counts if count >= 5])],
        }
        print("\n\n".join(tables[arguments.what]()))


if __name__ == "__main__":
    main()
