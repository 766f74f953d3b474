"""Every value of every JSON artifact, replaced by values of other types, and every key deleted.

Each command that reads the artifact ends with exit 2 or 3, or its answer and its files are the same: never a bug, and
never another answer.
"""

import contextlib
import copy
import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.marks import slow
from tests.workspaces import make, run, sign_run, unseal, write_class_names
from zoo_cli.store import seals

TRAINING = ("--steps", "2", "--batch-size", "8", "--augment", "none")
STUDENT = ("distill", *TRAINING, "--name", "student")
KL = ("distill", "--objective", "kl", "--student", "file:runs/student", "--source", "file:runs/tuned", *TRAINING)
PAUSED = ("distill", "--steps", "20", *TRAINING[2:], "--name", "paused", "--wait", "0")
HEADS = ("distill", "--objective", "heads", *TRAINING)
NEW = ("--data", "folder:images", "--max-errors", "1", "--json")
MAKE: tuple[tuple[str, ...], ...] = (
    STUDENT,
    ("finetune", "alpha", *TRAINING, "--name", "tuned"),
    (*PAUSED, "--max-time", "0s"),
    ("pseudo-label", "--head", "ridge"),
    ("score", "--metric", "lgc"),
    ("score", "--metric", "ms-leep"),
    ("extract", "--views", "2"),
    ("predict", "runs/student", *NEW, "--out", "new.parquet"),
)
"""What is made once, after a pipeline of `workspaces`."""
RUNS = (("evaluate", "flips", "runs/tuned", "runs/student", "--json"), ("evaluate", "ranking", ".", "runs", "--json"))
OTHERS: tuple[Any, ...] = (None, True, -1, 10**22, 1.5, "", "x", [], {}, [[]], [["x", 1], [None]], {"x": {}})
REMADE = ("SHA256SUMS", "_outputs.json")
"""Files that follow from others and are made again with them."""
FIRST = 2
"""Items of a list of which every one is of the same kind."""


class Deleted:
    """In place of a value: its key is deleted."""

    def __repr__(self) -> str:
        return "deleted"


@dataclass(frozen=True)
class Artifact:
    """A file with JSON, and the commands that read it.

    `free`: keys of which another type is right too, such as null or a number; `optional`: keys that early versions
    lack. Both are dotted, and stand for all that is below them.
    """

    path: str
    readers: tuple[tuple[str, ...], ...]
    free: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    member: str = "zoo"


ARTIFACTS = (
    Artifact("classes.json", (("distill", *TRAINING), ("pseudo-label", "--head", "ridge"))),
    Artifact("manifest.parquet", (("rank", "--json"), ("split",), ("extract",))),
    Artifact("weights.json", (("distill", "--weighting", "file:weights.json", *TRAINING),)),
    Artifact("ranking.parquet", (("rank", "--json"),)),
    Artifact(
        "features/source=alpha/_source.json",
        (("rank", "--json"), ("sources", "--json"), ("pseudo-label",), ("predict", "--heads", *NEW)),
        free=("depth", "trained_on", "name", "parameters"),
    ),
    Artifact("features/source=alpha/_outputs.json", (("sources", "--json"), ("rank", "--json")), free=("answered",)),
    Artifact(
        "features/source=alpha/data=train/part-00000-of-00001.parquet", (("extract",), ("rank", "--json"), ("score",))
    ),
    Artifact("features/views/_views.json", (("extract", "--views", "2"),)),
    Artifact(
        "features/views/source=alpha/view=1/data=train/part-00000-of-00001.parquet", (("extract", "--views", "2"),)
    ),
    Artifact("gradients/source=alpha/_gradients.json", (("score", "--metric", "lgc", "--json"),)),
    Artifact("gradients/source=alpha/part-*.parquet", (("score", "--metric", "lgc", "--json"),)),
    Artifact("scores/parc/alpha.parquet", (("score", "--json"), ("rank", "--json"))),
    Artifact(
        "scores/ms-leep.json",
        (("score", "--metric", "ms-leep", "--json"), ("rank", "--metric", "ms-leep")),
        free=("score", "sources.gain", "sources.low", "sources.high", "stopped_at"),
    ),
    Artifact("pseudo/source=gamma/part-00000-of-00001.parquet", (("pseudo-label",), ("distill", *TRAINING))),
    Artifact("pseudo/head=ridge-product/part-00000-of-00001.parquet", (HEADS, ("predict", "--heads", *NEW))),
    Artifact(
        "pseudo/head=ridge-product/_head.json",
        (HEADS, ("pseudo-label", "--head", "ridge", "--json")),
        free=("sources.lam", "sources.nll", "sources.accuracy", "estimate"),
        optional=("class_shares", "leaning"),
    ),
    Artifact("pseudo/head=ridge-product/_pool.safetensors", (("predict", "--heads", *NEW),), member="pool"),
    Artifact("runs/student/run.json", (STUDENT, ("show", "runs/student", "--json"), *RUNS)),
    Artifact(
        "runs/student/config.json",
        (("predict", "runs/student", *NEW), ("evaluate", "accuracy", "runs/student", "--json"), KL, *RUNS),
        free=("zoo.architecture.args", "zoo.architecture.classes"),
        optional=("zoo.architecture.root",),
    ),
    Artifact(
        "runs/student/metrics.jsonl",
        (STUDENT, ("show", "runs/student")),
        free=("loss", "labelled_accuracy"),
    ),
    Artifact("runs/student/predictions.parquet", (("evaluate", "accuracy", "runs/student", "--json"), STUDENT)),
    Artifact(
        "runs/paused/run.json",
        (PAUSED,),
        optional=("task", "device", "threads", "deterministic", "versions", "memory_format", "written_last"),
    ),
    Artifact("runs/paused/state/state.json", (PAUSED,)),
    Artifact("runs/paused/metrics.jsonl", (PAUSED,)),
    Artifact("runs/student.log.json", (STUDENT, ("show", "runs/student.log.json"))),
    Artifact("runs/leased/.lease-1", (("distill", *TRAINING, "--name", "leased", "--wait", "0"),)),
    Artifact("errors/split.parquet", (("split",), ("extract",))),
    Artifact("new.parquet", (("predict", "runs/student", *NEW, "--out", "new.parquet"),)),
)


