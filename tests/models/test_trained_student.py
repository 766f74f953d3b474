"""Students that keep the head they have: in the task's class order, and back from their folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.networks import CODE, images, load, reload, store, write_code
from zoo_cli.errors import UsageError
from zoo_cli.models import label_space, student
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.loading import LoadedModel

THEIRS = ("pit", "crack", "fine", "scratch", "stain")
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
    pytest.param("file:wrapped", {}, id="file of an encoder with a head behind it"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path, CODE + TIED)
    return tmp_path


def expert(model: str, root: Path, **said: Any) -> LoadedModel:
    """A model of the five classes, in an order of its own."""
    if model.startswith("timm:"):
        pytest.importorskip("timm")
    if model.startswith("file:"):
        layer = {"feature_layer": "body"} if model == "file:wrapped" else {}
        earlier = student.build(load("python:nets.py:tiny", root, **layer), THEIRS, seed=4)
        store(earlier, root / model.removeprefix("file:"))
        return reload(root, model.removeprefix("file:"))
    return load(model, root, input_size=32, classes=THEIRS, **said)


def of(model: LoadedModel, task: tuple[str, ...] = TASK) -> student.Student:
    order = label_space.match_classes(model.source.name, model.class_names, model.classes, task)
    return student.trained(model, task, order).eval()


def answers(model: LoadedModel, x: Tensor) -> Tensor:
    logits = FeatureExtractor(model.module, model.tap)(x)[1]
    assert logits is not None
    return logits


@pytest.mark.parametrize(("model", "said"), KINDS)
def test_a_trained_student_answers_in_the_tasks_order(model: str, said: dict[str, Any], root: Path) -> None:
    source = expert(model, root, **said)
    before = {key: value.clone() for key, value in source.module.state_dict().items()}
    x = images(32, count=4)
    columns = torch.tensor([THEIRS.index(name) for name in TASK])
    with torch.no_grad():
        theirs = answers(source, x)
        learner = of(source)
        features, logits = learner(x)
        # A matrix product may round a row differently at another place.
        torch.testing.assert_close(logits, theirs[:, columns], rtol=1e-5, atol=1e-5)
        assert torch.equal(of(source, THEIRS)(x)[1], theirs)
        assert torch.equal(answers(source, x), theirs)
    assert features.shape == (4, learner.features_dim)
    assert learner.tap.in_head
    assert all(torch.equal(value, before[key]) for key, value in source.module.state_dict().items())
    head = learner.tap.head
    for key, value in learner.plain_state_dict().items():
        assert torch.equal(value, before[key][columns] if key.rpartition(".")[0] == head else before[key])


@pytest.mark.parametrize("task", [THEIRS, TASK])
@pytest.mark.parametrize(("model", "said"), KINDS)
def test_the_folder_of_a_trained_student_gives_it_back_bit_for_bit(
    model: str, said: dict[str, Any], task: tuple[str, ...], root: Path
) -> None:
    learner = of(expert(model, root, **said), task)
    learner.train()
    learner(images(32, count=4))
    learner.eval()
    store(learner, root / "run")
    again = reload(root)
    x = images(32)
    with torch.no_grad():
        torch.testing.assert_close(FeatureExtractor(again.module, again.tap)(x), learner(x), rtol=0, atol=0)
    assert (again.class_names, again.preprocessing) == (task, learner.preprocessing)


def test_all_of_a_trained_student_learns(root: Path) -> None:
    learner = of(expert("torchvision:resnet18", root)).train()
    nn.functional.cross_entropy(learner(images(32, count=4))[1], torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad is not None for parameter in learner.parameters())


def test_where_only_the_number_of_classes_is_known_their_order_is_taken_to_be_the_tasks(root: Path) -> None:
    source = load("python:nets.py:tiny", root, classes=5)
    assert label_space.match_classes("s", source.class_names, source.classes, TASK) is None
    x = images(32)
    with torch.no_grad():
        assert torch.equal(of(source)(x)[1], answers(source, x))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("torchvision:resnet18", {"head": False}),
        ("torchvision:resnet18", {"classes": 0}),
        ("python:nets.py:spread", {"classes": THEIRS, "feature_layer": "stem"}),
    ],
)
def test_a_network_without_a_head_that_zoo_can_find_is_no_trained_student(
    model: str, said: dict[str, Any], root: Path
) -> None:
    source = load(model, root, input_size=32, **said)
    with pytest.raises(UsageError, match="source s: no layer of it is its head"):
        student.trained(source, THEIRS, None)


@pytest.mark.parametrize("factory", ["tied", "normed"])
def test_a_head_whose_rows_cannot_be_moved_is_refused_and_kept_where_they_need_not_be(factory: str, root: Path) -> None:
    source = expert(f"python:nets.py:{factory}", root)
    with pytest.raises(UsageError, match="cannot be put into the task's"):
        of(source)
    x = images(32)
    with torch.no_grad():
        assert torch.equal(of(source, THEIRS)(x)[1], answers(source, x))
