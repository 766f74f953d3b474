"""Students: their heads, their gradients, and the folder that builds them again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.networks import images, load, reload, store, write_code
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import student
from zoo_cli.models.capture import FeatureExtractor

NAMES = ("pit", "crack", "fine")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


KINDS = [
    pytest.param("torchvision:resnet18", {}, id="torchvision"),
    pytest.param("torchvision:squeezenet1_1", {}, id="convolution"),
    pytest.param("torchvision:googlenet", {"args": {"transform_input": True}}, id="with args"),
    pytest.param("torchvision:resnet18", {"feature_layer": "layer3"}, id="feature layer"),
    pytest.param("torchvision:resnet18", {"classes": 0}, id="without a head"),
    pytest.param("torchvision:resnet18", {"head": False}, id="projection"),
    pytest.param("python:nets.py:tiny", {"args": {"width": 12}}, id="python"),
]


@pytest.mark.parametrize(("model", "said"), KINDS)
def test_a_folder_gives_the_student_back_bit_for_bit(model: str, said: dict[str, Any], root: Path) -> None:
    learner = student.build(load(model, root, input_size=32, **said), NAMES, seed=1)
    learner.train()
    learner(images(32, count=4))  # so that the running statistics are not those of the start
    learner.eval()
    store(learner, root / "run")
    again = reload(root)
    x = images(32)
    with torch.no_grad():
        features, logits = FeatureExtractor(again.module, again.tap)(x)
        torch.testing.assert_close((features, logits), learner(x), rtol=0, atol=0)
        torch.testing.assert_close(again.module(x), logits, rtol=0, atol=0)
    assert (again.class_names, again.preprocessing) == (NAMES, learner.preprocessing)


@pytest.mark.parametrize(("model", "said"), KINDS)
def test_a_student_of_a_student_is_built_from_the_first_architecture(
    model: str, said: dict[str, Any], root: Path
) -> None:
    store(student.build(load(model, root, input_size=32, **said), NAMES, seed=1), root / "run")
    second = student.build(reload(root), ("x", "y"), seed=2).eval()
    assert second.config()["zoo"]["architecture"]["model"] == model
    store(second, root / "next")
    (root / "run" / "config.json").unlink()
    again = reload(root, "next")
    assert again.class_names == ("x", "y")
    with torch.no_grad():
        torch.testing.assert_close(again.module(images(32)), second(images(32))[1], rtol=0, atol=0)
    assert len(second.config()["zoo"]["architecture"]["edits"]) == 1


@pytest.mark.parametrize("said", [{}, {"feature_layer": "layer3"}])
def test_a_run_without_its_head_gives_the_features_its_head_read(said: dict[str, Any], root: Path) -> None:
    learner = student.build(load("torchvision:resnet18", root, input_size=32, **said), NAMES, seed=1)
    store(learner, root / "run")
    encoder = reload(root, classes=0)
    assert (encoder.classes, encoder.class_names) == (0, None)
    with torch.no_grad():
        torch.testing.assert_close(encoder.module(images(32)), learner(images(32))[0], rtol=0, atol=0)
    third = student.build(encoder, ("x", "y"), seed=3)
    store(third, root / "third")
    with torch.no_grad():
        torch.testing.assert_close(reload(root, "third").module(images(32)), third(images(32))[1], rtol=0, atol=0)


def test_behind_an_encoder_the_keys_are_encoder_and_head(root: Path) -> None:
    learner = student.build(load("torchvision:resnet18", root, feature_layer="layer3"), NAMES, seed=1)
    keys = {key.partition(".")[0] for key in learner.plain_state_dict()}
    assert keys == {"encoder", "head"}
    assert learner.features_dim == 256


def test_a_feature_layer_that_is_the_heads_own_input_keeps_the_plain_state_dict(root: Path) -> None:
    learner = student.build(load("torchvision:resnet18", root, feature_layer="fc:input"), NAMES, seed=1)
    assert "fc.weight" in learner.plain_state_dict()


def test_the_body_keeps_the_sources_weights_and_the_source_keeps_its_head(root: Path) -> None:
    model = load("torchvision:resnet18", root)
    learner = student.build(model, NAMES, seed=1)
    own, plain = model.module.state_dict(), learner.plain_state_dict()
    assert own["fc.weight"].shape == (1000, 512)
    for key in own:
        if not key.startswith("fc."):
            torch.testing.assert_close(plain[key], own[key], rtol=0, atol=0)


def test_the_seed_alone_draws_the_head(root: Path) -> None:
    model = load("torchvision:resnet18", root)
    state = torch.get_rng_state()
    heads = [student.build(model, NAMES, seed=seed).plain_state_dict()["fc.weight"] for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert heads[0].abs().max() <= 512**-0.5  # nn.Linear's default


def test_gradients_reach_the_body_through_a_wrapped_encoder(root: Path) -> None:
    learner = student.build(load("torchvision:resnet18", root, feature_layer="layer2"), NAMES, seed=1).train()
    features, logits = learner(images(32, count=4))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    assert learner.module.encoder.conv1.weight.grad.abs().sum() > 0
    assert features.requires_grad


def test_plain_weights_share_no_memory_with_the_student(root: Path) -> None:
    learner = student.build(load("python:nets.py:tiny", root), NAMES, seed=1)
    learner.plain_state_dict()["fc.weight"].zero_()
    assert learner.module.fc.weight.abs().sum() > 0


def test_loading_a_folder_leaves_the_global_generator_alone(root: Path) -> None:
    store(student.build(load("torchvision:resnet18", root, feature_layer="layer3"), NAMES, seed=1), root / "run")
    before = torch.get_rng_state()
    reload(root)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_network_keeps_from_being_looked_at_can_be_trained(root: Path) -> None:
    learner = student.build(load("python:nets.py:keeping", root), NAMES, seed=1).train()
    learner(images(16))[1].sum().backward()
    assert learner.module.body[0].weight.grad.abs().sum() > 0


def test_a_changed_factory_file_is_refused(root: Path) -> None:
    store(student.build(load("python:nets.py:tiny", root), NAMES, seed=1), root / "run")
    file = root / "nets.py"
    file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(ContractError, match=r"nets.py is not the file .* bring back"):
        reload(root)


def test_the_config_is_plain_json_without_a_path_of_this_machine(root: Path) -> None:
    (root / "card.json").write_text('{"width": 7}')
    model = load("python:nets.py:tiny", root, args={"card": "card.json"})
    text = json.dumps(student.build(model, NAMES, seed=1).config(), allow_nan=False)
    assert str(root) not in text
    assert '"card": "card.json"' in text


def test_a_task_with_one_class_has_no_student(root: Path) -> None:
    with pytest.raises(UsageError, match="1 classes"):
        student.build(load("python:nets.py:tiny", root), ("only",), seed=1)


def spoil(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["zoo"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "zoo.student/9"}, "zoo.student/1"),
        ({"architecture": {}}, "classes|edits"),
        ({"preprocessing": {"size": 3}}, "size"),
        ({"classes": None}, "NoneType"),
        ({"architecture": None}, "NoneType"),
    ],
)
def test_a_folder_whose_config_is_wrong_breaks_its_contract(changes: dict[str, Any], words: str, root: Path) -> None:
    store(student.build(load("python:nets.py:tiny", root), NAMES, seed=1), root / "run")
    spoil(root / "run", **changes)
    with pytest.raises(ContractError, match=words):
        reload(root)


def test_a_folder_without_its_parts_says_which(root: Path) -> None:
    with pytest.raises(UsageError, match="no model in"):
        reload(root, "nowhere")
    run = store(student.build(load("python:nets.py:tiny", root), NAMES, seed=1), root / "run")
    for said in ({"weights": "x.pt"}, {"args": {"width": 3}}):
        with pytest.raises(UsageError, match="leave"):
            reload(root, **said)
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(ContractError, match="no whole safetensors"):
        reload(root)
    (run / "model.safetensors").unlink()
    with pytest.raises(ContractError, match=r"holds no model\.safetensors"):
        reload(root)
    (run / "config.json").write_text("{")
    with pytest.raises(ContractError, match="no JSON"):
        reload(root)
