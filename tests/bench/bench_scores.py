"""How much faster each score is than its published formulation, alone and all of them in one call.

    python -m tests.bench.bench_scores [NAME ...]       prints one JSON object; names as in FORMS, or "all"
    python -m tests.bench.bench_scores zoo [SOURCES]    seconds for a zoo: the quick scores with their intervals
    pytest -m bench tests/bench/bench_scores.py         asserts the ratios

n = 5,000, d = 2,048, K = 1,000, C = 100. One BLAS thread; both forms are timed in turns in one process, in processor
time; medians. The published formulations are written here plainly, from the formulas of the code that is named, and
give the same value.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ROOT = Path(__file__).resolve().parents[2]
SOURCE_CLASSES = 1000
RATIO = {
    "parc": 6.0,
    "logme": 2.5,
    "hscore": 6.0,
    "hscore:shrunk=true": 15.0,
    "transrate": 20.0,
    "sfda": 6.0,
    "cka": 5.0,
    "knn:k=1": 1.5,
    "leep": 1.0,
}
ALL = 10.0
MINUTES = 3.0  # for a zoo of 1,000 sources on two cores
Form = Callable[[Any, Any], float]


@pytest.mark.bench
@pytest.mark.parametrize("spec", sorted(RATIO))
def test_a_score_is_many_times_faster_than_its_published_form(spec: str) -> None:
    result = _child(spec)[spec]
    assert abs(result["difference"]) < 3e-6 * max(1.0, abs(result["value"]))
    assert result["ratio"] >= RATIO[spec]


@pytest.mark.bench
def test_all_scores_in_one_call_are_ten_times_faster_than_their_published_forms() -> None:
    assert _child("all")["all"]["ratio"] >= ALL


@pytest.mark.bench
def test_a_zoo_of_a_thousand_sources_takes_minutes() -> None:
    result = _child("zoo", "40")["zoo"]
    assert result["seconds_per_source"] * 1000 / 2 <= 60 * MINUTES


def logme(features: Any, labels: Any) -> float:
    """thuml/LogME: the SVD of F'F, then a fixed point class by class, here until it stays."""
    import numpy as np

    f = features.astype(np.float64)
    size, width = f.shape
    _, values, right = np.linalg.svd(f.T @ f)
    left = f @ right.T / np.sqrt(values)
    total = 0.0
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        x2 = (left.T @ y) ** 2
        rest = float(y @ y - x2.sum())
        ratio = 1.0
        while True:
            gamma = (values / (values + ratio)).sum()
            m2 = (values * x2 / (ratio + values) ** 2).sum()
            r2 = (x2 / (1 + values / ratio) ** 2).sum() + rest
            last, ratio = ratio, gamma / (m2 + 1e-5) * (r2 + 1e-5) / (size - gamma)
            if abs(ratio - last) < 1e-12 * ratio:
                break
        a, b = gamma / m2, (size - gamma) / r2
        logs = width * np.log(a) + size * np.log(b / 2 / np.pi) - np.log(a + b * values).sum()
        total += (logs - b * r2 - a * m2) / 2 / size
    return float(total / len(np.unique(labels)))


def hscore(features: Any, labels: Any) -> float:
    """Transfer-Learning-Library: the pseudo-inverse of the covariance of features times that of class means."""
    import numpy as np

    f = features.astype(np.float64)
    means = np.zeros_like(f)
    for label in np.unique(labels):
        means[labels == label] = f[labels == label].mean(axis=0)
    return float(np.trace(np.linalg.pinv(np.cov(f, rowvar=False), rcond=1e-15) @ np.cov(means, rowvar=False)))


def hscore_shrunk(features: Any, labels: Any) -> float:
    """Transfer-Learning-Library: the same with scikit-learn's covariance by Ledoit and Wolf."""
    import numpy as np
    from sklearn.covariance import LedoitWolf

    f = features.astype(np.float64)
    f -= f.mean(axis=0)
    fitted = LedoitWolf().fit(f)
    means = np.zeros_like(f)
    for label in np.unique(labels):
        means[labels == label] = f[labels == label].mean(axis=0)
    inverse = np.linalg.pinv(fitted.covariance_, rcond=1e-15)
    return float(np.trace(inverse @ ((1 - fitted.shrinkage_) * np.cov(means, rowvar=False))))


def transrate(features: Any, labels: Any) -> float:
    """The authors' listing: d x d log determinants of all samples and of each class."""
    import numpy as np

    def rate(z: Any) -> float:
        return float(np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1]) / 2

    z = features.astype(np.float64)
    z -= z.mean(axis=0)
    return rate(z) - float(np.mean([rate(z[labels == label]) for label in np.unique(labels)]))