@dataclass(frozen=True)
class Change:
    """A value of an artifact, by the keys that lead to it, and what takes its place."""

    artifact: Artifact
    keys: tuple[str | int, ...]
    other: Any

    def __str__(self) -> str:
        return f"{self.artifact.path} {'.'.join(map(str, self.keys))} {self.other!r}"

    def apply(self, content: Any) -> Any:
        """The content with the change."""
        if not self.keys:
            return self.other
        content = copy.deepcopy(content)
        inner = content
        for key in self.keys[:-1]:
            inner = inner[key]
        if isinstance(self.other, Deleted):
            del inner[self.keys[-1]]
        else:
            inner[self.keys[-1]] = self.other
        return content

    def must_show(self, content: Any) -> bool:
        """Whether the change breaks the type of the value, so that another answer would be a wrong one."""
        for key in self.keys:
            content = content[key]
        kinds = [float if type(value) is int else type(value) for value in (content, self.other)]
        free = self.artifact.free + (self.artifact.optional if isinstance(self.other, Deleted) else ())
        name = ".".join(key for key in self.keys if isinstance(key, str)) + "."
        return kinds[0] is not kinds[1] and not any(name.startswith(f"{key}.") for key in free)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with every artifact."""
    place = make(tmp_path_factory.mktemp("types") / "task", upto="split")
    (place / "images/blue/broken.png").write_bytes(b"not an image")
    shutil.rmtree(place / "errors", ignore_errors=True)
    with contextlib.chdir(place):
        for command in (("split", "--overwrite", "--max-errors", "1"), ("pseudo-label",), ("rank",), *MAKE):
            assert run(*command, workspace=place).code in (0, 75), command
    for path in place.rglob("*.json"):  # as earlier versions wrote them: a seal would tell of any change
        if seals.JSON_KEY in json.loads(path.read_text(encoding="utf-8")):
            unseal(path)
    for name in ("student", "tuned"):
        sign_run(place / "runs" / name)
    (place / "runs/leased").mkdir()
    lease = {"host": "there", "boot": "", "namespace": "", "pid": 1, "started": "2", "since": 1.5, "run": "3"}
    (place / "runs/leased/.lease-1").write_text(json.dumps(lease), encoding="utf-8")
    return place


def read(place: Path, artifact: Artifact) -> Any:
    """The JSON of an artifact: of a file, of the lines of one, or in the metadata of a table or of tensors."""
    (path,) = place.glob(artifact.path)
    if path.suffix == ".parquet":
        return json.loads(pq.read_schema(path).metadata[artifact.member.encode()])
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as stream:
            return json.loads(stream.metadata()[artifact.member])
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def write(place: Path, artifact: Artifact, content: Any) -> None:
    """Write it back as the owner of the workspace would, who signs what is changed."""
    (path,) = place.glob(artifact.path)
    text = json.dumps(content)
    if path.suffix == ".parquet":
        table = pq.read_table(path).replace_schema_metadata({artifact.member: text})
        pq.write_table(table, path, row_group_size=8192)
    elif path.suffix == ".safetensors":
        save_file(load_file(path), path, {artifact.member: text})
    elif path.suffix == ".jsonl":
        lines = content if isinstance(content, list) else [content]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    else:
        if path.name == "classes.json":
            write_class_names(place, [])
        path.write_text(text, encoding="utf-8")
    for folder in place.glob("runs/*"):
        if path.parent == folder and (folder / "SHA256SUMS").exists():
            sign_run(folder)


def places_in(content: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The keys of every value, of a list only those of its first items."""
    yield keys
    items: Any = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        items = enumerate(content[:FIRST])
    for key, item in items:
        yield from places_in(item, (*keys, key))


