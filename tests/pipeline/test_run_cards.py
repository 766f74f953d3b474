"""The card of a run: a snippet that runs, the images and sources, and the accuracy once the run is evaluated."""

import contextlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.workspaces import edit, make, run, sign_run
from zoo_cli.config import Source
from zoo_cli.models.licenses import find_license
from zoo_cli.store import card_accuracy, lease

SHORT = ("--steps", "1", "--batch-size", "8", "--augment", "none", "--name", "mine", "--workers", "0")
STUDENT = 'model = "python:models.py:small"\nargs = { width = 6, classes = 3 }\ninput_size = 12\n'
NETWORKS = {
    "python": (STUDENT, ""),
    "torchvision": ('model = "torchvision:squeezenet1_1"\ninput_size = 40\n', ""),
    "timm": ('model = "timm:test_resnet"\ninput_size = 32\nresize = 36\n', "timm"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = make(tmp_path_factory.mktemp("cards") / "task", upto="pseudo-label")
    result = run("distill", *SHORT, "--lam", "0.5", workspace=workspace)
    assert result.code == 0, result.err
    return workspace


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "task")


def card(workspace: Path, name: str = "mine") -> str:
    return (workspace / "runs" / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("provider", NETWORKS)
def test_snippet_predicts_what_the_run_did(provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, module = NETWORKS[provider]
    if module:
        pytest.importorskip(module)
    workspace = make(tmp_path / "task")
    edit(workspace, STUDENT, student)
    result = run("distill", "--lam", "1", *SHORT, workspace=workspace)
    assert result.code == 0, result.err
    folder = workspace / "runs" / "mine"
    (snippet,) = re.findall(r"```python\n(.*?)```", card(workspace), re.DOTALL)
    assert ("zoo_cli" in snippet) == (provider == "python")
    row = pq.read_table(folder / "predictions.parquet").to_pylist()[0]
    shutil.copy(workspace / "images" / row["id"].removeprefix("train/"), folder / "image.png")
    monkeypatch.chdir(folder)
    values: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(snippet, values)
    logits = np.array(row["logits"])
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert np.abs(values["probabilities"].numpy() - expected).max() < 1e-5
    assert printed.getvalue().split()[0] == values["classes"][int(expected.argmax())]


def test_card_counts_images_and_lists_sources(trained: Path) -> None:
    text = card(trained)
    record = json.loads((trained / "runs" / "mine" / "run.json").read_text())
    assert re.search(
        r"^15 labelled images, and 30 whose labels are not read; 6 test images are predicted\.$", text, re.MULTILINE
    )
    for row in record["weights"]:
        assert f"| {row['source']} | {row['weight']:.4f} | not known |" in text
    assert "Not evaluated yet: `zoo evaluate accuracy mine` adds it here." in text


def test_accuracy_comes_into_the_card_when_it_is_evaluated(workspace: Path) -> None:
    (row,) = run("evaluate", "accuracy", "mine", "--json", workspace=workspace).data
    text = card(workspace)
    assert f"| {row['n']} | {row['accuracy']:.1%} | {row['accuracy_low']:.1%} to {row['accuracy_high']:.1%} |" in text
    assert "Not evaluated" not in text
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=workspace / "runs" / "mine")
    assert checked.returncode == 0
    assert run("verify", workspace=workspace).code == 0
    assert run("distill", *SHORT, "--lam", "0.5", workspace=workspace).err.count("up to date") == 1
    before = {path: path.read_bytes() for path in (workspace / "runs" / "mine").iterdir() if path.is_file()}
    assert run("evaluate", "accuracy", "mine", workspace=workspace).code == 0
    assert {path: path.read_bytes() for path in before} == before


def test_card_that_a_kill_left_behind_is_written(workspace: Path) -> None:
    path = workspace / "runs" / "mine" / "README.md"
    before = path.read_bytes()
    run("evaluate", "accuracy", "mine", workspace=workspace)
    after = path.read_bytes()
    path.write_bytes(before)  # as after a kill between the digest and the card
    assert run("verify", workspace=workspace).code == 3
    run("evaluate", "accuracy", "mine", workspace=workspace)
    assert path.read_bytes() == after != before
    assert run("verify", workspace=workspace).code == 0


@pytest.mark.parametrize("evaluated", [False, True])
def test_foreign_change_of_a_card_stays_visible(workspace: Path, evaluated: bool) -> None:
    path = workspace / "runs" / "mine" / "README.md"
    if evaluated:
        run("evaluate", "accuracy", "mine", workspace=workspace)
    path.write_text(path.read_text(encoding="utf-8") + "\nBy another hand.\n", encoding="utf-8")
    before = path.read_bytes()
    result = run("evaluate", "accuracy", "mine", workspace=workspace)
    assert result.code == 0
    assert "was changed after it was written" in result.err
    assert path.read_bytes() == before
    assert run("verify", workspace=workspace).code == 3


def test_card_stays_while_the_run_is_made_again(workspace: Path) -> None:
    folder = workspace / "runs" / "mine"
    before = card(workspace)
    held = lease.take(folder, "other", 0)
    try:
        card_accuracy.add_accuracy(folder, 6, 0.5, 0.2, 0.8)
    finally:
        held.release()
    assert card(workspace) == before


@pytest.mark.parametrize("text", ["no block here", "\ufffd"])
def test_card_without_the_block_stays(workspace: Path, text: str) -> None:
    path = workspace / "runs" / "mine" / "README.md"
    path.write_bytes(text.encode("utf-16" if text == "\ufffd" else "utf-8"))
    sign_run(path.parent)
    before = path.read_bytes()
    assert run("evaluate", "accuracy", "mine", workspace=workspace).code == 0
    assert path.read_bytes() == before


def test_licenses_are_read_where_they_are_known(tmp_path: Path) -> None:
    def license_of(model: str, **keys: Any) -> str:
        return find_license(Source("s", model, **keys), tmp_path)

    for name, file, text in (
        ("card", "README.md", "---\nlicense: apache-2.0\ntags: [a]\n---\nlicense: mit\n"),
        ("timm", "config.json", '{"pretrained_cfg": {"license": "cc-by-nc-4.0"}}'),
        ("none", "README.md", "license: mit\n"),
        ("broken", "config.json", "{"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    assert license_of("file:card") == "apache-2.0"
    assert license_of("file:timm") == "cc-by-nc-4.0"
    assert [license_of(f"file:{name}") for name in ("none", "broken", "missing")] == ["", "", ""]
    assert license_of("torchvision:regnet_y_16gf.IMAGENET1K_SWAG_E2E_V1").startswith("https://")
    assert license_of("torchvision:resnet18.IMAGENET1K_V1") == ""
    assert license_of("python:models.py:small") == ""


def test_timm_names_its_licenses(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    assert find_license(Source("s", "timm:test_resnet.r160_in1k"), tmp_path) == "apache-2.0"
