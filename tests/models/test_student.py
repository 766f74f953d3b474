"""Students: their heads, their gradients, and the folder that restores them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.tiny_models import load_run, load_source, make_images, save_student, write_code
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.student import build_student

NAMES = ("pit", "crack", "fine")
SLOW = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


KINDS: list[Any] = [
    pytest.param("torchvision:resnet18", {}, id="torchvision"),
    pytest.param("torchvision:squeezenet1_1", {}, id="convolution"),
    pytest.param("torchvision:googlenet", {"args": {"transform_input": True}}, id="with args"),
    pytest.param("torchvision:resnet18", {"feature_layer": "layer3"}, id="feature layer"),
    pytest.param("torchvision:resnet18", {"classes": 0}, id="without a head"),
    pytest.param("torchvision:resnet18", {"head": False}, id="projection"),
    pytest.param("python:nets.py:tiny", {"args": {"width": 12}}, id="python"),
]
SOME_KINDS = [
    kind if kind.id in ("with args", "without a head", "python") else pytest.param(*kind.values, id=kind.id, marks=SLOW)
    for kind in KINDS
]
"""Of students of students, some are slow tests."""


@pytest.mark.parametrize(("model", "options"), KINDS)
def test_a_folder_restores_the_student_bit_for_bit(model: str, options: dict[str, Any], root: Path) -> None:
    student = build_student(load_source(model, root, input_size=32, **options), NAMES, seed=1)
    student.train()
    student(make_images(32, count=4))  # changes the running statistics
    student.eval()
    save_student(student, root / "run")
    again = load_run(root)
    x = make_images(32)
    with torch.no_grad():
        features, logits = FeatureExtractor(again.module, again.tap)(x)
        torch.testing.assert_close((features, logits), student(x), rtol=0, atol=0)
        torch.testing.assert_close(again.module(x), logits, rtol=0, atol=0)
    assert (again.class_names, again.preprocessing) == (NAMES, student.preprocessing)


@pytest.mark.parametrize(("model", "options"), SOME_KINDS)
def test_a_student_of_a_student_keeps_the_architecture(model: str, options: dict[str, Any], root: Path) -> None:
    save_student(build_student(load_source(model, root, input_size=32, **options), NAMES, seed=1), root / "run")
    second = build_student(load_run(root), ("x", "y"), seed=2).eval()
    assert second.config()["zoo"]["architecture"]["model"] == model
    save_student(second, root / "next")
    (root / "run" / "config.json").unlink()
    again = load_run(root, "next")
    assert again.class_names == ("x", "y")
    with torch.no_grad():
        torch.testing.assert_close(again.module(make_images(32)), second(make_images(32))[1], rtol=0, atol=0)
    assert len(second.config()["zoo"]["architecture"]["edits"]) == 1


@pytest.mark.parametrize("options", [{}, {"feature_layer": "layer3"}])
def test_a_run_without_its_head_gives_its_features(options: dict[str, Any], root: Path) -> None:
    student = build_student(load_source("torchvision:resnet18", root, input_size=32, **options), NAMES, seed=1)
    save_student(student, root / "run")
    encoder = load_run(root, classes=0)
    assert (encoder.classes, encoder.class_names) == (0, None)
    with torch.no_grad():
        torch.testing.assert_close(encoder.module(make_images(32)), student(make_images(32))[0], rtol=0, atol=0)
    third = build_student(encoder, ("x", "y"), seed=3)
    save_student(third, root / "third")
    with torch.no_grad():
        torch.testing.assert_close(
            load_run(root, "third").module(make_images(32)), third(make_images(32))[1], rtol=0, atol=0
        )


def test_an_encoder_with_head_has_keys_encoder_and_head(root: Path) -> None:
    student = build_student(load_source("torchvision:resnet18", root, feature_layer="layer3"), NAMES, seed=1)
    keys = {key.partition(".")[0] for key in student.plain_state_dict()}
    assert keys == {"encoder", "head"}
    assert student.features_dim == 256


def test_the_heads_own_input_keeps_the_plain_state_dict(root: Path) -> None:
    student = build_student(load_source("torchvision:resnet18", root, feature_layer="fc:input"), NAMES, seed=1)
    assert "fc.weight" in student.plain_state_dict()


def test_the_body_has_the_sources_weights(root: Path) -> None:
    model = load_source("torchvision:resnet18", root)
    student = build_student(model, NAMES, seed=1)
    original, copied = model.module.state_dict(), student.plain_state_dict()
    assert original["fc.weight"].shape == (1000, 512)
    for key, value in original.items():
        if not key.startswith("fc."):
            torch.testing.assert_close(copied[key], value, rtol=0, atol=0)


def test_only_the_seed_determines_the_head(root: Path) -> None:
    model = load_source("torchvision:resnet18", root)
    state = torch.get_rng_state()
    heads = [build_student(model, NAMES, seed=seed).plain_state_dict()["fc.weight"] for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert heads[0].abs().max() <= 512**-0.5  # nn.Linear's default


def test_gradients_reach_the_body_through_a_wrapped_encoder(root: Path) -> None:
    student = build_student(load_source("torchvision:resnet18", root, feature_layer="layer2"), NAMES, seed=1).train()
    features, logits = student(make_images(32, count=4))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    assert student.module.encoder.conv1.weight.grad.abs().sum() > 0
    assert features.requires_grad


def test_plain_weights_share_no_memory_with_the_student(root: Path) -> None:
    student = build_student(load_source("python:nets.py:tiny", root), NAMES, seed=1)
    student.plain_state_dict()["fc.weight"].zero_()
    assert student.module.fc.weight.abs().sum() > 0


def test_loading_keeps_the_global_generator(root: Path) -> None:
    save_student(
        build_student(load_source("torchvision:resnet18", root, feature_layer="layer3"), NAMES, seed=1), root / "run"
    )
    before = torch.get_rng_state()
    load_run(root)
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_cached_while_finding_the_tap_can_train(root: Path) -> None:
    student = build_student(load_source("python:nets.py:keeping", root), NAMES, seed=1).train()
    student(make_images(16))[1].sum().backward()
    assert student.module.body[0].weight.grad.abs().sum() > 0


def test_a_changed_factory_file_is_refused(root: Path) -> None:
    save_student(build_student(load_source("python:nets.py:tiny", root), NAMES, seed=1), root / "run")
    file = root / "nets.py"
    file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(ContractError, match=r"nets.py is not the file .* restore the one"):
        load_run(root)


def test_the_config_is_json_without_absolute_paths(root: Path) -> None:
    (root / "card.json").write_text('{"width": 7}')
    model = load_source("python:nets.py:tiny", root, args={"card": "card.json"})
    text = json.dumps(build_student(model, NAMES, seed=1).config(), allow_nan=False)
    assert str(root) not in text
    assert '"card": "card.json"' in text


def test_one_class_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="1 classes"):
        build_student(load_source("python:nets.py:tiny", root), ("only",), seed=1)


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["zoo"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "zoo.student/9"}, "zoo.student/1"),
        ({"architecture": {}}, "architecture.model"),
        ({"preprocessing": {"size": 3}}, "size"),
        ({"classes": None}, '"classes" is null'),
        ({"architecture": None}, '"architecture" is null'),
    ],
)
def test_wrong_configs_are_contract_errors(changes: dict[str, Any], words: str, root: Path) -> None:
    save_student(build_student(load_source("python:nets.py:tiny", root), NAMES, seed=1), root / "run")
    edit_config(root / "run", **changes)
    with pytest.raises(ContractError, match=words):
        load_run(root)


def test_missing_files_of_a_folder_are_named(root: Path) -> None:
    with pytest.raises(UsageError, match="no model in"):
        load_run(root, "nowhere")
    run = save_student(build_student(load_source("python:nets.py:tiny", root), NAMES, seed=1), root / "run")
    for options in ({"weights": "x.pt"}, {"args": {"width": 3}}):
        with pytest.raises(UsageError, match="drop"):
            load_run(root, **options)
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(ContractError, match="not a complete safetensors"):
        load_run(root)
    (run / "model.safetensors").unlink()
    with pytest.raises(ContractError, match=r"contains no model\.safetensors"):
        load_run(root)
    (run / "config.json").write_text("{")
    with pytest.raises(ContractError, match="not valid JSON"):
        load_run(root)
