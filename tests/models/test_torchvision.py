"""torchvision's names, weights and cache; no test opens a network connection."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from tests.marks import slow, slow_unless
from tests.models.tiny_models import Payload, declare, load_source, loading_error, make_images, write_code
from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.models import loading
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.torchvision_files import infer_args
from zoo_cli.store import files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hub = tmp_path / "hub"
    monkeypatch.setattr(torch.hub, "_hub_dir", str(hub))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (hub / "checkpoints").mkdir(parents=True)
    return hub / "checkpoints"


def cache_weights(cache: Path, name: str, enum: str = "IMAGENET1K_V1") -> Any:
    """Put random weights into torch.hub's cache under the name of torchvision's own; their module."""
    extra = {"init_weights": False} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, **extra).eval()
    url = torchvision.models.get_model_weights(name)[enum].url
    torch.save(module.state_dict(), cache / Path(url).name)
    return module


@pytest.mark.parametrize(
    ("model", "weights"),
    [("squeezenet1_1", "IMAGENET1K_V1"), ("squeezenet1_1", "DEFAULT"), ("squeezenet1_1.IMAGENET1K_V1", "")],
)
def test_named_weights_come_from_the_cache(model: str, weights: str, root: Path, cache: Path) -> None:
    module = cache_weights(cache, "squeezenet1_1")
    loaded = loading.load_model(Source("s", f"torchvision:{model}", weights=weights), root)
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert loaded.preprocessing == Preprocessing(224, *imagenet, 256, "bilinear")
    assert loaded.class_names is not None
    assert (len(loaded.class_names), loaded.class_names[0]) == (1000, "tench")
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(make_images(64)), module(make_images(64)), rtol=0, atol=0)
    assert loaded.architecture.model == "torchvision:squeezenet1_1"


def test_googlenet_keeps_its_input_transform_without_aux_heads(root: Path, cache: Path) -> None:
    cache_weights(cache, "googlenet")
    loaded = loading.load_model(Source("s", "torchvision:googlenet.DEFAULT"), root)
    assert loaded.architecture.args == {"aux_logits": False, "transform_input": True}
    assert not any(key.startswith("aux") for key in loaded.module.state_dict())
    (cache / "full.pth").write_bytes(next(cache.glob("googlenet-*")).read_bytes())
    from_file = load_source("torchvision:googlenet", cache, weights="full.pth", args={"transform_input": True})
    assert not any(key.startswith("aux") for key in from_file.module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(from_file.module(make_images(64)), loaded.module(make_images(64)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_file_that_leaves_the_input_transform_open_is_refused(name: str, root: Path) -> None:
    torch.save({"fc.bias": torch.zeros(1000)}, root / "mine.pth")
    text = loading_error(declare(f"torchvision:{name}", weights="mine.pth"), root)
    assert f"whether {name} rescales its input depends on the training of mine.pth" in text
    assert "args = { transform_input = true }" in text


@pytest.mark.parametrize("args", slow_unless([{}, {"transform_input": False}], ({"transform_input": False},)))
def test_torchvisions_own_file_implies_its_input_transform(
    args: dict[str, bool], root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is known by the digest in the name under which torchvision offers it."""
    cache_weights(cache, "googlenet")
    (own,) = cache.iterdir()
    (root / "renamed.pth").write_bytes(own.read_bytes())
    monkeypatch.setattr(files, "digest", lambda _path: own.stem[-8:] + 56 * "0")
    loaded = load_source("torchvision:googlenet", root, weights="renamed.pth", args=args)
    assert bool(loaded.module.transform_input) is (not args)
    named = load_source("torchvision:googlenet.DEFAULT", root, args=args)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(make_images(64)), named.module(make_images(64)), rtol=0, atol=0)
    assert loaded.architecture == named.architecture


def test_positions_tell_the_size_of_the_image(root: Path) -> None:
    state = {"encoder.pos_embedding": torch.zeros(1, 24 * 24 + 1, 8)}
    assert infer_args("vit_b_16", root / "w.pt", state, {"a": 1}, {}, "s") == {"a": 1, "image_size": 384}
    assert infer_args("vit_b_16", root / "w.pt", state, {"image_size": 224}, {}, "s") == {"image_size": 224}


