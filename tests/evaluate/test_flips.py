"""zoo evaluate flips: where flips lie, areas of expertise, every pair and its controls."""

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from tests.evaluate import task_models
from tests.faults.tables import listed
from tests.workspaces import run, sign_run

N, CLASSES = 240, 8
LABELS = np.arange(N) % CLASSES
NAMES = ("red fox", "grey fox", "arctic fox", "truck", "fire truck", "lighthouse", "violin", "viola")
FIRST = ("n", "accuracy_before", "accuracy_after", "delta", "positive", "negative", "positive_rate", "negative_rate")
ENDS = tuple(f"{key}_{end}" for key in ("accuracy_before", "accuracy_after", "delta") for end in ("low", "high"))
QUICK = ("distill", "--lam", "1", "--steps", "2", "--batch-size", "8", "--augment", "none")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predict(seed: int, right: float, by_class: Mapping[int, float] | None = None) -> np.ndarray:
    """Predicted classes (N,), right on a share of the samples; on another share in the classes of `by_class`."""
    random = np.random.default_rng(seed)
    chance = np.array([(by_class or {}).get(c, right) for c in range(CLASSES)])[LABELS]
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
        record = {"objective": "kl", "options": {"seed": seed, **options}, "inputs": {"labelled images": "x"}}
        (folder / "run.json").write_text(json.dumps({**record, "threads": seed}))
    return str(folder)


STUDENT, TEACHER, OTHER = predict(0, 0.5), predict(1, 0.4, {0: 1.0, 1: 0.9, 2: 0.9}), predict(2, 0.6)


def flips(*arguments: str) -> dict[str, Any]:
    result = run("evaluate", "flips", *arguments, "--json")
    assert result.code == 0, result.err
    return dict(result.data)


def test_result_has_totals_then_classes_then_top_sets() -> None:
    data = flips(run_folder("a", STUDENT), run_folder("b", TEACHER), "--teacher", run_folder("c", OTHER))
    assert tuple(data)[:12] == (*FIRST, "classes", "complementary", "transferred", "transfer_rate")
    assert tuple(data)[12:] == ("top", "similarity_by", "concentration", *ENDS, "p_value")
    gained = [sum(a != y == b for y, a, b in zip(LABELS, STUDENT, TEACHER, strict=True) if y == c) for c in range(8)]
    assert {row["class"]: row["positive"] for row in data["classes"]} == dict(zip(NAMES, gained, strict=True))
    assert [row["share"] for row in data["top"]] == [2, 5, 20, 50, 100]
    order = sorted(range(CLASSES), key=lambda c: (-gained[c], c))
    for row in data["top"]:
        positive = sum(gained[c] for c in order[: row["count"]])
        assert row["classes"] == [NAMES[c] for c in order[: row["count"]]]
        assert row["positive"] == positive
        assert row["held"] == positive / sum(gained) >= row["share"] / 100
        assert positive - gained[order[row["count"] - 1]] < row["share"] / 100 * sum(gained)
    assert data["concentration"]["flips"] == sum(gained)
    assert data["concentration"]["errors"] == (STUDENT != LABELS).sum()
    assert data["concentration"]["half"]["value"] == next(r["count"] for r in data["top"] if r["share"] == 50)
    assert data["concentration"]["entropy"]["p"] < 0.01


def test_totals_have_intervals_and_a_test() -> None:
    both = (run_folder("a", STUDENT), run_folder("b", TEACHER))
    result = run("evaluate", "flips", *both, "--format", "table")
    gained, lost = ((STUDENT != LABELS) & (TEACHER == LABELS)).sum(), ((STUDENT == LABELS) & (TEACHER != LABELS)).sum()
    data, back = flips(*both), flips(*both[::-1])
    for key, predicted in (("accuracy_before", STUDENT), ("accuracy_after", TEACHER)):
        expected = binomtest(int((predicted == LABELS).sum()), N).proportion_ci(0.9, "wilson")
        assert (data[f"{key}_low"], data[f"{key}_high"]) == pytest.approx((expected.low, expected.high))
    assert data["p_value"] == pytest.approx(binomtest(int(gained), int(gained + lost)).pvalue)
    assert data["delta_low"] < data["delta"] == (gained - lost) / N < data["delta_high"]
    assert (back["delta_low"], back["delta_high"], back["p_value"]) == (
        -data["delta_high"],
        -data["delta_low"],
        data["p_value"],
    )
    points = "+{:.1f} points [{:+.1f}, {:+.1f}]".format(*(100 * data[key] for key in ("delta", *ENDS[-2:])))
    assert f"{points}, p " in result.out
    assert "equal" not in run("evaluate", "flips", both[0], both[0], "--format", "table").out


