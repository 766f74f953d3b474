"""A source needs named weights; a random network is asked for by name, and every table says so."""

from pathlib import Path

import pytest

from tests import workspaces
from tests.models.tiny_models import declare, loading_error, write_code
from tests.workspaces import run
from zoo_cli.config import Source
from zoo_cli.models import loading
from zoo_cli.models.weights import state_sha256
from zoo_cli.store import weights_origin

SIZES = {"input_size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3}
TORCHVISION = '\n[[source]]\nname = "net"\nmodel = "torchvision:squeezenet1_1"\n'
SIZES_TOML = "input_size = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"


def test_a_source_without_weights_names_those_there_are(tmp_path: Path) -> None:
    text = loading_error(Source("s", "torchvision:resnet50", **SIZES), tmp_path)
    assert "torchvision:resnet50 has no weights" in text
    assert "DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, a file, or none" in text
    assert "did you mean resnet50" in loading_error(Source("s", "torchvision:resnet5O"), tmp_path)


def test_a_timm_source_without_weights_names_its_tags(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    assert "one of: r160_in1k, a file, or none" in loading_error(Source("s", "timm:test_resnet"), tmp_path)


@pytest.mark.parametrize("model", ["torchvision:squeezenet1_1", "timm:test_resnet", "python:nets.py:tiny"])
def test_none_is_random_from_the_seed(model: str, tmp_path: Path) -> None:
    if model.startswith("timm:"):
        pytest.importorskip("timm")
    write_code(tmp_path)
    first, again, other = (
        state_sha256(loading.load_model(declare(model, weights="none"), tmp_path, seed=seed).module)
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_none_beside_a_tag_is_a_contradiction(tmp_path: Path) -> None:
    source = Source("s", "torchvision:squeezenet1_1.IMAGENET1K_V1", weights="none")
    assert "declare the weights once" in loading_error(source, tmp_path)


def test_a_student_may_be_random(tmp_path: Path) -> None:
    model = loading.load_model(Source("s", "torchvision:squeezenet1_1", **SIZES), tmp_path, seed=3, untrained=True)
    assert model.classes == 1000


@pytest.mark.parametrize(
    ("model", "weights", "note"),
    [
        ("torchvision:resnet18", "", "untrained"),
        ("torchvision:resnet18", "none", "untrained"),
        ("torchvision:resnet18.IMAGENET1K_V1", "", ""),
        ("timm:resnet18", "a1_in1k", ""),
        ("python:nets.py:tiny", "", "weights: factory"),
        ("python:nets.py:tiny", "none", "untrained"),
        ("python:nets.py:tiny", "w.pt", ""),
        ("file:runs/a", "", ""),
        ("features:a.parquet", "", ""),
    ],
)
def test_the_origin_follows_from_the_declaration(model: str, weights: str, note: str) -> None:
    assert weights_origin.describe_origin(model, weights) == note


@pytest.mark.parametrize("command", [("extract",), ("rank",), ("distill",), ("finetune", "net"), ("pseudo-label",)])
def test_a_random_source_is_wrong_usage(command: tuple[str, ...], tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="split")
    toml = place / "zoo.toml"
    toml.write_text(toml.read_text() + TORCHVISION + SIZES_TOML)
    result = run(*command, workspace=place)
    assert result.code == 2, result.err
    assert "torchvision:squeezenet1_1 has no weights; set weights to one of: DEFAULT, IMAGENET1K_V1" in result.error
    assert not list(place.glob("runs/*/run.json"))


def test_a_random_student_is_announced_once(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="split")
    workspaces.edit(
        place,
        '[student]\nmodel = "python:models.py:small"\nargs = { width = 6, classes = 3 }',
        '[student]\nmodel = "torchvision:squeezenet1_1"',
    )
    text = (place / "zoo.toml").read_text().replace("input_size = 12", "input_size = 32", 1)
    (place / "zoo.toml").write_text(text)
    result = run("extract", workspace=place)
    assert result.code == 0, result.err
    assert result.err.count("declares no weights: it starts from random ones") == 1


def test_every_table_says_which_sources_are_untrained(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="pseudo-label")
    workspaces.edit(place, "width = 5, classes = 6 }", 'width = 5, classes = 6 }\nweights = "none"')
    commands = (("sources",), ("extract",), ("score", "--metric", "parc"), ("rank",), ("pseudo-label",))
    commands += (("pseudo-label", "--head", "ridge"),)
    for command in commands:
        result = run(*command, "--refresh" if command[0] != "sources" else "-v", "--json", workspace=place)
        assert result.code == 0, result.err
        notes = {row["source"]: row["note"] for row in result.data}
        assert (notes["alpha"], notes["beta"], notes["gamma"]) == (None, "untrained", "weights: factory"), command
    assert "untrained" in run("rank", "--format", "table", workspace=place).out
    assert "untrained" in run("show", "features/source=beta/_source.json", workspace=place).out
    import pyarrow.parquet as pq

    assert pq.read_table(place / "ranking.parquet").column("note").to_pylist().count("untrained") == 1


def test_without_an_untrained_source_there_is_no_note(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="extract")
    result = run("rank", "--source", "alpha", "--json", workspace=place)
    assert all("note" not in row for row in result.data)
