"""Tiny networks in a user's file, and functions to declare, load and save them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo_cli.config import Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.models import loading
from zoo_cli.models.student import Student

CODE = """
import json
from pathlib import Path
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.fc = nn.Linear(width, outputs)
    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))

def tiny(width=8, outputs=5, card=None):
    if card is not None:
        width = json.loads(Path(card).read_text())["width"]
    return Tiny(width, outputs)

class Keeping(Tiny):
    scale = None
    def forward(self, x):
        if self.scale is None:
            self.scale = torch.linspace(1, 2, 8)
        return self.fc(self.body(x).mean((2, 3)) * self.scale)

def keeping(): return Keeping(8, 5)
def half(): return Tiny(8, 5).half()
def refuses(): raise KeyError("width")
def leaves(): raise SystemExit(3)
def number(): return 3

class OwnError(Exception): pass
def objects(): raise OwnError("no card\\nin the drawer")
"""


class Net(nn.Module):
    """A body of one strided convolution, and a head from the test."""

    def __init__(self, head: nn.Module, width: int = 6, pool: bool = True):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3, 2)
        self.head = head
        self.pool = pool

    def forward(self, x: Tensor) -> Any:
        x = self.body(x).relu()
        return self.head(x.mean((2, 3)) if self.pool else x)


def make_images(size: int = 16, count: int = 2, channels: int = 3, seed: int = 3) -> Tensor:
    """Normal noise in the shape of images."""
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def declare(model: str, **options: Any) -> Source:
    """A source with a default preprocessing, which `options` override; random if no weights are named."""
    keys = {"input_size": 64, "mean": (0.5,) * 3, "std": (0.25,) * 3, **options}
    if model.startswith(("torchvision:", "timm:")) and "." not in model:
        keys.setdefault("weights", "none")
    return Source("s", model, **keys)


def load_source(model: str, root: Path, *, seed: int = 1, **options: Any) -> loading.LoadedModel:
    """Declare and load a source."""
    return loading.load_model(declare(model, **options), root, seed=seed)


def write_code(root: Path, code: str = CODE) -> str:
    """Write the file with the factories beside a zoo.toml; its name."""
    (root / "nets.py").write_text(code)
    (root / "zoo.toml").touch()
    return "nets.py"


def loading_error(source: Source, root: Path, kind: type[ZooError] = UsageError) -> str:
    """The one-line error, of this kind, with which loading a source fails."""
    with pytest.raises(ZooError) as caught:
        loading.load_model(source, root)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Payload:
    """A pickle that creates a folder when it is read."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def save_student(student: Student, folder: Path) -> Path:
    """Write the two files of a run from which a model is loaded; their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(student.plain_state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(student.config()))
    return folder


def load_run(root: Path, folder: str = "run", **options: Any) -> loading.LoadedModel:
    """Load the model in a run's folder."""
    return loading.load_model(Source("again", f"file:{folder}", **options), root)