def test_out_lists_the_ids_of_each_class() -> None:
    both = (run_folder("a", STUDENT), run_folder("b", TEACHER))
    for name in ("flips.parquet", "flips.json"):
        assert run("evaluate", "flips", *both, "--out", name).code == 0
    rows = pq.read_table("flips.parquet").to_pylist()
    assert rows == json.loads(Path("flips.json").read_text())["data"]["classes"]
    assert list(rows[0])[:6] == ["class", "n", "positive", "negative", "positive_rate", "negative_rate"]
    for row in rows:
        members = [i for i in range(N) if NAMES[LABELS[i]] == row["class"]]
        right = {i: (STUDENT[i] == LABELS[i], TEACHER[i] == LABELS[i]) for i in members}
        assert row["positive_ids"] == [f"s{i}" for i in members if right[i] == (False, True)]
        assert row["negative_ids"] == [f"s{i}" for i in members if right[i] == (True, False)]
        assert (len(row["positive_ids"]), len(row["negative_ids"])) == (row["positive"], row["negative"])


def test_no_flips_keep_the_types_of_the_columns() -> None:
    a = write(Path("a.parquet"), STUDENT)
    assert run("evaluate", "flips", a, a, "--out", "none.parquet").code == 0
    schema = pq.read_schema("none.parquet")
    assert schema.field("positive_ids").type == schema.field("negative_ids").type == pa.list_(pa.string())
    assert {str(schema.field(name).type) for name in ("positive_rate", "negative_rate")} == {"double"}


def test_classes_are_compared_by_embeddings_alone() -> None:
    both = (run_folder("a", STUDENT), run_folder("b", TEACHER))
    data = flips(*both)
    assert data["similarity_by"] is None
    assert all(row["similarity"] is None for row in data["top"])
    result = run("evaluate", "flips", *both, "--format", "table")
    assert "half of the gains lie in 3 of 8 classes (red fox, arctic fox, grey fox); by chance" in result.out
    assert "similarity" not in result.out
    given = run("evaluate", "flips", *both, "--class-embeddings", vectors("v.json"), "--format", "table")
    assert "these classes by v.json: mean similarity" in given.out


def test_classes_without_names_are_numbers() -> None:
    data = flips(write(Path("a.parquet"), STUDENT), write(Path("b.parquet"), TEACHER))
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


def test_class_embeddings_of_every_file_kind_match_a_loop() -> None:
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


def test_unusable_class_embeddings_are_refused() -> None:
    both = (run_folder("a", STUDENT), run_folder("b", TEACHER))
    zero = np.where(np.arange(8)[:, None] == 3, 0.0, 1.0) * np.ones((8, 3))
    for file, message, code in (
        (vectors("few.csv", NAMES[:6]), "few.csv lacks 2 of 8 classes, e.g. violin", 3),
        (vectors("zero.json", of=zero), "the vector of truck is zero or not finite", 3),
        (vectors("two.csv", (*NAMES, NAMES[0])), 'two vectors of "red fox"', 3),
        ("v.txt", "its name must end in .parquet, .csv or .json", 2),
        ("nowhere.json", "no file nowhere.json", 2),
    ):
        result = run("evaluate", "flips", *both, "--class-embeddings", file)
        assert result.code == code
        assert message in result.error
    for name, text, message in (
        ("ragged.json", json.dumps({name: [1.0] * (1 + (name == "truck")) for name in NAMES}), "is ragged"),
        ("list.json", "[1, 2]", "is not an object of class names"),
        ("text.csv", "\n".join(f"{name},1,many" for name in NAMES), "has a cell that is not a number"),
    ):
        Path(name).write_text(text)
        result = run("evaluate", "flips", *both, "--class-embeddings", name)
        assert result.code == 3
        assert message in result.error


def test_nothing_gained_means_no_concentration() -> None:
    data = flips(write(Path("a.parquet"), LABELS), write(Path("b.parquet"), STUDENT))
    assert data["concentration"] is None
    assert [(row["count"], row["held"], row["classes"]) for row in data["top"]] == [(0, None, [])] * 5


