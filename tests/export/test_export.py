"""`zoo export`: the file agrees with the run, says how it is used, and nothing is left of one that does not agree."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.export.extra import needs_onnx
from tests.workspaces import CLASSES, edit, make, run, sign_run
from zoo_cli.api.workspace import Workspace
from zoo_cli.config import Source
from zoo_cli.errors import ZooError
from zoo_cli.models import loading
from zoo_cli.store import image_lists, parquet_files, schemas

pytestmark = needs_onnx

TRAIN = ("distill", "--lam", "1", "--steps", "2", "--batch-size", "8", "--augment", "none", "--device", "cpu")
BRANCHING = """

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6, 3)
    def forward(self, x):
        x = self.body(x).mean((2, 3))
        return self.fc(x if x.sum() > 0 else x.relu())

def branching(width=0, classes=0): return Branching()
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the run `a` and its exports: model.onnx in its folder, int8.onnx and raw.pt2 outside."""
    place = make(tmp_path_factory.mktemp("export") / "task", test="33%")
    exports = (
        ("export", "a"),
        ("export", "a", "--quantize", "int8", "--out", str(place / "int8.onnx")),
        ("export", "a", "--format", "pt2", "--with-preprocessing", "--out", str(place / "raw.pt2")),
    )
    for words in ((*TRAIN, "--name", "a"), *exports):
        result = run(*words, workspace=place)
        assert result.code == 0, result.err
    return place


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "task"))


def stored(place: Path) -> tuple[list[Path], np.ndarray]:
    """The test images of the run and its logits of them."""
    paths = {row["id"]: row["path"] for row in pq.read_table(place / "manifest.parquet").to_pylist()}
    rows = pq.read_table(place / "runs/a/predictions.parquet").to_pylist()
    return [place / paths[row["id"]] for row in rows], np.array([row["logits"] for row in rows])


def pixels(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def test_file_is_used_by_its_document_alone(template: Path) -> None:
    file = template / "runs/a/model.onnx"
    document = json.loads(file.with_name("model.onnx.json").read_text(encoding="utf-8"))
    described = document["model"]
    assert described == json.loads(session(file).get_modelmeta().custom_metadata_map["zoo"])
    assert (described["classes"], described["input"]["shape"]) == (list(CLASSES), ["batch", 3, 12, 12])
    paths, logits = stored(template)
    mean, std = (np.array(described["preprocessing"][key]) for key in ("mean", "std"))
    images = ((pixels(paths) / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    for count in (1, len(images)):
        answer, features = session(file).run(None, {described["input"]["name"]: images[:count]})
        np.testing.assert_allclose(answer, logits[:count], atol=1e-4)
        assert features.shape == (count, 6)
    assert document["comparison"]["images"] == len(logits)
    assert document["comparison"]["largest_difference"] <= 1e-5


def test_pt2_takes_raw_pixels(template: Path) -> None:
    extra = {"zoo.json": ""}
    network = torch.export.load(io.BytesIO((template / "raw.pt2").read_bytes()), extra_files=extra).module()
    described = json.loads(extra["zoo.json"])
    assert (described["input"]["type"], described["preprocessing_inside"]) == ("uint8", True)
    paths, logits = stored(template)
    answer, _ = network(torch.from_numpy(pixels(paths)))
    np.testing.assert_allclose(answer.detach(), logits, atol=1e-4)


def test_int8_states_its_cost(template: Path) -> None:
    result = run(
        "export", "a", "--quantize", "int8", "--out", str(template / "int8.onnx"), "--json", workspace=template
    )
    cost = result.data["int8"]
    flips = run("evaluate", "flips", "a", f"onnx:{template}/int8.onnx", "--json", workspace=template).data
    same = ("n", "accuracy_before", "accuracy_after", "delta", "positive", "negative")
    assert [cost[key] for key in same] == [flips[key] for key in same]
    assert (cost["calibration"], cost["n"]) == (12, 12)
    assert 0 < cost["largest_difference"] < 1
    assert {tensor.data_type for tensor in graph(template / "int8.onnx").initializer} >= {3}  # INT8
    assert result.data["largest_difference"] <= 1e-4  # of the float32 network


def test_int8_row_is_about_the_file(template: Path) -> None:
    result = run("export", "a", "--quantize", "int8", "--out", str(template / "int8.onnx"), workspace=template)
    names, values = (line.split("\t") for line in result.out.strip().splitlines())
    row = dict(zip(names, values, strict=True))
    document = json.loads((template / "int8.onnx.json").read_text(encoding="utf-8"))
    assert float(row["largest_difference"]) == document["int8"]["largest_difference"]
    assert "before quantization, its logits differed from predictions.parquet by up to" in result.err
    assert "ms in float32" in result.err


def test_python_exports_as_the_command_does(template: Path) -> None:
    workspace = Workspace(template)
    result = workspace.export("a")
    assert (result.is_new, result.form, result.comparison.images) == (False, "onnx", 12)
    int8 = workspace.export("a", quantize="int8", out=template / "int8.onnx").int8
    assert int8 is not None
    assert int8.n == 12
    with pytest.raises(ZooError, match="`quantize` int8 belongs to `format` onnx"):
        workspace.export("a", format="pt2", quantize="int8")


def graph(path: Path) -> Any:
    import onnx

    return onnx.load(str(path)).graph


def test_nothing_of_this_machine_is_in_the_file(template: Path) -> None:
    for path in ("runs/a/model.onnx", "int8.onnx"):
        assert b"stack_trace" not in (template / path).read_bytes()
        assert b"site-packages" not in (template / path).read_bytes()


def test_up_to_date_export_is_kept(place: Path) -> None:
    before = (place / "runs/a/model.onnx").stat()
    result = run("export", "runs/a", "--json", workspace=place)
    assert (result.code, result.data["made"], "up to date" in result.err) == (0, False, True)
    after = (place / "runs/a/model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert result.data["latency_ms"] > 0


@pytest.mark.slow
def test_same_run_gives_same_bytes(place: Path) -> None:
    before = [(place / "runs/a" / name).read_bytes() for name in ("model.onnx", "model.onnx.json")]
    assert run("export", "a", "--overwrite", workspace=place).code == 0
    assert [(place / "runs/a" / name).read_bytes() for name in ("model.onnx", "model.onnx.json")] == before


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("a", "--with-preprocessing"), 2, "preprocessing (described there, inside requested)"),
        (("b",), 2, 'no run named "b"|no run "b"'),
        (("a", "--format", "tflite"), 2, "tflite"),
        (("a", "--quantize", "int4"), 2, "int4"),
        (("a", "--format", "pt2", "--quantize", "int8"), 2, "belongs to --format onnx"),
        (("a", "--out", "x.pt2"), 2, "does not end in .onnx"),
        (("a", "--out", "zoo.toml"), 2, "does not end in .onnx"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[str, ...], code: int, text: str, template: Path) -> None:
    before = list_files(template)
    result = run("export", *words, workspace=template)
    assert (result.code, any(part in result.error for part in text.split("|"))) == (code, True), result.error
    assert list_files(template) == before


def test_foreign_file_is_not_replaced(place: Path) -> None:
    (place / "x.onnx").write_bytes(b"mine")
    result = run("export", "a", "--out", str(place / "x.onnx"), workspace=place)
    assert (result.code, "zoo has not written it" in result.error) == (2, True)
    assert (place / "x.onnx").read_bytes() == b"mine"


def write_logits(place: Path, change: float, rows: int | None = None) -> None:
    """Change the stored logits of the run, or keep some of its rows alone."""
    path = place / "runs/a/predictions.parquet"
    table = pq.read_table(path).slice(0, rows)
    logits = [[value + change for value in row] for row in table.column("logits").to_pylist()]
    column = pa.array(logits, table.schema.field("logits").type)
    table = table.set_column(table.schema.get_field_index("logits"), "logits", column)
    inputs = parquet_files.read_header(path)["inputs"]
    parquet_files.write_table(path, table.replace_schema_metadata(None), schemas.PREDICTIONS, inputs)
    sign_run(place / "runs/a")


@pytest.mark.parametrize("form", [pytest.param("onnx", marks=pytest.mark.slow), "pt2"])
def test_other_answers_leave_nothing(form: str, place: Path) -> None:
    write_logits(place, 2e-4)
    before = list_files(place)
    result = run("export", "a", "--format", form, "--out", str(place / f"x.{form}"), workspace=place)
    assert (result.code, "differ by up to 0.0002 on 12 images" in result.error) == (1, True), result.error
    assert list_files(place) == before


def test_old_export_stays_where_the_new_one_fails(place: Path) -> None:
    write_logits(place, 2e-4)
    before = (place / "raw.pt2").read_bytes()
    words = ("--format", "pt2", "--out", str(place / "raw.pt2"), "--overwrite")
    assert run("export", "a", *words, workspace=place).code == 1
    assert (place / "raw.pt2").read_bytes() == before


def test_run_without_test_images_is_compared_with_itself(place: Path) -> None:
    write_logits(place, 0.0, rows=0)
    result = run("export", "a", "--format", "pt2", "--json", workspace=place)
    assert (result.code, result.data["reference"]) == (0, "the network on images of noise"), result.err
    assert result.data["largest_difference"] <= 1e-4


def test_run_of_another_workspace_is_refused(place: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    result = run("export", str(place / "runs/a"), "--out", str(other / "x.onnx"), workspace=other)
    assert (result.code, "name the workspace of the run with -C" in result.error) == (2, True)


def test_network_that_cannot_be_traced_is_one_line(place: Path) -> None:
    with (place / "models.py").open("a", encoding="utf-8") as stream:
        stream.write(BRANCHING)
    edit(place, '[student]\nmodel = "python:models.py:small"', '[student]\nmodel = "python:models.py:branching"')
    assert run(*TRAIN, "--name", "b", workspace=place).code == 0
    before = list_files(place)
    result = run("export", "b", workspace=place)
    assert (result.code, "cannot be exported" in result.error) == (2, True), result.error
    assert list_files(place) == before


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_missing_extra_is_named(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, name, None)
    result = run("export", "a", "--out", str(place / "x.onnx"), workspace=place)
    assert (result.code, result.error) == (2, f'{name} is not installed; pip install "zoo-cli[onnx]"')


def test_export_is_a_source_that_knows_itself(template: Path) -> None:
    source = Source("x", "onnx:runs/a/model.onnx")
    model = loading.load_model(source, template)
    original = loading.load_model(Source("x", "file:runs/a"), template)
    assert (model.class_names, model.preprocessing) == (CLASSES, original.preprocessing)
    assert loading.describe_model(model)["parameters"] == loading.describe_model(original)["parameters"]
    lists = image_lists.find_image_lists(template, "x", source.model, "")
    assert lists == [template / "runs/a/images.sha256"]  # what it was trained on is not forgotten


def test_predict_answers_as_the_run(template: Path) -> None:
    answers = []
    for model in ("a", f"onnx:{template}/runs/a/model.onnx"):
        result = run("predict", model, "--data", f"folder:{template}/images", "--json", workspace=template)
        assert result.code == 0, result.err
        answers.append([row["probs"] for row in result.data])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


def damaged(place: Path) -> Iterator[str]:
    result = run("verify", "--json", workspace=place)
    assert result.code == 3
    for row in result.data["findings"]:
        assert row["state"] == "damaged"
        yield f"{Path(row['path']).name}: {row['problem']} | {row['command']}"


def test_verify_reads_exports(place: Path) -> None:
    assert run("verify", workspace=place).code == 0
    file = place / "runs/a/model.onnx"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (line,) = damaged(place)
    assert "differs from its digest in model.onnx.json" in line
    assert "zoo export a --format onnx --out" in line
    result = run("predict", f"onnx:{file}", "--data", f"folder:{place}/images", workspace=place)
    assert (result.code, "differs from its digest" in result.error) == (3, True)
    assert run("export", "a", workspace=place).code == 3
    file.unlink()
    (line,) = damaged(place)
    assert "is missing: model.onnx.json describes it" in line
    file.write_bytes(content)
    document = file.with_name("model.onnx.json")
    document.write_text(document.read_text(encoding="utf-8").replace('"bytes": ', '"bytes": 1'), encoding="utf-8")
    (line,) = damaged(place)
    assert "differs from its seal" in line


def test_export_of_an_earlier_student_is_stale(place: Path) -> None:
    other = (*TRAIN, "--lr", "0.5", "--name", "a", "--overwrite")
    assert run(*other, workspace=place).code == 0
    result = run("verify", "--json", workspace=place)
    assert [(row["state"], Path(row["path"]).name) for row in result.data["findings"]] == [("stale", "model.onnx")]
    refused = run("export", "a", workspace=place)
    assert (refused.code, "was made from other inputs: predictions, weights" in refused.error) == (2, True)


def test_show_describes_an_export(template: Path) -> None:
    result = run("show", "runs/a/model.onnx", "--json", workspace=template)
    assert (result.code, result.data["schema"], result.data["comparison"]["images"]) == (0, "zoo.export/1", 12)


def test_folder_as_a_file_is_refused(place: Path) -> None:
    folder = place / "x.onnx"
    folder.mkdir()
    result = run("export", "a", "--out", str(folder), "--overwrite", workspace=place)
    assert (result.code, f"--out {folder} is a folder; name a file in it" in result.error) == (2, True)


def test_other_programs_as_onnx_are_named(template: Path) -> None:
    result = run("predict", f"onnx:{template}/raw.pt2", "--data", f"folder:{template}/images", workspace=template)
    assert (result.code, "raw.pt2 is a pt2 program of torch.export, not an ONNX file" in result.error) == (2, True)


def test_file_as_a_run_is_named(template: Path) -> None:
    file = template / "runs/a/model.onnx"
    result = run("predict", str(file), "--data", f"folder:{template}/images", workspace=template)
    assert (result.code, f"as a model it is onnx:{file}" in result.error) == (2, True)


@pytest.mark.slow
def test_domains_of_an_expert_are_exported_one_by_one(place: Path) -> None:
    data = ("--data", f"x=folder:{place}/images", "--data", f"y=folder:{place}/images", "--multi", "shared")
    network = ("--model", f"python:{place}/models.py:small", "--input-size", "12", "--steps", "1")
    assert run("expert", *data, *network, "--out", str(place / "e"), workspace=place).code == 0
    refused = run("export", str(place / "e"), workspace=place)
    assert (refused.code, f"name one: {place / 'e'}#x" in refused.error) == (2, True)
    result = run("export", f"{place / 'e'}#y", "--format", "pt2", "--json", workspace=place)
    assert (result.code, result.data["out"]) == (0, str(place / "e/model-y.pt2"))
    assert result.data["reference"] == "the network on images of noise"