def sfda(features: Any, labels: Any) -> float:
    """TencentARC/SFDA: two generalised eigenproblems of d x d matrices."""
    import numpy as np
    from scipy import linalg
    from scipy.special import softmax

    x, share = features.astype(np.float64), None
    names, codes = np.unique(labels, return_inverse=True)
    prior = np.bincount(codes) / len(codes)
    p = np.zeros((len(codes), len(names)))
    for again in range(2):
        means = np.stack([x[codes == c].mean(axis=0) for c in range(len(names))])
        within = sum(share_of * np.cov(x[codes == c].T, ddof=0) for c, share_of in enumerate(prior))
        if share is None:
            one = within.sum(axis=1)
            for _ in range(3):
                other = within @ one / np.linalg.norm(within @ one)
                one = within @ other / np.linalg.norm(within @ other)
            share = max(float(np.exp(-5 * one @ within @ other)), 1e-10)
        within = (1 - share) * within + share * np.trace(within) / len(within) * np.eye(len(within))
        values, vectors = linalg.eigh(np.cov(x.T, ddof=0) - within, within)
        vectors = vectors[:, np.argsort(values)[::-1]]
        weights = (means @ vectors) @ vectors.T
        p = softmax(x @ weights.T - np.diag(means @ weights.T) / 2 + np.log(prior), axis=1)
        if again == 0:
            sure = softmax(p, axis=1)[np.arange(len(codes)), codes]
            others = (means.sum(axis=0) - means) / (len(names) - 1)
            x = sure[:, None] * x + (1 - sure)[:, None] * others[codes]
    return float(p[np.arange(len(codes)), codes].mean())


def cka(features: Any, labels: Any) -> float:
    """cvai and others: both n x n Gram matrices, centred, and three sums over their products."""
    import numpy as np

    x = features.astype(np.float64)
    y = (labels[:, None] == np.unique(labels)).astype(np.float64)
    grams = []
    for gram in (x @ x.T, y @ y.T):
        means = gram.mean(axis=0)
        grams.append(gram - means - means[:, None] + means.mean())
    one, other = grams
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum()))


def lfc(features: Any, labels: Any) -> float:
    """Both n x n matrices less their means, with Frobenius norms."""
    import numpy as np

    x = features.astype(np.float64)
    theta, agree = x @ x.T, np.where(labels[:, None] == labels, 1.0, -1.0)
    theta -= theta.mean()
    agree -= agree.mean()
    return float((theta * agree).sum() / np.linalg.norm(theta) / np.linalg.norm(agree))


def leep(probs: Any, labels: Any) -> float:
    """thuml/LogME: the joint distribution class by class, then N x K x C products of which N are read."""
    import numpy as np

    p = probs.astype(np.float64)
    count = labels.max() + 1
    joint = np.zeros((count, p.shape[1]))
    for label in range(count):
        joint[label] = p[labels == label].sum(axis=0) / len(p)
    conditional = (joint / joint.sum(axis=0, keepdims=True)).T
    predicted = p @ conditional
    return float(np.log(predicted[np.arange(len(p)), labels]).mean())


def knn(features: Any, labels: Any) -> float:
    """dbolya/parc: all distances, each row sorted, the first column left out as the sample itself."""
    import numpy as np

    f = features - features.mean(axis=0)
    lengths = (f * f).sum(axis=1)
    apart = lengths[:, None] + lengths - 2 * f @ f.T
    np.fill_diagonal(apart, -1)
    return float((labels[np.argsort(apart, axis=1)[:, 1]] == labels).mean())


def gbc(features: Any, labels: Any) -> float:
    """Ba1Jun/transferability: scikit-learn's components, then a loop over the pairs of classes."""
    import numpy as np
    from sklearn.decomposition import PCA

    rows = PCA(64, svd_solver="covariance_eigh").fit_transform(features.astype(np.float64))
    groups = [rows[labels == label] for label in np.unique(labels)]
    means = [group.mean(axis=0) for group in groups]
    spreads = [np.maximum(group.var(axis=0), 1e-4).mean() for group in groups]
    total = 0.0
    for i in range(len(groups)):
        for j in range(len(groups)):
            if i != j:
                between = (spreads[i] + spreads[j]) / 2
                apart = ((means[i] - means[j]) ** 2).sum() / between / 8
                total += np.exp(-apart - 32 * np.log(between / np.sqrt(spreads[i] * spreads[j])))
    return -float(total)


def parc(features: Any, labels: Any) -> float:
    """The definition in numpy and scipy, see bench_parc: dbolya/parc with an exact label matrix."""
    from tests.bench.bench_parc import definition

    return definition(features, labels)


FORMS: Mapping[str, Form] = {
    "parc": parc,
    "logme": logme,
    "hscore": hscore,
    "hscore:shrunk=true": hscore_shrunk,
    "transrate": transrate,
    "sfda": sfda,
    "cka": cka,
    "lfc": lfc,
    "leep": leep,
    "knn:k=1": knn,
    "gbc": gbc,
}


