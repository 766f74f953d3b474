"""`onnx:FILE` of other programs: where features and logits are, what must be declared, and what is refused."""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.export.extra import needs_onnx
from tests.export.foreign import CLASSES, HEADS, SIDE, WIDTH, write_foreign
from tests.workspaces import edit, make, run
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import loading
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.student import build_student

pytestmark = needs_onnx


def load_foreign(folder: Path, **keys: Any) -> LoadedModel:
    options = {"mean": (0.5,) * 3, "std": (0.25,) * 3, **keys}
    return loading.load_model(Source("s", "onnx:net.onnx", **options), folder)


def outputs(model: LoadedModel, count: int = 5) -> tuple[np.ndarray, np.ndarray | None]:
    """The features and logits of the same images for every model."""
    images = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    features, logits = model.extractor()(images)
    return features.numpy(), None if logits is None else logits.numpy()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    folder = tmp_path_factory.mktemp("linear")
    write_foreign(folder / "net.onnx")
    features, logits = outputs(load_foreign(folder))
    assert logits is not None
    assert (features.shape, logits.shape) == ((5, WIDTH), (5, CLASSES))
    return features, logits


@pytest.mark.parametrize("head", sorted(set(HEADS) - {"none", "two", "pointwise"}))
def test_features_are_what_the_head_reads(head: str, tmp_path: Path, expected: Any) -> None:
    write_foreign(tmp_path / "net.onnx", head)
    features, logits = outputs(load_foreign(tmp_path, classes=CLASSES))
    np.testing.assert_allclose(features, expected[0], atol=1e-6)
    np.testing.assert_allclose(logits, expected[1], atol=1e-5)


def test_pointwise_head_reads_pooled_features(tmp_path: Path, expected: Any) -> None:
    write_foreign(tmp_path / "net.onnx", "pointwise")
    model = load_foreign(tmp_path)
    features, logits = outputs(model)
    assert (model.classes, model.tap.pool, logits is not None) == (CLASSES, True, True)
    np.testing.assert_allclose(features, expected[0], atol=1e-6)


@pytest.mark.parametrize("keys", [{}, {"classes": 0}, {"head": False}])
def test_without_a_head_the_output_is_the_feature(keys: dict[str, Any], tmp_path: Path, expected: Any) -> None:
    write_foreign(tmp_path / "net.onnx", "linear" if keys else "none")
    features, logits = outputs(load_foreign(tmp_path, **keys))
    assert logits is None
    np.testing.assert_allclose(features, expected[1 if keys else 0], atol=1e-6)


def test_feature_layer_names_a_tensor(tmp_path: Path, expected: Any) -> None:
    write_foreign(tmp_path / "net.onnx", "two")
    with pytest.raises(UsageError, match="set feature_layer to a tensor of the graph"):
        load_foreign(tmp_path, classes=CLASSES)
    with pytest.raises(UsageError, match="tensor in the graph of source s"):
        load_foreign(tmp_path, classes=CLASSES, feature_layer="g")
    features, logits = outputs(load_foreign(tmp_path, classes=CLASSES, feature_layer="f"))
    np.testing.assert_allclose(features, expected[0], atol=1e-6)
    assert logits is not None
    assert outputs(load_foreign(tmp_path, classes=CLASSES, feature_layer="r"))[0].shape == (5, WIDTH)


@pytest.mark.parametrize(("layout", "batch"), [("NHWC", "n"), ("NCHW", 1), ("NCHW", 2)])
def test_layout_and_fixed_batch_are_read(layout: str, batch: Any, tmp_path: Path, expected: Any) -> None:
    write_foreign(tmp_path / "net.onnx", layout=layout, batch=batch)
    model = load_foreign(tmp_path)
    assert (model.preprocessing.input_size, model.preprocessing.channels) == (SIDE, 3)
    np.testing.assert_allclose(outputs(model)[1], expected[1], atol=1e-5)


def test_copies_have_hooks_of_their_own(tmp_path: Path, expected: Any) -> None:
    write_foreign(tmp_path / "net.onnx")
    model = load_foreign(tmp_path)
    duplicate = copy.deepcopy(model.module)
    model.extractor()
    assert not duplicate.features._forward_hooks
    np.testing.assert_allclose(
        duplicate(torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))), expected[1], atol=1e-5
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mean": None}, "s: mean not known"),
        ({"classes": 4}, "4 classes are declared, but the model has 3"),
        ({"weights": "w.pt"}, "has its own weights"),
        ({"args": {"width": 3}}, "takes no args"),
        ({"input_size": 16}, "cannot run a batch of 2x3x16x16"),
    ],
)
def test_declarations_that_do_not_fit_are_named(keys: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_foreign(tmp_path / "net.onnx")
    with pytest.raises(UsageError) as error:
        load_foreign(tmp_path, **keys)
    assert words in error.value.message
    assert "\n" not in str(error.value)


def damage(data: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"not a network\n" * 40,
        "half": data[: len(data) // 2],
        "no graph": data[:2],
        "other": b"PK\x03\x04" + data[4:],
        "renamed": data.replace(b"GlobalAveragePool", b"GlobalAveragePoll"),
        "unlinked": data.replace(b"\x0a\x01f", b"\x0a\x01g"),
    }


@pytest.mark.parametrize("kind", list(damage(b"")))
def test_damaged_files_are_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_foreign(path)
    path.write_bytes(damage(path.read_bytes())[kind])
    with pytest.raises(ContractError) as error:
        load_foreign(tmp_path, classes=CLASSES)
    assert "net.onnx" in error.value.message
    assert "\n" not in str(error.value)


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    import onnx

    write_foreign(tmp_path / "net.onnx")
    model = onnx.load(str(tmp_path / "net.onnx"))
    path = str(tmp_path / "net.onnx")
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(UsageError, match="has its weights in other files"):
        load_foreign(tmp_path)


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_foreign(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="onnxruntime is not installed") as error:
        load_foreign(tmp_path)
    assert error.value.hint == 'pip install "zoo-cli[onnx]"'


def test_it_is_not_trained(tmp_path: Path) -> None:
    write_foreign(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="can be run, but not trained"):
        build_student(load_foreign(tmp_path), ("a", "b"), 0)


def test_source_goes_through_the_pipeline(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    write_foreign(workspace / "net.onnx")
    table = '\n[[source]]\nmodel = "onnx:net.onnx"\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n'
    edit(workspace, '\n[[source]]\nname = "gamma"', f'{table}\n[[source]]\nname = "gamma"')
    only = ("--source", "net")
    for words in (("extract", *only), ("score", "--metric", "parc", *only), ("pseudo-label", *only)):
        result = run(*words, workspace=workspace)
        assert result.code == 0, result.err
    (row,) = run("extract", *only, "--json", workspace=workspace).data
    assert (row["features"], row["classes"]) == (WIDTH, CLASSES)
    refused = run("finetune", "net", "--steps", "1", workspace=workspace)
    assert (refused.code, "can be run, but not trained" in refused.error) == (2, True)
    result = run("extract", *only, "--gradients", workspace=workspace)
    assert (result.code, "can be run, but not differentiated" in result.err) == (0, True)
