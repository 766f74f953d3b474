"""`zoo score` and `zoo rank` of a workspace, as calls and as commands, beside the scores on arrays in memory.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_stored [SOURCES]    prints one JSON object

500 samples in 20 uneven classes, 400 of them the probe set, the rest the test part; sources of 512 features and 100
logits, a few different ones under many names, which the disk holds once. All are scored by the default metrics, without
intervals and with them; processor time of all threads, of a command with its start. `arrays`: the same scores of the
same arrays without a workspace. `differences`: of the stored scores of a source from the published forms of
`published_forms`, on the same arrays.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.bench.published_forms import FORMS
from tests.workspaces import MODELS, run
from zoo_cli import config
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.pipeline.metric_specs import MetricSpec, parse_metric
from zoo_cli.ranking import uncertainty
from zoo_cli.registry import METRICS
from zoo_cli.store import feature_files, source_record
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.score_store import load_scores
from zoo_cli.store.source_record import SourceRecord

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, CLASSES, WIDTH, SOURCE_CLASSES, DIFFERENT = 500, 20, 512, 100, 10
TASK = """[task]
name = "many"
train = "folder:images"
labelled = "all"
probe = "all"

[student]
model = "python:models.py:small"
args = { width = 6, classes = 20 }
input_size = 8
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
DIFFERENCE = 3e-6


@pytest.mark.bench
def test_stored_scores_are_those_of_the_published_forms() -> None:
    measured = measure(4)
    assert measured["differences"]
    assert all(abs(value) < DIFFERENCE for value in measured["differences"].values())


def measure(sources: int) -> dict[str, Any]:
    """Processor seconds of each stage, and how far stored scores are from the published forms."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "task"
        make_workspace(place, sources)
        specs = [parse_metric(name, None) for name, entry in METRICS.items() if entry.cheap and not entry.needs]
        seconds: dict[str, float] = {}
        for name, words in (("none", ("--intervals", "none")), ("full", ())):
            seconds[f"arrays, intervals {name}"] = timed(
                lambda full=not words: score_arrays(place, specs, sources, full)
            )
            seconds[f"zoo score, intervals {name}"] = timed(lambda words=words: call(place, "score", *words))
        seconds["zoo score, all stored"] = timed(lambda: call(place, "score"))
        seconds["zoo rank, all stored"] = timed(lambda: call(place, "rank"))
        for stage in ("score", "rank"):
            seconds[f"zoo {stage}, all stored, as a command"] = time_command(place, stage)
        differences = compare(place)
    return {"sources": sources, "seconds": {name: round(value, 2) for name, value in seconds.items()}} | {
        "differences": differences
    }


def make_workspace(place: Path, sources: int) -> None:
    """A workspace with the stored outputs of many sources."""
    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(0, CLASSES, SAMPLES))
    ids = []
    for number, label in enumerate(labels):
        path = place / "images" / f"class-{label:02}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
        ids.append(f"train/{path.relative_to(place / 'images').as_posix()}")
    (place / "models.py").write_text(MODELS, encoding="utf-8")
    first = min(sources, DIFFERENT)
    for number in range(first):
        means = 0.5 * draw.standard_normal((CLASSES, WIDTH), dtype=np.float32)
        features = np.maximum(means[labels] + draw.standard_normal((SAMPLES, WIDTH), dtype=np.float32), 0)
        logits = draw.standard_normal((SAMPLES, SOURCE_CLASSES), dtype=np.float32)
        logits[np.arange(SAMPLES), labels] += 3
        columns = {"embedding": to_list_column(features), "logits": to_list_column(logits)}
        pq.write_table(pa.table({"id": ids, **columns}), place / f"outputs-{number}.parquet")
    names = [f"source-{number:04}" for number in range(sources)]
    tables = [
        f'\n[[source]]\nname = "{name}"\nmodel = "features:outputs-{number % DIFFERENT}.parquet"\n'
        for number, name in enumerate(names)
    ]
    (place / "zoo.toml").write_text(TASK + "".join(tables[:first]), encoding="utf-8")
    call(place, "extract")
    (place / "zoo.toml").write_text(TASK + "".join(tables), encoding="utf-8")
    settings = config.load(place)
    for number, name in list(enumerate(names))[first:]:
        other, own = settings.features(names[number % DIFFERENT]), settings.features(name)
        for path in (*other.rglob("*.parquet"), other / "_outputs.json"):
            (own / path.relative_to(other)).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, own / path.relative_to(other))
        record = source_record.load_source_record(settings, names[number % DIFFERENT])
        source_record.write_source_record(settings, name, SourceRecord({**record.content, "name": name}))


def score_arrays(place: Path, specs: list[MetricSpec], sources: int, intervals: bool) -> None:
    """The scores of as many sources by the same metrics, on arrays that are read once."""
    arrays = [load_arrays(place, number) for number in range(min(sources, DIFFERENT))]
    target = Classes.of(arrays[0]["labels"])
    replicates = uncertainty.draw_replicates(target, seed=0)
    for number in range(sources):
        for on in dict.fromkeys(spec.on for spec in specs):
            methods = [(spec.method, spec.entry) for spec in specs if spec.on == on]
            probe = Probe.of(arrays[number % DIFFERENT][on], target)
            uncertainty.estimate_scores(methods, probe, seed=0, replicates=replicates, intervals=intervals)


def load_arrays(place: Path, number: int) -> dict[str, Any]:
    """Features (N, D), probabilities (N, K) and labels (N,) of a source on the probe set, in canonical order."""
    settings = config.load(place)
    images = load_manifest(settings.manifest, settings.root)
    ids = images.ids[images.where(probe=True)]
    outputs = feature_files.load_outputs(settings.features(f"source-{number:04}"), ids=ids)
    labels = np.array([int(str(name).split("/")[1].removeprefix("class-")) for name in outputs.ids])
    return {"features": outputs.embedding, "probs": outputs.probabilities(), "labels": labels}


def compare(place: Path) -> dict[str, float]:
    """The stored scores of a source less those of the published forms, of the metrics that have one."""
    arrays = load_arrays(place, 0)
    differences = {}
    for path in sorted((place / "scores").glob("*/source-0000.parquet")):
        (row,) = load_scores(path)
        if row.spec in FORMS and row.value is not None:
            differences[row.spec] = row.value - FORMS[row.spec](arrays[row.representation], arrays["labels"])
    return differences


def call(place: Path, *words: str) -> None:
    """A command in this process."""
    result = run(*words, "--json", workspace=place)
    assert result.code == 0, result.err


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def time_command(place: Path, stage: str) -> float:
    """Processor seconds of a command in a process of its own."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start = spent()
    command = [sys.executable, "-m", "zoo_cli", stage, "--json", "-C", str(place)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return spent() - start


if __name__ == "__main__":
    print(json.dumps(measure(int((sys.argv[1:] or ["100"])[0])), indent=1))
