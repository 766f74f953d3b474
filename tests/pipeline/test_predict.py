"""`zoo predict RUN`: the classes of new images by a trained student, in every format, and what is refused."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import zoo_cli as zoo
from tests.models.tiny_models import CODE, load_source, save_student, write_code
from tests.workspaces import CLASSES, edit, make, run, sign_run, write_class_names
from zoo_cli.config import Preprocessing
from zoo_cli.data.samples import Sample
from zoo_cli.errors import TooManyErrors, UsageError
from zoo_cli.images.decoding import make_view, view_geometry
from zoo_cli.images.sample_batches import sample_batches
from zoo_cli.models.student import build_student

TRAIN = ("distill", "--lam", "1", "--steps", "2", "--batch-size", "8", "--augment", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with test images of its own, the run `a`, and `new`, a flat folder of images."""
    place = make(tmp_path_factory.mktemp("predict") / "task", test=["folder:held-out"])
    for name in CLASSES:
        for number in range(8, 12):
            (place / "held-out" / name).mkdir(parents=True, exist_ok=True)
            file = f"{number:02}.png"
            shutil.move(place / "images" / name / file, place / "held-out" / name / file)
    (place / "new").mkdir()
    for number, file in enumerate(sorted((place / "held-out").rglob("*.png"))):
        shutil.copy(file, place / "new" / f"{number:02}.png")
    result = run(*TRAIN, "--name", "a", workspace=place)
    assert result.code == 0, result.err
    return place


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "task"))


def predicted(place: Path, *arguments: str, out: str = "out.parquet") -> list[dict[str, object]]:
    """The rows of a parquet file of predictions."""
    result = run("predict", *arguments, "--out", str(place / out), workspace=place)
    assert result.code == 0, result.err
    rows: list[dict[str, object]] = pq.read_table(place / out).to_pylist()
    return rows


def test_test_images_are_predicted_as_the_run_did(template: Path) -> None:
    rows = predicted(template, "a", "--data", f"folder:{template}/held-out", out="test.parquet")
    stored = pq.read_table(template / "runs/a/predictions.parquet").to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in stored]
    assert [row["logits"] for row in rows] == [row["logits"] for row in stored]
    exact = np.array([row["logits"] for row in stored])
    shares = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    np.testing.assert_allclose([row["probs"] for row in rows], shares, rtol=1e-6)
    assert [row["class"] for row in rows] == [CLASSES[c] for c in exact.argmax(axis=1)]
    assert [row["probability"] for row in rows] == [max(row["probs"]) for row in rows]  # type: ignore[call-overload]
    assert rows[0]["path"] == "held-out/blue/08.png"
    flips = run("evaluate", "flips", "a", str(template / "test.parquet"), "--json", workspace=template)
    assert (flips.code, flips.data["positive"], flips.data["negative"]) == (0, 0, 0)


@pytest.mark.parametrize("size", ["1", "5"])
def test_batch_size_changes_no_prediction(place: Path, size: str) -> None:
    data = ("a", "--data", f"folder:{place}/new")
    whole, parts = predicted(place, *data), predicted(place, *data, "--batch-size", size)
    assert [row["id"] for row in whole] == [row["id"] for row in parts] == [f"new/{n:02}.png" for n in range(12)]
    assert [row["class"] for row in whole] == [row["class"] for row in parts]
    np.testing.assert_allclose([row["probs"] for row in whole], [row["probs"] for row in parts], atol=1e-6)


def test_same_inputs_give_the_same_bytes(place: Path) -> None:
    for name in ("out.parquet", "out.csv", "out.tsv"):
        arguments = ("predict", "a", "--data", f"folder:{place}/new", "--out", str(place / name))
        assert run(*arguments, workspace=place).code == 0
        first = (place / name).read_bytes()
        assert run(*arguments, "--workers", "0", workspace=place).code == 0
        assert (place / name).read_bytes() == first