def changes(place: Path, artifact: Artifact) -> list[Change]:
    """Every change of an artifact."""
    content = read(place, artifact)
    return [
        Change(artifact, keys, other)
        for keys in places_in(content)
        for other in (*OTHERS, *([Deleted()] if keys and isinstance(keys[-1], str) else []))
    ]


def outcome(place: Path, artifact: Artifact, command: tuple[str, ...]) -> tuple[int, str, dict[str, str], str]:
    """Exit code, answer, digests of all files but the artifact and those that list it, and the story of a command."""
    with contextlib.chdir(place):
        result = run(*command, workspace=place)
    names = {path: str(path.relative_to(place)) for path in sorted(place.rglob("*")) if path.is_file()}
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if not path.match(artifact.path) and path.name not in REMADE and ".log.json" not in name
    }
    return result.code, result.out, digests, result.err


def run_changed(task: Path, place: Path, change: Change, before: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """What each reader does after a change: same, refused, other, silent or bug; the last two with the details."""
    for command in change.artifact.readers:
        key = (change.artifact.path, command)
        for content in (None, change) if key not in before else (change,):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(task, place)
            document = read(place, change.artifact)
            # The bytes of a table that is only written again are not those of zoo.
            write(place, change.artifact, document if content is None else change.apply(document))
            result = outcome(place, change.artifact, command)
            if content is None:
                before[key] = result
        code, out, digests, err = result
        if code == 70 or "Traceback" in err:
            yield "bug", f"{change}: zoo {' '.join(command)}\n{err[-1500:]}"
        elif (code, out, digests) == before[key][:3]:
            yield "same", ""
        elif code in (2, 3) or (code == 1 and "--wait" in command):
            yield "refused", ""
        elif command[0] == "show" or not change.must_show(document):
            yield "other", ""
        else:
            shown = [name for name in {**digests, **before[key][2]} if digests.get(name) != before[key][2].get(name)]
            yield "silent", f"{change}: zoo {' '.join(command)}: {code} {shown} {out[:300]} {err[-300:]}"


def check(task: Path, place: Path, chosen: list[Change]) -> Counter[str]:
    before: dict[Any, Any] = {}
    counts: Counter[str] = Counter()
    wrong = []
    for change in chosen:
        for kind, line in run_changed(task, place, change, before):
            counts[kind] += 1
            if line:
                wrong.append(f"{kind}: {line}")
    assert not wrong, f"{len(wrong)} of {counts.total()}\n" + "\n".join(wrong)
    return counts


@pytest.mark.parametrize("count", [6, *slow(14)])
def test_a_sample_of_wrong_types_is_never_a_bug(task: Path, tmp_path: Path, count: int) -> None:
    chance = random.Random(12)
    chosen = [chance.choice(changes(task, artifact)) for artifact in chance.sample(ARTIFACTS, count)]
    assert check(task, tmp_path / "task", chosen)["refused"] > count // 3


@pytest.mark.slow
@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.path)
def test_every_wrong_type_is_refused_or_harmless(task: Path, tmp_path: Path, artifact: Artifact) -> None:
    counts = check(task, tmp_path / "task", changes(task, artifact))
    print(artifact.path, dict(counts))
    assert counts["same"] + counts["refused"]