@pytest.mark.slow
def test_a_vision_transformer_of_a_file_has_the_size_of_its_positions(root: Path) -> None:
    wide = load_source("torchvision:vit_b_32", root, args={"image_size": 96}, input_size=96)
    torch.save(wide.module.state_dict(), root / "wide.pt")
    again = load_source("torchvision:vit_b_32", root, weights="wide.pt", input_size=96)
    assert again.architecture.args["image_size"] == 96
    with torch.no_grad():
        torch.testing.assert_close(again.module(make_images(96)), wide.module(make_images(96)), rtol=0, atol=0)


def test_old_keys_of_densenets_are_read(root: Path) -> None:
    new = load_source("torchvision:densenet121", root, seed=3)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): value
        for key, value in new.module.state_dict().items()
    }
    assert any("norm.1." in key for key in old)
    torch.save(old, root / "old.pth")
    again = load_source("torchvision:densenet121", root, weights="old.pth")
    with torch.no_grad():
        torch.testing.assert_close(again.module(make_images(64)), new.module(make_images(64)), rtol=0, atol=0)


def test_weights_without_a_network_are_one_line(root: Path) -> None:
    text = loading_error(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ZooError)
    assert "could not be fetched" in text
    assert "https://download.pytorch.org" in text


@pytest.mark.parametrize("data", [b"", b"torn", None])
def test_a_damaged_cache_is_named(data: bytes | None, root: Path, cache: Path) -> None:
    cache_weights(cache, "squeezenet1_1")
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-100] if data is None else data)
    assert file.name in loading_error(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ContractError)


def test_pickled_code_in_the_cache_never_runs(root: Path, cache: Path) -> None:
    cache_weights(cache, "squeezenet1_1")
    (file,) = cache.iterdir()
    torch.save(Payload(root / "canary"), file)
    text = loading_error(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ContractError)
    assert "holds pickled code" in text
    assert not (root / "canary").exists()


def test_cached_weights_of_another_architecture_are_refused(root: Path, cache: Path) -> None:
    cache_weights(cache, "squeezenet1_1")
    (file,) = cache.iterdir()
    torch.save({"a": torch.zeros(1)}, file)
    assert "does not fit" in loading_error(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ContractError)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("resnet17", {}, "did you mean resnet18?"),
        ("resnet18.V9", {}, 'no weights of torchvision:resnet18 and no file "V9"'),
        ("resnet18", {"weights": "IMAGENET1K"}, "did you mean IMAGENET1K_V1?"),
        ("resnet18", {"weights": "zoo/x.pt"}, 'no weights file "zoo/x.pt"'),
        ("resnet50.IMAGENET1K_V1", {"weights": "IMAGENET1K_V2"}, "declare the weights once"),
        ("squeezenet1_1.DEFAULT", {"classes": 7}, "have 1000"),
        ("resnet18", {"args": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ("resnet18", {"args": {"weights": "DEFAULT"}}, "use the key weights"),
    ],
)
def test_unknown_torchvision_names_are_one_line(model: str, options: dict[str, Any], words: str, root: Path) -> None:
    assert words in loading_error(declare(f"torchvision:{model}", **options), root)


def test_classes_set_the_width_of_the_head(root: Path) -> None:
    model = load_source("torchvision:resnet18", root, classes=7)
    assert (model.classes, model.module.fc.out_features) == (7, 7)
    assert load_source("torchvision:resnet18", root, classes=("a", "b")).class_names == ("a", "b")


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", *slow("mobilenet_v3_small")])
@pytest.mark.parametrize("with_head", [False, True])
def test_a_body_without_its_head_gives_the_features(name: str, with_head: bool, root: Path) -> None:
    full = load_source(f"torchvision:{name}", root, seed=4)
    state = full.module.state_dict()
    torch.save({k: v for k, v in state.items() if with_head or not k.startswith(f"{full.tap.head}.")}, root / "b.pt")
    body = load_source(f"torchvision:{name}", root, weights="b.pt", classes=0)
    assert (body.classes, body.class_names, body.tap.head) == (0, None, None)
    with torch.no_grad():
        features, _ = FeatureExtractor(full.module, full.tap)(make_images(64))
        torch.testing.assert_close(body.module(make_images(64)), features)
