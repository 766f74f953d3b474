"""zoo evaluate flips: where flips lie, areas of expertise, every pair and its controls, as a user asks for them."""

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluate import experts
from tests.faults.tables import listed
from tests.workspaces import run

N, CLASSES = 240, 8
LABELS = np.arange(N) % CLASSES
NAMES = ("red fox", "grey fox", "arctic fox", "truck", "fire truck", "lighthouse", "violin", "viola")
FIRST = ("n", "accuracy_before", "accuracy_after", "delta", "positive", "negative", "positive_rate", "negative_rate")
QUICK = ("distill", "--lam", "1", "--steps", "2", "--batch-size", "8", "--augment", "none")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answers(seed: int, right: float, sure: Mapping[int, float] | None = None) -> np.ndarray:
    """Predicted classes (N,), right in a share of the samples; in the classes of `sure` in another share."""
    random = np.random.default_rng(seed)
    chance = np.array([(sure or {}).get(c, right) for c in range(CLASSES)])[LABELS]
    other = (LABELS + random.integers(1, CLASSES, N)) % CLASSES
    return np.where(random.random(N) < chance, LABELS, other)


def write(path: Path, predicted: np.ndarray) -> str:
    logits = np.eye(CLASSES)[predicted]
    table = pa.table({"id": [f"s{i}" for i in range(N)], "label": LABELS, "logits": listed(logits)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return str(path)


def run_folder(name: str, predicted: np.ndarray, seed: int | None = None, **options: Any) -> str:
    """A folder as a run leaves it: its predictions, its class names, and what it was made from."""
    folder = Path("runs") / name
    write(folder / "predictions.parquet", predicted)
    (folder / "config.json").write_text(json.dumps({"zoo": {"classes": NAMES}}))
    if seed is not None:
        said = {"objective": "kl", "options": {"seed": seed, **options}, "inputs": {"labelled images": "x"}}
        (folder / "run.json").write_text(json.dumps({**said, "threads": seed}))
    return str(folder)


STUDENT, TEACHER, OTHER = answers(0, 0.5), answers(1, 0.4, {0: 1.0, 1: 0.9, 2: 0.9}), answers(2, 0.6)


def flips(*arguments: str) -> dict[str, Any]:
    result = run("evaluate", "flips", *arguments, "--json")
    assert result.code == 0, result.err
    return dict(result.data)


def test_the_keys_of_before_stay_and_the_sets_of_classes_are_added() -> None:
    data = flips(run_folder("a", STUDENT), run_folder("b", TEACHER), "--teacher", run_folder("c", OTHER))
    assert tuple(data)[:12] == (*FIRST, "classes", "complementary", "transferred", "transfer_rate")
    assert set(data) - set(tuple(data)[:12]) == {"top", "similarity_by", "concentration"}
    gained = [sum(a != y == b for y, a, b in zip(LABELS, STUDENT, TEACHER, strict=True) if y == c) for c in range(8)]
    assert {row["class"]: row["positive"] for row in data["classes"]} == dict(zip(NAMES, gained, strict=True))
    assert [row["share"] for row in data["top"]] == [2, 5, 20, 50, 100]
    order = sorted(range(CLASSES), key=lambda c: (-gained[c], c))
    for row in data["top"]:
        held = sum(gained[c] for c in order[: row["count"]])
        assert row["classes"] == [NAMES[c] for c in order[: row["count"]]]
        assert row["positive"] == held
        assert row["held"] == held / sum(gained) >= row["share"] / 100
        assert held - gained[order[row["count"] - 1]] < row["share"] / 100 * sum(gained)
    assert data["concentration"]["flips"] == sum(gained)
    assert data["concentration"]["errors"] == (STUDENT != LABELS).sum()
    assert data["concentration"]["half"]["value"] == next(r["count"] for r in data["top"] if r["share"] == 50)
    assert data["concentration"]["entropy"]["p"] < 0.01


def test_likeness_of_names_is_called_spelling_and_never_semantic() -> None:
    result = run("evaluate", "flips", run_folder("a", STUDENT), run_folder("b", TEACHER), "--format", "table")
    assert "these classes by spelling: mean similarity" in result.out
    assert "semantic" not in result.out
    data = flips("runs/a", "runs/b")
    assert data["similarity_by"] == "spelling"
    half = next(row for row in data["top"] if row["share"] == 50)
    assert {"red fox", "grey fox"} <= set(half["classes"])
    assert half["similarity"]["mean"]["p"] < 0.2
    for row in data["top"]:
        assert (row["similarity"] is None) == (row["count"] < 2)


def test_names_that_share_nothing_are_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.NAMES", tuple("01234567"))
    result = run("evaluate", "flips", run_folder("a", STUDENT), run_folder("b", TEACHER), "--format", "table")
    assert "half of what was gained is in 3 of 8 classes (0, 2, 1); by chance" in result.out
    assert "by spelling" not in result.out


def test_classes_that_nobody_has_named_are_not_compared() -> None:
    data = flips(write(Path("a.parquet"), STUDENT), write(Path("b.parquet"), TEACHER))
    assert data["similarity_by"] is None
    assert all(row["similarity"] is None for row in data["top"])
    assert data["concentration"] is not None
    assert [row["class"] for row in data["classes"]] != sorted(row["class"] for row in data["classes"])


def vectors(kind: str, names: tuple[str, ...] = NAMES, of: np.ndarray | None = None) -> str:
    """Vectors of the class names as a file of a kind."""
    table = np.random.default_rng(5).normal(size=(len(names), 3)).round(3) if of is None else of
    if kind.endswith("parquet"):
        key = "id" if kind == "id.parquet" else "class"
        pq.write_table(pa.table({key: list(names), "embedding": listed(table, "list", "float64")}), kind)
    elif kind.endswith("json"):
        Path(kind).write_text(json.dumps(dict(zip(names, table.tolist(), strict=True))))
    else:
        lines = [f'"{name}",{",".join(map(str, row))}' for name, row in zip(names, table.tolist(), strict=True)]
        Path(kind).write_text("\n".join(["class,x,y,z"] * (kind == "headed.csv") + lines) + "\n")
    return kind


def test_vectors_of_every_kind_of_file_give_the_cosines_of_a_loop() -> None:
    both = (run_folder("a", STUDENT), run_folder("b", TEACHER))
    table = np.random.default_rng(5).normal(size=(8, 3)).round(3)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    for kind in ("v.parquet", "id.parquet", "v.json", "v.csv", "headed.csv"):
        data = flips(*both, "--class-embeddings", vectors(kind))
        assert data["similarity_by"] == kind
        for row in data["top"]:
            pairs = [unit[NAMES.index(a)] @ unit[NAMES.index(b)] for a, b in combinations(row["classes"], 2)]
            if pairs:
                assert np.isclose(row["similarity"]["mean"]["value"], np.mean(pairs))
                assert np.isclose(row["similarity"]["max"]["value"], np.max(pairs))


def test_vectors_that_cannot_be_used_are_refused() -> None:
    both = (run_folder("a", STUDENT), run_folder("b", TEACHER))
    zero = np.where(np.arange(8)[:, None] == 3, 0.0, 1.0) * np.ones((8, 3))
    for file, told, code in (
        (vectors("few.csv", NAMES[:6]), "few.csv lacks 2 of 8 classes, e.g. violin", 3),
        (vectors("zero.json", of=zero), "the vector of truck is zero or not finite", 3),
        (vectors("two.csv", (*NAMES, NAMES[0])), 'two vectors of "red fox"', 3),
        ("v.txt", "its name ends in .parquet, .csv or .json", 2),
        ("nowhere.json", "no file nowhere.json", 2),
    ):
        result = run("evaluate", "flips", *both, "--class-embeddings", file)
        assert result.code == code
        assert told in result.error
    for name, text, told in (
        ("ragged.json", json.dumps({name: [1.0] * (1 + (name == "truck")) for name in NAMES}), "is ragged"),
        ("list.json", "[1, 2]", "no object of class names"),
        ("text.csv", "\n".join(f"{name},1,many" for name in NAMES), "has a cell that is no number"),
    ):
        Path(name).write_text(text)
        result = run("evaluate", "flips", *both, "--class-embeddings", name)
        assert result.code == 3
        assert told in result.error


def test_where_nothing_is_gained_there_is_nothing_to_find() -> None:
    data = flips(write(Path("a.parquet"), LABELS), write(Path("b.parquet"), STUDENT))
    assert data["concentration"] is None
    assert [(row["count"], row["held"], row["classes"]) for row in data["top"]] == [(0, None, [])] * 5


def test_the_number_of_networks_must_fit() -> None:
    a, b = write(Path("a.parquet"), STUDENT), write(Path("b.parquet"), TEACHER)
    for arguments, told in (
        ((a,), "BEFORE and AFTER are two, not 1"),
        ((a, b, a), "BEFORE and AFTER are two, not 3; --all compares any number"),
        (("--all", a), "--all compares two different networks or more"),
        (("--all", a, b, a), "--all compares two different networks or more"),
        (("--all", a, b, "--teacher", a), "--all takes neither --teacher nor --class-embeddings"),
        ((a, b, "--out", "answer.txt"), "its name ends in .parquet or .json"),
        (("--all",), "no finished run in runs"),
    ):
        result = run("evaluate", "flips", *arguments)
        assert result.code == 2
        assert told in result.error


def test_every_ordered_pair_is_the_flips_of_one_to_the_other() -> None:
    files = [write(Path(f"{name}.parquet"), said) for name, said in zip("abc", (STUDENT, TEACHER, OTHER), strict=True)]
    result = run("evaluate", "flips", "--all", *files, "--out", "pairs.parquet", "--json")
    assert result.code == 0, result.err
    assert [(row["teacher"], row["student"]) for row in result.data] == [(t, s) for t in files for s in files if t != s]
    for row in result.data:
        alone = flips(row["student"], row["teacher"])
        assert (row["positive"], row["negative"]) == (alone["positive"], alone["negative"])
        assert row["complementary"] == alone["positive_rate"]
        assert row["entropy"] == alone["concentration"]["entropy"]["value"]
        assert row["p"] == alone["concentration"]["entropy"]["p"]
        assert np.isclose(row["difference"], row["teacher_accuracy"] - row["student_accuracy"])
        assert np.isclose(row["difference"], (row["positive"] - row["negative"]) / row["n"])
        assert row["control"] is None
    assert pq.read_table("pairs.parquet").to_pylist() == result.data
    assert "no control of another seed: no two runs here differ in their seed alone" in result.err
    assert "no control of random initialisation: none of them is a model that can be built" in result.err


def test_runs_that_differ_in_their_seed_alone_are_a_control() -> None:
    run_folder("a-s0", STUDENT, 0, lr=0.1)
    run_folder("a-s1", OTHER, 1, lr=0.1)
    run_folder("b-s1", TEACHER, 1, lr=0.2)
    rows = run("evaluate", "flips", "--all", "--json").data
    controls = {(row["teacher"], row["student"]): row["control"] for row in rows}
    assert len(controls) == 6
    assert {pair for pair, control in controls.items() if control} == {("a-s0", "a-s1"), ("a-s1", "a-s0")}
    assert set(controls.values()) == {None, "another seed"}


def test_a_run_of_another_seed_is_found_beside_a_listed_one() -> None:
    for name, said, seed, lr in (("a-s0", STUDENT, 0, 0.1), ("a-s1", OTHER, 1, 0.1), ("b-s1", TEACHER, 1, 0.2)):
        run_folder(name, said, seed, lr=lr)
    rows = run("evaluate", "flips", "--all", "runs/a-s0", "b-s1", "--json").data
    assert [(row["teacher"], row["student"], row["control"]) for row in rows] == [
        ("a-s0", "b-s1", None),
        ("b-s1", "a-s0", None),
        ("a-s1", "a-s0", "another seed"),
    ]
    assert rows[2]["complementary"] == ((STUDENT != LABELS) & (OTHER == LABELS)).mean()


def test_the_first_network_without_its_weights_is_a_control(tmp_path: Path) -> None:
    place = experts.make(tmp_path / "task")
    assert run(*QUICK, workspace=place).code == 0
    for texts, name in ((("noisy", "expert"), "noisy"), (("labels-only-s0", "expert"), "labels-only-s0")):
        result = run("evaluate", "flips", "--all", *texts, "--json", workspace=place)
        assert result.code == 0, result.err
        rows = [row for row in result.data if row["control"]]
        assert {row["control"] for row in rows} == {"random initialisation"}
        assert [(row["teacher"], row["student"]) for row in rows] == [(f"{name} untrained", text) for text in texts]
        assert f"running {name} without its weights on 18 test images" in result.err
        again = run("evaluate", "flips", "--all", *texts, "--json", workspace=place)
        assert "running" not in again.err
        assert again.data == result.data
    # Its weights are its own: the expert is right in most, and without them no better than one class of three.
    row = next(row for row in rows if row["student"] == "expert")
    assert row["student_accuracy"] > 0.8
    assert row["teacher_accuracy"] < 0.5


def test_of_other_images_there_is_no_control_and_that_is_said(tmp_path: Path) -> None:
    place = experts.make(tmp_path / "task")
    a, b = run_folder("a", STUDENT), write(Path("b.parquet"), TEACHER)
    result = run("evaluate", "flips", "--all", a, b, "--json")
    assert "no control of random initialisation: no manifest says what the images are" in result.err
    assert len(result.data) == 2
    assert run(*QUICK, "--name", "mine", workspace=place).code == 0
    theirs = place / "runs" / "theirs"
    theirs.mkdir()
    rows = pq.read_table(place / "runs/mine/predictions.parquet").slice(0, 9)
    for folder in ("mine", "theirs"):
        pq.write_table(rows, place / "runs" / folder / "predictions.parquet")
    result = run("evaluate", "flips", "--all", "mine", "theirs", "--json", workspace=place)
    assert result.code == 0, result.err
    assert "no control of random initialisation: " in result.err
    assert "hold other samples" in result.err
    assert len(result.data) == 2