@pytest.mark.parametrize(("name", "delimiter"), [("out.csv", ","), ("deep/out.tsv", "\t")])
def test_text_files_hold_the_same_numbers(place: Path, name: str, delimiter: str) -> None:
    rows = predicted(place, "a", "--data", f"folder:{place}/new")
    result = run("predict", "a", "--data", f"folder:{place}/new", "--out", str(place / name), "--json", workspace=place)
    assert result.data == [{"out": str(place / name), "images": 12, "failed": 0, "classes": 3}]
    with (place / name).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter=delimiter))
    assert list(lines[0]) == ["id", "path", "class", "probability", "p_blue", "p_green", "p_red"]
    for line, row in zip(lines, rows, strict=True):
        assert (line["id"], line["path"], line["class"]) == (row["id"], row["path"], row["class"])
        assert [np.float32(line[f"p_{c}"]) for c in CLASSES] == row["probs"]
        assert np.float32(line["probability"]) == row["probability"]


def test_stdout_has_a_row_an_image(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = predicted(place, "a", "--data", f"folder:{place}/new")
    monkeypatch.chdir(place)
    result = run("predict", "runs/a", "--data", "folder:new")
    header, *lines = result.out.splitlines()
    assert header == "image\tclass\tprobability"
    assert [line.split("\t")[:2] for line in lines] == [[row["path"], row["class"]] for row in rows]
    assert "a predicted 12 images: " in result.err
    answer = json.loads(run("predict", "a", "--data", "folder:new", "--json").out)
    assert answer["meta"] == {"classes": list(CLASSES), "failed": []}
    assert [row["id"] for row in answer["data"]] == [row["id"] for row in rows]
    np.testing.assert_allclose([row["probs"] for row in answer["data"]], [row["probs"] for row in rows])


def test_data_of_every_provider_needs_no_labels(place: Path) -> None:
    files = sorted((place / "new").glob("*.png"))
    (place / "new.csv").write_text("path\n" + "".join(f"new/{file.name}\n" for file in files), encoding="utf-8")
    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    pq.write_table(pa.table({"image": images, "id": [f"own {n}" for n in range(12)]}), place / "new.parquet")
    flat = predicted(place, "a", "--data", f"folder:{place}/new")
    table = predicted(place, "a", "--data", f"csv:{place}/new.csv")
    stored = predicted(place, "a", "--data", f"parquet:{place}/new.parquet")
    assert [row["probs"] for row in flat] == [row["probs"] for row in table] == [row["probs"] for row in stored]
    assert [row["id"] for row in table] == [f"new/new/{file.name}" for file in files]
    assert [(row["id"], row["path"]) for row in stored] == [(f"own {n}", None) for n in range(12)]
    assert (
        run("predict", "a", "--data", f"parquet:{place}/new.parquet", workspace=place).out.splitlines()[1][:5]
        == "own 0"
    )


def test_several_data_sets_are_numbered(place: Path) -> None:
    shutil.copytree(place / "new", place / "more")
    specs = [f"folder:{place}/{name}" for name in ("new", "held-out/../held-out", "more")]
    rows = predicted(place, "a", *(word for spec in specs for word in ("--data", spec)))
    assert [str(row["id"]).partition("/")[0] for row in rows] == ["new"] * 12 + ["test"] * 12 + ["new-2"] * 12
    twice = run("predict", "a", "--data", specs[1], "--data", specs[1], workspace=place)
    assert twice.code == 3
    assert 'the id "test/blue/08.png" repeats' in twice.error


def test_run_alone_predicts_elsewhere(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = predicted(place, "a", "--data", f"folder:{place}/new")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place / "runs/a", elsewhere / "a")
    shutil.copytree(place / "new", elsewhere / "new")
    shutil.copy(place / "models.py", elsewhere)
    shutil.rmtree(place)
    monkeypatch.chdir(elsewhere)
    result = run("predict", "a", "--data", "folder:new", "--out", "out.parquet", "--trust", "a")
    assert result.code == 0, result.err
    assert pq.read_table("out.parquet").to_pylist() == rows


def test_classes_are_those_of_the_run(place: Path) -> None:
    rows = predicted(place, "a", "--data", f"folder:{place}/new")
    write_class_names(place, ["x", "y", "z"])
    assert predicted(place, "a", "--data", f"folder:{place}/new") == rows
    config = json.loads((place / "runs/a/config.json").read_text())
    config["zoo"]["classes"].append("violet")
    (place / "runs/a/config.json").write_text(json.dumps(config))
    sign_run(place / "runs/a")
    result = run("predict", "a", "--data", f"folder:{place}/new", workspace=place)
    assert result.code == 3
    assert "config.json names 4 classes, but its model has 3" in result.error


@pytest.mark.parametrize("model", ["torchvision:resnet18", "torchvision:squeezenet1_1", "timm:test_resnet", "python"])
def test_students_of_every_provider_are_rebuilt(model: str, tmp_path: Path) -> None:
    if model.startswith("timm:"):
        pytest.importorskip("timm")
    write_code(tmp_path, CODE)
    spec = "python:nets.py:tiny" if model == "python" else model
    student = build_student(load_source(spec, tmp_path, input_size=32), CLASSES, seed=2).eval()
    save_student(student, tmp_path / "student")
    (tmp_path / "new").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "new" / f"{number}.png")
    rows = predicted(tmp_path, str(tmp_path / "student"), "--data", f"folder:{tmp_path}/new")
    with torch.no_grad():
        views = np.stack([make_view(Image.fromarray(image), student.preprocessing) for image in pixels])
        x = (torch.from_numpy(views).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = student(x)[1].softmax(1)
    np.testing.assert_allclose([row["probs"] for row in rows], expected, atol=1e-5)


def test_models_of_zoo_toml_predict_too(place: Path) -> None:
    rows = predicted(place, "alpha", "--data", f"folder:{place}/new")
    assert {row["class"] for row in rows} <= {"0", "1", "2", "3"}
    named = run("predict", "alpha", "--data", f"folder:{place}/new", workspace=place)
    assert "the class names of alpha are not known: its classes are numbered from 0" in named.err
    edit(place, 'name = "alpha"', 'name = "alpha"\nhead = false')
    headless = run("predict", "alpha", "--data", f"folder:{place}/new", workspace=place)
    assert (headless.code, "alpha has no head" in headless.error) == (2, True)
    result = run("predict", "features:x.parquet", "--data", f"folder:{place}/new", workspace=place)
    assert result.code == 2
    assert "holds stored features, not a model" in result.error


def test_unreadable_images_are_named_and_left_out(place: Path) -> None:
    rows = predicted(place, "a", "--data", f"folder:{place}/new")
    (place / "new/03.png").write_bytes(b"")
    (place / "new/07.png").write_bytes((place / "new/07.png").read_bytes()[:60])
    arguments = ("predict", "a", "--data", f"folder:{place}/new")
    result = run(*arguments, workspace=place)
    assert result.code == 4
    assert "new/03.png: the file is empty; left out" in result.err
    assert "new/07.png: damaged" in result.err
    assert "predict: 2 of 12 images failed, more than --max-errors 0" in result.error
    assert len(result.out.splitlines()) == 1 + 10
    listed = pq.read_table(place / "errors/predict.parquet").to_pylist()
    assert [(row["id"], row["path"]) for row in listed] == [(f"new/{n}.png", f"new/{n}.png") for n in ("03", "07")]
    allowed = run(*arguments, "--max-errors", "2", "--out", str(place / "out.parquet"), "--json", workspace=place)
    assert (allowed.code, allowed.data[0]["failed"]) == (0, 2)
    kept = pq.read_table(place / "out.parquet").to_pylist()
    assert [row["id"] for row in kept] == [row["id"] for n, row in enumerate(rows) if n not in (3, 7)]
    shutil.copytree(place / "held-out", place / "sound")
    assert run("predict", "a", "--data", f"folder:{place}/sound", workspace=place).code == 0
    assert not (place / "errors/predict.parquet").exists()


def test_only_unreadable_images_give_an_empty_file(place: Path) -> None:
    for file in (place / "new").glob("*.png"):
        file.write_bytes(b"")
    arguments = ("predict", "a", "--data", f"folder:{place}/new")
    assert run(*arguments, "--out", str(place / "out.parquet"), workspace=place).code == 4
    assert pq.read_table(place / "out.parquet").num_rows == 0


def test_failure_leaves_the_old_file(place: Path) -> None:
    weights = place / "runs/a/model.safetensors"
    out = place / "out.csv"
    out.write_text("before", encoding="utf-8")
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    # Finite on the noise with which a model is loaded, not on every image.
    tensors["4.bias"] = torch.full_like(tensors["4.bias"], 3.4e38)
    tensors["4.weight"] = torch.full_like(tensors["4.weight"], 1e38)
    tensors["0.bias"] = torch.full_like(tensors["0.bias"], -0.5)
    save_file(tensors, weights)
    sign_run(place / "runs/a")
    result = run("predict", "a", "--data", f"folder:{place}/new", "--out", str(out), workspace=place)
    assert result.code == 3, result.err
    assert "not finite" in result.error
    assert out.read_text(encoding="utf-8") == "before"
    assert [path.name for path in place.glob(".*.tmp")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b", "--data", "folder:new"), 'no run "b"; one of: a'),
        (("aa", "--data", "folder:new"), 'no run "aa"; did you mean a?'),
        (("runs", "--data", "folder:new"), "no trained student at runs"),
        (("zoo.toml", "--data", "folder:new"), "zoo.toml is a file, not the folder of a run"),
        (("tensorhub:x", "--data", "folder:new"), 'no model provider "tensorhub"'),
        (("a", "--data", "new"), '"new" has no provider; write PROVIDER:NAME, e.g. folder:new'),
        (("a", "--data", "folder:nowhere"), 'no folder "nowhere"'),
        (("a", "--data", "folder:runs"), 'no image in "runs"'),
        (("a", "--data", "csv:none.csv"), "no image in csv:none.csv"),
        (("a", "--data", "folder:new", "--out", "x.npz"), "must end in .parquet, .csv or .tsv"),
        (("a", "--data", "folder:new", "--batch-size", "0"), "--batch-size 0; expected 1 or more"),
        (("a", "--data", "folder:new", "--device", "abacus"), 'no device "abacus"'),
        (("a", "--data", "folder:new", "--workers", "-1"), "--workers -1"),
        (("a", "--data", "folder:new", "--max-errors", "few"), '--max-errors "few"'),
        (("a", "--data", "folder:new", "--heads"), "expected a run, or --heads"),
        (("--data", "folder:new"), "expected a run, or --heads"),
        (
            ("a", "--data", "folder:new", "--pool", "best"),
            "--head, --pool, --source and --with-student name a pool, which answers in place of a run",
        ),
    ],
)
def test_wrong_usage_is_one_line(
    template: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (template / "none.csv").write_text("path,label\n", encoding="utf-8")
    monkeypatch.chdir(template)
    result = run("predict", *arguments)
    assert result.code == 2
    assert message in result.error
    assert not (template / "x.npz").exists()


def test_run_in_training_is_refused(place: Path) -> None:
    (place / "runs/a/predictions.parquet").unlink()
    result = run("predict", "a", "--data", f"folder:{place}/new", workspace=place)
    assert result.code == 2
    assert "no trained student at" in result.error
    assert "a run that was stopped has none yet" in result.error


def test_damaged_weights_break_the_contract(place: Path) -> None:
    (place / "runs/a/model.safetensors").write_bytes(b"torn")
    assert run("predict", "a", "--data", f"folder:{place}/new", workspace=place).code == 3


def test_images_are_read_batch_by_batch(tmp_path: Path) -> None:
    pixels = Image.new("RGB", (4, 4))
    pixels.save(tmp_path / "a.png")
    drawn = 0

    def entries() -> Iterator[tuple[str, Sample]]:
        nonlocal drawn
        for number in range(1000):
            drawn += 1
            yield str(number), Sample(str(number), "a.png", None, None)

    geometry = view_geometry(Preprocessing(4, (0.5,) * 3, (0.5,) * 3))
    batches = sample_batches(entries(), tmp_path, [geometry], 8, 0, lambda *_: None)
    for number in range(1, 4):
        batch = next(batches)
        assert (len(batch.images), drawn) == (8, 8 * number)


def test_api_predicts(place: Path) -> None:
    rows = predicted(place, "a", "--data", f"folder:{place}/new")
    ws = zoo.Workspace(place)
    result = ws.predict(f"folder:{place}/new", "a", device="cpu")
    assert [(row.id, row.label) for row in result.rows] == [(row["id"], row["class"]) for row in rows]
    assert result.images == sum(result.counts.values()) == 12
    assert ws.predict([f"folder:{place}/new"], place / "runs/a", out=place / "api.parquet").rows == ()
    assert pq.read_table(place / "api.parquet").to_pylist() == rows
    with pytest.raises(UsageError, match="`batch_size` 0"):
        ws.predict(f"folder:{place}/new", "a", batch_size=0)
    (place / "new/03.png").write_bytes(b"")
    with pytest.warns(zoo.ZooWarning), pytest.raises(TooManyErrors, match="more than `max_errors` 0"):
        ws.predict(f"folder:{place}/new", "a")
