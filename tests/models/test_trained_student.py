"""Students that keep their head: in the task's class order, and restored from their folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.tiny_models import CODE, load_run, load_source, make_images, save_student, write_code
from zoo_cli.errors import UsageError
from zoo_cli.models import label_space
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.student import Student, build_student, build_trained_student

SOURCE_CLASSES = ("pit", "crack", "fine", "scratch", "stain")
TASK = ("crack", "fine", "pit", "stain", "scratch")

TIED = """
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, 2)
        self.fc = nn.Linear(5, 5)
    def forward(self, x):
        return self.fc(self.fc(self.stem(x).mean((2, 3))).relu())

def tied(): return Tied()

class Normed(Tied):
    def __init__(self):
        super().__init__()
        self.fc = nn.utils.parametrizations.weight_norm(self.fc)
    def forward(self, x):
        return self.fc(self.stem(x).mean((2, 3)))

def normed(): return Normed()

class Spread(Tied):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(5, 5)
    def forward(self, x):
        x = self.stem(x).mean((2, 3))
        return self.fc(x) + self.other(x)

def spread(): return Spread()
"""

KINDS = [
    pytest.param("torchvision:resnet18", {}, id="torchvision"),
    pytest.param("torchvision:squeezenet1_1", {}, id="convolution"),
    pytest.param("torchvision:mobilenet_v3_small", {"feature_layer": "features"}, id="feature layer"),
    pytest.param("timm:test_resnet", {}, id="timm"),
    pytest.param("python:nets.py:tiny", {}, id="python"),
    pytest.param("file:earlier", {}, id="file"),
    pytest.param("file:wrapped", {}, id="file of an encoder with a head"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path, CODE + TIED)
    return tmp_path


def load_expert(model: str, root: Path, **options: Any) -> LoadedModel:
    """A model of the five classes, in an order of its own."""
    if model.startswith("timm:"):
        pytest.importorskip("timm")
    if model.startswith("file:"):
        layer = {"feature_layer": "body"} if model == "file:wrapped" else {}
        earlier = build_student(load_source("python:nets.py:tiny", root, **layer), SOURCE_CLASSES, seed=4)
        save_student(earlier, root / model.removeprefix("file:"))
        return load_run(root, model.removeprefix("file:"))
    return load_source(model, root, input_size=32, classes=SOURCE_CLASSES, **options)


def make_student(model: LoadedModel, task: tuple[str, ...] = TASK) -> Student:
    order = label_space.match_classes(model.source.name, model.class_names, model.classes, task)
    return build_trained_student(model, task, order).eval()


def compute_logits(model: LoadedModel, x: Tensor) -> Tensor:
    logits = FeatureExtractor(model.module, model.tap)(x)[1]
    assert logits is not None
    return logits


@pytest.mark.parametrize(("model", "options"), KINDS)
def test_a_trained_student_follows_the_tasks_order(model: str, options: dict[str, Any], root: Path) -> None:
    source = load_expert(model, root, **options)
    before = {key: value.clone() for key, value in source.module.state_dict().items()}
    x = make_images(32, count=4)
    columns = torch.tensor([SOURCE_CLASSES.index(name) for name in TASK])
    with torch.no_grad():
        original = compute_logits(source, x)
        student = make_student(source)
        features, logits = student(x)
        # A matrix product may round a row differently at another position.
        torch.testing.assert_close(logits, original[:, columns], rtol=1e-5, atol=1e-5)
        assert torch.equal(make_student(source, SOURCE_CLASSES)(x)[1], original)
        assert torch.equal(compute_logits(source, x), original)
    assert features.shape == (4, student.features_dim)
    assert student.tap.in_head
    assert all(torch.equal(value, before[key]) for key, value in source.module.state_dict().items())
    head = student.tap.head
    for key, value in student.plain_state_dict().items():
        assert torch.equal(value, before[key][columns] if key.rpartition(".")[0] == head else before[key])


@pytest.mark.parametrize("task", [SOURCE_CLASSES, TASK])
@pytest.mark.parametrize(("model", "options"), KINDS)
def test_a_folder_restores_a_trained_student_bit_for_bit(
    model: str, options: dict[str, Any], task: tuple[str, ...], root: Path
) -> None:
    student = make_student(load_expert(model, root, **options), task)
    student.train()
    student(make_images(32, count=4))
    student.eval()
    save_student(student, root / "run")
    again = load_run(root)
    x = make_images(32)
    with torch.no_grad():
        torch.testing.assert_close(FeatureExtractor(again.module, again.tap)(x), student(x), rtol=0, atol=0)
    assert (again.class_names, again.preprocessing) == (task, student.preprocessing)


def test_all_parameters_of_a_trained_student_learn(root: Path) -> None:
    student = make_student(load_expert("torchvision:resnet18", root)).train()
    nn.functional.cross_entropy(student(make_images(32, count=4))[1], torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_unnamed_classes_are_taken_in_the_tasks_order(root: Path) -> None:
    source = load_source("python:nets.py:tiny", root, classes=5)
    assert label_space.match_classes("s", source.class_names, source.classes, TASK) is None
    x = make_images(32)
    with torch.no_grad():
        assert torch.equal(make_student(source)(x)[1], compute_logits(source, x))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("torchvision:resnet18", {"head": False}),
        ("torchvision:resnet18", {"classes": 0}),
        ("python:nets.py:spread", {"classes": SOURCE_CLASSES, "feature_layer": "stem"}),
    ],
)
def test_a_network_without_a_single_head_is_refused(model: str, options: dict[str, Any], root: Path) -> None:
    source = load_source(model, root, input_size=32, **options)
    with pytest.raises(UsageError, match="source s: no layer of it is its head"):
        build_trained_student(source, SOURCE_CLASSES, None)


@pytest.mark.parametrize("factory", ["tied", "normed"])
def test_a_head_that_cannot_be_reordered_is_refused(factory: str, root: Path) -> None:
    source = load_expert(f"python:nets.py:{factory}", root)
    with pytest.raises(UsageError, match="cannot be reordered to the task's"):
        make_student(source)
    x = make_images(32)
    with torch.no_grad():
        assert torch.equal(make_student(source, SOURCE_CLASSES)(x)[1], compute_logits(source, x))
