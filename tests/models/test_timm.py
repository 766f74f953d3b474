"""timm's names, tags, data configuration and folders; no test opens a network connection."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.models.tiny_models import (
    Payload,
    declare,
    load_run,
    load_source,
    loading_error,
    make_images,
    save_student,
    write_code,
)
from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.models import loading
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.student import build_student

timm = pytest.importorskip("timm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


FAMILIES = (
    ("resnet18", 64, 512),
    ("vit_tiny_patch16_224", 224, 192),
    ("mobilenetv3_small_050", 64, 1024),
    ("convnext_atto", 64, 320),
    ("dla34", 64, 512),
    *(
        pytest.param(*row, marks=pytest.mark.slow)
        for row in (("efficientnet_b0", 64, 1280), ("efficientnet_lite0", 64, 1280), ("regnetx_002", 64, 368))
    ),
)


@pytest.mark.parametrize(("name", "size", "dim"), FAMILIES)
def test_heads_are_found_and_runs_load_with_timm_alone(name: str, size: int, dim: int, root: Path) -> None:
    model = loading.load_model(Source("s", f"timm:{name}", weights="none", input_size=size), root, seed=2)
    assert (model.tap.dim, model.classes) == (dim, 1000)
    x = make_images(size)
    with torch.no_grad():
        features, logits = FeatureExtractor(model.module, model.tap)(x)
        torch.testing.assert_close(logits, model.module(x), rtol=0, atol=0)
        head = model.module.get_submodule(model.tap.head)
        again = head(features[:, :, None, None]).flatten(1) if model.tap.pool else head(features)
        torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-5)

    student = build_student(model, ("pit", "crack", "fine"), seed=1).train()
    features, logits = student(make_images(size, count=3))
    # A convolution reads the map that the features average; a Linear reads the features.
    (gradient,) = torch.autograd.grad(logits.sum(), features, allow_unused=True)
    assert (gradient is None) == model.tap.pool
    student.eval()
    timm.create_model(name, num_classes=3).load_state_dict(student.plain_state_dict(), strict=True)
    folder = save_student(student, root / "run")
    with torch.no_grad():
        expected = student(x)[1]
        torch.testing.assert_close(load_run(root).module(x), expected, rtol=0, atol=0)
    if tuple(map(int, timm.__version__.split(".")[:3])) < (1, 0, 26):
        pytest.skip("this timm reads no safetensors from a folder")
    alone = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(alone(x), expected, rtol=0, atol=0)
    data = timm.data.resolve_model_data_config(alone)
    assert (tuple(data["input_size"]), tuple(data["mean"])) == ((3, size, size), model.preprocessing.mean)
    assert int(size / data["crop_pct"]) == model.preprocessing.resize
    assert list(alone.pretrained_cfg["label_names"]) == ["pit", "crack", "fine"]


def test_averaged_heads_need_a_layer(root: Path) -> None:
    name = "timm:deit_tiny_distilled_patch16_224"
    assert 'feature_layer, e.g. "head:input"' in loading_error(Source("s", name, weights="none"), root)
    model = loading.load_model(Source("s", name, weights="none", feature_layer="head:input"), root)
    assert (model.tap.dim, model.classes, model.tap.head) == (192, 1000, "")
    student = build_student(model, ("a", "b"), seed=1).eval()
    assert "architecture" not in student.config(), "timm alone cannot build it"
    save_student(student, root / "run")
    with torch.no_grad():
        torch.testing.assert_close(
            load_run(root).module(make_images(224)), student(make_images(224))[1], rtol=0, atol=0
        )


def test_zero_classes_give_the_pooled_feature(root: Path) -> None:
    model = loading.load_model(Source("s", "timm:resnet18", weights="none", classes=0, input_size=64), root)
    assert (model.tap.module, model.tap.dim, model.classes) == ("", 512, 0)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_a_gray_timm_folder_loads_with_its_preprocessing(ending: str, root: Path) -> None:
    module = timm.create_model("test_resnet", num_classes=4, in_chans=1).eval()
    (root / "hub").mkdir()
    if ending == "bin":
        torch.save(module.state_dict(), root / "hub" / "pytorch_model.bin")
    else:
        save_file(module.state_dict(), root / "hub" / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 4,
        "model_args": {"in_chans": 1},
        "label_names": ["a", "b", "c", "d"],
        "pretrained_cfg": {"input_size": [1, 96, 96], "mean": [0.3], "std": [0.2], "crop_pct": 0.96},
    }
    (root / "hub" / "config.json").write_text(json.dumps(config))
    model = loading.load_model(Source("s", "file:hub"), root)
    assert model.preprocessing == Preprocessing(96, (0.3,), (0.2,), 100, "bicubic", 1)
    assert (model.class_names, model.architecture.model) == (("a", "b", "c", "d"), "timm:test_resnet")
    with torch.no_grad():
        x = make_images(96, channels=1)
        torch.testing.assert_close(model.module(x), module(x), rtol=0, atol=0)
    body = loading.load_model(Source("s", "file:hub", classes=0), root)
    with torch.no_grad():
        pooled = module.forward_head(module.forward_features(x), pre_logits=True)
        torch.testing.assert_close(body.module(x), pooled, rtol=0, atol=0)

    student = build_student(model, ("x", "y"), seed=1).eval()
    save_student(student, root / "run")
    with torch.no_grad():
        torch.testing.assert_close(load_run(root).module(x), student(x)[1], rtol=0, atol=0)

    assert "have 4" in loading_error(Source("s", "file:hub", classes=9), root)
    del config["pretrained_cfg"]["mean"]
    (root / "hub" / "config.json").write_text(json.dumps(config))
    assert "mean not known" in loading_error(Source("s", "file:hub"), root)
    config["architecture"] = "resnet_of_mine"
    (root / "hub" / "config.json").write_text(json.dumps(config))
    assert "names no architecture of timm" in loading_error(Source("s", "file:hub"), root)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("test_resnet", {"num_classes": 3, "in_chans": 1}),
        ("test_vit", {"num_classes": 3, "img_size": 96}),
        ("test_convnext", {"num_classes": 0}),
    ],
)
def test_a_folder_that_timm_writes_loads(name: str, args: dict[str, Any], ending: str, root: Path) -> None:
    module = timm.create_model(name, **args).eval()
    timm.models.save_for_hf(module, root / "hub", safe_serialization=ending == "safetensors")
    model = loading.load_model(Source("s", "file:hub"), root)
    size, channels = model.preprocessing.input_size, model.preprocessing.channels
    assert (size, channels) == (args.get("img_size", 160), args.get("in_chans", 3))
    assert model.classes == args["num_classes"]
    x = make_images(size, channels=channels)
    with torch.no_grad():
        torch.testing.assert_close(model.module(x), module(x), rtol=0, atol=0)
    student = build_student(model, ("x", "y"), seed=1).eval()
    save_student(student, root / "run")
    with torch.no_grad():
        torch.testing.assert_close(load_run(root).module(x), student(x)[1], rtol=0, atol=0)


def test_class_names_may_be_numbered_in_a_timm_folder(root: Path) -> None:
    names = {str(number): f"bird {number}" for number in range(12)}
    module = timm.create_model("test_resnet", num_classes=12)
    timm.models.save_for_hf(module, root / "hub", model_config={"label_names": names})
    model = loading.load_model(Source("s", "file:hub"), root)
    assert model.class_names == tuple(f"bird {number}" for number in range(12))


def test_weights_of_another_model_in_a_timm_folder(root: Path) -> None:
    timm.models.save_for_hf(timm.create_model("test_resnet"), root / "hub")
    torch.save(timm.create_model("test_vit").state_dict(), root / "hub" / "pytorch_model.bin")
    text = loading_error(Source("s", "file:hub"), root, ContractError)
    assert "Missing key" in text
    assert "pytorch_model.bin must be that of config.json" in text


@pytest.mark.parametrize("value", [[1], "wide", 3])
def test_model_args_of_another_type_are_refused(value: object, root: Path) -> None:
    (root / "hub").mkdir()
    (root / "hub" / "config.json").write_text(json.dumps({"architecture": "test_resnet", "model_args": value}))
    assert '"model_args" in' in loading_error(Source("s", "file:hub"), root, ContractError)


def test_damage_and_code_in_a_timm_folder_are_refused(root: Path) -> None:
    (root / "hub").mkdir()
    (root / "hub" / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 1000}))
    torch.save(Payload(root / "canary"), root / "hub" / "pytorch_model.bin")
    assert "holds pickled code" in loading_error(declare("file:hub"), root, ContractError)
    assert not (root / "canary").exists()
    (root / "hub" / "pytorch_model.bin").unlink()
    (root / "hub" / "model.safetensors").write_bytes(b"torn")
    assert "not a complete safetensors" in loading_error(declare("file:hub"), root, ContractError)


def test_a_weights_file_needs_a_tag_for_its_preprocessing(root: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), root / "w.pt")
    assert "input_size, mean, std not known" in loading_error(Source("s", "timm:test_resnet", weights="w.pt"), root)
    tagged = Source("s", "timm:test_resnet.r160_in1k", weights="w.pt")
    assert loading.load_model(tagged, root).preprocessing.input_size == 160
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), root / "body.pt")
    for name in ("w.pt", "body.pt"):
        assert load_source("timm:test_resnet", root, weights=name, classes=0).classes == 0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.mark.parametrize("options", [{"weights": "pretrained"}, {"weights": "r160_in1k"}, {}])
def test_pretrained_weights_come_from_the_cache(options: dict[str, str], root: Path, cache: Path) -> None:
    module = timm.create_model("test_resnet").eval()
    repository = cache / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(module.state_dict(), repository / "snapshots" / ("0" * 40) / "model.safetensors")
    name = "test_resnet" if options else "test_resnet.r160_in1k"
    model = loading.load_model(Source("s", f"timm:{name}", **options), root)
    with torch.no_grad():
        torch.testing.assert_close(model.module(make_images(160)), module(make_images(160)), rtol=0, atol=0)
    assert model.architecture.model == "timm:test_resnet"


@pytest.mark.usefixtures("cache")
def test_weights_without_a_network_are_one_line(root: Path) -> None:
    assert "connect once" in loading_error(Source("s", "timm:test_resnet", weights="pretrained"), root, ZooError)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("resnet17", {}, "did you mean resnet18?"),
        ("efficentnet_b0", {}, "did you mean efficientnet_b0? one of: efficientnet_b0, efficientnet_b0_"),
        ("mobilnetv3_large_100", {}, "did you mean mobilenetv3_large_100?"),
        ("local-dir:models/birds", {}, "write file:models/birds"),
        ("resnet18", {"weights": "a9_in1k"}, "one of: a1_in1k, a2_in1k"),
        ("resnet18.a9_in1k", {}, 'no weights of timm:resnet18 and no file "a9_in1k"'),
        ("resnet18.a1_in1k", {"weights": "a2_in1k"}, "declare the weights once"),
        ("resnet18.a1_in1k", {"classes": 7}, "its weights have 1000"),
        ("resnet18", {"args": {"pretrained": True}}, "use the keys weights and classes"),
        ("resnet18", {"args": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ("vit_tiny_patch16_224", {"input_size": 64}, "cannot run a batch of 2x3x64x64"),
    ],
)
def test_unknown_timm_names_are_one_line(model: str, options: dict[str, Any], words: str, root: Path) -> None:
    assert words in loading_error(declare(f"timm:{model}", **options), root)


def test_missing_timm_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert 'pip install "zoo-cli[timm]"' in loading_error(Source("s", "timm:resnet18", weights="none"), root)
