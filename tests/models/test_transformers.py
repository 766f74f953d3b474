"""Folders that transformers writes, its classes, and what it cannot or must not load; no test opens a connection."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.models.hub_server import fill_cache, serve_models, use_cache
from tests.models.tiny_models import Payload, declare, load_run, loading_error, make_images, save_student, write_code
from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.images.decoding import make_view
from zoo_cli.models import file, loading
from zoo_cli.models.architecture import PreprocessingDefaults
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.image_processors import read_preprocessing
from zoo_cli.models.student import build_student
from zoo_cli.models.weights import state_sha256

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VIT = {**SMALL, "image_size": 32, "patch_size": 8}
NAMES = ("tit", "owl", "wren")
LABELS: dict[str, Any] = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
RESNET: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
CONVNEXT: dict[str, Any] = {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "image_size": 32}
SQUARE = {"do_resize": True, "size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def save_model(folder: Path, kind: str, config: dict[str, Any], processor: dict[str, Any] | None = SQUARE) -> Any:
    """A model with random weights, in eval mode, and its folder as transformers writes it."""
    function = getattr(transformers, kind)
    torch.manual_seed(3)
    module = function(function.config_class(**config)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # small initial weights hide differences
    module.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return module


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers") / "vit"
    save_model(folder, "ViTForImageClassification", {**VIT, **LABELS})
    return folder


CLASSIFIERS = [
    ("ViTForImageClassification", VIT, 16),
    ("ConvNextForImageClassification", CONVNEXT, 12),
    *(
        pytest.param(*row, marks=pytest.mark.slow)
        for row in (
            ("ResNetForImageClassification", RESNET, 12),
            ("Dinov2ForImageClassification", {**SMALL, "image_size": 32, "patch_size": 8, "mlp_ratio": 2}, 32),
        )
    ),
]


@pytest.mark.parametrize("prefix", ["file:", "transformers:./"])
@pytest.mark.parametrize(("kind", "config", "dim"), CLASSIFIERS)
def test_classifiers_load_and_become_students(
    kind: str, config: dict[str, Any], dim: int, prefix: str, tmp_path: Path
) -> None:
    module = save_model(tmp_path / "net", kind, {**config, **LABELS})
    model = loading.load_model(Source("s", f"{prefix}net"), tmp_path)
    assert (model.tap.dim, model.classes, model.class_names) == (dim, 3, NAMES)
    assert model.preprocessing == Preprocessing(32, (0.5,) * 3, (0.25,) * 3)
    x = make_images(32)
    with torch.no_grad():
        features, logits = model.extractor()(x)
        torch.testing.assert_close(logits, module(pixel_values=x).logits, rtol=0, atol=0)
        torch.testing.assert_close(module.get_submodule(model.tap.head)(features), logits)
    student = build_student(model, ("a", "b"), seed=1).eval()
    save_student(student, tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(load_run(tmp_path).extractor()(x)[1], student(x)[1], rtol=0, atol=0)
    assert file.read_model_spec(tmp_path / "net") == f"transformers:{kind}"


@pytest.mark.parametrize(("kind", "config", "dim"), CLASSIFIERS)
def test_zero_classes_leave_the_head_out(kind: str, config: dict[str, Any], dim: int, tmp_path: Path) -> None:
    save_model(tmp_path / "net", kind, config)
    x = make_images(32)
    with torch.no_grad():
        features, _ = loading.load_model(Source("s", "file:net"), tmp_path).extractor()(x)
        body = loading.load_model(Source("s", "file:net", classes=0), tmp_path)
        torch.testing.assert_close(body.extractor()(x)[0], features)
    assert (body.classes, body.tap.dim) == (0, dim)
    student = build_student(body, ("a", "b"), seed=1).eval()
    save_student(student, tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(load_run(tmp_path).extractor()(x)[1], student(x)[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("feature", "pick"),
    [
        ("pooler_output", lambda output: output.pooler_output),
        ("last_hidden_state:cls", lambda output: output.last_hidden_state[:, 0]),
        ("last_hidden_state:mean", lambda output: output.last_hidden_state.mean(1)),
    ],
)
def test_encoders_give_the_declared_output(feature: str, pick: Any, tmp_path: Path) -> None:
    module = save_model(tmp_path / "net", "ViTModel", VIT)
    model = loading.load_model(Source("s", "file:net", feature_output=feature), tmp_path)
    assert (model.tap.dim, model.classes, model.class_names) == (16, 0, None)
    x = make_images(32)
    with torch.no_grad():
        torch.testing.assert_close(model.extractor()(x)[0], pick(module(x)), rtol=0, atol=0)
    assert loading.describe_model(model)["feature_layer"]["output"] == feature
    student = build_student(model, NAMES, seed=1).eval()
    save_student(student, tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(load_run(tmp_path).extractor()(x)[1], student(x)[1], rtol=0, atol=0)


def test_an_undeclared_output_lists_those_there_are(tmp_path: Path) -> None:
    save_model(tmp_path / "net", "ViTModel", VIT)
    text = loading_error(Source("s", "file:net"), tmp_path)
    assert "returns BaseModelOutputWithPooling, not a tensor" in text
    assert "feature_output to one of: last_hidden_state (2x17x16), pooler_output (2x16); NAME:cls" in text
    text = loading_error(Source("s", "file:net", feature_output="pooled"), tmp_path)
    assert 'feature_output = "pooled": the model returns no such tensor' in text
    assert "last_hidden_state (2x17x16)" in text
    assert "no tokens" in loading_error(Source("s", "file:net", feature_output="pooler_output:cls"), tmp_path)
    assert 'write "x:cls" or "x:mean"' in loading_error(Source("s", "file:net", feature_output="x:first"), tmp_path)
    tokens = Source("s", "file:net", feature_output="last_hidden_state")
    assert 'feature_output to ":cls" or ":mean"' in loading_error(tokens, tmp_path)


def test_the_image_part_of_clip_is_loaded(tmp_path: Path) -> None:
    text = {**SMALL, "vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    config = {"text_config": text, "vision_config": VIT, "projection_dim": 8}
    module = save_model(tmp_path / "net", "CLIPModel", config)
    model = loading.load_model(Source("s", "file:net", feature_output="pooler_output"), tmp_path)
    x = make_images(32)
    with torch.no_grad():
        torch.testing.assert_close(model.extractor()(x)[0], module.vision_model(x).pooler_output, rtol=0, atol=0)
    student = build_student(model, NAMES, seed=1).eval()
    save_student(student, tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(load_run(tmp_path).extractor()(x)[1], student(x)[1], rtol=0, atol=0)


@pytest.mark.slow
def test_networks_of_timm_within_transformers_load(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    data = {
        "input_size": [3, 64, 64],
        "mean": [0.3] * 3,
        "std": [0.2] * 3,
        "crop_pct": 0.8,
        "interpolation": "bilinear",
    }
    config = {"architecture": "test_resnet", "pretrained_cfg": data, **LABELS}
    module = save_model(tmp_path / "net", "TimmWrapperForImageClassification", config, None)
    model = loading.load_model(Source("s", "file:net"), tmp_path)
    assert model.preprocessing == Preprocessing(64, (0.3,) * 3, (0.2,) * 3, 80)
    assert (model.classes, model.class_names) == (3, NAMES)
    x = make_images(64)
    with torch.no_grad():
        torch.testing.assert_close(model.extractor()(x)[1], module(x).logits, rtol=0, atol=0)
    assert "drop classes = 0" in loading_error(Source("s", "file:net", classes=0), tmp_path)
    save_student(build_student(model, NAMES, seed=1), tmp_path / "run")
    assert load_run(tmp_path).classes == 3


def test_images_are_prepared_as_transformers_does(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((70, 50), Image.Resampling.BICUBIC)
    for processor in (
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
        transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.8),
    ):
        processor.save_pretrained(tmp_path)
        known = read_preprocessing(tmp_path, {"num_channels": 3})
        assert None not in (known.input_size, known.interpolation, known.mean, known.std)
        preprocessing = Preprocessing(known.input_size, known.mean, known.std, known.resize, known.interpolation)
        view = torch.from_numpy(np.array(make_view(image, preprocessing))).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (known.mean, known.std))
        expected = processor(image, return_tensors="pt")["pixel_values"][0]
        # Pillow and torchvision round the pixels of a resized image differently.
        torch.testing.assert_close((view - mean) / std, expected, rtol=0, atol=0.05)


def test_an_encoder_from_a_classifier_names_its_pooler(vit: Path, tmp_path: Path) -> None:
    config = json.loads((vit / "config.json").read_text())
    config["architectures"] = ["ViTForMaskedImageModeling"]
    copy_folder(vit, tmp_path / "net", config)
    source = Source("s", "file:net", feature_output="last_hidden_state:cls")
    text = loading_error(source, tmp_path, ContractError)
    assert "missing pooler.dense.bias, pooler.dense.weight; set args = { add_pooling_layer = false }" in text
    args = {"add_pooling_layer": False}
    model = loading.load_model(Source("s", source.model, args, feature_output=source.feature_output), tmp_path)
    assert model.tap.dim == 16
    student = build_student(model, NAMES, seed=1).eval()
    save_student(student, tmp_path / "run")
    with torch.no_grad():
        x = make_images(32)
        torch.testing.assert_close(load_run(tmp_path).extractor()(x)[1], student(x)[1], rtol=0, atol=0)


def copy_folder(folder: Path, copy: Path, config: dict[str, Any]) -> None:
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("processor", "size", "resize", "interpolation"),
    [
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, 32, 40, 3),
        ({"size": {"shortest_edge": 32}, "crop_pct": 0.8}, 32, 40, 3),
        ({"size": {"shortest_edge": 384}, "crop_pct": None}, 384, None, 3),
        ({"size": 32, "image_processor_type": "ViTImageProcessorFast"}, 32, None, 2),
        ({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": 32, "crop_pct": 0.8}, 32, 40, 3),
        ({"size": {"shortest_edge": 32}}, None, None, 2),
        ({"size": {"height": 32, "width": 48}}, None, None, 2),
        ({"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32}, None, None, 2),
    ],
)
def test_preprocessing_is_that_of_the_image_processor(
    processor: dict[str, Any], size: int | None, resize: int | None, interpolation: int, tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**processor, "resample": interpolation}))
    defaults = read_preprocessing(tmp_path, {"num_channels": 3})
    assert (defaults.input_size, defaults.resize) == (size, resize)
    assert defaults.interpolation == {2: "bilinear", 3: "bicubic"}[interpolation]


@pytest.mark.parametrize(
    "step",
    [
        {"image_processor_type": "LevitImageProcessor"},
        {"do_flip_channel_order": True},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5},
        {"include_top": True},
    ],
)
def test_steps_that_zoo_does_not_have_leave_it_open(step: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**SQUARE, **step}))
    assert read_preprocessing(tmp_path, {}) == PreprocessingDefaults()


def test_unknown_preprocessing_must_be_declared(vit: Path, tmp_path: Path) -> None:
    copy_folder(vit, tmp_path / "net", json.loads((vit / "config.json").read_text()))
    (tmp_path / "net" / "preprocessor_config.json").unlink()
    assert "input_size, mean, std not known" in loading_error(Source("s", "file:net"), tmp_path)
    assert loading.load_model(declare("file:net", input_size=32), tmp_path).classes == 3


def test_processors_of_transformers_are_understood(tmp_path: Path) -> None:
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, image_mean=[0.4, 0.5, 0.6])
    processor.save_pretrained(tmp_path)
    defaults = read_preprocessing(tmp_path, {})
    assert (defaults.input_size, defaults.resize, defaults.interpolation) == (32, int(32 / (224 / 256)), "bicubic")
    assert (defaults.mean, defaults.std) == ((0.4, 0.5, 0.6), tuple(processor.image_std))


@pytest.mark.parametrize(
    ("change", "words", "kind"),
    [
        ({"auto_map": {"AutoModel": "modeling_own.Own"}, "model_type": "own"}, "code of its own, modeling_own.Own", 2),
        ({"auto_map": {"AutoModel": "own.Own"}, "architectures": ["Own"]}, "code of its own, own.Own", 2),
        ({"model_type": "own"}, 'its model_type is "own"', 2),
        ({"model_type": 3}, 'its model_type is "3"', 2),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "BertModel takes no images", 2),
        ({"architectures": "ViTModel"}, '"architectures" in', 3),
        ({"hidden_size": 24}, "do not fit ViTForImageClassification: other shape of classifier.weight", 3),
        ({"num_hidden_layers": 3}, "missing vit.layers.2", 3),
        ({"num_hidden_layers": 1}, "unexpected vit.layers.1", 3),
        ({"hidden_size": "wide"}, "transformers ViTForImageClassification", 2),
    ],
)
def test_folders_that_cannot_load_are_one_line(
    change: dict[str, Any], words: str, kind: int, vit: Path, tmp_path: Path
) -> None:
    copy_folder(vit, tmp_path / "net", {**json.loads((vit / "config.json").read_text()), **change})
    text = loading_error(Source("s", "file:net"), tmp_path, ContractError if kind == 3 else UsageError)
    assert words in text


def test_code_beside_a_model_of_transformers_is_not_run(vit: Path, tmp_path: Path) -> None:
    config = json.loads((vit / "config.json").read_text())
    copy_folder(vit, tmp_path / "net", {**config, "auto_map": {"AutoModelForImageClassification": "own.Own"}})
    (tmp_path / "net" / "own.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    model = loading.load_model(Source("s", "file:net"), tmp_path)
    assert type(model.module).__name__ == "ViTForImageClassification"
    assert not (tmp_path / "canary").exists()


def test_weights_of_a_folder_are_checked(vit: Path, tmp_path: Path) -> None:
    copy_folder(vit, tmp_path / "net", json.loads((vit / "config.json").read_text()))
    weights = tmp_path / "net" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    assert "not a complete safetensors file" in loading_error(Source("s", "file:net"), tmp_path, ContractError)
    save_file({"conv.weight": torch.zeros(3)}, weights)
    assert "do not fit ViTForImageClass" in loading_error(Source("s", "file:net"), tmp_path, ContractError)
    weights.unlink()
    text = loading_error(Source("s", "file:net"), tmp_path, ContractError)
    assert "contains no model.safetensors or pytorch_model.bin; put its weights there" in text
    torch.save(Payload(tmp_path / "canary"), tmp_path / "net" / "pytorch_model.bin")
    assert "holds pickled code" in loading_error(Source("s", "file:net"), tmp_path, ContractError)
    assert not (tmp_path / "canary").exists()
    assert "drop weights" in loading_error(Source("s", "file:net", weights="w.pt"), tmp_path)
    torch.save(load_file(vit / "model.safetensors"), tmp_path / "net" / "pytorch_model.bin")
    x = make_images(32)
    with torch.no_grad():
        first, second = (loading.load_model(Source("s", f"file:{folder}"), tmp_path) for folder in (vit, "net"))
        torch.testing.assert_close(first.extractor()(x), second.extractor()(x), rtol=0, atol=0)


def test_weights_in_parts_load(vit: Path, tmp_path: Path) -> None:
    module = transformers.ViTForImageClassification.from_pretrained(vit)
    module.save_pretrained(tmp_path / "net", max_shard_size="10KB")
    assert len(list((tmp_path / "net").glob("*.safetensors"))) > 1
    model = loading.load_model(declare("file:net", input_size=32), tmp_path)
    assert state_sha256(model.module) == model.weights_sha256 == state_sha256(module)


def test_a_class_takes_its_configuration(tmp_path: Path) -> None:
    name, args = "transformers:ViTForImageClassification", {"config": {**VIT, "num_labels": 3}}
    first, again, other = (
        loading.load_model(declare(name, args=args, weights="none", input_size=32), tmp_path, seed=seed)
        for seed in (1, 1, 2)
    )
    assert (first.classes, first.class_names) == (3, None)
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    save_file(first.module.state_dict(), tmp_path / "w.safetensors")
    loaded = loading.load_model(declare(name, args=args, weights="w.safetensors", input_size=32), tmp_path)
    assert state_sha256(loaded.module) == first.weights_sha256
    text = loading_error(declare(name, args=args, input_size=32), tmp_path)
    assert "has no weights; set weights to one of: a file, or none for a random network" in text
    wrong = declare(name, args={**args, "depth": 3}, weights="none")
    assert "unexpected keyword argument 'depth'" in loading_error(wrong, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViTForImageClasification", "did you mean ViTForImageClassification?"),
        ("vit", "a folder is written with a slash: transformers:./vit"),
        ("pipeline", 'no class "pipeline"'),
        ("BertModel", "takes no images"),
        ("a/b/c", "write ORG/NAME"),
    ],
)
def test_unknown_names_are_one_line(name: str, words: str, tmp_path: Path) -> None:
    assert words in loading_error(declare(f"transformers:{name}", weights="" if "/" in name else "none"), tmp_path)


def test_a_model_of_the_hub_is_fetched_once(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("s", "transformers:us/vit")
    with serve_models({"us/vit": vit}) as (address, requests):
        use_cache(tmp_path / "cache", address, monkeypatch)
        first = loading.load_model(source, tmp_path)
        assert first.preprocessing.input_size == 32
        requests.clear()
        assert loading.load_model(source, tmp_path).weights_sha256 == first.weights_sha256
        assert not requests
    fill_cache(tmp_path / "other", "us/vit", vit)
    use_cache(tmp_path / "other", address, monkeypatch, offline=True)
    assert loading.load_model(source, tmp_path).weights_sha256 == first.weights_sha256


def test_missing_transformers_names_the_extra(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    text = loading_error(Source("s", f"file:{vit}"), tmp_path)
    assert text == 'transformers is not installed; pip install "zoo-cli[transformers]"'


OBJECTS = """
from dataclasses import dataclass
from typing import Any
import torch
from torch import nn