def measure(names: list[str], count: int = 5000, rounds: int = 3) -> dict[str, Any]:
    """Seconds of both forms, their ratio and the difference of their values, for each name."""
    features, labels = probe(count)
    arrays = {"features": features, "probs": _probabilities(labels)}
    together = "all" in names
    found: dict[str, Any] = {}
    sums = {"published": 0.0, "zoo": 0.0}
    for name in FORMS if together else names:
        inputs = arrays["probs" if name == "leep" else "features"]
        times: dict[str, list[float]] = {"published": [], "zoo": []}
        value, other = 0.0, 0.0
        for turn in range(rounds):
            # The slow forms take many seconds and are steady: one turn fewer.
            if turn < max(1, rounds - 1):
                other = _timed(lambda form=FORMS[name], x=inputs: form(x, labels), times["published"])
            value = _timed(lambda spec=name, x=inputs: _scores([spec], x, labels)[0], times["zoo"])
        medians = {kind: statistics.median(seconds) for kind, seconds in times.items()}
        sums = {kind: sums[kind] + medians[kind] for kind in sums}
        found[name] = _told(medians) | {"value": value, "difference": value - other}
    if together:
        seconds: list[float] = []
        on_features = [name for name in FORMS if name != "leep"]
        for _ in range(rounds):
            start = time.process_time()
            _scores(on_features, features, labels)
            _scores(["leep"], arrays["probs"], labels)
            seconds.append(time.process_time() - start)
        found["one by one"] = _told(sums)
        found["all"] = _told({"published": sums["published"], "zoo": statistics.median(seconds)})
    return found


def probe(count: int, width: int = 2048, classes: int = 100) -> tuple[Any, Any]:
    """Features (N, 2048) float32 after a ReLU, of balanced classes that overlap, and labels (N,)."""
    import numpy as np

    draw = np.random.default_rng(7)
    labels = np.arange(count) % classes
    features = draw.standard_normal((count, width), dtype=np.float32)
    features += 0.15 * draw.standard_normal((classes, width), dtype=np.float32)[labels]
    return np.maximum(features, 0), labels


def zoo(sources: int, count: int = 500, width: int = 512, classes: int = 20) -> dict[str, Any]:
    """Processor seconds a source for the quick scores of the papers, with intervals and chance levels."""
    import numpy as np

    from zoo_cli import registry, specs
    from zoo_cli.metrics.labels import Classes
    from zoo_cli.metrics.probe import Probe
    from zoo_cli.ranking import uncertainty

    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(0, classes, count))
    target = Classes.of(labels)
    cheap = [name for name, facts in registry.METRICS.items() if facts.cheap and not facts.needs]
    methods = {
        on: [
            (specs.resolve("metric", name), registry.METRICS[name])
            for name in cheap
            if registry.METRICS[name].on[0] == on
        ]
        for on in ("features", "probs")
    }
    probs = _probabilities(labels)
    start = time.process_time()
    wall = time.perf_counter()
    drawn = uncertainty.draw_replicates(target, seed=0)
    for _ in range(sources):
        means = 0.5 * draw.standard_normal((classes, width), dtype=np.float32)
        features = np.maximum(means[labels] + draw.standard_normal((count, width), dtype=np.float32), 0)
        uncertainty.estimate_scores(methods["features"], Probe.of(features, target), seed=0, replicates=drawn)
        uncertainty.estimate_scores(methods["probs"], Probe.of(probs, target), seed=0, replicates=drawn)
    spent = time.process_time() - start
    return {
        "sources": sources,
        "metrics": cheap,
        "seconds_per_source": round(spent / sources, 4),
        "wall_per_source": round((time.perf_counter() - wall) / sources, 4),
    }


def _scores(specs: list[str], inputs: Any, labels: Any) -> list[float]:
    from zoo_cli.metrics.probe import Probe

    probe = Probe.of(inputs, labels)
    methods = [specs.resolve("metric", spec) for spec in specs]
    return [method.function(probe, **method.params) for method in methods]


def _probabilities(labels: Any) -> Any:
    import numpy as np

    draw = np.random.default_rng(1)
    logits = draw.standard_normal((len(labels), SOURCE_CLASSES), dtype=np.float32)
    logits[np.arange(len(labels)), labels] += 3
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


def _timed(form: Callable[[], float], times: list[float]) -> float:
    start = time.process_time()
    value = form()
    times.append(time.process_time() - start)
    return value


def _told(seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "seconds": {kind: round(value, 4) for kind, value in seconds.items()},
        "ratio": round(seconds["published"] / seconds["zoo"], 2),
    }


def _child(*arguments: str) -> dict[str, Any]:
    # A fresh process: the number of threads is read when numpy is imported.
    environment = os.environ | THREADS | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.bench.bench_scores", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked[:1] == ["zoo"]:
        print(json.dumps({"zoo": zoo(int((asked[1:] or ["40"])[0]))}))
    else:
        print(json.dumps(measure(asked or ["all"]), indent=1))
