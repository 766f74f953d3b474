"""Providers: what each knows by itself, what the user must declare, and errors on one line."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny_models import declare, load_source, loading_error, write_code
from zoo_cli import registry
from zoo_cli.config import Preprocessing, Source
from zoo_cli.models import loading

TINY = "python:nets.py:tiny"
HALVES = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


def test_every_provider_resolves() -> None:
    for entry in registry.MODELS.values():
        assert callable(registry.load(entry))


@pytest.mark.parametrize("model", ["torchvision:resnet18", TINY])
def test_unknown_preprocessing_names_what_is_missing(model: str, root: Path) -> None:
    source = Source("s", model, weights="none")
    assert "input_size, mean, std not known" in loading_error(source, root)
    assert "s: std not known" in loading_error(replace(source, input_size=32, mean=(0.5,) * 3), root)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": (0.5,)}, "1 means and 3 stds for 1 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "std above 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "finite"),
        ({"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}, "by 255: mean = [0.485, 0.456, 0.406]"),
        ({"mean": (0.5, 1.5, 0.5)}, "expected those of pixel values in [0, 1]"),
        ({"mean": (-0.5, 0.5, 0.5)}, "a mean is from 0 to 1"),
        ({"std": (0.5, 0.5, 2.5)}, "expected those of pixel values in [0, 1]"),
        ({"std": (300.0,) * 3}, "a std at most 2"),
        ({"resize": 32}, "input_size = 64, resize = 32"),
        ({"interpolation": "cubic"}, "did you mean bicubic"),
        ({"channels": 1}, "3 means"),
        ({"channels": 4, "mean": (0.5,) * 4, "std": (0.5,) * 4}, "channels = 4"),
        ({"channels": 1, "mean": (0.5,), "std": (0.5,)}, "cannot run a batch of 2x1x64x64"),
        ({"classes": 7}, "7 classes are declared, but the model has 5"),
        ({"classes": ("a", "b")}, "2 classes are declared"),
        ({"classes": ()}, "empty class names"),
        ({"classes": ("a", "b", "c", "d", " ")}, "empty class names"),
        ({"classes": -1}, "classes = -1"),
        ({"classes": 5, "head": False}, "head = false"),
        ({"feature_layer": "boddy"}, "nearest: body"),
    ],
)
def test_invalid_declarations_are_refused(options: dict[str, Any], words: str, root: Path) -> None:
    assert words in loading_error(declare(TINY, **options), root)


def test_declarations_override_the_provider(root: Path) -> None:
    pytest.importorskip("timm")
    source = Source("s", "timm:test_resnet", weights="none")
    default = loading.load_model(source, root).preprocessing
    assert default == Preprocessing(160, (0.5,) * 3, (0.5,) * 3, 168, "bilinear")
    resized = loading.load_model(replace(source, input_size=80, std=(1.0,) * 3), root).preprocessing
    assert resized == Preprocessing(80, (0.5,) * 3, (1.0,) * 3, 84, "bilinear")  # the same share is cropped away
    whole = loading.load_model(replace(source, resize=0, interpolation="nearest"), root).preprocessing
    assert (whole.resize, whole.interpolation) == (None, "nearest")


def test_class_names_come_as_a_list_or_a_file(root: Path) -> None:
    assert load_source(TINY, root, classes=5).class_names is None
    assert load_source(TINY, root, classes=tuple("abcde")).class_names == tuple("abcde")
    (root / "names.txt").write_text("ant\nbee\n\ncat \nd\ne\n")
    assert load_source(TINY, root, classes=("names.txt",)).class_names == ("ant", "bee", "cat", "d", "e")


def test_sigmoid_outputs_are_kept_as_declared(root: Path) -> None:
    assert load_source(TINY, root, output="sigmoid").output == "sigmoid"
    assert loading.describe_model(load_source(TINY, root, output="sigmoid"))["output"] == "sigmoid"


def test_stored_features_have_no_model(root: Path) -> None:
    assert loading.is_stored(Source("s", "features:x.parquet"))
    assert not loading.is_stored(Source("s", TINY))
    assert "holds stored features, not a model" in loading_error(Source("s", "features:x.parquet"), root)
    assert "no model provider" in loading_error(Source("s", "torchvison:resnet18"), root)


def test_a_description_is_reproducible_json(root: Path) -> None:
    first, second = (loading.describe_model(load_source(TINY, root, trained_on=("birds",), depth=2)) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert str(root) not in json.dumps(first)
    conv = 31 * 31 * 8 * 27
    assert (first["features"], first["classes"], first["macs"]) == (8, 5, conv + 40)
    assert first["parameters"] == 8 * 27 + 8 + 16 + 45
    assert (first["trained_on"], first["depth"], first["feature_layer"]["head"]) == (["birds"], 2, "fc")


def test_random_weights_come_from_the_seed(root: Path) -> None:
    hashes = [load_source(TINY, root, seed=seed).weights_sha256 for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


class TestPython:
    """The user's own file."""

    def test_paths_in_args_are_relative_to_the_workspace(self, tmp_path: Path) -> None:
        (tmp_path / "space").mkdir()
        write_code(tmp_path / "space")
        (tmp_path / "card.json").write_text('{"width": 7}')
        model = load_source(TINY, tmp_path / "space", args={"card": "../card.json"})
        assert model.tap.dim == 7
        assert model.architecture.args == {"card": "../card.json"}

    def test_a_changed_file_is_imported_again(self, root: Path) -> None:
        assert load_source(TINY, root).tap.dim == 8
        file = root / "nets.py"
        file.write_text(file.read_text().replace("width=8", "width=9"))
        assert load_source(TINY, root).tap.dim == 9
        assert {path.name for path in root.iterdir()} == {"nets.py", "zoo.toml"}, "no __pycache__"

    def test_sys_path_is_unchanged(self, root: Path) -> None:
        before = list(sys.path)
        load_source(TINY, root)
        assert sys.path == before
        assert "nets" not in sys.modules

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            ("python:nets.py", "write python:FILE.py:FACTORY"),
            ("python:gone.py:tiny", 'no file "gone.py"'),
            ("python:nets.py:tinny", "did you mean tiny?"),
            ("python:nets.py:refuses", "refuses of nets.py: KeyError: 'width'"),
            ("python:nets.py:leaves", "SystemExit: 3"),
            ("python:nets.py:number", "returns int"),
            ("python:nets.py:objects", "OwnError: no card in the drawer"),
        ],
    )
    def test_errors_in_user_code_are_one_line(self, model: str, words: str, root: Path) -> None:
        assert words in loading_error(declare(model), root)

    def test_unknown_factory_arguments_are_one_line(self, root: Path) -> None:
        assert "unexpected keyword argument 'wide'" in loading_error(declare(TINY, args={"wide": 3}), root)

    def test_a_syntax_error_is_one_line_each_time(self, root: Path) -> None:
        (root / "nets.py").write_text("def tiny(:\n")
        for _ in range(2):
            assert "SyntaxError" in loading_error(declare(TINY), root)

    def test_a_network_that_cannot_run_is_one_line(self, root: Path) -> None:
        code = "\nclass Bad(nn.Module):\n    def forward(self, x): raise IndexError('no\\nluck')\n"
        write_code(root, (root / "nets.py").read_text() + code)
        assert "IndexError: no luck" in loading_error(declare("python:nets.py:Bad"), root)