def test_number_of_models_is_checked() -> None:
    a, b = write(Path("a.parquet"), STUDENT), write(Path("b.parquet"), TEACHER)
    for arguments, message in (
        ((a,), "expected two models, BEFORE and AFTER, not 1"),
        ((a, b, a), "expected two models, BEFORE and AFTER, not 3; --all compares any number"),
        (("--all", a), "--all compares two or more different models"),
        (("--all", a, b, a), "--all compares two or more different models"),
        (("--all", a, b, "--teacher", a), "--all takes neither --teacher nor --class-embeddings"),
        ((a, b, "--out", "answer.txt"), "its name must end in .parquet or .json"),
        (("--all",), "no finished run in runs"),
    ):
        result = run("evaluate", "flips", *arguments)
        assert result.code == 2
        assert message in result.error


def test_pairs_equal_the_flips_of_each_two() -> None:
    files = [
        write(Path(f"{name}.parquet"), predicted)
        for name, predicted in zip("abc", (STUDENT, TEACHER, OTHER), strict=True)
    ]
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
        ends = ("delta_low", "delta_high", "p_value")
        assert tuple(row)[-3:] == ("difference_low", "difference_high", "p_value")
        assert tuple(row.values())[-3:] == tuple(alone[key] for key in ends)
    assert pq.read_table("pairs.parquet").to_pylist() == result.data
    assert "no control of another seed: no two runs here differ only in their seed" in result.err
    assert "no control of random initialisation: none of these is a model that can be built" in result.err


def test_pairs_fit_on_a_terminal_and_mark_controls() -> None:
    for name, predicted, seed in (("cross-task-parc-p12-s0", STUDENT, 0), ("cross-task-parc-p12-s1", OTHER, 1)):
        run_folder(name, predicted, seed)
    run_folder("labels-only-s0", TEACHER, 0, lr=0.5)
    lines = run("evaluate", "flips", "--all", "--format", "table").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(" * " in line for line in lines[:7]) == 2


def test_runs_that_differ_only_in_seed_are_a_control() -> None:
    run_folder("a-s0", STUDENT, 0, lr=0.1)
    run_folder("a-s1", OTHER, 1, lr=0.1)
    run_folder("b-s1", TEACHER, 1, lr=0.2)
    rows = run("evaluate", "flips", "--all", "--json").data
    controls = {(row["teacher"], row["student"]): row["control"] for row in rows}
    assert len(controls) == 6
    assert {pair for pair, control in controls.items() if control} == {("a-s0", "a-s1"), ("a-s1", "a-s0")}
    assert set(controls.values()) == {None, "another seed"}


def test_unlisted_run_of_another_seed_is_a_control() -> None:
    for name, predicted, seed, lr in (("a-s0", STUDENT, 0, 0.1), ("a-s1", OTHER, 1, 0.1), ("b-s1", TEACHER, 1, 0.2)):
        run_folder(name, predicted, seed, lr=lr)
    rows = run("evaluate", "flips", "--all", "runs/a-s0", "b-s1", "--json").data
    assert [(row["teacher"], row["student"], row["control"]) for row in rows] == [
        ("a-s0", "b-s1", None),
        ("b-s1", "a-s0", None),
        ("a-s1", "a-s0", "another seed"),
    ]
    assert rows[2]["complementary"] == ((STUDENT != LABELS) & (OTHER == LABELS)).mean()


def test_first_model_with_random_weights_is_a_control(tmp_path: Path) -> None:
    place = task_models.make(tmp_path / "task")
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
    # The expert is mostly right; with random weights it is no better than one class of three.
    row = next(row for row in rows if row["student"] == "expert")
    assert row["student_accuracy"] > 0.8
    assert row["teacher_accuracy"] < 0.5


def test_other_images_have_no_control(tmp_path: Path) -> None:
    place = task_models.make(tmp_path / "task")
    a, b = run_folder("a", STUDENT), write(Path("b.parquet"), TEACHER)
    result = run("evaluate", "flips", "--all", a, b, "--json")
    assert "no control of random initialisation: there is no manifest of the images" in result.err
    assert len(result.data) == 2
    assert run(*QUICK, "--name", "mine", workspace=place).code == 0
    theirs = place / "runs" / "theirs"
    theirs.mkdir()
    rows = pq.read_table(place / "runs/mine/predictions.parquet").slice(0, 9)
    for folder in ("mine", "theirs"):
        pq.write_table(rows, place / "runs" / folder / "predictions.parquet")
    sign_run(place / "runs/mine")
    result = run("evaluate", "flips", "--all", "mine", "theirs", "--json", workspace=place)
    assert result.code == 0, result.err
    assert "no control of random initialisation: " in result.err
    assert "hold different samples" in result.err
    assert len(result.data) == 2
