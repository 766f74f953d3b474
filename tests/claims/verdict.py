"""How often the verdict errs: sources that "fit" although labels are shuffled, and planted ones that it detects.

    OMP_NUM_THREADS=1 python -m tests.claims.verdict --trials 400

Simulated: ten sources of 32 random features on a probe of 200 images in 10 classes, and a student of such features. The
classes of a planted source lie `effect` standard deviations apart in each feature. Real, with --workspace: the stored
features of seven pretrained networks and of a student on the probe of flowers5, with shuffled and with true labels.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from zoo_cli import registry, specs
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty, verdict
from zoo_cli.store import feature_files
from zoo_cli.store.manifest import load_manifest

SAMPLES, CLASSES, WIDTH, SOURCES = 200, 10, 32, 10


def judge(features: list[np.ndarray], labels: np.ndarray, metric: str, seed: int) -> verdict.Verdict:
    """The verdict on sources and, last, the student."""
    method, target = specs.resolve("metric", metric), Classes.of(labels)
    replicates = uncertainty.draw_replicates(target, seed=seed)
    methods = [(method, registry.METRICS[method.name])]
    estimates = []
    for inputs in features:
        (estimate,) = uncertainty.estimate_scores(methods, Probe.of(inputs, target), seed=seed, replicates=replicates)
        assert isinstance(estimate, uncertainty.Estimate)
        assert estimate.draws is not None
        assert estimate.chance is not None
        estimates.append(estimate)
    values, draws = np.array([e.value for e in estimates]), np.array([e.draws for e in estimates])
    chance = np.array([e.chance for e in estimates])
    names = [str(k) for k in range(len(features) - 1)]
    return verdict.judge_sources(names, values[:-1], draws[:-1], chance[:-1], (float(values[-1]), draws[-1]))


def simulate(rng: np.random.Generator, effect: float) -> tuple[list[np.ndarray], np.ndarray]:
    """The features of the sources, the first of them planted, and of the student; the labels."""
    labels = np.arange(SAMPLES) % CLASSES
    features = [rng.standard_normal((SAMPLES, WIDTH)) for _ in range(SOURCES + 1)]
    features[0] = features[0] + effect * rng.standard_normal((CLASSES, WIDTH))[labels]
    return features, labels


def simulated_rate(trials: int, effect: float, metric: str) -> float:
    """The share of trials in which the planted source fits; with effect 0, in which any source does."""
    hits = 0
    for trial in range(trials):
        features, labels = simulate(np.random.default_rng([7, trial]), effect)
        fits = judge(features, labels, metric, trial).fits
        hits += ("0" in fits) if effect else bool(fits)
    return hits / trials


def shuffled_rate(features: list[np.ndarray], labels: np.ndarray, trials: int, metric: str) -> float:
    """The share of trials in which any real source fits shuffled labels."""
    rng = np.random.default_rng(1)
    return sum(bool(judge(features, rng.permutation(labels), metric, t).fits) for t in range(trials)) / trials


def load_features(workspace: Path) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """The stored features of a workspace's sources, the student's last, the labels of its probe, and the names."""
    images = load_manifest(workspace / "manifest.parquet", workspace)
    rows = images.where(probe=True)
    names = sorted(path.name.removeprefix("source=") for path in (workspace / "features").glob("source=*"))
    names = [name for name in names if name != "@student"] + ["@student"]
    features = []
    for name in names:
        folder = workspace / "features" / f"source={name}"
        stored = feature_files.load_outputs(folder, ids=images.ids[rows], columns=("embedding",))
        assert stored.embedding is not None
        features.append(stored.embedding)
    return features, images.labels[rows], names


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--metric", default="parc")
    parser.add_argument(
        "--workspace", type=Path, help="with features of real sources, as tests/e2e/pipeline.sh leaves it"
    )
    arguments = parser.parse_args()
    trials, metric = arguments.trials, arguments.metric
    result: dict[str, object] = {"metric": metric, "trials": trials}
    result["simulated, random sources: share of verdicts that find one"] = simulated_rate(trials, 0.0, metric)
    for effect in (0.1, 0.15, 0.2, 0.3):
        rate = simulated_rate(trials // 4, effect, metric)
        result[f"simulated, planted at {effect}: share of verdicts that find it"] = rate
    if arguments.workspace:
        features, labels, names = load_features(arguments.workspace)
        rate = shuffled_rate(features, labels, trials, metric)
        result["real sources, shuffled labels: share of verdicts that find one"] = rate
        fits = judge(features, labels, metric, 0).fits
        result["real sources, true labels: those that fit"] = [names[int(k)] for k in fits]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
