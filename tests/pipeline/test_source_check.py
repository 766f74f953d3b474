"""zoo sources --check: what is wrong with each model, in one line, before the first long step."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.test_verify import snapshot
from tests.workspaces import edit, make, run

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    kind = "sound"

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.body(x)
        if self.kind == "batch":
            x = self.norm(x)
        x = x.mean((2, 3))
        if self.kind == "random":
            x = nn.functional.dropout(x, 0.5)
        if self.kind == "single":
            x = x.squeeze(0) if len(x) == 1 else x
        if self.kind == "fails":
            assert len(x) > 1, "batches only"
        if self.kind == "finite":
            x = x / 0
        if self.kind == "dict":
            return {"out": self.fc(x)}
        if self.kind == "whole":
            return x.long()
        return self.fc(x)


def build(kind="sound"):
    net = Net()
    net.kind = kind
    return net
"""
TABLE = """
[[source]]
name = "{name}"
model = "python:nets.py:build"
args = {{ kind = "{name}" }}
input_size = 12
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
PROBLEMS = {
    "batch": "depend on the other images of their batch",
    "random": "differ from run to run",
    "single": "its features have the shape 8, expected 1x8",
    "fails": "it runs two images, but not a single one",
    "finite": "not finite",
    "dict": "the model returns dict, not a tensor",
    "whole": "its features are of type int64, expected floating point",
}


def check(place: Path) -> tuple[int, dict[str, dict[str, Any]], str]:
    result = run("sources", "--check", "--json", workspace=place)
    return result.code, {row["source"]: row for row in result.data}, result.err


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, dict[str, Any]], str]:
    """The check of a workspace with a source of every fault, some of them of their tables."""
    place = make(tmp_path_factory.mktemp("checked") / "task")
    (place / "nets.py").write_text(NETS, encoding="utf-8")
    pq.write_table(pa.table({"id": ["a"], "logits": [[0.5, 1.0]]}), place / "outputs.parquet")
    text = (place / "zoo.toml").read_text(encoding="utf-8")
    text += "".join(TABLE.format(name=name) for name in ("sound", *PROBLEMS))
    names = {"names": 'classes = ["a", "b", "c"]', "lost": 'weights = "none.pt"', "leak": 'trained_images = "none.txt"'}
    for name, key in names.items():
        text += TABLE.format(name="sound").replace('name = "sound"', f'name = "{name}"') + key
    text += '\n[[source]]\nname = "stored"\nmodel = "features:outputs.parquet"\nclasses = 3'
    text += '\n[[source]]\nname = "remote"\nmodel = "features:outputs.parquet"\n'
    text += '\n[[source]]\nname = "absent"\nmodel = "features:none.parquet"\n'
    (place / "zoo.toml").write_text(text, encoding="utf-8")
    before = snapshot(place)
    outcome = check(place)
    assert snapshot(place).keys() - before.keys() <= {str(place / "__pycache__")}
    return outcome


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_faulty_network_is_named(name: str, checked: tuple[int, dict[str, dict[str, Any]], str]) -> None:
    row = checked[1][name]
    assert PROBLEMS[name] in row["problem"]
    assert "\n" not in row["problem"]
    assert row["hint"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("names", "3 classes are declared, but the model has 4"),
        ("lost", 'no weights file "none.pt"'),
        ("leak", 'no file "none.txt", its trained_images'),
        ("stored", "stored declares 3 classes, its file holds 2"),
        ("absent", "no stored features at"),
    ],
)
def test_a_faulty_table_is_named(name: str, problem: str, checked: tuple[int, dict[str, dict[str, Any]], str]) -> None:
    assert problem in checked[1][name]["problem"]


def test_sound_models_have_no_problem(checked: tuple[int, dict[str, dict[str, Any]], str]) -> None:
    code, rows, err = checked
    sound = {name for name, row in rows.items() if row["problem"] is None}
    assert sound == {"alpha", "beta", "gamma", "sound", "remote", "@student"}
    assert code == 3
    assert err.splitlines()[-1].startswith("zoo: error: 12 of 18 models cannot be used: batch, random,")


def test_a_sound_workspace_exits_0_with_a_line_a_model(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    result = run("sources", "--check", workspace=place)
    assert result.code == 0, result.err
    assert [line.split("\t")[:1] + line.split("\t")[2:3] for line in result.out.splitlines()[1:]] == [
        [name, "none"] for name in ("alpha", "beta", "gamma", "@student")
    ]
    edit(place, 'weights = "alpha.safetensors"', 'weights = "images"')
    result = run("sources", "--check", "--format", "table", workspace=place)
    assert result.code == 3
    assert result.out.count("sound") == 3
    assert result.out.splitlines()[-1].startswith('alpha: no weights file "images"; paths are relative')


def test_a_workspace_without_models_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zoo.toml").write_text("[task]\n")
    result = run("sources", "--check", workspace=tmp_path)
    assert result.code == 2
    assert result.error.endswith("add a [[source]] table")
