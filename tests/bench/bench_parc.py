"""How much faster PARC is than its definition in numpy and scipy, and how much memory it takes.

    python tests/bench/bench_parc.py [N ...]        prints one JSON object
    pytest -m bench tests/bench/bench_parc.py       asserts the ratios and the memory

One BLAS thread; both forms are timed in turns within one process, in processor time, so that their ratio holds on a
busy machine; medians. Memory is the growth of a process that only loads the features and scores them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ROOT = Path(__file__).resolve().parents[2]
WIDTH, CLASSES = 2048, 100
ROUNDS = {5_000: 5, 10_000: 3}
RATIO = {5_000: 6.0, 10_000: 10.0}
MEGABYTES = {10_000: 600.0}


@pytest.mark.bench
@pytest.mark.parametrize("count", sorted(RATIO))
def test_parc_is_faster_than_its_definition(count: int) -> None:
    result = _child("--time", str(count))
    assert abs(result["difference"]) < 3e-6
    assert result["ratio"] >= RATIO[count]


@pytest.mark.bench
@pytest.mark.parametrize("count", sorted(MEGABYTES))
def test_parc_needs_about_one_float32_per_pair(count: int) -> None:
    assert memory(count)["growth_mb"] <= MEGABYTES[count]


def timing(count: int) -> dict[str, Any]:
    """Seconds of processor time of both forms on `count` images, their ratio and the difference of their values."""
    from zoo_cli.metrics.parc import parc
    from zoo_cli.metrics.probe import Probe

    features, labels = probe(count)
    forms: dict[str, Callable[[], float]] = {
        "zoo": lambda: parc(Probe.of(features, labels)),
        "scipy": lambda: definition(features, labels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    values = dict.fromkeys(forms, 0.0)
    for _ in range(ROUNDS.get(count, 5)):
        for name, form in forms.items():
            start = time.process_time()
            values[name] = form()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "n": count,
        "rounds": ROUNDS.get(count, 5),
        "seconds": {name: round(median, 3) for name, median in medians.items()},
        "ratio": round(medians["scipy"] / medians["zoo"], 2),
        "difference": values["zoo"] - values["scipy"],
    }


def memory(count: int) -> dict[str, Any]:
    """Megabytes by which scoring `count` images grows a process."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        features, labels = probe(count)
        paths = [str(Path(folder) / name) for name in ("features.npy", "labels.npy")]
        for path, array in zip(paths, (features, labels), strict=True):
            np.save(path, array)
        return {"n": count} | _child("--memory", *paths)


def probe(count: int) -> tuple[Any, Any]:
    """Features (N, 2048) float32 after a ReLU, with 100 balanced classes, and labels (N,)."""
    import numpy as np

    draw = np.random.default_rng(7)
    labels = np.arange(count) % CLASSES
    features = draw.standard_normal((count, WIDTH), dtype=np.float32)
    features += draw.standard_normal((CLASSES, WIDTH), dtype=np.float32)[labels]
    return np.maximum(features, 0), labels


def definition(features: Any, labels: Any) -> float:
    """PARC written plainly: standardise, 1 - corrcoef, an exact label matrix, Spearman over the triangle."""
    import numpy as np
    from scipy.stats import spearmanr

    values = features.astype(np.float64)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    upper = np.triu_indices(len(labels), 1)
    distance = (1 - np.corrcoef(values))[upper]
    unequal = (labels[:, None] != labels[None, :]).astype(np.float64)[upper]
    return float(spearmanr(distance, unequal).statistic)


def _child(*arguments: str) -> dict[str, Any]:
    # A fresh process: numpy reads the number of threads at import, and the peak of memory is that of a whole process.
    environment = os.environ | THREADS | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, __file__, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _growth(features: str, labels: str) -> dict[str, Any]:
    import numpy as np

    from zoo_cli.metrics.parc import parc
    from zoo_cli.metrics.probe import Probe

    x, y = np.load(features), np.load(labels)
    parc(Probe.of(x[:100], y[:100] // 50))
    before = _status("VmRSS")
    parc(Probe.of(x, y))
    return {"before_mb": round(before), "growth_mb": round(_status("VmHWM") - before)}


def _status(key: str) -> float:
    """Megabytes of this process: resident now (VmRSS), or at most so far (VmHWM). Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(key)).split()[1]) / 1e3


if __name__ == "__main__":
    if sys.argv[1:2] == ["--time"]:
        print(json.dumps(timing(int(sys.argv[2]))))
    elif sys.argv[1:2] == ["--memory"]:
        print(json.dumps(_growth(*sys.argv[2:])))
    else:
        counts = [int(text) for text in sys.argv[1:]] or sorted(RATIO)
        print(json.dumps({"time": [_child("--time", str(n)) for n in counts], "memory": [memory(n) for n in counts]}))
