"""How often the verdict errs: sources that "fit" where labels are shuffled, and planted ones that are found.

    OMP_NUM_THREADS=1 python -m tests.claims.verdict --trials 400

Simulated: ten sources of 32 features on a probe of 200 images in 10 classes, and a student whose features know
nothing. A planted source's classes lie `effect` standard deviations apart in each feature. Real (where the development
material is there): the stored features of seven pretrained networks and of a student on the probe of flowers5, with
shuffled labels and with the true ones.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from zoo_cli import registry, specs
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.ranking import uncertainty, verdict

SAMPLES, CLASSES, WIDTH, SOURCES = 200, 10, 32, 10


def judged(features: list[np.ndarray], labels: np.ndarray, metric: str, seed: int) -> verdict.Verdict:
    """The verdict on sources and, last, the student."""
    method, target = specs.resolve("metric", metric), Classes.of(labels)
    drawn = uncertainty.draw_replicates(target, seed=seed)
    facts = registry.METRICS[method.name]
    found = []
    for inputs in features:
        (one,) = uncertainty.estimate_scores([(method, facts)], Probe.of(inputs, target), seed=seed, replicates=drawn)
        assert isinstance(one, uncertainty.Estimate)
        assert one.draws is not None
        assert one.chance is not None
        found.append(one)
    values, draws = np.array([one.value for one in found]), np.array([one.draws for one in found])
    chance = np.array([one.chance for one in found])
    names = [str(k) for k in range(len(features) - 1)]
    return verdict.judge_sources(names, values[:-1], draws[:-1], chance[:-1], (float(values[-1]), draws[-1]))


def simulated(rng: np.random.Generator, effect: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Sources, of which the first is planted, the student, and the labels."""
    labels = np.arange(SAMPLES) % CLASSES
    features = [rng.standard_normal((SAMPLES, WIDTH)) for _ in range(SOURCES + 1)]
    features[0] = features[0] + effect * rng.standard_normal((CLASSES, WIDTH))[labels]
    return features, labels


def share(trials: int, effect: float, metric: str) -> float:
    """In how many trials the planted source fits; with effect 0, in how many any source does."""
    hits = 0
    for trial in range(trials):
        features, labels = simulated(np.random.default_rng([7, trial]), effect)
        fits = judged(features, labels, metric, trial).fits
        hits += ("0" in fits) if effect else bool(fits)
    return hits / trials


def shuffled(features: list[np.ndarray], labels: np.ndarray, trials: int, metric: str) -> float:
    """In how many trials any real source fits labels that are shuffled."""
    rng = np.random.default_rng(1)
    return sum(bool(judged(features, rng.permutation(labels), metric, t).fits) for t in range(trials)) / trials


def real(workspace: Path) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """The stored features of a workspace's sources, the student's last, and the labels of its probe."""
    from zoo_cli.store import feature_files
    from zoo_cli.store.manifest import load_manifest

    told = load_manifest(workspace / "manifest.parquet", workspace)
    rows = told.where(probe=True)
    names = sorted(path.name.removeprefix("source=") for path in (workspace / "features").glob("source=*"))
    names = [name for name in names if name != "@student"] + ["@student"]
    found = []
    for name in names:
        held = feature_files.load_outputs(
            workspace / "features" / f"source={name}", ids=told.ids[rows], columns=("embedding",)
        )
        assert held.embedding is not None
        found.append(held.embedding)
    return found, told.labels[rows], names


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--metric", default="parc")
    parser.add_argument(
        "--workspace", type=Path, help="with features of real sources, as tests/e2e/pipeline.sh leaves it"
    )
    said = parser.parse_args()
    told: dict[str, object] = {"metric": said.metric, "trials": said.trials}
    told["simulated, no source knows anything: verdicts that find one"] = share(said.trials, 0.0, said.metric)
    for effect in (0.1, 0.15, 0.2, 0.3):
        told[f"simulated, planted at {effect}: verdicts that find it"] = share(said.trials // 4, effect, said.metric)
    if said.workspace:
        features, labels, names = real(said.workspace)
        told["real sources, shuffled labels: verdicts that find one"] = shuffled(
            features, labels, said.trials, said.metric
        )
        fits = judged(features, labels, said.metric, 0).fits
        told["real sources, true labels: those that fit"] = [names[int(k)] for k in fits]
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