@dataclass
class Output:
    pooled: Any
    tokens: Any

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv, self.fc = kind, nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 5)
    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        pooled = tokens.mean(1)
        if self.kind == "object": return Output(pooled, tokens)
        if self.kind == "dict": return {"out": {"pooled": pooled}, "tokens": tokens}
        if self.kind == "tuple": return tokens, pooled
        if self.kind == "both": return {"logits": self.fc(pooled), "tokens": tokens}
        return tokens

def net(kind): return Net(kind)
"""


@pytest.mark.parametrize(
    ("kind", "feature", "classes"),
    [
        ("object", "pooled", 0),
        ("object", "tokens:mean", 0),
        ("dict", "out.pooled", 0),
        ("tuple", "1", 0),
        ("tokens", ":mean", 0),
        ("both", "tokens:mean", 5),
    ],
)
def test_users_networks_may_return_objects(kind: str, feature: str, classes: int, tmp_path: Path) -> None:
    write_code(tmp_path, OBJECTS)
    options: dict[str, Any] = {"args": {"kind": kind}, "feature_output": feature, "input_size": 16}
    model = loading.load_model(declare("python:nets.py:net", **options), tmp_path)
    assert (model.tap.dim, model.classes) == (6, classes)
    x = make_images(16)
    with torch.no_grad():
        features, logits = FeatureExtractor(model.module, model.tap)(x)
        torch.testing.assert_close(features, model.module.conv(x).mean((2, 3)))
        if classes:
            torch.testing.assert_close(logits, model.module.fc(features))
        student = build_student(model, NAMES, seed=1).eval()
        save_student(student, tmp_path / "run")
        torch.testing.assert_close(load_run(tmp_path).extractor()(x)[1], student(x)[1], rtol=0, atol=0)


def test_a_layer_may_return_tokens(tmp_path: Path, vit: Path) -> None:
    source = Source("s", f"file:{vit}", feature_layer="vit.layernorm", feature_output=":cls")
    model = loading.load_model(source, tmp_path)
    plain = loading.load_model(Source("s", f"file:{vit}"), tmp_path)
    assert model.classes == 3
    assert "output" not in loading.describe_model(plain)["feature_layer"], "records have the key where it is declared"
    taps = [build_student(each, NAMES, 1).config()["zoo"]["architecture"]["edits"][0]["tap"] for each in (model, plain)]
    assert [tap.get("output") for tap in taps] == [":cls", None]
    x = make_images(32)
    with torch.no_grad():
        torch.testing.assert_close(model.extractor()(x), plain.extractor()(x), rtol=0, atol=0)
